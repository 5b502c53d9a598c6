"""The HTTP server: uvicorn, with deadlines and limits for request heads, in one or several processes."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service import leash
from service.app import create_app
from service.archive.open import open_archive
from service.dicom import dictionary
from service.settings import Settings
from service.web.sendfile import Sendfile

_HEAD_LIMIT = 64 << 10
_HEAD_DEADLINE_S = 30.0
_KEEP_ALIVE_S = 75
_BACKLOG = 512


def listening_socket(settings: Settings) -> socket.socket:
    """The socket that every worker accepts from. `OSError` if the address is in use."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def serve(
    settings: Settings, listener: socket.socket, *, leashed_to: int | None, beside: tuple[str, int] | None
) -> None:
    """Answer requests in this process until it is told to stop.

    `leashed_to` is the descriptor of a pipe whose end means to stop, `beside` the address of a bridge
    that must listen before the service is ready.
    """
    archive = open_archive(settings)
    try:
        app = create_app(archive, settings, beside=beside)
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            proxy_headers=False,
            loop="uvloop",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=settings.drain_s,
            backlog=_BACKLOG,
        )
        server = _Server(config)
        threading.Thread(target=dictionary.load, name="dictionary", daemon=True).start()
        if leashed_to is not None:
            leash.hold(leashed_to, server.stop, grace_s=settings.drain_s + 1)
        server.run(sockets=[listener])
    finally:
        archive.close()


def worker_command(listener: socket.socket, beside: tuple[str, int] | None) -> Sequence[str]:
    """The command of a process that serves from `listener`, which it inherits."""
    command = [sys.executable, "-m", "service", "serve", "--socket", str(listener.fileno())]
    return [*command, *(["--beside", f"{beside[0]}:{beside[1]}"] if beside else [])]


def inherited_socket(descriptor: int) -> socket.socket:
    """The listening socket that a parent handed on."""
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)


class _Server(uvicorn.Server):
    """A server that ends without raising the signal again that told it to stop."""

    def stop(self) -> None:
        """Finish what is in flight and end; callable from any thread."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        def on_signal(number: int, frame: FrameType | None) -> None:
            self.force_exit = self.should_exit and number == signal.SIGINT
            self.should_exit = True

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)
        yield


def _escaped(query: bytes) -> bytes:
    """A query whose bytes beyond ASCII are percent-encoded, as their sender should have done."""
    return b"".join(b"%%%02X" % byte if byte >= 0x80 else bytes((byte,)) for byte in query)


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1 with a deadline and a limit of size for each request's head.

    Text beyond ASCII in a query, which some clients do not encode, is understood.
    """

    _head_bytes = 0
    _in_line = True
    _in_query = False
    _in_head = False
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app = Sendfile(self.app, transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        began_before = self._in_head
        if self._in_line:
            data = self._read_line(data)
        super().data_received(data)
        if began_before and self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_LIMIT:
                self._refuse(431, "The head of the request is longer than 64 KiB.")

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
        if self._head_timer is None:
            self._expect_head()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._in_line = True
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._forget_timer()
        super().on_headers_complete()

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

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(_HEAD_DEADLINE_S, self._late)

    def _forget_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self._refuse(408, "The head of the request did not come in time.")

    def _refuse(self, status: int, detail: str) -> None:
        reason = {408: b"Request Timeout", 431: b"Request Header Fields Too Large"}[status]
        body = detail.encode("ascii")
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # an answer is on its way: nothing may be written into it
            return
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (status, reason, len(body), body)
        )
        self.transport.close()
