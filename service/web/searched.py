"""What a search asked for, as an audit trail may hold it: without values that could say who somebody is."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_plus

from service.dicom.attributes import find_tag
from service.dicom.resource import is_uid

_PATIENT_ID = 0x00100020
_NUMBERS = ("limit", "offset")
_FLAGS = ("fuzzymatching", "emptyvaluematching", "multiplevaluematching")
_FIELDS = ("includefield", "orderby")
_HIDDEN = "..."
_MOST_PAIRS = 100
_LONGEST_ID = 64  # PS3.5 6.2, LO


@dataclass(frozen=True, slots=True)
class Searched:
    """The keys of a search as a query string, and the patients that it named."""

    text: str
    patients: tuple[str, ...]


def keys(query: bytes) -> Searched:
    """What the query string of a URL asks for.

    Names that are none of an attribute or an option are left out, as they are by the search itself. Of
    attributes only UIDs keep their values.
    """
    told: list[str] = []
    patients: list[str] = []
    for name, value in _pairs(query):
        option = name.lower()
        if option in _NUMBERS:
            told.append(f"{option}={value if value.isdecimal() and value.isascii() else _HIDDEN}")
        elif option in _FLAGS:
            told.append(f"{option}={'true' if value == 'true' else 'false'}")
        elif option in _FIELDS:
            told.append(f"{option}={','.join(_field(one) for one in value.split(','))}")
        elif (found := _attribute(name)) is not None:
            tag, vr = found
            told.append(f"{name}={value if vr == 'UI' and _are_uids(value) else _HIDDEN}")
            if tag == _PATIENT_ID and value and not set(value) & set("*?\\") and len(value) <= _LONGEST_ID:
                patients.append(value)
    return Searched("&".join(told), tuple(dict.fromkeys(patients)))


def value_of(query: bytes, name: str) -> str:
    """The value of a parameter, empty if it is not there."""
    if name.encode() not in query:
        return ""
    return next((value for given, value in _pairs(query) if given == name), "")


def _pairs(query: bytes) -> Iterator[tuple[str, str]]:
    for pair in query.split(b"&")[:_MOST_PAIRS]:
        name, _, value = pair.decode("latin-1").partition("=")
        if name:
            yield unquote_plus(name), unquote_plus(value)


def _attribute(name: str) -> tuple[int, str] | None:
    """The last attribute of a path of them."""
    found: tuple[int, str] | None = None
    for step in name.split("."):
        found = find_tag(step)
        if found is None:
            return None
    return found


def _field(name: str) -> str:
    """The name of an attribute, where it is one."""
    plain = name.removeprefix("-")
    return name if plain == "all" or _attribute(plain) is not None else _HIDDEN


def _are_uids(value: str) -> bool:
    return all(map(is_uid, value.replace("\\", ",").split(",")))
