"""Bodies on their way out: made in threads, one block ahead of the socket."""

import asyncio
from collections.abc import AsyncIterator, Buffer, Iterator, Mapping

from starlette.responses import Response, StreamingResponse

from service.web.rim import Crossing

Blocks = Iterator[Buffer]
_DONE: list[Buffer] = []


async def stream(
    reads: Crossing,
    blocks: Blocks,
    *,
    status: int,
    headers: Mapping[str, str],
    media_type: str,
    block_size: int,
) -> Response:
    """An answer whose body is `blocks`.

    The first of them are made before the status goes out, so that an early failure keeps its own; a
    later one breaks the connection, and no body ever ends neatly after an error.
    """
    first = await reads.run(_gather, blocks, block_size)
    second = await reads.run(_gather, blocks, block_size) if first else _DONE
    if not second:
        body = first[0] if len(first) == 1 else b"".join(first)
        return Response(bytes(body), status, dict(headers), media_type)
    ahead = _ahead(reads, blocks, [first, second], block_size)
    return StreamingResponse(ahead, status, dict(headers), media_type)


def _gather(blocks: Blocks, block_size: int) -> list[Buffer]:
    """The next blocks, about `block_size` bytes of them; none at the end."""
    gathered: list[Buffer] = []
    size = 0
    for block in blocks:
        gathered.append(block)
        size += memoryview(block).nbytes
        if size >= block_size:
            break
    return gathered


async def _ahead(
    reads: Crossing, blocks: Blocks, ready: list[list[Buffer]], block_size: int
) -> AsyncIterator[bytes | memoryview]:
    """`ready` and what follows it; while one block is being sent the next is made."""
    for gathered in ready[:-1]:
        for block in _joined(gathered):
            yield block
    current = ready[-1]
    while current:
        following = asyncio.ensure_future(reads.go_on(_gather, blocks, block_size))
        try:
            for block in _joined(current):
                yield block
            current = await following
        finally:
            if not following.done():
                following.cancel()


def _joined(gathered: list[Buffer]) -> list[bytes | memoryview]:
    """Small buffers in one: a copy costs less than a message to the server."""
    if all(memoryview(block).nbytes >= 64 << 10 for block in gathered):
        return [memoryview(block) for block in gathered]
    return [b"".join(gathered)]
