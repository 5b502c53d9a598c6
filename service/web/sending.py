"""Bodies on their way out: made in threads, one block ahead of the socket."""

import asyncio
from collections.abc import AsyncIterator, Buffer, Callable, Iterator, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service.dicom.frames import Extent
from service.web.conditional import is_unchanged, requested_range
from service.web.request import house
from service.web.rim import Crossing

Blocks = Iterator[Buffer]


@dataclass(frozen=True, slots=True)
class Body:
    """What an answer holds: `blocks` makes it, `size` is in bytes where it is known beforehand.

    `run` makes any run of it without what stands before, where that is possible; `tag` is its strong
    entity tag. With `ranges` a client may ask for a run.
    """

    media_type: str
    blocks: Callable[[], Blocks]
    size: int | None
    tag: str
    run: Callable[[Extent], Blocks] | None = None
    ranges: bool = False


async def send(request: Request, body: Body, *, status: int = 200, headers: Mapping[str, str]) -> Response:
    """The answer that holds `body`, or as much of it as the request asks for.

    304 where the client has it, 206 for a run of it; of a HEAD request only the head.
    """
    told = {
        **headers,
        "ETag": body.tag,
        "Cache-Control": "private, no-cache",
        "Vary": "Accept, Authorization",
    }
    if status == 200 and is_unchanged(request, body.tag):
        return Response(status_code=304, headers=told)
    blocks, size = body.blocks, body.size
    if body.ranges and size is not None and status == 200:
        told["Accept-Ranges"] = "bytes"
        wanted = requested_range(request.headers, size, body.tag)
        if wanted is not None:
            told["Content-Range"] = f"bytes {wanted.offset}-{wanted.end - 1}/{size}"
            status, size = 206, wanted.length
            run = body.run or (lambda extent: _run_of(body.blocks(), extent))
            blocks = lambda: run(wanted)  # noqa: E731
    if size is not None:
        told["Content-Length"] = str(size)
    if request.method == "HEAD":
        return Response(status_code=status, headers=told, media_type=body.media_type)
    return await stream(
        house(request).reads,
        blocks(),
        status=status,
        headers=told,
        media_type=body.media_type,
        block_size=house(request).settings.read_block,
    )


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
    if not first or ("Content-Length" in headers and _size(first) == int(headers["Content-Length"])):
        return _whole(first, status, headers, media_type)
    second = await reads.run(_gather, blocks, block_size)
    if not second:
        return _whole(first, status, headers, media_type)
    ahead = _ahead(reads, blocks, [first, second], block_size)
    return StreamingResponse(ahead, status, dict(headers), media_type)


def _whole(blocks: list[Buffer], status: int, headers: Mapping[str, str], media_type: str) -> Response:
    body = blocks[0] if len(blocks) == 1 else b"".join(blocks)
    body = body if isinstance(body, (bytes, memoryview)) else bytes(body)
    return Response(body, status, dict(headers), media_type)


def _size(blocks: list[Buffer]) -> int:
    return sum(memoryview(block).nbytes for block in blocks)


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


def _run_of(blocks: Blocks, extent: Extent) -> Blocks:
    """The bytes of `extent` out of `blocks`."""
    position = 0
    for block in blocks:
        view = memoryview(block).cast("B")
        first, last = max(extent.offset - position, 0), min(extent.end - position, len(view))
        if first < last:
            yield view[first:last]
        position += len(view)
        if position >= extent.end:
            return
