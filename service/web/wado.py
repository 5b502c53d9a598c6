"""Retrieve of studies, series and instances as DICOM objects (PS3.18 10.4)."""

from collections.abc import Buffer, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from service.archive.port import Archive
from service.archive.reading import blocks_of, object_blocks, object_size
from service.dicom.errors import NotAcceptable
from service.dicom.frames import Extent
from service.dicom.media import DICOM, MediaRange, Representation, negotiate
from service.dicom.multipart import boundary_of, closing, part_head
from service.dicom.record import Held
from service.dicom.resource import Level, Resource
from service.dicom.syntaxes import BY_UID, EXPLICIT_LE, available
from service.web.conditional import entity_tag
from service.web.request import base_url, house, resource_of, wanted
from service.web.sending import Body, send


async def retrieve(request: Request) -> Response:
    """`GET` of a study, series or instance: its instances as DICOM files, in the syntax agreed on."""
    here = house(request)
    resource = resource_of(request)
    asked = _Asked(here.archive, wanted(request), base_url(request), here.settings.read_block)
    return await send(request, partial(_body, asked, resource), quick=resource.level is Level.INSTANCE)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request brings along: the archive, what it accepts, the root it knows, the size of blocks."""

    archive: Archive
    ranges: Sequence[MediaRange]
    base: str
    block_size: int


def _body(asked: _Asked, resource: Resource) -> Body:
    held = asked.archive.instances(resource)
    plan = agree(asked.ranges, held, single=resource.level is Level.INSTANCE)
    if plan.form.multipart:
        return _many(asked, plan)
    return _single(asked, *plan.items[0])


@dataclass(frozen=True, slots=True)
class Plan:
    """Which instances go out, each in which representation; all have the form of the first."""

    items: Sequence[tuple[Held, Representation]]
    left_out: int

    @property
    def form(self) -> Representation:
        return self.items[0][1]


def agree(ranges: Sequence[MediaRange], held: Sequence[Held], *, single: bool) -> Plan:
    """The plan for `held`. `NotAcceptable` if not one of them can be sent as asked.

    `single` says that the resource is one item, which may go without a multipart around it
    (PS3.18 Table 10.4.4-1).
    """
    offers = {stored: _offers(stored, single=single) for stored in {one.syntax for one in held}}
    agreed = {stored: negotiate(ranges, some) for stored, some in offers.items()}
    items = [(one, agreed[one.syntax][0]) for one in held if agreed[one.syntax]]
    if not items:
        listed = sorted({str(offer) for some in offers.values() for offer in some})
        raise NotAcceptable("No acceptable media type or transfer syntax is available.", tuple(listed))
    return Plan(items, len(held) - len(items))


def _offers(stored: str, *, single: bool) -> list[Representation]:
    # Where no transfer syntax is named Explicit VR Little Endian is meant, except that what exists only
    # in a lossy form may go as it is (PS3.18 8.7.3.5.2).
    forms = (True, False) if single else (True,)
    return [
        Representation(DICOM, uid, multipart=form, default=uid == EXPLICIT_LE or BY_UID[uid].lossy)
        for form in forms
        for uid in available(stored)
    ]


def _single(asked: _Asked, held: Held, agreed: Representation) -> Body:
    """One instance as it is, any run of which can be read where it leaves as stored."""
    size = object_size(held, agreed.syntax)
    return Body(
        agreed.content_type,
        partial(object_blocks, asked.archive, held, agreed.syntax, asked.block_size),
        size,
        entity_tag(held.digest, held.object_key, agreed.content_type),
        run=partial(_run, asked, held) if size == held.size else None,
        ranges=True,
        bound=size,
    )


def _run(asked: _Asked, held: Held, extent: Extent) -> Iterator[Buffer]:
    return blocks_of(asked.archive, held, extent, asked.block_size)


def _many(asked: _Asked, plan: Plan) -> Body:
    """A multipart of instances; its boundary follows from its content, so the same comes out each time."""
    content = b"".join(one.digest + agreed.syntax.encode() for one, agreed in plan.items)
    tag = entity_tag(content, asked.base, str(plan.form))
    boundary = boundary_of(tag)
    heads = _part_heads(plan, asked.base, boundary)
    status, headers = 200, {}
    if plan.left_out:
        status = 206  # PS3.18 Table 10.4.3-1
        total = plan.left_out + len(plan.items)
        text = f"{plan.left_out} of {total} instances are in no acceptable transfer syntax."
        headers["Warning"] = f'299 isthmus "{text}"'
    size = _total_size(plan, heads, boundary)
    return Body(
        plan.form.multipart_type(boundary),
        partial(_parts, asked, plan, heads, boundary),
        size,
        tag,
        bound=size,
        status=status,
        headers=headers,
    )


def _part_heads(plan: Plan, base: str, boundary: str) -> list[bytes]:
    return [
        part_head(
            boundary,
            agreed.content_type,
            location=base + one.key.path,
            length=object_size(one, agreed.syntax),
        )
        for one, agreed in plan.items
    ]


def _parts(asked: _Asked, plan: Plan, heads: Sequence[bytes], boundary: str) -> Iterator[Buffer]:
    for (one, agreed), head in zip(plan.items, heads, strict=True):
        yield head
        yield from object_blocks(asked.archive, one, agreed.syntax, asked.block_size)
    yield closing(boundary)


def _total_size(plan: Plan, heads: Sequence[bytes], boundary: str) -> int | None:
    """The body's size, if no object has to be written anew on the way out."""
    sizes = [object_size(one, agreed.syntax) for one, agreed in plan.items]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return None
    return sum(known) + sum(map(len, heads)) + len(closing(boundary))
