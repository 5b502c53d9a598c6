"""Fills an index with the synthetic archive, in bulk: rows first, the database's own indexes afterwards.

What stands in the tables is what the index would have written (`tests/contract/test_index_scaled.py`); the
schema is what the index itself makes. Other processes make the rows.
"""

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import psycopg
from psycopg import sql

from service.index.postgres import PostgresIndex
from service.index.sqlite import SqliteIndex
from service.index.writing import PAGE_BITS
from tests.bench.scale_population import TABLES, Rows, rows_of

_BLOCK = 1_000  # studies made, and entered, at a time
_AHEAD = 4  # blocks that wait to be entered
_COPIERS = 2


def fill_sqlite(path: Path, studies: int, *, makers: int = 2) -> None:
    """Make the index at `path` hold the first `studies` of the population; `makers` processes help."""
    with closing(SqliteIndex(path)):
        pass
    connection = apsw.Connection(str(path))
    for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -524288", "temp_store = FILE"):
        connection.execute(f"PRAGMA {setting}").fetchall()
    kept = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN"
        f" ({', '.join('?' * len(TABLES))})",
        tuple(TABLES),
    ).fetchall()
    # What the planner was told goes with the index that it is about.
    told = connection.execute("SELECT tbl, idx, stat FROM sqlite_stat1").fetchall()
    connection.execute("BEGIN")
    for name, _ in kept:
        connection.execute(f"DROP INDEX {name}")
    for rows in _made(studies, makers):
        _enter(connection, rows)
    for _, statement in kept:
        connection.execute(str(statement))
    connection.execute("DELETE FROM sqlite_stat1")
    connection.executemany("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", told)
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.close()


def _enter(connection: apsw.Connection, rows: Rows) -> None:
    for table, columns in TABLES.items():
        if table == "frames":
            continue
        marks = ", ".join("?" * len(columns))
        connection.executemany(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows.tables[table]
        )
    pages = ((row << PAGE_BITS, offsets) for row, offsets in rows.tables["frames"])
    connection.executemany("INSERT INTO frame_page VALUES (?, ?)", pages)


def fill_postgres(url: str, studies: int, *, copiers: int = _COPIERS) -> None:
    """Make the index in the database at `url` hold the first `studies` of the population."""
    with closing(PostgresIndex(url)):
        pass
    with psycopg.connect(url, autocommit=True) as connection:
        back = list(_taken_off(connection))
        _mind(connection, "SET (autovacuum_enabled = false)")
        blocks = [range(first, min(first + _BLOCK, studies)) for first in range(0, studies, _BLOCK)]
        if copiers > 1:
            with _workers(copiers) as pool:
                list(pool.map(_copied, [url] * len(blocks), blocks))
        else:
            for block in blocks:
                _copied(url, block)
        connection.execute("SET maintenance_work_mem = '512MB'")
        for statement in back:
            connection.execute(statement.encode())
        for table in ("study", "series", "instance", "request"):
            connection.execute(
                sql.SQL("SELECT setval({}, (SELECT coalesce(max(id), 1) FROM {}))").format(
                    sql.Literal(f"{table}_row"), sql.Identifier(table)
                )
            )
        _mind(connection, "RESET (autovacuum_enabled)")
        connection.execute("VACUUM (FREEZE, ANALYZE)")


def _mind(connection: psycopg.Connection[Any], how: str) -> None:
    """Whether the database looks after the tables by itself, which would read them while they are filled."""
    for table in TABLES:
        if table != "frames":
            connection.execute(f"ALTER TABLE {table} {how}".encode())


def _taken_off(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """Takes constraints and indexes off the tables; the statements that bring them back."""
    tables = [table for table in TABLES if table != "frames"]
    constraints = connection.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype IN ('p', 'u') AND conrelid = ANY(%s::regclass[])",
        (tables,),
    ).fetchall()
    for table, name, definition in constraints:
        connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}".encode())
        yield f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}"
    indexes = connection.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
        " WHERE indrelid = ANY(%s::regclass[])",
        (tables,),
    ).fetchall()
    for name, definition in indexes:
        connection.execute(f"DROP INDEX {name}".encode())
        yield definition


def _copied(url: str, studies: Sequence[int]) -> None:
    """Makes the rows of some studies and copies them into the tables at `url`."""
    rows = _block(studies)
    tables = {**rows.tables, "series_class": [row[:3] for row in rows.tables["series_class"]]}
    columns = {**TABLES, "series_class": TABLES["series_class"][:3]}
    columns["instance"] = (*TABLES["instance"], "frame_table")
    frames: dict[int, bytes] = {row[0]: row[1] for row in tables.pop("frames")}
    tables["instance"] = [(*row, frames.get(row[0])) for row in tables["instance"]]
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        for table, values in tables.items():
            with cursor.copy(f"COPY {table} ({', '.join(columns[table])}) FROM STDIN".encode()) as copy:
                copy.write(_lines(values))


def _lines(rows: Iterable[Sequence[Any]]) -> str:
    """Rows in PostgreSQL's text format."""
    return "".join("\t".join(map(_text, row)) + "\n" for row in rows)


_SIGNS = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _text(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, bytes):
        return "\\\\x" + value.hex()
    return value.translate(_SIGNS) if isinstance(value, str) and "\\" in value else str(value)


def _made(studies: int, makers: int) -> Iterator[Rows]:
    """The rows of the population in blocks, a few of which are made ahead by other processes."""
    blocks = (range(first, min(first + _BLOCK, studies)) for first in range(0, studies, _BLOCK))
    if makers < 1:
        yield from map(_block, blocks)
        return
    with _workers(makers) as pool:
        waiting: deque[Future[Rows]] = deque()
        for block in blocks:
            waiting.append(pool.submit(_block, block))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _workers(number: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(number, mp_context=multiprocessing.get_context("spawn"))


def _block(studies: Sequence[int]) -> Rows:
    tables: dict[str, list[Sequence[Any]]] = {name: [] for name in TABLES}
    for study in studies:
        for name, rows in rows_of(study).tables.items():
            tables[name] += rows
    return Rows(tables)
