"""A PostgreSQL database that goes away, comes back, hangs, or takes too long."""

import signal
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from threading import Barrier, Event

import psycopg
import pytest

from service.dicom.errors import IndexUnavailable, TooMany
from service.dicom.query import Query
from service.dicom.record import InstanceRecord
from service.dicom.resource import Level, Resource
from service.index.port import Added, OnDuplicate
from service.index.postgres import PostgresIndex
from service.index.postgres_sessions import Session, Sessions
from tests.databases import (
    Line,
    Server,
    asked,
    contradictions,
    counts,
)

type Builder = Callable[..., InstanceRecord]

REFUSE, REPLACE = OnDuplicate.REFUSE, OnDuplicate.REPLACE


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["restart", "crash"])
def test_an_index_goes_on_when_its_database_is_back(
    server: Server, a_record: Builder, how: signal.Signals
) -> None:
    index = PostgresIndex(server.url)
    with ThreadPoolExecutor(4) as threads:  # several connections are open
        adding = [threads.submit(index.add, [a_record(f"1.{n}")], on_duplicate=REFUSE) for n in range(8)]
        assert [done.result(60)[0].added for done in adding] == [Added.NEW] * 8
    (held,) = index.locate(Resource("1.3"))

    server.stop(how)
    for call in (index.ready, lambda: index.locate(Resource("1.3")), lambda: index.remove(Resource("1.4"))):
        with pytest.raises(IndexUnavailable, match="does not answer"):
            call()
    with pytest.raises(IndexUnavailable):
        index.add([a_record("1.9")], on_duplicate=REFUSE)
    server.start()

    index.ready()
    assert index.locate(Resource("1.3")) == [held]
    assert index.add([a_record("1.9")], on_duplicate=REFUSE)[0].added is Added.NEW
    assert len(index.find(Query(level=Level.STUDY)).matches) == 9
    index.close()
    assert contradictions(server.url) == []


def test_a_restart_between_two_calls_is_not_noticed(server: Server, a_record: Builder) -> None:
    index = PostgresIndex(server.url)
    index.add([a_record("1.1")], on_duplicate=REFUSE)

    server.stop()
    server.start()

    assert index.add([a_record("1.2")], on_duplicate=REFUSE)[0].added is Added.NEW
    index.close()


def test_what_was_acknowledged_around_a_crash_is_there(server: Server, a_record: Builder) -> None:
    index = PostgresIndex(server.url)
    acknowledged: list[str] = []
    enough, again, ended = Event(), Event(), Event()

    def write(number: int) -> None:
        turn = 0
        while not ended.is_set():
            turn += 1
            uid = f"1.{number}.{turn}"
            try:
                index.add([a_record("1.1", f"1.1.{number % 2}", uid)], on_duplicate=REFUSE)
            except IndexUnavailable:
                again.wait(200)
                continue
            acknowledged.append(uid)
            if len(acknowledged) > 100:
                ended.set()
            elif len(acknowledged) > 30:
                enough.set()

    with ThreadPoolExecutor(4) as threads:
        writers = [threads.submit(write, number) for number in range(4)]
        assert enough.wait(200)
        server.stop(signal.SIGQUIT)
        server.start()
        again.set()
        for writer in writers:
            writer.result(200)

    there = {held.key.instance for held in index.locate(Resource("1.1"))}
    assert set(acknowledged) - there == set()
    assert counts(index) == (2, len(there))
    index.close()
    assert contradictions(server.url) == []


def cut_at_commit(url: str, table: str, event: str) -> None:
    """Have the connection of the first transaction that touches `table` cut off as it commits."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SEQUENCE cuts")
        connection.execute(
            "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF nextval('cuts') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
            " RETURN NULL; END $$"
        )
        connection.execute(
            f"CREATE CONSTRAINT TRIGGER cut AFTER {event} ON {table} DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION cut()".encode()
        )


def test_a_connection_that_is_lost_at_the_commit_is_replaced(
    pod: PostgresIndex, postgres_url: str, a_record: Builder
) -> None:
    cut_at_commit(postgres_url, "instance", "INSERT")

    (outcome,) = pod.add([a_record("1.1")], on_duplicate=REFUSE)

    assert (outcome.added, outcome.doomed) == (Added.NEW, None)
    assert asked(postgres_url, "SELECT last_value FROM cuts") == [(2,)]
    assert counts(pod) == (1, 1)


def test_what_was_committed_when_the_connection_broke_is_not_undone_by_trying_again(
    server: Server, line: Line, a_record: Builder
) -> None:
    index = PostgresIndex(line.url, fold_s=60)
    first, second = a_record("1.1", "1.1.1", "1.1.1.1"), a_record("1.1", "1.1.1", "1.1.1.2")
    index.add([first], on_duplicate=REFUSE)

    line.break_after = b"COMMIT\0"
    (outcome,) = index.add([second], on_duplicate=REFUSE)
    broken = not line.break_after

    assert broken
    assert (outcome.added, outcome.doomed) == (Added.NEW, None)  # its object must not be deleted
    assert index.doomed(10) == []
    assert counts(index) == (1, 2)

    line.break_after = b"COMMIT\0"
    assert sorted(index.remove(Resource("1.1"))) == sorted([first.object_key, second.object_key])
    assert not line.break_after
    assert index.locate(Resource("1.1")) == []
    index.close()
    assert contradictions(server.url) == []


def test_what_was_committed_and_removed_since_is_not_entered_again(
    server: Server, line: Line, a_record: Builder
) -> None:
    index, other = PostgresIndex(line.url, fold_s=60), PostgresIndex(server.url)
    record = a_record("1.1")
    # given: an instance is committed, the answer lost, and another pod removes it with its object
    line.break_after = b"COMMIT\0"
    line.meanwhile = lambda: other.clear(other.remove(Resource("1.1")))

    with pytest.raises(IndexUnavailable, match="again"):
        index.add([record], on_duplicate=REFUSE)

    assert not line.break_after
    assert index.locate(Resource("1.1")) == []
    index.close()
    other.close()
    assert contradictions(server.url) == []


def test_what_was_committed_and_replaced_since_does_not_come_back(
    server: Server, line: Line, a_record: Builder
) -> None:
    index, other = PostgresIndex(line.url, fold_s=60), PostgresIndex(server.url)
    uids = ("1.1", "1.1.1", "1.1.1.1")
    first, second, third = (a_record(*uids, content=bytes([n])) for n in range(3))
    index.add([first], on_duplicate=REPLACE)
    # given: the first is replaced by the second, the answer lost, and another pod stores the third
    line.break_after = b"COMMIT\0"
    line.meanwhile = lambda: other.add([third], on_duplicate=REPLACE)

    with pytest.raises(IndexUnavailable, match="again"):
        index.add([second], on_duplicate=REPLACE)

    assert [held.object_key for held in index.locate(Resource("1.1"))] == [third.object_key]
    assert sorted(index.doomed(10)) == sorted([first.object_key, second.object_key])
    index.close()
    other.close()
    assert contradictions(server.url) == []


def test_a_database_that_falls_silent_holds_nobody_for_ever(line: Line, a_record: Builder) -> None:
    index = PostgresIndex(f"{line.url}&connect_timeout=3", patience_s=2.0, fold_s=60)
    index.add([a_record("1.1")], on_duplicate=REFUSE)

    line.silent = True
    with pytest.raises(IndexUnavailable, match="does not answer"):
        index.locate(Resource("1.1"))
    line.silent = False

    assert len(index.locate(Resource("1.1"))) == 1
    index.close()


def test_a_deadlock_is_settled_by_doing_it_again(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE two AS SELECT n, 0 AS value FROM generate_series(1, 2) n")
    sessions = Sessions(postgres_url, most=4, wait_s=60)
    both = Barrier(2)
    attempts: list[int] = []

    def work(order: tuple[int, int]) -> None:
        def change(session: Session) -> None:
            attempts.append(order[0])
            with session.transaction("BEGIN"):
                session.run("UPDATE two SET value = value + 1 WHERE n = ?", (order[0],))
                if attempts.count(order[0]) == 1:
                    both.wait(60)
                session.run("UPDATE two SET value = value + 1 WHERE n = ?", (order[1],))

        sessions.carry_out(change)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, [(1, 2), (2, 1)]))

    sessions.close()
    assert len(attempts) > 2
    assert asked(postgres_url, "SELECT value FROM two") == [(2,), (2,)]


def test_a_search_that_takes_too_long_is_ended_with_advice(postgres_url: str, a_record: Builder) -> None:
    hasty = PostgresIndex(postgres_url, statement_limit_s=0.05, fold_s=60)
    hasty.add([a_record("1.1")], on_duplicate=REFUSE)
    with psycopg.connect(postgres_url) as other:
        other.execute("LOCK TABLE study IN ACCESS EXCLUSIVE MODE")

        with pytest.raises(TooMany, match="Narrow it"):
            hasty.find(Query(level=Level.STUDY))

    assert len(hasty.locate(Resource("1.1"))) == 1  # the connection is as good as before
    hasty.close()


def test_a_sifting_search_that_takes_too_long_is_ended_with_advice(
    postgres_url: str, a_record: Builder
) -> None:
    hasty = PostgresIndex(postgres_url)
    hasty.add([a_record("1.1", "1.1.1", f"1.1.1.{n}") for n in range(3)], on_duplicate=REFUSE)
    hasty._limit_s = 0.0

    with pytest.raises(TooMany, match="Narrow it"):
        hasty.find(Query.from_url(Level.INSTANCE, [("SliceThickness", "1")], study="1.1"))
    assert len(hasty.locate(Resource("1.1"))) == 3
    hasty.close()


def test_a_sifting_search_reads_more_documents_than_it_holds(pod: PostgresIndex, a_record: Builder) -> None:
    pod.add(
        [a_record("1.1", "1.1.1", f"1.1.1.{n}", x00180050=n % 2) for n in range(450)], on_duplicate=REFUSE
    )

    answer = pod.find(Query.from_url(Level.INSTANCE, [("SliceThickness", "1"), ("limit", "10")], study="1.1"))

    assert (len(answer.matches), answer.total) == (10, 225)


def test_a_writer_does_not_wait_for_ever(postgres_url: str, a_record: Builder) -> None:
    pod = PostgresIndex(postgres_url, lock_wait_s=0.05, fold_s=60)
    with psycopg.connect(postgres_url) as other:
        other.execute("LOCK TABLE instance")

        with pytest.raises(IndexUnavailable):
            pod.add([a_record("1.1")], on_duplicate=REFUSE)

    assert pod.add([a_record("1.1")], on_duplicate=REFUSE)[0].added is Added.NEW
    pod.close()


def test_connections_are_bounded_and_who_waits_too_long_is_told(postgres_url: str, a_record: Builder) -> None:
    index = PostgresIndex(postgres_url, connections=2, wait_s=0.05, fold_s=60)
    index.add([a_record("1.1")], on_duplicate=REFUSE)
    with psycopg.connect(postgres_url) as other, ThreadPoolExecutor(3) as threads:
        other.execute("LOCK TABLE study IN ACCESS EXCLUSIVE MODE")
        calls = [threads.submit(index.locate, Resource("1.1")) for _ in range(3)]
        (refused,) = wait(calls, timeout=60, return_when=FIRST_COMPLETED).done
        with pytest.raises(IndexUnavailable, match="in use"):
            refused.result(60)
        other.rollback()
        others = [call.result(60) for call in calls if call is not refused]

    assert [len(held) for held in others] == [1, 1]
    index.close()


def test_what_a_vanished_machine_has_locked_is_free_after_a_minute(postgres_url: str) -> None:
    sessions = Sessions(postgres_url, most=1, wait_s=60)

    def work(session: Session) -> object:
        with session.transaction("BEGIN"):
            return session.one("SHOW idle_in_transaction_session_timeout")

    assert sessions.carry_out(work) == "1min"
    sessions.close()


def test_a_database_of_another_encoding_is_refused(server: Server) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")

    with pytest.raises(IndexUnavailable, match="UTF8"):
        PostgresIndex(server.url.replace("/postgres?", "/latin?"))


def test_a_closed_index_says_so(postgres_url: str) -> None:
    index = PostgresIndex(postgres_url)
    index.close()
    index.close()

    with pytest.raises(IndexUnavailable, match="closed"):
        index.locate(Resource("1.1"))


def test_a_commit_is_durable_whatever_the_database_does_by_default(postgres_url: str) -> None:
    lax = f"{postgres_url}%20-csynchronous_commit%3Doff"
    strict = f"{postgres_url}%20-csynchronous_commit%3Dremote_apply"

    told = []
    for url in (lax, strict):
        session = Session(url)
        told.append(session.one("SHOW synchronous_commit"))
        session.connection.close()

    assert told == ["on", "remote_apply"]
