"""One HTTP/1.1 connection to the archive (RFC 9112), with a body that is pushed and may be cut off.

Needed of it, and not to be had from general clients: a body that goes out before the interim answer 100
has come, and waits for that answer later, for a bounded time, where it matters (RFC 9110 10.1.1); a body
that ends without its last chunk when its source is lost; and a request that stops at an early answer.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import httptools

from service.certificates import reason
from service.dicom.errors import UpstreamFailed, UpstreamTimeout
from service.tls import ServerTrust

_LONGEST_ANSWER = 1 << 20
_LONGEST_HEAD = 64 << 10
_UNREAD_BYTES = 1 << 19  # of a streamed body, before the server has to wait


class ConnectionLost(UpstreamFailed):
    """The connection ended before the answer was complete."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A final answer: header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection(asyncio.BufferedProtocol):
    """A connection used by one task and for one request at a time.

    After an answer it is `usable` again if the request was complete and the server keeps the connection.
    All connections of a loop may share one `buffer`: nothing of it is referred to once it has been parsed.
    """

    def __init__(self, unsent_bytes: int, buffer: bytearray) -> None:
        self._buffer = buffer
        self._view = memoryview(buffer)
        self.on_close: Callable[[Connection], None] | None = None
        self._unsent_bytes = unsent_bytes
        self._transport: asyncio.Transport | None = None
        self._lost = False
        self._full = False
        self._waiter: asyncio.Future[None] | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._streamed = False
        self._headed = False
        self._arrived: list[bytes] = []
        self._unread = 0
        self._paused = False
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._status = 0
        self._body = bytearray()
        self._answer: HttpAnswer | None = None
        self._continued = False
        self._ended = False
        self._kept = False

    # The side of the request.

    def request(self, pieces: Iterable[bytes], *, streamed: bool = False) -> None:
        """Begin a request with its head and as much of the body as is there.

        The body of a `streamed` answer is had by `head` and `read` instead of `answer`, at any length.
        """
        if self._answer is not None:
            self._begin()
        self._streamed = streamed
        self.write(pieces)

    def write(self, pieces: Iterable[bytes]) -> None:
        """Send without waiting; see `drained`."""
        if self._transport is not None and not self._lost:
            self._transport.writelines(list(pieces))
            if not self._full and self._transport.get_write_buffer_size() > self._unsent_bytes:
                # asyncio's writelines forgets to pause the writer (until 3.13.1); this makes it look again
                self._transport.set_write_buffer_limits(high=self._unsent_bytes)

    def end(self) -> None:
        """Say that the request is complete."""
        self._ended = True

    @property
    def answered(self) -> bool:
        """Whether a final answer has come, or none can come any more."""
        return self._answer is not None or self._lost

    @property
    def usable(self) -> bool:
        """Whether another request may follow."""
        return not (self._lost or self._paused) and self._kept and self._ended and self._transport is not None

    @property
    def unsent(self) -> int:
        """Bytes that the system has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    async def drained(self, timeout_s: float) -> None:
        """Return when little is unsent, or `answered`; `UpstreamTimeout` when the server takes nothing."""
        await self._until(lambda: not self._full or self.answered, timeout_s)

    async def continued(self, timeout_s: float) -> None:
        """Return when the server has asked for the body or `answered`, and after `timeout_s` at the latest.

        A server may also say nothing and simply read (RFC 9110 10.1.1).
        """
        try:
            await self._until(lambda: self._continued or self.answered, timeout_s)
        except UpstreamTimeout:
            self._continued = True

    async def answer(self, timeout_s: float) -> HttpAnswer:
        """The final answer; `ConnectionLost` or `UpstreamTimeout` if none comes."""
        await self._until(lambda: self.answered, timeout_s)
        if self._answer is None:
            raise ConnectionLost("The archive closed the connection without an answer.")
        return self._answer

    async def head(self, timeout_s: float) -> HttpAnswer:
        """The final answer of a streamed request without its body, as soon as it is there."""
        await self._until(lambda: self._headed or self.answered, timeout_s)
        if not self._headed:
            raise ConnectionLost("The archive closed the connection without an answer.")
        return HttpAnswer(self._status, self._headers, b"")

    async def read(self, timeout_s: float) -> list[bytes]:
        """What has arrived of a streamed body since the last call; nothing at its end.

        `ConnectionLost` if the connection ends before the body does, `UpstreamTimeout` in a pause that is
        too long.
        """
        await self._until(lambda: bool(self._arrived) or self.answered, timeout_s)
        arrived, self._arrived = self._arrived, []
        self._unread = 0
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()
        if not arrived and self._answer is None:
            raise ConnectionLost("The archive closed the connection inside its answer.")
        return arrived

    def abort(self) -> None:
        """Drop the connection with all that is unsent."""
        self._lost = True
        if self._transport is not None:
            self._transport.abort()

    async def _until(self, reached: Callable[[], bool], timeout_s: float) -> None:
        if reached():
            return
        try:
            async with asyncio.timeout(timeout_s):
                while not reached():
                    self._waiter = asyncio.get_running_loop().create_future()
                    await self._waiter
        except TimeoutError as cause:
            raise UpstreamTimeout("The archive did not answer in time.") from cause
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._transport.set_write_buffer_limits(high=self._unsent_bytes)
        connected = transport.get_extra_info("socket")
        if connected is not None:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._answer is not None:  # an answer that nobody has asked for is not to be taken for the next
            self.abort()
            return
        try:
            self._parser.feed_data(self._view[:nbytes])
        except httptools.HttpParserError:
            self.abort()
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        unframed = self._status >= 200 and not self._framed
        if exc is None and self._answer is None and unframed and not self._lost:
            self._complete()  # a body without a length ends with the connection (RFC 9112 6.3)
        self._lost = True
        self._transport = None
        self._wake()
        if self.on_close is not None:
            self.on_close(self)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    # What the parser finds.

    def on_message_begin(self) -> None:
        if self._answer is not None:
            raise ConnectionLost("The archive sent more than one answer.")  # ends the parsing

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > _LONGEST_HEAD:
            self.abort()
            return
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._streamed and self._status >= 200:
            self._headed = True
            self._wake()

    def on_body(self, body: bytes) -> None:
        if self._streamed:
            self._arrived.append(body)
            self._unread += len(body)
            if self._unread > _UNREAD_BYTES and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()
            self._wake()
            return
        self._body += body
        if len(self._body) > _LONGEST_ANSWER:
            self.abort()

    def on_message_complete(self) -> None:
        if self._status < 200:
            self._continued = self._continued or self._status == 100
            self._headers.clear()
        elif self._answer is None and not self._lost:
            self._head_bytes = 0
            self._kept = bool(self._parser.should_keep_alive())
            self._complete()
        self._wake()

    @property
    def _framed(self) -> bool:
        return "content-length" in self._headers or "transfer-encoding" in self._headers

    def _complete(self) -> None:
        self._answer = HttpAnswer(self._status, self._headers, bytes(self._body))


async def connect(
    host: str,
    port: int,
    tls: ServerTrust | None,
    *,
    timeout_s: float,
    unsent_bytes: int,
    buffer: bytearray,
) -> Connection:
    """A new connection that receives into `buffer`; `tls` says how the server is known over TLS.

    Raises `UpstreamFailed` or `UpstreamTimeout` if there is none to be had.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            transport, connection = await loop.create_connection(
                lambda: Connection(unsent_bytes, buffer),
                host,
                port,
                ssl=None if tls is None else tls.context(),
                server_hostname=None if tls is None else tls.server_name(host),
            )
    except TimeoutError as cause:
        raise UpstreamTimeout("The archive does not take connections.") from cause
    except ssl.SSLError as cause:
        raise UpstreamFailed(f"TLS with the archive fails: {reason(cause)}.") from cause
    except (OSError, UnicodeError) as cause:  # the latter for names that cannot be any host's
        raise UpstreamFailed("The archive cannot be reached.") from cause
    if tls is not None and not tls.takes(transport.get_extra_info("ssl_object")):
        connection.abort()
        raise UpstreamFailed("What answers for the archive shows another certificate than ours.")
    return connection
