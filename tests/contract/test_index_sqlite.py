"""What only an index in a file must withstand: other threads and processes, crashes, damage, slowness."""

import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import apsw
import pytest

from service.dicom.attributes import ATTRIBUTES, Origin
from service.dicom.errors import IndexUnavailable, TooMany
from service.dicom.query import Query
from service.dicom.record import InstanceRecord
from service.dicom.resource import Level, Resource
from service.environment import SettingError
from service.index.memory import MemoryIndex
from service.index.migrations import schema_files
from service.index.open import open_index
from service.index.port import Added, OnDuplicate
from service.index.sqlite import SqliteIndex

type Builder = Callable[..., InstanceRecord]

REFUSE = OnDuplicate.REFUSE


def test_nobody_else_on_the_machine_can_read_the_index(tmp_path: Path, a_record: Builder) -> None:
    index = SqliteIndex(tmp_path / "index.db")
    index.add([a_record("1.1", "1.1.1", "1.1.1.1")], on_duplicate=REFUSE)
    modes = {
        file.name: file.stat().st_mode & 0o077
        for file in tmp_path.glob("index.db*")
        if file.suffix != ".lock"
    }
    index.close()

    assert set(modes) == {"index.db", "index.db-wal", "index.db-shm"}
    assert not any(modes.values())


def test_of_many_writers_of_one_instance_exactly_one_enters_it(tmp_path: Path, a_record: Builder) -> None:
    indexes = [SqliteIndex(tmp_path / "index.db", turn_wait_s=200.0) for _ in range(2)]
    start = Barrier(8)

    def write(number: int) -> list[Added]:
        index = indexes[number % 2]
        start.wait(60)
        outcomes = []
        for turn in range(10):
            shared = a_record("1.1", "1.1.1", f"1.1.1.{turn}", upload=f"{number}")
            own = a_record("1.1", "1.1.2", f"1.1.2.{number}.{turn}")
            outcomes += [outcome.added for outcome in index.add([shared, own], on_duplicate=REFUSE)][:1]
        return outcomes

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(write, range(8)))

    by_turn = [sorted(added.name for added in turn) for turn in zip(*outcomes, strict=True)]
    assert by_turn == [["NEW"] + ["SAME"] * 7] * 10
    assert len(indexes[0].locate(Resource("1.1"))) == 10 + 80
    (study,) = indexes[1].find(Query(level=Level.STUDY)).matches
    assert b'"00201206":{"vr":"IS","Value":[2]}' in study
    assert b'"00201208":{"vr":"IS","Value":[90]}' in study
    assert len(indexes[1].doomed(100)) == 70
    for index in indexes:
        index.close()


def test_readers_go_on_while_others_write(tmp_path: Path, a_record: Builder) -> None:
    index = SqliteIndex(tmp_path / "index.db")
    index.add([a_record("1.1", "1.1.1", "1.1.1.0")], on_duplicate=REFUSE)

    def write(number: int) -> None:
        index.add([a_record("1.1", "1.1.1", f"1.1.1.{number}")], on_duplicate=REFUSE)

    def read(_: int) -> tuple[int, int]:
        documents = index.documents(Resource("1.1"))
        assert documents is not None
        return documents.count, int(documents.generation.split("-")[0])

    with ThreadPoolExecutor(6) as threads:
        writes = [threads.submit(write, number) for number in range(1, 60)]
        counts = [threads.submit(read, number).result(200) for number in range(60)]
        for write_done in writes:
            write_done.result(200)

    assert all(rows == generation for rows, generation in counts)
    assert len(index.locate(Resource("1.1"))) == 60
    index.close()


def test_what_was_added_is_there_after_closing_and_reopening(tmp_path: Path, a_record: Builder) -> None:
    record = a_record(frames=[1, 5, 9], findings=("Odd.",))
    index = SqliteIndex(tmp_path / "deep" / "index.db")
    index.add([record], on_duplicate=REFUSE)
    (before,) = index.locate(Resource("1.1"))
    documents = index.documents(Resource("1.1"))
    assert documents is not None
    index.close()

    again = SqliteIndex(tmp_path / "deep" / "index.db")

    assert again.locate(Resource("1.1")) == [before]
    assert again.documents(Resource("1.1"), unless=documents.generation) is None
    assert again.findings(record.key) == ("Odd.",)
    again.close()


def test_row_numbers_are_never_given_twice(tmp_path: Path, a_record: Builder) -> None:
    rows = []
    for number in range(3):
        index = SqliteIndex(tmp_path / "index.db")
        index.add([a_record(f"1.{number}")], on_duplicate=REFUSE)
        rows.append(index.locate(Resource(f"1.{number}"))[0].row)
        index.remove(Resource(f"1.{number}"))
        index.close()

    assert rows == [1, 2, 3]


_WRITER = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("builders", sys.argv[2])
builders = importlib.util.module_from_spec(spec)
spec.loader.exec_module(builders)
from service.index.port import OnDuplicate
from service.index.sqlite import SqliteIndex

index = SqliteIndex(sys.argv[1])
for number in range(10_000):
    index.add([builders.a_record(f"1.{number}")], on_duplicate=OnDuplicate.REFUSE)
    os.write(1, b"%d\\n" % number)
"""


def test_what_was_acknowledged_survives_a_killed_writer(tmp_path: Path, a_record: Builder) -> None:
    path = tmp_path / "index.db"
    builders = Path(__file__).with_name("conftest.py")
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), str(builders)], stdout=subprocess.PIPE, cwd=root
    ) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.read().splitlines(keepends=True)
        writer.wait(60)

    index = SqliteIndex(path)

    whole = [int(line) for line in acknowledged if line.endswith(b"\n")]
    assert len(whole) >= 20
    assert [number for number in whole if not index.locate(Resource(f"1.{number}"))] == []
    index.add([a_record("2.1")], on_duplicate=REFUSE)  # the lock went with the writer
    index.close()


def test_a_commit_is_durable_when_the_power_fails(tmp_path: Path) -> None:
    index = SqliteIndex(tmp_path / "index.db")

    with index._links.lent() as link:
        settings = [
            next(link.connection.execute(f"PRAGMA {name}"))[0] for name in ("journal_mode", "synchronous")
        ]

    assert settings == ["wal", 2]
    index.close()


def test_a_failed_batch_leaves_nothing_behind(tmp_path: Path, a_record: Builder) -> None:
    class Cut(Exception):
        pass

    def records() -> list[InstanceRecord]:
        class Batch(list[InstanceRecord]):
            def __iter__(self):  # a source that fails half way
                yield from [a_record("1.1"), a_record("1.2")]
                raise Cut

        return Batch()

    index = SqliteIndex(tmp_path / "index.db")
    with pytest.raises(Cut):
        index.add(records(), on_duplicate=REFUSE)

    assert index.find(Query(level=Level.STUDY)).matches == []
    kept = a_record("1.3", x00081030="another dictionary than the one undone")
    index.add([kept], on_duplicate=REFUSE)
    documents = index.documents(Resource("1.3"))
    assert documents is not None
    assert [json for json, _ in documents] == [kept.json]
    index.close()


def test_a_search_that_takes_too_long_is_ended_with_advice(tmp_path: Path, a_record: Builder) -> None:
    index = SqliteIndex(tmp_path / "index.db")
    index.add([a_record(f"1.{n}", x00100010=f"Doe^{n}") for n in range(400)], on_duplicate=REFUSE)
    index.close()
    hasty = SqliteIndex(tmp_path / "index.db", statement_limit_s=0.0)

    with pytest.raises(TooMany, match="Narrow it"):
        hasty.find(Query.from_url(Level.STUDY, [("ReferringPhysicianName", "*x*")]))

    assert len(hasty.locate(Resource("1.7"))) == 1  # the connection is as good as before
    hasty.close()


def test_a_sifting_search_that_takes_too_long_is_ended_with_advice(tmp_path: Path, a_record: Builder) -> None:
    index = SqliteIndex(tmp_path / "index.db", statement_limit_s=0.0)
    index.add([a_record("1.1", "1.1.1", f"1.1.1.{n}") for n in range(3)], on_duplicate=REFUSE)

    with pytest.raises(TooMany, match="Narrow it"):
        index.find(Query.from_url(Level.INSTANCE, [("SliceThickness", "1")], study="1.1"))
    index.close()


def test_a_closed_index_says_so(tmp_path: Path) -> None:
    index = SqliteIndex(tmp_path / "index.db")
    index.close()
    index.close()

    with pytest.raises(IndexUnavailable, match="closed"):
        index.locate(Resource("1.1"))


def test_a_file_that_is_no_index_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    path.write_bytes(b"no database" * 1000)

    with pytest.raises(IndexUnavailable) as raised:
        SqliteIndex(path)

    assert str(tmp_path) not in str(raised.value)


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(IndexUnavailable, match="ISTHMUS_INDEX"):
        SqliteIndex(tmp_path / "file" / "index.db")


def test_an_index_of_a_later_program_is_refused(tmp_path: Path) -> None:
    SqliteIndex(tmp_path / "index.db").close()
    connection = apsw.Connection(str(tmp_path / "index.db"))
    connection.execute("INSERT INTO schema_step VALUES (998, 1)")
    SqliteIndex(tmp_path / "index.db").close()  # a step that lets this program go on

    connection.execute("INSERT INTO schema_step VALUES (999, 999)")
    connection.close()

    with pytest.raises(IndexUnavailable, match="newer"):
        SqliteIndex(tmp_path / "index.db")


def test_every_attribute_has_its_column(tmp_path: Path) -> None:
    SqliteIndex(tmp_path / "index.db").close()
    connection = apsw.Connection(str(tmp_path / "index.db"))
    tables = {Level.STUDY: "study", Level.SERIES: "series", Level.INSTANCE: "instance"}

    missing = []
    for row in ATTRIBUTES:
        columns = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({tables[row.level]})")}
        if row.origin is not Origin.COMPUTED:
            missing += [column for column in row.columns if column not in columns]
    connection.close()

    assert missing == []


def test_schema_files_are_numbered_without_gaps() -> None:
    numbers = [file.number for file in schema_files("sqlite")]

    assert numbers == list(range(1, len(numbers) + 1))


def test_searches_use_an_index_from_the_first_day(tmp_path: Path) -> None:
    from service.index.searching import select
    from service.index.sqlite import SQLITE
    from service.index.statements import search

    index = SqliteIndex(tmp_path / "index.db")
    expected = [
        (Level.STUDY, [("StudyInstanceUID", "1")], "sqlite_autoindex_study_1 (study_uid=?)"),
        (Level.STUDY, [("PatientID", "x")], "study_by_patient_id (patient_id=?)"),
        (Level.STUDY, [("PatientName", "doe*")], "study_by_patient_name (patient_name>?"),
        (Level.STUDY, [("AccessionNumber", "x")], "study_by_accession_number"),
        (Level.STUDY, [("StudyDate", "20240101-")], "study_by_date (study_date>?"),
        (Level.STUDY, [], "study_by_date"),
        (Level.SERIES, [("SeriesInstanceUID", "1")], "series_by_uid"),
        (Level.SERIES, [("00400275.00400009", "x")], "request_by_step"),
        (Level.INSTANCE, [], "study_by_date"),
        (Level.INSTANCE, [("Modality", "CT")], "study_by_date"),
        (Level.INSTANCE, [("SOPInstanceUID", "1")], "instance_by_uid"),
    ]

    missed = []
    with index._links.lent() as link:
        for level, params, name in expected:
            query = Query.from_url(level, params)
            parts = search(query, SQLITE)
            (found,) = parts.selections()
            order = f"ORDER BY {parts.order_by} LIMIT ? OFFSET ?"
            sql = f"EXPLAIN QUERY PLAN {select(query, parts)}{found.sql} {order}"
            plan = [row[3] for row in link.connection.execute(sql, (*found.bound, 101, 0))]
            if not any(name in str(step) for step in plan):
                missed.append((level.name, params, plan))
    index.close()

    assert missed == []


@pytest.mark.parametrize(
    "url",
    ["", "sqlite", "sqlite://", "sqlite:///", "sqlite://./folder/", "mysql://x", "memory://x", "./index.db"],
)
def test_a_setting_that_names_no_index_is_refused(url: str) -> None:
    with pytest.raises(SettingError, match="ISTHMUS_INDEX"):
        open_index(url)


def test_the_setting_opens_the_index_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in (f"sqlite://{tmp_path}/absolute.db", "sqlite://./data/relative.db"):
        index = open_index(url)
        index.ready()
        assert isinstance(index, SqliteIndex)
        index.close()

    assert (tmp_path / "absolute.db").exists()
    assert (tmp_path / "data" / "relative.db").exists()
    assert isinstance(open_index("memory://"), MemoryIndex)
