"""The rim: the only crossing from the event loop to threads, each with a bounded queue."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from service.dicom.errors import Busy
from service.tracing import carrying

_SHORT_S = 0.005
_APART_TIMES = 100


class Crossing:
    """A pool of threads with a limit on what may wait for them."""

    def __init__(self, name: str, *, threads: int, queue: int, nearby: bool = False) -> None:
        """`queue` is what may wait; `nearby` says that what is asked for lies on this machine."""
        self.nearby = nearby
        self._apart_until = 0.0
        self._name = name
        self._threads = carrying(ThreadPoolExecutor(threads, thread_name_prefix=name))
        self._limit = threads + queue
        self._inside = 0
        self._lock = threading.Lock()

    @property
    def inside(self) -> int:
        """How many calls wait for a thread or have one."""
        return self._inside

    async def run[**P, R](self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`function(*args, **kwargs)` in a thread. `Busy` at once if too many wait already.

        A caller that is cancelled leaves; the function, once begun, runs to its end.
        """
        return await self.begin(function, *args, **kwargs)

    def begin[**P, R](
        self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> "asyncio.Future[R]":
        """As `run`, without waiting for it."""
        with self._lock:
            if self._inside >= self._limit:
                raise Busy(f"Too many requests wait here ({self._name}); try again shortly.")
        return self.follow(function, *args, **kwargs)

    async def go_on[**P, R](self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """As `run`, for an answer that has begun: it is never refused, and has one call inside at most."""
        return await self.follow(function, *args, **kwargs)

    def follow[**P, R](
        self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> "asyncio.Future[R]":
        """As `go_on`, without waiting for it. `Busy` where the machine gives no thread."""
        with self._lock:
            self._inside += 1
        try:
            future = self._threads.submit(function, *args, **kwargs)
        except RuntimeError as error:  # no thread can be started, or it is closed
            self._left(None)
            raise Busy(f"No thread can be had ({self._name}); try again shortly.") from error
        future.add_done_callback(self._left)
        return asyncio.wrap_future(future)

    def may_stay(self) -> bool:
        """Whether a look-up that is known to be short may be done on the loop itself.

        A crossing costs several times what such a look-up does, as long as index and objects are local
        and warm. Once one has taken long, the next ones cross again for a hundred times as long, so that
        slow ones hold up the loop for a hundredth of its time at most.
        """
        return self.nearby and time.monotonic() >= self._apart_until

    def stay[**P, R](self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`function(*args, **kwargs)` here and now, and note how long that took."""
        begun = time.monotonic()
        try:
            return function(*args, **kwargs)
        finally:
            ended = time.monotonic()
            if ended - begun > _SHORT_S:
                self._apart_until = ended + _APART_TIMES * (ended - begun)

    def _left(self, _: Future[Any] | None) -> None:
        with self._lock:
            self._inside -= 1

    def close(self) -> None:
        """Wait for what runs, drop what waits."""
        self._threads.shutdown(wait=True, cancel_futures=True)


class Admission:
    """A limit on how many of something are there at once."""

    def __init__(self, what: str, limit: int) -> None:
        self._what = what
        self._limit = limit
        self._inside = 0

    @property
    def inside(self) -> int:
        """How many there are."""
        return self._inside

    @contextmanager
    def one(self) -> Iterator[None]:
        """Be one of them; `Busy` at once if there are too many. Used on the loop only."""
        if self._inside >= self._limit:
            raise Busy(f"{self._limit} {self._what} are in flight; try again shortly.")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
