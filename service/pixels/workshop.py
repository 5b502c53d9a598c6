"""Where pixels are worked on: bounded threads, one making for all who ask, a bounded memory of what was made.

Codecs release the interpreter's lock, so threads serve. Nobody waits for a place in the queue: a full one
says `Busy` at once.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, cast

from service.dicom.errors import Busy
from service.pixels.frame import Frame
from service.pixels.shelf import Shelf


@dataclass(slots=True, eq=False)
class _Job:
    """One making, and those who wait for it."""

    key: Hashable
    make: Callable[[], Any]
    waiting: list[Future[Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the workshop is: jobs running and queued, bytes and entries kept, what the cache saved.

    What is kept is what was made and what lies on the shelf; hits and misses are of what was made.
    """

    running: int
    queued: int
    kept_bytes: int
    kept: int
    hits: int
    misses: int


_at_work = threading.local()


def require_wanted() -> None:
    """For long work, between its steps: `Busy` in a thread of a workshop if nobody waits for it any more."""
    current: tuple[Workshop, _Job] | None = getattr(_at_work, "current", None)
    if current is not None:
        workshop, job = current
        workshop.require_wanted(job)


class Workshop:
    """Frames, and files of pictures, made by threads of its own.

    A key names what is made, by content: digest of the instance, frame number, target and its parameters.
    What things are made of lies on the `shelf`, for other pictures of the same.
    """

    def __init__(self, *, threads: int, queue: int, cache_bytes: int, shelf_bytes: int = 0) -> None:
        """`threads` work at once, `queue` jobs wait for them, `cache_bytes` of payloads are kept.

        The shelf holds `shelf_bytes` beside them.
        """
        self.shelf = Shelf(shelf_bytes)
        self._queue_limit = queue
        self._cache_limit = cache_bytes
        self._lock = threading.Lock()
        self._idle: list[threading.Lock] = []
        """A gate for each thread without work; the one that came last is let through first."""
        self._jobs: dict[Hashable, _Job] = {}
        self._queue: deque[_Job] = deque()
        self._cache: OrderedDict[Hashable, Frame | bytes] = OrderedDict()
        self._cached_bytes = 0
        self._running = 0
        self._hits = 0
        self._misses = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"pixels-{number}", daemon=True)
            for number in range(max(threads, 1))
        ]
        for thread in self._threads:
            thread.start()

    def submit[Made: (Frame, bytes)](
        self, key: Hashable, make: Callable[[], Made], *, begun: bool = False
    ) -> Future[Made]:
        """What `make` gives, kept or in the making for another already, or begun now.

        Every caller has a future of its own: cancelling it lets go of the job, and a job that nobody
        waits for any more is not begun. `Busy` if as many jobs wait as may, unless `begun` says that it is
        for an answer that is on its way: such an answer has one more job in the queue at most.
        """
        future: Future[Made] = Future()
        with self._lock:
            if self._closed:
                raise Busy("The server is shutting down.")
            kept = self._taken(key)
            if kept is None:
                self._join(key, make, future, begun)
        if kept is not None:
            future.set_result(cast(Made, kept))
        else:
            future.add_done_callback(lambda done: self._let_go(key, done))
        return future

    def kept(self, key: Hashable) -> Frame | bytes | None:
        """What is kept under `key`, if anything is; for who would not wait."""
        with self._lock:
            return self._taken(key)

    def make[Made: (Frame, bytes)](
        self, key: Hashable, make: Callable[[], Made], *, timeout_s: float | None = None
    ) -> Made:
        """`submit`, waited for. Not to be called by what `submit` was given: it would wait for itself."""
        future = self.submit(key, make)
        try:
            return future.result(timeout_s)
        except BaseException:
            future.cancel()
            raise

    def load(self) -> Load:
        """How busy the workshop is at this moment."""
        with self._lock:
            return Load(
                self._running,
                len(self._queue),
                self._cached_bytes + self.shelf.kept_bytes,
                len(self._cache) + self.shelf.kept,
                self._hits,
                self._misses,
            )

    def require_wanted(self, job: _Job) -> None:
        """`Busy` if nobody waits for a job that has begun; who asks for the same from then on begins anew."""
        with self._lock:
            if job.waiting and not self._closed:
                return
            self._forget(job)
        raise Busy("What was being made is not wanted any more, or the server is shutting down.")

    def close(self) -> None:
        """Jobs not begun are cancelled; returns when those in the making are done, or stop between steps."""
        with self._lock:
            self._closed = True
            dropped = list(self._queue)
            self._queue.clear()
            for job in dropped:
                self._jobs.pop(job.key, None)
            while self._idle:
                self._idle.pop().release()
        for job in dropped:
            for future in job.waiting:
                future.cancel()
        for thread in self._threads:
            thread.join()

    def _taken(self, key: Hashable) -> Frame | bytes | None:
        kept = self._cache.get(key)
        if kept is not None:
            self._cache.move_to_end(key)
            self._hits += 1
        return kept

    def _join(self, key: Hashable, make: Callable[[], Any], future: Future[Any], begun: bool) -> None:
        job = self._jobs.get(key)
        if job is not None:
            self._hits += 1
            job.waiting.append(future)
            return
        # A thread that is free takes a job at once: it does not wait in the queue.
        free = len(self._threads) - self._running
        if not begun and len(self._queue) >= self._queue_limit + free:
            raise Busy("All threads for pixels are at work and the queue is full.")
        self._misses += 1
        job = _Job(key, make, [future])
        self._jobs[key] = job
        self._queue.append(job)
        if self._idle:
            self._idle.pop().release()

    def _let_go(self, key: Hashable, future: Future[Any]) -> None:
        """A job whose last waiting future was cancelled leaves the queue."""
        if not future.cancelled():
            return
        with self._lock:
            job = self._jobs.get(key)
            if job is None or future not in job.waiting:
                return
            job.waiting.remove(future)
            if not job.waiting and job in self._queue:
                self._queue.remove(job)
                del self._jobs[key]

    def _work(self) -> None:
        gate = threading.Lock()
        gate.acquire()
        while True:
            job = self._next(gate)
            if job is None:
                return
            made: Frame | bytes | None = None
            failure: BaseException | None = None
            _at_work.current = self, job
            try:
                made = job.make()
            except BaseException as error:  # every one of them belongs to those who wait
                failure = error
            _at_work.current = None
            with self._lock:
                self._running -= 1
                self._forget(job)
                if made is not None:
                    self._keep(job.key, made)
                waiting = list(job.waiting)
            for future in waiting:
                _answer(future, made, failure)
            del job, made, failure, waiting

    def _forget(self, job: _Job) -> None:
        if self._jobs.get(job.key) is job:
            del self._jobs[job.key]

    def _next(self, gate: threading.Lock) -> _Job | None:
        """The next job, waited for at `gate`; `None` once the workshop is closed."""
        while True:
            with self._lock:
                if self._queue:
                    self._running += 1
                    return self._queue.popleft()
                if self._closed:
                    return None
                # What this thread has worked on last is still near the core that it ran on.
                self._idle.append(gate)
            gate.acquire()

    def _keep(self, key: Hashable, made: Frame | bytes) -> None:
        size = _size(made)
        if key in self._cache:  # two were made, the first of which nobody seemed to wait for
            return
        # What would push out most of the rest is not worth its place.
        if size > self._cache_limit // 4:
            return
        self._cache[key] = made
        self._cached_bytes += size
        while self._cached_bytes > self._cache_limit:
            _, oldest = self._cache.popitem(last=False)
            self._cached_bytes -= _size(oldest)


def _size(made: Frame | bytes) -> int:
    return memoryview(made.payload if isinstance(made, Frame) else made).nbytes


def _answer(future: Future[Any], made: Frame | bytes | None, failure: BaseException | None) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if made is not None:
        future.set_result(made)
    else:
        future.set_exception(failure)
