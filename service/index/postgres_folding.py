"""Counts of studies and series, brought up to date behind the writers' backs.

Writers append what arrived and never touch a count, so that many of them can store into one series. Who
asks adds what is pending, so that counts are exact; here it is folded, by one pod at a time.
"""

import logging
import threading

from service.dicom.errors import IndexUnavailable
from service.index.postgres_sessions import Session, Sessions

_MOST = 10_000  # arrivals folded in one transaction
_END_S = 5.0
_SELDOM_S = 8.0  # between attempts while the database does not answer
_IDLE_S = 5.0  # after which the arrivals that another pod left behind are looked for
_log = logging.getLogger("isthmus.index")

_PENDING = "SELECT id FROM arrival LIMIT 1"
_TURN = "SELECT name FROM state WHERE name = 'fold' FOR UPDATE SKIP LOCKED"
_TAKE = (
    "WITH due AS (DELETE FROM arrival WHERE id IN (SELECT id FROM arrival ORDER BY id LIMIT ?)"
    " RETURNING study, series, change)"
    " SELECT study, series, sum(change)::integer, count(*)::integer FROM due GROUP BY study, series"
)
# Rows are locked in one order, studies before series, as everywhere.
_LOCK = "SELECT id FROM {table} WHERE id = ANY(?) ORDER BY id FOR NO KEY UPDATE"
_FOLD = (
    "UPDATE {table} t SET {column} = t.{column} + d.change"
    " FROM unnest(?::bigint[], ?::integer[]) d (id, change) WHERE t.id = d.id"
)


def fold(session: Session) -> int | None:
    """Fold what is pending, up to a bound; how many arrivals, or `None` while another pod folds."""
    if not session.rows(_PENDING):
        return 0
    with session.transaction("BEGIN; SET LOCAL lock_timeout = '1s'"):
        if not session.rows(_TURN):
            return None
        taken = session.rows(_TAKE, (_MOST,))
        studies: dict[int, int] = {}
        for study, _, change, _ in taken:
            studies[study] = studies.get(study, 0) + change
        _enter(session, "study", "study_count", studies)
        _enter(session, "series", "series_size", {series: change for _, series, change, _ in taken})
    return sum(int(count) for *_, count in taken)


def _enter(session: Session, table: str, column: str, changes: dict[int, int]) -> None:
    changed = {row: change for row, change in changes.items() if change}
    if changed:
        session.run(_LOCK.format(table=table), (list(changed),))
        session.run(_FOLD.format(table=table, column=column), (list(changed), list(changed.values())))


class Folding:
    """A thread that folds within `every_s` of a change."""

    def __init__(self, sessions: Sessions, *, every_s: float) -> None:
        self._sessions = sessions
        self._every_s = every_s
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fold counts", daemon=True)
        self._thread.start()

    def wanted(self) -> None:
        """Something has changed."""
        self._changed.set()

    def end(self) -> None:
        """Fold no more; returns when the thread has gone, or soon, where the database does not answer."""
        self._ended.set()
        self._changed.set()
        self._thread.join(_END_S)

    def _run(self) -> None:
        failures = 0
        while not self._ended.is_set():
            self._changed.wait(_IDLE_S)
            if self._ended.wait(min(self._every_s * 2**failures, _SELDOM_S)):
                return
            self._changed.clear()
            try:
                folded = self._sessions.carry_out(fold)
                if folded is None or folded >= _MOST:  # what the other pod does not see is left to us
                    self._changed.set()
                failures = 0
            except IndexUnavailable as error:
                _log.warning("error=%s counts wait to be folded", type(error).__name__)
                self._changed.set()
                failures = min(failures + 1, 8)
