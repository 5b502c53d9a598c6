"""Three pods on one bucket and one database: whatever happens to them, they tell one truth."""

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.databases import NoServer, Server, asked, contradictions, own_server
from tests.s3_program import Bucket, a_bucket
from tests.storm import Client, Record, Subject, as_stored, by_series, subjects
from tests.storm import asked as answered

PODS = 3
ENOUGH = 40  # answers of 200 of either kind
LATEST_S = 120
CLIENTS = 5
LARGE = 9 << 20  # goes to the bucket in parts
JSON = {"Accept": "application/dicom+json"}


@pytest.fixture
def database() -> Iterator[Server]:
    try:
        with own_server() as server:
            yield server
    except NoServer as reason:
        pytest.skip(str(reason))


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Bucket]:
    with a_bucket(tmp_path / "s3", slow_s=0.2) as made:
        yield made


class Pods:
    """Service processes that share everything; each may be killed and started again."""

    def __init__(self, start: Callable[..., Any], settings: dict[str, str]) -> None:
        self._start, self._settings = start, settings
        self.programs = [self._one() for _ in range(PODS)]
        self.wait_ready()

    def _one(self):
        return self._start("serve", ISTHMUS_WORKERS="1", **self._settings)

    @property
    def ports(self) -> list[int]:
        return [program.port for program in self.programs]

    def kill(self, number: int) -> None:
        """End a pod without a word and start another one in its place."""
        self.programs[number].kill_all()
        self.programs[number] = self._one()

    def wait_ready(self) -> None:
        for program in self.programs:
            program.wait_ready()

    def end(self) -> None:
        for program in self.programs:
            program.kill_all()


@pytest.mark.parametrize(("on_duplicate", "kills"), [("refuse", 4), ("replace", 2)])
def test_pods_that_die_at_any_moment_tell_one_truth(start, database, bucket, on_duplicate, kills):
    # given: pods on an empty bucket and database
    settings = {
        **bucket.settings,
        "ISTHMUS_INDEX": database.url,
        "ISTHMUS_INDEX_CONNECTIONS": "8",
        "ISTHMUS_ON_DUPLICATE": on_duplicate,
        "ISTHMUS_PUBLIC_URL": "http://pods.test/dicom-web",
    }
    pods = Pods(start, settings)
    # when: clients contend for the same instances while pods are killed and the database restarts
    among, record = _storm(pods, database, kills, seed=20261122)
    # then: nothing was answered that must not be
    assert not record.wrong, record.wrong[:5]
    assert _answered_well(record) > ENOUGH, record.answers
    # and: what was stored and not deleted is there, byte for byte, and nothing else
    there = _held(pods.ports, among, record, replaces=on_duplicate == "replace")
    assert sum(subject.lasting for subject in there) > 12
    # and: every pod gives the same answers, with exact counts
    _assert_same_answers(pods.ports, among, there)
    # and: what one pod stores or removes, another one knows at once, whatever it remembers
    _assert_nothing_stale(pods.ports, there)
    pods.end()
    assert contradictions(database.url) == []
    # and: every row has its object, and sweep leaves only those
    _assert_objects_whole(bucket, database.url, there)
    _sweep(bucket, settings)
    named = {str(key) for (key,) in asked(database.url, "SELECT object_key FROM instance")}
    assert set(bucket.objects()) == named
    assert bucket.uploads() == []
    assert asked(database.url, "SELECT object_key FROM doomed") == []
    _assert_objects_whole(bucket, database.url, there)


def _storm(pods: Pods, database: Server, kills: int, *, seed: int) -> tuple[list[Subject], Record]:
    chance, record = random.Random(seed), Record()
    among = subjects(chance, large=LARGE)
    clients = [Client(seed + number, lambda: pods.ports, among, record) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        _trouble(pods, database, kills, chance, record)
    finally:
        for client in clients:
            client.stopping.set()
    for client in clients:
        client.join(120)
        assert not client.is_alive() and client.error is None, client.error
    return among, record


def _trouble(pods: Pods, database: Server, kills: int, chance: random.Random, record: Record) -> None:
    """Kill pods and restart the database, and wait until enough has been answered all the same."""
    pause = threading.Event()
    for kill in range(kills):
        pause.wait(chance.uniform(0.3, 1.5))
        pods.kill(chance.randrange(PODS))
        if kill == kills // 2:
            database.stop()
            database.start()
    pods.wait_ready()
    pause.wait(1.0)
    for _ in range(LATEST_S * 10):  # a slow machine has to be given the time in which something happens
        if _answered_well(record) > ENOUGH:
            break
        pause.wait(0.1)


def _answered_well(record: Record) -> int:
    """How many stores, or reads where those are fewer, were answered 200."""
    return min(record.answers.get(f"{method} 200", 0) for method in ("POST", "GET"))


def _held(
    ports: Sequence[int], among: Sequence[Subject], record: Record, *, replaces: bool
) -> dict[Subject, bytes]:
    """The instances that are there and their files; each is one that may be, and there where it must."""
    there, wrong = {}, []
    for subject in among:
        files, may_lack = record.must_be(subject, replaces=replaces)
        status, body = as_stored(ports[0], subject)
        if status == 200 and body in [subject.files[file] for file in files]:
            there[subject] = body
        elif status != 404 or not may_lack:
            wrong.append(f"{subject.path}: {status} {len(body)} bytes, {files} {may_lack}")
    assert not wrong, wrong
    return there


def _assert_same_answers(ports: Sequence[int], among: Sequence[Subject], there: dict[Subject, bytes]) -> None:
    for subject, file in there.items():
        assert [as_stored(port, subject) for port in ports[1:]] == [(200, file)] * (PODS - 1), subject.path
    for series, some in by_series(among):
        uids = [one.instance for one in some if one in there]
        each = [answered(port, "GET", f"{series}/metadata", JSON) for port in ports]
        assert len({(status, body, headers.get("etag")) for status, body, headers in each}) == 1, series
        assert each[0][0] == (200 if uids else 404)
        told = json.loads(each[0][1]) if uids else []
        assert [one["00080018"]["Value"][0] for one in told] == uids
    for port in ports:
        _, body, _ = answered(port, "GET", "/series?includefield=all", JSON)
        counts = {one["0020000E"]["Value"][0]: one["00201209"]["Value"][0] for one in json.loads(body)}
        sizes = {some[0].series: sum(one in there for one in some) for _, some in by_series(among)}
        assert counts == {series: size for series, size in sizes.items() if size}


def _assert_nothing_stale(ports: Sequence[int], there: dict[Subject, bytes]) -> None:
    subject, file = next((one, file) for one, file in there.items() if one.lasting and len(file) < LARGE)
    path = f"/studies/{subject.study}/series/{subject.series}/metadata"
    _, before, headers = answered(ports[1], "GET", path, JSON)
    known = {**JSON, "If-None-Match": headers["etag"]}
    assert answered(ports[1], "GET", path, known)[0] == 304
    assert answered(ports[0], "DELETE", subject.path)[0] == 204
    assert answered(ports[1], "GET", subject.path)[0] == 404
    status, without, _ = answered(ports[1], "GET", path, known)
    assert (status, len(json.loads(without))) == (200, len(json.loads(before)) - 1)
    assert answered(ports[2], "POST", "/studies", {"Content-Type": "application/dicom"}, file)[0] == 200
    status, again, _ = answered(ports[1], "GET", path, known)
    assert (status, again) == (200, before)
    assert as_stored(ports[1], subject) == (200, file)


def _assert_objects_whole(bucket: Bucket, url: str, there: dict[Subject, bytes]) -> None:
    objects = bucket.objects()
    files = {subject.instance: file for subject, file in there.items()}
    rows = asked(url, "SELECT instance_uid, object_key FROM instance")
    assert {str(uid): objects[str(key)].read_bytes() for uid, key in rows} == files


def _sweep(bucket: Bucket, settings: dict[str, str]) -> None:
    """`isthmus sweep`, as it would be some hours later."""
    bucket.age(7200)
    command = [sys.executable, "-m", "service", "sweep", "--older-than", "1"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        command, cwd=root, env={**environ, **settings}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
