"""Retrieve of studies, series and instances as DICOM objects (PS3.18 10.4)."""

from collections.abc import Buffer, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from service.archive.reading import blocks_of, object_blocks, object_size
from service.dicom.errors import NotAcceptable, NotFound, Superseded
from service.dicom.frames import Extent
from service.dicom.media import DICOM, MediaRange, Representation, negotiate
from service.dicom.multipart import boundary_of, closing, part_head
from service.dicom.record import Held
from service.dicom.resource import Level, Resource
from service.dicom.syntaxes import BY_UID, EXPLICIT_LE, OCTETS, available
from service.web.bulkdata import Asked, asked_of
from service.web.collected import bulkdata_body, gaps
from service.web.conditional import entity_tag
from service.web.request import resource_of, warning
from service.web.sending import Body, Piece, send


async def retrieve(request: Request) -> Response:
    """`GET` of a study, series or instance: its instances as DICOM files, in the syntax agreed on."""
    resource = resource_of(request)
    body = partial(_body, asked_of(request), resource)
    return await send(request, body, quick=resource.level is Level.INSTANCE)


def _body(asked: Asked, resource: Resource) -> Body:
    held = asked.archive.instances(resource)
    single = resource.level is Level.INSTANCE
    quality = max((one.quality for one in asked.ranges if _names_bulk_data(one)), default=0.0)
    if quality and not _agreeable(_at_least(asked.ranges, quality), held, single=single):
        return _instead(asked, resource, held)
    gone = gaps(asked, resource, held)
    plan = agree(asked.ranges, [one for one in held if one.row not in gone] or held, single=single)
    if plan.form.multipart:
        return _many(asked, plan, len(held))
    return _single(asked, *plan.items[0])


def _names_bulk_data(media_range: MediaRange) -> bool:
    """Whether a multipart of octets or of pictures is asked for: bulk data (PS3.18 Table 10.4.4-1)."""
    return bool(media_range.multipart) and media_range.type.startswith((OCTETS, "image/", "video/"))


def _at_least(ranges: Sequence[MediaRange], quality: float) -> list[MediaRange]:
    """`ranges`, of which those that are wanted less than `quality` accept nothing."""
    return [one if one.quality >= quality else replace(one, quality=0.0) for one in ranges]


def _agreeable(ranges: Sequence[MediaRange], held: Sequence[Held], *, single: bool) -> bool:
    return any(negotiate(ranges, some) for some in _offers_by_syntax(held, single=single).values())


def _instead(asked: Asked, resource: Resource, held: Sequence[Held]) -> Body:
    """The bulk data of `resource` for the resource itself; where there are none, whatever is acceptable."""
    available: tuple[str, ...] = ()
    try:
        return bulkdata_body(asked, resource)
    except Superseded:
        raise
    except NotFound:
        pass
    except NotAcceptable as refusal:
        available = refusal.available
    try:
        plan = agree(asked.ranges, held, single=resource.level is Level.INSTANCE)
    except NotAcceptable as refusal:
        raise NotAcceptable(str(refusal), refusal.available + available) from None
    return _many(asked, plan, len(held)) if plan.form.multipart else _single(asked, *plan.items[0])


@dataclass(frozen=True, slots=True)
class Plan:
    """Which instances go out, each in which representation; all have the form of the first."""

    items: Sequence[tuple[Held, Representation]]

    @property
    def form(self) -> Representation:
        return self.items[0][1]


def agree(ranges: Sequence[MediaRange], held: Sequence[Held], *, single: bool) -> Plan:
    """The plan for `held`. `NotAcceptable` if not one of them can be sent as asked.

    `single` says that the resource is one item, which may go without a multipart around it
    (PS3.18 Table 10.4.4-1).
    """
    offers = _offers_by_syntax(held, single=single)
    agreed = {stored: negotiate(ranges, some) for stored, some in offers.items()}
    items = [(one, agreed[one.syntax][0]) for one in held if agreed[one.syntax]]
    if not items:
        listed = sorted({str(offer) for some in offers.values() for offer in some})
        raise NotAcceptable("No acceptable media type or transfer syntax is available.", tuple(listed))
    return Plan(items)


def _offers_by_syntax(held: Sequence[Held], *, single: bool) -> dict[str, list[Representation]]:
    return {stored: _offers(stored, single=single) for stored in {one.syntax for one in held}}


def _offers(stored: str, *, single: bool) -> list[Representation]:
    # Where no transfer syntax is named Explicit VR Little Endian is meant, except that what exists only
    # in a lossy form may go as it is (PS3.18 8.7.3.5.2).
    forms = (True, False) if single else (True,)
    return [
        Representation(DICOM, uid, multipart=form, default=uid == EXPLICIT_LE or BY_UID[uid].lossy)
        for form in forms
        for uid in available(stored)
    ]


def _single(asked: Asked, held: Held, agreed: Representation) -> Body:
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
        lend=partial(_lent, asked, held) if size == held.size else None,
    )


def _lent(asked: Asked, held: Held) -> list[Piece] | None:
    run = asked.archive.lend(held, Extent(0, held.size))
    return None if run is None else [run]


def _run(asked: Asked, held: Held, extent: Extent) -> Iterator[Buffer]:
    return blocks_of(asked.archive, held, extent, asked.block_size)


def _many(asked: Asked, plan: Plan, total: int) -> Body:
    """A multipart of instances, out of `total` that there are.

    Its boundary follows from its content, so that the same comes out each time.
    """
    content = b"".join(one.digest + agreed.syntax.encode() for one, agreed in plan.items)
    tag = entity_tag(content, asked.base, str(plan.form))
    boundary = boundary_of(tag)
    heads = _part_heads(plan, asked.base, boundary)
    status, headers = 200, {}
    if len(plan.items) < total:
        status = 206  # PS3.18 Table 10.4.3-1
        text = f"{total - len(plan.items)} of {total} instances cannot be sent as asked."
        headers["Warning"] = warning(asked.base, text)
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
            first=place == 0,
        )
        for place, (one, agreed) in enumerate(plan.items)
    ]


def _parts(asked: Asked, plan: Plan, heads: Sequence[bytes], boundary: str) -> Iterator[Buffer]:
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
