"""Data sets in Implicit VR or big endian, written anew in Explicit VR Little Endian (PS3.5 7, A.2).

Element by element while it streams: values are copied, turned by the width of their words where they
are big endian, and never decoded. Sequences and items come out with undefined length, group lengths are
dropped, private and unknown elements stay.
"""

import struct
from collections.abc import Buffer, Callable, Iterator

from service.dicom.elements import (
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    Encoding,
    Head,
    actual_encoding,
    as_implicit,
    item_encoding,
    read_head,
)
from service.dicom.errors import NotDicom
from service.dicom.frames import Extent
from service.dicom.scope import Scope
from service.dicom.vr import BINARY, LONG, PIXEL_DATA, WORD, is_private_creator

Read = Callable[[Extent], Buffer]

_MAX_DEPTH = 200
_WINDOW = 64 << 10
_HEAD = 12  # bytes of the longest element head
_PIXEL_REPRESENTATION = 0x00280103
_ITEM_BEGINS = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
_ITEM_ENDS = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
_SEQUENCE_ENDS = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def explicit_little(read: Read, extent: Extent, encoding: Encoding, *, block_size: int) -> Iterator[bytes]:
    """The data set that lies in `extent`, as blocks of Explicit VR Little Endian.

    `read` gives any bytes of the object, up to `block_size` at a time. `NotDicom` if it cannot be walked.
    """
    cursor = _Cursor(read, extent.offset, extent.end, block_size)
    encoding = actual_encoding(cursor.peek(), 0, encoding)
    gathered: list[bytes] = []
    size = 0
    for block in _data_set(cursor, extent.end, Scope(encoding)):
        gathered.append(block)
        size += len(block)
        if size >= _WINDOW:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)


def swapped(value: bytes, width: int) -> bytes:
    """`value` with the bytes of each word of `width` bytes in reverse; an incomplete last word stays."""
    whole = len(value) - len(value) % width
    turned = bytearray(value)
    for byte in range(width):
        turned[byte:whole:width] = value[width - 1 - byte : whole : width]
    return bytes(turned)


class _Cursor:
    """A place in an object that moves forward, with a window of bytes from there on."""

    def __init__(self, read: Read, position: int, end: int, block_size: int) -> None:
        self._read = read
        self._end = end
        self._block_size = block_size
        self._base = position
        self._window = b""
        self.position = position

    def head(self, encoding: Encoding) -> Head:
        """The head of the element here; the cursor moves to its value."""
        self._fill(_HEAD)
        at = self.position - self._base
        head = read_head(self._window, at, len(self._window), encoding)
        if head is None:
            raise NotDicom("The data set ends inside an element.")
        self.position = self._base + head.start
        return head

    def peek(self) -> bytes:
        """The next bytes, enough for the head of an element; the cursor stays."""
        self._fill(_HEAD)
        at = self.position - self._base
        return self._window[at : at + _HEAD]

    def value(self, length: int) -> Iterator[bytes]:
        """The next `length` bytes, in blocks; the cursor moves behind them."""
        if self.position + length > self._end:
            raise NotDicom("The data set ends inside an element's value.")
        left = length
        while left:
            step = min(left, self._block_size)
            if self.position + step <= self._base + len(self._window):
                at = self.position - self._base
                block = self._window[at : at + step]
            else:
                block = bytes(self._read(Extent(self.position, step)))
            self.position += step
            left -= step
            yield block

    def _fill(self, wanted: int) -> None:
        if self.position + wanted > self._base + len(self._window):
            length = min(_WINDOW, self._end - self.position)
            self._window = bytes(self._read(Extent(self.position, length))) if length > 0 else b""
            self._base = self.position


def _data_set(cursor: _Cursor, end: int | None, scope: Scope) -> Iterator[bytes]:
    """The elements up to `end`, or up to the item's delimiter where `end` is `None`."""
    if scope.depth > _MAX_DEPTH:
        raise NotDicom(f"Sequences are nested more than {_MAX_DEPTH} deep.")
    while end is None or cursor.position < end:
        head = cursor.head(scope.encoding)
        if head.tag == ITEM_END and end is None:
            return
        if head.tag >> 16 == 0xFFFE:
            raise NotDicom("An item delimiter stands where an element should be.")
        vr = head.vr if head.vr not in ("", "??") else _vr(head, scope)
        if vr == "SQ" or (head.length == UNDEFINED and head.tag not in PIXEL_DATA):
            yield from _sequence(cursor, head, vr, scope)
        elif head.length == UNDEFINED:
            raise NotDicom("The pixel data are encapsulated in a transfer syntax that does not allow it.")
        elif head.tag & 0xFFFF == 0:
            for _ in cursor.value(head.length):
                pass
        else:
            yield from _element(cursor, head, vr, scope)


def _vr(head: Head, scope: Scope) -> str:
    return scope.vr_of(head.tag, head.length)[0] if scope.encoding.implicit else "UN"


def _sequence(cursor: _Cursor, head: Head, vr: str, scope: Scope) -> Iterator[bytes]:
    # A value of UN and undefined length is in Implicit VR whatever surrounds it (PS3.5 6.2.2).
    encoding = scope.encoding if vr == "SQ" else as_implicit(scope.encoding)
    yield _head(head.tag, "SQ", UNDEFINED)
    end = None if head.length == UNDEFINED else cursor.position + head.length
    number = 0
    while end is None or cursor.position < end:
        item = cursor.head(encoding)
        if item.tag == SEQUENCE_END and end is None:
            break
        if item.tag != ITEM:
            raise NotDicom("A sequence holds something that is not an item.")
        number += 1
        item_end = None if item.length == UNDEFINED else cursor.position + item.length
        shown = item_encoding(cursor.peek(), 0, min(_HEAD, item.length), encoding)
        inner = Scope(shown, scope, head.tag, number)
        yield _ITEM_BEGINS
        yield from _data_set(cursor, item_end, inner)
        yield _ITEM_ENDS
    yield _SEQUENCE_ENDS


def _element(cursor: _Cursor, head: Head, vr: str, scope: Scope) -> Iterator[bytes]:
    padded = head.length + head.length % 2
    if vr not in LONG and padded > 0xFFFE:
        vr = "UN"  # PS3.5 6.2.2: the length does not fit the field that the VR has
    yield _head(head.tag, vr, padded)
    width = WORD.get(vr, 1) if scope.encoding.big_endian else 1
    remembered = b""
    for block in cursor.value(head.length):
        turned = swapped(block, width) if width > 1 else block
        if len(remembered) < 64:
            remembered += turned[:64]
        yield turned
    if padded > head.length:
        yield b"\0" if vr in BINARY or vr in WORD or vr == "UI" else b" "  # PS3.5 6.2
    if is_private_creator(head.tag):
        scope.reserve(head.tag, remembered[: head.length].decode("latin-1").strip(" \0"))
    elif head.tag == _PIXEL_REPRESENTATION:
        scope.signed = remembered[:2] == b"\x01\x00"


def _head(tag: int, vr: str, length: int) -> bytes:
    if vr in LONG:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), 0, length)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), length)
