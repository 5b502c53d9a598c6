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
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        return self._due is not None

    def set(self, seconds: float | None) -> None:
        """Pass in `seconds` from now, or never."""
        self._due = None if seconds is None else self._loop.time() + seconds
        if self._due is None:
            return
        if self._timer is None or self._timer.when() > self._due:
            self._stop()
            self._timer = self._loop.call_at(self._due, self._tick)

    def end(self) -> None:
        """Never pass any more, and hold nothing."""
        self._due = None
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        if self._due is None:
            return
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._tick)
        else:
            self._missed()
