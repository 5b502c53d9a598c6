"""Retrieve of studies, series and instances as DICOM objects (PS3.18 10.4)."""

from collections.abc import Buffer, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from service.archive.port import Lacks, Lands
from service.archive.reading import blocks_of, object_blocks, object_size
from service.archive.remaking import remade_blocks
from service.dicom.errors import NotAcceptable, NotFound, Superseded
from service.dicom.frames import Extent
from service.dicom.media import MediaRange, Representation, negotiate
from service.dicom.multipart import boundary_of, closing, part_head
from service.dicom.record import Held
from service.dicom.resource import Level, Resource
from service.dicom.syntaxes import EXPLICIT_LE, OCTETS, available
from service.web.bulkdata import Asked, asked_of
from service.web.collected import bulkdata_body, gaps
from service.web.conditional import entity_tag
from service.web.noted import Notes, notes_of
from service.web.offers import MADE, is_remade, object_offers, stored_object_offers
from service.web.request import resource_of, warning
from service.web.sending import Body, Piece, send
from service.web.zipped import is_wanted, zip_body


async def retrieve(request: Request) -> Response:
    """`GET` of a study, series or instance: its instances as DICOM files, in the syntax agreed on."""
    resource = resource_of(request)
    body = partial(_body, asked_of(request), resource, notes_of(request.scope))
    return await send(request, body, quick=resource.level is Level.INSTANCE)


def _body(asked: Asked, resource: Resource, notes: Notes | None) -> Body:
    if resource.level is not Level.INSTANCE and is_wanted(asked.ranges):
        return zip_body(asked, resource)
    held = _held(asked, resource)
    single = resource.level is Level.INSTANCE
    quality = max((one.quality for one in asked.ranges if _names_bulk_data(one)), default=0.0)
    if quality and not _agreeable(_at_least(asked.ranges, quality), held, single=single):
        return _instead(asked, resource, held)
    gone = gaps(asked, resource, held)
    plan = agree(asked.ranges, [one for one in held if one.row not in gone] or held, single=single)
    if notes is not None:
        notes.instances(one for one, _ in plan.items)
    if plan.form.multipart:
        lacking = asked.archive.lacking(resource) if isinstance(asked.archive, Lacks) else 0
        return _many(asked, plan, len(held) + lacking)
    return _single(asked, *plan.items[0])


def _held(asked: Asked, resource: Resource) -> Sequence[Held]:
    """The instances of `resource`; where they are being fetched, as soon as they can leave as asked."""
    if isinstance(asked.archive, Lands) and resource.level is not Level.INSTANCE:
        landed = asked.archive.landed(resource)
        if landed and all(_leaves_as_stored(asked.ranges, one) for one in landed):
            return landed
    return asked.archive.instances(resource)


def _leaves_as_stored(ranges: Sequence[MediaRange], held: Held) -> bool:
    """Whether that is what is wanted most of an instance, whatever its pixels are."""
    most = max((one.quality for one in ranges), default=0.0)
    wanted = _at_least(ranges, most)
    named = {one.syntaxes[:1] for one in wanted if one.quality}
    stored = available(held.syntax)
    if held.syntax not in stored or (() in named and held.syntax != EXPLICIT_LE):
        return False  # it is written anew, or may be decoded where no name is given
    agreed = negotiate(wanted, object_offers(held, single=False))
    return bool(agreed) and agreed[0].syntax in stored and named <= {(), ("*",), *((uid,) for uid in stored)}


def _names_bulk_data(media_range: MediaRange) -> bool:
    """Whether a multipart of octets or of pictures is asked for: bulk data (PS3.18 Table 10.4.4-1)."""
    return bool(media_range.multipart) and media_range.type.startswith((OCTETS, "image/", "video/"))


def _at_least(ranges: Sequence[MediaRange], quality: float) -> list[MediaRange]:
    """`ranges`, of which those that are wanted less than `quality` accept nothing."""
    return [one if one.quality >= quality else replace(one, quality=0.0) for one in ranges]


def _agreeable(ranges: Sequence[MediaRange], held: Sequence[Held], *, single: bool) -> bool:
    return any(negotiate(ranges, some) for some in {object_offers(one, single=single) for one in held})


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
    offers = [object_offers(one, single=single) for one in held]
    agreed = {some: negotiate(ranges, some) for some in set(offers)}
    items = [(one, agreed[some][0]) for one, some in zip(held, offers, strict=True) if agreed[some]]
    if not items:
        listed = sorted({str(offer) for some in agreed for offer in some})
        raise NotAcceptable("No acceptable media type or transfer syntax is available.", tuple(listed))
    return Plan(items)


def object_body(asked: Asked, held: Held) -> Body:
    """One instance as a DICOM object, alone, in the transfer syntax agreed on."""
    return _single(asked, *agree(asked.ranges, [held], single=True).items[0])


def _single(asked: Asked, held: Held, agreed: Representation) -> Body:
    """One instance, any run of which can be read where it leaves as stored."""
    if is_remade(held, agreed.syntax):
        blocks = partial(_blocks, asked, held, agreed.syntax)
        tag = entity_tag(held.digest, held.object_key, agreed.content_type, MADE)
        instead = partial(_single_instead, asked, held)
        return Body(agreed.content_type, blocks, None, tag, making=asked.making, instead=instead)
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


def _single_instead(asked: Asked, held: Held, error: NotAcceptable) -> Body:
    """One instance as it is stored, if it may leave so where it cannot be made into what was agreed on."""
    offers = stored_object_offers(held, single=True)
    stored = negotiate(asked.ranges, offers)
    if not stored:
        raise NotAcceptable(str(error), tuple(str(one) for one in offers if not one.multipart))
    return (
        _many(asked, Plan([(held, stored[0])]), 1) if stored[0].multipart else _single(asked, held, stored[0])
    )


def _blocks(asked: Asked, held: Held, syntax: str) -> Iterator[Buffer]:
    """One instance as a DICOM file in `syntax`."""
    if not is_remade(held, syntax):
        return object_blocks(asked.archive, held, syntax, asked.block_size)
    making = asked.making
    return remade_blocks(asked.archive, held, syntax, making.each, making.steps, asked.block_size)


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
    made = any(is_remade(one, agreed.syntax) for one, agreed in plan.items)
    tag = entity_tag(content, asked.base, str(plan.form), *((MADE,) if made else ()))
    boundary = boundary_of(tag)
    heads = _part_heads(plan, asked.base, boundary)
    status, headers = 200, {}
    if len(plan.items) < total:
        status = 206  # PS3.18 Table 10.4.3-1
        text = f"{total - len(plan.items)} of {total} instances cannot be sent as asked."
        headers["Warning"] = warning(asked.base, text)
    size = _total_size(plan, heads, boundary)
    going = [0]
    return Body(
        plan.form.multipart_type(boundary),
        partial(_parts, asked, plan, heads, boundary, going),
        size,
        tag,
        bound=size,
        status=status,
        headers=headers,
        making=asked.making if made else None,
        instead=partial(_many_instead, asked, plan, total, going) if made else None,
    )


def _many_instead(asked: Asked, plan: Plan, total: int, going: list[int], error: NotAcceptable) -> Body:
    """The plan without the instance that could not be made, or with that one as it is stored."""
    items = list(plan.items)
    held, _ = items[going[0]]
    stored = negotiate(asked.ranges, stored_object_offers(held, single=not plan.form.multipart))
    items[going[0] : going[0] + 1] = [(held, one) for one in stored[:1] if one.multipart]
    if not items:
        raise NotAcceptable(str(error), tuple(map(str, stored_object_offers(held, single=True))))
    return _many(asked, Plan(items), total)


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


def _parts(
    asked: Asked, plan: Plan, heads: Sequence[bytes], boundary: str, going: list[int]
) -> Iterator[Buffer]:
    """The multipart; `going` tells at which of its instances it is."""
    for place, ((one, agreed), head) in enumerate(zip(plan.items, heads, strict=True)):
        going[0] = place
        yield head
        yield from _blocks(asked, one, agreed.syntax)
    yield closing(boundary)


def _total_size(plan: Plan, heads: Sequence[bytes], boundary: str) -> int | None:
    """The body's size, if no object has to be written anew on the way out."""
    sizes = [object_size(one, agreed.syntax) for one, agreed in plan.items]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return None
    return sum(known) + sum(map(len, heads)) + len(closing(boundary))
