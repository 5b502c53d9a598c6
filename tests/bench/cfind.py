"""C-FIND of 10,000 studies by DCMTK's findscu from service and bridge, against Debian's Orthanc."""

import subprocess
import time
from collections.abc import Callable, Iterator

from tests.bench import orthanc
from tests.bench.baselines import DCMTK_ENVIRON
from tests.bench.client import Connection
from tests.bench.figures import MILLISECONDS, PER_SECOND, Figure, Skipped, in_turn
from tests.bench.rig import Failed, Rig, processor_s, program, to_its_end
from tests.bench.stow import post_all
from tests.making import a_data_set, a_file

NAME = "cfind"
_STUDIES = 10_000
_OURS = "service and bridge"
_KEYS = (
    "QueryRetrieveLevel=STUDY", "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID",
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDescription", "ModalitiesInStudy",
    "ReferringPhysicianName", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
)  # fmt: skip


def run(rig: Rig, rounds: int) -> Iterator[Figure | Skipped]:
    """Answers per second, and the processor time of an answer."""
    scu = program("findscu")
    if scu is None or not orthanc.installed():
        yield Skipped(NAME, orthanc.NAME, "findscu, orthanc and orthanc-dicomweb are not all installed")
        return
    files = [_a_study(number) for number in range(_STUDIES)]
    with rig.service() as site, rig.bridge(site) as bridge, orthanc.orthanc(rig) as other:
        post_all(site.port, 500, files)
        with Connection(other.port) as connection:
            for file in files:
                connection.send("POST", "/instances", "application/dicom", [file])
        ours = _Side(scu, bridge.port, (site.process, bridge.pid))
        theirs = _Side(scu, other.dicom_port, (other.pid,))
        for side in (ours, theirs):
            side.count_all()
        sides: dict[str, Callable[[], float]] = {_OURS: ours.rate, orthanc.NAME: theirs.rate}
        values = in_turn(rounds, sides)
        what = f"{_STUDIES:,} studies, {len(_KEYS)} keys"
        yield Figure(NAME, what, PER_SECOND, values[_OURS], orthanc.NAME, values[orthanc.NAME])
        costs: dict[str, Callable[[], float]] = {_OURS: ours.cost_ms, orthanc.NAME: theirs.cost_ms}
        values = in_turn(rounds, costs)
        what = "processor time of an answer"
        yield Figure(NAME, what, MILLISECONDS, values[_OURS], orthanc.NAME, values[orthanc.NAME])


class _Side:
    """A query provider: its port, and the processes that answer for it."""

    def __init__(self, scu: str, port: int, pids: tuple[int, ...]) -> None:
        keys = [word for key in _KEYS for word in ("-k", key)]
        self._command = [scu, "-S", "-aec", "ANY", "127.0.0.1", str(port), *keys]
        self._pids = pids

    def count_all(self) -> None:
        """`Failed` unless every study is found."""
        said = subprocess.run(
            [self._command[0], "-v", *self._command[1:]], capture_output=True, check=True, timeout=120
        )
        found = (said.stdout + said.stderr).count(b"Find Response:")
        if found != _STUDIES:
            raise Failed(f"{found} of {_STUDIES} studies were found.")

    def rate(self) -> float:
        """Answers per second, the start of findscu included."""
        begun = time.perf_counter()
        to_its_end(self._command, DCMTK_ENVIRON)
        return _STUDIES / (time.perf_counter() - begun)

    def cost_ms(self) -> float:
        """Milliseconds of processor time that an answer costs the provider."""
        before = sum(processor_s(pid) for pid in self._pids)
        to_its_end(self._command, DCMTK_ENVIRON)
        return 1000 * (sum(processor_s(pid) for pid in self._pids) - before) / _STUDIES


def _a_study(number: int) -> bytes:
    uid = f"2.25.7799{number:08}"
    made = a_data_set(study=uid + "1", series=uid + "2", instance=uid + "3")
    made.PatientID = f"P{number:06}"
    made.PatientName = f"Example^Patient {number}"
    made.AccessionNumber = f"A{number:07}"
    made.StudyDate = f"2024{number % 12 + 1:02}{number % 28 + 1:02}"
    made.StudyTime = "101500"
    made.StudyDescription = "CT chest and abdomen with contrast"
    return a_file(made)
