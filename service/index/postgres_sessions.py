"""Connections to a PostgreSQL database: bounded, lent to one thread at a time, errors translated.

What is done with one is a whole transaction, so that it can be done once more where the database undid it
to settle a deadlock, or where the connection was lost because the database restarted.
"""

import contextlib
import functools
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import errors, pq

from service.dicom.errors import ArchiveError, IndexUnavailable
from service.index.documents import Dictionaries
from service.index.port import Connections
from service.index.refusals import closed, contradiction, unavailable

_log = logging.getLogger("isthmus.index")

_UNDONE = (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation)
_LEFT = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.ReadOnlySqlTransaction)
_MOST_UNDONE = 8  # times that a transaction begins again because others stood in its way
_MOST_LOST = 2  # and because its connection was lost
_PAUSE_S = 0.01
_OLDEST_S = 1800.0  # connections are replaced in time, so that they follow the database when it moves
# A commit is durable on return, whatever the database does by default: the row makes an instance stored.
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)
# What a pod has locked is free again soon after its machine has vanished without a word.
_ABANDONED = "SET LOCAL idle_in_transaction_session_timeout = '60s'"
# A database that went away without a word is noticed; what the URL says of these comes before.
_DEFAULTS: dict[str, str] = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "application_name": "isthmus",
}


class Session:
    """One connection, used by one thread at a time, and outside of transactions while it is idle."""

    def __init__(self, url: str) -> None:
        given = psycopg.conninfo.conninfo_to_dict(url)
        parameters: dict[str, Any] = _DEFAULTS | {name: str(value) for name, value in given.items()}
        self.connection = psycopg.Connection[tuple[Any, ...]].connect(autocommit=True, **parameters)
        self.dictionaries = Dictionaries()  # row numbers are never given twice, also not after a rollback
        self.since = time.monotonic()
        try:
            if self.connection.info.parameter_status("server_encoding") != "UTF8":
                raise IndexUnavailable("The database of ISTHMUS_INDEX must have the encoding UTF8.")
            self.connection.execute(_DURABLE)
        except BaseException:
            self.connection.close()
            raise

    @property
    def idle(self) -> bool:
        """Whether the connection stands and is outside of any transaction."""
        return self.connection.info.transaction_status == pq.TransactionStatus.IDLE

    @property
    def lost(self) -> bool:
        """Whether the connection does not stand any more."""
        return self.connection.closed

    def rows(self, sql: str, bound: Sequence[Any] = (), *, planned_anew: bool = False) -> list[Any]:
        """All rows of a statement with question marks; `planned_anew` for the values bound to it."""
        prepare = False if planned_anew else None
        values = as_bound(bound)
        return self.connection.execute(as_written(sql), values, prepare=prepare, binary=True).fetchall()

    def run(self, sql: str, bound: Sequence[Any] = ()) -> None:
        """Run a statement whose result is of no interest."""
        self.connection.execute(as_written(sql), as_bound(bound), binary=True)

    def one(self, sql: str, bound: Sequence[Any] = ()) -> Any:
        """The first column of a row that must be there."""
        rows = self.rows(sql, bound)
        if not rows:
            raise contradiction()
        return rows[0][0]

    @contextlib.contextmanager
    def transaction(self, begin: str) -> Iterator[None]:
        """A transaction that `begin` opens, durable once left, undone by any exception."""
        self.connection.execute(f"{begin}; {_ABANDONED}".encode())
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            self.undo()
            raise

    def cut(self) -> None:
        """End the connection from another thread, while its own waits for an answer that does not come."""
        with (
            contextlib.suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self.connection.fileno())) as line,
        ):
            line.shutdown(socket.SHUT_RDWR)

    def undo(self) -> None:
        """Leave whatever transaction there is; a connection that cannot is closed."""
        try:
            self.connection.rollback()
        except psycopg.Error:
            self.connection.close()


@functools.lru_cache(maxsize=1024)
def as_written(sql: str) -> bytes:
    """A statement with question marks as psycopg wants it."""
    return sql.replace("%", "%%").replace("?", "%s").encode()


def as_bound(values: Sequence[Any]) -> list[Any]:
    """Values as PostgreSQL takes them: text without NUL, fractions as decimal numbers."""
    return [_as_bound(value) for value in values]


def _as_bound(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "") if "\0" in value else value
    return Decimal(repr(value)) if isinstance(value, float) else value


class Sessions:
    """At most `most` connections to the database at `url`; who wants another one waits for `wait_s`.

    A connection that is in use for longer than `patience_s` is cut: a server that hangs would hold all of
    them, and those who wait for it, for ever.
    """

    def __init__(self, url: str, *, most: int, wait_s: float, patience_s: float = 60.0) -> None:
        self._url = url
        self._wait_s = wait_s
        self._free = threading.BoundedSemaphore(most)
        self._guard = threading.Lock()
        self._idle: list[Session] = []
        self._busy: dict[Session, float] = {}
        self._closed = False
        self._ended = threading.Event()
        watch = threading.Thread(target=self._watch, args=(patience_s,), name="watch index", daemon=True)
        watch.start()

    def carry_out[T](self, work: Callable[[Session], T]) -> T:
        """What `work` returns, which does one transaction or reads.

        It is called again where the database undid it, or where the connection was lost; whether a lost
        connection's transaction was committed is not known to it. Errors of the database leave as
        `IndexUnavailable`.
        """
        undone = lost = 0
        while True:
            try:
                return self._once(work)
            except _UNDONE as cause:
                undone += 1
                if undone > _MOST_UNDONE:
                    raise _told(cause) from cause
                time.sleep(random.uniform(0, _PAUSE_S * 2 ** min(undone, 5)))
            except _Lost as loss:
                lost += 1
                if lost > _MOST_LOST:
                    raise _told(loss.__cause__) from loss.__cause__
            except (psycopg.Error, OSError) as cause:
                raise _told(cause) from cause

    def load(self) -> Connections:
        """How many connections there are."""
        with self._guard:
            return Connections(len(self._busy), len(self._idle))

    def close(self) -> None:
        """Close what is idle, and what is in use once it is given back."""
        with self._guard:
            self._closed = True
        self._ended.set()
        self._drop_idle()

    def _once[T](self, work: Callable[[Session], T]) -> T:
        if not self._free.acquire(timeout=self._wait_s):
            raise IndexUnavailable("All connections to the index are in use; try again later.")
        try:
            session = self._take()
            try:
                with self._guard:
                    self._busy[session] = time.monotonic()
                return work(session)
            except psycopg.Error as cause:
                if session.lost or isinstance(cause, _LEFT):
                    session.connection.close()
                    self._drop_idle()  # which have most probably gone the same way
                    raise _Lost from cause
                raise
            finally:
                with self._guard:
                    del self._busy[session]
                self._give_back(session)
        finally:
            self._free.release()

    def _take(self) -> Session:
        with self._guard:
            if self._closed:
                raise closed()
            if self._idle:
                return self._idle.pop()
        return Session(self._url)

    def _give_back(self, session: Session) -> None:
        if not session.lost and not session.idle:
            session.undo()
        young = time.monotonic() - session.since < _OLDEST_S
        with self._guard:
            if session.idle and young and not self._closed:
                self._idle.append(session)
                return
        session.connection.close()

    def _drop_idle(self) -> None:
        with self._guard:
            idle, self._idle = self._idle, []
        for session in idle:
            session.connection.close()

    def _watch(self, patience_s: float) -> None:
        while not self._ended.wait(patience_s / 4):
            with self._guard:  # under which no connection is given back, and none is another's by then
                for session, since in self._busy.items():
                    if time.monotonic() - since > patience_s:
                        session.cut()


class _Lost(ArchiveError):
    """The connection was lost."""


def _told(cause: BaseException | None) -> IndexUnavailable:
    """The refusal for an error of the database, whose text may hold what patients are called."""
    state = getattr(cause, "sqlstate", None) or "none"
    _log.warning("database error=%s sqlstate=%s", type(cause).__name__, state)
    return unavailable()
