"""The schema of a PostgreSQL database: made once, changed under running pods, and used."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
import pytest

from service.dicom.attributes import ATTRIBUTES, Origin
from service.dicom.errors import IndexUnavailable
from service.dicom.query import Query
from service.dicom.record import InstanceRecord
from service.dicom.resource import Level
from service.index.migrations import schema_files
from service.index.port import OnDuplicate
from service.index.postgres import POSTGRES, PostgresIndex
from service.index.postgres_sessions import Session, as_bound, as_written
from service.index.searching import select
from service.index.statements import search
from tests.databases import (
    NoServer,
    a_schema,
    asked,
    own_server,
)

type Builder = Callable[..., InstanceRecord]

REFUSE, REPLACE = OnDuplicate.REFUSE, OnDuplicate.REPLACE


def test_pods_that_start_at_once_make_one_schema(postgres_url: str, a_record: Builder) -> None:
    start = Barrier(5)

    def begin(number: int) -> PostgresIndex:
        start.wait(60)
        return PostgresIndex(postgres_url)

    with ThreadPoolExecutor(5) as threads:
        pods = list(threads.map(begin, range(5)))

    steps = [(0, 0), *((file.number, file.oldest) for file in schema_files("postgres"))]
    assert asked(postgres_url, "SELECT number, oldest FROM schema_step ORDER BY 1") == steps
    assert len({pod._era for pod in pods}) == 1
    for number, pod in enumerate(pods):
        pod.add([a_record(f"1.{number}")], on_duplicate=REFUSE)
        pod.close()


def test_a_pod_waits_while_another_changes_the_schema(postgres_url: str) -> None:
    PostgresIndex(postgres_url).close()
    with ThreadPoolExecutor(1) as threads, psycopg.connect(postgres_url) as other:
        other.execute("DELETE FROM schema_step WHERE number > 0")
        other.commit()
        other.execute("SELECT 1 FROM schema_step WHERE number = 0 FOR UPDATE")
        waiting = threads.submit(PostgresIndex, postgres_url)
        blocked = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE%'"
        )
        while not asked(postgres_url, blocked):
            assert not waiting.done()
        for file in schema_files("postgres"):  # the other pod has done it
            other.execute("INSERT INTO schema_step VALUES (%s, %s)", (file.number, file.oldest))
        other.commit()

        waiting.result(60).close()


def test_an_older_pod_lives_with_a_later_schema_that_tolerates_it(
    pod: PostgresIndex, postgres_url: str, a_record: Builder
) -> None:
    asked(postgres_url, "INSERT INTO schema_step VALUES (998, 1) RETURNING 1")
    with psycopg.connect(postgres_url, autocommit=True) as later:
        later.execute("ALTER TABLE instance ADD COLUMN later TEXT")
        later.execute("ALTER TABLE study ADD COLUMN later INTEGER NOT NULL DEFAULT 7")

    pod.ready()
    started = PostgresIndex(postgres_url)
    for index, uid in ((pod, "1.1"), (started, "1.2")):
        index.add([a_record(uid)], on_duplicate=REFUSE)
    assert len(pod.find(Query(level=Level.STUDY)).matches) == 2
    started.close()


def test_an_older_pod_is_not_ready_on_a_schema_that_does_not_tolerate_it(
    pod: PostgresIndex, postgres_url: str
) -> None:
    asked(postgres_url, "INSERT INTO schema_step VALUES (999, 999) RETURNING 1")

    with pytest.raises(IndexUnavailable, match="newer"):
        pod.ready()
    with pytest.raises(IndexUnavailable, match="newer"):
        PostgresIndex(postgres_url)


def test_every_attribute_has_its_column(pod: PostgresIndex, postgres_url: str) -> None:
    found = asked(
        postgres_url,
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = current_schema()",
    )
    tables = {Level.STUDY: "study", Level.SERIES: "series", Level.INSTANCE: "instance"}
    wanted = {
        (tables[row.level], column)
        for row in ATTRIBUTES
        if row.origin is not Origin.COMPUTED
        for column in row.columns
    }

    assert wanted - set(found) == set()


def test_no_text_is_ordered_by_the_database_s_collation(pod: PostgresIndex, postgres_url: str) -> None:
    found = asked(
        postgres_url,
        "SELECT relname, attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid"
        " JOIN pg_collation o ON o.oid = attcollation WHERE relkind = 'r' AND collname <> 'C'"
        " AND relnamespace = current_schema()::regnamespace",
    )

    assert found == [("state", "name")]


def test_schema_files_are_numbered_without_gaps() -> None:
    files = schema_files("postgres")

    assert [file.number for file in files] == list(range(1, len(files) + 1))
    assert all(1 <= file.oldest <= file.number for file in files)


def fill(url: str) -> None:
    """Rows enough to make an index worth while."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO study (study_uid, study_date, study_time, patient_name, patient_id,"
            " accession_number, summary) SELECT '1.' || n, (20000101 + n % 28)::text, '101500.000000',"
            " md5(n::text) || '^' || n, n::text, n::text, '' FROM generate_series(1, 8000) n"
        )
        connection.execute(
            "INSERT INTO series (study, series_uid, modality, series_number, summary, dictionary)"
            " SELECT id, study_uid || '.1', 'CT', 1, '', '' FROM study"
        )
        connection.execute(
            "INSERT INTO instance (series, instance_uid, sop_class, syntax, object_key, place, size, digest,"
            " data_offset, head_fits, summary, json)"
            " SELECT id, series_uid || '.1', '1', '1', series_uid, '', 1, '', 0, 1, '', '' FROM series"
        )
        connection.execute("INSERT INTO request (series, step_id) SELECT id, id::text FROM series")
        connection.execute("ANALYZE study, series, instance, request")


def plan(index: PostgresIndex, level: Level, params: list[tuple[str, str]]) -> str:
    """How the database goes about a search."""
    query = Query.from_url(level, params)
    parts = search(query, POSTGRES)
    (found,) = parts.selections()
    sql = f"EXPLAIN {select(query, parts)}{found.sql} ORDER BY {parts.order_by} LIMIT ? OFFSET ?"

    def work(session: Session) -> str:
        bound = as_bound((*found.bound, 101, 0))
        rows = session.connection.execute(as_written(sql), bound, prepare=False).fetchall()
        return "\n".join(row[0] for row in rows)

    return index._sessions.carry_out(work)


def test_searches_use_an_index(pod: PostgresIndex, postgres_url: str) -> None:
    fill(postgres_url)
    expected = [
        (Level.STUDY, [("StudyInstanceUID", "1")], "study_study_uid_key"),
        (Level.STUDY, [("PatientID", "x")], "study_by_patient_id"),
        (Level.STUDY, [("PatientName", "doe*")], "study_by_patient_name"),
        (Level.STUDY, [("AccessionNumber", "x")], "study_by_accession_number"),
        (Level.STUDY, [("StudyDate", "20240101-")], "study_by_date"),
        (Level.STUDY, [], "study_by_date"),
        (Level.SERIES, [], "study_by_date"),
        (Level.SERIES, [("SeriesInstanceUID", "1")], "series_by_uid"),
        (Level.SERIES, [("00400275.00400009", "x")], "request_by_step"),
        (Level.INSTANCE, [], "study_by_date"),
        (Level.INSTANCE, [("Modality", "CT")], "study_by_date"),
        (Level.INSTANCE, [("SOPInstanceUID", "1")], "instance_by_uid"),
    ]

    plans = [(level.name, params, name, plan(pod, level, params)) for level, params, name in expected]

    assert [
        missed for missed in plans if missed[2] not in missed[3] or "Seq Scan on study" in missed[3]
    ] == []


def test_parts_of_names_are_found_by_trigrams_where_the_database_has_them() -> None:
    try:
        with own_server(trigrams=True) as server, a_schema(server.url) as url:
            index = PostgresIndex(url)
            fill(url)
            for params in (
                [("PatientName", "*c81e*")],
                [("PatientName", "c81e72"), ("fuzzymatching", "true")],
            ):
                assert "study_by_part_of_name" in plan(index, Level.STUDY, params)
                assert len(index.find(Query.from_url(Level.STUDY, params)).matches) > 0
            index.close()
    except NoServer as reason:
        pytest.skip(str(reason))
