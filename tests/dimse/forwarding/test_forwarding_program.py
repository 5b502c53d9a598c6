"""`python -m bridge` with rules: whatever kills it, what it has acknowledged is sent on in the end."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pynetdicom import AE

from tests.dimse.dimse_peers import CT_IMAGE, EXPLICIT_LE, PATIENCE_S
from tests.dimse.forwarding.forwarded import TAKES_CT, a_study, peer_of, rule, sent, uids

ROOT = Path(__file__).parents[3]


class Program:
    """A bridge in a process of its own, on ports of its own, that has said where it listens."""

    def __init__(self, folder: Path, url: str, peers: str, **settings: str) -> None:
        (folder / "peers.toml").write_text(peers)
        ours = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
        told = {
            "ISTHMUS_DIMSE_PORT": "0",
            "ISTHMUS_BRIDGE_PORT": "0",
            "ISTHMUS_BRIDGE_STATE": str(folder / "state"),
            "ISTHMUS_ARCHIVE_URL": url,
            "ISTHMUS_PEERS": str(folder / "peers.toml"),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bridge"],
            cwd=ROOT,
            env={**ours, **told, **settings},
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
        self.lines.put("")

    @property
    def port(self) -> int:
        """Where associations are taken, once it says so."""
        while "listening" not in (line := self.lines.get(timeout=PATIENCE_S)):
            assert line, "it has ended"
        found = re.search(r"port=(\d+)", line)
        assert found is not None
        return int(found[1])

    def end(self, number: signal.Signals) -> int:
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
    """Starts bridges that all keep their state in one folder."""
    running: list[Program] = []

    def begin(*arguments: str, **settings: str) -> Program:
        running.append(Program(tmp_path, *arguments, **settings))
        return running[-1]

    yield begin
    for one in running:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


def test_nothing_acknowledged_is_lost_by_a_kill(program, served, destination):
    there, after = destination(), 7
    peers = peer_of(there) + rule("dest", {"modality": "CT"})
    first = program(served.url, peers)
    study, acknowledged = a_study(40), []
    entity = AE(ae_title="SCANNER1")
    entity.network_timeout = entity.dimse_timeout = PATIENCE_S
    entity.add_requested_context(CT_IMAGE, EXPLICIT_LE)
    association = entity.associate("127.0.0.1", first.port)
    for image in study:
        status = association.send_c_store(image)
        if status and int(status.Status) == 0:
            acknowledged.append(str(image.SOPInstanceUID))
        if len(acknowledged) == after:
            first.end(signal.SIGKILL)
            break
    association.abort()
    assert len(acknowledged) == after

    program(served.url, peers)

    with there.arrived:
        promised = set(acknowledged)
        assert there.arrived.wait_for(lambda: promised <= {one.instance for one in there.got}, PATIENCE_S)


def test_a_kill_in_the_middle_of_a_batch_leaves_nothing_behind(program, served, destination):
    reached, go_on = threading.Event(), threading.Event()

    def hold_the_fifth(self, uid: str) -> int:
        if len(self.got) == 4 and not go_on.is_set():
            reached.set()
            go_on.wait(PATIENCE_S)
        return 0

    there = destination(TAKES_CT, hold_the_fifth)
    peers = peer_of(there) + rule("dest")
    first = program(served.url, peers)
    study = a_study(12)
    assert set(sent(first.port, study)) == {0}
    assert reached.wait(PATIENCE_S)
    first.end(signal.SIGKILL)
    go_on.set()

    second = program(served.url, peers)
    with there.arrived:
        everything = set(uids(study))
        assert there.arrived.wait_for(lambda: everything <= {one.instance for one in there.got}, PATIENCE_S)

    assert second.end(signal.SIGTERM) == 0


def test_what_is_kept_on_disk_holds_nothing_of_a_patient(program, served, destination, tmp_path):
    there = destination(TAKES_CT, lambda self, uid: 0xC000)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "site_rules.py").write_text("def decide(arrival):\n    raise ValueError(arrival)\n")
    peers = peer_of(there) + rule("dest") + rule(hook="site_rules:decide")
    running = program(served.url, peers, ISTHMUS_HOOKS=str(hooks))
    image = a_study(1, PatientID="SECRET-ID", PatientName="SECRET^NAME")
    sent(running.port, image)
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.05)):
        kept = b"".join(path.read_bytes() for path in (tmp_path / "state/forwarding").iterdir())
        if b"failed" in kept:
            break
        pause.wait(0.05)
    assert running.end(signal.SIGTERM) == 0

    assert uids(image)[0].encode() in kept
    assert b"SECRET" not in kept
    assert "SECRET" not in running.words
    assert "C000" in json.dumps(running.words)


def test_a_hook_that_its_module_does_not_have_is_said(program, destination, tmp_path):
    (tmp_path / "site_rules.py").write_text("decide = 7\n")
    running = program(
        "http://127.0.0.1:9/dicom-web",
        peer_of(destination()) + rule(hook="site_rules:decide"),
        ISTHMUS_HOOKS=str(tmp_path),
    )

    assert running.wait() == 2

    assert "hook site_rules:decide of ISTHMUS_PEERS cannot be loaded: its module has no such" in running.words


def test_a_hook_that_cannot_be_loaded_is_said(program, destination, tmp_path):
    running = program(
        "http://127.0.0.1:9/dicom-web",
        peer_of(destination()) + rule(hook="missing:decide"),
        ISTHMUS_HOOKS=str(tmp_path),
    )

    assert running.wait() == 2

    assert "the hook missing:decide of ISTHMUS_PEERS cannot be loaded" in running.words
    assert "Traceback" not in running.words
