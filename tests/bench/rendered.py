"""Rendered CT slices as JPEG: against Debian's Orthanc with its DICOMweb plugin, and against the bare codec.

Pictures are asked for that nobody asked for before, so that nothing that is kept is measured; and again.
"""

import contextlib
import itertools
import statistics
import time
from collections.abc import Iterator
from functools import partial

import imagecodecs
import numpy as np

from tests.bench import orthanc
from tests.bench.client import Connection
from tests.bench.figures import MILLISECONDS, PER_SECOND, Figure, Skipped, in_turn
from tests.bench.rig import Failed, Rig, seconds_of
from tests.bench.slices import FRAME_BYTES, a_series, study_and_series
from tests.bench.stow import post_all

NAME = "rendered"
_SLICES = 40
_TIMES = 60
_CLIENTS = 4
_LEAST_BYTES = 10_000  # a picture on which there is nothing to be seen has fewer
_QUALITY = 90
CENTER = 16  # of soft tissue in `phantom`, in Hounsfield units

# Each picture has a window of its own.
_widths = itertools.count(400)


def run(rig: Rig, rounds: int) -> Iterator[Figure | Skipped]:
    """Durations by one client, and pictures per second by four."""
    number = rig.next_series()
    files = [file[:-FRAME_BYTES] + phantom(place) for place, file in enumerate(a_series(number)[:_SLICES])]
    paths = [_path(number, place) for place in range(_SLICES)]
    with rig.service() as site:
        post_all(site.port, 1, files)
        ours = _Asked(site.port, paths)
        codec = _Codec()
        values = in_turn(rounds, {"ours": ours.median_ms, "codec": codec.median_ms})
        what = f"CT of {FRAME_BYTES:,} bytes as JPEG, 1 client"
        yield Figure(NAME, what, MILLISECONDS, values["ours"], "jpeg8_encode alone", values["codec"])
        values = in_turn(rounds, {"ours": ours.rate, "codec": codec.rate})
        what = f"CT as JPEG, {_CLIENTS} clients"
        yield Figure(NAME, what, PER_SECOND, values["ours"], "jpeg8_encode alone", values["codec"])
        if not orthanc.installed():
            yield Skipped(NAME, orthanc.NAME, "orthanc and orthanc-dicomweb are not installed")
            return
        with orthanc.orthanc(rig) as other:
            post_all_plain(other.port, files)
            yield from _beside(rounds, "CT as JPEG", ours, _Asked(other.port, paths))
            again = _Asked(site.port, paths, fresh=False), _Asked(other.port, paths, fresh=False)
            yield from _beside(rounds, "the same pictures again", *again)


def _beside(rounds: int, what: str, ours: "_Asked", theirs: "_Asked") -> Iterator[Figure]:
    values = in_turn(
        rounds,
        {
            "ours ×1": ours.median_ms,
            "theirs ×1": theirs.median_ms,
            "ours ×4": ours.rate,
            "theirs ×4": theirs.rate,
        },
    )
    one, four = f"{what}, 1 client", f"{what}, {_CLIENTS} clients"
    yield Figure(NAME, one, MILLISECONDS, values["ours ×1"], orthanc.NAME, values["theirs ×1"])
    yield Figure(NAME, four, PER_SECOND, values["ours ×4"], orthanc.NAME, values["theirs ×4"])


def post_all_plain(port: int, files: list[bytes]) -> None:
    """Store `files` by Orthanc's own interface."""
    with Connection(port) as connection:
        for file in files:
            answer = connection.send("POST", "/instances", "application/dicom", [file])
            if answer.status != 200:
                raise Failed(f"Orthanc answered {answer.status} to a file.")


class _Asked:
    """A server that renders slices; `fresh` ones have a window that none had before."""

    def __init__(self, port: int, paths: list[str], *, fresh: bool = True) -> None:
        self._port = port
        self._widths = _widths if fresh else itertools.repeat(400)
        self._paths = itertools.cycle(paths)

    def median_ms(self) -> float:
        """The median duration of a request on one kept connection."""
        durations: list[float] = []
        with Connection(self._port) as connection:
            for number in range(_TIMES + _SLICES):
                begun = time.perf_counter()
                self._ask(connection)
                if number >= _SLICES:  # by then every slice has been read once
                    durations.append(1000 * (time.perf_counter() - begun))
        return statistics.median(durations)

    def rate(self) -> float:
        """Pictures per second by some clients at once."""
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(Connection(self._port)) for _ in range(_CLIENTS)]
            for connection in connections:
                self._ask(connection)
            return _CLIENTS * _TIMES / seconds_of(*(partial(self._ask_often, one) for one in connections))

    def _ask_often(self, connection: Connection) -> None:
        for _ in range(_TIMES):
            self._ask(connection)

    def _ask(self, connection: Connection) -> None:
        window = f"{CENTER},{next(self._widths)},linear"
        path = f"{next(self._paths)}?window={window}&quality={_QUALITY}"
        answer = connection.get(path, "image/jpeg")
        if answer.status != 200 or bytes(answer.body[:2]) != b"\xff\xd8" or len(answer.body) < _LEAST_BYTES:
            raise Failed(f"{path} was answered {answer.status} with {len(answer.body)} bytes.")


class _Codec:
    """The encoder with a picture that is finished, in this process."""

    def __init__(self) -> None:
        values = np.frombuffer(phantom(0), "<u2").reshape(512, 512).astype(float)
        self._picture = np.clip((values - 840) * 255 / 400, 0, 255).astype(np.uint8)

    def median_ms(self) -> float:
        """The median duration of one encoding."""
        durations: list[float] = []
        for _ in range(_TIMES):
            begun = time.perf_counter()
            imagecodecs.jpeg8_encode(self._picture, level=_QUALITY)
            durations.append(1000 * (time.perf_counter() - begun))
        return statistics.median(durations)

    def rate(self) -> float:
        """Encodings per second by some threads at once."""
        return _CLIENTS * _TIMES / seconds_of(*(self._encode_often for _ in range(_CLIENTS)))

    def _encode_often(self) -> None:
        for _ in range(_TIMES):
            imagecodecs.jpeg8_encode(self._picture, level=_QUALITY)


def _path(number: int, place: int) -> str:
    study, series = study_and_series(number)
    instance = f"2.25.77{number:08}{place + 1:04}"
    return f"/dicom-web/studies/{study}/series/{series}/instances/{instance}/rendered"


def phantom(number: int) -> bytes:
    """A slice of a body: an ellipse with organs in it, and the noise of a scanner."""
    rows, columns = np.indices((512, 512))
    image = np.zeros((512, 512))
    image[((rows - 256) / 180) ** 2 + ((columns - 256) / 230) ** 2 < 1] = 1040
    for organ in range(6):
        at = 256 + 90 * np.cos(organ + number / 9), 256 + 130 * np.sin(organ)
        image[((rows - at[0]) / 40) ** 2 + ((columns - at[1]) / 50) ** 2 < 1] = 1000 + 60 * organ
    image += np.random.default_rng(number).normal(0, 12, image.shape)
    return np.clip(image, 0, 4095).astype("<u2").tobytes()
