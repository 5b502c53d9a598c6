"""A thread that finds digests while those who want them describe and write the same objects."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Digesting:
    """One thread, which is begun when it is first wanted; any thread may call.

    Where it is at work already, whoever asks does better to do the work: then others keep the processor busy.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="digest")
        self._busy = threading.Lock()

    def begin(self, work: Callable[[], None]) -> Callable[[], None] | None:
        """Have `work` done: what waits until it is, raising what it raises. `None` if it is at work."""
        if not self._busy.acquire(blocking=False):
            return None
        try:
            done = self._threads.submit(work)
        except RuntimeError:  # no thread can be had, or it is ended
            self._busy.release()
            return None
        done.add_done_callback(self._free)
        return done.result

    def end(self) -> None:
        """Let it come to its end."""
        self._threads.shutdown(wait=True)

    def _free(self, _: Future[None]) -> None:
        self._busy.release()
