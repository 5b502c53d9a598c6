"""A view in a database as a source of the worklist: the only module of the bridge that knows databases.

Each query has a connection of its own, which can read only, for as long as its answers are taken: a worklist
is asked seldom, and a database that was away is no matter afterwards. The dates of the query are part of the
statement, so that of a view of years one day is read.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import date, timedelta
from typing import Any, Protocol

import apsw
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.string import TextLoader

from bridge.worklist.columns import SCHEDULED_AT, START_COLUMN, has_steps, plain, steps_of_row, unknown
from bridge.worklist.item import Step
from bridge.worklist.locations import Kind, Location
from bridge.worklist.settings import WorklistSettings
from bridge.worklist.sources import BATCH, Days
from service.dicom.errors import BadRequest, Busy, IndexUnavailable, TooLarge, TooMany

log = logging.getLogger("isthmus.worklist")

_LOOK = 10_000  # steps of SQLite's virtual machine between two looks at the clock
_MOMENTS = frozenset((1082, 1114, 1184))  # types of PostgreSQL: date, timestamp without and with time zone
_TIMES = frozenset((1083, 1266))  # time without and with time zone
_DEFAULTS = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "application_name": "isthmus",
}


_NUMBER = "number"  # how a date is compared in SQLite with those that are numbers


class _Rows(Protocol):
    """One statement as it is read, in one thread at a time; nothing is opened before the first rows."""

    columns: Sequence[str]

    def some(self) -> list[Sequence[Any]]:
        """The next rows, none at the end."""
        ...

    def interrupt(self) -> None:
        """Make what `some` is doing fail; from any thread."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class View:
    """The rows of a view as steps, in the order in which the database gives them."""

    at_hand = False

    def __init__(self, location: Location, settings: WorklistSettings) -> None:
        self._location = location
        self._settings = settings
        self._threads = ThreadPoolExecutor(settings.connections, thread_name_prefix="worklist")
        self._free = asyncio.Semaphore(settings.connections)
        self._told: frozenset[str] = frozenset()

    async def start(self) -> None:
        """Nothing is made ready: the database need not be there yet."""

    async def steps(self, days: Days) -> AsyncGenerator[Sequence[Step]]:
        """Those whose rows may be within `days`; a row that makes no item is passed over, and logged."""
        kind = _PostgresRows if self._location.kind is Kind.POSTGRESQL else _SqliteRows
        read = 0
        async with self._one(kind(self._location, self._settings, days)) as rows:
            while (found := await self._some(rows)) is not None:
                count, steps = found
                read += count
                if read > self._settings.steps:
                    raise TooMany(f"The view of the worklist has more than {self._settings.steps} rows.")
                if within := [step for step in steps if step.may_be_within(days)]:
                    yield within

    async def close(self) -> None:
        """End the threads; statements that are being read have been interrupted by who asked."""
        await asyncio.to_thread(self._threads.shutdown)

    @asynccontextmanager
    async def _one(self, rows: _Rows) -> AsyncIterator[_Rows]:
        """`rows`, once there are few enough others; closed at the end."""
        try:
            async with asyncio.timeout(self._settings.wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise Busy("Too many ask the database of the worklist; try again shortly.") from None
        try:
            yield rows
        finally:
            closing = asyncio.get_running_loop().run_in_executor(self._threads, rows.close)
            closing.add_done_callback(lambda done: self._free.release())
            await asyncio.shield(closing)

    async def _some(self, rows: _Rows) -> tuple[int, list[Step]] | None:
        """How many rows were read, and what they make; `None` at the end."""
        work = asyncio.get_running_loop().run_in_executor(self._threads, self._made, rows)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # Not on the loop: a database that has gone is waited for.
            interrupting = asyncio.get_running_loop().run_in_executor(None, rows.interrupt)
            await asyncio.wait((work, interrupting))
            raise
        except (apsw.Error, psycopg.Error, UnicodeError) as error:
            reason = str(error).strip().partition("\n")[0]
            log.error("worklist database: %s: %s", type(error).__name__, reason)
            raise IndexUnavailable(
                "The database of the worklist cannot be read; the log of the bridge says why."
            ) from None

    # In a thread.

    def _made(self, rows: _Rows) -> tuple[int, list[Step]] | None:
        found = rows.some()
        self._tell(rows.columns)
        steps: list[Step] = []
        bad: list[str] = []
        for row in found:
            try:
                steps += steps_of_row(rows.columns, row)
            except (BadRequest, TooLarge) as error:
                bad.append(str(error))
        if bad:
            log.warning("worklist rows=%d passed over, the first: %s", len(bad), bad[0])
        return (len(found), steps) if found else None

    def _tell(self, columns: Sequence[str]) -> None:
        """Say once what the columns are that say nothing; `IndexUnavailable` if there are no others."""
        if not has_steps(columns):
            raise IndexUnavailable(
                "The view of the worklist has no column of a scheduled procedure step, see docs/worklist.md."
            )
        strange = frozenset(unknown(columns))
        if strange != self._told:
            log.warning("worklist columns=%s mean nothing", ",".join(sorted(strange)))
            self._told = strange


class _SqliteRows:
    """Rows of a view in an SQLite file."""

    def __init__(self, location: Location, settings: WorklistSettings, days: Days) -> None:
        self.columns: Sequence[str] = ()
        self._location = location
        self._settings = settings
        self._days = days
        self._deadline = 0.0
        self._called_off = False
        self._connection: apsw.Connection | None = None
        self._cursor: Any = None

    def some(self) -> list[Sequence[Any]]:
        self._deadline = time.monotonic() + self._settings.statement_s
        if self._cursor is None:
            self._cursor = self._begun()
        return list(itertools.islice(self._cursor, BATCH))

    def interrupt(self) -> None:
        self._called_off = True

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close(True)

    def _begun(self) -> Any:
        connection = apsw.Connection(self._location.place, flags=apsw.SQLITE_OPEN_READONLY)
        self._connection = connection
        connection.set_busy_timeout(int(self._settings.wait_s * 1000))
        connection.set_progress_handler(self._is_over, _LOOK)
        for setting in ("PRAGMA query_only = ON", "PRAGMA trusted_schema = OFF"):
            connection.execute(setting).fetchall()
        schema, _, view = self._location.view.rpartition(".")
        known = connection.execute("SELECT name FROM pragma_table_info(?, ?)", (view, schema or "main"))
        self.columns = [str(name) for (name,) in known]
        if not self.columns:
            raise apsw.SQLError(f"no such view: {self._location.view}")
        condition, bound = _as_texts(self.columns, self._days, mark="?", collated="", numbers=True)
        named = ".".join(f'"{part}"' for part in self._location.view.split("."))
        return connection.execute(f"SELECT * FROM {named}{condition}", bound)

    def _is_over(self) -> bool:
        return self._called_off or time.monotonic() > self._deadline


class _PostgresRows:
    """Rows of a view in a PostgreSQL database, read by a cursor that lies there."""

    def __init__(self, location: Location, settings: WorklistSettings, days: Days) -> None:
        self.columns: Sequence[str] = ()
        self._location = location
        self._settings = settings
        self._days = days
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._cursor: Any = None

    def some(self) -> list[Sequence[Any]]:
        if self._cursor is None:
            self._cursor = self._begun()
        found: list[Sequence[Any]] = self._cursor.fetchmany(BATCH)
        return found

    def interrupt(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.cancel()

    def close(self) -> None:
        if self._cursor is not None:
            with suppress(psycopg.Error):
                self._cursor.close()
        if self._connection is not None:
            self._connection.close()

    def _begun(self) -> Any:
        given = {name: str(value) for name, value in conninfo_to_dict(self._location.place).items()}
        parameters: dict[str, Any] = _DEFAULTS | given
        connection = psycopg.Connection[tuple[Any, ...]].connect(**parameters)
        self._connection = connection
        connection.read_only = True
        for kind in _MOMENTS | _TIMES:  # as text: Python has neither `infinity` nor 24:00 nor years before 1
            connection.adapters.register_loader(kind, TextLoader)
        connection.execute("SET LOCAL datestyle = ISO")
        limit = max(int(self._settings.statement_s * 1000), 1)
        connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(limit))
        view = sql.Identifier(*self._location.view.split("."))
        described = connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(view)).description or []
        self.columns = [column.name for column in described]
        types = {column.name: column.type_code for column in described}
        condition, bound = _of_days(self.columns, types, self._days)
        self._cursor = connection.cursor(name="worklist")
        self._cursor.execute(sql.SQL("SELECT * FROM {}").format(view) + condition, bound)
        return self._cursor


def _of_days(
    columns: Sequence[str], types: dict[str, int], days: Days
) -> tuple[sql.Composed | sql.SQL, list[Any]]:
    """What leaves the rows of these days, and perhaps others, in PostgreSQL."""
    column = _dated(columns)
    if column is None or days is None:
        return sql.SQL(""), []
    if types[column] not in _MOMENTS:
        text, bound = _as_texts(columns, days, mark="%s", collated='::text COLLATE "C"')
        return sql.SQL(text), bound
    first, last = _date(days[0]), _date(days[1], after=1)
    conditions = [
        (sql.SQL("{} " + sign + " %s").format(sql.Identifier(column)), value)
        for sign, value in ((">=", first), ("<", last))
        if value is not None
    ]
    if not conditions:
        return sql.SQL(""), []
    joined = sql.SQL(" AND ").join([condition for condition, _ in conditions])
    return sql.SQL(" WHERE ") + joined, [value for _, value in conditions]


def _as_texts(
    columns: Sequence[str], days: Days, *, mark: str, collated: str, numbers: bool = False
) -> tuple[str, list[Any]]:
    """The same where moments are text, `2024-01-31T10:00` or `20240131`; neither is found for the other.

    With `numbers`, they may be whole numbers too, 20240131, which are less than any text in SQLite.
    The name of the column is one of those that mean something here, so it needs no quoting but for its case.
    """
    column = _dated(columns)
    if column is None or days is None:
        return "", []
    first, last = _date(days[0]), _date(days[1], after=1)
    ways: list[str] = []
    bound: list[Any] = []
    for form in ("%Y-%m-%d", "%Y%m%d", *([_NUMBER] if numbers else [])):
        parts = []
        for sign, value in ((">=", first), ("<", last)):
            if value is not None:
                parts.append(f'"{column}"{collated} {sign} {mark}')
                bound.append(int(value.strftime("%Y%m%d")) if form is _NUMBER else value.strftime(form))
        if parts and form is _NUMBER:
            parts.append(f"typeof(\"{column}\") = 'integer'")
        if parts:
            ways.append(f"({' AND '.join(parts)})")
    return (f" WHERE {' OR '.join(ways)}" if ways else ""), bound


def _dated(columns: Sequence[str]) -> str | None:
    """The column that tells the start date of a row."""
    by_name = {plain(column): column for column in columns}
    return by_name.get(SCHEDULED_AT) or by_name.get(START_COLUMN)


def _date(day: str, *, after: int = 0) -> date | None:
    """A day of the query, or one after it; `None` where it is open or no day of the calendar."""
    try:
        return date.fromisoformat(day) + timedelta(days=after) if day else None
    except (ValueError, OverflowError):
        return None
