"""Retrieve of all bulk data, or all pixel data, of a study, series or instance (PS3.18 10.4.1)."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from service.archive.bulk import Finder, are_told_apart
from service.archive.detached import Detached, Listing, all_detached, pixel_data
from service.archive.reading import without_object
from service.dicom.errors import NotAcceptable, NotFound
from service.dicom.media import Representation
from service.dicom.multipart import boundary_of
from service.dicom.record import Held
from service.dicom.resource import Level, Resource
from service.web.bulkdata import (
    Asked,
    agree_value,
    asked_of,
    contents_of,
    is_made_of,
    label_of,
    made_contents,
    value_body,
    value_offers,
)
from service.web.conditional import entity_tag
from service.web.offers import MADE
from service.web.parts import Part, part_blocks
from service.web.request import resource_of, warning
from service.web.sending import Body, send


async def retrieve_all_bulkdata(request: Request) -> Response:
    """`GET {resource}/bulkdata`: every value that the metadata of the resource point to."""
    return await send(request, partial(bulkdata_body, asked_of(request), resource_of(request)))


async def retrieve_pixeldata(request: Request) -> Response:
    """`GET {resource}/pixeldata`, `{instance}/frames`: the pixel data of each instance that has some."""
    return await send(request, partial(_pixeldata_body, asked_of(request), resource_of(request)))


def bulkdata_body(asked: Asked, resource: Resource) -> Body:
    """All bulk data of `resource`. `NotFound` if there are none, `NotAcceptable` if none may go as asked."""
    instances = asked.archive.instances(resource)
    listing = all_detached(asked.archive, resource, instances)
    return _body(asked, resource, listing, gaps(asked, resource, instances))


def _pixeldata_body(asked: Asked, resource: Resource) -> Body:
    instances = asked.archive.instances(resource)
    return _body(asked, resource, pixel_data(instances), gaps(asked, resource, instances))


def gaps(asked: Asked, resource: Resource, instances: Sequence[Held]) -> set[int]:
    """The rows of instances whose objects are missing, where looking costs little next to sending them."""
    if resource.level is Level.INSTANCE or not asked.nearby:
        return set()
    return without_object(asked.archive, instances)


def _body(asked: Asked, resource: Resource, listing: Listing, gone: set[int]) -> Body:
    if resource.level is Level.INSTANCE:
        values = list(itertools.islice(listing(), 2))
        if len(values) == 1:  # one item, which may go without a multipart around it
            return value_body(asked, values[0])
    plan = _plan(asked, listing, gone)
    boundary = boundary_of(plan.tag)
    status, headers = 200, {}
    if plan.left_out:
        status = 206  # PS3.18 Table 10.4.3-1
        total = plan.left_out + plan.count
        headers["Warning"] = warning(asked.base, f"{plan.left_out} of {total} values cannot be sent.")
    blocks = partial(part_blocks, partial(_parts, asked, listing, gone), boundary, asked.block_size)
    making = asked.making if plan.made else None
    form = plan.form.multipart_type(boundary)
    return Body(form, blocks, None, plan.tag, status=status, headers=headers, making=making)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What goes out: the form of its first value, how many there are, and how many stay behind.

    `made` says that some have to be made anew.
    """

    form: Representation
    count: int
    left_out: int
    tag: str
    made: bool


def _plan(asked: Asked, listing: Listing, gone: set[int]) -> _Plan:
    """One way through the values before the first of them is read."""
    first, count, left_out, made = None, 0, 0, False
    content = hashlib.sha256()
    available: set[str] = set()
    for value in listing():
        offers = _offers(asked, value)
        agreed = agree_value(asked.ranges, value, offers)
        if agreed is None or value.held.row in gone:
            available.update(map(str, offers if agreed is None else ()))
            left_out += 1
            continue
        first = first or agreed
        count += 1
        made = made or is_made_of(value, agreed)
        content.update(value.held.digest + f"{value.location} {label_of(value, agreed)} ".encode())
    if first is None:
        if available:
            raise NotAcceptable("None of the bulk data are available so.", tuple(sorted(available)))
        raise NotFound("There are no such bulk data here.")
    tag = entity_tag(content.digest(), asked.base, first.media_type, left_out, *((MADE,) if made else ()))
    return _Plan(first, count, left_out, tag, made)


def _offers(asked: Asked, value: Detached) -> Sequence[Representation]:
    """How a value can leave in a multipart."""
    told_apart = value.is_pixel_data and are_told_apart(asked.archive, value.held)
    return value_offers(value, single=False, told_apart=told_apart)


def _parts(asked: Asked, listing: Listing, gone: set[int]) -> Iterator[Part]:
    """The same way again, each value read when its turn comes."""
    finder, row = None, 0
    for value in listing():
        agreed = agree_value(asked.ranges, value, _offers(asked, value))
        if agreed is None or value.held.row in gone:
            continue
        if finder is None or row != value.held.row:
            finder, row = Finder(asked.archive, value.held), value.held.row
        label, location = label_of(value, agreed), asked.base + value.location
        made = is_made_of(value, agreed)
        _, contents = contents_of(asked.archive, value, asked.block_size, finder, frames=made)
        found = contents()
        if made:
            found = made_contents(asked.making, value.held, found, agreed.syntax)
        for content in found:
            yield Part(label, location, content)
