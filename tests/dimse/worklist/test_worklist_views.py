"""Views in databases as sources of the worklist: columns, dates in the statement, outages, bounds."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from bridge.worklist import views
from bridge.worklist.columns import steps_of_row
from bridge.worklist.locations import read_locations
from bridge.worklist.settings import WorklistSettings
from bridge.worklist.views import View
from service.dicom.errors import BadRequest
from tests.databases import NoServer, a_schema, own_server
from tests.dimse.dimse_peers import PATIENCE_S
from tests.dimse.worklist.scheduling import a_request, an_item, patients

COLUMNS = (
    "patient_id, patient_name, accession_number, StudyInstanceUID, requested_procedure_id, "
    "scheduled_procedure_step_id, modality, scheduled_station_ae_title, scheduled_at, colour"
)
Make = Callable[..., str]


def rows(count: int, moment: str = "2024-{month:02}-15 10:{minute:02}:00") -> list[tuple[str | None, ...]]:
    return [
        (
            f"P{n}", "Müller^J", f"A{n}", f"1.2.{n}", f"R{n}", f"S{n}", "CT", "CT1",
            moment.format(month=n % 12 + 1, minute=n % 60), "red",
        )
        for n in range(count)
    ]  # fmt: skip


@pytest.fixture
def sqlite(tmp_path: Path) -> Make:
    """Makes a view in an SQLite file; the setting that names it."""

    def make(count: int = 24, moment: str = "2024-{month:02}-15 10:{minute:02}:00") -> str:
        with closing(sqlite3.connect(tmp_path / "ris.db")) as database, database:
            database.execute(f"CREATE TABLE orders ({COLUMNS})")
            marks = ",".join("?" * 10)
            database.executemany(f"INSERT INTO orders VALUES ({marks})", rows(count, moment))
            database.execute("CREATE VIEW worklist AS SELECT * FROM orders")
        return f"sqlite://{tmp_path}/ris.db?view=worklist"

    return make


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    try:
        with own_server() as server:
            yield server.url
    except NoServer as reason:
        pytest.skip(str(reason))


@pytest.fixture
def postgresql(server: str) -> Iterator[Make]:
    """Makes a view in a PostgreSQL database; the setting that names it."""
    with a_schema(server) as url:

        def make(count: int = 24, kind: str = "timestamp") -> str:
            with psycopg.connect(url) as database:
                columns = COLUMNS.replace(", ", " text, ").replace(
                    "scheduled_at text", f"scheduled_at {kind}"
                )
                database.execute(f"CREATE TABLE orders ({columns} text)")
                marks = ",".join(["%s"] * 10)
                with database.cursor() as cursor:
                    cursor.executemany(f"INSERT INTO orders VALUES ({marks})", rows(count))
                database.execute("CREATE VIEW worklist AS SELECT * FROM orders")
            return f"{url}{'&' if '?' in url else '?'}view=worklist"

        yield make


@pytest.fixture(params=["sqlite", "postgresql"])
def make(request: pytest.FixtureRequest) -> Make:
    found: Make = request.getfixturevalue(request.param)
    return found


def test_rows_are_told_as_steps(start, make):
    bridge = start(make())

    query = a_request(
        ScheduledProcedureStepStartDate="20240315",
        ScheduledProcedureStepStartTime="1000-1010",
        request_PatientName="",
    )
    (match,) = bridge.ask(query).matches

    assert (match.PatientID, match.PatientName) == ("P2", "Müller^J")
    (step,) = match.ScheduledProcedureStepSequence
    assert (step.ScheduledProcedureStepID, step.ScheduledStationAETitle) == ("S2", "CT1")
    assert step.ScheduledProcedureStepStartTime == "100200"
    assert len(bridge.ask().matches) == 24


def test_dates_go_into_the_statement(start, make):
    # More rows than may be read, of which one day has few.
    bridge = start(make(400), steps=50)

    told = patients(bridge.ask(a_request(ScheduledProcedureStepStartDate="20240515")))

    assert told == {f"P{n}" for n in range(4, 400, 12)}
    assert bridge.ask().final.status == 0xA700


@pytest.mark.parametrize("kind", ["timestamptz", "text", "date"])
def test_the_type_of_the_date_is_the_views_own(start, postgresql, kind):
    bridge = start(postgresql(24, kind))

    query = a_request(ScheduledProcedureStepStartDate="20240201-20240331")
    assert patients(bridge.ask(query)) == {"P1", "P2", "P13", "P14"}


@pytest.mark.parametrize("moment", ["2024-{month:02}-15T10:{minute:02}", "2024{month:02}15"])
def test_dates_in_text_are_found_in_both_spellings(start, sqlite, moment):
    bridge = start(sqlite(24, moment))

    for range_, months in (("20240215", {1}), ("-20240215", {0, 1}), ("20241101-", {10, 11})):
        found = patients(bridge.ask(a_request(ScheduledProcedureStepStartDate=range_)))
        assert found == {f"P{n}" for month in months for n in (month, month + 12)}


def test_what_changes_in_the_database_is_told(start, sqlite, tmp_path):
    bridge = start(sqlite(1))
    assert patients(bridge.ask()) == {"P0"}
    with closing(sqlite3.connect(tmp_path / "ris.db")) as database, database:
        database.execute("UPDATE orders SET patient_id = 'changed'")

    assert patients(bridge.ask()) == {"changed"}


def test_a_view_that_is_gone_fails_the_query(start, sqlite, tmp_path, caplog):
    bridge = start(sqlite(1))
    with closing(sqlite3.connect(tmp_path / "ris.db")) as database, database:
        database.execute("DROP VIEW worklist")

    assert bridge.ask().final.status == 0xA700
    assert "no such view" in caplog.text


def test_a_database_that_is_away_fails_the_query(start, tmp_path):
    bridge = start(f"postgresql://nobody@/ris?host={tmp_path}&view=worklist")

    assert bridge.ask().final.status == 0xA700


def test_a_statement_that_takes_too_long_is_ended(start, tmp_path):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    with closing(sqlite3.connect(tmp_path / "ris.db")) as database, database:
        database.execute(f"CREATE VIEW worklist AS SELECT count(*) AS modality FROM ({endless})")

    bridge = start(f"sqlite://{tmp_path}/ris.db?view=worklist", statement_s=0.1)

    assert bridge.ask().final.status == 0xA700


def test_a_query_that_is_called_off_holds_up_nobody_else(sqlite, monkeypatch):
    begun, ended = threading.Event(), threading.Event()
    where: list[str] = []

    def some(rows: object) -> list[Sequence[Any]]:
        begun.set()
        ended.wait(PATIENCE_S)
        return []

    def interrupt(rows: object) -> None:  # as one that calls a database which does not answer
        where.append(threading.current_thread().name)
        ended.set()

    monkeypatch.setattr(views._SqliteRows, "some", some)
    monkeypatch.setattr(views._SqliteRows, "interrupt", interrupt)

    async def work() -> str:
        settings = WorklistSettings()
        view = View(read_locations(sqlite(1))[0], settings)
        found = view.steps(None)
        asking = asyncio.create_task(anext(found))
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await view.close()
        return threading.current_thread().name

    assert asyncio.run(work()) not in where
    assert len(where) == 1


def test_a_bad_row_is_passed_over(start, tmp_path, caplog):
    with closing(sqlite3.connect(tmp_path / "ris.db")) as database, database:
        database.execute("CREATE TABLE worklist (item, patient_id)")
        items = [orjson.dumps(an_item(1)), "{", '{"00100020": 1}', orjson.dumps(an_item(2)), "x" * 10**6]
        database.executemany("INSERT INTO worklist VALUES (?, ?)", [(one, None) for one in items])
        database.execute("UPDATE worklist SET patient_id = 'other' WHERE rowid = 4")

    bridge = start(f"sqlite://{tmp_path}/ris.db?view=worklist")

    assert patients(bridge.ask()) == {"P1", "other"}
    assert "rows=3 passed over" in caplog.text


def test_the_database_is_only_read(start, sqlite, tmp_path):
    bridge = start(sqlite(1))
    bridge.ask()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["ris.db", "state"]


def test_days_that_are_whole_numbers_are_found(start, tmp_path):
    with closing(sqlite3.connect(tmp_path / "ris.db")) as database, database:
        database.execute("CREATE TABLE orders (patient_id, day INTEGER, modality)")
        database.executemany(
            "INSERT INTO orders VALUES (?, ?, 'CT')", [(f"P{day}", 20240100 + day) for day in (14, 15, 16)]
        )
        names = "patient_id, day + 0 AS scheduled_procedure_step_start_date, modality"
        database.execute(f"CREATE VIEW worklist AS SELECT {names} FROM orders")
    bridge = start(f"sqlite://{tmp_path}/ris.db?view=worklist")

    for range_, days in (
        ("20240115", {15}),
        ("20240115-", {15, 16}),
        ("-20240115", {14, 15}),
        ("", {14, 15, 16}),
    ):
        told = patients(bridge.ask(a_request(ScheduledProcedureStepStartDate=range_)))
        assert told == {f"P{day}" for day in days}


def test_text_that_is_not_utf_8_fails_the_query_and_says_so(start, tmp_path, caplog):
    with closing(sqlite3.connect(tmp_path / "ris.db")) as database, database:
        database.execute("CREATE TABLE worklist (patient_id, modality)")
        database.execute("INSERT INTO worklist VALUES (CAST(x'4dfc6c' AS TEXT), 'CT')")

    assert start(f"sqlite://{tmp_path}/ris.db?view=worklist").ask().final.status == 0xA700
    assert "UnicodeDecodeError" in caplog.text


def test_moments_that_python_does_not_have_cost_no_other_row(start, postgresql, server):
    setting = postgresql(3, "timestamp")
    with psycopg.connect(setting.rpartition("view=")[0].rstrip("?&")) as database:
        database.execute("UPDATE orders SET scheduled_at = 'infinity' WHERE patient_id = 'P1'")

    assert patients(start(setting).ask()) == {"P0", "P2"}


@pytest.mark.parametrize(
    ("moment", "day", "minute"),
    [
        ("2024-01-15 22:05:10.123456", "20240115", "220510.123456"),
        ("2024-01-15T22:05:10.1234567Z", "20240115", "220510.123456"),
        ("20240115 2205", "20240115", "2205"),
        ("2024-01-15 22:05:10+01", "20240115", "220510"),
        ("2024-01-15T22:05+05:30", "20240115", "2205"),
        ("2024-01-15", "20240115", None),
        (20240115, "20240115", None),
        (datetime(2024, 1, 15, 22, 5), "20240115", "220500"),
        (date(987, 1, 15), "09870115", None),
        (b"2024-01-15 22:05", "20240115", "2205"),
    ],
)
def test_a_moment_is_read_as_iso_8601_writes_it(moment, day, minute):
    (step,) = steps_of_row(["modality", "scheduled_at"], ["CT", moment])

    (item,) = step.dataset()["00400100"]["Value"]
    assert item["00400002"]["Value"] == [day]
    assert item.get("00400003", {"Value": [None]})["Value"] == [minute]


@pytest.mark.parametrize(
    "moment", ["2024-01-15 10:05 PM", "15.01.2024", "2024-13-45", "2024-01-15 25:00", b"\xff"]
)
def test_a_moment_that_cannot_be_read_makes_no_step(moment):
    with pytest.raises(BadRequest):
        steps_of_row(["modality", "scheduled_at"], ["CT", moment])


def test_a_birth_date_that_is_none_is_left_out():
    (step,) = steps_of_row(["modality", "patient_birth_date"], ["CT", "15.01.1970"])

    assert "00100030" not in step.dataset()


def test_values_become_what_the_attribute_holds():
    columns = ["PATIENT_BIRTH_DATE", "pregnancy_status", "patientweight", "requesting_physician", "modality"]
    (step,) = steps_of_row(columns, ["1970-02-03", 4, 81.5, "Grey^M=灰^M", "MR\\CT"])

    dataset = step.dataset()
    assert dataset["00100030"]["Value"] == ["19700203"]
    assert dataset["001021C0"]["Value"] == [4]
    assert dataset["00101030"]["Value"] == ["81.5"]
    assert dataset["00321032"]["Value"] == [{"Alphabetic": "Grey^M", "Ideographic": "灰^M"}]
    assert dataset["00400100"]["Value"][0]["00080060"]["Value"] == ["MR", "CT"]
