"""Several pods on one PostgreSQL database: who wins, what is counted, who is killed."""

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import psycopg

from service.dicom.query import Query
from service.dicom.record import InstanceRecord
from service.dicom.resource import Level, Resource
from service.index.port import Added, OnDuplicate
from service.index.postgres import PostgresIndex
from tests.databases import (
    asked,
    contradictions,
    counts,
    fold_all,
)

type Builder = Callable[..., InstanceRecord]

REFUSE, REPLACE = OnDuplicate.REFUSE, OnDuplicate.REPLACE


def test_of_many_writers_of_one_instance_exactly_one_enters_it(
    pods: list[PostgresIndex], postgres_url: str, a_record: Builder
) -> None:
    start = Barrier(8)

    def write(number: int) -> list[Added]:
        start.wait(60)
        outcomes = []
        for turn in range(6):
            shared = a_record("1.1", "1.1.1", f"1.1.1.{turn}", upload=f"{number}")
            own = a_record("1.1", "1.1.2", f"1.1.2.{number}.{turn}")
            outcomes += [one.added for one in pods[number % 2].add([shared, own], on_duplicate=REFUSE)][:1]
        return outcomes

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(write, range(8)))

    by_turn = [sorted(added.name for added in turn) for turn in zip(*outcomes, strict=True)]
    assert by_turn == [["NEW"] + ["SAME"] * 7] * 6
    assert counts(pods[0]) == counts(pods[1]) == (2, 6 + 48)
    assert len(pods[0].doomed(100)) == 42
    assert contradictions(postgres_url) == []


def test_of_many_who_replace_one_instance_the_last_one_stays(
    pods: list[PostgresIndex], postgres_url: str, a_record: Builder
) -> None:
    start = Barrier(6)

    def write(number: int) -> None:
        start.wait(60)
        for turn in range(3):
            record = a_record("1.1", content=f"{number} {turn}".encode(), sop_class=f"1.{turn}")
            pods[number % 2].add([record], on_duplicate=REPLACE)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(write, range(6)))

    (held,) = pods[0].locate(Resource("1.1"))
    doomed = pods[0].doomed(100)
    assert len(doomed) == len(set(doomed)) == 6 * 3 - 1
    assert held.object_key not in doomed
    assert contradictions(postgres_url) == []


def test_adding_and_removing_at_once_leaves_no_contradiction(
    pods: list[PostgresIndex], postgres_url: str, a_record: Builder
) -> None:
    start = Barrier(6)

    def change(number: int) -> int:
        chosen = random.Random(number)
        start.wait(60)
        done = 0
        for turn in range(25):
            study, series = f"1.{chosen.randint(1, 2)}", chosen.randint(1, 2)
            if chosen.random() < 0.6:
                uids = [f"1.9.{chosen.randint(1, 6)}" for _ in range(3)]
                content = f"{number}.{turn}".encode()
                records = [a_record(study, f"{study}.{series}", uid, content=content) for uid in uids]
                pods[number % 2].add(records, on_duplicate=chosen.choice([REFUSE, REPLACE]))
            else:
                whole = chosen.choice([(study, None, None), (study, f"{study}.{series}", None)])
                one = (study, f"{study}.{series}", f"1.9.{chosen.randint(1, 6)}")
                done += len(pods[number % 2].remove(Resource(*chosen.choice([whole, one]))))
        return done

    with ThreadPoolExecutor(6) as threads:
        removed = sum(threads.map(change, range(6)))

    assert removed > 0
    assert contradictions(postgres_url) == []


def test_counts_are_exact_at_any_time_and_folded_behind(
    pods: list[PostgresIndex], postgres_url: str, a_record: Builder
) -> None:
    pods[0].add([a_record("1.1", "1.1.1", "1.1.1.0")], on_duplicate=REFUSE)
    told: list[tuple[int, int]] = []
    going = Event()

    def read() -> None:
        while not going.is_set():
            told.append(counts(pods[1]))
            fold_all(postgres_url)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 40):
        pods[0].add([a_record("1.1", "1.1.1", f"1.1.1.{number}")], on_duplicate=REFUSE)
        assert counts(pods[0]) == (1, number + 1)  # what was answered is counted
    going.set()
    reader.join(60)

    assert told == sorted(told)
    assert counts(pods[1]) == (1, 40)
    by_number = Query.from_url(Level.STUDY, [("NumberOfStudyRelatedInstances", "40")])
    assert len(pods[1].find(by_number).matches) == 1
    assert contradictions(postgres_url) == []


def test_counts_are_folded_within_a_second(postgres_url: str, a_record: Builder) -> None:
    pod = PostgresIndex(postgres_url, fold_s=0.05)
    with psycopg.connect(postgres_url, autocommit=True) as watcher:
        watcher.execute(
            "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NOTIFY folded; RETURN NULL; END $$"
        )
        watcher.execute(
            "CREATE TRIGGER told AFTER UPDATE OF study_count ON study"
            " FOR EACH STATEMENT EXECUTE FUNCTION tell()"
        )
        watcher.execute("LISTEN folded")
        pod.add([a_record("1.1")], on_duplicate=REFUSE)

        notified = list(watcher.notifies(timeout=60, stop_after=1))

    assert notified
    assert asked(postgres_url, "SELECT study_count, series_size FROM study, series") == [(1, 1)]
    pod.close()


def test_one_pod_folds_at_a_time(pod: PostgresIndex, postgres_url: str, a_record: Builder) -> None:
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT 1 FROM state WHERE name = 'fold' FOR UPDATE")
        pod.add([a_record("1.1")], on_duplicate=REFUSE)

        assert fold_all(postgres_url) == 0
        assert counts(pod) == (1, 1)


_WRITER = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("builders", sys.argv[2])
builders = importlib.util.module_from_spec(spec)
spec.loader.exec_module(builders)
from service.index.port import OnDuplicate
from service.index.postgres import PostgresIndex

index = PostgresIndex(sys.argv[1])
for number in range(int(sys.argv[4])):
    record = builders.a_record("1.1", "1.1.1", f"1.{sys.argv[3]}.{number}")
    index.add([record], on_duplicate=OnDuplicate.REFUSE)
    os.write(1, b"%d\\n" % number)
index.close()
"""


def a_writer(url: str, name: int, number: int) -> subprocess.Popen[bytes]:
    """A process that stores into series 1.1.1, and writes a line for each instance that it was told is in."""
    builders, root = Path(__file__).with_name("conftest.py"), Path(__file__).parents[2]
    arguments = [sys.executable, "-c", _WRITER, url, str(builders), str(name), str(number)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=root)


def test_two_processes_that_store_into_one_series_count_exactly(
    pod: PostgresIndex, postgres_url: str
) -> None:
    with a_writer(postgres_url, 1, 40) as one, a_writer(postgres_url, 2, 40) as other:
        assert (len(one.communicate(timeout=200)[0].split()), one.returncode) == (40, 0)
        assert (len(other.communicate(timeout=200)[0].split()), other.returncode) == (40, 0)

    assert counts(pod) == (1, 80)
    assert contradictions(postgres_url) == []


def test_what_was_acknowledged_survives_a_killed_writer(pod: PostgresIndex, postgres_url: str) -> None:
    with a_writer(postgres_url, 1, 100_000) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.read().splitlines(keepends=True)
        writer.wait(60)

    whole = [int(line) for line in acknowledged if line.endswith(b"\n")]
    missing = [n for n in whole if not pod.locate(Resource("1.1", "1.1.1", f"1.1.{n}"))]
    assert len(whole) >= 20
    assert missing == []
    assert counts(pod) == (1, len(pod.locate(Resource("1.1"))))
    assert contradictions(postgres_url) == []
