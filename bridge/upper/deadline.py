"""A deadline that moves often and is missed rarely."""

import asyncio
from collections.abc import Callable


class Deadline:
    """Calls `missed` when it passes; moved with `set` and taken back with `set(None)`.

    One timer follows lazily: deadlines move with every PDU, and timers cost more.
    """

    def __init__(self, missed: Callable[[], None]) -> None:
        self._missed = missed
        self._loop = asyncio.get_running_loop()
        self._due: float | None = None
        # When the timer rings is kept here: uvloop's handles do not tell, if that is at once.
        self._timer: asyncio.Handle | None = None
        self._rings = 0.0

    @property
    def is_set(self) -> bool:
        return self._due is not None

    def set(self, seconds: float | None) -> None:
        """Pass in `seconds` from now, or never."""
        self._due = None if seconds is None else self._loop.time() + seconds
        if self._due is None:
            return
        if self._timer is None or self._rings > self._due:
            self._stop()
            self._start(self._due)

    def end(self) -> None:
        """Never pass any more, and hold nothing."""
        self._due = None
        self._stop()

    def _start(self, due: float) -> None:
        self._rings = due
        self._timer = self._loop.call_at(due, self._tick)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        if self._due is None:
            return
        if self._loop.time() < self._due:
            self._start(self._due)
        else:
            self._missed()
