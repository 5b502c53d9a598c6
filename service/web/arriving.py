"""A request body on its way in: gathered on the loop in large blocks, each with a deadline."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Protocol

from starlette.requests import ClientDisconnect, Request

from service.dicom.errors import ArchiveError, BadRequest, NotDicom, TooMany
from service.dicom.inflate import Inflater
from service.dicom.scan import MAX_INFLATED

_AT_LATEST_S = 10.0  # of a body that drips
_DRAIN_S = 2.0
_DRAIN_BYTES = 64 << 20


class BodyStalled(ArchiveError):
    """No byte of the request's body came for too long."""


class BodyCut(ArchiveError):
    """The connection ended before the request's body did."""


async def gathered(request: Request, *, block_size: int, stall_s: float) -> AsyncIterator[list[bytes]]:
    """The body as lists of chunks of about `block_size` bytes together.

    `BodyStalled` after `stall_s` seconds without a byte, `BodyCut` if the client goes away; what had
    come by then is given first.
    """
    chunks: list[bytes] = []
    size = 0
    given = time.monotonic()
    trouble: ArchiveError | None = None
    body = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(stall_s):
                chunk = await anext(body)
        except StopAsyncIteration:
            break
        except TimeoutError:
            trouble = BodyStalled(f"No byte of the body came for {stall_s:g} seconds.")
            break
        except ClientDisconnect:
            trouble = BodyCut("The connection ended before the body did.")
            break
        if chunk:
            chunks.append(chunk)
            size += len(chunk)
        now = time.monotonic()
        if size >= block_size or now - given > _AT_LATEST_S:
            yield chunks
            chunks, size, given = [], 0, now
    if chunks:
        yield chunks
    if trouble is not None:
        raise trouble


async def drained(request: Request) -> None:
    """Take in some more of a body that is refused, so that a client which is still sending can hear why.

    Not of one that waits to be asked for it (`Expect: 100-continue`).
    """
    if "expect" in request.headers:
        return
    size = 0
    # starlette's RuntimeError says that there is nothing left to take in
    with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(_DRAIN_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > _DRAIN_BYTES:
                    return


class Takes(Protocol):
    """Something that a body is pushed into."""

    def push(self, blocks: list[bytes]) -> None:
        """Take the next blocks."""
        ...

    def ended(self) -> None:
        """The body has come to its end."""
        ...


class Unzipped:
    """Unzips a body on its way into `body` (Content-Encoding: gzip)."""

    def __init__(self, body: Takes, block_size: int) -> None:
        self._body = body
        self._inflater = Inflater(block_size, gzip=True)
        self._size = 0

    def push(self, blocks: list[bytes]) -> None:
        """Take the next blocks. `BadRequest` if they are damaged, `TooMany` for a bomb."""
        for block in blocks:
            try:
                for plain in self._inflater.push(block):
                    self._size += len(plain)
                    if self._size > MAX_INFLATED:
                        raise TooMany("The body is larger than 4 GiB when unzipped; send several requests.")
                    self._body.push([plain])
            except NotDicom as damage:
                raise BadRequest("The gzip coding of the body is damaged.") from damage

    def ended(self) -> None:
        """The body has come to its end. `BadRequest` if that is within its coding."""
        if not self._inflater.complete:
            raise BadRequest("The gzip coding of the body ends too early.")
        self._body.ended()
