"""Processes that accept on one socket have about as many connections each, and leave none waiting."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager

import pytest

from service.doorway import Doorway
from service.pages import Pages, shared
from service.serving import _Share
from service.web.metrics import LENGTH, Meters

_PATIENCE_S = 60.0


class Kept(asyncio.Protocol):
    """A connection of one process, which says that it was taken."""

    def __init__(self, share: _Share) -> None:
        self._share = share

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._share.came()
        transport.write(b"taken")

    def connection_lost(self, exc: Exception | None) -> None:
        self._share.left()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as made:
        yield made


def meters_of(processes: int) -> list[Meters]:
    memory = shared(LENGTH, processes)
    return [Meters(Pages(LENGTH, descriptor=memory, place=place)) for place in range(processes)]


def connections(meters: Meters) -> float:
    return meters.own_and_least("connections")[0]


@asynccontextmanager
async def a_process(
    listener: socket.socket, meters: Meters, context: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """What a process accepts with; at the end all of its connections are over."""
    share = _Share(meters)
    doorway = Doorway(
        listener.dup(), lambda: Kept(share), lambda: context, handshake_s=60, most=9, share=share
    )
    try:
        yield
        await until(lambda: not connections(meters))
    finally:
        doorway.close()


@asynccontextmanager
async def taken(listener: socket.socket, count: int) -> AsyncIterator[None]:
    """So many connections, each of which somebody has taken."""
    writers = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writers.append(writer)
            async with asyncio.timeout(_PATIENCE_S):
                assert await reader.readexactly(5) == b"taken"
        yield
    finally:
        for writer in writers:
            writer.close()
            await writer.wait_closed()


async def until(reached: Callable[[], object]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not reached():
            await asyncio.sleep(0.001)


def run[T](work: Coroutine[None, None, T]) -> T:
    return asyncio.run(work)


def test_each_process_takes_its_share(listener: socket.socket):
    one, other = meters_of(2)

    async def share_out() -> list[float]:
        async with a_process(listener, one), a_process(listener, other), taken(listener, 8):
            return sorted(map(connections, (one, other)))

    few, many = run(share_out())

    assert few + many == 8
    assert many <= 1.5 * few + 1


def test_a_process_that_is_alone_leaves_nothing_to_others():
    (alone,) = meters_of(1)
    share = _Share(alone)
    share.came()

    assert not share.is_large(coming=100)


@pytest.mark.parametrize(
    ("own", "other", "coming", "large"), [(1, 0, 0, True), (0, 0, 1, True), (1, 2, 1, False)]
)
def test_a_share_is_large_where_another_process_has_fewer(own: int, other: int, coming: int, large: bool):
    here, there = meters_of(2)
    here.count("connections", own)
    there.count("connections", other)

    assert _Share(here).is_large(coming) is large


def test_what_the_others_do_not_take_is_taken(listener: socket.socket):
    busy, _ = meters_of(2)  # the other one hangs

    async def alone() -> float:
        async with a_process(listener, busy), taken(listener, 5):
            return connections(busy)

    assert run(alone()) == 5


def test_a_connection_that_is_over_counts_no_more(listener: socket.socket):
    (meters,) = meters_of(1)

    async def come_and_go() -> None:
        async with a_process(listener, meters):
            async with taken(listener, 3):
                assert connections(meters) == 3
            await until(lambda: connections(meters) == 0)

    run(come_and_go())


@pytest.mark.parametrize("makes", [True, False])
def test_what_does_not_become_a_connection_is_closed_and_counts_no_more(listener: socket.socket, makes: bool):
    (meters,) = meters_of(1)
    share = _Share(meters)

    def make() -> asyncio.Protocol:
        if makes:
            return Kept(share)
        raise OSError("no protocol can be made")

    async def fail() -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if makes else None
        doorway = Doorway(listener.dup(), make, lambda: context, handshake_s=60, most=9, share=share)
        try:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"GET / HTTP/1.1\r\n\r\n")  # which is no handshake
            async with asyncio.timeout(_PATIENCE_S):
                answer = await _read(reader)
            writer.close()
            await until(lambda: not doorway.shaking)
        finally:
            doorway.close()
        return answer

    assert b"taken" not in run(fail())
    assert connections(meters) == 0


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
