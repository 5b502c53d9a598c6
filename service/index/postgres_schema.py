"""The schema of a PostgreSQL database, brought up to date by whichever pod comes first.

The row of step 0 is the lock: who holds it applies what is missing, file by file, each in a transaction of
its own with the note that it is done. A pod whose files are all applied takes no lock.
"""

import time
from collections.abc import Sequence

from psycopg import errors

from service.dicom.errors import IndexUnavailable
from service.index.documents import new_era
from service.index.migrations import SchemaFile, pending, schema_files
from service.index.postgres_sessions import Session, Sessions

_APPLIED = "SELECT max(number), max(oldest) FROM schema_step"
_ERA = "SELECT value FROM state WHERE name = 'era'"
# A statement that waits for longer than this for a table in use gives way, and with it those behind it.
_STEP = "BEGIN; SET LOCAL lock_timeout = '3s'"
_WAIT_S = 300.0  # for another pod's step
_PAUSE_S = 0.2


def migrate(sessions: Sessions) -> int:
    """Apply the schema files that the database lacks; the era of the index, given to it once.

    `IndexUnavailable` if the database has been changed in a way that this program cannot live with, or
    if a step cannot be taken in time.
    """
    files = schema_files("postgres")
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            return sessions.carry_out(lambda session: _migrated(session, files))
        except _Later as later:
            if time.monotonic() > deadline:
                raise IndexUnavailable(
                    "The index's schema is being changed, or its tables are in use; start again later."
                ) from later
            time.sleep(_PAUSE_S)


def check(session: Session) -> None:
    """Return if the database answers and this program may run on it; `IndexUnavailable` if not."""
    _missing(session, schema_files("postgres"))


class _Later(Exception):
    """The lock, or a table that a step changes, is held by somebody else."""


def _migrated(session: Session, files: Sequence[SchemaFile]) -> int:
    try:
        _bootstrap(session)
        while _missing(session, files):
            with session.transaction(_STEP):
                session.rows("SELECT number FROM schema_step WHERE number = 0 FOR UPDATE")
                for file in _missing(session, files)[:1]:
                    session.connection.execute(file.sql.encode())
                    session.run("INSERT INTO schema_step VALUES (?, ?)", (file.number, file.oldest))
        session.run("INSERT INTO state VALUES ('era', ?) ON CONFLICT (name) DO NOTHING", (new_era(),))
    except (
        errors.LockNotAvailable,
        errors.DuplicateTable,
        errors.DuplicateObject,
    ) as cause:  # or its row type
        raise _Later from cause
    return int(session.one(_ERA))


def _bootstrap(session: Session) -> None:
    if session.one("SELECT to_regclass('schema_step') IS NOT NULL"):
        return
    with session.transaction(_STEP):
        session.run("CREATE TABLE IF NOT EXISTS schema_step (number INTEGER PRIMARY KEY, oldest INTEGER)")
        session.run("INSERT INTO schema_step VALUES (0, 0) ON CONFLICT (number) DO NOTHING")


def _missing(session: Session, files: Sequence[SchemaFile]) -> list[SchemaFile]:
    ((applied, oldest),) = session.rows(_APPLIED)
    return pending(list(files), applied or 0, oldest or 0)
