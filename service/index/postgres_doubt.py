"""What became of a transaction whose connection was lost before it was told.

To do it again is no answer: if it was committed, another pod may have removed by now what it entered, with
the objects, and rows that are entered once more would point at nothing.
"""

import time
from collections.abc import Sequence

from psycopg.errors import InvalidParameterValue

from service.dicom.errors import IndexUnavailable
from service.index.port import Outcome
from service.index.postgres_sessions import Session

_PAUSE_S = 0.05
_STATUS = "SELECT txid_status(?::bigint)"
_NAMED = "SELECT count(*) FROM instance WHERE object_key = ANY(?)"


class Doubt:
    """About the last transaction that was about to be committed, which entered instances."""

    def __init__(self, wait_s: float) -> None:
        """`wait_s` is how long one is waited for that the database is still busy with."""
        self._wait_s = wait_s
        self._transaction = 0
        self._outcomes: list[Outcome] = []
        self._entered: Sequence[str] = ()

    def note(self, transaction: int, outcomes: list[Outcome], entered: Sequence[str]) -> None:
        """It is `transaction`, and gave rows to the objects `entered`."""
        self._transaction, self._outcomes, self._entered = transaction, outcomes, entered

    def resolve(self, session: Session) -> list[Outcome] | None:
        """The outcomes if it was committed, `None` if it was not, or if there was none.

        `IndexUnavailable` if that cannot be told, or if others have changed since what it entered: whoever
        stores the same instances again is told how it stands.
        """
        if not self._transaction or self._status(session) == "aborted":
            return None
        # A number alone is no proof: another database may have taken this one's place, and given it again.
        if session.one(_NAMED, (list(self._entered),)) < len(self._entered):
            raise IndexUnavailable("The connection to the index was lost; store the instances again.")
        return self._outcomes

    def _status(self, session: Session) -> str | None:
        deadline = time.monotonic() + self._wait_s
        try:
            while (status := session.one(_STATUS, (self._transaction,))) == "in progress":
                if time.monotonic() > deadline:
                    break
                time.sleep(_PAUSE_S)
        except InvalidParameterValue:  # no such transaction was ever begun here
            return None
        return None if status is None else str(status)
