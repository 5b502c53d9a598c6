"""Where the large index and an empty one beside it live: SQLite files, or two databases of one server.

Everything is in one folder, which may be kept, so that a fill serves more than one run.
"""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

import apsw
import psycopg

from service.index.open import open_index
from service.index.port import FullIndex
from tests.bench.rig import Failed
from tests.bench.scale_filling import fill_postgres, fill_sqlite
from tests.databases import NoServer, Server, installations

KINDS = ("sqlite", "postgres")
# A server of moderate size: an eighth of 8 GB, and of the rest the page cache of the system.
_SETTINGS = (
    "shared_buffers=1GB", "effective_cache_size=3GB", "work_mem=16MB", "max_wal_size=8GB",
    "checkpoint_timeout=15min",
)  # fmt: skip
_MARK = "filled.json"


@dataclass(frozen=True, slots=True)
class Place:
    """The URLs of a full and of an empty index, how long the fill took, and how to measure their size."""

    kind: str
    studies: int
    full: str
    empty: str
    fill_s: float
    sizes: Callable[[], dict[str, int]]
    server: int | None = None
    """The first process of the database's server, where it has one."""

    def opened(self, *, empty: bool = False) -> contextlib.closing[FullIndex]:
        """One of the indexes, to be closed at the end of the block."""
        return contextlib.closing(open_index(self.empty if empty else self.full))


@contextlib.contextmanager
def a_place(kind: str, studies: int, folder: Path | None) -> Iterator[Place]:
    """The large index of `studies` studies, filled unless `folder` holds it already."""
    kept = folder is not None
    at = folder or Path(tempfile.mkdtemp(prefix="isthmus-scale-"))
    mine = at / f"{kind}-{studies}"
    mine.mkdir(parents=True, exist_ok=True)
    try:
        with (_in_files if kind == "sqlite" else _on_a_server)(mine, studies) as place:
            yield place
    finally:
        if not kept:
            shutil.rmtree(at, ignore_errors=True)


@contextlib.contextmanager
def _in_files(folder: Path, studies: int) -> Iterator[Place]:
    path = folder / "index.db"

    def fill() -> None:
        for left in folder.glob("index.db*"):
            left.unlink()
        fill_sqlite(path, studies)

    fill_s = _filled(folder, fill)
    empty = Path(tempfile.mkdtemp(prefix="empty-", dir=folder))
    try:
        yield Place(
            "sqlite",
            studies,
            f"sqlite://{path}",
            f"sqlite://{empty}/index.db",
            fill_s,
            lambda: _pages_of(path),
        )
    finally:
        shutil.rmtree(empty, ignore_errors=True)


@contextlib.contextmanager
def _on_a_server(folder: Path, studies: int) -> Iterator[Place]:
    debian_first = sorted(installations(), key=lambda path: not path.is_relative_to("/usr"))
    if not debian_first:
        raise NoServer("There is no PostgreSQL here; install Debian's package postgresql.")
    server = Server(debian_first[0], settings=_SETTINGS, folder=folder)
    try:
        full = _database(server, "scaled", anew=not (folder / _MARK).exists())
        fill_s = _filled(folder, lambda: fill_postgres(full, studies))
        empty = _database(server, "empty", anew=True)
        sizes = partial(_relations_of, full)
        yield Place("postgres", studies, full, empty, fill_s, sizes, server.process)
        _database(server, "empty", anew=True)
        _ask(server.url, "CHECKPOINT")
    finally:
        server.end()


def _filled(folder: Path, fill: Callable[[], None]) -> float:
    """Fills, unless that was done to its end before; the seconds that it took."""
    mark = folder / _MARK
    if not mark.exists():
        begun = time.perf_counter()
        fill()
        mark.write_text(json.dumps(time.perf_counter() - begun))
    return float(json.loads(mark.read_text()))


def _database(server: Server, name: str, *, anew: bool) -> str:
    if anew:
        _ask(server.url, f"DROP DATABASE IF EXISTS {name}")
        _ask(server.url, f"CREATE DATABASE {name}")
    return f"postgresql://isthmus@/{name}?host={quote(str(server.folder), safe='')}"


def _ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def _pages_of(path: Path) -> dict[str, int]:
    """Bytes of each table and index of a SQLite file, and of all of it."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        rows = connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC")
        return {"everything": path.stat().st_size} | {str(name): int(str(size)) for name, size in rows}
    except apsw.SQLError:  # made without dbstat
        return {"everything": path.stat().st_size}
    finally:
        connection.close()


def _relations_of(url: str) -> dict[str, int]:
    """Bytes of each table (with what is kept beside it) and index, and of the whole database."""
    rows = _ask(
        url,
        "SELECT relname, CASE relkind WHEN 'r' THEN pg_table_size(oid) ELSE pg_relation_size(oid) END FROM"
        " pg_class WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace ORDER BY 2 DESC",
    )
    (whole,) = _ask(url, "SELECT pg_database_size(current_database())")
    return {"everything": int(str(whole[0]))} | {str(name): int(str(size)) for name, size in rows}


def refuse_small(studies: int) -> None:
    """`Failed` for a population of which the questions would find nothing."""
    if studies < 100:
        raise Failed("At least 100 studies: the searches are about what ten rounds of shapes hold.")
