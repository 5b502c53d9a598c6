"""One HTTP connection to the archive: when it is kept, and that no answer is taken for another's."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest
import uvloop

from bridge.archive.http1 import ConnectionLost
from bridge.archive.remote import RemoteArchive
from bridge.archive.retrieving import Objects
from bridge.settings import ArchiveSettings, RetrieveSettings
from service.dicom.errors import UpstreamFailed, UpstreamTimeout
from service.dicom.part10 import file_head
from service.dicom.resource import InstanceKey
from tests.dimse.dimse_peers import CT_IMAGE, EXPLICIT_LE

PATIENCE_S = 60.0
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\n"


class Server:
    """Plays one script for each connection, and counts them."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.connections = 0
        self.failures: list[BaseException] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.scripts.pop(0)(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except Exception as failure:
            self.failures.append(failure)
        finally:
            writer.close()


async def asked(reader: asyncio.StreamReader) -> str:
    """The path of the next request, whose body is not read."""
    head = await reader.readuntil(b"\r\n\r\n")
    return head.split()[1].decode()


def play[T](server: Server, ask: Callable[[RemoteArchive], Awaitable[T]], **given: float) -> T:
    async def main() -> T:
        async with asyncio.timeout(PATIENCE_S):
            listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
            port = listening.sockets[0].getsockname()[1]
            archive = RemoteArchive(ArchiveSettings(url=f"http://127.0.0.1:{port}/r", **given))  # type: ignore[arg-type]
            try:
                return await ask(archive)
            finally:
                await archive.close()
                listening.close()

    outcome = uvloop.run(main())
    assert not server.failures
    return outcome


async def got(archive: RemoteArchive, target: str) -> bytes:
    incoming = await archive.open(target, {})
    try:
        body = b""
        while blocks := await incoming.read():
            body += b"".join(blocks)
        return body
    finally:
        incoming.close()


class Whole:
    """A body that is there."""

    at_end = True

    async def read(self, at_least: int = 1) -> list[bytes]:
        return []


def answer(body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    lines = {"Content-Length": str(len(body)), **(headers or {})}
    return HEAD + "".join(f"{k}: {v}\r\n" for k, v in lines.items()).encode() + b"\r\n" + body


def test_a_connection_whose_answer_was_not_read_is_not_used_again():
    async def long(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(answer(bytes(1_500_000)))
        await reader.readexactly(1)
        raise AssertionError("asked again")

    async def short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(answer(b"short"))
        await reader.read()

    async def ask(archive: RemoteArchive) -> bytes:
        incoming = await archive.open("/long", {})
        incoming.close()
        return await got(archive, "/short")

    server = Server(long, short)
    assert play(server, ask, answer_s=30.0) == b"short"


@pytest.mark.parametrize("size", [600_000, 700_000, 1_000_000])
def test_an_answer_that_is_there_and_left_lying_holds_up_nothing(size: int):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(answer(bytes(size)))
        await writer.drain()
        assert await asked(reader) == "/r/next"
        writer.write(answer(b"next"))
        await reader.read()

    async def serve_next(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(answer(b"next"))
        await reader.read()

    async def ask(archive: RemoteArchive) -> bytes:
        incoming = await archive.open("/first", {})
        for _ in range(100):
            await asyncio.sleep(0)
        incoming.close()
        return await got(archive, "/next")

    assert play(Server(serve, serve_next), ask, answer_s=30.0) == b"next"


@pytest.mark.parametrize("at_once", [True, False])
def test_an_answer_that_nobody_asked_for_is_nobodys(at_once: bool):
    stray = answer(b"stray")

    async def chatty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(answer(b"first") + (stray if at_once else b""))
        if not at_once:
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(stray)
        await reader.read()

    async def honest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(answer(b"second"))
        await reader.read()

    async def ask(archive: RemoteArchive) -> Sequence[bytes]:
        first = await got(archive, "/first")
        while archive.idle:  # until what nobody asked for has come
            await asyncio.sleep(0.005)
        return first, await got(archive, "/second")

    assert play(Server(chatty, honest), ask, answer_s=30.0) == (b"first", b"second")


@pytest.mark.parametrize("tail", [b"0\r\n\r\n", b"0\r\nExpires: never\r\nX-Sum: 12\r\n\r\n"])
@pytest.mark.parametrize(
    "before", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"]
)
def test_interim_answers_chunks_and_trailers_are_read(tail: bytes, before: bytes):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await asked(reader)
            writer.write(before + HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n")
            await writer.drain()
            writer.write(tail)
        await reader.read()

    async def ask(archive: RemoteArchive) -> list[bytes]:
        return [await got(archive, "/a"), await got(archive, "/b")]

    server = Server(serve)
    assert play(server, ask) == [b"hello!", b"hello!"]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (answer(b"x"), True),
        (answer(b"x", {"Connection": "close"}), False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", False),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
    ],
)
def test_a_connection_is_kept_where_the_server_keeps_it(words: bytes, kept: bool):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await asked(reader)
            writer.write(words)

    async def ask(archive: RemoteArchive) -> None:
        await got(archive, "/a")
        await got(archive, "/b")

    server = Server(serve, serve)
    play(server, ask)
    assert server.connections == (1 if kept else 2)


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_answer_is_an_error_and_nothing_is_kept(words: bytes):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(words)

    async def ask(archive: RemoteArchive) -> None:
        with pytest.raises(ConnectionLost):
            await got(archive, "/a")
        assert not archive._idle

    play(Server(serve, serve), ask)


def test_a_refusal_before_the_end_of_a_request_does_not_spoil_the_next():
    told = asyncio.Event()

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await told.wait()

    async def patient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(answer(b"well"))
        await reader.read()

    async def ask(archive: RemoteArchive) -> tuple[int, bytes]:
        refused = await archive.store(b"head", [bytes(900_000)], Whole())
        told.set()
        return refused.status, await got(archive, "/next")

    assert play(Server(hasty, patient, patient), ask) == (401, b"well")


def test_an_answer_that_is_too_long_is_none_even_if_only_the_connection_would_end_it():
    async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(HEAD + b"\r\n" + b" " * (2 << 20))
        await writer.drain()

    async def ask(archive: RemoteArchive) -> None:
        with pytest.raises(ConnectionLost):
            await archive.store(b"head", [b"data"], Whole())

    play(Server(talkative, talkative), ask)


def test_a_server_that_says_nothing_is_left_and_its_connection_closed():
    closed = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        await reader.read()
        closed.set()

    async def ask(archive: RemoteArchive) -> None:
        with pytest.raises(UpstreamTimeout):
            await got(archive, "/a")
        await closed.wait()

    play(Server(silent), ask, answer_s=0.1)


def test_an_instance_that_is_had_and_not_read_leaves_no_connection_open():
    closed = asyncio.Event()
    part10 = file_head(CT_IMAGE, "1.2.3", EXPLICIT_LE) + bytes(3_000_000)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(answer(part10, {"Content-Type": "application/dicom"}))
        try:
            await reader.read()
        finally:
            closed.set()

    async def ask(archive: RemoteArchive) -> None:
        objects = Objects(archive, RetrieveSettings(whole_bytes=1000))
        arrived = await objects.one(InstanceKey("1.2", "1.2.1", "1.2.3"), "*")
        await arrived.close()
        await closed.wait()

    play(Server(serve), ask)


def test_a_host_that_cannot_be_one_is_an_error():
    async def main() -> None:
        archive = RemoteArchive(ArchiveSettings(url="http://a..b/dicom-web"))
        with pytest.raises(UpstreamFailed):
            await got(archive, "/a")

    asyncio.run(main())
