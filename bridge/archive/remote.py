"""The asynchronous client of the DICOMweb server behind the bridge."""

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import urlsplit

from bridge import tracing
from bridge.archive.http1 import Connection, ConnectionLost, HttpAnswer, connect
from bridge.archive.login import Login
from bridge.archive.settings import ArchiveSettings, trust_of
from bridge.archive.waited import Waited
from service.dicom.errors import UpstreamFailed
from service.dicom.part10 import IMPLEMENTATION_VERSION_NAME
from service.tracing import TRACEPARENT, Span, span, traceparent

_SERVICE_UNAVAILABLE = 503
_RECEIVE_BYTES = 256 << 10
_AT_LEAST = 128 << 10  # bytes of a body that make it worth being woken
_JOINED = 16 << 10  # bytes up to which small blocks are kept as one
_EXPECTATION_FAILED = 417


class Body(Protocol):
    """Bytes that are still arriving."""

    @property
    def at_end(self) -> bool:
        """Whether `read` has returned everything."""
        ...

    async def read(self, at_least: int = 1) -> list[bytes]:
        """What has arrived since the last call, `at_least` so many bytes unless it ends before.

        Raises if nothing more will come.
        """
        ...


class RemoteArchive:
    """A DICOMweb server, reached over a pool of kept connections; used on one loop."""

    def __init__(self, settings: ArchiveSettings) -> None:
        parts = urlsplit(settings.url)
        self._settings = settings
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._authority = parts.netloc
        self._path = parts.path.rstrip("/")
        self._tls = trust_of(settings)
        self._login = Login(settings.token_file, settings.token)
        self._idle: list[Connection] = []
        self._buffer = bytearray(_RECEIVE_BYTES)
        self._expects = True
        self.decodes: bool | None = None
        """Whether the server decodes what is percent-encoded in a query, `None` before that is found out."""
        self.busy = 0
        """Requests that wait for the head of their answer."""
        self.waited = Waited()

    @property
    def idle(self) -> int:
        """Connections that are kept for the next request."""
        return len(self._idle)

    async def store(self, head: bytes, first: Sequence[bytes], body: Body) -> HttpAnswer:
        """Store one Part-10 object with STOW-RS (PS3.18 10.5) and return the archive's answer.

        The object is `head`, then the blocks of `first`, then what `body` still yields. Raises
        `UpstreamFailed` or `UpstreamTimeout`, and what `body.read` raises: a connection to the archive is
        cut then, inside the part.

        An object no larger than the replay window goes out when it is whole, in one piece. Of a larger one
        nothing goes out until the archive has asked for it (100), so that a dead connection or a busy
        archive shows while all of it can still be sent again; then it is sent while it arrives. Either is
        tried once more, over a fresh connection, if the first one breaks or the archive answers 503.
        """
        kept = _Kept([head, *first])
        while not body.at_end and kept.size <= self._settings.replay_window_bytes:
            kept.add(await body.read(_AT_LEAST))
        try:
            answer = await self._attempt(kept, body, fresh=False)
        except ConnectionLost:
            if kept.is_gone:
                raise
            return await self._attempt(kept, body, fresh=True)
        if kept.is_gone or answer.status not in (_SERVICE_UNAVAILABLE, _EXPECTATION_FAILED):
            return answer
        if answer.status == _EXPECTATION_FAILED:
            self._expects = False
        else:
            await asyncio.sleep(_replay_after(answer, self._settings.replay_delay_s))
        return await self._attempt(kept, body, fresh=True)

    async def open(self, target: str, headers: Mapping[str, str]) -> "Incoming":
        """The answer to a GET of `target`, as `get` has it, whose body is still arriving."""
        lines = [f"{name}: {value}" for name, value in headers.items()]
        with self._asking("GET") as step:
            head = self._head(f"GET {self._path}{target} HTTP/1.1", *lines)
            try:
                incoming = await self._opened(head, fresh=False)
            except ConnectionLost:
                incoming = await self._opened(head, fresh=True)
            _told(step, incoming.status)
            return incoming

    @contextmanager
    def _asking(self, method: str) -> Iterator[Span]:
        """The step that a request is, where anything is traced, and how long the archive takes for it."""
        begun = time.perf_counter()
        with span(method, "client") as step:
            step.set("http.request.method", method)
            step.set("server.address", self._host)
            step.set("server.port", self._port)
            self.busy += 1
            try:
                yield step
            finally:
                self.busy -= 1
                self.waited.observe(method, time.perf_counter() - begun)

    async def _opened(self, head: bytes, *, fresh: bool) -> "Incoming":
        connection = await self._connection(fresh=fresh)
        try:
            connection.request([head], streamed=True)
            connection.end()
            answer = await connection.head(self._settings.answer_s)
        except BaseException:
            connection.abort()
            raise
        return Incoming(connection, answer, self._settings.answer_s, self._release)

    async def close(self) -> None:
        """Close what is kept."""
        for connection in self._idle[:]:
            connection.abort()
        self._idle.clear()

    async def _attempt(self, kept: "_Kept", body: Body, *, fresh: bool) -> HttpAnswer:
        with self._asking("POST") as step:
            answer = await self._attempted(kept, body, fresh=fresh)
            _told(step, answer.status)
            return answer

    async def _attempted(self, kept: "_Kept", body: Body, *, fresh: bool) -> HttpAnswer:
        boundary = secrets.token_hex(24)
        kept.part = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")
        kept.end = f"\r\n--{boundary}--\r\n".encode("ascii")
        connection = await self._connection(fresh=fresh)
        try:
            if body.at_end and not kept.is_gone:
                size = len(kept.part) + kept.size + len(kept.end)
                head = self._request_head(boundary, f"Content-Length: {size}")
                connection.request([head, kept.part, *kept.blocks, kept.end])
            elif not await self._stream(connection, boundary, kept, body):
                early = await connection.answer(self._settings.answer_s)
                if early.status < 300:
                    raise UpstreamFailed("The archive called stored what it had not been sent.")
                return early
            connection.end()
            answer = await connection.answer(self._settings.answer_s)
            if answer.status < 300 and connection.unsent:
                raise UpstreamFailed("The archive called stored what it had not been sent.")
            return answer
        finally:
            self._release(connection)

    async def _stream(self, connection: Connection, boundary: str, kept: "_Kept", body: Body) -> bool:
        """Send what is kept, and what `body` yields to its end; false if the archive has answered before."""
        settings = self._settings
        expecting = ["Expect: 100-continue"] if self._expects else []
        connection.request([self._request_head(boundary, "Transfer-Encoding: chunked", *expecting)])
        if expecting:
            await connection.continued(settings.continue_s)
            if connection.answered:
                return False
        blocks = [kept.part, *kept.blocks]
        end = kept.end
        kept.let_go()
        while True:
            connection.write(_chunk(blocks))
            await connection.drained(settings.answer_s)
            if connection.answered:
                return False
            if body.at_end:
                break
            blocks = await body.read(_AT_LEAST)
        connection.write([*_chunk([end]), b"0\r\n\r\n"])
        return True

    def _request_head(self, boundary: str, *framing: str) -> bytes:
        return self._head(
            f"POST {self._path}/studies HTTP/1.1",
            "Accept: application/dicom+json",
            f'Content-Type: multipart/related; type="application/dicom"; boundary={boundary}',
            *framing,
        )

    def _head(self, request_line: str, *fields: str) -> bytes:
        """The head of a request, with what every request has."""
        lines = [request_line, f"Host: {self._authority}", f"User-Agent: {IMPLEMENTATION_VERSION_NAME}"]
        lines += fields
        if trace := tracing.current():
            lines.append(f"X-Request-ID: {trace}")
        if parent := traceparent():
            lines.append(f"{TRACEPARENT}: {parent}")
        if login := self._login.header():
            lines.append(f"Authorization: {login}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    async def _connection(self, *, fresh: bool) -> Connection:
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        connection = await connect(
            self._host,
            self._port,
            self._tls,
            timeout_s=self._settings.connect_s,
            unsent_bytes=self._settings.unsent_bytes,
            buffer=self._buffer,
        )
        connection.on_close = self._forget
        return connection

    def _release(self, connection: Connection) -> None:
        if connection.answered and connection.usable and len(self._idle) < self._settings.idle_connections:
            self._idle.append(connection)
        else:
            connection.abort()

    def _forget(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)


class Incoming:
    """An answer whose body is still arriving; whoever has it closes it."""

    def __init__(
        self,
        connection: Connection,
        answer: HttpAnswer,
        timeout_s: float,
        release: Callable[[Connection], None],
    ) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self._connection = connection
        self._timeout_s = timeout_s
        self._release = release
        self._closed = False

    async def read(self) -> list[bytes]:
        """What has arrived since the last call, nothing at the end; the server waits for who does not read.

        Raises `ConnectionLost` if the body is cut off, and `UpstreamTimeout`.
        """
        return await self._connection.read(self._timeout_s)

    def close(self) -> None:
        """Keep the connection if the body was read to its end, and drop it otherwise."""
        if not self._closed:
            self._closed = True
            self._release(self._connection)


class _Kept:
    """What is known of one object, kept while it may have to be sent again.

    `part` and `end` are what stands around it in a multipart body.
    """

    def __init__(self, blocks: list[bytes]) -> None:
        self.blocks = blocks
        self.size = _size(blocks)
        self.is_gone = False
        self.part = self.end = b""

    def add(self, blocks: Sequence[bytes]) -> None:
        for block in blocks:
            if self.blocks and len(self.blocks[-1]) + len(block) <= _JOINED:
                self.blocks[-1] += block
            else:
                self.blocks.append(block)
        self.size += _size(blocks)

    def let_go(self) -> None:
        self.blocks = []
        self.is_gone = True


def _told(step: Span, status: int) -> None:
    step.set("http.response.status_code", status)
    if status >= 500:
        step.fail(str(status))


def _size(blocks: Sequence[bytes]) -> int:
    return sum(map(len, blocks))


def _chunk(blocks: Sequence[bytes]) -> list[bytes]:
    """The blocks as one chunk (RFC 9112 7.1); none if they are empty, which would end the body."""
    if not _size(blocks):
        return []
    return [b"%x\r\n" % _size(blocks), *blocks, b"\r\n"]


def _replay_after(answer: HttpAnswer, longest_s: float) -> float:
    told = answer.headers.get("retry-after", "")
    wait_s = min(float(told), longest_s) if told.isascii() and told.isdigit() else longest_s
    return wait_s * random.uniform(0.5, 1.0)  # not all associations at once
