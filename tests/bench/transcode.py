"""Frames in other transfer syntaxes: against the bare codec and nginx with the same bytes, added up.

Nothing is kept between requests (ISTHMUS_PIXEL_CACHE=0), so that every one of them is decoded and encoded.
"""

import statistics
import time
from collections.abc import Callable, Iterator

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from service.dicom.syntaxes import BY_UID, EXPLICIT_LE, ROOT
from tests.bench import baselines
from tests.bench.asking import Question
from tests.bench.client import Connection
from tests.bench.figures import MILLISECONDS, Figure, Skipped, in_turn
from tests.bench.rendered import phantom
from tests.bench.rig import Failed, Rig, Site
from tests.bench.slices import FRAME_BYTES, a_series, study_and_series
from tests.bench.stow import post_all
from tests.making import a_data_set, a_file, add_pixels

NAME = "transcode"
_TIMES = 40
_J2K, _HTJ2K, _JLS = ROOT + ".4.90", ROOT + ".4.201", ROOT + ".4.80"
_OCTETS = f"application/octet-stream; transfer-syntax={EXPLICIT_LE}"

_Codec = Callable[[], bytes]


def run(rig: Rig, rounds: int) -> Iterator[Figure | Skipped]:
    """Durations by one client, of a CT slice of 512 × 512 pixels."""
    nginx = baselines.nginx_program()
    if nginx is None:
        yield Skipped(NAME, "bare codec + nginx", "nginx is not installed")
        return
    with rig.service(ISTHMUS_PIXEL_CACHE="0") as site, baselines.nginx(rig, nginx) as (port, served):
        native = _keep(rig, site)
        compressed = {syntax: _compressed(rig, site, native, syntax) for syntax in (_J2K, _JLS)}
        for number, (what, path, accept, codec) in enumerate(_cases(native, compressed)):
            body = _body(site, path, accept)
            (served / f"made-{number}").write_bytes(body)
            ours = Question(site.port, path, len(body), accept)
            static = Question(port, f"/made-{number}", len(body))
            values = in_turn(
                rounds,
                {
                    "ours": lambda ours=ours: ours.median_ms(_TIMES),  # type: ignore[misc]
                    "codec": lambda codec=codec: _median_ms(codec),  # type: ignore[misc]
                    "nginx": lambda static=static: static.median_ms(_TIMES),  # type: ignore[misc]
                },
            )
            bare = [one + other for one, other in zip(values["codec"], values["nginx"], strict=True)]
            yield Figure(NAME, what, MILLISECONDS, values["ours"], "bare codec + nginx", bare)


def _cases(native: str, compressed: dict[str, tuple[str, bytes]]) -> Iterator[tuple[str, str, str, _Codec]]:
    """What is asked for, where, how, and the call that does no more than that."""
    picture = np.frombuffer(phantom(0), "<u2").reshape(512, 512)
    yield (
        "native to JPEG-LS",
        native,
        f"image/jls; transfer-syntax={_JLS}",
        lambda: bytes(imagecodecs.jpegls_encode(picture, bitspersample=16)),
    )
    yield (
        "native to JPEG 2000",
        native,
        f"image/jp2; transfer-syntax={_J2K}",
        lambda: bytes(imagecodecs.jpeg2k_encode(picture, reversible=True, codecformat="j2k", numthreads=1)),
    )
    yield (
        "native to HTJ2K",
        native,
        f"image/jphc; transfer-syntax={_HTJ2K}",
        lambda: _high_throughput(picture),
    )
    path, stream = compressed[_J2K]
    yield "JPEG 2000 to octets", path, _OCTETS, lambda: imagecodecs.jpeg2k_decode(stream).tobytes()
    path, coded = compressed[_JLS]
    yield "JPEG-LS to octets", path, _OCTETS, lambda: imagecodecs.jpegls_decode(coded).tobytes()
    yield (
        "JPEG-LS to HTJ2K",
        path,
        f"image/jphc; transfer-syntax={_HTJ2K}",
        lambda: _high_throughput(imagecodecs.jpegls_decode(coded)),
    )


def _high_throughput(picture: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.htj2k_encode(picture, reversible=True, prog_order="RPCL", tlm=True))


def _keep(rig: Rig, site: Site) -> str:
    """Store a native slice; the path of its frame."""
    number = rig.next_series()
    post_all(site.port, 1, [a_series(number)[0][:-FRAME_BYTES] + phantom(0)])
    return site.url(*study_and_series(number), f"/instances/2.25.77{number:08}0001/frames/1")


def _compressed(rig: Rig, site: Site, native: str, syntax: str) -> tuple[str, bytes]:
    """Store the slice in another transfer syntax, in a codestream of ours; its frame's path, and itself."""
    stream = _body(site, native, f"{BY_UID[syntax].media_type}; transfer-syntax={syntax}")
    number = rig.next_series()
    study, series = study_and_series(number)
    instance = f"2.25.77{number:08}0001"
    made = add_pixels(a_data_set(study=study, series=series, instance=instance), [b""], rows=512, columns=512)
    post_all(site.port, 1, [a_file(made, syntax, codestreams=[stream])])
    return site.url(study, series, f"/instances/{instance}/frames/1"), stream


def _median_ms(codec: _Codec) -> float:
    durations: list[float] = []
    for _ in range(_TIMES):
        begun = time.perf_counter()
        codec()
        durations.append(1000 * (time.perf_counter() - begun))
    return statistics.median(durations)


def _body(site: Site, path: str, accept: str) -> bytes:
    with Connection(site.port) as connection:
        answer = connection.get(path, accept)
        if answer.status != 200:
            raise Failed(f"{path} was answered {answer.status}.")
        return bytes(answer.body)
