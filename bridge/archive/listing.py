"""The instances of what a retrieval asks for, found by searches (QIDO-RS, PS3.18 10.6)."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from bridge.archive.remote import RemoteArchive
from bridge.archive.searching import Match, pages
from bridge.sending.routes import Listed
from service.dicom.criteria import Manner, read_key
from service.dicom.errors import TooMany, UpstreamFailed
from service.dicom.query import Query
from service.dicom.resource import InstanceKey, Level, is_uid
from service.dicom.retrieval import Wanted
from service.dicom.targets import targets

MOST = 500_000
"""Instances of one retrieval: they are held in memory, and counted in 16 bits besides."""

_SOP_CLASS, _SOP_INSTANCE, _SYNTAXES = 0x00080016, 0x00080018, 0x00083002
_STUDY, _SERIES = 0x0020000D, 0x0020000E
_FIELDS = (_SOP_CLASS, _SOP_INSTANCE, _SYNTAXES, _STUDY, _SERIES)
_VRS: Mapping[int, str] = {0x00080050: "SH", 0x00100020: "LO"}


async def listed(archive: RemoteArchive, wanted: Wanted) -> list[Listed]:
    """Every instance once, in the archive's order.

    Raises what searches raise, and `TooMany` above `MOST`.
    """
    found: dict[InstanceKey, Listed] = {}
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    async for query in _queries(archive, wanted):
        async with aclosing(pages(archive, targets(query))) as matches:
            async for page in matches:
                for match in page:
                    one = _listed(match, query, known)
                    if one.key.series in (wanted.series or (one.key.series,)):
                        found.setdefault(one.key, one)
                if len(found) > MOST:
                    raise TooMany(f"A retrieval may have {MOST} instances at most.")
    return list(found.values())


async def _queries(archive: RemoteArchive, wanted: Wanted) -> AsyncIterator[Query]:
    """The searches for the instances of `wanted`."""
    study = wanted.studies[0] if wanted.studies else None
    if wanted.level in (Level.PATIENT, Level.STUDY):
        for uid in wanted.studies or await _studies(archive, wanted):
            yield Query(Level.INSTANCE, study=uid, fields=_FIELDS)
    elif wanted.level is Level.SERIES:
        if study is None:
            yield _instances(None, None, _SERIES, wanted.series)
            return
        for uid in wanted.series:
            yield Query(Level.INSTANCE, study=study, series=uid, fields=_FIELDS)
    else:
        series = wanted.series[0] if wanted.series and study is not None else None
        yield _instances(study, series, _SOP_INSTANCE, wanted.instances)


def _instances(study: str | None, series: str | None, tag: int, uids: tuple[str, ...]) -> Query:
    key = read_key((tag,), "UI", f"{tag:08X}", "\\".join(uids), Manner())
    filters = () if key is None else (key,)
    return Query(Level.INSTANCE, study=study, series=series, filters=filters, fields=_FIELDS)


async def _studies(archive: RemoteArchive, wanted: Wanted) -> list[str]:
    """The studies of a patient, or with an accession number."""
    tag, text = (0x00100020, wanted.patient) if wanted.patient else (0x00080050, wanted.accession)
    key = read_key((tag,), _VRS[tag], f"{tag:08X}", text, Manner())
    query = Query(Level.STUDY, filters=() if key is None else (key,), fields=(_STUDY, tag))
    found: dict[str, None] = {}
    async with aclosing(pages(archive, targets(query))) as matches:
        async for page in matches:
            for match in page:
                if _text(match, tag) == text:  # whatever the server made of the key
                    found.update(dict.fromkeys(uid for uid in _uids(match, _STUDY)))
    return list(found)


def _listed(match: Match, query: Query, known: dict[tuple[str, ...], tuple[str, ...]]) -> Listed:
    """One match; `UpstreamFailed` if it does not say which instance it is, since then not all would be told.

    `known` holds lists that come often.
    """
    study = query.study or next(_uids(match, _STUDY), "")
    series = query.series or next(_uids(match, _SERIES), "")
    instance = next(_uids(match, _SOP_INSTANCE), "")
    if not (study and series and instance):
        raise UpstreamFailed("The archive has a match that does not say which instance it is.")
    syntaxes = tuple(_uids(match, _SYNTAXES))
    sop_class = next(_uids(match, _SOP_CLASS), "")
    return Listed(InstanceKey(study, series, instance), sop_class, known.setdefault(syntaxes, syntaxes))


def _uids(match: Match, tag: int) -> Iterator[str]:
    return (value for value in _values(match, tag) if isinstance(value, str) and is_uid(value))


def _text(match: Match, tag: int) -> str:
    value = next(iter(_values(match, tag)), "")
    return value.strip() if isinstance(value, str) else ""


def _values(match: Match, tag: int) -> list[Any]:
    element = match.get(f"{tag:08X}")
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []
