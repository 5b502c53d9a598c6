"""A search, whoever asks it: level, scope, matching keys, what to return, and which page of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.dicom.attributes import (
    BY_PATH,
    CHARACTER_SET,
    TIMEZONE,
    attribute_name,
    find_tag,
)
from service.dicom.confinement import Confinement
from service.dicom.criteria import MOST_VALUES, Filter, Manner, read_key
from service.dicom.errors import BadRequest
from service.dicom.privates import PrivateBlock, creator_of, is_creator, is_private
from service.dicom.resource import Level, require_uid
from service.dicom.sorting import Sorting, read_order
from service.dicom.zones import read_zone

_INCLUDE = ("includefield", "includeField")  # the second stands in several vendors' documentation
_FLAGS = ("fuzzymatching", "emptyvaluematching", "multiplevaluematching")
_SINGLE = frozenset((*_FLAGS, "limit", "offset"))
_MOST_KEYS = 100
_BEYOND = 10**15  # more matches than there are
_QUERY_LEVEL = 0x00080052
_ORDER = "orderby"
_NOT_KEYS = frozenset((*_SINGLE, *_INCLUDE, _ORDER, "accept", "charset"))


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for, and what to say of each match.

    `study` and `series` are the scope that the path fixes. `fields` are the attributes to be returned
    beside those that always are: the ones used as keys and the ones asked for; `all_fields` asks for
    every attribute of the level and those above. A page has `limit` matches at most and ends before it
    exceeds `most_bytes`, unless its first match does. `order` comes before the order that the level has
    of itself. With `combined_datetime`, ranges of a date and of its time are one interval. `zone` is the
    time zone, in minutes east of UTC, that dates and times among the keys are in. `private` says whose
    the private attributes among keys and fields are. `reader` tells those apart who read pages: one's
    page does not follow another's. `confinement` is what they may know of: the rest is not there, neither
    found nor counted.
    """

    level: Level
    study: str | None = None
    series: str | None = None
    filters: tuple[Filter, ...] = ()
    fields: tuple[int, ...] = ()
    all_fields: bool = False
    limit: int = 5000
    offset: int = 0
    fuzzy: bool = False
    combined_datetime: bool = False
    order: tuple[Sorting, ...] = ()
    zone: int | None = None
    private: tuple[PrivateBlock, ...] = ()
    most_bytes: int = 16 << 20
    reader: str = ""
    confinement: Confinement | None = None

    @classmethod
    def from_url(
        cls,
        level: Level,
        params: Sequence[tuple[str, str]],
        *,
        study: str | None = None,
        series: str | None = None,
        max_results: int = 5000,
        most_bytes: int = 16 << 20,
        reader: str = "",
    ) -> "Query":
        """The search that the decoded query parameters of a URL ask for (PS3.18 8.3.4, 10.6.1).

        Parameters that name no attribute are ignored; `BadRequest` names any other that is malformed.
        """
        options = _options(params)
        manner = Manner(*(_flag(options, name) for name in _FLAGS))
        included, all_fields = _included(params)
        keys, private = _without_creators(_keys(params), included)
        filters: list[Filter] = []
        zone: int | None = None
        for path, vr, name, text in keys:
            if path == (TIMEZONE,) and (told := _zone(text, manner)) is not None:
                zone = told
            elif (key := read_key(path, vr, name, text, manner)) is not None:
                _require_level(level, path, name)
                filters.append(key)
        if sum(len(key.values) for key in filters) > MOST_VALUES:
            raise BadRequest(f"A search may have {MOST_VALUES} values at most.")
        return cls(
            level=level,
            study=None if study is None else require_uid(study, "Study Instance UID"),
            series=None if series is None else require_uid(series, "Series Instance UID"),
            filters=tuple(filters),
            fields=tuple(dict.fromkeys([*(path[0] for path, *_ in keys), *included])),
            all_fields=all_fields,
            limit=min(_count(options, "limit", max_results), max_results),
            offset=_count(options, "offset", 0),
            fuzzy=manner.fuzzy,
            combined_datetime=True,  # PS3.18 8.3.4.1.1 demands it
            order=read_order(level, [text for name, text in params if name == _ORDER]),
            zone=zone,
            private=private,
            most_bytes=most_bytes,
            reader=reader,
        )


type _Key = tuple[tuple[int, ...], str, str, str]


def _options(params: Sequence[tuple[str, str]]) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, text in params:
        if name in _SINGLE and options.setdefault(name, text) != text:
            raise BadRequest(f"{name} is given twice.")
    return options


def _flag(options: dict[str, str], name: str) -> bool:
    text = options.get(name, "").strip().lower()
    if text not in ("", "true", "false"):
        raise BadRequest(f"{name} must be true or false.")
    return text == "true"


def _count(options: dict[str, str], name: str, default: int) -> int:
    text = options.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise BadRequest(f"{name} must be a whole number, 0 or more.")
    return min(int(text), _BEYOND)  # clients say "all" by the largest number that they have


def _included(params: Sequence[tuple[str, str]]) -> tuple[list[int], bool]:
    """The tags asked for; of a path into a sequence, the sequence. Unknown names are ignored."""
    tags: list[int] = []
    for name, text in params:
        if name not in _INCLUDE:
            continue
        for field in (field.strip() for field in text.split(",")):
            if field.lower() == "all":
                return [], True
            found = find_tag(field.split(".")[0]) if field else None
            if found is not None:
                tags.append(found[0])
    return tags, False


def _keys(params: Sequence[tuple[str, str]]) -> list[_Key]:
    keys: dict[tuple[int, ...], _Key] = {}
    for name, text in params:
        if name in _NOT_KEYS:
            continue
        found = _find_path(name)
        if found is None or found[0] in ((CHARACTER_SET,), (_QUERY_LEVEL,)):
            continue  # PS3.18 8.3.1: what is no attribute is ignored; these two are about the request
        path, vr = found
        if path in keys:
            if vr != "UI":
                raise BadRequest(f"{attribute_name(path)} is given twice.")
            text = f"{keys[path][3]},{text}".strip(",")  # some clients repeat the key for each UID
        elif len(keys) == _MOST_KEYS:
            raise BadRequest(f"A search may have {_MOST_KEYS} keys at most.")
        keys[path] = (path, vr, attribute_name(path), text)
    return list(keys.values())


def _without_creators(
    keys: Sequence[_Key], included: Sequence[int]
) -> tuple[list[_Key], tuple[PrivateBlock, ...]]:
    """The keys but those that only say whose the private attributes of the request are, and those."""
    named = [tag for tag in (*(path[0] for path, *_ in keys), *included) if is_private(tag)]
    used = {creator_of(tag) for tag in named}
    creators = [key for key in keys if is_creator(key[0][0]) and key[0][0] in used and key[3].strip()]
    blocks = (PrivateBlock(path[0] >> 16, path[0] & 0xFF, text.strip()) for path, _, _, text in creators)
    return [key for key in keys if key not in creators], tuple(blocks)


def _zone(text: str, manner: Manner) -> int | None:
    """The time zone that a key tells; `None` where it asks for all objects or those without one."""
    text = text.strip()
    if text in ("", "*") or (text == '""' and manner.empty_values):
        return None
    # A plus sign that is not percent-encoded arrives as a space.
    zone = read_zone(text if text[0] in "+-" else f"+{text}")
    if zone is None:
        raise BadRequest("TimezoneOffsetFromUTC must be an offset such as +0100 or -0530.")
    return zone


def _find_path(name: str) -> tuple[tuple[int, ...], str] | None:
    steps = [find_tag(step) for step in name.split(".")] if len(name) <= 512 else [None]
    path: list[int] = []
    vr = ""
    for step in steps:
        if step is None:
            return None
        if vr not in ("SQ", "", "UN"):
            raise BadRequest(f"{attribute_name(path)} is no sequence: no path leads through it.")
        tag, vr = step
        path.append(tag)
    return tuple(path), vr


def _require_level(level: Level, path: tuple[int, ...], name: str) -> None:
    # PS3.18 10.6.1.2.1: a key belongs to the level searched or to one above it.
    row = BY_PATH.get(path) or BY_PATH.get(path[:1])
    if row is not None and row.level > level:
        place = "/series" if row.level is Level.SERIES else "/instances"
        raise BadRequest(f"{name} is not a key at this level; search {place} instead.")
