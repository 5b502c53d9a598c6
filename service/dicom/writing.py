"""DICOM JSON objects written as data sets in Explicit VR Little Endian (PS3.18 F.2, PS3.5 7 and A.2).

Values that lie elsewhere are left open: the writer gives bytes, and in their places `Detached`.
"""

from __future__ import annotations

import binascii
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.dicom.elements import ITEM, ITEM_END, SEQUENCE_END, UNDEFINED
from service.dicom.errors import NotDicom
from service.dicom.items import DEPTH_LIMIT, SPECIFIC_CHARACTER_SET
from service.dicom.vr import BINARY, KNOWN, LONG, LUT_DESCRIPTORS, dictionary_entry, settle

UTF_8 = "ISO_IR 192"

_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_NUMBERS = {
    "FL": "f", "FD": "d", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q",
}  # fmt: skip
_TEXT = KNOWN - BINARY - _NUMBERS.keys() - {"AT", "SQ"}
# Command, file meta and item groups do not belong in a data set (PS3.18 10.5.2); Available Transfer Syntax
# UID is of search and metadata answers, the extended offset tables of the fragments that were before.
_LEFT_OUT_GROUPS = frozenset((0x0000, 0x0002))
_LEFT_OUT = frozenset((0x00083002, 0x7FE00001, 0x7FE00002))
_ITEM_BEGINS = struct.pack("<HHI", ITEM >> 16, ITEM & 0xFFFF, UNDEFINED)
_ITEM_ENDS = struct.pack("<HHI", ITEM_END >> 16, ITEM_END & 0xFFFF, 0)
_SEQUENCE_ENDS = struct.pack("<HHI", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)


@dataclass(frozen=True, slots=True)
class Detached:
    """The place of an element whose value is to be had at `uri`; `top` says that it is in no sequence."""

    tag: int
    vr: str
    uri: str
    top: bool


Segment = bytes | Detached


class DataSet:
    """A data set of which every value is encoded, or lies elsewhere.

    `text` tells the first value of a top-level element that is text or a number.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        """`NotDicom` if `document` is no DICOM JSON object, naming the attribute, never its value."""
        writer = _Writer()
        self._elements = writer.elements(document, 0)
        self._firsts = writer.firsts
        if writer.beyond_ascii or self.has_value(SPECIFIC_CHARACTER_SET):
            self.put(SPECIFIC_CHARACTER_SET, "CS", UTF_8)

    @property
    def detached(self) -> list[Detached]:
        """The values that lie elsewhere, in the order in which they are needed."""
        return [
            segment
            for tag in sorted(self._elements)
            for segment in self._elements[tag]
            if isinstance(segment, Detached)
        ]

    @property
    def segments(self) -> Iterator[Segment]:
        """The elements in ascending order."""
        for tag in sorted(self._elements):
            yield from self._elements[tag]

    def has_value(self, tag: int) -> bool:
        """Whether the top-level element `tag` is there and not empty."""
        pieces = self._elements.get(tag, [])
        return len(pieces) > 1 or any(isinstance(piece, Detached) for piece in pieces)

    def text(self, tag: int) -> str:
        """The first value of a top-level element, empty if it has none or one that is no text."""
        return self._firsts.get(tag, "")

    def number(self, tag: int, default: int = 0) -> int:
        """The first value as a whole number that is not negative, or `default`."""
        text = self.text(tag)
        return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else default

    def put(self, tag: int, vr: str, value: str | int) -> None:
        """Add or replace a top-level element."""
        self._elements[tag] = _element(tag, vr, _Writer().value(tag, vr, [value]))
        self._firsts[tag] = str(value)


def detached_uris(document: Any) -> Iterator[str]:
    """Every BulkDataURI in a DICOM JSON object, whatever else is wrong with it."""
    waiting = [document]
    while waiting:
        found = waiting.pop()
        if isinstance(found, list):
            waiting += found
        elif isinstance(found, dict):
            uri = found.get("BulkDataURI")
            if isinstance(uri, str):
                yield uri
            waiting += found.values()


def element_head(tag: int, vr: str, length: int) -> bytes:
    """Tag, value representation and length; `UNDEFINED` for encapsulated pixel data.

    The VR is UN where the length does not fit the field that the VR has (PS3.5 6.2.2).
    """
    if vr not in LONG and length > 0xFFFE:
        vr = "UN"
    if vr in LONG:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), 0, length)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), length)


def padding(vr: str, length: int) -> bytes:
    """What makes a value of `length` bytes even (PS3.5 6.2)."""
    if length % 2 == 0:
        return b""
    return b" " if vr in _TEXT and vr != "UI" else b"\0"


def _element(tag: int, vr: str, value: bytes) -> list[Segment]:
    """Head and value, the latter a segment of its own unless it is empty."""
    filled = value + padding(vr, len(value))
    head = element_head(tag, vr, len(filled))
    return [head, filled] if filled else [head]


class _Writer:
    """Writes the elements of one data set and notes what its users ask of it later."""

    def __init__(self) -> None:
        self.firsts: dict[int, str] = {}
        self.beyond_ascii = False

    def elements(self, document: Any, depth: int) -> dict[int, list[Segment]]:
        """The elements of a data set or an item, by tag."""
        if not isinstance(document, dict):
            raise NotDicom("The metadata hold something that is not a DICOM JSON object (PS3.18 F.2.2).")
        if depth > DEPTH_LIMIT:
            raise NotDicom(f"Sequences are nested more than {DEPTH_LIMIT} deep.")
        found: dict[int, list[Segment]] = {}
        for key, attribute in document.items():
            tag = _tag(key)
            group, element = tag >> 16, tag & 0xFFFF
            if group in _LEFT_OUT_GROUPS or element == 0 or (tag in _LEFT_OUT and depth == 0):
                continue
            if tag in found:
                raise NotDicom(f"{_shown(tag)} is there twice.")
            found[tag] = self._attribute(tag, attribute, depth)
        if depth and SPECIFIC_CHARACTER_SET in found:
            found[SPECIFIC_CHARACTER_SET] = _element(SPECIFIC_CHARACTER_SET, "CS", UTF_8.encode("ascii"))
        return found

    def value(self, tag: int, vr: str, values: Sequence[Any]) -> bytes:
        """The bytes of the values of an element that is neither binary nor a sequence, without padding."""
        try:
            if vr in _NUMBERS:
                packed = bytearray()
                for value in values:
                    packed += _number(tag, vr, value)
                return bytes(packed)
            if vr == "AT":
                return b"".join(_tag_value(value) for value in values)
            text = "\\".join([_person(value) if vr == "PN" else _text(value) for value in values])
            encoded = text.encode("utf-8")  # half of a surrogate pair is no character of any set
        except (ValueError, TypeError, OverflowError, struct.error):
            raise NotDicom(f"{_shown(tag)} has a value that cannot be written as {vr}.") from None
        self.beyond_ascii = self.beyond_ascii or not text.isascii()
        return encoded

    def _attribute(self, tag: int, attribute: Any, depth: int) -> list[Segment]:
        if not isinstance(attribute, dict):
            raise NotDicom(f"{_shown(tag)} is not an object with a vr (PS3.18 F.2.2).")
        vr = attribute.get("vr") or settle(dictionary_entry(tag), signed=False, words=0)
        if not isinstance(vr, str) or vr not in KNOWN:
            raise NotDicom(f"{_shown(tag)} has a value representation that there is not.")
        uri, inline, values = (attribute.get(name) for name in ("BulkDataURI", "InlineBinary", "Value"))
        if sum(member is not None for member in (uri, inline, values)) > 1:
            raise NotDicom(f"{_shown(tag)} has its value in more than one form (PS3.18 F.2.2).")
        if values is not None and not isinstance(values, list):
            values = [values]
        if vr == "SQ":
            if uri is not None or inline is not None:
                raise NotDicom(f"{_shown(tag)} is a sequence and has no items.")
            return self._sequence(tag, values or [], depth)
        if uri is not None:
            if not isinstance(uri, str) or not uri:
                raise NotDicom(f"{_shown(tag)} has a BulkDataURI that is none.")
            return [Detached(tag, vr, uri, top=not depth)]
        if inline is not None:
            return _element(tag, vr, _binary(tag, inline))
        if vr in BINARY and values:
            raise NotDicom(f"{_shown(tag)} of {vr} has neither InlineBinary nor BulkDataURI (PS3.18 F.2.2).")
        if not depth and values and isinstance(values[0], str):
            self.firsts[tag] = str(values[0])
        return _element(tag, vr, self.value(tag, vr, values or []))

    def _sequence(self, tag: int, items: list[Any], depth: int) -> list[Segment]:
        """Items of undefined length: what lies elsewhere may have any."""
        if not items:
            return [element_head(tag, "SQ", 0)]
        pieces: list[Segment] = [element_head(tag, "SQ", UNDEFINED)]
        for item in items:
            elements = self.elements({} if item is None else item, depth + 1)
            pieces.append(_ITEM_BEGINS)
            for inner in sorted(elements):
                pieces += elements[inner]
            pieces.append(_ITEM_ENDS)
        return _joined([*pieces, _SEQUENCE_ENDS])


def _joined(pieces: list[Segment]) -> list[Segment]:
    """`pieces` with those bytes in one that follow one another, the head apart."""
    joined: list[Segment] = [pieces[0]]
    run: list[bytes] = []
    for piece in pieces[1:]:
        if isinstance(piece, bytes):
            run.append(piece)
            continue
        if run:
            joined.append(b"".join(run))
            run = []
        joined.append(piece)
    return [*joined, b"".join(run)] if run else joined


def _tag(key: Any) -> int:
    if not isinstance(key, str) or not _TAG.fullmatch(key) or key[:4].upper() == "FFFE":
        raise NotDicom("An attribute of the metadata is not named by a tag of 8 hexadecimal digits.")
    return int(key, 16)


def _shown(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    return str(value)


def _person(value: Any) -> str:
    """A person name from its component groups; a plain string is taken as it is."""
    if value is None or isinstance(value, str):
        return value or ""
    if not isinstance(value, dict):
        raise TypeError
    groups = [value.get(name) or "" for name in _GROUPS]
    return "=".join(groups).rstrip("=")


def _number(tag: int, vr: str, value: Any) -> bytes:
    code = "<" + _NUMBERS[vr]
    if isinstance(value, bool) or value is None:
        raise TypeError
    if code in ("<f", "<d"):
        return struct.pack(code, float(value))
    whole = _whole(value)
    if vr == "SS" and whole > 0x7FFF and tag in LUT_DESCRIPTORS:
        code = "<H"  # never signed, whatever its VR says (PS3.3 C.11.1.1.1)
    return struct.pack(code, whole)


def _whole(value: Any) -> int:
    """A whole number; `5.0` is one too, but `5.5` is not."""
    try:
        return int(value) if not isinstance(value, float) else int(str(value))
    except ValueError:
        real = float(value)
        if not real.is_integer():
            raise
        return int(real)


def _tag_value(value: Any) -> bytes:
    if not isinstance(value, str) or not _TAG.fullmatch(value):
        raise ValueError
    number = int(value, 16)
    return struct.pack("<HH", number >> 16, number & 0xFFFF)


def _binary(tag: int, inline: Any) -> bytes:
    try:
        return binascii.a2b_base64("".join(inline.split()).encode("ascii"), strict_mode=True)
    except (AttributeError, ValueError):
        raise NotDicom(f"{_shown(tag)} has an InlineBinary that is not base64 (RFC 4648 4).") from None
