"""Bridge and archive are killed again and again while modalities store: what became of the instances.

`python -m tests.e2e.spool_killing ROUNDS` does it as often as one likes, and prints the numbers.
"""

import argparse
import collections
import hashlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.dicom.part10 import read_file_head
from tests.dimse.dimse_peers import Instance, RawPeer, a_context, a_store
from tests.dimse.spool.spooling import of_study
from tests.e2e.conftest import free_port
from tests.making import new_uid

PATIENCE_S = 90.0
ROOT = Path(__file__).resolve().parents[2]
MODALITIES = 3
_PAUSE_S = 0.02
_ENOUGH = 10  # acknowledged while both programs run
_SIZES = (*[1_500] * 60, *[30_000] * 30, *[300_000] * 8, *[1_600_000] * 2)


class Program:
    """A program that is started, killed, and started again at the same addresses."""

    def __init__(self, module: str, folder: Path, port: int, **settings: str) -> None:
        self._command = [sys.executable, "-m", *module.split()]
        self._folder = folder
        self._port = port
        ours = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
        self._environ = {**ours, **settings, "PYTHONPATH": str(ROOT)}
        self._log = (folder / f"{module.split()[0]}.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it listens later."""
        self._process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env=self._environ,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_listening(self) -> None:
        """Return when it takes connections."""
        pause = threading.Event()
        for _ in range(int(PATIENCE_S / 0.02)):
            try:
                with socket.create_connection(("127.0.0.1", self._port), 1):
                    return
            except OSError:
                assert self._process is not None
                assert self._process.poll() is None, f"{self._command} has ended, see {self._log.name}"
                pause.wait(0.02)
        raise AssertionError(f"{self._command} never listened, see {self._log.name}")

    def kill(self) -> None:
        """SIGKILL, to it and to what it has started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(PATIENCE_S)
            self._process = None

    def close(self) -> None:
        self.kill()
        self._log.close()


@dataclass
class Modality(threading.Thread):
    """Stores instance after instance until it is told to stop, and notes what was acknowledged.

    What was not acknowledged it sends again, as modalities do.
    """

    port: int
    seed: int
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    statuses: "collections.Counter[int]" = field(default_factory=collections.Counter)
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(name=f"modality {self.seed}")
        self._random = random.Random(self.seed)
        self._study = new_uid()

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        """Associate, store a few, associate again."""
        due = self._next()
        while not self.stopped.is_set():
            try:
                with RawPeer(("127.0.0.1", self.port)) as peer:
                    peer.associate(a_context())
                    for _ in range(self._random.randint(1, 30)):
                        for packet in a_store(due):
                            peer.send(packet)
                        status = peer.response().status
                        self.statuses[status] += 1
                        if status == 0:
                            self.acknowledged[due.instance] = hashlib.sha256(due.data).digest()
                            due = self._next()
                        if self.stopped.wait(_PAUSE_S):
                            return
            except (OSError, EOFError):
                self.stopped.wait(0.02)

    def _next(self) -> Instance:
        if self._random.random() < 0.05:
            self._study = new_uid()
        return of_study(self._study, self._random.choice(_SIZES), new_uid())


@dataclass
class Result:
    """What is left after so many rounds."""

    acknowledged: dict[str, bytes]
    statuses: "collections.Counter[int]"
    spooled: int
    held: "collections.Counter[str]" = field(default_factory=collections.Counter)
    differing: list[str] = field(default_factory=list)
    quarantined: int = 0

    @property
    def lost(self) -> list[str]:
        return [instance for instance in self.acknowledged if not self.held[instance]]

    @property
    def twice(self) -> list[str]:
        return [instance for instance, times in self.held.items() if times > 1]


def rounds(count: int, folder: Path, *, seed: int = 1) -> Result:
    """Kill the bridge, the archive or both `count` times, each at some moment, and look what is there."""
    chance = random.Random(seed)
    with programs(folder) as (archive, bridge, web, dimse, control):
        modalities = [Modality(dimse, 1000 * seed + number) for number in range(MODALITIES)]
        for modality in modalities:
            modality.start()
        pause = threading.Event()
        spooled = 0
        try:
            for number in range(1, count + 1):
                pause.wait(chance.uniform(0.0, 1.5))
                victims = chance.choice(([bridge], [archive], [archive], [archive, bridge]))
                for victim in victims:
                    victim.kill()
                pause.wait(chance.uniform(0.0, 0.6))
                for victim in victims:
                    victim.start()
                if number % 3 and number < count:
                    continue  # the next one may be killed while it starts
                for program in (archive, bridge):
                    program.wait_listening()
                _wait_acknowledged(modalities)
                spooled = max(spooled, _json(control, "/spool")["held_bytes"])
        finally:
            for modality in modalities:
                modality.stopped.set()
            for modality in modalities:
                modality.join(PATIENCE_S)
        _wait_forwarded(control)
        result = Result({}, collections.Counter(), spooled)
        for modality in modalities:
            result.acknowledged |= modality.acknowledged
            result.statuses += modality.statuses
        result.quarantined = len(_json(control, "/quarantine"))
        _look(web, result)
        return result


@contextmanager
def programs(folder: Path) -> Iterator[tuple[Program, Program, int, int, int]]:
    """Archive and bridge, running; the ports of DICOMweb, DIMSE and the bridge's HTTP."""
    web, dimse, control = free_port(), free_port(), free_port()
    archive = Program("service serve", folder, web, ISTHMUS_PORT=str(web), ISTHMUS_WORKERS="1")
    bridge = Program(
        "bridge",
        folder,
        dimse,
        ISTHMUS_PORT=str(web),
        ISTHMUS_DIMSE_PORT=str(dimse),
        ISTHMUS_BRIDGE_PORT=str(control),
        ISTHMUS_SPOOL="4GiB",
    )
    try:
        for program in (archive, bridge):
            program.start()
        for program in (archive, bridge):
            program.wait_listening()
        yield archive, bridge, web, dimse, control
    finally:
        bridge.close()
        archive.close()


def _wait_acknowledged(modalities: Sequence[Modality]) -> None:
    """Return when some more instances have been acknowledged."""
    enough = _ENOUGH + sum(len(modality.acknowledged) for modality in modalities)
    pause, ends = threading.Event(), time.monotonic() + PATIENCE_S
    while sum(len(modality.acknowledged) for modality in modalities) < enough:
        assert time.monotonic() < ends, "nothing is acknowledged"
        pause.wait(0.02)


def _wait_forwarded(port: int) -> None:
    """Return when nothing waits for the archive; it may take long, and goes on all the time."""
    pause = threading.Event()
    left, tries = -1, 0
    while (told := _json(port, "/spool"))["instances"] and tries < PATIENCE_S / 0.05:
        tries = tries + 1 if told["instances"] == left else 0
        left = told["instances"]
        pause.wait(0.05)
    assert told["state"] == "empty", f"it is not sent on: {told}"


def _look(port: int, result: Result) -> None:
    """Note how often each instance is in the archive, and which of those acknowledged have other bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    urls: dict[str, str] = {}
    while page := _page(connection, sum(result.held.values())):
        for row in page:
            instance = row["00080018"]["Value"][0]
            result.held[instance] += 1
            urls[instance] = row["00081190"]["Value"][0].partition("/dicom-web")[2]
    for instance, digest in result.acknowledged.items():
        if instance in urls:
            accept = {"Accept": "application/dicom; transfer-syntax=*"}
            connection.request("GET", "/dicom-web" + urls[instance], headers=accept)
            content = connection.getresponse().read()
            head = read_file_head(content)
            if head is None or hashlib.sha256(content[head.data_offset :]).digest() != digest:
                result.differing.append(instance)
    connection.close()


def _page(connection: http.client.HTTPConnection, offset: int) -> list[dict[str, dict[str, list[str]]]]:
    connection.request("GET", f"/dicom-web/instances?limit=1000&offset={offset}")
    answer = connection.getresponse()
    body = answer.read()
    found: list[dict[str, dict[str, list[str]]]] = json.loads(body) if body else []
    return found


def _json(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.05)):
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            found = json.loads(answer.read())
            connection.close()
            return found
        except OSError:
            connection.close()
            pause.wait(0.05)
    raise AssertionError(f"{path} was never answered")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = rounds(options.rounds, Path(folder), seed=options.seed)
        sys.stdout.write(
            f"rounds={options.rounds} acknowledged={len(result.acknowledged)} lost={len(result.lost)} "
            f"twice={len(result.twice)} differing={len(result.differing)} quarantined={result.quarantined} "
            f"largest_spool_bytes={result.spooled} statuses={dict(result.statuses)}\n"
        )
    return 1 if result.lost or result.twice or result.differing else 0


if __name__ == "__main__":
    sys.exit(main())
