"""Requests byte for byte on bare sockets, as no proper client would make them."""

import http.client
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

PATIENCE_S = 60.0
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """A connection to a port of this machine, opened anew where the other side has ended it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ask(self, method: bytes, target: bytes, headers: list[bytes], body: bytes = b"") -> Answer:
        """One request and its answer. `headers` are whole lines; Host and the length are added to them."""
        lines = [b"%s %s HTTP/1.1" % (method, target), *headers]
        if not any(line.lower().startswith(b"host:") for line in headers):
            lines.append(b"Host: 127.0.0.1:%d" % self._port)
        if body or method in (b"POST", b"PUT"):
            lines.append(b"Content-Length: %d" % len(body))
        told = b"\r\n".join(lines) + b"\r\n\r\n" + body
        reused = self._socket is not None
        try:
            return self._answer(told, method)
        except (http.client.RemoteDisconnected, ConnectionError):
            self.close()
            if not reused:
                raise
            return self._answer(told, method)  # it was ended between two requests

    def _answer(self, told: bytes, method: bytes) -> Answer:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket.sendall(told)
        except (BrokenPipeError, ConnectionResetError):
            pass  # a refusal may come before all is sent
        answer = http.client.HTTPResponse(self._socket, method=method.decode("ascii"))
        answer.begin()
        found = Answer(
            answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        )
        if answer.will_close:
            self.close()
        return found


def statuses(port: int, *blocks: bytes) -> list[int]:
    """The statuses of whatever comes back for these bytes, until the other side ends the connection.

    What is sent has to end it: by `Connection: close`, or by being refused.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as peer:
        got = b""
        try:
            for block in blocks:
                peer.sendall(block)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            while block := peer.recv(1 << 16):
                got += block
        except ConnectionResetError:
            pass
    return [int(status) for status in _STATUS.findall(got)]
