"""Answers that are made in the workshop: single pictures and pages, or one part after the other."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service.archive.transcoding import Steps
from service.dicom.errors import Busy, Superseded
from service.dicom.media import Representation
from service.dicom.multipart import boundary_of, closing, part_head
from service.web.conditional import is_unchanged, require_match
from service.web.parts import Part
from service.web.request import House, gone, house
from service.web.sending import CACHING, Body, send
from service.web.timing import add, server_timing, spend, steps_of

_TRIES = 3
_UNWATCHED_S = 0.02  # most pictures are made before it would be worth while to look whether anybody waits
_CLIENT_GONE = 499


@dataclass(frozen=True, slots=True)
class Job:
    """One item to be made: `key` names it by content, `location` is the URL of what it shows.

    `steps` is told what its seconds were spent on, if they were spent for this request.
    """

    key: tuple[object, ...]
    make: Callable[[], bytes]
    content_type: str
    location: str
    steps: Steps = field(default_factory=dict)


Item = Job | Part


@dataclass(frozen=True, slots=True)
class Sheet:
    """An answer of items, of which there is at least one; a single one unless its `form` is a multipart."""

    form: Representation
    items: Callable[[], Iterator[Item]]
    tag: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


async def develop(
    request: Request, plan: Callable[[], Sheet | Body], short: Callable[[], Sheet | None] | None = None
) -> Response:
    """The answer that `plan` lays out, which is looked up in a thread of `reads`.

    `short` lays it out on the loop itself where that is a matter of one short look-up, else it gives `None`.
    304 where the client has it, 412 where it wants another, and nothing is made. The first item is made
    before the status goes out; what fails later breaks the connection.
    """
    for _ in range(_TRIES - 1):
        try:
            return await _try(request, plan, short)
        except Superseded:  # nothing has gone out: what took its place can be shown instead
            continue
    return await _try(request, plan, short)


async def _try(
    request: Request, plan: Callable[[], Sheet | Body], short: Callable[[], Sheet | None] | None
) -> Response:
    here = house(request)
    begun = time.perf_counter()
    sheet: Sheet | Body | None = None
    if short is not None and here.reads.may_stay():
        with contextlib.suppress(Superseded):  # what took its place is looked for where there is time for it
            sheet = here.reads.stay(short)
    if sheet is None:
        sheet = await here.reads.run(plan)
    steps = steps_of(request.scope)
    spend(steps, "index", begun)
    if isinstance(sheet, Body):
        return await send(request, lambda: sheet)
    headers = {**sheet.headers, **CACHING, "ETag": sheet.tag}
    require_match(request.headers, sheet.tag)
    if sheet.status == 200 and is_unchanged(request.headers, sheet.tag):
        return Response(status_code=304, headers=headers)
    planned = time.perf_counter()
    items = sheet.items()
    first = next(items)
    content = b""
    if isinstance(first, Job):
        kept = here.workshop.kept(first.key)
        if not isinstance(kept, bytes):
            kept = await _unless_gone(request, here.workshop.submit(first.key, first.make))
        if kept is None:
            return Response(status_code=_CLIENT_GONE)
        content = kept
        spend(steps, "pixels", planned)
        add(steps, first.steps)
    headers["Server-Timing"] = server_timing(steps)
    head = request.method == "HEAD"
    if isinstance(first, Job) and not sheet.form.multipart:
        headers |= {"Content-Type": first.content_type, "Content-Length": str(len(content))}
        return Response(b"" if head else content, sheet.status, headers)
    boundary = boundary_of(sheet.tag)
    headers["Content-Type"] = sheet.form.multipart_type(boundary)
    if head:
        return Response(status_code=sheet.status, headers=headers)
    return StreamingResponse(_blocks(here, first, content, items, boundary, steps), sheet.status, headers)


async def _unless_gone(request: Request, future: Future[bytes]) -> bytes | None:
    """What `future` gives; `None` if the client leaves before, which lets go of the work."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    leaving: asyncio.Task[None] | None = None

    def wake(_: object = None) -> None:
        if not over.done():
            over.set_result(None)

    def watch() -> None:
        nonlocal leaving
        leaving = asyncio.ensure_future(gone(request))
        leaving.add_done_callback(wake)

    def made(_: Future[bytes]) -> None:
        # In the thread that made it. A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(wake)

    watching = loop.call_later(_UNWATCHED_S, watch)
    future.add_done_callback(made)
    try:
        await over
        if future.cancelled():
            raise Busy("The server is shutting down.")
        return future.result() if future.done() else None
    finally:
        watching.cancel()
        if leaving is not None:
            leaving.cancel()
        future.cancel()


async def _blocks(
    here: House, first: Item, content: bytes, items: Iterator[Item], boundary: str, steps: Steps
) -> AsyncIterator[bytes | memoryview]:
    """The multipart of `first`, which is made, and the others: the next is made while one is being sent."""
    following: asyncio.Future[bytes] | None = None
    item: Item | None = first
    leading = True
    try:
        while item is not None:
            if following is not None:
                begun = time.perf_counter()
                content, following = await following, None
                spend(steps, "pixels", begun)
                add(steps, item.steps if isinstance(item, Job) else {})
            upcoming = next(items, None)
            if isinstance(upcoming, Job):
                following = asyncio.wrap_future(here.workshop.submit(upcoming.key, upcoming.make, begun=True))
            if isinstance(item, Job):
                size, location = len(content), item.location
                head = part_head(boundary, item.content_type, location=location, length=size, first=leading)
                yield head + content
            else:
                async for block in _stored(here, item, boundary, first=leading):
                    yield block
            item, leading = upcoming, False
        yield closing(boundary)
    finally:
        if following is not None:
            following.cancel()


async def _stored(
    here: House, part: Part, boundary: str, *, first: bool
) -> AsyncIterator[bytes | memoryview]:
    """A part that leaves as it is stored."""
    content = await here.reads.go_on(part.content.measured)
    yield part_head(boundary, part.content_type, location=part.location, length=content.size, first=first)
    blocks = content.blocks()
    while (block := await here.reads.go_on(next, blocks, None)) is not None:
        yield memoryview(block)
