"""The rig: programs started and ended by pid, their readiness awaited, on free ports of the loopback."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from types import TracebackType

from tests.bench.client import Connection

ROOT = Path(__file__).resolve().parents[2]
_READY_S = 30.0
_END_S = 10.0
_RUN_S = 120.0
_POLL_S = 0.02


class Failed(Exception):
    """A program did not start, or did not do what it was measured at."""


@dataclass(frozen=True, slots=True)
class Site:
    """A service that is ready, the folder that everything of it is in, and the process that began it."""

    port: int
    folder: Path
    environ: Mapping[str, str]
    process: int

    def url(self, study: str, series: str, below: str = "") -> str:
        """The path of a series or of what is `below` it."""
        return f"/dicom-web/studies/{study}/series/{series}{below}"


@dataclass(frozen=True, slots=True)
class Bridged:
    """A bridge that is ready."""

    port: int
    pid: int


class Rig:
    """One temporary folder and the programs in it; all are ended when it is left."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="isthmus-bench-"))
        self._series = 0

    def __enter__(self) -> "Rig":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def next_series(self) -> int:
        """The number of a series that was not made before."""
        self._series += 1
        return self._series

    def new_folder(self, name: str) -> Path:
        """An empty folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    @contextlib.contextmanager
    def service(self, folder: Path | None = None, **settings: str) -> Iterator[Site]:
        """`isthmus serve` on embedded defaults; with `folder`, on what an earlier one left there."""
        folder = folder or self.new_folder("service")
        port = free_port()
        environ = {
            "ISTHMUS_PORT": str(port),
            "ISTHMUS_STORE": f"file://{folder}/objects",
            "ISTHMUS_INDEX": f"sqlite://{folder}/index.db",
            **settings,
        }
        with running([sys.executable, "-m", "service", "serve"], folder / "service.log", environ) as process:
            until(lambda: answers(port, "/readyz"), process, "isthmus serve")
            yield Site(port, folder, environ, process.pid)

    @contextlib.contextmanager
    def bridge(self, site: Site, **settings: str) -> Iterator[Bridged]:
        """The bridge in front of `site`."""
        port = free_port()
        environ = {
            **site.environ,
            "ISTHMUS_DIMSE_PORT": str(port),
            "ISTHMUS_BRIDGE_PORT": str(free_port()),
            "ISTHMUS_BRIDGE_STATE": str(self.new_folder("bridge")),
            **settings,
        }
        with running([sys.executable, "-m", "bridge"], site.folder / "bridge.log", environ) as process:
            until(lambda: listens(port), process, "the bridge")
            yield Bridged(port, process.pid)


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A program while the block lasts; what it says goes to `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", name: str) -> None:
    """Return once `ready` is true. `Failed` if the process ends first or takes too long."""
    deadline = time.monotonic() + _READY_S
    while not ready():
        if process.poll() is not None:
            raise Failed(f"{name} ended with {process.returncode} instead of getting ready.")
        if time.monotonic() > deadline:
            raise Failed(f"{name} was not ready within {_READY_S:g} s.")
        time.sleep(_POLL_S)


def to_its_end(command: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
    """Run a program to its end. `Failed` if its exit code says so."""
    ended = subprocess.run(
        command,
        env={**os.environ, **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_RUN_S,
        check=False,
    )
    if ended.returncode:
        said = (ended.stderr + ended.stdout).decode(errors="replace")[-500:]
        raise Failed(f"{command[0]} ended with {ended.returncode}: {said}")


def free_port() -> int:
    """A port of the loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether something accepts connections on `port`."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(port: int, path: str) -> bool:
    """Whether a GET of `path` is answered 200."""
    try:
        with Connection(port) as connection:
            return connection.get(path).status == 200
    except OSError:
        return False


def program(name: str) -> str | None:
    """The path of an installed program, also of those that only the administrator has in the path."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def processor_s(process: int) -> float:
    """The seconds of processor time that a process and its descendants have taken, as Linux counts them."""
    ticks = sum(int(fields[11]) + int(fields[12]) for fields in _family(process).values())
    return ticks / os.sysconf("SC_CLK_TCK")


def descendants(process: int) -> list[int]:
    """A process and all that came from it."""
    return list(_family(process))


def _family(process: int) -> dict[int, list[str]]:
    """What Linux tells of a process and its descendants, behind their names, by number."""
    parents: dict[int, list[int]] = {}
    told: dict[int, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(") ")[2].split()
        except OSError:  # ended meanwhile
            continue
        number = int(entry.name)
        parents.setdefault(int(fields[1]), []).append(number)
        told[number] = fields
    family: dict[int, list[str]] = {}
    left = [process]
    while left:
        number = left.pop()
        if number in told:
            family[number] = told[number]
        left += parents.get(number, [])
    return family


def idle_s() -> float:
    """The seconds that all cores of the machine together have had nothing to do, as Linux counts them."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def seconds_of(*tasks: Callable[[], object]) -> float:
    """How long it takes to run `tasks` at once, each in a thread of its own, from the common start."""
    if len(tasks) == 1:
        begun = time.perf_counter()
        tasks[0]()
        return time.perf_counter() - begun
    start = Barrier(len(tasks) + 1)

    def run(task: Callable[[], object]) -> None:
        start.wait(_READY_S)
        task()

    with ThreadPoolExecutor(len(tasks)) as threads:
        futures = [threads.submit(run, task) for task in tasks]
        start.wait(_READY_S)
        begun = time.perf_counter()
        for future in futures:
            future.result()
        return time.perf_counter() - begun
