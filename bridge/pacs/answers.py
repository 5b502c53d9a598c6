"""Matches of a PACS as the answer to a search (PS3.18 10.6.3): merged, ordered, in pages."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from service.archive.port import Answer
from service.dicom.attributes import (
    ATTRIBUTES,
    AVAILABILITY,
    AVAILABLE_SYNTAXES,
    CHARACTER_SET,
    RETRIEVE_URL,
    Returned,
    level_of,
)
from service.dicom.names import fold_name
from service.dicom.query import Query
from service.dicom.querying import QUERY_LEVEL, RETRIEVE_AE_TITLE, UNIQUE
from service.dicom.record import BASE_SLOT, SYNTAXES_SLOT
from service.dicom.resource import Level
from service.dicom.sorting import Sorting, total_order
from service.dicom.values import Comparable, comparable, element_values

_OURS = frozenset((QUERY_LEVEL, RETRIEVE_AE_TITLE, CHARACTER_SET, RETRIEVE_URL, AVAILABLE_SYNTAXES))
_ALWAYS = {
    level: {
        f"{row.tag:08X}": row.vr
        for row in ATTRIBUTES
        if row.level is level and row.returned is Returned.ALWAYS and row.tag != RETRIEVE_URL
    }
    for level in (Level.STUDY, Level.SERIES, Level.INSTANCE)
}
_LEVELS = (Level.STUDY, Level.SERIES, Level.INSTANCE)
# Illegal in JSON, so unambiguous; UIDs of study and series always follow.
_SYNTAXES_PLACE = b"\x02,"
_SYNTAXES_MEMBER = b'"%08X":{"vr":"UI","Value":[%s]},' % (AVAILABLE_SYNTAXES, SYNTAXES_SLOT)
_UTF8 = b'"%08X":{"vr":"CS","Value":["ISO_IR 192"]}' % CHARACTER_SET


@dataclass(frozen=True, slots=True)
class Told:
    """All matches of a query, finished and in order, and what a client should be told of them.

    `instances` are their SOP Instance UIDs, where the query is for instances.
    """

    matches: tuple[bytes, ...]
    instances: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cut: bool = False

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.matches))

    def page(self, query: Query, syntaxes: Mapping[str, str]) -> Answer:
        """The page that `query` asks for; `syntaxes` tells `record.syntax_and_pixels` of known instances."""
        chosen: list[bytes] = []
        told: list[str] = []
        size = 0
        for place in range(query.offset, min(query.offset + query.limit, len(self.matches))):
            match = self.matches[place]
            size += len(match)
            if size > query.most_bytes and chosen:
                break
            syntax = syntaxes.get(self.instances[place], "") if self.instances else ""
            chosen.append(match.replace(_SYNTAXES_PLACE, _SYNTAXES_MEMBER if syntax else b""))
            told.append(syntax)
        return Answer(
            chosen,
            remaining=max(len(self.matches) - query.offset - len(chosen), 0),
            total=None if self.cut else len(self.matches),
            syntaxes=told if self.instances else (),
            warnings=self.warnings,
        )


def told(query: Query, matches: Iterable[Mapping[str, Any]], warnings: tuple[str, ...], *, cut: bool) -> Told:
    """The matches of `query`, which may be of several levels merged, as they are answered."""
    ordered = _ordered(list(matches), total_order(query.level, query.order))
    unique = f"{UNIQUE[Level.INSTANCE]:08X}"
    instances: tuple[str, ...] = ()
    if query.level is Level.INSTANCE:
        instances = tuple(_text(match, unique) for match in ordered)
    return Told(tuple(_written(query, match) for match in ordered), instances, warnings, cut)


def kept_apart(query: Query) -> Query:
    """What tells the matches of one query from those of another, whichever page is asked for."""
    return dataclasses.replace(query, limit=0, offset=0, most_bytes=0, reader="")


def _written(query: Query, match: Mapping[str, Any]) -> bytes:
    """One match with a slot for the DICOMweb root."""
    levels = _shown_levels(query)
    wanted = frozenset(query.fields)
    members: dict[str, bytes] = {}
    for level in levels:
        for key, vr in _ALWAYS[level].items():
            members[key] = _member(key, {"vr": vr})
    uids = {f"{UNIQUE[level]:08X}" for level in _LEVELS if level <= query.level}
    shown = {f"{row.tag:08X}" for row in ATTRIBUTES if row.level in levels and len(row.path) == 1}
    for key, element in match.items():
        tag = int(key, 16)
        if tag in _OURS or tag >> 16 < 0x0008 or tag & 0xFFFF == 0:
            continue
        asked = tag in wanted or (query.all_fields and level_of(tag) <= query.level)
        if key in uids or asked or (key in shown and _has_value(element)):
            members[key] = _member(key, element)
    available = f"{AVAILABILITY:08X}"
    if not _text(match, available):
        members[available] = _member(available, {"vr": "CS", "Value": ["ONLINE"]})
    members[f"{RETRIEVE_URL:08X}"] = _place(query.level, match)
    if query.level is Level.INSTANCE:
        members[f"{AVAILABLE_SYNTAXES:08X}"] = _SYNTAXES_PLACE[:1]
    joined = b",".join(members[key] for key in sorted(members))
    if not joined.isascii():
        members[f"{CHARACTER_SET:08X}"] = _UTF8
        joined = b",".join(members[key] for key in sorted(members))
    return b"{%s}" % joined


def _shown_levels(query: Query) -> Sequence[Level]:
    """The levels whose attributes every answer has: those above only where the path does not fix them."""
    if query.level is not Level.INSTANCE or (query.study is None and query.series is None):
        return [level for level in _LEVELS if level <= query.level]
    return (Level.SERIES, Level.INSTANCE) if query.series is None else (Level.INSTANCE,)


def _member(key: str, element: object) -> bytes:
    return b'"%s":%s' % (key.encode("ascii"), orjson.dumps(element))


def _place(level: Level, match: Mapping[str, Any]) -> bytes:
    names = zip(("studies", "series", "instances"), _LEVELS, strict=True)
    steps = (f"/{name}/{_text(match, f'{UNIQUE[at]:08X}')}" for name, at in names if at <= level)
    path = "".join(steps).encode("ascii")
    return b'"%08X":{"vr":"UR","Value":["%s%s"]}' % (RETRIEVE_URL, BASE_SLOT, path)


def _ordered(matches: list[Mapping[str, Any]], order: Sequence[Sorting]) -> list[Mapping[str, Any]]:
    """By the last key first, since sorting keeps the order of equals; without a value last either way."""
    for sorting in reversed(order):
        row = sorting.attribute
        with_value: list[tuple[Comparable, Mapping[str, Any]]] = []
        without: list[Mapping[str, Any]] = []
        for match in matches:
            value = _comparable(row.vr, match.get(f"{row.tag:08X}"))
            if value is None:
                without.append(match)
            else:
                with_value.append((value, match))
        with_value.sort(key=_first, reverse=sorting.descending)
        matches = [match for _, match in with_value] + without
    return matches


def _first(pair: tuple[Comparable, Mapping[str, Any]]) -> Any:
    return pair[0]


def _has_value(element: object) -> bool:
    return isinstance(element, Mapping) and ("InlineBinary" in element or bool(element_values(element)))


def _comparable(vr: str, element: object) -> Comparable | None:
    values = element_values(element)
    if not values:
        return None
    return fold_name(values[0])[0] or None if vr == "PN" else comparable(vr, values[0])


def _text(match: Mapping[str, Any], key: str) -> str:
    values = element_values(match.get(key))
    return str(values[0]).strip() if values else ""
