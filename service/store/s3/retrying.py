"""Trying again: with jitter, until a deadline, and not at all while nothing succeeds."""

import logging
import random
import threading
import time
from collections.abc import Callable

from service.dicom.errors import StoreUnavailable

_FIRST_S = 0.1
_MOST_S = 3.0
_HOPELESS = 8  # operations given up in a row
_log = logging.getLogger("isthmus.store")


class Transient(Exception):
    """One attempt failed in a way that another may not; the text says how, without secrets."""


class Retrying:
    """Runs operations on a store that may fail for a while; any thread may call.

    Pauses grow and are random, so that many callers do not come back at once. Once several operations in
    a row were given up, each gets a single attempt until one succeeds: what waits here for a store that
    is down holds up those that need no store.
    """

    def __init__(self, patience_s: float) -> None:
        """`patience_s` is how long after its beginning an operation is still tried again."""
        self._patience_s = patience_s
        self._given_up = 0
        self._lock = threading.Lock()

    def run[T](self, operation: str, attempt: Callable[[], T]) -> T:
        """What `attempt` returns. `StoreUnavailable` once `Transient` was raised for too long."""
        begun = time.monotonic()
        attempts = 0
        while True:
            attempts += 1
            try:
                result = attempt()
            except Transient as failure:
                pause = random.uniform(0, min(_MOST_S, _FIRST_S * 2 ** min(attempts, 10)))
                if not self._hopeless and time.monotonic() + pause - begun < self._patience_s:
                    time.sleep(pause)
                    continue
                self._count(failed=True)
                _log.warning("operation=%s attempts=%d given_up=%s", operation, attempts, failure)
                raise StoreUnavailable("The object store does not answer; try again shortly.") from failure
            if self._given_up:
                self._count(failed=False)
            return result

    @property
    def _hopeless(self) -> bool:
        return self._given_up >= _HOPELESS

    def _count(self, *, failed: bool) -> None:
        with self._lock:
            self._given_up = self._given_up + 1 if failed else 0
