"""The real programs, started as a newcomer would, each in a folder and on ports of its own."""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PATIENCE_S = 90.0
_PORTS = iter(random.SystemRandom().sample(range(16_384, 32_768), 16_384))


def free_port() -> int:
    """A port that nobody listens on, and that is given once; systems give none of these unasked."""
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


class Program:
    """A running `isthmus` command; what it prints is kept."""

    def __init__(self, folder: Path, command: str, **settings: str) -> None:
        self.folder = folder
        self.command = command
        self.port, self.dimse_port, self.bridge_port = free_port(), free_port(), free_port()
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
        environ |= {
            "ISTHMUS_PORT": str(self.port),
            "ISTHMUS_DIMSE_PORT": str(self.dimse_port),
            "ISTHMUS_BRIDGE_PORT": str(self.bridge_port),
            "ISTHMUS_WORKERS": "2",
            **settings,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service", command],
            cwd=folder,
            env={**environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom-web"

    @property
    def output(self) -> str:
        with self._changed:
            return "".join(self._lines)

    def wait_for(self, pattern: str, *, times: int = 1) -> None:
        """Wait until `pattern` has been printed so many times."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: len(re.findall(pattern, "".join(self._lines))) >= times, PATIENCE_S
            )
        assert found, f"never printed {pattern!r}:\n{self.output}"

    def wait_ready(self) -> "Program":
        """Wait until it answers that it is ready; where a bridge is beside it, until that takes requests."""
        pause, ends = threading.Event(), time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=30):
                    break
            except (urllib.error.URLError, OSError):
                assert self.process.poll() is None, self.output
                pause.wait(0.05)
        else:
            raise AssertionError(f"never ready:\n{self.output}")
        if self.command == "up":
            self.wait_for("control host=")
        return self

    def members(self) -> list[int]:
        """The processes that came from this one, itself included, found by their session."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                ours = entry.name.isdigit() and os.getsid(int(entry.name)) == self.process.pid
                if ours and not _has_ended(entry):
                    found.append(int(entry.name))
            except (ProcessLookupError, FileNotFoundError, PermissionError):
                continue
        return found

    def commands(self) -> dict[int, str]:
        """The members' command lines."""
        lines = {}
        for pid in self.members():
            try:
                lines[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
        return lines

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill_all(self) -> None:
        """SIGKILL to every process of it at once; returns when none is left."""
        pause = threading.Event()
        while left := self.members():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            pause.wait(0.01)
        self.process.wait(PATIENCE_S)

    def wait_gone(self) -> None:
        """Wait until no process of it is left."""
        pause, ends = threading.Event(), time.monotonic() + PATIENCE_S
        while left := self.members():
            assert time.monotonic() < ends, left
            pause.wait(0.02)

    def end(self) -> int:
        """Wait for the end; the exit code."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def close(self) -> None:
        if self.process.poll() is None or self.members():
            self.kill_all()
        self._reader.join(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()


def _has_ended(process: Path) -> bool:
    """Whether a process in /proc waits for its parent alone, with none of its threads left."""
    state = (process / "stat").read_text().rpartition(") ")[2][:1]
    return state == "Z" and len([*(process / "task").iterdir()]) == 1


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Starts programs in one folder; keyword arguments are settings."""
    running: list[Program] = []

    def begin(command: str = "up", **settings: str) -> Program:
        running.append(Program(tmp_path, command, **settings))
        return running[-1]

    yield begin
    for program in running:
        program.close()


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Service and bridge, running for all tests of a module."""
    program = Program(tmp_path_factory.mktemp("product"), "up", ISTHMUS_ON_DUPLICATE="refuse")
    program.wait_ready()
    yield program
    program.close()
