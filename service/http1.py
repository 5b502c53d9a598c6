"""HTTP/1.1 as clients speak it: uvicorn's protocol with deadlines and limits, and what they get wrong."""

import asyncio
import re
import sys
from collections import deque
from collections.abc import Callable
from typing import Protocol

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.kernel import acknowledged
from service.web.metrics import Meters
from service.web.sendfile import Sendfile

_HEAD_LIMIT = 64 << 10
_HEAD_DEADLINE_S = 30.0
_UNREAD_S = 60.0  # an answer of which hardly anything is read for so long is given up
_FAREWELL_S = 1.0
_READ_BYTES = 1024  # fewer in that time are hardly anything
_REASONS = {
    408: b"Request Timeout",
    414: b"URI Too Long",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
}
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)", re.IGNORECASE)
# The parser gives up a request's body to whatever protocol its head offers, which is none of ours.
_OFFER = re.compile(rb"\r\nupgrade:[^\r\n]*(?=\r\n)", re.IGNORECASE)


class CountsConnections(Protocol):
    """Who is told of each connection."""

    def came(self) -> None:
        """One more."""
        ...

    def left(self) -> None:
        """One fewer."""
        ...


def _escaped(query: bytes) -> bytes:
    """A query whose bytes beyond ASCII are percent-encoded, as their sender should have done."""
    return b"".join(b"%%%02X" % byte if byte >= 0x80 else bytes((byte,)) for byte in query)


def _without_offer(data: bytes, before: bytes) -> bytes:
    """`data`, which begin inside a head behind the bytes `before`, without the head's offers.

    A line that is not whole in them stays.
    """
    told = before + data
    end = told.find(b"\r\n\r\n")
    head = told if end < 0 else told[: end + 2]
    begin = max(len(before) - 2, 0)  # an offer's line may follow from a line end before
    if not _OFFER.search(head, begin):
        return data
    return (head[:begin] + _OFFER.sub(b"", head[begin:]))[len(before) :] + told[len(head) :]


class _RefusedError(ValueError):
    """A request has its answer: the parser must not go on."""


class BoundedHttp(HttpToolsProtocol):
    """HTTP/1.1 with a deadline and a limit of size for each request's head, and one for clients that do
    not read: an answer that waits for them is in memory in part.

    Text beyond ASCII in a query, which some clients do not encode, is understood, and offers of other
    protocols are ignored (RFC 9110 7.8). Only what is known to be of a head is touched, never a body.
    """

    _head_bytes = 0
    _in_line = True  # what comes next begins inside a request line
    _in_query = False
    _behind_another = False  # a request has ended within these bytes
    _last = b""  # of what has come
    _in_head = False
    _head_timer: asyncio.TimerHandle | None = None
    _taken = 0
    _unread_timer: asyncio.TimerHandle | None = None
    share: CountsConnections | None = None
    is_late: Callable[[], bool] = staticmethod(lambda: False)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.share is not None:
            self.share.came()
        if self.is_late():  # it was accepted just before the server closed those that it had
            transport.close()
        self.app = Sendfile(self.app, transport)
        self._unanswered: deque[RequestResponseCycle] = deque()
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.share is not None:
            self.share.left()
        self._forget_timer()
        self._forget_unread()
        super().connection_lost(exc)
        for cycle in self._unanswered:  # the server itself tells the newest only
            cycle.disconnected = True
            cycle.message_event.set()

    def data_received(self, data: bytes) -> None:
        began_before = self._in_head
        if began_before or self._in_line:
            data = _without_offer(data, self._last if began_before else b"")
        if self._in_line:
            data = self._read_line(data)
        self._behind_another = False
        self._last = (self._last + data[-3:])[-3:]
        super().data_received(data)
        if began_before and self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_LIMIT:
                self._count("head_long")
                # PS3.18 8.5 has a status of its own for lists of UIDs that are too long.
                self._refuse(414 if self._in_line else 431, "The head of the request is longer than 64 KiB.")

    def _read_line(self, data: bytes) -> bytes:
        """`data`, which begin inside a request line, with their part of its query escaped."""
        end = data.find(b"\n")
        line = data if end < 0 else data[:end]
        begin = 0 if self._in_query else line.find(b"?")
        self._in_line = end < 0
        self._in_query = self._in_line and begin >= 0
        if begin < 0 or line.isascii():
            return data
        return line[:begin] + _escaped(line[begin:]) + data[len(line) :]

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        if self._behind_another:  # so does this line: it has not been read, and may be over
            self._in_line = False
        if self._head_timer is None:
            self._expect_head()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._in_line = self._behind_another = True
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._forget_timer()
        self._require_framing()
        if absolute := _ABSOLUTE.match(self.url):  # what Host says does not count (RFC 9112 3.2.2)
            told = [(name, absolute[1] if name == b"host" else value) for name, value in self.headers]
            self.headers[:] = told
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self._unanswered.append(self.cycle)

    def on_response_complete(self) -> None:
        self._unanswered.popleft()
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._watch_reader()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def shutdown(self) -> None:
        """Have the client's connection closed; one without a request waits for no farewell of TLS."""
        idle = self.cycle is None or self.cycle.response_complete
        super().shutdown()
        if idle and self.transport.get_extra_info("sslcontext"):
            self.loop.call_later(_FAREWELL_S, self.transport.abort)

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle.body or cycle.response_complete:
            if isinstance(cycle.body, bytes):
                cycle.body = bytearray(cycle.body)
            super().on_body(body)
            return
        # What comes alone is kept as it came, which spares two copies of each block.
        cycle.body = body  # type: ignore[assignment]
        if len(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def send_400_response(self, msg: str) -> None:
        """What cannot be read is refused, unless that would be taken for the answer to another request."""
        waiting = self._unanswered
        begun = len(waiting) > 1 or any(one.response_started or not one.more_body for one in waiting)
        if self.transport.is_closing() or begun:
            self.transport.close()
            return
        super().send_400_response(msg)

    def _require_framing(self) -> None:
        """Refuse a body whose end others may see elsewhere: of codings that are not known (RFC 9112 6.1)."""
        told = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        if told and told != [b"chunked"]:
            self._refuse(501, "The only transfer coding that is known here is chunked.")
            raise _RefusedError

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(_HEAD_DEADLINE_S, self._late)

    def _forget_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _watch_reader(self) -> None:
        """See from time to time that the client takes something, as long as something waits for it."""
        if self._unread_timer is None and sys.platform == "linux":
            self._taken = self._acknowledged()
            self._unread_timer = self.loop.call_later(_UNREAD_S, self._look_at_reader)

    def _look_at_reader(self) -> None:
        self._unread_timer = None
        if not self.transport.get_write_buffer_size():
            return
        if self._acknowledged() - self._taken >= _READ_BYTES:
            self._watch_reader()
        else:
            self._count("not_read")
            self.transport.abort()

    def _acknowledged(self) -> int:
        """How many bytes the client's side has acknowledged, as the kernel counts them."""
        return acknowledged(self.transport.get_extra_info("socket")) or 0

    def _forget_unread(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self._count("head_late")
            self._refuse(408, "The head of the request did not come in time.")

    def _count(self, reason: str) -> None:
        """Count that the connection is ended, and why."""
        meters = getattr(self.config.app, "meters", None)
        if isinstance(meters, Meters):
            meters.count(reason)

    def _refuse(self, status: int, detail: str) -> None:
        reason = _REASONS[status]
        body = detail.encode("ascii")
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # an answer is on its way: nothing may be written into it
            return
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (status, reason, len(body), body)
        )
        self.transport.close()
