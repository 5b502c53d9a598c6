"""What a peer holds of a study, series or instance, asked by C-FIND before it is retrieved (PS3.4 C.6.2)."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from bridge import scu, statuses
from bridge.settings import Limits
from bridge.upper.association import Association
from bridge.upper.negotiation import Context
from service.dicom.encoding import Form
from service.dicom.errors import BadRequest, TooMany, UpstreamFailed
from service.dicom.identifier import Identifier, read_identifier
from service.dicom.querying import NAMES
from service.dicom.resource import InstanceKey, Level, Resource, is_uid
from service.dicom.syntaxes import BY_UID

MOST = 500_000
"""Instances of one retrieval."""

_SOP_CLASS, _SOP_INSTANCE, _LEVEL = 0x00080016, 0x00080018, 0x00080052
_STUDY, _SERIES = 0x0020000D, 0x0020000E

type Expected = dict[InstanceKey, str]
"""The SOP class of each instance, empty where the peer does not tell it."""


def retrieval(resource: Resource, context: Context) -> bytes:
    """The identifier of a C-GET or C-MOVE of `resource` (PS3.4 C.4.2.1.4)."""
    uids = {_STUDY: resource.study, _SERIES: resource.series, _SOP_INSTANCE: resource.instance}
    return _identifier(context, resource.level, {tag: uid for tag, uid in uids.items() if uid is not None})


async def held(association: Association, context: Context, resource: Resource, limits: Limits) -> Expected:
    """The instances that the peer has of `resource`: those of each series in turn (hierarchical search).

    Answers that are of something else than was asked are passed over. Raises `UpstreamFailed` if the peer
    does not tell all, `TooMany` above `MOST`, `AssociationLost`.
    """
    series = [resource.series] if resource.series is not None else []
    if not series:
        keys = {_STUDY: resource.study, _SERIES: ""}
        found: dict[str, None] = {}
        async for answer in _answers(association, context, Level.SERIES, keys, limits):
            found[_uid(answer, _SERIES)] = None
            if len(found) > MOST:
                raise _too_many()
        series = list(found)
    expected: Expected = {}
    for uid in series:
        keys = {_STUDY: resource.study, _SERIES: uid, _SOP_INSTANCE: resource.instance or "", _SOP_CLASS: ""}
        async for answer in _answers(association, context, Level.INSTANCE, keys, limits):
            instance = _uid(answer, _SOP_INSTANCE)
            if resource.instance in (None, instance):
                sop_class = answer.text(_SOP_CLASS)
                key = InstanceKey(resource.study, uid, instance)
                expected[key] = sop_class if is_uid(sop_class) else ""
            if len(expected) > MOST:
                raise _too_many()
    return expected


def _too_many() -> TooMany:
    return TooMany(f"A retrieval may have {MOST} instances at most.")


async def _answers(
    association: Association, context: Context, level: Level, keys: dict[int, str], limits: Limits
) -> AsyncIterator[Identifier]:
    asked = _identifier(context, level, keys)
    async with aclosing(scu.find(association, context.context_id, asked, limits)) as found:
        async for one in found:
            if one.pending:
                answer = _read(one.identifier, context)
                if all(answer.text(tag) in ("", uid) for tag, uid in keys.items() if uid):
                    yield answer
            elif one.status != statuses.SUCCESS:
                raise UpstreamFailed(f"The peer answered the query for its instances with {one.status:04X}H.")


def failed_instances(identifier: bytes, context: Context) -> list[str]:
    """The Failed SOP Instance UID List of a final response (PS3.4 C.4.2.1.4.2); nothing if it is no such."""
    try:
        told = _read(identifier, context).text(0x00080058)
    except UpstreamFailed:
        return []
    return [uid for one in told.split("\\") if is_uid(uid := one.strip())]


def _read(content: bytes, context: Context) -> Identifier:
    try:
        return read_identifier(content, BY_UID[context.syntax])
    except BadRequest as cause:
        raise UpstreamFailed("The peer's answer to a query cannot be read.") from cause


def _uid(answer: Identifier, tag: int) -> str:
    value = answer.text(tag)
    if not is_uid(value):
        raise UpstreamFailed("The peer has a match that does not say which instance or series it is.")
    return value


def _identifier(context: Context, level: Level, keys: dict[int, str]) -> bytes:
    form = Form(BY_UID[context.syntax])
    elements = {tag: form.element(tag, "UI", uid.encode("ascii")) for tag, uid in keys.items()}
    elements[_LEVEL] = form.element(_LEVEL, "CS", NAMES[level].encode("ascii"))
    return b"".join(elements[tag] for tag in sorted(elements))
