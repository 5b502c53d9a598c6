"""A request body on its way in: gathered on the loop in large blocks, each with a deadline."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from service.dicom.errors import ArchiveError


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
        if size >= block_size:
            yield chunks
            chunks, size = [], 0
    if chunks:
        yield chunks
    if trouble is not None:
        raise trouble
