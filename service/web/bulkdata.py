"""Retrieve of bulk data by the URIs that metadata give (PS3.18 10.4.1.1.2)."""

import re
from collections.abc import Buffer, Iterator, Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from service.archive.bulk import BulkValue, bulk_value, pixel_parts
from service.dicom.errors import BadRequest, NotAcceptable
from service.dicom.media import Representation, negotiate
from service.dicom.multipart import boundary_of, closing, part_head
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
    held = (await here.reads.run(here.archive.instances, resource))[0]
    block_size = here.settings.read_block
    pixels = held.pixels
    if pixels is not None and pixels.encapsulated and path == (pixels.tag,):
        values = await here.reads.run(pixel_parts, here.archive, held, pixels, block_size)
        offers = frame_offers(held, single=len(values) == 1)
    else:
        values = [await here.reads.run(bulk_value, here.archive, held, path, block_size)]
        offers = [Representation(OCTETS, multipart=form) for form in (True, False)]
    agreed = next(iter(negotiate(ranges, offers)), None)
    if agreed is None:
        raise NotAcceptable("The bulk data are not available so.", tuple(map(str, offers)))
    tag = entity_tag(held.digest, location, str(agreed))
    if agreed.multipart:
        boundary = boundary_of(tag)
        blocks = partial(_parts, values, agreed, location, boundary)
        body = Body(agreed.multipart_type(boundary), blocks, None, tag)
    else:
        body = Body(agreed.content_type, values[0].blocks, values[0].size, tag, ranges=True)
    return await send(request, body, headers={})


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
    values: Sequence[BulkValue], agreed: Representation, location: str, boundary: str
) -> Iterator[Buffer]:
    for value in values:
        yield part_head(boundary, agreed.content_type, location=location, length=value.size)
        yield from value.blocks()
    yield closing(boundary)
