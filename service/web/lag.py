"""How late the event loop is: what a timer is behind the moment it was set for, over the last seconds."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_EVERY_S = 0.02
_WINDOW_S = 10.0


@dataclass(frozen=True, slots=True)
class Lag:
    """What the loop was late by, in seconds, over so many moments; all 0 where none has passed yet."""

    p50: float
    p99: float
    most: float
    moments: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Lag":
        """The percentiles of `samples`: each is one of them, the nearest rank."""
        if not samples:
            return cls(0.0, 0.0, 0.0, 0)
        ordered = sorted(samples)
        last = len(ordered) - 1
        return cls(ordered[last // 2], ordered[-(-99 * len(ordered) // 100) - 1], ordered[last], len(ordered))


class LagMeter:
    """A timer that is due at a fixed rate, and a note of how late each of its moments was.

    A loop that is held up for long misses several moments: each of them counts, with its own lateness, as
    whoever came in at that moment had to wait that long.
    """

    def __init__(
        self,
        *,
        every_s: float = _EVERY_S,
        window_s: float = _WINDOW_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._every_s = every_s
        self._clock = clock
        self._samples: deque[float] = deque(maxlen=max(round(window_s / every_s), 1))
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Measure the running loop from now on."""
        self._due = self._clock() + self._every_s
        self._set()

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def read(self) -> Lag:
        """The lag over the last seconds."""
        return Lag.of(self._samples)

    def tick(self) -> None:
        """Note every moment that has passed."""
        now = self._clock()
        missed = int((now - self._due) / self._every_s)
        room = self._samples.maxlen or 1
        if missed > room:  # of a loop that stood still longer than is looked back on
            self._due += (missed - room) * self._every_s
        while self._due <= now:
            self._samples.append(now - self._due)
            self._due += self._every_s

    def _set(self) -> None:
        delay = max(self._due - self._clock(), 0.0)
        self._timer = asyncio.get_running_loop().call_later(delay, self._rang)

    def _rang(self) -> None:
        self.tick()
        self._set()
