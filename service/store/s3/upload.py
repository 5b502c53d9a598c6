"""A body on its way into S3."""

import contextlib
import threading
from collections import deque
from collections.abc import Buffer, Callable
from concurrent.futures import Executor, Future

from service.dicom.errors import StoreUnavailable
from service.room import Room
from service.store.s3.multipart import Begun, Multipart
from service.store.s3.options import S3Options
from service.store.s3.port import Client
from service.store.s3.retrying import Retrying
from service.store.s3.waiting import Waiting

_BLOCK = 1 << 20  # of what comes in


class Ways:
    """What all uploads of a store share."""

    def __init__(
        self, client: Client, multipart: Multipart, retrying: Retrying, senders: Executor, options: S3Options
    ) -> None:
        """`senders` are the threads that send parts."""
        self.client = client
        self.multipart = multipart
        self.retrying = retrying
        self.senders = senders
        self.options = options
        self.room = Room(options.keep_together)
        self.parts_in_memory = threading.Semaphore(2 * options.part_threads)
        self.prefix = f"{options.prefix}/" if options.prefix else ""


class S3Upload:
    """A body that goes out whole on `commit`, or, once it is large and has its name, in parts.

    No key shows anything before all of it is there: S3 makes an object of a whole request, or of all
    parts at once.
    """

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._part_bytes = ways.options.part_bytes
        self._waiting = Waiting(ways.room, self._part_bytes + _BLOCK)
        self._key = ""
        self._size = 0
        self._begun: Begun | None = None
        self._sending: deque[Future[str]] = deque()
        self._tags: list[str] = []
        self._parts = 0

    def write(self, block: Buffer) -> None:
        try:
            self._waiting.append(block)
            self._size += memoryview(block).nbytes
            # What fits in one part may be all there is, and then needs no parts.
            while self._key and self._waiting.size > self._part_bytes:
                self._send(self._key)
        except BaseException:
            self.abort()
            raise

    def name(self, key: str) -> None:
        self._key = self._ways.prefix + key

    def ready(self, key: str) -> None:
        """It makes no difference here: to be durable and to be sent are one."""

    def commit(self, key: str, digest: Callable[[], bytes] | None = None) -> None:
        full = self._ways.prefix + key
        try:
            if self._begun is None and self._size <= self._part_bytes:
                body = self._waiting.take(self._size)
                told = b"" if digest is None else digest()
                self._ways.retrying.run("put", lambda: self._ways.client.put(full, body, told))
            else:
                self._finish(full)
        except BaseException:
            self.abort()
            raise
        self._waiting.clear()

    def abort(self) -> None:
        self._waiting.clear()
        for sending in self._sending:
            sending.cancel()
        for sending in self._sending:
            if not sending.cancelled():
                sending.exception()  # a part that comes after the abort would stay
        self._sending.clear()
        begun, self._begun = self._begun, None
        if begun is not None:
            with contextlib.suppress(StoreUnavailable):  # what stays is swept
                self._ways.multipart.abort(begun)

    def _send(self, key: str) -> None:
        """Send one part, a few of them ahead of the answers."""
        if self._begun is None:
            self._begun = self._ways.multipart.begin(key)
        if len(self._sending) >= self._ways.options.parts_ahead:
            self._tags.append(self._sending.popleft().result())
        self._parts += 1
        self._ways.parts_in_memory.acquire()
        try:
            body = self._waiting.pieces(self._part_bytes)
            sending = self._ways.senders.submit(self._ways.multipart.part, self._begun, self._parts, body)
        except BaseException:
            self._ways.parts_in_memory.release()
            raise
        sending.add_done_callback(lambda _: self._ways.parts_in_memory.release())
        self._sending.append(sending)

    def _finish(self, key: str) -> None:
        while self._waiting.size:
            self._send(key)
        while self._sending:
            self._tags.append(self._sending.popleft().result())
        assert self._begun is not None
        if self._begun.key != key:
            raise StoreUnavailable("The body was sent under another name than the one it is to have.")
        self._ways.multipart.complete(self._begun, self._tags, self._size)
        self._begun = None
