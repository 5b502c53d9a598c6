"""Retrieve of frames (PS3.18 10.4): each one ranged read, by formula or by the frame table.

Where no stored form is acceptable they are made into another transfer syntax.
"""

from collections.abc import Buffer, Iterator, Sequence
from dataclasses import replace
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from service.archive.frames import Frame, frames_of
from service.archive.port import Archive
from service.archive.reading import Content
from service.archive.transcoding import frame_jobs
from service.dicom.errors import BadRequest, NotAcceptable
from service.dicom.media import ANY, MediaRange, Representation, negotiate
from service.dicom.multipart import boundary_of
from service.dicom.record import Held
from service.dicom.syntaxes import BY_UID, OCTETS, Form
from service.web.conditional import entity_tag
from service.web.making import Making
from service.web.offers import MADE, agree_frames, frame_offers, is_made, stored_offers
from service.web.parts import Part, part_blocks, parts_body
from service.web.request import archive_of, base_url, house, making_of, resource_of, wanted
from service.web.sending import Body, item_body, send

_MAX_FRAMES = 20_000
_DIGITS = 11  # of a number above all that a Number of Frames can be
_FEW = 16


async def retrieve_frames(request: Request) -> Response:
    """`GET {instance}/frames/{list}`: the frames asked for, in their order, in the form agreed on."""
    here = house(request)
    archive, resource = archive_of(request), resource_of(request)
    listed = request.path_params["frames"]
    numbers = frame_numbers(listed)
    ranges, base, block_size = wanted(request), base_url(request), here.settings.read_block
    decoded = here.settings.decoded_syntaxes
    making = making_of(request)

    def make() -> Body:
        held = archive.instances(resource)[0]
        frames = _frames(archive, held, numbers, block_size)
        single = len(numbers) == 1
        agreed = agree_frames(ranges, held, single=single, decoded=decoded)
        place = f"{base}{held.key.path}/frames/"

        def as_stored(error: NotAcceptable | None = None) -> Body:
            stored = agreed if error is None else None
            if stored is None:
                offers = stored_offers(BY_UID[held.syntax], native=not _in_fragments(held), single=single)
                stored = agree_pixels(ranges, held, offers)
                if stored is None:
                    known = offers if error else frame_offers(held, single=single)
                    text = str(error) if error else "The frames are not available so."
                    raise NotAcceptable(text, tuple(map(str, known)))
            tag = entity_tag(held.digest, listed, str(stored), base)
            return _body(stored, frames, place, tag, block_size)

        if agreed is None or not is_made(held, agreed.syntax):
            return as_stored()
        tag = entity_tag(held.digest, listed, str(agreed), base, MADE)
        contents = [(one.number, one.content) for one in frames]
        return replace(made_body(agreed, held, contents, place, tag, making), instead=as_stored)

    return await send(request, make, quick=len(numbers) <= _FEW)


def _in_fragments(held: Held) -> bool:
    return held.pixels is not None and held.pixels.encapsulated


def _body(agreed: Representation, frames: Sequence[Frame], place: str, tag: str, block_size: int) -> Body:
    """Frames as they are stored."""
    if not agreed.multipart:
        return item_body(agreed.content_type, frames[0].content, tag)
    parts = [Part(agreed.content_type, f"{place}{frame.number}", frame.content) for frame in frames]
    return parts_body(agreed, parts, tag, block_size)


def made_body(
    agreed: Representation,
    held: Held,
    frames: Sequence[tuple[int, Content]],
    place: str,
    tag: str,
    making: Making,
) -> Body:
    """Frames, by number and content, made into what was agreed on; `place` and a number are the URL of one.

    They are made a few ahead of what is sent; a single one has a size, and may be sent in runs.
    """
    if len(frames) == 1:
        ((number, content),) = frames
        content = made_content(making, held, number, content, agreed.syntax)
        if agreed.multipart:
            only = Part(agreed.content_type, f"{place}{number}", content)
            body = parts_body(agreed, [only], tag, 0)
        else:
            body = item_body(agreed.content_type, content, tag)
        return replace(body, making=making)

    def parts() -> Iterator[Part]:
        made = making.each(frame_jobs(held, frames, agreed.syntax, making.steps))
        for (number, _), frame in zip(frames, made, strict=True):
            yield Part(agreed.content_type, f"{place}{number}", content_of(frame.payload))

    boundary = boundary_of(tag)
    blocks = partial(part_blocks, parts, boundary, 0)
    form = agreed.multipart_type(boundary)
    return Body(form, blocks, None, tag, making=making)


def made_content(making: Making, held: Held, number: int, stored: Content, syntax: str) -> Content:
    """One frame out of its stored content, made when its size or its bytes are asked for."""

    def measure() -> Content:
        (frame,) = making.each(frame_jobs(held, [(number, stored)], syntax, making.steps))
        return content_of(frame.payload)

    return Content(None, lambda: measure().blocks(), None, measure=measure)


def content_of(payload: Buffer) -> Content:
    """Bytes that are there already."""
    view = memoryview(payload).cast("B")
    return Content(len(view), lambda: iter((view,)), 0, lambda run: iter((view[run.offset : run.end],)))


def _frames(archive: Archive, held: Held, numbers: Sequence[int], block_size: int) -> list[Frame]:
    """The frames by their numbers. `NotAcceptable` for those of a video, which are not decoded."""
    video = held.pixels is not None and held.pixels.encapsulated and BY_UID[held.syntax].form is Form.VIDEO
    if video and held.shape is not None and max(numbers) <= held.shape.frames:
        raise NotAcceptable("A video leaves as a whole: its stream is the pixel data of the instance.")
    return frames_of(archive, held, numbers, block_size)


def frame_numbers(text: str) -> list[int]:
    """The list of a frames path: whole numbers from 1, separated by commas (PS3.18 10.1.1)."""
    numbers: list[int] = []
    for item in text.split(","):
        digits = item.lstrip("0")
        if not (item.isascii() and digits.isdigit()):
            raise BadRequest("Frames are listed as whole numbers from 1, separated by commas.")
        numbers.append(int(digits[:_DIGITS]))  # so many digits are behind the last frame, and more are too
    if len(numbers) > _MAX_FRAMES:
        raise BadRequest(f"A request names at most {_MAX_FRAMES} frames.")
    return numbers


def agree_pixels(
    ranges: Sequence[MediaRange], held: Held, offers: Sequence[Representation]
) -> Representation | None:
    """The most wanted of `offers`, which are those of an instance's pixel data; `None` if none is.

    What exists only in a lossy form, and is not decoded here, goes as it is stored also where the default
    of octets, which is uncompressed, is asked for (PS3.18 8.7.3.5.2).
    """
    agreed = negotiate(ranges, offers)
    syntax = BY_UID[held.syntax]
    if not agreed and syntax.lossy and syntax.form is Form.FRAMES:
        octets = [one for one in ranges if one.type == OCTETS and not one.syntaxes]
        agreed = negotiate([replace(one, syntaxes=(ANY,)) for one in octets], offers)
    return next(iter(agreed), None)
