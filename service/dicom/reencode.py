"""Data sets in Implicit VR or big endian, written anew in Explicit VR Little Endian (PS3.5 7, A.2).

Element by element while it streams: values are copied, turned by the width of their words where they
are big endian, and never decoded. Sequences and items come out with undefined length, group lengths are
dropped, private and unknown elements stay. Damage is treated as the header walker treats it: inside a
defined length it costs what follows it there, elsewhere the data set cannot be written anew.
"""

import struct
from collections.abc import Buffer, Callable, Iterator, Mapping

from service.dicom.elements import (
    EXPLICIT,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    Encoding,
    Head,
    actual_encoding,
    item_encoding,
    read_head,
)
from service.dicom.errors import NotDicom
from service.dicom.frames import Extent
from service.dicom.scope import Scope
from service.dicom.vr import BINARY, LONG, PIXEL_DATA, WORD, is_private_creator

Read = Callable[[Extent], Buffer]

_NOTHING: Mapping[int, bytes | None] = {}
_MAX_DEPTH = 64  # as the header walker
_MAX_DELIMITED = 32 << 20
_WINDOW = 64 << 10
_HEAD = 12  # bytes of the longest element head
_BITS_ALLOCATED, _PIXEL_REPRESENTATION, _PIXEL_DATA = 0x00280100, 0x00280103, 0x7FE00010
_ENCAPSULATED = frozenset(("OB", "OD", "OF", "OL", "OV", "OW"))
_ITEM_BEGINS = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
_ITEM_ENDS = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
_SEQUENCE_ENDS = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def explicit_little(
    read: Read,
    extent: Extent,
    encoding: Encoding,
    *,
    block_size: int,
    changed: Mapping[int, bytes | None] = _NOTHING,
) -> Iterator[bytes]:
    """The data set that lies in `extent`, as blocks of Explicit VR Little Endian.

    `read` gives any bytes of the object, up to `block_size` at a time. `changed` holds top-level elements
    by tag that take the place of those there or come beside them, or `None` for those that go.
    `NotDicom` if it cannot be walked.
    """
    whole_words = max(block_size // 8, 1) * 8
    cursor = _Cursor(read, extent.offset, extent.end, whole_words)
    cursor.pending = sorted((tag for tag in changed), reverse=True)
    cursor.changed = changed
    encoding = actual_encoding(cursor.peek(), 0, encoding)
    gathered: list[bytes] = []
    size = 0
    try:
        for block in _data_set(cursor, extent.end, extent.end, Scope(encoding)):
            gathered.append(block)
            size += len(block)
            if size >= _WINDOW:
                yield b"".join(gathered)
                gathered, size = [], 0
        gathered += cursor.due(None)
    except _Damaged:
        raise NotDicom("The data set cannot be walked to its end.") from None
    yield b"".join(gathered)


def swapped(value: bytes, width: int) -> bytes:
    """`value` with the bytes of each word of `width` bytes in reverse; an incomplete last word stays."""
    whole = len(value) - len(value) % width
    turned = bytearray(value)
    for byte in range(width):
        turned[byte:whole:width] = value[width - 1 - byte : whole : width]
    return bytes(turned)


class _Damaged(Exception):
    """Lengths and tags inside an element contradict one another."""


class _Cursor:
    """A place in an object that moves forward, with a window of bytes from there on."""

    def __init__(self, read: Read, position: int, end: int, block_size: int) -> None:
        self._read = read
        self._end = end
        self._block_size = block_size
        self._base = position
        self._window = b""
        self.position = position
        self.changed: Mapping[int, bytes | None] = _NOTHING
        self.pending: list[int] = []
        self.dropping = False
        self.allocated = 0  # bits, of a sample of the pixel data

    def due(self, tag: int | None) -> list[bytes]:
        """The changed elements that come before `tag`, or all that are left."""
        found: list[bytes] = []
        while self.pending and (tag is None or self.pending[-1] <= tag):
            found.append(self.changed[self.pending.pop()] or b"")
        return found

    def peek(self) -> bytes:
        """The next bytes, enough for the head of an element; the cursor stays."""
        self._fill(_HEAD)
        at = self.position - self._base
        return self._window[at : at + _HEAD]

    def head(self, encoding: Encoding, limit: int) -> Head:
        """The head of the element here, which ends before `limit`; the cursor moves to its value."""
        head = read_head(self.peek(), 0, min(_HEAD, limit - self.position), encoding)
        if head is None:
            raise _Damaged
        self.position += head.start
        return head

    def value(self, length: int) -> Iterator[bytes]:
        """The next `length` bytes, in blocks; the cursor moves behind them."""
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

    def only_zeros_left(self) -> bool:
        """Whether nothing but zero bytes follows; if so the cursor moves behind them."""
        if self.peek()[:4].strip(b"\0"):
            return False
        position = self.position
        if all(not block.strip(b"\0") for block in self.value(self._end - position)):
            return True
        self.position = position
        return False

    def _fill(self, wanted: int) -> None:
        inside = self._base <= self.position <= self._base + len(self._window)
        if not inside or self.position + wanted > self._base + len(self._window):
            length = min(_WINDOW, self._end - self.position)
            self._window = bytes(self._read(Extent(self.position, length))) if length > 0 else b""
            self._base = self.position


def _data_set(cursor: _Cursor, end: int | None, limit: int, scope: Scope) -> Iterator[bytes]:
    """The elements up to `end`, or up to the item's delimiter where `end` is `None`.

    `limit` is where the innermost defined length around them ends.
    """
    if scope.depth > _MAX_DEPTH:
        raise NotDicom(f"Sequences are nested more than {_MAX_DEPTH} deep.")
    while end is None or cursor.position < end:
        if scope.outer is None and cursor.only_zeros_left():
            return  # which some writers leave behind the last element
        head = cursor.head(scope.encoding, limit)
        if head.tag == ITEM_END and end is None:
            return
        if head.tag >> 16 == 0xFFFE:
            raise _Damaged
        if scope.outer is None and cursor.pending:
            yield from cursor.due(head.tag)
        if scope.outer is None and head.tag in cursor.changed:
            cursor.dropping = True
            for _ in _any_element(cursor, head, limit, scope):
                pass
            cursor.dropping = False
            continue
        yield from _any_element(cursor, head, limit, scope)


def _any_element(cursor: _Cursor, head: Head, limit: int, scope: Scope) -> Iterator[bytes]:
    """The element whose head has been read, whatever it holds."""
    vr = head.vr if head.vr not in ("", "??") else _vr(head, scope)
    if head.length != UNDEFINED and cursor.position + head.length > limit:
        raise _Damaged
    if head.length == UNDEFINED and (head.tag in PIXEL_DATA or vr in _ENCAPSULATED):
        if not cursor.dropping:
            raise NotDicom("Encapsulated data stand in a transfer syntax that does not allow them.")
        _pass_fragments(cursor, limit, scope)
    elif head.length == UNDEFINED and vr not in ("SQ", "UN") and not _holds_items(cursor, scope):
        yield from _delimited(cursor, head, vr, limit, scope)
    elif vr == "SQ" or head.length == UNDEFINED:
        yield from _sequence(cursor, head, vr, limit, scope)
    elif head.tag & 0xFFFF == 0:
        for _ in cursor.value(head.length):
            pass
    else:
        yield from _element(cursor, head, vr, scope)


def _pass_fragments(cursor: _Cursor, limit: int, scope: Scope) -> None:
    """Move behind the items of an encapsulated value and their delimiter."""
    while (item := cursor.head(scope.encoding, limit)).tag != SEQUENCE_END:
        if item.tag != ITEM or item.length == UNDEFINED or cursor.position + item.length > limit:
            raise _Damaged
        cursor.position += item.length


def _vr(head: Head, scope: Scope) -> str:
    return scope.vr_of(head.tag, head.length)[0] if scope.encoding.implicit else "UN"


def _holds_items(cursor: _Cursor, scope: Scope) -> bool:
    first = read_head(cursor.peek(), 0, _HEAD, scope.encoding)
    return first is not None and first.tag in (ITEM, SEQUENCE_END)


def _delimited(cursor: _Cursor, head: Head, vr: str, limit: int, scope: Scope) -> Iterator[bytes]:
    """A value that ends in a delimiter although it is no sequence, given a length."""
    delimiter = swapped(_SEQUENCE_ENDS[:4], 2) if scope.encoding.big_endian else _SEQUENCE_ENDS[:4]
    delimiter += bytes(4)
    value = b"".join(cursor.value(min(_MAX_DELIMITED, limit - cursor.position)))
    length = value.find(delimiter)
    if length < 0:
        raise _Damaged
    cursor.position += length + len(delimiter) - len(value)
    content = value[:length] + (b"\0" * (length % 2))
    width = WORD.get(vr, 1) if scope.encoding.big_endian else 1
    yield _head(head.tag, vr if vr in LONG or len(content) <= 0xFFFE else "UN", len(content))
    yield swapped(content, width) if width > 1 else content


def _sequence(cursor: _Cursor, head: Head, vr: str, limit: int, scope: Scope) -> Iterator[bytes]:
    # The items of UN are in Implicit VR Little Endian whatever surrounds them (PS3.5 6.2.2); some
    # writers leave them explicit, which each item shows.
    encoding = scope.encoding if vr == "SQ" or scope.encoding.implicit else EXPLICIT
    yield _head(head.tag, "SQ", UNDEFINED)
    stop = None if head.length == UNDEFINED else cursor.position + head.length
    try:
        yield from _items(cursor, stop, limit if stop is None else stop, encoding, head.tag, scope)
    except _Damaged:
        yield _SEQUENCE_ENDS
        if stop is None:  # nothing tells where to go on
            raise
        cursor.position = stop
        return
    yield _SEQUENCE_ENDS


def _items(
    cursor: _Cursor, stop: int | None, limit: int, encoding: Encoding, tag: int, outer: Scope
) -> Iterator[bytes]:
    """The items up to `stop`, or to the sequence's delimiter.

    What is damaged in an item of defined length ends there; in an undefined one it ends the sequence.
    """
    number = 0
    while stop is None or cursor.position < stop:
        item = cursor.head(encoding, limit)
        if item.tag == SEQUENCE_END and stop is None:
            return
        if item.tag != ITEM:
            raise _Damaged
        number += 1
        end = None if item.length == UNDEFINED else min(cursor.position + item.length, limit)
        shown = item_encoding(cursor.peek(), 0, min(_HEAD, item.length), encoding)
        scope = Scope(shown, outer, tag, number)
        yield _ITEM_BEGINS
        try:
            yield from _data_set(cursor, end, limit if end is None else end, scope)
        except _Damaged:
            yield _ITEM_ENDS
            if end is None:
                raise
            cursor.position = end
            continue
        yield _ITEM_ENDS


def _element(cursor: _Cursor, head: Head, vr: str, scope: Scope) -> Iterator[bytes]:
    padded = head.length + head.length % 2
    if vr not in LONG and padded > 0xFFFE:
        vr = "UN"  # PS3.5 6.2.2: the length does not fit the field that the VR has
    yield _head(head.tag, vr, padded)
    width = WORD.get(vr, 1) if scope.encoding.big_endian else 1
    if width > 1 and head.tag == _PIXEL_DATA and scope.outer is None:
        # Of samples of 32 bits in OW writers turn all four bytes, whatever PS3.5 says of words.
        width = max(width, cursor.allocated // 8)
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
    elif head.tag == _BITS_ALLOCATED and scope.outer is None:
        cursor.allocated = int.from_bytes(remembered[:2], "little")


def _head(tag: int, vr: str, length: int) -> bytes:
    if vr in LONG:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), 0, length)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), length)
