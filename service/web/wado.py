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
from service.dicom.resource import Level
from service.dicom.syntaxes import BY_UID, EXPLICIT_LE, available
from service.web.conditional import entity_tag
from service.web.request import base_url, house, resource_of, wanted
from service.web.sending import Body, send


async def retrieve(request: Request) -> Response:
    """`GET` of a study, series or instance: its instances as DICOM files, in the syntax agreed on."""
    here = house(request)
    resource = resource_of(request)
    ranges = wanted(request)
    held = await here.reads.run(here.archive.instances, resource)
    plan = agree(ranges, held, single=resource.level is Level.INSTANCE)
    headers: dict[str, str] = {}
    status = 200
    if plan.left_out:
        status = 206  # PS3.18 Table 10.4.3-1
        text = f"{plan.left_out} of {len(held)} instances are in no acceptable transfer syntax."
        headers["Warning"] = f'299 isthmus "{text}"'
    block_size = here.settings.read_block
    if plan.form.multipart:
        body = _many(here.archive, plan, base_url(request), block_size)
    else:
        body = _single(here.archive, *plan.items[0], block_size)
    return await send(request, body, status=status, headers=headers)


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


def _single(archive: Archive, held: Held, agreed: Representation, block_size: int) -> Body:
    """One instance as it is, any run of which can be read where it leaves as stored."""
    size = object_size(held, agreed.syntax)
    stored = size == held.size
    return Body(
        agreed.content_type,
        partial(object_blocks, archive, held, agreed.syntax, block_size),
        size,
        entity_tag(held.digest, held.object_key, agreed.content_type),
        run=partial(_run, archive, held, block_size) if stored else None,
        ranges=True,
    )


def _run(archive: Archive, held: Held, block_size: int, extent: Extent) -> Iterator[Buffer]:
    return blocks_of(archive, held, extent, block_size)


def _many(archive: Archive, plan: Plan, base: str, block_size: int) -> Body:
    """A multipart of instances; its boundary follows from its content, so the same comes out each time."""
    content = b"".join(one.digest + agreed.syntax.encode() for one, agreed in plan.items)
    tag = entity_tag(content, base, str(plan.form))
    boundary = boundary_of(tag)
    heads = _part_heads(plan, base, boundary)
    return Body(
        plan.form.multipart_type(boundary),
        partial(_parts, archive, plan, heads, boundary, block_size),
        _total_size(plan, heads, boundary),
        tag,
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


def _parts(
    archive: Archive, plan: Plan, heads: Sequence[bytes], boundary: str, block_size: int
) -> Iterator[Buffer]:
    for (one, agreed), head in zip(plan.items, heads, strict=True):
        yield head
        yield from object_blocks(archive, one, agreed.syntax, block_size)
    yield closing(boundary)


def _total_size(plan: Plan, heads: Sequence[bytes], boundary: str) -> int | None:
    """The body's size, if no object has to be written anew on the way out."""
    sizes = [object_size(one, agreed.syntax) for one, agreed in plan.items]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return None
    return sum(known) + sum(map(len, heads)) + len(closing(boundary))
