"""The synthetic archive of `tests.bench.scale` is what the index itself would have written."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from service.dicom.query import Query
from service.dicom.record import InstanceRecord
from service.dicom.resource import Level, Resource
from service.index.memory import MemoryIndex
from service.index.port import FullIndex, OnDuplicate
from service.index.postgres import PostgresIndex
from service.index.sqlite import SQLITE, SqliteIndex
from service.index.statements import search
from tests.bench.scale_filling import fill_postgres, fill_sqlite
from tests.bench.scale_population import record, records_of
from tests.databases import contradictions, emptied

STUDIES = 100
QUERIES: list[tuple[Level, list[tuple[str, str]]]] = [
    (Level.STUDY, []),
    (Level.STUDY, [("includefield", "all"), ("limit", "20")]),
    (Level.STUDY, [("PatientName", "*an*"), ("ModalitiesInStudy", "CT")]),
    (Level.SERIES, [("Modality", "US")]),
    (Level.SERIES, [("RequestAttributesSequence.ScheduledProcedureStepID", "SPS00000001*")]),
    (Level.INSTANCE, [("NumberOfFrames", "30"), ("includefield", "00204000")]),
    (Level.INSTANCE, [("orderby", "-SOPInstanceUID"), ("ImageType", "AXIAL"), ("limit", "300")]),
]


def added(index: FullIndex, studies: int = STUDIES) -> FullIndex:
    for study in range(studies):
        index.add(list(records_of(study)), on_duplicate=OnDuplicate.REFUSE)
    return index


@pytest.fixture(params=["sqlite", "postgres"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[FullIndex, FullIndex]]:
    """An index filled in bulk and one of the same kind that everything was added to."""
    if request.param == "sqlite":
        fill_sqlite(tmp_path / "scaled.db", STUDIES, makers=0)
        indexes = SqliteIndex(tmp_path / "scaled.db"), SqliteIndex(tmp_path / "added.db")
        with closing(indexes[0]) as scaled, closing(indexes[1]) as other:
            yield scaled, added(other)
    else:
        schemas: Callable[[int], str] = request.getfixturevalue("schemas")
        for number in (901, 902):
            emptied(schemas(number))
        fill_postgres(schemas(901), STUDIES, copiers=1)
        pods = PostgresIndex(schemas(901)), PostgresIndex(schemas(902))
        with closing(pods[0]) as scaled_pod, closing(pods[1]) as other_pod:
            yield scaled_pod, added(other_pod)


def test_a_scaled_index_answers_like_one_that_was_added_to(both: tuple[FullIndex, FullIndex]):
    scaled, other = both

    for level, params in QUERIES:
        query = Query.from_url(level, params)
        assert scaled.find(query) == other.find(query)
        assert scaled.find(query).matches
    for study in (0, 4, 8, 41):
        resource = Resource(record(study, 0, 0).key.study)
        assert [held.key for held in scaled.locate(resource)] == [h.key for h in other.locate(resource)]
        assert _documents(scaled, resource) == _documents(other, resource)
    video = Resource(*_uids(8, 1))
    frames = [index.frames(index.locate(video)[0], [1, 30]) for index in both]
    assert frames[0] == frames[1] is not None


def test_a_scaled_index_takes_and_removes_instances_like_any_other(both: tuple[FullIndex, FullIndex]):
    more = [*records_of(STUDIES), record(3, 0, 5), record(3, 0, 0)]

    for index in both:
        index.add(more, on_duplicate=OnDuplicate.REFUSE)
        index.remove(Resource(*_uids(0, 1)))
        index.remove(Resource(record(2, 0, 0).key.study))

    scaled, other = both
    query = Query.from_url(Level.SERIES, [("includefield", "all")])
    assert scaled.find(query) == other.find(query)


def test_every_row_of_a_scaled_sqlite_index_is_that_of_one_that_was_added_to(tmp_path: Path):
    fill_sqlite(tmp_path / "scaled.db", 30, makers=0)
    with closing(SqliteIndex(tmp_path / "added.db")) as other:
        added(other, 30)

    tables = [_tables(tmp_path / name) for name in ("scaled.db", "added.db")]

    assert tables[0] == tables[1]
    assert len(tables[0]["instance"]) == 300


def test_the_tables_of_a_scaled_postgresql_index_agree(schemas: Callable[[int], str]):
    fill_postgres(schemas(903), 30, copiers=1)

    assert contradictions(schemas(903)) == []


@pytest.fixture(scope="module")
def crowded(
    a_record: Callable[..., InstanceRecord], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[FullIndex, FullIndex]]:
    """More studies of Common than are looked up one by one, a few others, in SQLite and in memory."""
    names: list[str | list[str]] = [f"Common^{number}" for number in range(2_100)]
    names += ["Rare^Anna", "Doe=山田^太郎", ["Doe^Jane", "Rare^Two Names"], "Uncommon=共^Common"]
    records = [
        a_record(f"1.{number}", x00100010=name, x00100020=f"PAT{number}", x00080050=f"ACC{number}")
        for number, name in enumerate(names)
    ]
    with closing(SqliteIndex(tmp_path_factory.mktemp("crowded") / "index.db")) as index:
        memory = MemoryIndex()
        for one in (index, memory):
            one.add(records, on_duplicate=OnDuplicate.REFUSE)
        yield index, memory


@pytest.mark.parametrize(
    "params",
    [
        [("PatientName", "*are*")],
        [("PatientName", "*omm*")],
        [("PatientName", "*omm*"), ("offset", "1000"), ("limit", "50")],
        [("PatientName", "?are*")],
        [("PatientName", "*山*")],
        [("PatientName", "*=*田*")],
        [("PatientName", "*of none*")],
        [("PatientName", "*anna\\*two*")],
        [("PatientName", "two ra"), ("fuzzymatching", "true")],
        [("PatientName", "comm"), ("fuzzymatching", "true")],
        [("PatientID", "*7")],
        [("AccessionNumber", "*2101\\*2103")],
        [("PatientName", "*are*"), ("orderby", "PatientID"), ("StudyInstanceUID", "1.2100,1.2102,1.7")],
    ],
)
@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.INSTANCE])
def test_parts_of_texts_are_found_whether_few_or_many_have_them(
    crowded: tuple[FullIndex, FullIndex], level: Level, params: list[tuple[str, str]]
):
    index, memory = crowded
    query = Query.from_url(level, params)

    assert index.find(query) == memory.find(query)


def test_a_rare_part_of_a_name_is_looked_for_in_the_index_of_names_alone(tmp_path: Path):
    with closing(SqliteIndex(tmp_path / "index.db")) as index, index._links.lent() as link:
        parts = search(Query.from_url(Level.STUDY, [("PatientName", "*rare*")]), SQLITE)
        assert parts.candidates is not None
        (found,) = parts.narrowed([1, 2]).selections()
        plans = [
            [str(row[3]) for row in link.connection.execute(f"EXPLAIN QUERY PLAN {sql}", bound)]
            for sql, bound in (
                (parts.candidates.sql, parts.candidates.bound),
                (f"SELECT s.id FROM {found.sql} ORDER BY {parts.order_by} LIMIT 101", found.bound),
            )
        ]

    assert any("COVERING INDEX study_by_patient_name" in step for step in plans[0])
    assert not any(step.startswith("SCAN s") for step in plans[0])
    assert any("INTEGER PRIMARY KEY" in step for step in plans[1])


def _uids(study: int, series: int) -> tuple[str, str]:
    key = record(study, series, 0).key
    return key.study, key.series


def _documents(index: FullIndex, resource: Resource) -> list[tuple[bytes, str]]:
    found = index.documents(resource)
    assert found is not None
    return list(found)


def _tables(path: Path) -> dict[str, list[object]]:
    """The schema and all rows of all tables."""
    connection = apsw.Connection(str(path))
    schema = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    tables = {
        str(name): list(connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2"))
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'schema%'"
        ).fetchall()
    }
    connection.close()
    return {"schema": list(schema), **tables}
