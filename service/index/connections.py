"""Connections to one SQLite file: lent to one thread at a time, deadlines kept, errors translated."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from service.dicom.zones import zoned_date, zoned_time
from service.index.documents import Dictionaries, new_era
from service.index.migrations import pending, schema_files
from service.index.port import Connections
from service.index.refusals import closed, too_long, unavailable
from service.index.turns import Turns

_STEPS = 4_000  # of SQLite's virtual machine between looks at the clock, some 0.2 ms

_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    # A commit is durable on return, also when the power fails: the row is what makes an instance stored.
    "PRAGMA synchronous = FULL",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -16384",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA trusted_schema = OFF",
)


class Link:
    """One connection, used by one thread at a time."""

    def __init__(self, path: Path, busy_timeout_s: float, turns: Turns) -> None:
        self.deadline: float | None = None
        self.dictionaries = Dictionaries()
        self._turns = turns
        self.connection = apsw.Connection(str(path))
        self.connection.set_busy_timeout(int(busy_timeout_s * 1000))
        for setting in _SETTINGS:
            self.connection.execute(setting).fetchall()
        self.plan_by_values(False)
        self.connection.set_progress_handler(self._is_late, _STEPS)
        functions: dict[str, Any] = {"zoned_date": zoned_date, "zoned_time": zoned_time}
        for name, function in functions.items():
            self.connection.create_scalar_function(name, function, 4, deterministic=True)

    def plan_by_values(self, wanted: bool) -> None:
        """Whether a statement is planned anew for the values bound to it.

        A search gains by it, since the beginning of a pattern leads into an index. Any other statement
        would be parsed again each time that it runs, at several times the cost of running it.
        """
        self.connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 0 if wanted else 1)

    def _is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    @contextlib.contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """A snapshot: all reads inside see the same rows."""
        self.connection.execute("BEGIN")
        try:
            yield self.connection
        finally:
            if self.connection.in_transaction:
                self.connection.execute("COMMIT")

    @contextlib.contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """A transaction of the only writer, durable once left, undone by any exception."""
        with self._turns.one():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                self.dictionaries.forget()
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def migrate(self) -> int:
        """Apply the schema files that the database lacks; the era of the index, given to it once."""
        files = schema_files("sqlite")
        with self.writing() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_step (number INTEGER PRIMARY KEY, oldest INTEGER)"
            )
            (applied, oldest) = next(
                connection.execute(
                    "SELECT coalesce(max(number), 0), coalesce(max(oldest), 0) FROM schema_step"
                )
            )
            for file in pending(files, int(str(applied)), int(str(oldest))):
                connection.execute(file.sql)
                connection.execute("INSERT INTO schema_step VALUES (?, ?)", (file.number, file.oldest))
            era = int(str(next(connection.execute("PRAGMA user_version"))[0]))
            if not era:
                era = new_era()
                connection.execute(f"PRAGMA user_version = {era}")  # which takes no bound parameter
        return era

    def close(self) -> None:
        self.connection.close()


class Links:
    """As many connections as threads ask for at once; the most recently used is lent first."""

    def __init__(
        self, path: Path, *, statement_limit_s: float, busy_timeout_s: float, turn_wait_s: float
    ) -> None:
        self._path = path
        self._turns = Turns(path.with_name(path.name + ".lock"), wait_s=turn_wait_s)
        self._limit_s = statement_limit_s
        self._busy_timeout_s = busy_timeout_s
        self._guard = threading.Lock()
        self._idle: list[Link] = []
        self._lent = 0
        self._closed = False

    @contextlib.contextmanager
    def lent(self, *, limited: bool = False) -> Iterator[Link]:
        """A connection for the time of the block; `limited` ends what runs past the statement limit.

        Errors of SQLite and of the file system leave as `IndexUnavailable`, an overrun as `TooMany`.
        """
        try:
            link = self._take()
        except (apsw.Error, OSError) as cause:
            raise unavailable() from cause
        healthy = False
        try:
            link.deadline = time.monotonic() + self._limit_s if limited else None
            if limited:
                link.plan_by_values(True)
            yield link
            healthy = True
        except apsw.InterruptError as cause:
            healthy = True
            raise too_long(self._limit_s) from cause
        except (apsw.Error, OSError) as cause:
            raise unavailable() from cause
        except Exception:
            healthy = True
            raise
        finally:
            link.deadline = None
            if limited:
                link.plan_by_values(False)
            self._give_back(link, healthy and not link.connection.in_transaction)

    def load(self) -> Connections:
        """How many connections there are."""
        with self._guard:
            return Connections(self._lent, len(self._idle))

    def close(self) -> None:
        """Close what is idle, and what is in use once it is given back."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for link in idle:
            link.close()
        self._turns.close()

    def _take(self) -> Link:
        with self._guard:
            if self._closed:
                raise closed()
            self._lent += 1
            if self._idle:
                return self._idle.pop()
        try:
            return Link(self._path, self._busy_timeout_s, self._turns)
        except BaseException:
            with self._guard:
                self._lent -= 1
            raise

    def _give_back(self, link: Link, healthy: bool) -> None:
        with self._guard:
            self._lent -= 1
            if healthy and not self._closed:
                self._idle.append(link)
                return
        with contextlib.suppress(apsw.Error):
            link.close()
