"""Frames in the making: a few ahead of the socket in the workshop, given out in their order."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING

from service.archive.transcoding import FrameJob, Steps
from service.dicom.errors import Busy
from service.pixels.workshop import Workshop
from service.web.timing import spend

if TYPE_CHECKING:
    from service.pixels.frame import Frame

_MOST_AHEAD_BYTES = 64 << 20


class Making:
    """What one answer has in the making; `steps` is told what its seconds are spent on.

    One thread at a time goes through the frames; any thread may `cancel`.
    """

    def __init__(self, workshop: Workshop, *, ahead: int, steps: Steps) -> None:
        """At most `ahead` frames are made at once, fewer where they are large."""
        self._workshop = workshop
        self._ahead = ahead
        self._waiting: list[Future[Frame]] = []
        self._cancelled = False
        self._begun = False
        self.steps = steps

    def each(self, jobs: Iterable[FrameJob]) -> Iterator["Frame"]:
        """The frames of `jobs` in order. `Busy` if there is no room for the first of the answer."""
        source = iter(jobs)
        # Its own list: what went through frames before may not have been closed yet.
        waiting: list[Future[Frame]] = []
        self._waiting = waiting
        upcoming = next(source, None)
        try:
            while upcoming is not None or waiting:
                upcoming = self._fill(upcoming, source)
                frame = self._result(waiting[0])
                del waiting[0]
                self._begun = True
                yield frame
        finally:
            _let_go(waiting)

    def cancel(self) -> None:
        """Nobody waits any more: what is not begun is not made."""
        self._cancelled = True
        _let_go(self._waiting)

    def _fill(self, upcoming: FrameJob | None, source: Iterator[FrameJob]) -> FrameJob | None:
        """Hand over the next jobs, as many as may be made at once; the first that has to wait."""
        while upcoming is not None and not self._full(upcoming):
            try:
                # Only what nothing else can go on without has a place beyond the queue's limit.
                needed = self._begun and not self._waiting
                future = self._workshop.submit(upcoming.key, upcoming.make, begun=needed)
            except Busy:
                if not self._waiting:
                    raise
                return upcoming
            self._waiting.append(future)
            upcoming = next(source, None)
        return upcoming

    def _full(self, job: FrameJob) -> bool:
        waiting = len(self._waiting)
        return waiting >= self._ahead or (waiting > 0 and (waiting + 1) * job.size > _MOST_AHEAD_BYTES)

    def _result(self, future: Future["Frame"]) -> "Frame":
        begun = time.perf_counter()
        try:
            if self._cancelled:
                raise CancelledError
            return future.result()
        except CancelledError:
            raise Busy(
                "What was being made is not wanted any more, or the server is shutting down."
            ) from None
        finally:
            spend(self.steps, "pixels", begun)


def _let_go(waiting: list[Future["Frame"]]) -> None:
    for future in waiting[:]:
        future.cancel()
