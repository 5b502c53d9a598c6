"""The asynchronous client of the DICOMweb server behind the bridge."""

import asyncio
import logging
import random
import secrets
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from bridge.http1 import Connection, ConnectionLost, HttpAnswer, connect
from bridge.settings import ArchiveSettings
from service.dicom.errors import UpstreamFailed
from service.dicom.part10 import IMPLEMENTATION_VERSION_NAME

log = logging.getLogger("isthmus.archive")

_SERVICE_UNAVAILABLE = 503
_JOINED = 16 << 10  # bytes up to which small blocks are kept as one
_EXPECTATION_FAILED = 417


class Body(Protocol):
    """Bytes that are still arriving."""

    @property
    def at_end(self) -> bool:
        """Whether `read` has returned everything."""
        ...

    async def read(self) -> list[bytes]:
        """What has arrived since the last call; raises if nothing more will come."""
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
        self._tls = _tls(settings.ca_file) if parts.scheme == "https" else None
        self._token = _Token(settings.token_file)
        self._idle: list[Connection] = []
        self._expects = True

    async def store(self, head: bytes, first: Sequence[bytes], body: Body) -> HttpAnswer:
        """Store one Part-10 object with STOW-RS (PS3.18 10.5) and return the archive's answer.

        The object is `head`, then the blocks of `first`, then what `body` still yields, sent on while it
        arrives. Raises `UpstreamFailed` or `UpstreamTimeout`, with `body` not read to its end, and what
        `body.read` raises: the connection to the archive is cut then, inside the part.

        While the object is no larger than the replay window all of it is kept, and sent once more over a
        fresh connection if the first one breaks or the archive answers 503. Before it outgrows the window
        the archive has to ask for the body (100), so that a dead connection or a busy archive shows first.
        """
        sent = _Sent([head, *first])
        try:
            answer = await self._attempt(sent, body, fresh=False)
        except ConnectionLost:
            if sent.outgrown:
                raise
            return await self._attempt(sent, body, fresh=True)
        if answer.status == _EXPECTATION_FAILED:
            self._expects = False
        elif answer.status != _SERVICE_UNAVAILABLE:
            return answer
        if sent.outgrown:
            return answer
        if answer.status == _SERVICE_UNAVAILABLE:
            await asyncio.sleep(_replay_after(answer, self._settings.replay_delay_s))
        return await self._attempt(sent, body, fresh=True)

    async def close(self) -> None:
        """Close what is kept."""
        for connection in self._idle[:]:
            connection.abort()
        self._idle.clear()

    async def _attempt(self, sent: "_Sent", body: Body, *, fresh: bool) -> HttpAnswer:
        boundary = secrets.token_hex(24)
        connection = await self._connection(fresh=fresh)
        try:
            part = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")
            connection.request([self._request_head(boundary), *_chunk([part, *sent.blocks])])
            if not await self._push(connection, sent, body):
                early = await connection.answer(self._settings.answer_s)
                if early.status < 300:
                    raise UpstreamFailed("The archive called stored what it had not been sent.")
                return early
            connection.write([*_chunk([f"\r\n--{boundary}--\r\n".encode("ascii")]), b"0\r\n\r\n"])
            connection.end()
            return await connection.answer(self._settings.answer_s)
        finally:
            self._release(connection)

    async def _push(self, connection: Connection, sent: "_Sent", body: Body) -> bool:
        """Send what `body` yields to its end; false if the archive has answered before."""
        settings = self._settings
        while not body.at_end:
            await connection.drained(settings.answer_s)
            if connection.answered:
                return False
            blocks = await body.read()
            if not sent.outgrown and sent.size + _size(blocks) > settings.replay_window_bytes:
                if self._expects:
                    sent.add(blocks)  # kept until the archive has asked for it
                    await connection.continued(settings.continue_s)
                    if connection.answered:
                        return False
                sent.outgrow()
            elif not sent.outgrown:
                sent.add(blocks)
            if connection.answered:
                return False
            if blocks:
                connection.write(_chunk(blocks))
        return True

    def _request_head(self, boundary: str) -> bytes:
        lines = [
            f"POST {self._path}/studies HTTP/1.1",
            f"Host: {self._authority}",
            f"User-Agent: {IMPLEMENTATION_VERSION_NAME}",
            "Accept: application/dicom+json",
            f'Content-Type: multipart/related; type="application/dicom"; boundary={boundary}',
            "Transfer-Encoding: chunked",
        ]
        if self._expects:
            lines.append("Expect: 100-continue")
        token = self._token.read()
        if token:
            lines.append(f"Authorization: Bearer {token}")
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


class _Sent:
    """What has been sent of one object, kept while it may be sent again."""

    def __init__(self, blocks: list[bytes]) -> None:
        self.blocks = blocks
        self.size = _size(blocks)
        self.outgrown = False

    def add(self, blocks: Sequence[bytes]) -> None:
        for block in blocks:
            if self.blocks and len(self.blocks[-1]) + len(block) <= _JOINED:
                self.blocks[-1] += block
            else:
                self.blocks.append(block)
        self.size += _size(blocks)

    def outgrow(self) -> None:
        self.blocks.clear()
        self.outgrown = True


class _Token:
    """A bearer token in a file, read again when the file changes."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read_at: tuple[int, int] | None = None
        self._token = ""

    def read(self) -> str:
        if self._path is None:
            return ""
        try:
            facts = self._path.stat()
            if (facts.st_mtime_ns, facts.st_size) != self._read_at:
                self._token = "".join(self._path.read_text("ascii").split())
                self._read_at = (facts.st_mtime_ns, facts.st_size)
        except (OSError, UnicodeDecodeError):
            log.warning("archive token_file=unreadable")
        return self._token


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))


def _size(blocks: Sequence[bytes]) -> int:
    return sum(map(len, blocks))


def _chunk(blocks: Sequence[bytes]) -> list[bytes]:
    """The blocks as one chunk (RFC 9112 7.1)."""
    return [b"%x\r\n" % _size(blocks), *blocks, b"\r\n"]


def _replay_after(answer: HttpAnswer, longest_s: float) -> float:
    told = answer.headers.get("retry-after", "")
    wait_s = min(float(told), longest_s) if told.isascii() and told.isdigit() else longest_s
    return wait_s * random.uniform(0.5, 1.0)  # not all associations at once
