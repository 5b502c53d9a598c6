"""Explicit VR Little Endian data sets, written anew in Implicit VR Little Endian as they arrive (PS3.5 A.1).

Values are copied, pixel data among them; only the heads of elements change. Sequences and items come out
with undefined length, group lengths are dropped, private and unknown elements stay. What is damaged inside
a defined length costs what follows it there, elsewhere the data set cannot be written anew.
"""

import struct
from collections.abc import Buffer
from dataclasses import dataclass

from service.dicom.elements import (
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    Encoding,
    item_encoding,
    read_head,
)
from service.dicom.errors import NotDicom
from service.dicom.vr import BINARY, PIXEL_DATA, WORD

_HEAD = struct.Struct("<HHI")
_MAX_DEPTH = 128  # sequences and items, each of the header walker's 64 levels
_ITEM_HEAD = 8


@dataclass(slots=True)
class _Open:
    """A sequence or an item that is not at its end; `end` is `None` where a delimiter tells it."""

    is_item: bool
    end: int | None
    limit: int | None
    encoding: Encoding


class ImplicitWriter:
    """Takes a data set in blocks and gives what of it can be told in Implicit VR Little Endian."""

    def __init__(self) -> None:
        self._held = b""
        self._position = 0  # in what was taken, of the first byte that is held
        self._value = 0  # bytes of the current value that are still to come
        self._keeps = True
        self._padding = b""
        self._open: list[_Open] = []
        self._only_zeros = False

    def push(self, block: Buffer) -> list[Buffer]:
        """What follows once `block` is there. `NotDicom` if the data set cannot be written anew."""
        data = self._held + bytes(block) if self._held else bytes(block)
        view = memoryview(data)
        at = 0
        made: list[Buffer] = []
        while True:
            if self._value:
                step = min(self._value, len(data) - at)
                if step and self._keeps:
                    made.append(view[at : at + step])
                at += step
                self._position += step
                self._value -= step
                if self._value:
                    break
                if self._padding:
                    made.append(self._padding)
                    self._padding = b""
            self._close(made)
            length = self._element(data, at, made)
            if length is None:
                break
            at += length
            self._position += length
        self._held = data[at:]
        return made

    def end(self) -> None:
        """Say that nothing more comes. `NotDicom` if that is inside of something."""
        if self._value or self._open or self._held.strip(b"\0"):
            raise NotDicom("The data set ends before its last element does.")

    def _close(self, made: list[Buffer]) -> None:
        """End what has a defined length that is over."""
        while self._open and self._open[-1].end == self._position:
            closed = self._open.pop()
            made.append(_HEAD.pack(0xFFFE, 0xE00D if closed.is_item else 0xE0DD, 0))

    def _element(self, data: bytes, at: int, made: list[Buffer]) -> int | None:
        """The size of the head at `at`, which has been dealt with; `None` if more bytes are needed."""
        around = self._open[-1] if self._open else None
        limit = None if around is None else around.limit
        room = len(data) - at if limit is None else min(len(data) - at, limit - self._position)
        if around is None and (self._only_zeros or data[at : at + 4] == bytes(4)):
            return self._trailing(data, at)
        encoding = EXPLICIT if around is None else around.encoding
        head = read_head(data, at, at + room, encoding)
        if head is None:
            cut = limit is not None and (limit - self._position < _ITEM_HEAD or room < len(data) - at)
            return self._damaged(limit) if cut else None
        size = head.start - at
        if around is not None and not around.is_item:
            return self._item(data, at, head.tag, head.length, around, made)
        if head.tag == ITEM_END and around is not None and around.end is None:
            self._open.pop()
            made.append(_HEAD.pack(0xFFFE, 0xE00D, 0))
            return size
        if head.tag >> 16 == 0xFFFE:
            return self._damaged(limit)
        past = self._position + size
        if head.length != UNDEFINED and limit is not None and past + head.length > limit:
            return self._damaged(limit)
        self._begin(head.tag, head.vr, head.length, past, around, made)
        return size

    def _begin(
        self, tag: int, vr: str, length: int, past: int, around: _Open | None, made: list[Buffer]
    ) -> None:
        group, element = tag >> 16, tag & 0xFFFF
        implicit = around is not None and around.encoding.implicit
        if length == UNDEFINED and tag in PIXEL_DATA:
            raise NotDicom("Encapsulated pixel data stand in a transfer syntax that does not allow them.")
        if length == UNDEFINED or (vr == "SQ" and not implicit):
            made.append(_HEAD.pack(group, element, UNDEFINED))
            end = None if length == UNDEFINED else past + length
            limit = end if end is not None or around is None else around.limit
            # The items of UN are in Implicit VR Little Endian whatever surrounds them (PS3.5 6.2.2);
            # some writers leave them explicit, which each item shows.
            self._enter(_Open(False, end, limit, IMPLICIT if implicit else EXPLICIT))
            return
        self._keeps = element != 0
        self._value = length
        if not self._keeps:
            return
        odd = length % 2
        made.append(_HEAD.pack(group, element, length + odd))
        if odd:
            self._padding = b"\0" if vr in BINARY or vr in WORD or vr in ("UI", "") else b" "

    def _item(
        self, data: bytes, at: int, tag: int, length: int, around: _Open, made: list[Buffer]
    ) -> int | None:
        """A head inside of a sequence: an item's, or the sequence's delimiter."""
        if tag == SEQUENCE_END and around.end is None:
            self._open.pop()
            made.append(_HEAD.pack(0xFFFE, 0xE0DD, 0))
            return _ITEM_HEAD
        if tag != ITEM:
            return self._damaged(around.limit)
        past = self._position + _ITEM_HEAD
        end = None if length == UNDEFINED else past + length
        if end is not None and around.limit is not None and end > around.limit:
            end = around.limit
        begins = at + _ITEM_HEAD
        needed = _ITEM_HEAD if end is None else min(_ITEM_HEAD, end - past)
        if len(data) - begins < needed:
            return None
        encoding = item_encoding(data, begins, begins + needed, around.encoding)
        made.append(_HEAD.pack(0xFFFE, 0xE000, UNDEFINED))
        self._enter(_Open(True, end, around.limit if end is None else end, encoding))
        return _ITEM_HEAD

    def _enter(self, opened: _Open) -> None:
        if len(self._open) == _MAX_DEPTH:
            raise NotDicom("Sequences are nested too deep.")
        self._open.append(opened)

    def _damaged(self, limit: int | None) -> int:
        """Pass over the rest of the innermost defined length, and end with it what is open inside."""
        if limit is None or limit < self._position:
            raise NotDicom("The data set cannot be walked to its end.")
        for opened in reversed(self._open):
            if opened.end == limit:
                break
            opened.end = limit  # its delimiter will not be found any more
        self._keeps = False
        self._value = limit - self._position
        return 0

    def _trailing(self, data: bytes, at: int) -> int | None:
        """Zero bytes, which some writers leave behind the last element."""
        self._only_zeros = True
        if data[at:].strip(b"\0"):
            raise NotDicom("The data set cannot be walked to its end.")
        return len(data) - at or None
