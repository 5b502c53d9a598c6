"""Retrieve of frames (PS3.18 10.4): each one ranged read, by formula or by the frame table."""

from collections.abc import Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from service.archive.frames import Frame, frames_of
from service.archive.port import Archive
from service.dicom.errors import BadRequest, NotAcceptable
from service.dicom.media import ANY, MediaRange, Representation, negotiate
from service.dicom.record import Held
from service.dicom.syntaxes import BY_UID, ENCAPSULATED_UNCOMPRESSED, EXPLICIT_LE, OCTETS, Form, Syntax
from service.web.conditional import entity_tag
from service.web.parts import Part, parts_body
from service.web.request import base_url, house, resource_of, wanted
from service.web.sending import Body, item_body, send

_MAX_FRAMES = 20_000
_FEW = 16


async def retrieve_frames(request: Request) -> Response:
    """`GET {instance}/frames/{list}`: the frames asked for, in their order, as stored or native."""
    here = house(request)
    resource = resource_of(request)
    listed = request.path_params["frames"]
    numbers = frame_numbers(listed)
    ranges, base, block_size = wanted(request), base_url(request), here.settings.read_block

    def make() -> Body:
        held = here.archive.instances(resource)[0]
        frames = _frames(here.archive, held, numbers, block_size)
        offers = frame_offers(held, single=len(numbers) == 1)
        agreed = agree_pixels(ranges, held, offers)
        if agreed is None:
            raise NotAcceptable("The frames are not available so.", tuple(map(str, offers)))
        tag = entity_tag(held.digest, listed, str(agreed), base)
        if not agreed.multipart:
            return item_body(agreed.content_type, frames[0].content, tag)
        place = f"{base}{held.key.path}/frames/"
        parts = [Part(agreed.content_type, f"{place}{frame.number}", frame.content) for frame in frames]
        return parts_body(agreed, parts, tag, block_size)

    return await send(request, make, quick=len(numbers) <= _FEW)


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
        if not (item.isascii() and item.isdigit() and len(item) <= 10 and int(item) > 0):
            raise BadRequest("Frames are listed as whole numbers from 1, separated by commas.")
        numbers.append(int(item))
    if len(numbers) > _MAX_FRAMES:
        raise BadRequest(f"A request names at most {_MAX_FRAMES} frames.")
    return numbers


def frame_offers(held: Held, *, single: bool) -> list[Representation]:
    """How the frames of an instance can leave without being decoded."""
    if held.pixels is not None and not held.pixels.encapsulated:
        return _uncompressed_offers(single=single)
    return compressed_offers(BY_UID[held.syntax], single=single)


def compressed_offers(stored: Syntax, *, single: bool) -> list[Representation]:
    """How encapsulated pixel data can leave without being decoded."""
    if stored.uid == ENCAPSULATED_UNCOMPRESSED:
        return _uncompressed_offers(single=single)
    return [
        Representation(
            stored.media_type or OCTETS,
            stored.uid,
            multipart=form,
            octets=True,
            default=stored.is_default or stored.lossy,
        )
        for form in _forms(single)
    ]


def _uncompressed_offers(*, single: bool) -> list[Representation]:
    return [Representation(OCTETS, EXPLICIT_LE, multipart=form, default=True) for form in _forms(single)]


def _forms(single: bool) -> tuple[bool, ...]:
    """Whether in a multipart: always, and without where there is one item (PS3.18 Table 10.4.4-1)."""
    return (True, False) if single else (True,)


def agree_pixels(
    ranges: Sequence[MediaRange], held: Held, offers: Sequence[Representation]
) -> Representation | None:
    """The most wanted of `offers`, which are those of an instance's pixel data; `None` if none is.

    What exists only in a lossy form goes as it is stored also where the default of octets, which is
    uncompressed, is asked for (PS3.18 8.7.3.5.2).
    """
    agreed = negotiate(ranges, offers)
    syntax = BY_UID[held.syntax]
    if not agreed and syntax.lossy and syntax.form is Form.FRAMES:
        octets = [one for one in ranges if one.type == OCTETS and not one.syntaxes]
        agreed = negotiate([replace(one, syntaxes=(ANY,)) for one in octets], offers)
    return next(iter(agreed), None)
