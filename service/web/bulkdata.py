"""Retrieve of bulk data by the URIs that metadata give (PS3.18 10.4.1.1.2)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from service.archive.bulk import Finder, bulk_value, cut_to, pixel_parts
from service.archive.detached import Detached, detached_value, tag_path
from service.archive.port import Archive
from service.archive.reading import Content
from service.dicom.errors import NotAcceptable
from service.dicom.media import MediaRange, Representation, negotiate
from service.dicom.multipart import boundary_of
from service.dicom.syntaxes import BY_UID, EXPLICIT_LE, OCTETS
from service.web.conditional import entity_tag
from service.web.frames import agree_pixels, compressed_offers, frame_offers
from service.web.parts import Part, part_blocks, parts_body
from service.web.request import base_url, house, resource_of, wanted
from service.web.sending import Body, item_body, send

_PLAIN = f"{OCTETS}; transfer-syntax={EXPLICIT_LE}"
_PDF = "application/pdf"
# What somebody stored must not run as a page of ours; a sandbox would keep browsers from showing PDF.
_HARMLESS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request brings along: the archive, what it accepts, the root it knows, the size of blocks.

    `nearby` says that looking at objects takes microseconds.
    """

    archive: Archive
    ranges: Sequence[MediaRange]
    base: str
    block_size: int
    nearby: bool


def asked_of(request: Request) -> Asked:
    """What `request` brings along."""
    here = house(request)
    archive = here.archive
    return Asked(archive, wanted(request), base_url(request), here.settings.read_block, archive.nearby)


async def retrieve_bulkdata(request: Request) -> Response:
    """`GET {instance}/bulkdata/{tag path}`: the bytes of one value, little endian."""
    asked, resource = asked_of(request), resource_of(request)
    path = tag_path(request.path_params["path"])

    def make() -> Body:
        held = asked.archive.instances(resource)[0]
        return value_body(asked, detached_value(asked.archive, held, path))

    return await send(request, make)


def value_body(asked: Asked, value: Detached) -> Body:
    """One value: a single part, or a multipart of it; of compressed pixel data, of its frames.

    `NotFound` if it is not there, `NotAcceptable` if it is not to be had as asked.
    """
    count, contents = contents_of(asked.archive, value, asked.block_size)
    offers = value_offers(value, single=count == 1)
    agreed = agree_value(asked.ranges, value, offers)
    if agreed is None:
        raise NotAcceptable("The bulk data are not available so.", tuple(map(str, offers)))
    label, location = label_of(value, agreed), asked.base + value.location
    tag = entity_tag(value.held.digest, location, str(agreed), label)
    if not agreed.multipart:
        return item_body(label, next(contents()), tag, _safety(value, agreed))
    if count == 1:
        return parts_body(agreed, [Part(label, location, next(contents()))], tag, asked.block_size)

    def parts() -> Iterator[Part]:
        return (Part(label, location, content) for content in contents())

    boundary = boundary_of(tag)
    blocks = partial(part_blocks, parts, boundary, asked.block_size)
    return Body(agreed.multipart_type(boundary), blocks, None, tag)


def contents_of(
    archive: Archive, value: Detached, block_size: int, finder: Finder | None = None
) -> tuple[int, Callable[[], Iterator[Content]]]:
    """How many contents a value has, and a way to them: of compressed pixel data one for each frame."""
    held = value.held
    if value.is_pixel_data and value.encapsulated:
        assert held.pixels is not None
        return pixel_parts(archive, held, held.pixels, block_size)
    content = bulk_value(archive, held, value.path, block_size, finder)
    size = content.size or 0
    if value.length is not None and size - 1 <= value.length <= size:
        content = cut_to(content, value.length)
    return 1, lambda: iter((content,))


def value_offers(value: Detached, *, single: bool) -> list[Representation]:
    """How a value can leave without being decoded, its own type first."""
    held, forms = value.held, (True, False) if single else (True,)
    octets = [Representation(OCTETS, multipart=form) for form in forms]
    syntax = BY_UID[held.syntax]
    if value.encapsulated:
        # Fragments in a transfer syntax that has none: nobody knows what they are.
        return compressed_offers(syntax, single=single) if syntax.encapsulated else octets
    if value.is_pixel_data:
        return frame_offers(held, single=single)
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


def _safety(value: Detached, agreed: Representation) -> Mapping[str, str]:
    own_type = bool(value.media_type) and agreed.media_type == value.media_type
    return _HARMLESS if own_type and agreed.media_type != _PDF else {}
