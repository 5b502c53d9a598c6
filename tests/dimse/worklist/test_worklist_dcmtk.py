"""DCMTK as the modality, and its worklist server over the same folder as the oracle."""

import re
from pathlib import Path

import pytest

from tests.dimse.committing import unused_port
from tests.dimse.programs import need, running
from tests.dimse.worklist.scheduling import ITEMS, a_file, an_item, asked_by_dcmtk

STEP = "ScheduledProcedureStepSequence[0]."
TOLD = ("PatientID", "PatientName", f"{STEP}Modality", f"{STEP}ScheduledProcedureStepID")
QUERIES = [
    (),
    (f"{STEP}Modality=CT",),
    (f"{STEP}ScheduledStationAETitle=MR1",),
    (f"{STEP}ScheduledProcedureStepStartDate=20240116",),
    (f"{STEP}ScheduledProcedureStepStartDate=20240115-20240117",),
    (f"{STEP}ScheduledProcedureStepStartDate=20240117-",),
    (f"{STEP}ScheduledProcedureStepStartTime=0700-0900",),
    (f"{STEP}ScheduledPerformingPhysicianName=Grey*",),
    ("PatientName=Doe*",),
    ("PatientID=P2",),
    ("PatientID=nobody",),
    (f"{STEP}Modality=CT", "PatientName=*Jane1"),
]

# wlmscpfs tells nothing of a file in which one of these is not there.
NEEDED = {
    "00080080": {"vr": "LO"}, "00080090": {"vr": "PN"}, "00081110": {"vr": "SQ"}, "00081120": {"vr": "SQ"},
    "00100030": {"vr": "DA"}, "00100040": {"vr": "CS"}, "00101030": {"vr": "DS"}, "00102000": {"vr": "LO"},
    "00102110": {"vr": "LO"}, "001021C0": {"vr": "US"}, "00321032": {"vr": "PN"}, "00321060": {"vr": "LO"},
    "00380010": {"vr": "LO"}, "00380050": {"vr": "LO"}, "00380300": {"vr": "LO"}, "00380500": {"vr": "LO"},
    "00401003": {"vr": "SH"}, "00401004": {"vr": "LO"}, "00403001": {"vr": "LO"},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Worklist files in a folder named by an AE title, as wlmscpfs has them."""
    folder = tmp_path / "worklists" / "ISTHMUS"
    folder.mkdir(parents=True)
    (folder / "lockfile").touch()
    for number, item in enumerate(ITEMS):
        (folder / f"{number}.wl").write_bytes(a_file({**NEEDED, **item}))
    return folder


def test_dcmtk_is_told_what_its_own_server_tells(start, folder):
    findscu, server, port = need("findscu"), need("wlmscpfs"), unused_port()
    ours = start(f"file://{folder}")

    with running([server, "-dfp", str(folder.parent), "-dfr", str(port)], port, folder=folder.parent):
        for query in QUERIES:
            keys = [*(key for key in TOLD if not any(asked.startswith(key) for asked in query)), *query]
            expected = asked_by_dcmtk(findscu, port, *keys)
            told = asked_by_dcmtk(findscu, ours.port, *keys)
            assert _values(told) == _values(expected), query


def test_dcmtk_is_told_what_was_pushed(start):
    findscu, bridge = need("findscu"), start()
    bridge.push([an_item(number, step={"00400002": f"202401{number + 10}"}) for number in range(20)])

    count, log = asked_by_dcmtk(
        findscu, bridge.port, *TOLD, f"{STEP}ScheduledProcedureStepStartDate=20240112-20240114"
    )

    assert count == 3, log


def _values(answer: tuple[int, str]) -> list[tuple[str, ...]]:
    """The values that each answer of a log has, whatever their order."""
    _, log = answer
    answers = log.split("Find Response:")[1:]
    found = [re.findall(r"\((?!0008,0005)[0-9a-f,]{9}\) .. \[([^\]]*)", each) for each in answers]
    return sorted(tuple(value.strip() for value in each) for each in found)
