"""The turn to write to a SQLite file: one writer at a time, among threads and among processes.

SQLite lets writers poll for their turn. Here the kernel queues them, and lets go of the lock of a process
that dies. No wait is without end.
"""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from service.dicom.errors import IndexUnavailable
from service.index.refusals import closed


class Turns:
    """The turns of this process at writing to the file beside which `path`, the lock, stands."""

    def __init__(self, path: Path, *, wait_s: float) -> None:
        self._path = path
        self._wait_s = wait_s
        self._here = threading.Lock()  # held by the one thread of this process that has or awaits the turn
        self._guard = threading.Lock()
        self._file: int | None = None
        self._closed = False
        self._waiting = False  # a thread of ours stands in the kernel's queue
        self._wanted = False  # and somebody waits for it
        self._granted = threading.Event()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Be the only writer for the time of the block.

        `IndexUnavailable` if others write for longer than a writer may wait, `OSError` of the lock's file.
        """
        deadline = time.monotonic() + self._wait_s
        if not self._here.acquire(timeout=self._wait_s):
            raise self._too_long()
        try:
            file = self._take(deadline)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
        finally:
            self._here.release()

    def close(self) -> None:
        """Let go of the file, once a writer that is still in the block is done."""
        with self._here, self._guard:
            self._closed = True
            if self._file is not None and not self._waiting:
                os.close(self._file)
                self._file = None

    def _take(self, deadline: float) -> int:
        with self._guard:
            if self._closed:
                raise closed()
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            file = self._file
            if not self._waiting:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return file
                except BlockingIOError:
                    self._granted.clear()
                    self._waiting = True
                    threading.Thread(target=self._queue, args=(file,), name="write turn", daemon=True).start()
            self._wanted = True
        if self._granted.wait(max(deadline - time.monotonic(), 0)):
            with self._guard:
                self._wanted = False
                return file
        with self._guard:
            self._wanted = False
            if self._granted.is_set():  # in the last moment
                return file
        raise self._too_long()

    def _queue(self, file: int) -> None:
        """Wait in the kernel's queue, which has no deadline; a turn that nobody waits for is given up."""
        fcntl.flock(file, fcntl.LOCK_EX)
        with self._guard:
            self._waiting = False
            if self._wanted:
                self._granted.set()
                return
            fcntl.flock(file, fcntl.LOCK_UN)
            if self._closed:
                os.close(file)
                self._file = None

    def _too_long(self) -> IndexUnavailable:
        return IndexUnavailable(
            f"Another program has been writing to the index for {self._wait_s:g} seconds; try again later."
        )
