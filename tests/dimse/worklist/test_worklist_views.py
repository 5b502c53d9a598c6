"""Views in databases as sources of the worklist: columns, dates in the statement, outages, bounds."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import orjson
import psycopg
import pytest

from bridge.worklist.columns import steps_of_row
from tests.databases import NoServer, a_schema, own_server
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


def test_values_become_what_the_attribute_holds():
    columns = ["PATIENT_BIRTH_DATE", "pregnancy_status", "patientweight", "requesting_physician", "modality"]
    (step,) = steps_of_row(columns, ["1970-02-03", 4, 81.5, "Grey^M=灰^M", "MR\\CT"])

    dataset = step.dataset()
    assert dataset["00100030"]["Value"] == ["19700203"]
    assert dataset["001021C0"]["Value"] == [4]
    assert dataset["00101030"]["Value"] == ["81.5"]
    assert dataset["00321032"]["Value"] == [{"Alphabetic": "Grey^M", "Ideographic": "灰^M"}]
    assert dataset["00400100"]["Value"][0]["00080060"]["Value"] == ["MR", "CT"]
