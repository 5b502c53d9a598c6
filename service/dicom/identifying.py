"""A query as identifiers of a C-FIND, and what is left to be filtered (PS3.4 C.2.2.2, C.4.1, C.6).

An identifier asks no more than what every provider understands: one value of a key, lists of UIDs, ranges.
Whatever else a query says is compared with the answers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from service.dicom.attributes import (
    ATTRIBUTES,
    AVAILABLE_SYNTAXES,
    CHARACTER_SET,
    RETRIEVE_URL,
    TIMEZONE,
    ZONED,
    Returned,
    level_of,
)
from service.dicom.criteria import Filter, Match
from service.dicom.dictionary import entry_of
from service.dicom.encoding import Encoder, Form
from service.dicom.matching import combine, in_zone, matches
from service.dicom.privates import as_asked, creator_of, is_creator, is_private
from service.dicom.query import Query
from service.dicom.querying import NAMES, QUERY_LEVEL, UNIQUE
from service.dicom.repertoire import UNICODE, Repertoire
from service.dicom.resource import Level
from service.dicom.syntaxes import Syntax
from service.dicom.zones import days_around

_UIDS_TOGETHER = 100  # in one identifier: some providers read no more than a few kB of a value
_MOST_SPLIT = 16  # values of one key that become identifiers of their own
_LONGEST = 64  # characters of a value that is sent; longer ones are compared here
_NOT_ASKED = frozenset((RETRIEVE_URL, AVAILABLE_SYNTAXES, CHARACTER_SET))
# What a provider computes is compared only where it comes back; most ignore such keys.
_DIGITS = frozenset(("IS", "DS", "US", "UL", "SS", "SL", "SV", "UV", "FL", "FD"))


@dataclass(frozen=True, slots=True)
class Asking:
    """One C-FIND: `keys` are the attributes wanted, with a value where it is a matching key."""

    level: Level
    keys: Mapping[tuple[int, ...], str]
    creators: Mapping[int, str]

    def encode(self, syntax: Syntax, charset: Repertoire | None = None) -> bytes:
        """The identifier in `syntax`; text that `charset` lacks, or none is given for, is UTF-8."""
        for repertoire in (charset, UNICODE) if charset is not None else (UNICODE,):
            try:
                return self._encoded(syntax, repertoire)
            except UnicodeEncodeError:
                continue
        raise AssertionError("Unicode has every character")

    def _encoded(self, syntax: Syntax, charset: Repertoire) -> bytes:
        form = Form(syntax)
        encoder = Encoder(form, charset)
        elements = {tag: encoder.element(tag, element) for tag, element in self._dataset().items()}
        if encoder.beyond_ascii:
            elements[CHARACTER_SET] = encoder.declaration()
        return b"".join(elements[tag] for tag in sorted(elements))

    def _dataset(self) -> dict[int, dict[str, object]]:
        """DICOM JSON elements by tag."""
        found: dict[int, dict[str, object]] = {QUERY_LEVEL: _element("CS", NAMES[self.level])}
        nested: dict[int, dict[str, object]] = {}
        for tag, creator in self.creators.items():
            found[tag] = _element("LO", creator)
        for path, text in self.keys.items():
            if len(path) == 1:
                vr = _vr(path[0])
                found.setdefault(path[0], {"vr": vr} if vr == "SQ" else _element(vr, text))
            elif len(path) == 2:
                nested.setdefault(path[0], {})[f"{path[1]:08X}"] = _element(_vr(path[1]), text)
        for tag, item in nested.items():
            found[tag] = {"vr": "SQ", "Value": [item]}
        return found


@dataclass(frozen=True, slots=True)
class Asked:
    """How `query` is asked of a provider at its own level: `identifiers` find different matches each."""

    query: Query
    identifiers: tuple[Asking, ...]

    def keeps(self, match: Mapping[str, object]) -> bool:
        """Whether `match`, a parsed DICOM JSON object, is what the query is for.

        A key that the provider says nothing of is taken to be satisfied: it was asked to return it.
        """
        query = self.query
        zone = _with_zone(query.filters) if query.zone is not None else frozenset()
        dataset = as_asked(in_zone(match, query.zone), query.private)
        checked = [
            key
            for key in query.filters
            if f"{key.path[0]:08X}" in dataset or key.match is Match.EMPTY or key.path in zone
        ]
        return matches(checked, dataset, combined_datetime=query.combined_datetime)


def asked_of(query: Query) -> Asked:
    """The identifiers that find what `query` is for among the entities of its level.

    The unique keys of the levels above are those of its scope. Keys of these levels are sent too; a provider
    that keeps to the hierarchical model (PS3.4 C.4.1.2.1) has to be asked for them at their own level first.
    """
    wanted: dict[tuple[int, ...], str] = {(tag,): "" for tag in _wanted(query)}
    sent: dict[tuple[int, ...], str] = {}
    split: tuple[tuple[int, ...], Sequence[str]] | None = None
    times = {hours.path for _, hours in combine(query.filters)[1]} if query.combined_datetime else set()
    for key in query.filters:
        values = _values(key, query, times)
        if len(values) == 1:
            sent[key.path] = values[0]
        elif len(values) > 1 and split is None:
            split = (key.path, values)
        wanted.setdefault(key.path if len(key.path) <= 2 else key.path[:1], "")
    if query.study is not None:
        sent[(UNIQUE[Level.STUDY],)] = query.study
    if query.series is not None and query.level >= Level.SERIES:
        sent[(UNIQUE[Level.SERIES],)] = query.series
    creators = {
        block.group << 16 | block.block: block.creator
        for block in query.private
        if any(creator_of(path[0]) == block.group << 16 | block.block for path in wanted)
    }
    chunks: Iterable[dict[tuple[int, ...], str]] = [{}] if split is None else _chunks(*split)
    return Asked(
        query,
        tuple(Asking(query.level, {**wanted, **sent, **chunk}, creators) for chunk in chunks),
    )


def at_level(query: Query, level: Level) -> Query:
    """The part of `query` that is about entities of `level`, for a walk from the top down.

    Filters are those of the level itself; of the highest one, those above too.
    """
    filters = tuple(key for key in query.filters if level_of(key.path[0]) is level)
    fields = tuple(tag for tag in query.fields if level_of(tag) is level)
    return replace(query, level=level, filters=filters, fields=fields, series=query.series, order=())


def _wanted(query: Query) -> Iterator[int]:
    """What is asked of each match: what a search returns, and the unique keys."""
    for row in ATTRIBUTES:
        if len(row.path) > 1 or row.tag in _NOT_ASKED or row.level > query.level:
            continue
        if row.level is query.level:
            if query.all_fields or row.returned is not Returned.ON_REQUEST:
                yield row.tag
        elif row.tag == UNIQUE.get(row.level):
            yield row.tag
    for tag in query.fields:
        if level_of(tag) <= query.level and not is_creator(tag) and tag not in _NOT_ASKED:
            yield tag
    if query.zone is not None:
        yield TIMEZONE


def _values(key: Filter, query: Query, times: set[tuple[int, ...]]) -> Sequence[str]:
    """The values to be sent for a key, each in an identifier of its own; none where it is only compared."""
    if len(key.path) > 2 or key.tag in _NOT_ASKED or key.path in times or is_creator(key.tag):
        return ()
    if key.match in (Match.EMPTY, Match.WORDS) or key.vr == "DT":
        return _first_word(key) if key.match is Match.WORDS else ()
    if query.zone is not None and key.path in _with_zone([key]):
        return (_days(key),) if key.vr == "DA" else ()
    if key.match is Match.RANGE:
        return ("-".join(map(_short, key.values)) if key.vr == "TM" else "-".join(key.values),)
    values = [_short(value) if key.vr == "TM" else value for value in key.values]
    if key.vr in _DIGITS and key.vr not in ("IS", "DS"):
        return ()  # a binary number has no wildcard, and few providers match one
    if key.vr == "UI":
        lists = [values[at : at + _UIDS_TOGETHER] for at in range(0, len(values), _UIDS_TOGETHER)]
        return ["\\".join(uids) for uids in lists]
    if any(len(value) > _LONGEST for value in values) or len(values) > _MOST_SPLIT:
        return ()
    return values[:1] if key.match is Match.ALL else values


def _first_word(key: Filter) -> Sequence[str]:
    """A pattern that finds the first word of a name wherever it stands; only of one name."""
    words = key.values[0].replace("^", " ").split() if len(key.values) == 1 else []
    return (f"*{words[0]}*",) if words and len(words[0]) < _LONGEST - 2 else ()


def _chunks(path: tuple[int, ...], values: Sequence[str]) -> list[dict[tuple[int, ...], str]]:
    return [{path: value} for value in values]


def _with_zone(filters: Iterable[Filter]) -> frozenset[tuple[int, ...]]:
    """The paths of dates and times that are moments."""
    moments = {tag for pair in ZONED for tag in pair}
    return frozenset(key.path for key in filters if key.vr in ("DA", "TM") and key.path[0] in moments)


def _days(key: Filter) -> str:
    """The dates of `key` and those that they may be elsewhere on earth."""
    first, last = key.values if key.match is Match.RANGE else (key.values[0], key.values[-1])
    return f"{first and days_around(first, -1)}-{last and days_around(last, 1)}"


def _short(time: str) -> str:
    return time.removesuffix(".000000")


def _vr(tag: int) -> str:
    if is_creator(tag):
        return "LO"
    if is_private(tag):
        return "UN"
    row = next((row for row in ATTRIBUTES if row.path == (tag,)), None)
    if row is not None:
        return row.vr
    entry = entry_of(tag)
    return entry[0][:2] if entry is not None else "UN"


def _element(vr: str, text: str) -> dict[str, object]:
    if not text:
        return {"vr": vr}
    if vr == "PN":
        return {"vr": vr, "Value": [text]}
    return {"vr": vr if vr != "UN" else "LO", "Value": [text]}
