"""Bodies on their way out: made in threads, one block ahead of the socket."""

import asyncio
import time
from collections.abc import AsyncIterator, Buffer, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service.archive.port import FileRun
from service.archive.reading import Content
from service.archive.transcoding import Steps
from service.dicom.errors import NotAcceptable, Superseded
from service.dicom.frames import Extent
from service.web.conditional import is_unchanged, requested_range, require_match
from service.web.lent import LentResponse
from service.web.making import Making
from service.web.request import gone, house
from service.web.rim import Crossing
from service.web.timing import server_timing, spend, steps_of

Blocks = Iterator[Buffer]
Piece = bytes | FileRun
_TRIES = 3
_ALTERNATIVES = 16
_SMALL = 64 << 10
_PATIENCE_S = 0.05
_CLIENT_GONE = 499
CACHING = {"Cache-Control": "private, no-cache", "Vary": "Accept, Accept-Charset, Authorization"}


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
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    bound: int | None = None
    """The most bytes that have to be read to make it; `None` if that is not known, or making it is work."""
    measure: Callable[[], "Body"] | None = None
    """The same body with its size, at the cost of a few reads."""
    lend: Callable[[], list[Piece] | None] | None = None
    """All of it in pieces, those that lie in files as runs of them; `None` where none can be lent."""
    making: Making | None = None
    """What its blocks, or its size, have to wait for; `None` where it is only read."""
    instead: Callable[[NotAcceptable], "Body"] | None = None
    """What goes out where the first of it cannot be made, or the error that says that nothing does."""


def item_body(media_type: str, content: Content, tag: str, headers: Mapping[str, str] | None = None) -> Body:
    """One item without a multipart around it, of which a client may ask for a run."""
    measure = None
    if content.measure is not None:
        measure = partial(_measured_item, media_type, content, tag, headers)
    return Body(
        media_type,
        content.blocks,
        content.size,
        tag,
        run=content.run,
        ranges=True,
        headers=headers or {},
        bound=content.bound,
        measure=measure,
        lend=partial(_lent_item, content.lend) if content.lend is not None else None,
    )


def _lent_item(lend: Callable[[], FileRun | None]) -> list[Piece] | None:
    run = lend()
    return None if run is None else [run]


def _measured_item(media_type: str, content: Content, tag: str, headers: Mapping[str, str] | None) -> Body:
    return item_body(media_type, content.measured(), tag, headers)


async def send(request: Request, make: Callable[[], Body], *, quick: bool = False) -> Response:
    """The answer that holds what `make` agrees on, or as much of it as the request asks for.

    304 where the client has it, 412 where it wants another, 206 for a run of it; of a HEAD request only
    the head. Looking up, agreeing and making the first block are one crossing to a thread; none where
    `make` is `quick`, the body small and everything local.
    """
    here = house(request)
    block_size = here.settings.read_block
    asked = (request.headers, request.method == "HEAD", block_size, steps_of(request.scope))
    begun = None
    if quick and here.reads.may_stay():
        begun = here.reads.stay(_begin_if_short, make, *asked)
    if begun is None:
        begun = await here.reads.run(_begin, make, *asked)
    crossing = here.reads
    if begun.work is not None:
        # What waits for the workshop waits in threads of its own, and not for a client that has left.
        found = await _worked(request, here.waits, begun.work, make, asked)
        if found is None:
            return Response(status_code=_CLIENT_GONE)
        begun, crossing = found, here.waits
    if begun.lent is not None:
        return LentResponse(begun.lent, begun.status, begun.headers, begun.media_type)
    if begun.rest is None:
        response = Response(begun.whole, begun.status, begun.headers, begun.media_type)
        if "content-length" in response.headers and request.method == "HEAD":
            del response.headers["content-length"]
            response.headers.update({k: v for k, v in begun.headers.items() if k == "Content-Length"})
        return response
    ahead = _ahead(crossing, begun.rest, begun.first, block_size, begun.making)
    return StreamingResponse(ahead, begun.status, begun.headers, begun.media_type)


async def _worked(
    request: Request,
    waits: Crossing,
    body: Body,
    make: Callable[[], Body],
    asked: tuple[Mapping[str, str], bool, int, Steps],
) -> "_Begun | None":
    """The beginning of `body`, which has to be made; `None` if the client leaves before it is."""
    making = body.making
    assert making is not None
    bodies = [body]
    working = asyncio.ensure_future(
        waits.run(_begin, lambda: bodies.pop() if bodies else make(), *asked, work=True)
    )
    leaving = asyncio.ensure_future(gone(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        leaving.cancel()
        if not working.done():
            making.cancel()
            working.cancel()


@dataclass(frozen=True, slots=True)
class _Begun:
    """An answer of which the head and the first blocks are made; `rest` makes the others, if there are."""

    status: int
    headers: dict[str, str]
    media_type: str | None = None
    first: list[Buffer] = field(default_factory=list)
    rest: Blocks | None = None
    lent: list[Piece] | None = None
    work: Body | None = None
    making: Making | None = None

    @property
    def whole(self) -> bytes | memoryview:
        if len(self.first) == 1 and isinstance(self.first[0], (bytes, memoryview)):
            return self.first[0]
        return b"".join(self.first)


def _begin(
    make: Callable[[], Body],
    asked: Mapping[str, str],
    head: bool,
    block_size: int,
    steps: Steps,
    *,
    work: bool = False,
) -> _Begun:
    for _ in range(_TRIES - 1):
        try:
            return _try(make, asked, head, block_size, steps, lend=False, work=work)
        except Superseded:  # nothing has gone out: what took its place can go instead
            continue
    return _try(make, asked, head, block_size, steps, lend=False, work=work)


def _begin_if_short(
    make: Callable[[], Body], asked: Mapping[str, str], head: bool, block_size: int, steps: Steps
) -> _Begun | None:
    """As `_begin`, or `None` if making the body is not a matter of one short read."""
    begun = time.perf_counter()
    try:
        body = make()
        spend(steps, "index", begun)
        if body.making is None and (body.bound is None or body.bound > block_size):
            return None
        return _try(lambda: body, asked, head, block_size, steps, lend=True, work=False)
    except Superseded:  # what took its place is looked for where there is time for it
        return None


def _try(
    make: Callable[[], Body],
    asked: Mapping[str, str],
    head: bool,
    block_size: int,
    steps: Steps,
    lend: bool,
    work: bool,
) -> _Begun:
    """The beginning of the body; one that has to be made is only handed on unless `work` says otherwise."""
    begun = time.perf_counter()
    body = make()
    spend(steps, "index", begun)
    for _ in range(_ALTERNATIVES):
        try:
            return _answer(body, asked, head, block_size, steps, lend, work)
        except NotAcceptable as error:
            if body.instead is None:
                raise
            body = body.instead(error)
    return _answer(body, asked, head, block_size, steps, lend, work)


def _answer(
    body: Body, asked: Mapping[str, str], head: bool, block_size: int, steps: Steps, lend: bool, work: bool
) -> _Begun:
    """As much of the body as is asked for, its first blocks made."""
    headers = {**body.headers, **CACHING, "ETag": body.tag}
    unchanged = body.status == 200 and is_unchanged(asked, body.tag)
    if unchanged or body.instead is None:  # else another body may have to go out, and it has another tag
        require_match(asked, body.tag)
    if unchanged:
        return _Begun(304, headers)
    if body.making is not None and not work:
        return _Begun(200, headers, work=body)
    making, begun = body.making, time.perf_counter()
    if body.measure is not None:
        body = body.measure()
    status, size, blocks = body.status, body.size, body.blocks
    if body.ranges and size is not None and status == 200:
        headers["Accept-Ranges"] = "bytes"
        # A range is for GET alone (RFC 9110 14.2).
        wanted = None if head else requested_range(asked, size, body.tag)
        if wanted is not None:
            headers["Content-Range"] = f"bytes {wanted.offset}-{wanted.end - 1}/{size}"
            status, size = 206, wanted.length
            blocks = partial(body.run or partial(_run_of, body), wanted)
    if size is not None:
        headers["Content-Length"] = str(size)
    if head:
        require_match(asked, body.tag)
        return _Begun(status, _timed(headers, steps), body.media_type)
    if lend and body.lend is not None and status == 200 and (pieces := body.lend()) is not None:
        return _Begun(status, _timed(headers, steps), body.media_type, lent=pieces)
    made = blocks()
    first, ended = _gather(made, block_size)
    if making is None:  # else those who make it tell
        spend(steps, "read", begun)
    require_match(asked, body.tag)
    headers = _timed(headers, steps)
    if ended or _size(first) == size:
        return _Begun(status, headers, body.media_type, first)
    return _Begun(status, headers, body.media_type, first, made, making=making)


def _timed(headers: dict[str, str], steps: Steps) -> dict[str, str]:
    headers["Server-Timing"] = server_timing(steps)
    return headers


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
    first, ended = await reads.run(_gather, blocks, block_size)
    if ended:
        return Response(b"".join(first), status, dict(headers), media_type)
    return StreamingResponse(_ahead(reads, blocks, first, block_size), status, dict(headers), media_type)


def _size(blocks: list[Buffer]) -> int:
    return sum(memoryview(block).nbytes for block in blocks)


def _gather(blocks: Blocks, block_size: int) -> tuple[list[Buffer], bool]:
    """The next blocks, about `block_size` bytes of them, and whether they were the last."""
    gathered: list[Buffer] = []
    size = 0
    begun = time.monotonic()
    for block in blocks:
        gathered.append(block)
        size += memoryview(block).nbytes
        # What is slow to make goes out in smaller pieces, so that a client that leaves ends it.
        if size >= block_size or time.monotonic() - begun > _PATIENCE_S:
            return gathered, False
    return gathered, True


async def _ahead(
    crossing: Crossing, blocks: Blocks, first: list[Buffer], block_size: int, making: Making | None = None
) -> AsyncIterator[bytes | memoryview]:
    """`first` and what follows it; while one block is being sent the next is made."""
    current, ended = first, False
    while not ended:
        following = asyncio.ensure_future(crossing.go_on(_gather, blocks, block_size))
        try:
            for block in _joined(current):
                yield block
            current, ended = await following
        except BaseException:
            if making is not None:
                making.cancel()
            raise
        finally:
            if not following.done():
                following.cancel()
    for block in _joined(current):
        yield block


def _joined(gathered: list[Buffer]) -> list[bytes | memoryview]:
    """Small buffers in one, as a copy costs less than a message to the server; large ones as they are."""
    pieces: list[bytes | memoryview] = []
    small: list[Buffer] = []
    for block in gathered:
        if memoryview(block).nbytes < _SMALL:
            small.append(block)
            continue
        if small:
            pieces.append(b"".join(small))
            small = []
        pieces.append(memoryview(block))
    if small:
        pieces.append(b"".join(small))
    return pieces


def _run_of(body: Body, extent: Extent) -> Blocks:
    """The bytes of `extent` out of all of `body`."""
    position = 0
    for block in body.blocks():
        view = memoryview(block).cast("B")
        first, last = max(extent.offset - position, 0), min(extent.end - position, len(view))
        if first < last:
            yield view[first:last]
        position += len(view)
        if position >= extent.end:
            return
