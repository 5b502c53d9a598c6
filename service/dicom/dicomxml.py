"""DICOM JSON objects as documents of the Native DICOM Model (PS3.19 annex A.1).

The reverse is in `xmlreading`. Both speak of a data set as a DICOM JSON object in memory (PS3.18 F.2).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.dicom.dictionary import entry_of
from service.dicom.jsonreading import read_json
from service.dicom.members import Member, items, members
from service.dicom.vr import block_of, is_private_creator

DICOM_XML = "application/dicom+xml"
NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")

Attribute = Mapping[str, Any]
Document = Mapping[str, Attribute]

_OPENING = (
    f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
)
_CLOSING = "</NativeDicomModel>"
_AT_ONCE = 64 << 10  # bytes of JSON; as objects in memory they take some twenty times as much
# XML 1.0 section 2.2: no other characters may stand in a document, not even by reference.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A bare carriage return would be read as a line feed (XML 1.0 section 2.11).
_MARKUP = re.compile("[&<>\r]")
_ATTRIBUTE_MARKUP = re.compile('[&<>"\t\n\r]')


def xml_document(document: Document) -> bytes:
    """One data set as a document in UTF-8.

    Characters that XML 1.0 cannot hold become U+FFFD. Private attributes are named by their group, number
    and creator (`gggg00ee`); their creators are given too, so that the blocks keep their places.
    """
    return "".join([_OPENING, *_data_set(document), _CLOSING]).encode("utf-8")


def xml_blocks(document: bytes, *, at_once: int = _AT_ONCE) -> Iterator[bytes]:
    """What `xml_document` makes of a stored document, in blocks, no more than `at_once` bytes of it parsed.

    A single value that is longer is parsed by itself; bulk data are not in documents.
    """
    yield _OPENING.encode("ascii")
    yield from _object_blocks(document, 0, len(document), at_once)
    yield _CLOSING.encode("ascii")


def _object_blocks(document: bytes, start: int, stop: int, at_once: int) -> Iterator[bytes]:
    """The object from `start` to `stop`, its members parsed several at a time, a long one in parts."""
    creators = _Creators()
    first = end = start + 1
    for member in members(document, start, stop):
        if member.end - first <= at_once:
            end = member.end
            continue
        if end > first:
            yield _parsed(document[first:end], creators)
        first, end = member.start, member.end
        if end - first > at_once and member.items:
            yield from _sequence_blocks(document, member, creators, at_once)
            first = end = end + 1
    if end > first:
        yield _parsed(document[first:end], creators)


def _sequence_blocks(document: bytes, member: Member, creators: "_Creators", at_once: int) -> Iterator[bytes]:
    head = _head(f"{member.tag:08X}", "SQ", creators)
    yield f"{head}>".encode()
    for number, (start, end) in enumerate(items(document, member.items), 1):
        yield f'<Item number="{number}">'.encode("ascii")
        if end - start > at_once:
            yield from _object_blocks(document, start, end, at_once)
        else:
            yield _parsed(document[start + 1 : end - 1], _Creators())
        yield b"</Item>"
    yield b"</DicomAttribute>"


def _parsed(some: bytes, creators: "_Creators") -> bytes:
    """Some members of one object."""
    return "".join(_attributes(read_json(b"{" + some.strip(b",") + b"}"), creators)).encode("utf-8")


class _Creators:
    """The private creators of one data set, whose elements come before those of their blocks.

    Each is held with whether it is the first of its group with that creator: only of one block could
    `gggg00ee` tell which is meant; a creator reserves no second one in a sound data set (PS3.5 7.8.1).
    """

    def __init__(self) -> None:
        self._found: dict[int, tuple[str, bool]] = {}
        self._seen: set[tuple[int, str]] = set()

    def add(self, tag: int, values: Sequence[Any] | None) -> None:
        if values and isinstance(values[0], str):
            self._found[tag] = (values[0], (tag >> 16, values[0]) not in self._seen)
            self._seen.add((tag >> 16, values[0]))

    def of(self, tag: int) -> tuple[str, bool] | None:
        return self._found.get(block_of(tag)) if tag & 0x10000 and not is_private_creator(tag) else None


def _data_set(document: Document) -> Iterator[str]:
    return _attributes(document, _Creators())


def _attributes(document: Document, creators: _Creators) -> Iterator[str]:
    for key in sorted(document):
        attribute = document[key]
        head = _head(key, str(attribute["vr"]), creators)
        tag = int(key, 16)
        if is_private_creator(tag):
            creators.add(tag, attribute.get("Value"))
        content = "".join(_content(attribute))
        yield f"{head}>{content}</DicomAttribute>" if content else f"{head}/>"


def _head(key: str, vr: str, creators: _Creators) -> str:
    """The opening of an attribute's element, without the bracket at its end."""
    tag = int(key, 16)
    creator = creators.of(tag)
    if creator is None:
        entry = entry_of(tag)
        keyword = f' keyword="{entry[1]}"' if entry is not None and entry[1] else ""
        return f'<DicomAttribute tag="{key}" vr="{_quoted(vr)}"{keyword}'
    name, first = creator
    shown = f"{key[:4]}00{key[6:]}" if first else key
    return f'<DicomAttribute tag="{shown}" vr="{_quoted(vr)}" privateCreator="{_quoted(name)}"'


def _content(attribute: Attribute) -> Iterator[str]:
    if "BulkDataURI" in attribute:
        yield f'<BulkData uri="{_quoted(attribute["BulkDataURI"])}"/>'
    elif "InlineBinary" in attribute:
        yield f"<InlineBinary>{_text(attribute['InlineBinary'])}</InlineBinary>"
    elif attribute["vr"] == "SQ":
        yield from _items(attribute.get("Value", ()))
    elif attribute["vr"] == "PN":
        for number, name in enumerate(attribute.get("Value", ()), 1):
            yield f'<PersonName number="{number}">{_name(name or {})}</PersonName>'
    else:
        for number, value in enumerate(attribute.get("Value", ()), 1):
            yield f'<Value number="{number}">{"" if value is None else _text(str(value))}</Value>'


def _items(items: Sequence[Document | None]) -> Iterator[str]:
    for number, item in enumerate(items, 1):
        yield f'<Item number="{number}">'
        yield from _data_set(item or {})
        yield "</Item>"


def _name(groups: Mapping[str, str]) -> str:
    """The component groups of a person name and their components (PS3.5 6.2.1)."""
    written: list[str] = []
    for group in GROUPS:
        if group not in groups:
            continue
        # What follows a fifth component stays with it: `^` is legal in the text of an element.
        parts = groups[group].split("^", len(COMPONENTS) - 1)
        inner = "".join(
            f"<{name}>{_text(part)}</{name}>" for name, part in zip(COMPONENTS, parts, strict=False) if part
        )
        if inner:  # delimiters alone name nobody
            written.append(f"<{group}>{inner}</{group}>")
    return "".join(written)


def _text(value: str) -> str:
    return _MARKUP.sub(_reference, _ILLEGAL.sub("\ufffd", value))


def _quoted(value: str) -> str:
    return _ATTRIBUTE_MARKUP.sub(_reference, _ILLEGAL.sub("\ufffd", value))


def _reference(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};"
