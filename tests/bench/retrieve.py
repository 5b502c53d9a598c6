"""C-GET and C-MOVE of 500 CT slices by DCMTK's clients from service and bridge, against Debian's Orthanc."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from tests.bench import baselines, orthanc
from tests.bench.baselines import DCMTK_ENVIRON
from tests.bench.client import Connection
from tests.bench.figures import PER_SECOND, Figure, Skipped, in_turn
from tests.bench.rig import Failed, Rig, program, seconds_of, to_its_end
from tests.bench.slices import a_series, study_and_series
from tests.bench.stow import post_all

NAME = "retrieve"
_OURS = "service and bridge"
_SERIES = 5
_SLICES = 100  # of each


def run(rig: Rig, rounds: int) -> Iterator[Figure | Skipped]:
    """Instances per second, the start of the clients included on every side."""
    get, move, scp = program("getscu"), program("movescu"), program("storescp")
    if get is None or move is None or scp is None or not orthanc.installed():
        yield Skipped(NAME, orthanc.NAME, "dcmtk, orthanc and orthanc-dicomweb are not all installed")
        return
    numbers = [rig.next_series() for _ in range(_SERIES)]
    with ExitStack() as stack:
        destination = stack.enter_context(baselines.storescp(rig, scp, "--fork", "--ignore"))
        site = stack.enter_context(rig.service())
        peers = rig.new_folder("peers") / "peers.toml"
        peers.write_text(f'[peers.dest]\nae_title = "DEST"\nhost = "127.0.0.1"\nport = {destination}\n')
        bridge = stack.enter_context(rig.bridge(site, ISTHMUS_PEERS=str(peers)))
        other = stack.enter_context(orthanc.orthanc(rig, {"dest": ("DEST", destination)}))
        for number in numbers:
            files = a_series(number)[:_SLICES]
            post_all(site.port, 20, files)
            post_plain(other.port, files)
        sides: dict[str, Callable[[], float]] = {}
        for name, port in ((_OURS, bridge.port), (orthanc.NAME, other.dicom_port)):
            getting = [get, "--ignore", "-S", "-aec", "ANY", "127.0.0.1", str(port)]
            moving = [move, "-S", "-aec", "ANY", "-aem", "DEST", "127.0.0.1", str(port)]
            sides[f"{name} get"] = partial(_rate, getting, numbers)
            sides[f"{name} move"] = partial(_rate, moving, numbers)
        values = in_turn(rounds, sides)
    for what, verb in (("getscu --ignore", "get"), ("movescu to storescp --ignore", "move")):
        theirs = values[f"{orthanc.NAME} {verb}"]
        yield Figure(NAME, what, PER_SECOND, values[f"{_OURS} {verb}"], orthanc.NAME, theirs)


def _rate(command: list[str], numbers: list[int]) -> float:
    """Instances per second over one series after the other, an association each."""

    def all_of_them() -> None:
        for number in numbers:
            study, series = study_and_series(number)
            keys = ["QueryRetrieveLevel=SERIES", f"StudyInstanceUID={study}", f"SeriesInstanceUID={series}"]
            to_its_end([*command, *(word for key in keys for word in ("-k", key))], DCMTK_ENVIRON)

    return _SERIES * _SLICES / seconds_of(all_of_them)


def post_plain(port: int, files: list[bytes]) -> None:
    """Have Orthanc keep `files`, over an interface of its own."""
    with Connection(port) as connection:
        for file in files:
            answer = connection.send("POST", "/instances", "application/dicom", [file])
            if answer.status != 200:
                raise Failed(f"Orthanc answered {answer.status} to a file.")
