"""A cheap HTTP client on one kept connection, so that a measurement is of the server."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

_DEADLINE_S = 60.0
_FIRST_READ = 256 << 10


class Malformed(OSError):
    """The answer is not one that this client reads: HTTP/1.1 with a Content-Length."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and the body of an answer."""

    status: int
    body: bytes | memoryview


class Connection:
    """A kept connection to a server on the loopback."""

    def __init__(self, port: int) -> None:
        """`OSError` if nothing listens on `port`."""
        self._socket = socket.create_connection(("127.0.0.1", port), _DEADLINE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = f"127.0.0.1:{port}"

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def get(self, path: str, accept: str = "*/*") -> Answer:
        """The answer to a GET."""
        return self.exchange(self._asking(path, accept))

    def send(self, method: str, path: str, media_type: str, body: Sequence[bytes]) -> Answer:
        """The answer to a request with a body."""
        length = sum(map(len, body))
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Content-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n"
        )
        return self.exchange(head, body)

    def skim(self, path: str, accept: str = "*/*") -> int:
        """The status of the answer to a GET whose body nobody looks at: memory for it would take its time."""
        status, length, begun = self._answered(self._asking(path, accept))
        left, scratch = length - len(begun), memoryview(bytearray(_FIRST_READ))
        while left:
            count = self._socket.recv_into(scratch[:left])
            if not count:
                raise Malformed("The answer ends before its Content-Length.")
            left -= count
        return status

    def exchange(self, head: str, body: Sequence[bytes] = ()) -> Answer:
        """The answer to one request. `Malformed` for one without a Content-Length."""
        status, length, begun = self._answered(head, body)
        payload = bytearray(length)
        payload[: len(begun)] = begun
        rest = memoryview(payload)[len(begun) :]
        while rest:
            count = self._socket.recv_into(rest, 0, socket.MSG_WAITALL)
            if not count:
                raise Malformed("The answer ends before its Content-Length.")
            rest = rest[count:]
        return Answer(status, memoryview(payload))

    def _asking(self, path: str, accept: str) -> str:
        return f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\nAccept: {accept}\r\n\r\n"

    def _answered(self, head: str, body: Sequence[bytes] = ()) -> tuple[int, int, bytes]:
        """Status and length of the answer to one request, and what has come of its body."""
        self._socket.sendall(head.encode("ascii"))
        for block in body:
            self._socket.sendall(block)
        received = self._socket.recv(_FIRST_READ)
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more(received)
        return *_status_and_length(received[:end]), received[end + 4 :]

    def _more(self, received: bytes) -> bytes:
        more = self._socket.recv(_FIRST_READ)
        if not more:
            raise Malformed(f"The connection ended after {len(received)} bytes of an answer's head.")
        return more


def _status_and_length(head: bytes) -> tuple[int, int]:
    lines = head.split(b"\r\n")
    length = next((line[15:] for line in lines if line[:15].lower() == b"content-length:"), None)
    if length is None:
        raise Malformed(f"No Content-Length in the answer: {lines[0].decode('ascii', 'replace')}")
    return int(lines[0].split(b" ", 2)[1]), int(length)
