"""`python -m bridge` with its HTTP: jobs outlast a kill, addresses that are taken or open are refused."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.jobs.job import Job, Kind
from bridge.settings import read_settings
from service.dicom.resource import Resource
from service.environment import SettingError
from tests.dimse.control.controlled import Pacs, asked, counts, of, waited
from tests.dimse.dimse_peers import CT_IMAGE, EXPLICIT_LE, PATIENCE_S, a_uid
from tests.dimse.retrieve.retrieving import an_object

ROOT = Path(__file__).parents[3]


class Program:
    """A bridge in a process of its own, on ports of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
        defaults = {
            "ISTHMUS_DIMSE_PORT": "0",
            "ISTHMUS_BRIDGE_PORT": "0",
            "ISTHMUS_BRIDGE_STATE": str(folder),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bridge"],
            cwd=ROOT,
            env={**ours, **defaults, **settings},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.put(line)

    @property
    def url(self) -> str:
        """Where its HTTP is, once it says so."""
        while " control " not in (line := self.lines.get(timeout=PATIENCE_S)):
            pass
        told = dict(word.split("=", 1) for word in line.split() if "=" in word)
        return f"http://127.0.0.1:{told['port']}"

    def end(self, number: signal.Signals) -> int:
        """The exit code; all that it says is in `lines` then."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    @property
    def words(self) -> str:
        return "".join(self.lines.queue)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    running: list[Program] = []

    def begin(**settings: str) -> Program:
        running.append(Program(tmp_path / "state", **settings))
        return running[-1]

    yield begin
    for one in running:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


def peers_file(folder: Path, title: str, port: int) -> str:
    path = folder / "peers.toml"
    path.write_text(f'[peers.it]\nae_title = "{title}"\nhost = "127.0.0.1"\nport = {port}\n')
    return str(path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_store_job_goes_on_after_a_restart(program, served, destination, tmp_path, number):
    study, series = a_uid(), a_uid()
    objects = [an_object(study=study, series=series) for _ in range(12)]
    served.keep(one.part10 for one in objects)
    reached, go_on = threading.Event(), threading.Event()

    def slow(peer, instance: str) -> int:
        if len(peer.got) == 6 and not go_on.is_set():
            reached.set()
            go_on.wait(PATIENCE_S)
            return 0xA700  # whoever asked has gone
        return 0

    peer = destination([(CT_IMAGE, (EXPLICIT_LE,))], slow)
    given = {
        "ISTHMUS_PEERS": peers_file(tmp_path, "DEST", peer.port),
        "ISTHMUS_ARCHIVE_URL": served.url,
    }
    first = program(**given)
    url = first.url
    location = asked(f"{url}/peers/it/store", "POST", {"resources": [of(objects[0], "study")]}).headers[
        "Location"
    ]
    assert reached.wait(PATIENCE_S)
    first.end(number)
    go_on.set()

    second = program(**given)
    url = second.url
    job = waited(url + location, lambda job: job["state"] == "done")

    assert counts(job) == ("done", 0, 12, 0, 0)
    assert job["attempts"] == 2
    assert {one.instance for one in peer.got} == {one.instance for one in objects}
    if number == signal.SIGTERM:  # then it had time to write down what was confirmed
        assert len(peer.got) == 12
    assert asked(url + location, "DELETE").status == 204
    assert second.end(signal.SIGTERM) == 0
    assert list((tmp_path / "state" / "jobs").iterdir()) == []


def test_a_retrieve_job_goes_on_after_a_kill(program, served, tmp_path):
    study, series = a_uid(), a_uid()
    objects = [an_object(study=study, series=series) for _ in range(10)]
    reached, go_on = threading.Event(), threading.Event()

    def hold(pacs: Pacs, number: int) -> None:
        if number == 5 and not go_on.is_set():
            reached.set()
            go_on.wait(PATIENCE_S)

    with Pacs(objects, sending=hold) as pacs:
        given = {
            "ISTHMUS_PEERS": peers_file(tmp_path, "PACS", pacs.port),
            "ISTHMUS_ARCHIVE_URL": served.url,
        }
        first = program(**given)
        url = first.url
        order = {"resources": [of(objects[0], "study")]}
        location = asked(f"{url}/peers/it/retrieve", "POST", order).headers["Location"]
        assert reached.wait(PATIENCE_S)
        first.end(signal.SIGKILL)
        go_on.set()

        second = program(**given)
        url = second.url
        job = waited(url + location, lambda job: job["state"] == "done")
        assert second.end(signal.SIGTERM) == 0

    assert counts(job) == ("done", 0, 10, 0, 0)
    assert job["attempts"] == 2


def test_a_job_that_was_left_waits_for_an_archive_that_starts_later(program, served, destination, tmp_path):
    kept = an_object()
    served.keep([kept.part10])
    asked_for: list[str] = []

    def not_yet(scope, number: int) -> int | None:
        asked_for.append(scope["path"])
        return 503 if asked_for.count("/dicom-web/studies") < 2 else None

    served.trouble = not_yet
    job = Job(Kind.STORE, "it", (Resource(kept.study),))
    (tmp_path / "state/jobs").mkdir(parents=True)
    (tmp_path / f"state/jobs/{job.name}.json").write_text(json.dumps(job.record()))
    peer = destination([(CT_IMAGE, (EXPLICIT_LE,))])
    given = {
        "ISTHMUS_PEERS": peers_file(tmp_path, "DEST", peer.port),
        "ISTHMUS_ARCHIVE_URL": served.url,
    }
    done = waited(f"{program(**given).url}/jobs/{job.name}", lambda told: told["state"] == "done")

    assert counts(done) == ("done", 0, 1, 0, 0)


def test_a_job_file_holds_uids_and_nothing_of_a_patient(program, served, destination, tmp_path):
    kept = an_object(patient="SECRET-ID")
    served.keep([kept.part10])
    peer = destination([(CT_IMAGE, (EXPLICIT_LE,))])
    running = program(ISTHMUS_PEERS=peers_file(tmp_path, "DEST", peer.port), ISTHMUS_ARCHIVE_URL=served.url)
    url = running.url
    location = asked(f"{url}/peers/it/store", "POST", {"resources": [of(kept)]}).headers["Location"]
    waited(url + location, lambda job: job["state"] == "done")
    running.end(signal.SIGTERM)

    (record,) = (tmp_path / "state" / "jobs").iterdir()
    assert kept.study in record.read_text()
    assert "SECRET" not in record.read_text() + running.words


def test_a_port_that_is_taken_is_said(program):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        running = program(ISTHMUS_BRIDGE_PORT=str(port))
        assert running.wait() == 1

    assert f"127.0.0.1:{port}" in running.words
    assert "ISTHMUS_BRIDGE_PORT" in running.words
    assert "Traceback" not in running.words


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"ISTHMUS_BRIDGE_HOST": "0.0.0.0"}, "ISTHMUS_AUTH"),
        ({"ISTHMUS_BRIDGE_HOST": "pacs.example.org"}, "ISTHMUS_AUTH"),
        ({"ISTHMUS_BRIDGE_PORT": "many"}, "ISTHMUS_BRIDGE_PORT"),
        ({"ISTHMUS_CORS": "viewer"}, "ISTHMUS_CORS"),
    ],
)
def test_a_setting_of_the_http_that_cannot_be_used_is_named(settings, named):
    with pytest.raises(SettingError, match=named):
        read_settings(settings)


@pytest.mark.parametrize(
    ("settings", "host", "any_host"),
    [
        ({}, "127.0.0.1", False),
        ({"ISTHMUS_BRIDGE_HOST": "localhost"}, "localhost", False),
        ({"ISTHMUS_BRIDGE_HOST": "::1"}, "::1", False),
        ({"ISTHMUS_BRIDGE_HOST": "0.0.0.0", "ISTHMUS_AUTH": "none!"}, "0.0.0.0", True),
    ],
)
def test_it_listens_beyond_loopback_only_where_that_is_meant(settings, host, any_host):
    control = read_settings(settings).control

    assert (control.host, control.any_host) == (host, any_host)
