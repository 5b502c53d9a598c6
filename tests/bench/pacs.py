"""A series that lives in a PACS, viewed through the bridge as DICOMweb, against DCMTK's getscu."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from tests.bench import orthanc
from tests.bench.baselines import DCMTK_ENVIRON
from tests.bench.client import Connection
from tests.bench.figures import MILLISECONDS, PER_SECOND, Figure, Skipped, in_turn
from tests.bench.retrieve import post_plain
from tests.bench.rig import Failed, Rig, free_port, program, seconds_of, to_its_end
from tests.bench.slices import a_series, study_and_series
from tests.bench.stow import post_all

NAME = "pacs"
_SLICES = 500
_OBJECTS = 'multipart/related; type="application/dicom"'
_FACE = "/peers/orthanc/dicom-web"


def run(rig: Rig, rounds: int) -> Iterator[Figure | Skipped]:
    """The first image and the whole of a series that nobody has read yet, and that series again."""
    get = program("getscu")
    if get is None or not orthanc.installed():
        yield Skipped(NAME, orthanc.NAME, "dcmtk, orthanc and orthanc-dicomweb are not all installed")
        return
    numbers = [rig.next_series() for _ in range(rounds)]
    with ExitStack() as stack:
        other = stack.enter_context(orthanc.orthanc(rig))
        site = stack.enter_context(rig.service())
        peers = rig.new_folder("peers") / "peers.toml"
        peers.write_text(
            f'[peers.orthanc]\nae_title = "ORTHANC"\nhost = "127.0.0.1"\nport = {other.dicom_port}\n'
        )
        http = free_port()
        environ = {"ISTHMUS_PEERS": str(peers), "ISTHMUS_BRIDGE_PORT": str(http)}
        stack.enter_context(rig.bridge(site, **environ))
        files = {number: a_series(number, _SLICES) for number in numbers}
        for series in files.values():
            post_plain(other.port, series)
            post_all(site.port, 20, series)
        folder = rig.new_folder("getscu")
        scu = [get, "-S", "-aec", "ANY", "127.0.0.1", str(other.dicom_port), "-od", str(folder)]
        _found(http, "/studies")  # what opens the face is not of the measurement
        yield from _measured(rounds, numbers, files, scu, http, site.port)


def _measured(
    rounds: int, numbers: list[int], files: dict[int, list[bytes]], scu: list[str], http: int, port: int
) -> Iterator[Figure]:
    first, whole, again, ours, keys = (
        iter(numbers),
        iter(numbers),
        iter(numbers),
        iter(numbers),
        iter(numbers),
    )
    single = iter(numbers)
    images = in_turn(
        rounds,
        {
            "ours": lambda: _ms(lambda: _found(http, _image(files, next(first)))),
            "getscu": lambda: _ms(
                lambda: to_its_end([*scu, *_keys(files, next(single), image=True)], DCMTK_ENVIRON)
            ),
        },
    )
    yield Figure(NAME, "the first image", MILLISECONDS, images["ours"], "getscu", images["getscu"])
    count = len(next(iter(files.values())))
    series = in_turn(
        rounds,
        {
            "ours": lambda: count / _seconds_of_series(http, next(whole)),
            "getscu": lambda: (
                count / seconds_of(lambda: to_its_end([*scu, *_keys(files, next(keys))], DCMTK_ENVIRON))
            ),
        },
    )
    yield Figure(NAME, "the whole series", PER_SECOND, series["ours"], "getscu into files", series["getscu"])
    second = in_turn(
        rounds,
        {
            "ours": lambda: _ms(lambda: _found(http, _path(next(again)), _OBJECTS)),
            "service": lambda: _ms(lambda: _at(port, f"/dicom-web{_path(next(ours))}", _OBJECTS)),
        },
    )
    yield Figure(NAME, "the series again", MILLISECONDS, second["ours"], "our service", second["service"])


def _seconds_of_series(http: int, number: int) -> float:
    """How long a series takes; on return the bridge is at rest, having found out what it has got."""
    seconds = seconds_of(lambda: _found(http, _path(number), _OBJECTS))
    _found(http, f"{_path(number)}/metadata")
    return seconds


def _ms(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begun)


def _found(http: int, path: str, accept: str = "*/*") -> None:
    _at(http, _FACE + path, accept)


def _at(port: int, path: str, accept: str) -> None:
    with Connection(port) as connection:
        status = connection.skim(path, accept)
    if status != 200:
        raise Failed(f"{path} was answered {status}.")


def _path(number: int) -> str:
    study, series = study_and_series(number)
    return f"/studies/{study}/series/{series}"


def _instance(files: dict[int, list[bytes]], number: int) -> str:
    head = dcmread(DicomBytesIO(files[number][0]), stop_before_pixels=True)
    return str(head.SOPInstanceUID)


def _image(files: dict[int, list[bytes]], number: int) -> str:
    return f"{_path(number)}/instances/{_instance(files, number)}/frames/1"


def _keys(files: dict[int, list[bytes]], number: int, *, image: bool = False) -> list[str]:
    study, series = study_and_series(number)
    keys = [f"StudyInstanceUID={study}", f"SeriesInstanceUID={series}"]
    keys += [f"SOPInstanceUID={_instance(files, number)}"] if image else []
    level = "IMAGE" if image else "SERIES"
    return [word for key in [f"QueryRetrieveLevel={level}", *keys] for word in ("-k", key)]
