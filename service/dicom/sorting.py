"""The order of the matches of a search: what `orderby` asks for, then what makes it total."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.dicom.attributes import AVAILABILITY, BY_PATH, CLASSES, MODALITIES, Attribute, Origin, find_tag
from service.dicom.errors import BadRequest
from service.dicom.resource import Level

_MOST_TERMS = 10
_SHOWN = re.compile(r"[A-Za-z0-9.]{1,64}", re.ASCII)
# Of these a match has many values, or all matches the same one.
_UNORDERED = frozenset((MODALITIES, CLASSES, AVAILABILITY))


@dataclass(frozen=True, slots=True)
class Sorting:
    """One attribute that matches are ordered by: numbers by value, names by their folded first group.

    Of an attribute with several values the first counts. Matches without a value come last, in either
    direction.
    """

    attribute: Attribute
    descending: bool = False

    @property
    def column(self) -> str:
        return self.attribute.columns[0]

    @property
    def nullable(self) -> bool:
        """Whether a match may have no value."""
        return self.attribute.origin is Origin.OBJECT


def _by(tag: int, *, descending: bool = False) -> Sorting:
    return Sorting(BY_PATH[(tag,)], descending)


# The newest study comes first, its series and instances by their numbers; UIDs decide between equals.
_STUDIES = (_by(0x00080020, descending=True), _by(0x00080030, descending=True), _by(0x0020000D))
_SERIES = (*_STUDIES, _by(0x00200011), _by(0x0020000E))
DEFAULT_ORDER: Mapping[Level, tuple[Sorting, ...]] = {
    Level.STUDY: _STUDIES,
    Level.SERIES: _SERIES,
    Level.INSTANCE: (*_SERIES, _by(0x00200013), _by(0x00080018)),
}


def total_order(level: Level, asked: Sequence[Sorting]) -> tuple[Sorting, ...]:
    """The whole order at `level`: what was asked for first; no two matches are equal in it."""
    named = {sorting.attribute.path for sorting in asked}
    rest = (sorting for sorting in DEFAULT_ORDER[level] if sorting.attribute.path not in named)
    return (*asked, *rest)


def read_order(level: Level, texts: Sequence[str]) -> tuple[Sorting, ...]:
    """What the values of `orderby` ask for: attributes parted by commas, a hyphen before the descending.

    An attribute that is named twice counts where it is named first. `BadRequest` names what matches at
    `level` cannot be ordered by.
    """
    asked: dict[tuple[int, ...], Sorting] = {}
    for name in (name.strip() for text in texts for name in text.split(",")):
        if not name:
            continue
        sorting = _read(level, name.lstrip("+-"), descending=name.startswith("-"))
        asked.setdefault(sorting.attribute.path, sorting)
    if len(asked) > _MOST_TERMS:
        raise BadRequest(f"orderby may name {_MOST_TERMS} attributes at most.")
    return tuple(asked.values())


def _read(level: Level, name: str, *, descending: bool) -> Sorting:
    shown = name if _SHOWN.fullmatch(name) else "something that is no attribute"
    found = find_tag(name)
    row = None if found is None else BY_PATH.get((found[0],))
    if row is None or not row.column or row.tag in _UNORDERED:
        raise BadRequest(f"orderby names {shown}, which matches cannot be ordered by.")
    if row.level > level:
        place = "/series" if row.level is Level.SERIES else "/instances"
        raise BadRequest(f"orderby names {shown}, which is of a lower level; search {place} instead.")
    return Sorting(row, descending)
