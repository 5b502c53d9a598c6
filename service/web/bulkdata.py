"""Retrieve of bulk data by the URIs that metadata give (PS3.18 10.4.1.1.2)."""

import re
from collections.abc import Buffer, Callable, Iterator
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from service.archive.bulk import BulkValue, bulk_value, pixel_parts
from service.archive.port import Archive
from service.dicom.errors import BadRequest, NotAcceptable
from service.dicom.media import Representation, negotiate
from service.dicom.multipart import boundary_of, closing, part_head
from service.dicom.record import Held
from service.dicom.syntaxes import OCTETS
from service.web.conditional import entity_tag
from service.web.frames import frame_offers
from service.web.request import base_url, house, resource_of, wanted
from service.web.sending import Body, send

_TAG = re.compile(r"[0-9A-Fa-f]{8}")


async def retrieve_bulkdata(request: Request) -> Response:
    """`GET {instance}/bulkdata/{tag path}`: the bytes of one value, little endian."""
    here = house(request)
    resource = resource_of(request)
    path = tag_path(request.path_params["path"])
    ranges = wanted(request)
    location = f"{base_url(request)}{resource.path}/bulkdata/{request.path_params['path']}"

    def make() -> Body:
        held = here.archive.instances(resource)[0]
        offers, values = _values(here.archive, held, path, here.settings.read_block)
        agreed = next(iter(negotiate(ranges, offers)), None)
        if agreed is None:
            raise NotAcceptable("The bulk data are not available so.", tuple(map(str, offers)))
        tag = entity_tag(held.digest, location, str(agreed))
        if agreed.multipart:
            boundary = boundary_of(tag)
            blocks = partial(_parts, values, agreed, location, boundary)
            return Body(agreed.multipart_type(boundary), blocks, None, tag)
        only = next(values())
        return Body(agreed.content_type, only.blocks, only.size, tag, ranges=True)

    return await send(request, make)


def _values(
    archive: Archive, held: Held, path: tuple[int, ...], block_size: int
) -> tuple[list[Representation], Callable[[], Iterator[BulkValue]]]:
    """How the value at `path` can leave, and a way to it; of compressed pixel data, to each frame."""
    pixels = held.pixels
    if pixels is not None and pixels.encapsulated and path == (pixels.tag,):
        count, values = pixel_parts(archive, held, pixels, block_size)
        return frame_offers(held, single=count == 1), values
    value = bulk_value(archive, held, path, block_size)
    return [Representation(OCTETS, multipart=form) for form in (True, False)], partial(iter, (value,))


def tag_path(text: str) -> tuple[int, ...]:
    """`60031010/1/60031011` as numbers: tags in hexadecimal, item numbers from 1 between them."""
    steps = text.split("/")
    path: list[int] = []
    for place, step in enumerate(steps):
        if place % 2 == 0 and _TAG.fullmatch(step):
            path.append(int(step, 16))
        elif place % 2 == 1 and step.isascii() and step.isdigit() and 0 < len(step) <= 9 and int(step) > 0:
            path.append(int(step))
        else:
            raise BadRequest("A bulk data path alternates tags of 8 hexadecimal digits and item numbers.")
    if len(path) % 2 == 0:
        raise BadRequest("A bulk data path ends in a tag.")
    return tuple(path)


def _parts(
    values: Callable[[], Iterator[BulkValue]], agreed: Representation, location: str, boundary: str
) -> Iterator[Buffer]:
    for value in values():
        yield part_head(boundary, agreed.content_type, location=location, length=value.size)
        yield from value.blocks()
    yield closing(boundary)
