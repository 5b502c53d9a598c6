"""Retrieve of frames (PS3.18 10.4): each one ranged read, by formula or by the frame table."""

from collections.abc import Buffer, Iterator, Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from service.archive.frames import Frame, frames_of
from service.dicom.errors import BadRequest, NotAcceptable
from service.dicom.media import Representation, negotiate
from service.dicom.multipart import boundary_of, closing, part_head
from service.dicom.record import Held
from service.dicom.syntaxes import BY_UID, ENCAPSULATED_UNCOMPRESSED, EXPLICIT_LE, OCTETS
from service.web.conditional import entity_tag
from service.web.request import base_url, house, resource_of, wanted
from service.web.sending import Body, send

_MAX_FRAMES = 20_000
_FEW = 16


async def retrieve_frames(request: Request) -> Response:
    """`GET {instance}/frames/{list}`: the frames asked for, in their order, as stored or native."""
    here = house(request)
    resource = resource_of(request)
    listed = request.path_params["frames"]
    numbers = frame_numbers(listed)
    ranges, base = wanted(request), base_url(request)

    def make() -> Body:
        held = here.archive.instances(resource)[0]
        frames = frames_of(here.archive, held, numbers, here.settings.read_block)
        offers = frame_offers(held, single=len(numbers) == 1)
        agreed = next(iter(negotiate(ranges, offers)), None)
        if agreed is None:
            raise NotAcceptable("The frames are not available so.", tuple(map(str, offers)))
        tag = entity_tag(held.digest, listed, str(agreed), base)
        if agreed.multipart:
            return _many(frames, agreed, f"{base}{held.key.path}/frames/", tag)
        bound = frames[0].bound
        return Body(agreed.content_type, frames[0].blocks, frames[0].size, tag, ranges=True, bound=bound)

    return await send(request, make, quick=len(numbers) <= _FEW)


def _many(frames: Sequence[Frame], agreed: Representation, location: str, tag: str) -> Body:
    boundary = boundary_of(tag)
    blocks = partial(_parts, frames, agreed, location, boundary)
    bounds = [frame.bound for frame in frames]
    known = [bound for bound in bounds if bound is not None]
    return Body(
        agreed.multipart_type(boundary),
        blocks,
        _size(frames, agreed, location, boundary),
        tag,
        bound=sum(known) if len(known) == len(bounds) else None,
    )


def frame_numbers(text: str) -> list[int]:
    """The list of a frames path: whole numbers from 1, separated by commas (PS3.18 10.1.1)."""
    numbers: list[int] = []
    for item in text.split(","):
        if not (item.isascii() and item.isdigit() and len(item) <= 10 and int(item) > 0):
            raise BadRequest("Frames are listed as whole numbers from 1, separated by commas.")
        numbers.append(int(item))
    if len(numbers) > _MAX_FRAMES:
        raise BadRequest(f"A request names at most {_MAX_FRAMES} frames.")
    return numbers


def frame_offers(held: Held, *, single: bool) -> list[Representation]:
    """How the frames of an instance can leave without being decoded."""
    forms = (True, False) if single else (True,)
    stored = BY_UID[held.syntax]
    native = held.pixels is not None and not held.pixels.encapsulated
    if native or stored.uid == ENCAPSULATED_UNCOMPRESSED:
        return [Representation(OCTETS, EXPLICIT_LE, multipart=form, default=True) for form in forms]
    return [
        Representation(
            stored.media_type or OCTETS,
            stored.uid,
            multipart=form,
            octets=True,
            default=stored.is_default or stored.lossy,
        )
        for form in forms
    ]


def _parts(frames: Sequence[Frame], agreed: Representation, location: str, boundary: str) -> Iterator[Buffer]:
    for frame in frames:
        yield part_head(
            boundary, agreed.content_type, location=f"{location}{frame.number}", length=frame.size
        )
        yield from frame.blocks()
    yield closing(boundary)


def _size(frames: Sequence[Frame], agreed: Representation, location: str, boundary: str) -> int | None:
    """The size of the multipart, where that of each frame is known."""
    total = len(closing(boundary))
    for frame in frames:
        if frame.size is None:
            return None
        place = f"{location}{frame.number}"
        head = part_head(boundary, agreed.content_type, location=place, length=frame.size)
        total += len(head) + frame.size
    return total
