"""A request body on its way in: gathered on the loop in large blocks, each with a deadline."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Protocol

from starlette.requests import ClientDisconnect, Request

from service.dicom.errors import ArchiveError, BadRequest, NotDicom, TooLarge, TooMany
from service.dicom.inflate import Inflater
from service.dicom.scan import MAX_INFLATED
from service.environment import as_size

_AT_LATEST_S = 10.0  # of a body that drips
_PROGRESS_BYTES = 1024  # fewer in the time of a stall are none
_DRAIN_S = 2.0
_DRAIN_BYTES = 64 << 20


class BodyStalled(ArchiveError):
    """The request's body does not come on."""


class BodyCut(ArchiveError):
    """The connection ended before the request's body did."""


def require_short(request: Request, most_bytes: int) -> None:
    """`TooLarge` if the body is said to be larger than bodies may be."""
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdigit() and int(told) > most_bytes:
        raise _too_large(most_bytes)


def _too_large(most_bytes: int) -> TooLarge:
    return TooLarge(
        f"The body is larger than {as_size(most_bytes)} (ISTHMUS_MAX_BODY); send several requests."
    )


async def gathered(
    request: Request, *, block_size: int, stall_s: float, most_bytes: int
) -> AsyncIterator[list[bytes]]:
    """The body as lists of chunks of about `block_size` bytes together.

    `BodyStalled` where in `stall_s` seconds less than 1 KiB comes of it, `BodyCut` if the client goes away,
    `TooLarge` beyond `most_bytes`; what had come by then is given first.
    """
    chunks: list[bytes] = []
    size = 0
    given = time.monotonic()
    trouble: ArchiveError | None = None
    body = aiter(request.stream())
    clock = asyncio.get_running_loop().time
    deadline, fresh, left = clock() + stall_s, 0, most_bytes
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                chunk = await anext(body)
        except StopAsyncIteration:
            break
        except TimeoutError:
            what = "Hardly anything" if fresh else "No byte"
            trouble = BodyStalled(f"{what} of the body came for {stall_s:g} seconds.")
            break
        except ClientDisconnect:
            trouble = BodyCut("The connection ended before the body did.")
            break
        if len(chunk) > left:
            chunks.append(chunk[:left])
            trouble = _too_large(most_bytes)
            break
        left -= len(chunk)
        if chunk:
            chunks.append(chunk)
            size += len(chunk)
        fresh += len(chunk)
        if fresh >= _PROGRESS_BYTES:
            deadline, fresh = clock() + stall_s, 0
        now = time.monotonic()
        if size >= block_size or now - given > _AT_LATEST_S:
            paused = clock()
            yield chunks
            deadline += clock() - paused  # which the client was not asked for more
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

    def __init__(self, body: Takes, block_size: int, most_bytes: int = MAX_INFLATED) -> None:
        self._body = body
        self._most = min(most_bytes, MAX_INFLATED)
        self._inflater = Inflater(block_size, gzip=True)
        self._size = 0

    def push(self, blocks: list[bytes]) -> None:
        """Take the next blocks. `BadRequest` if they are damaged, `TooMany` for a bomb."""
        for block in blocks:
            try:
                for plain in self._inflater.push(block):
                    self._size += len(plain)
                    if self._size > self._most:
                        raise TooMany(
                            f"The body is larger than {as_size(self._most)} when unzipped; "
                            "send several requests."
                        )
                    self._body.push([plain])
            except NotDicom as damage:
                raise BadRequest("The gzip coding of the body is damaged.") from damage

    def ended(self) -> None:
        """The body has come to its end. `BadRequest` if that is within its coding."""
        if not self._inflater.complete:
            raise BadRequest("The gzip coding of the body ends too early.")
        self._body.ended()
