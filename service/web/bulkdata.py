"""Retrieve of bulk data by the URIs that metadata give (PS3.18 10.4.1.1.2)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from service.archive.bulk import (
    Finder,
    are_told_apart,
    bulk_value,
    cut_to,
    frame_contents,
    pixel_parts,
)
from service.archive.detached import Detached, detached_value, tag_path
from service.archive.port import Archive
from service.archive.reading import Content
from service.archive.transcoding import frame_jobs
from service.dicom.errors import NotAcceptable
from service.dicom.media import MediaRange, Representation, negotiate
from service.dicom.multipart import boundary_of
from service.dicom.record import Held
from service.dicom.syntaxes import BY_UID, EXPLICIT_LE, OCTETS
from service.web.conditional import entity_tag
from service.web.frames import agree_pixels, content_of, made_content
from service.web.making import Making
from service.web.offers import MADE, frame_offers, is_made, stored_offers
from service.web.parts import Part, part_blocks, parts_body
from service.web.request import archive_of, base_url, house, making_of, resource_of, wanted
from service.web.sending import Body, item_body, send

_PLAIN = f"{OCTETS}; transfer-syntax={EXPLICIT_LE}"
_PDF = "application/pdf"
# What somebody stored must not run as a page of ours; a sandbox would keep browsers from showing PDF.
_HARMLESS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request brings along: the archive, what it accepts, the root it knows, the size of blocks.

    `nearby` says that looking at objects takes microseconds. `making` has frames made for the answer.
    """

    archive: Archive
    ranges: Sequence[MediaRange]
    base: str
    block_size: int
    nearby: bool
    making: Making


def asked_of(request: Request) -> Asked:
    """What `request` brings along."""
    archive = archive_of(request)
    block_size = house(request).settings.read_block
    return Asked(archive, wanted(request), base_url(request), block_size, archive.nearby, making_of(request))


async def retrieve_bulkdata(request: Request) -> Response:
    """`GET {instance}/bulkdata/{tag path}`: the bytes of one value, little endian."""
    asked, resource = asked_of(request), resource_of(request)
    path = tag_path(request.path_params["path"])

    def make() -> Body:
        held = asked.archive.instances(resource)[0]
        return value_body(asked, detached_value(asked.archive, held, path))

    return await send(request, make)


def value_body(asked: Asked, value: Detached) -> Body:
    """One value: a single part, or a multipart of it; of pixel data that leave compressed, of its frames.

    `NotFound` if it is not there, `NotAcceptable` if it is not to be had as asked.
    """
    count, contents = contents_of(asked.archive, value, asked.block_size)
    if value.encapsulated:
        told_apart = value.held.shape is not None and count == value.held.shape.frames
    else:
        told_apart = value.is_pixel_data and are_told_apart(asked.archive, value.held)
    offers = value_offers(value, single=count == 1, told_apart=told_apart)
    agreed = agree_value(asked.ranges, value, offers)
    if agreed is None:
        raise NotAcceptable("The bulk data are not available so.", tuple(map(str, offers)))
    label, location = label_of(value, agreed), asked.base + value.location
    made = is_made_of(value, agreed)
    tag = entity_tag(value.held.digest, location, str(agreed), label, *((MADE,) if made else ()))
    making = asked.making if made else None
    if made:
        count, contents = contents_of(asked.archive, value, asked.block_size, frames=True)
    if count == 1:
        content = next(contents())
        if making is not None:
            content = made_content(making, value.held, 1, content, agreed.syntax)
        if agreed.multipart:
            body = parts_body(agreed, [Part(label, location, content)], tag, asked.block_size)
        else:
            body = item_body(label, content, tag, _safety(value, agreed))
        return replace(body, making=making)

    def parts() -> Iterator[Part]:
        found = made_contents(asked.making, value.held, contents(), agreed.syntax) if made else contents()
        return (Part(label, location, content) for content in found)

    boundary = boundary_of(tag)
    blocks = partial(part_blocks, parts, boundary, asked.block_size)
    return Body(agreed.multipart_type(boundary), blocks, None, tag, making=making)


def made_contents(making: Making, held: Held, stored: Iterator[Content], syntax: str) -> Iterator[Content]:
    """All frames of an instance out of their stored contents, made into another transfer syntax."""
    jobs = frame_jobs(held, enumerate(stored, 1), syntax, making.steps)
    return (content_of(frame.payload) for frame in making.each(jobs))


def is_made_of(value: Detached, agreed: Representation) -> bool:
    """Whether a value has to be made anew to go out as agreed."""
    return value.is_pixel_data and is_made(value.held, agreed.syntax)


def contents_of(
    archive: Archive, value: Detached, block_size: int, finder: Finder | None = None, *, frames: bool = False
) -> tuple[int, Callable[[], Iterator[Content]]]:
    """How many contents a value has, and a way to them: of compressed pixel data one for each frame.

    With `frames` so have native ones, which must be told apart.
    """
    held = value.held
    if frames and not value.encapsulated:
        assert held.shape is not None
        return held.shape.frames, partial(frame_contents, archive, held, held.shape.frames, block_size)
    if value.is_pixel_data and value.encapsulated:
        assert held.pixels is not None
        return pixel_parts(archive, held, held.pixels, block_size)
    content = bulk_value(archive, held, value.path, block_size, finder)
    size = content.size or 0
    if value.length is not None and size - 1 <= value.length <= size:
        content = cut_to(content, value.length)
    return 1, lambda: iter((content,))


def value_offers(value: Detached, *, single: bool, told_apart: bool) -> Sequence[Representation]:
    """How a value can leave, its own type first.

    `told_apart` says that the frames of pixel data can be, so that they can be made into other forms.
    """
    held, forms = value.held, (True, False) if single else (True,)
    octets = [Representation(OCTETS, multipart=form) for form in forms]
    syntax = BY_UID[held.syntax]
    if value.encapsulated:
        # Fragments in a transfer syntax that has none: nobody knows what they are.
        if not syntax.encapsulated:
            return octets
        if value.is_pixel_data and told_apart:
            return frame_offers(held, single=single)
        return stored_offers(syntax, native=False, single=single)
    if value.is_pixel_data:
        octets = stored_offers(syntax, native=True, single=single)
        if not told_apart or held.shape is None:
            return octets
        frames = frame_offers(held, single=single and held.shape.frames == 1)
        return [*octets, *(offer for offer in frames if is_made(held, offer.syntax))]
    if value.media_type and value.media_type != OCTETS:
        return [Representation(value.media_type, multipart=form) for form in forms] + octets
    return octets


def agree_value(
    ranges: Sequence[MediaRange], value: Detached, offers: Sequence[Representation]
) -> Representation | None:
    """The most wanted of a value's `offers`, `None` if none is acceptable."""
    if value.encapsulated:
        return agree_pixels(ranges, value.held, offers)
    return next(iter(negotiate(ranges, offers)), None)


def label_of(value: Detached, agreed: Representation) -> str:
    """The Content-Type of a value as it was agreed on: the transfer syntax is always told."""
    plain = agreed.media_type == OCTETS and not agreed.syntax and not value.encapsulated
    return _PLAIN if plain else agreed.content_type


def safety_of(media_type: str) -> Mapping[str, str]:
    """The header fields that keep what somebody stored in its own type from running as a page of ours."""
    return {} if media_type == _PDF else _HARMLESS


def _safety(value: Detached, agreed: Representation) -> Mapping[str, str]:
    own_type = bool(value.media_type) and agreed.media_type == value.media_type
    return safety_of(agreed.media_type) if own_type else {}
