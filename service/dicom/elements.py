"""The frame of a data element: tag, value representation and length (PS3.5 7.1)."""

import struct
from dataclasses import dataclass
from typing import NamedTuple

from service.dicom.syntaxes import Syntax
from service.dicom.vr import KNOWN, LONG

UNDEFINED = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
TRAILING_PADDING = 0xFFFCFFFC

_KNOWN = {vr.encode("ascii"): vr for vr in KNOWN}
_LONG = {vr.encode("ascii") for vr in LONG}
_UPPER = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """How the elements of a data set are written; there are four of them, the same object each time."""

    implicit: bool
    big_endian: bool


IMPLICIT = Encoding(implicit=True, big_endian=False)
EXPLICIT = Encoding(implicit=False, big_endian=False)
EXPLICIT_BIG = Encoding(implicit=False, big_endian=True)
IMPLICIT_BIG = Encoding(implicit=True, big_endian=True)  # no transfer syntax, but items in EXPLICIT_BIG


def encoding_of(syntax: Syntax) -> Encoding:
    """The encoding of the data sets of a transfer syntax."""
    if syntax.implicit:
        return IMPLICIT
    return EXPLICIT_BIG if syntax.big_endian else EXPLICIT


class Head(NamedTuple):
    """One element up to its value.

    `vr` is empty where the element does not tell it, and "??" where it tells one that there is not. Some
    writers of explicit VR fall back to implicit VR on the way; then it is empty too.
    `start` is the position of the value's first byte, `length` its length or `UNDEFINED`.
    """

    tag: int
    vr: str
    start: int
    length: int


_TAGS = {False: struct.Struct("<HHI"), True: struct.Struct(">HHI")}
_LENGTHS_16 = {False: struct.Struct("<H"), True: struct.Struct(">H")}
_LENGTHS_32 = {False: struct.Struct("<I"), True: struct.Struct(">I")}


def read_head(buffer: bytes, position: int, size: int, encoding: Encoding) -> Head | None:
    """The head of the element at `position`, or `None` if it reaches past `size`."""
    if position + 8 > size:
        return None
    big = encoding.big_endian
    group, element, length = _TAGS[big].unpack_from(buffer, position)
    tag = group << 16 | element
    if encoding.implicit or group == 0xFFFE:  # items and delimiters have no VR (PS3.5 7.5)
        return Head(tag, "", position + 8, length)
    written = buffer[position + 4 : position + 6]
    vr = _KNOWN.get(written, "??")
    if vr == "??" and not names_vr(buffer, position):
        return Head(tag, "", position + 8, length)
    if written not in _LONG and not (vr == "??" and _has_reserved_bytes(buffer, position)):
        return Head(tag, vr, position + 8, _LENGTHS_16[big].unpack_from(buffer, position + 6)[0])
    if position + 12 > size:
        return None
    return Head(tag, vr, position + 12, _LENGTHS_32[big].unpack_from(buffer, position + 8)[0])


def _has_reserved_bytes(buffer: bytes, position: int) -> bool:
    """Whether an unknown VR has a 32-bit length, as all that will ever be added do (PS3.5 7.1.2)."""
    return buffer[position + 6 : position + 8] == b"\0\0"


def names_vr(buffer: bytes, position: int) -> bool:
    """Whether the element at `position` has two capitals where a value representation would be.

    In implicit VR only an element of 16 kB and more has, which hardly ever comes first in a data set.
    """
    written = buffer[position + 4 : position + 6]
    return len(written) == 2 and written[0] in _UPPER and written[1] in _UPPER


def as_implicit(encoding: Encoding) -> Encoding:
    """Implicit VR in the byte order of `encoding`."""
    return IMPLICIT_BIG if encoding.big_endian else IMPLICIT


def actual_encoding(buffer: bytes, position: int, declared: Encoding) -> Encoding:
    """The encoding that the first element of a data set shows, where its transfer syntax `declared` another.

    Data sets in implicit VR in files of an explicit (mostly a compressed) transfer syntax are common, the
    reverse is not. The element must be there up to its eighth byte.
    """
    if not declared.implicit:
        return declared if names_vr(buffer, position) else as_implicit(declared)
    # The position may be in the middle of a data set, where lengths may look like anything.
    if buffer[position + 4 : position + 6] not in _KNOWN:
        return declared
    group = int.from_bytes(buffer[position : position + 2], "little")
    return EXPLICIT if group <= 0x0008 else declared


def item_encoding(buffer: bytes, position: int, size: int, encoding: Encoding) -> Encoding:
    """The encoding of the item whose first element is at `position`, in a sequence of `encoding`.

    Items in implicit VR occur in explicit VR, never the reverse.
    """
    if encoding.implicit or position + 8 > size or names_vr(buffer, position):
        return encoding
    head = read_head(buffer, position, size, encoding)
    return encoding if head is None or head.tag >> 16 == 0xFFFE else as_implicit(encoding)


class CutOff(Exception):
    """The buffer ends inside an element; `needed` is the position that it must reach at least."""

    def __init__(self, needed: int) -> None:
        super().__init__()
        self.needed = needed


class Damaged(Exception):
    """Lengths and tags inside an element contradict one another."""


def short(needed: int, end: int | None) -> CutOff | Damaged:
    """What it means that `needed` is past the end: a lie if a defined length ends there, else a cut.

    `end` is where the innermost defined length ends, `None` if only the buffer does.
    """
    return CutOff(needed) if end is None else Damaged()


def require_head(buffer: bytes, position: int, end: int | None, encoding: Encoding) -> Head:
    """The head of the element at `position`; `CutOff` or `Damaged` if it is not there."""
    size = len(buffer) if end is None else end
    head = read_head(buffer, position, size, encoding)
    if head is None:
        raise short(position + (8 if position + 8 > size else 12), end)
    return head


def starts_with_item(buffer: bytes, position: int, encoding: Encoding, tag: int = ITEM) -> bool:
    """Whether the four bytes at `position` are those of an item, or of `tag`."""
    head = read_head(buffer, position, position + 8, encoding) if position + 8 <= len(buffer) else None
    return head is not None and head.tag == tag


def holds_items(buffer: bytes, position: int, end: int | None, encoding: Encoding) -> bool:
    """Whether the value of undefined length at `position` consists of items, or of none."""
    if position + 8 > (len(buffer) if end is None else end):
        raise short(position + 8, end)
    return any(starts_with_item(buffer, position, encoding, tag) for tag in (ITEM, SEQUENCE_END))


def delimiter_end(buffer: bytes, position: int, end: int | None, encoding: Encoding) -> int:
    """The position behind the next bytes of a sequence delimiter, wherever they are."""
    delimiter = b"\xff\xfe\xe0\xdd\0\0\0\0" if encoding.big_endian else b"\xfe\xff\xdd\xe0\0\0\0\0"
    size = len(buffer) if end is None else end
    found = buffer.find(delimiter, position, size)
    if found < 0:
        raise short(size + 1, end)
    return found + len(delimiter)


def fragments_end(buffer: bytes, position: int, end: int | None, encoding: Encoding) -> int:
    """The position behind the delimiter of the encapsulated data whose first item is at `position`."""
    while True:
        head = require_head(buffer, position, end, encoding)
        if head.tag == SEQUENCE_END:
            return head.start
        if head.tag != ITEM or head.length == UNDEFINED:
            raise Damaged
        position = head.start + head.length
        if position > (len(buffer) if end is None else end):
            raise short(position + 8, end)


@dataclass(frozen=True, slots=True)
class NeedMore:
    """The element at `position` is not complete.

    `position` is the start of the first unprocessed top-level element in the buffer; `at_least` a hint:
    so many bytes must be there, counted from it.
    """

    position: int
    at_least: int
