"""Scheduled procedure steps as tests have them, and a bridge that tells them."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmwrite
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from bridge.procedures import Procedures
from bridge.scp.echo import Echo
from bridge.scp.listener import Listener
from bridge.scp.mpps import Mpps
from bridge.scp.service import Service
from bridge.scp.worklist import ModalityWorklist
from bridge.settings import BridgeSettings
from bridge.state import StateFolder
from bridge.worklist.pushed import named
from tests.dimse.dimse_peers import PATIENCE_S, Ground
from tests.dimse.finding import Answers, Asker

WORKLIST = "1.2.840.10008.5.1.4.31"

_VRS = {
    "00080050": "SH", "00080060": "CS", "00080090": "PN", "00100010": "PN", "00100020": "LO",
    "00100030": "DA", "00100040": "CS", "0020000D": "UI", "00321060": "LO", "00401001": "SH",
    "00400001": "AE", "00400002": "DA", "00400003": "TM", "00400006": "PN", "00400007": "LO",
    "00400009": "SH", "00400010": "SH",
}  # fmt: skip


def element(tag: str, value: Any) -> dict[str, Any]:
    """An attribute of DICOM JSON, of a VR that the table has."""
    vr = _VRS[tag]
    values = value if isinstance(value, list) else [value]
    return {"vr": vr, "Value": [{"Alphabetic": each} if vr == "PN" else each for each in values]}


def an_item(
    number: int, *, step: dict[str, Any] | None = None, more: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A worklist item with all that it needs; `step` and `more` replace values by their tags."""
    of_step = {
        "00080060": "CT",
        "00400001": "CT1",
        "00400002": "20240115",
        "00400003": "100000",
        "00400009": f"S{number}",
        **(step or {}),
    }
    request = {
        "00080050": f"A{number}",
        "00100010": f"Doe^Jane{number}",
        "00100020": f"P{number}",
        "0020000D": f"1.2.3.{number}",
        "00401001": f"R{number}",
        **(more or {}),
    }
    told = {tag: element(tag, value) for tag, value in request.items() if value is not None}
    item = {tag: element(tag, value) for tag, value in of_step.items() if value is not None}
    return {**told, "00400100": {"vr": "SQ", "Value": [item]}}


# Five steps that differ in what is asked for.
ITEMS = (
    an_item(1, step={"00400003": "083000", "00400006": "Grey^Meredith"}, more={"00100030": "19700203"}),
    an_item(2, step={"00080060": "MR", "00400001": "MR1", "00400002": "20240116"}),
    an_item(3, step={"00400002": "20240117", "00400003": "200000"}, more={"00100010": "Müller^Jürgen"}),
    an_item(
        4,
        step={"00400001": ["CT1", "CT2"], "00400002": "20240117", "00400003": "0730"},
        more={"00100010": "YAMADA^Tarou=山田^太郎", "00100020": "p4"},
    ),
    an_item(5, step={"00080060": "US", "00400001": "US1", "00400002": "20240201", "00400007": "Abdomen"}),
)


def a_request(**keys: Any) -> Dataset:
    """A query; keys of the step by their keywords, all others with `request_` before them."""
    query, step = Dataset(), Dataset()
    with disable_value_validation():  # what careless peers send is no error here
        for keyword in ("Modality", "ScheduledStationAETitle", "ScheduledProcedureStepID"):
            setattr(step, keyword, "")
        query.PatientID = ""
        for keyword, value in keys.items():
            if keyword.startswith("request_"):
                setattr(query, keyword.removeprefix("request_"), value)
            else:
                setattr(step, keyword, value)
    query.ScheduledProcedureStepSequence = [step]
    return query


@dataclass
class Scheduling:
    """A running bridge with a worklist."""

    ground: Ground
    listener: Listener
    procedures: Procedures
    state: StateFolder
    settings: BridgeSettings
    port: int
    ended: bool = False

    def push(self, items: Sequence[dict[str, Any]]) -> None:
        """Make `items` the list."""
        pushed = self.procedures.pushed
        assert pushed is not None
        self.ground.run(pushed.replace([named(each) for each in items]))

    def ask(self, query: Dataset | None = None, **given: Any) -> Answers:
        """What a modality is told; keyword arguments are those of the asker."""
        extended = given.pop("extended", b"")
        asker = Asker(self.ground, self.port, **given)
        return asker.find(a_request() if query is None else query, WORKLIST, extended)

    def end(self) -> None:
        async def end() -> None:
            self.ended = True
            await self.listener.drain(0.0)
            await self.procedures.stop()
            await self.state.close()

        self.ground.begin(end()).result(PATIENCE_S)


def begin(ground: Ground, settings: BridgeSettings) -> Scheduling:
    """A bridge that tells what is scheduled, and takes what is performed."""

    async def start() -> Scheduling:
        state = StateFolder.open(settings.state)
        procedures = Procedures(settings, state)
        await procedures.start()
        services: list[Service] = [
            Echo(),
            ModalityWorklist(procedures.worklist, settings),
            Mpps(procedures.steps, settings),
        ]
        listener = Listener(settings, services, lambda report: None)
        _, port = await listener.start()
        return Scheduling(ground, listener, procedures, state, settings, port)

    return ground.run(start())


def patients(answers: Answers) -> set[str]:
    """The Patient IDs of the matches of a query that went well."""
    assert answers.final.status == 0, answers.final
    found = [str(match.PatientID) for match in answers.matches]
    assert len(set(found)) == len(found)
    return set(found)


def folder_of(path: Path, **files: bytes) -> Path:
    """A folder with these files; two underscores in a name stand for the dot."""
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        (path / name.replace("__", ".")).write_bytes(content)
    return path


def a_file(item: dict[str, Any], *, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """An item as a DICOM file, written by pydicom."""
    dataset = Dataset.from_json(item)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.276.0.7230010.3.1.0.1")
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def asked_by_dcmtk(program: str, port: int, *keys: str) -> tuple[int, str]:
    """What `findscu -W` finds: how many, and its log."""
    options = [word for key in keys for word in ("-k", key)]
    done = subprocess.run(
        [program, "-W", "-v", "-aec", "ISTHMUS", *options, "127.0.0.1", str(port)],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    log = (done.stdout + done.stderr).decode("latin-1")
    assert done.returncode == 0, log
    return log.count("Find Response:"), log
