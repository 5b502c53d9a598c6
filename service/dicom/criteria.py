"""One matching key of a search: how its text is read and what it means (PS3.4 C.2.2.2)."""

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass

from service.dicom.errors import BadRequest
from service.dicom.names import name_patterns, words
from service.dicom.resource import is_uid
from service.dicom.values import (
    NUMBERS,
    TEXTS,
    UNSPLIT,
    WILDCARDS,
    Comparable,
    comparable,
    date,
    date_time,
    number,
    time,
)

MOST_VALUES = 10_000  # in one key; SQLite takes 32,766 parameters in all
MOST_PATTERNS = 50  # names, words, patterns or values all asked for, in one key: each is a condition
MOST_TEXT = 1024  # characters of a name or a value with wildcards

_LIST = re.compile(r"[\\,]+")
# PS3.18 8.3.4.1: those of which several values may be asked with multiplevaluematching.
_MULTIPLE = frozenset(("AE", "AS", "AT", "CS", "LO", "PN", "SH", "UC"))
_EMPTY_QUOTES = '""'


class Match(enum.Enum):
    """How a key is compared with an attribute."""

    ANY = "one of the values, wildcards allowed, is one of the attribute's"
    ALL = "each of the values is one of the attribute's"
    RANGE = "a value lies between the two, inclusive; an empty end is open"
    EMPTY = "the attribute is absent or has no value"
    WORDS = "each word of the value begins a word of the name"


@dataclass(frozen=True, slots=True)
class Filter:
    """One matching key with a value.

    `path` leads through sequences to the attribute. `vr` is empty where the dictionary does not know it.
    `values` are as given, without padding; of dates, times and date-times in the form of `values`.
    """

    path: tuple[int, ...]
    vr: str
    match: Match
    values: tuple[str, ...] = ()

    @property
    def tag(self) -> int:
        return self.path[-1]

    @property
    def needles(self) -> tuple[Comparable, ...]:
        """The values in comparable form; of the VRs whose values are compared as they are."""
        found = (comparable(self.vr, value) for value in self.values)
        return tuple(value for value in found if value is not None)


@dataclass(frozen=True, slots=True)
class Manner:
    """What the request says of all its keys (PS3.18 8.3.4)."""

    fuzzy: bool = False
    empty_values: bool = False
    multiple_values: bool = False


def is_pattern(text: str) -> bool:
    """Whether `text` has wildcards (PS3.4 C.2.2.2.4)."""
    return "*" in text or "?" in text


def read_key(path: tuple[int, ...], vr: str, name: str, text: str, manner: Manner) -> Filter | None:
    """The filter that `text` asks for, `None` for universal matching.

    `BadRequest` names the key as `name`, never its value.
    """
    text = text.replace("\0", "").strip()
    if not text.strip("*"):
        return None
    if text == _EMPTY_QUOTES and manner.empty_values:
        return Filter(path, vr, Match.EMPTY)
    if vr and vr not in TEXTS and vr not in NUMBERS and vr not in ("DA", "TM", "DT"):
        raise BadRequest(f"{name} cannot be matched: it has no text, number or date.")
    if vr in ("DA", "TM", "DT"):
        return _read_moment(path, vr, name, text)
    if vr == "PN":
        return _read_name(path, name, text, manner)
    match = Match.ALL if manner.multiple_values and vr in _MULTIPLE else Match.ANY
    values = _split(vr, text, match)
    if len(values) == 1 and match is Match.ALL:  # one value is not several: it may have wildcards
        match = Match.ANY
    _check(vr, name, values, match)
    if match is Match.ANY and any(not value.strip("*") for value in values):
        return None
    return Filter(path, vr, match, values)


def _split(vr: str, text: str, match: Match) -> tuple[str, ...]:
    # A comma may stand inside a description or an identifier, so it parts only what cannot hold one,
    # unless the request says that it asks for several values.
    if vr in UNSPLIT:
        return (text,)
    if match is Match.ALL or vr in ("UI", "CS", "AS", "AT") or vr in NUMBERS:
        pieces: Sequence[str] = _LIST.split(text)
    else:
        pieces = text.split("\\")
    return tuple(dict.fromkeys(piece.strip() for piece in pieces if piece.strip()))


def _check(vr: str, name: str, values: Sequence[str], match: Match) -> None:
    if not values:
        raise BadRequest(f"{name} has separators but no value.")
    if len(values) > MOST_VALUES:
        raise BadRequest(f"{name} has more than {MOST_VALUES} values; ask in several requests.")
    conditions = len(values) if vr == "PN" or match is Match.ALL else sum(map(is_pattern, values))
    if conditions > MOST_PATTERNS:
        raise BadRequest(f"{name} has more than {MOST_PATTERNS} names or wildcards; ask in several requests.")
    for value in values:
        if vr == "UI" and not is_uid(value):
            raise BadRequest(f"{name} must be a list of UIDs: digits and dots, no wildcards.")
        if vr in NUMBERS and number(value) is None:
            raise BadRequest(f"{name} must be a number.")
        if (vr == "PN" or is_pattern(value)) and len(value) > MOST_TEXT:
            raise BadRequest(f"{name} is longer than {MOST_TEXT} characters.")
        if match is Match.ALL and is_pattern(value) and vr in WILDCARDS:
            raise BadRequest(f"{name} may have no wildcards when it asks for several values.")


def _read_name(path: tuple[int, ...], name: str, text: str, manner: Manner) -> Filter | None:
    match = Match.ALL if manner.multiple_values else Match.ANY
    values = _split("PN", text, match) if match is Match.ALL else _split("LO", text, match)
    if len(values) == 1:
        match = Match.ANY
    _check("PN", name, values, match)
    if match is Match.ANY:
        if any(not any(_asks(group) for group in name_patterns(value)) for value in values):
            return None
        if manner.fuzzy and not any(is_pattern(value) for value in values) and all(map(words, values)):
            if sum(len(words(value)) for value in values) > 2 * MOST_PATTERNS:
                raise BadRequest(f"{name} has more than {2 * MOST_PATTERNS} words.")
            return Filter(path, "PN", Match.WORDS, values)
    return Filter(path, "PN", match, values)


def _asks(alternatives: Sequence[str]) -> bool:
    return bool(alternatives) and all(pattern.strip("*") for pattern in alternatives)


_READERS = {"DA": date, "TM": time, "DT": date_time}
_LONGEST_RANGE = 100  # characters: two date-times, and room for spaces
_FORMS = {
    "DA": "a date YYYYMMDD or a range of two, joined by a hyphen, one of which may be left out",
    "TM": "a time HHMMSS or a range of two, joined by a hyphen, one of which may be left out",
    "DT": "a date-time YYYYMMDDHHMMSS or a range of two, joined by a hyphen, one of which may be left out",
}


def _read_moment(path: tuple[int, ...], vr: str, name: str, text: str) -> Filter:
    read = _READERS[vr]
    first, last = read(text), read(text, last=True)
    if first is not None and last is not None:
        # A year or month means all its days; a time or date-time means its first instant.
        if vr == "DA" and first != last:
            return Filter(path, vr, Match.RANGE, (first, last))
        return Filter(path, vr, Match.ANY, (first,))
    hyphens = [place for place, character in enumerate(text[:_LONGEST_RANGE]) if character == "-"]
    for at in hyphens:
        low, high = text[:at].strip(), text[at + 1 :].strip()
        begin = read(low) if low else ""
        end = read(high, last=True) if high else ""
        if begin is not None and end is not None and (begin or end):
            return Filter(path, vr, Match.RANGE, (begin, end))
    raise BadRequest(f"{name} must be {_FORMS[vr]}.")
