"""Real objects in an index: described without error, and found alike by both readings of the contract."""

from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from service.dicom.describing import describe
from service.dicom.errors import ArchiveError
from service.dicom.query import Query
from service.dicom.record import InstanceRecord
from service.dicom.resource import Level
from service.dicom.scan import Scan
from service.index.memory import MemoryIndex
from service.index.port import FullIndex, OnDuplicate

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
FOLDERS = ("charset", "sr", "seg", "pr", "studies", "malformed", "rt", "waveform")
MOST_BYTES = 300_000

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the folder of real DICOM files is not here")


def records() -> Iterator[InstanceRecord]:
    paths = sorted(path for folder in FOLDERS for path in (DATA / folder).rglob("*") if path.is_file())
    for path in paths:
        if path.stat().st_size > MOST_BYTES:
            continue
        scan = Scan(header_limit=1 << 24)
        try:
            scan.push(memoryview(path.read_bytes()))
            found = scan.finish()
        except ArchiveError:
            continue
        yield InstanceRecord(
            key=found.key,
            sop_class=found.sop_class,
            syntax=found.syntax.uid,
            object_key=str(path.relative_to(DATA)),
            place="file:///data",
            size=path.stat().st_size,
            digest=found.digest,
            shape=found.shape,
            pixels=found.pixels,
            frames=found.frames,
            description=describe(found.elements),
            json=b"{%s}" % b",".join(found.elements[tag] for tag in sorted(found.elements)),
            findings=found.findings,
        )


SEARCHES: list[tuple[Level, list[tuple[str, str]]]] = [
    (Level.STUDY, [("includefield", "all")]),
    (Level.SERIES, [("includefield", "all")]),
    (Level.INSTANCE, []),
    (Level.STUDY, [("PatientName", "*^*")]),
    (Level.STUDY, [("PatientName", "wang"), ("fuzzymatching", "true")]),
    (Level.STUDY, [("StudyDate", "19900101-20101231"), ("StudyTime", "0900-1700")]),
    (Level.STUDY, [("ModalitiesInStudy", "CT\\SR")]),
    (Level.STUDY, [("PatientID", '""'), ("emptyvaluematching", "true")]),
    (Level.SERIES, [("SeriesNumber", "1")]),
    (Level.SERIES, [("Manufacturer", "*a*")]),
    (Level.INSTANCE, [("InstanceNumber", "1"), ("ImageType", "DERIVED")]),
    (Level.INSTANCE, [("ConceptNameCodeSequence.CodingSchemeDesignator", "DCM")]),
    (Level.INSTANCE, [("ContentDate", "2000-")]),
]


@pytest.mark.parametrize("open_index", ["sqlite", "postgres"], indirect=True)
def test_real_objects_are_found_alike_in_memory_and_in_a_database(
    open_index: Callable[[], FullIndex],
) -> None:
    entered = list(records())
    sql, memory = open_index(), MemoryIndex()
    outcomes = [index.add(entered, on_duplicate=OnDuplicate.KEEP) for index in (sql, memory)]

    differences = []
    for level, params in SEARCHES:
        query = Query.from_url(level, params)
        found, true = sql.find(query), memory.find(query)
        if (list(found.matches), found.total) != (list(true.matches), true.total):
            differences.append((level.name, params, found.total, true.total))
        for match in found.matches:
            parsed = orjson.loads(match.replace(b"\x00", b"").replace(b"\x01", b""))
            assert list(parsed) == sorted(parsed)

    assert len(entered) > 100
    assert outcomes[0] == outcomes[1]
    assert differences == []
