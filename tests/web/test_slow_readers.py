"""Clients that read slowly, stop reading or go away, at the real protocol on a real socket."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from service import http1, serving
from service.settings import Settings

_BLOCK = bytes(range(256)) * 4096
_BLOCKS = 16  # more than the kernel takes of a client's answer
_MUCH = 256 << 10  # far more than a client has to read to be taken for one that reads
_WAIT_S = 60


class Answers:
    """An application whose every answer is `_BLOCKS` blocks; what became of each request is kept."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.changed = threading.Condition()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        try:
            length = str(_BLOCKS * len(_BLOCK)).encode()
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
            )
            for number in range(_BLOCKS):
                more = number < _BLOCKS - 1
                await send({"type": "http.response.body", "body": _BLOCK, "more_body": more})
        except Exception as error:
            self._note(type(error).__name__)
            raise
        self._note("")

    def wait_for(self, count: int) -> list[str]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.ended) >= count, _WAIT_S)
            return list(self.ended)

    def _note(self, what: str) -> None:
        with self.changed:
            self.ended.append(what)
            self.changed.notify_all()


@pytest.fixture
def application() -> Answers:
    return Answers()


@pytest.fixture
def connect(application: Answers) -> Iterator[Callable[[], socket.socket]]:
    """Clients of a running server, whose kernels take little at a time."""
    listener = serving.listening_socket(Settings(port=0))
    config = uvicorn.Config(
        application,
        http=http1.BoundedHttp,
        loop="uvloop",
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    with contextlib.ExitStack() as clients:

        def a_client() -> socket.socket:
            client = clients.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(_WAIT_S)
            client.connect(listener.getsockname())
            return client

        yield a_client
    server.should_exit = True
    thread.join(_WAIT_S)
    listener.close()
    assert not thread.is_alive()


class Looks:
    """A client that reads on when the server waits for it, and is looked at whenever it has read much."""

    def __init__(self, application: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = 0
        self._application = application
        self._read = 0
        self._due = _MUCH
        self._watched = False  # since it was due the last time
        self._protocol: Any = None
        begin = http1.BoundedHttp._watch_reader

        def watch(protocol: http1.BoundedHttp) -> None:
            begin(protocol)
            self._protocol = protocol

        monkeypatch.setattr(http1, "_UNREAD_S", 3600.0)
        monkeypatch.setattr(http1.BoundedHttp, "_watch_reader", watch)

    def take(self, piece: bytes) -> None:
        """The client has read `piece`."""
        self._read += len(piece)
        if self._read < self._due:
            return
        if self._watched:
            looked = threading.Event()
            self._protocol.loop.call_soon_threadsafe(self._look, looked)
            assert looked.wait(_WAIT_S)
        pause = threading.Event()
        while not self._is_watched and not self._application.ended:
            pause.wait(0.001)
        self._watched = self._is_watched
        self._due = self._read + _MUCH

    @property
    def _is_watched(self) -> bool:
        return self._protocol is not None and self._protocol._unread_timer is not None

    def _look(self, looked: threading.Event) -> None:
        if self._is_watched:
            self._protocol._forget_unread()
            self._protocol._look_at_reader()
            self.made += 1
        looked.set()


def read_all(client: socket.socket, take: Callable[[bytes], None] = lambda piece: None) -> bytes:
    """What comes until the connection ends; each piece is given to `take` too."""
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(1 << 16):
            pieces.append(piece)
            take(piece)
    return b"".join(pieces)


def test_a_client_that_stops_reading_is_given_up(connect, application, monkeypatch):
    monkeypatch.setattr(http1, "_UNREAD_S", 0.2)
    # given: a client that asks, and reads nothing of what it is sent
    client = connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    # then: nothing is kept for it
    assert application.wait_for(1) == [""]
    assert len(read_all(client)) < _BLOCKS * len(_BLOCK)


def test_a_client_that_reads_slowly_gets_everything(connect, application, monkeypatch):
    looks = Looks(application, monkeypatch)
    client = connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    # when: it takes many times as long as one that reads nothing may
    got = read_all(client, looks.take)
    assert looks.made > 3
    assert got.partition(b"\r\n\r\n")[2] == _BLOCK * _BLOCKS


def test_the_answers_to_a_client_that_is_gone_end_without_a_fault(connect, application):
    # given: several requests in one go, the first being answered
    client = connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 3)
    client.recv(1000)
    # when: the client goes away
    client.close()
    # then: what was being sent ends quietly
    assert application.wait_for(1)[0] == ""
