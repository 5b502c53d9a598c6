"""A process that serves DIMSE, its vital signs, and what an attack is judged by."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bridge.upper import pdu
from tests.dimse.dimse_peers import IMPLICIT_LE, VERIFICATION, RawPeer, a_context, an_echo
from tests.dimse.victims import Order

ROOT = Path(__file__).parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")
_pause = threading.Event()


class Harmed(Exception):
    """The attack worked."""


@dataclass(frozen=True)
class Vitals:
    """What a process holds."""

    threads: int
    descriptors: int
    resident_bytes: int
    cpu_s: float


@dataclass(frozen=True)
class Victim:
    """A serving process."""

    pid: int
    port: int
    order: Order

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def vitals(self) -> Vitals:
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines()
        )
        times = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return Vitals(
            threads=int(status["Threads"]),
            descriptors=len([*Path(f"/proc/{self.pid}/fd").iterdir()]),
            resident_bytes=int(status["VmRSS"].split()[0]) * 1024,
            cpu_s=(int(times[11]) + int(times[12])) / _TICKS,
        )

    def echo(self, patience_s: float = 5.0) -> None:
        """A new peer's C-ECHO; `Harmed` if it is not answered.

        A peer that is closed when it was itself too late for the victim's deadline is followed by another.
        """
        for _ in range(50):
            begun = time.monotonic()
            try:
                self._echo(patience_s)
            except Harmed as harm:
                closed = isinstance(harm.__cause__, (EOFError, ConnectionError))
                if not closed or time.monotonic() - begun < self.order.deadline_s:
                    raise
            else:
                return
        raise Harmed("a new peer is never in time")

    def _echo(self, patience_s: float) -> None:
        try:
            with RawPeer(self.address) as peer:
                peer.socket.settimeout(patience_s)
                peer.associate(
                    a_context(1, VERIFICATION, IMPLICIT_LE), calling=b"WATCHER", called=self._title
                )
                peer.send(an_echo())
                answered = peer.response().status
                peer.send(pdu.release_rq())
                peer.next_pdu()
        except (OSError, EOFError, AssertionError) as error:
            raise Harmed(f"a new peer is not served: {error!r}") from error
        if answered != 0:
            raise Harmed(f"a new peer's echo is answered {answered:04X}")

    def echo_when_free(self, within_s: float = 30.0) -> None:
        """As `echo`, once those that have gone are no longer counted."""

        def answered() -> bool:
            try:
                self.echo()
            except Harmed:
                return False
            return True

        if not eventually(answered, within_s):
            raise Harmed("the places of those that have gone stay taken")

    def recovers(self, before: Vitals, *, within_s: float, spare_bytes: int = 32 << 20) -> None:
        """Wait until no more threads and descriptors are held than `before`; `Harmed` if that never comes."""

        def healed() -> bool:
            held = self.vitals()
            return held.threads <= before.threads and held.descriptors <= before.descriptors

        if not eventually(healed, within_s):
            raise Harmed(f"{before} became {self.vitals()}")
        if self.vitals().resident_bytes > before.resident_bytes + spare_bytes:
            raise Harmed(f"memory: {before} became {self.vitals()}")

    @property
    def _title(self) -> bytes:
        return (self.order.only_called or "ANY-SCP").encode()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def eventually(condition: Callable[[], bool], within_s: float) -> bool:
    """Whether the condition holds before the time is over."""
    until = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until:
            return False
        _pause.wait(0.02)
    return True


class Barracks:
    """Starts victims: one program that has imported everything, and forks."""

    def __init__(self) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.dimse.victims"],
            cwd=ROOT,
            env=ours,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def start(self, order: Order) -> Victim:
        """A fresh one."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(asdict(order)) + "\n")
        self._program.stdin.flush()
        told = json.loads(self._program.stdout.readline())
        return Victim(told["pid"], told["port"], order)

    def close(self) -> None:
        self._program.communicate(timeout=20)
