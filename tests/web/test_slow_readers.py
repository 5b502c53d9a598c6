"""Clients that read slowly, stop reading or go away, at the real protocol on a real socket."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from service import serving
from service.settings import Settings

_BLOCK = bytes(range(256)) * 4096
_BLOCKS = 16  # more than the kernel takes of a client's answer


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
            assert self.changed.wait_for(lambda: len(self.ended) >= count, 20)
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
        http=serving.BoundedHttp,
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
            client.settimeout(20)
            client.connect(listener.getsockname())
            return client

        yield a_client
    server.should_exit = True
    thread.join(20)
    listener.close()
    assert not thread.is_alive()


def read_all(client: socket.socket, *, pause_s: float = 0.0) -> bytes:
    """What comes until the connection ends; after each piece a pause."""
    pieces = []
    resting = threading.Event()
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(1 << 16):
            pieces.append(piece)
            resting.wait(pause_s)
    return b"".join(pieces)


def test_a_client_that_stops_reading_is_given_up(connect, application, monkeypatch):
    monkeypatch.setattr(serving, "_UNREAD_S", 0.2)
    # given: a client that asks, and reads nothing of what it is sent
    client = connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    # then: nothing is kept for it
    assert application.wait_for(1) == [""]
    assert len(read_all(client)) < _BLOCKS * len(_BLOCK)


def test_a_client_that_reads_slowly_gets_everything(connect, monkeypatch):
    monkeypatch.setattr(serving, "_UNREAD_S", 0.1)
    client = connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    # when: it takes many times as long as one that reads nothing may
    got = read_all(client, pause_s=0.0003)
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
