"""Makes the metadata of series ready behind the scenes, so that the next one to ask finds them in one piece.

A series is worth it once it was asked for, or once many instances came and none has for a while. One thread
does it, at a fraction of its time: what is not done yet costs whoever asks a few milliseconds, no more.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from service.dicom.resource import Resource
from service.index.port import FEWEST, Bundles

_MOST = 2_000  # series that wait; of more, the first are left to those who ask for them
_REST = 9  # times as long as the last step took: no more than a tenth of a core goes into this
_END_S = 5.0
_log = logging.getLogger("isthmus.archive")


@dataclass(slots=True)
class _Waiting:
    """When a series or study is due, on the monotonic clock, and how many instances came to it here."""

    due: float
    came: int = 0
    asked: bool = False


class Readying:
    """A thread that begins with the first of what it is told; any thread may tell it.

    A resource is made ready `asked_s` after it was asked for, and a series `still_s` after the last of many
    instances came to it, asked for or not.
    """

    def __init__(self, bundles: Bundles, *, asked_s: float = 1.0, still_s: float = 5.0) -> None:
        self._bundles = bundles
        self._asked_s = asked_s
        self._still_s = still_s
        # Each in the order in which they are due.
        self._asked: OrderedDict[Resource, _Waiting] = OrderedDict()
        self._growing: OrderedDict[Resource, _Waiting] = OrderedDict()
        self._changed = threading.Condition()
        self._ended = False
        self._thread: threading.Thread | None = None

    def asked(self, resource: Resource) -> None:
        """A study or series was asked for, and was read instance by instance."""
        with self._changed:
            growing = self._growing.get(resource)
            if growing is not None:
                growing.asked = True
            elif resource not in self._asked:
                self._asked[resource] = _Waiting(time.monotonic() + self._asked_s, asked=True)
                self._entered(self._asked)

    def came(self, series: Resource, count: int) -> None:
        """So many instances came to `series`."""
        with self._changed:
            due = time.monotonic() + self._still_s
            growing = self._growing.pop(series, None)
            waiting = growing or self._asked.pop(series, None) or _Waiting(due)
            waiting.due = due
            waiting.came += count
            self._growing[series] = waiting
            if growing is None:
                self._entered(self._growing)

    def end(self) -> None:
        """Make nothing ready any more; returns when the thread has gone, or soon, where the index hangs."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_END_S)

    def _entered(self, queue: OrderedDict[Resource, _Waiting]) -> None:
        """Something came to the end of `queue`, while the lock is held."""
        if len(queue) > _MOST:
            queue.popitem(last=False)
        if self._thread is None and not self._ended:
            self._thread = threading.Thread(target=self._run, name="ready metadata", daemon=True)
            self._thread.start()
        elif len(queue) == 1:  # what is before it is due before it
            self._changed.notify()

    def _run(self) -> None:
        while (resource := self._next()) is not None:
            for series in self._step(self._bundles.unready, resource) or ():
                if self._ended:
                    return
                self._step(self._bundles.fold, series)

    def _step[T](self, step: Callable[[Resource], T], resource: Resource) -> T | None:
        """What `step` makes of `resource`, after a rest; `None` where it fails."""
        begun = time.monotonic()
        try:
            return step(resource)
        except Exception as error:  # whoever asks for it next brings it here again; others are made ready
            _log.warning("error=%s not made ready path=%s", type(error).__name__, resource.path)
            return None
        finally:
            self._rest(_REST * (time.monotonic() - begun))

    def _next(self) -> Resource | None:
        """Wait for the next that is due and worth it; `None` at the end."""
        with self._changed:
            while not self._ended:
                queues = [queue for queue in (self._asked, self._growing) if queue]
                queue = min(queues, key=lambda queue: next(iter(queue.values())).due, default=None)
                if queue is None:
                    self._changed.wait()
                    continue
                delay_s = next(iter(queue.values())).due - time.monotonic()
                if delay_s > 0:
                    self._changed.wait(delay_s)
                    continue
                resource, waiting = queue.popitem(last=False)
                if waiting.asked or waiting.came >= FEWEST:
                    return resource
        return None

    def _rest(self, rest_s: float) -> None:
        until = time.monotonic() + rest_s
        with self._changed:
            while not self._ended and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
