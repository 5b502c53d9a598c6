"""What the index keeps of an object: its columns, and the members that a search returns.

Nearly all that is said of study and series is the same in each of their objects, so it is worked out
once for all that follow one another.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from service.dicom.attributes import (
    ATTRIBUTES,
    AVAILABLE_SYNTAXES,
    PROCEDURE_ID,
    REQUESTS,
    STEP_ID,
    TIMEZONE,
    ZONE_COLUMN,
    Attribute,
    Origin,
    Returned,
)
from service.dicom.names import fold_name
from service.dicom.record import Description
from service.dicom.resource import Level
from service.dicom.values import comparable, element_values
from service.dicom.zones import read_zone

_LEVELS = (Level.STUDY, Level.SERIES, Level.INSTANCE)
_LONGEST_REMEMBERED = 16 << 10  # bytes of the members of one level


def _empty_member(row: Attribute) -> bytes:
    """The DICOM JSON member of an attribute without a value (PS3.18 F.2.5)."""
    return b'"%08X":{"vr":"%s"}' % (row.tag, row.vr.encode())


_READ = tuple(row for row in ATTRIBUTES if row.origin is Origin.OBJECT)
_COLUMNS: Mapping[Level, tuple[tuple[Attribute, str], ...]] = {
    level: tuple((row, f"{row.path[0]:08X}") for row in _READ if row.column and row.level is level)
    for level in _LEVELS
}
# What makes up each summary: tag, and the member that stands for an absent attribute.
_SUMMARIES: Mapping[Level, tuple[tuple[int, bytes | None], ...]] = {
    level: tuple(
        (row.tag, _empty_member(row) if row.returned is Returned.ALWAYS else None)
        for row in sorted(ATTRIBUTES, key=lambda row: row.path)
        # Each level tells the zone of its own dates and times (PS3.18 Tables 10.6.3-3 to -5).
        if (row.level is level or row.tag == TIMEZONE)
        and len(row.path) == 1
        and row.origin is not Origin.COMPUTED
        and row.tag != AVAILABLE_SYNTAXES
        and row.returned is not Returned.ON_REQUEST
    )
    for level in _LEVELS
}

# What is read of an object for each level.
_TAGS: Mapping[Level, tuple[int, ...]] = {
    level: tuple(sorted({row.path[0] for row, _ in _COLUMNS[level]} | {tag for tag, _ in _SUMMARIES[level]}))
    for level in _LEVELS
}

type Value = str | int | float | None
type Members = tuple[bytes | None, ...]


def describe(elements: Mapping[int, bytes]) -> Description:
    """What the index keeps of an object whose DICOM JSON members are `elements`, by tag.

    Never raises for odd values: what has no comparable form is left out of the columns and returned as
    it is. The several values of one attribute stand in its column with a reverse solidus between them.
    """
    study, series, instance = (_described(level, elements) for level in _LEVELS)
    return Description(
        study=study.columns,
        series=series.columns,
        instance=instance.columns,
        study_summary=study.summary,
        series_summary=series.summary,
        instance_summary=instance.summary,
        requests=series.requests,
    )


@dataclass(frozen=True, slots=True)
class _Level:
    """What one level keeps of an object."""

    columns: Mapping[str, Value]
    summary: bytes
    requests: tuple[tuple[str, str], ...]


def _described(level: Level, elements: Mapping[int, bytes]) -> _Level:
    members = tuple(map(elements.get, _TAGS[level]))
    if level is Level.INSTANCE or sum(len(one) for one in members if one) > _LONGEST_REMEMBERED:
        return _described_anew(level, members)
    return _described_before(level, members)


@functools.lru_cache(maxsize=64)
def _described_before(level: Level, members: Members) -> _Level:
    return _described_anew(level, members)


def _described_anew(level: Level, members: Members) -> _Level:
    present = {tag: one for tag, one in zip(_TAGS[level], members, strict=True) if one is not None}
    dataset = _parse(present)
    columns: dict[str, Value] = {}
    for row, tag in _COLUMNS[level]:
        element = dataset.get(tag)
        if element is not None:
            _enter(columns, row, element)
    zone = next(map(read_zone, element_values(dataset.get(f"{TIMEZONE:08X}"))), None)
    if zone is not None:
        columns[ZONE_COLUMN] = zone
    requests: tuple[tuple[str, str], ...] = ()
    if level is Level.SERIES and REQUESTS in present:
        items = _items(dataset.get(f"{REQUESTS:08X}"))
        requests = tuple((_first(item, STEP_ID), _first(item, PROCEDURE_ID)) for item in items)
        present[REQUESTS] = _request_member(items)
    return _Level(columns, _summary(level, present), requests)


def _parse(members: Mapping[int, bytes]) -> dict[str, object]:
    try:
        parsed = orjson.loads(b"{%s}" % b",".join(members.values()))
    except orjson.JSONDecodeError:
        parsed = {}
        for member in members.values():
            try:
                parsed.update(orjson.loads(b"{%s}" % member))
            except orjson.JSONDecodeError:
                continue  # one unreadable member costs only itself
    return parsed if isinstance(parsed, dict) else {}


def _enter(columns: dict[str, Value], row: Attribute, element: object) -> None:
    for tag in row.path[1:]:
        items = _items(element)
        element = items[0].get(f"{tag:08X}") if items else None
    values = element_values(element)
    if not values:
        return
    if row.vr == "PN":
        for column, folded in zip(row.columns, zip(*map(fold_name, values), strict=True), strict=True):
            columns[column] = "\\".join(filter(None, folded)) or None
        return
    if not row.many:
        columns[row.column] = comparable(row.vr, values[0])
        return
    found = [str(value) for value in (comparable(row.vr, value) for value in values) if value is not None]
    columns[row.column] = "\\".join(found) or None


def _items(element: object) -> list[Mapping[str, object]]:
    return [item for item in element_values(element) if isinstance(item, Mapping)]


def _first(item: Mapping[str, object], tag: int) -> str:
    values = element_values(item.get(f"{tag:08X}"))
    return str(comparable("SH", values[0]) or "") if values else ""


def _request_member(items: Sequence[Mapping[str, object]]) -> bytes:
    kept = [
        {key: item[key] for key in (f"{STEP_ID:08X}", f"{PROCEDURE_ID:08X}") if key in item} for item in items
    ]
    member = {"vr": "SQ", "Value": kept} if kept else {"vr": "SQ"}
    return b'"%08X":%s' % (REQUESTS, orjson.dumps(member))


def _summary(level: Level, elements: Mapping[int, bytes]) -> bytes:
    members = (elements.get(tag, absent) for tag, absent in _SUMMARIES[level])
    return b",".join(member for member in members if member is not None)
