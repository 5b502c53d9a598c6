"""A query as requests to a DICOMweb server, and what is left to be filtered (PS3.18 8.3.4, 10.6)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from service.dicom.attributes import (
    BY_PATH,
    REQUEST_PATHS,
    TIMEZONE,
    ZONED,
    Attribute,
    Returned,
)
from service.dicom.criteria import Filter, Match
from service.dicom.matching import combine, in_zone, matches
from service.dicom.privates import as_asked, creator_of, is_private
from service.dicom.query import Query
from service.dicom.resource import Level
from service.dicom.values import WILDCARDS
from service.dicom.zones import days_around

_UIDS_PER_REQUEST = 64  # about 4 kB; servers and proxies take 8 kB of a request line
_MOST_LISTED = 400  # attributes named in a URL, about 4 kB
_LONGEST_VALUE = 2048  # characters of a key that go into a URL
# Keys of one value by which matches may be asked for in several requests.
_SPLIT = frozenset(((0x0020000D,), (0x0020000E,), (0x00080018,), (0x00080016,)))
_COUNTS = frozenset(((0x00201206,), (0x00201208,), (0x00201209,), (0x00080056,)))
# What every server matches (PS3.18 Tables 10.6.1-5); it may ignore other keys.
_REQUIRED = frozenset(
    ((0x00080020,), (0x00080030,), (0x00080050,), (0x00080061,), (0x00080090,), (0x00100010,), (0x00100020,))
    + ((0x0020000D,), (0x00200010,), (0x00080060,), (0x0020000E,), (0x00200011,), (0x00400244,))
    + ((0x00400245,), (0x00080016,), (0x00080018,), (0x00200013,))
) | frozenset(REQUEST_PATHS)
# Wildcards and commas need no encoding (RFC 3986 3.4), and Orthanc's plugin 1.7 decodes none.
_PLAIN = "*?,"
_ENCODED = re.compile(rf"[^\w.~{_PLAIN}-]+", re.ASCII)  # what `quote` encodes
_LISTED = frozenset(("UI", "CS"))  # several values joined by commas, as viewers ask for modalities


@dataclass(frozen=True, slots=True)
class Targets:
    """How `query` is asked of a DICOMweb server.

    `requests` are paths with their query below the DICOMweb root, without `limit` and `offset`; each of
    them finds other matches. They may find more than is asked: `keeps` tells, of a match, whether it is.
    """

    query: Query
    requests: tuple[str, ...]
    residual: tuple[Filter, ...] = ()

    def keeps(self, match: Mapping[str, object]) -> bool:
        """Whether `match`, a parsed DICOM JSON object, satisfies what the server was not asked."""
        if not self.residual:
            return True
        query = self.query
        dataset = as_asked(in_zone(match, query.zone), query.private)
        return matches(self.residual, dataset, combined_datetime=query.combined_datetime)


def targets(query: Query, *, decodes: bool = True) -> Targets:
    """The requests that find what `query` asks for, and the filters that they leave.

    A search for patients asks for their studies. Dates and times are asked so that it does not count
    whether the server combines them, or knows of time zones. If the server does not decode what is
    percent-encoded, wildcards stand for it, and what cannot have wildcards is only filtered.
    """
    sent: list[tuple[str, str]] = []
    residual: list[Filter] = []
    split: tuple[str, Sequence[str]] | None = None
    flags: set[str] = set()
    times = {hours.path for _, hours in combine(query.filters)[1]}
    by_sequence = _sequences(query.filters)
    for key in query.filters:
        row = BY_PATH.get(key.path)
        name = ".".join(f"{tag:08X}" for tag in key.path)
        if key.path in times or not _is_sent(key, row, by_sequence):
            residual.append(key)
        elif query.zone is not None and _is_zoned(key):
            residual.append(key)
            if key.vr == "DA":
                sent.append((name, _days_around(key)))
        elif key.path in _SPLIT and len(key.values) > _UIDS_PER_REQUEST:
            if split is None:
                split = (name, key.values)
            else:
                residual.append(key)
        else:
            value, exact = _value(key)
            if not decodes and _ENCODED.search(value):
                value, exact = _without_encoded(key), False
            elif key.match is Match.EMPTY:
                flags.add("emptyvaluematching")
            if value:
                sent.append((name, value))
            if not exact or key.path not in _REQUIRED or (len(key.path) > 1 and not decodes):
                residual.append(key)
    residual += _interval_days(query, residual)
    if query.fuzzy and any(key.match is Match.WORDS for key in query.filters):
        flags.add("fuzzymatching")
    sent += [(flag, "true") for flag in sorted(flags)]
    sent += _included(query)
    return Targets(query, tuple(_requests(query, sent, split)), tuple(residual))


def _sequences(filters: Sequence[Filter]) -> Mapping[int, bool]:
    """Whether a server can be asked all keys of a sequence; they are of one item, so all or none."""
    told: dict[int, bool] = {}
    for key in filters:
        if len(key.path) > 1:
            told[key.path[0]] = told.get(key.path[0], True) and key.path in REQUEST_PATHS
    return told


def _is_sent(key: Filter, row: Attribute | None, by_sequence: Mapping[int, bool]) -> bool:
    if len(key.path) > 1:
        return by_sequence[key.path[0]] and len(key.values) == 1 and key.match is Match.ANY
    if row is None or key.path in _COUNTS or key.vr == "DT":
        return False
    if not row.column or (key.vr == "TM" and key.match is Match.ANY and len(key.values) != 1):
        return False
    return key.path in _SPLIT or sum(map(len, key.values)) <= _LONGEST_VALUE


def _is_zoned(key: Filter) -> bool:
    moves = key.vr in ("DA", "TM") and key.match is not Match.EMPTY
    return moves and any(key.path[0] in pair for pair in ZONED)


def _value(key: Filter) -> tuple[str, bool]:
    """The value to be sent for `key`, and whether no more is found than is asked."""
    values = [_short(value) if key.vr == "TM" else value for value in key.values]
    if key.match is Match.EMPTY:
        return '""', False
    if key.match is Match.RANGE:
        return "-".join(values), True
    if key.match is Match.ALL:
        return values[0], False
    joined = ("," if key.vr in _LISTED else "\\").join(values)
    return joined, not (key.vr == "CS" and any("," in value for value in values))


def _without_encoded(key: Filter) -> str:
    """A pattern that finds what `key` does and more, empty if only `*` would."""
    if key.match is not Match.ANY or len(key.values) != 1 or key.vr not in WILDCARDS:
        return ""
    # Others part values at a comma, and compare all groups of a name as one text.
    pattern = _ENCODED.sub("*", key.values[0].replace(",", "*")) + ("*" if key.vr == "PN" else "")
    return pattern if pattern.strip("*") else ""


def _short(time: str) -> str:
    """A time as servers know it best that compare text."""
    return time.removesuffix(".000000")


def _days_around(key: Filter) -> str:
    """The dates of `key` and those that they may be elsewhere on earth."""
    first, last = key.values if key.match is Match.RANGE else (key.values[0], key.values[-1])
    return f"{first and days_around(first, -1)}-{last and days_around(last, 1)}"


def _interval_days(query: Query, residual: Sequence[Filter]) -> list[Filter]:
    """The ranges of dates that belong to the ranges of times in `residual`, where they are one interval."""
    if not query.combined_datetime:
        return []
    return [days for days, hours in combine(query.filters)[1] if hours in residual and days not in residual]


def _included(query: Query) -> list[tuple[str, str]]:
    """`includefield`, and the creators of private attributes (PS3.18 8.3.1.1, 8.3.4.3)."""
    always = {
        row.tag
        for row in BY_PATH.values()
        if row.level is query.level and row.returned is Returned.ALWAYS and len(row.path) == 1
    }
    asked = [tag for tag in query.fields if tag not in always]
    asked += [key.path[0] for key in query.filters if key.path[0] not in always]
    if query.zone is not None:
        asked.append(TIMEZONE)
    tags = dict.fromkeys(asked)
    listed = "all" if len(tags) > _MOST_LISTED else ",".join(f"{tag:08X}" for tag in tags)
    used = {creator_of(tag) for tag in asked if is_private(tag)}
    creators = [
        (f"{block.group:04X}{block.block:04X}", block.creator)
        for block in query.private
        if block.group << 16 | block.block in used
    ]
    return [*creators, ("includefield", listed)] if listed else creators


def _requests(
    query: Query, sent: Sequence[tuple[str, str]], split: tuple[str, Sequence[str]] | None
) -> list[str]:
    path = _path(query)
    if split is None:
        return [_joined(path, sent)]
    name, values = split
    chunks = [values[at : at + _UIDS_PER_REQUEST] for at in range(0, len(values), _UIDS_PER_REQUEST)]
    return [_joined(path, [(name, ",".join(chunk)), *sent]) for chunk in chunks]


def _path(query: Query) -> str:
    path = "" if query.study is None else f"/studies/{query.study}"
    if query.level is Level.SERIES:
        return path + "/series"
    if query.level is Level.INSTANCE:
        if query.series is not None:
            path += f"/series/{query.series}"
        return path + "/instances"
    return "/studies"


def _joined(path: str, pairs: Sequence[tuple[str, str]]) -> str:
    query = "&".join(f"{name}={quote(value, safe=_PLAIN)}" for name, value in pairs)
    return f"{path}?{query}" if query else path
