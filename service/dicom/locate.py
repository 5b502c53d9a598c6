"""Where the bytes of one value lie in a data set, found without decoding anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.dicom.elements import (
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    CutOff,
    Damaged,
    Encoding,
    Head,
    NeedMore,
    actual_encoding,
    delimiter_end,
    encoding_of,
    fragments_end,
    holds_items,
    item_encoding,
    read_head,
    require_head,
    short,
)
from service.dicom.items import DEPTH_LIMIT
from service.dicom.syntaxes import Syntax
from service.dicom.vr import BINARY, PIXEL_DATA, dictionary_entry, settle


@dataclass(frozen=True, slots=True)
class Found:
    """The place of a value.

    `position` is of its first byte in the buffer; `length` in bytes, `None` for encapsulated pixel data
    at the top level, whose end is not looked for. Of other encapsulated data it reaches to the end of
    the delimiter.
    """

    vr: str
    position: int
    length: int | None
    encapsulated: bool


@dataclass(frozen=True, slots=True)
class Skip:
    """The value sought is not before `position`, where an element starts, in or behind the buffer.

    `None` stands for the end of the encapsulated pixel data, which the caller knows.
    """

    position: int | None


def find_value(
    buffer: bytes, syntax: Syntax, path: Sequence[int], position: int = 0, *, final: bool = False
) -> Found | Skip | NeedMore | None:
    """The place of the value at `path`, searched from the top-level element at `position`.

    `path` is a tag, or a sequence's tag, an item number from 1, a tag, and so on. After `Skip` and
    `NeedMore` the search goes on with a buffer that begins at the position they name; `final` says that
    the data set ends with this buffer. `None` if the value is not there.
    """
    encoding = encoding_of(syntax)
    if position + 8 <= len(buffer):
        encoding = actual_encoding(buffer, position, encoding)
    try:
        while True:
            head = read_head(buffer, position, len(buffer), encoding)
            if head is None:
                return None if final else NeedMore(position, 12)
            if head.tag == path[0]:
                return _descend(buffer, head, encoding, path, None, 0)
            if head.length == UNDEFINED:
                if head.tag in PIXEL_DATA:
                    return Skip(None)
                position = _behind(buffer, head, encoding, None, 0)
            elif head.start + head.length > len(buffer):
                return None if final else Skip(head.start + head.length)
            else:
                position = head.start + head.length
    except CutOff as cut:
        return None if final else NeedMore(position, cut.needed - position)
    except Damaged:
        return None


def _descend(
    buffer: bytes, head: Head, encoding: Encoding, path: Sequence[int], end: int | None, depth: int
) -> Found | None:
    """The place of the value at `path`, whose first tag is that of `head`."""
    if len(path) == 1:
        return _found(buffer, head, encoding, end, top=depth == 0)
    number = path[1]
    encoding = _inner(head, encoding)
    position = head.start
    stop = None if head.length == UNDEFINED else head.start + head.length
    if stop is not None and stop > (len(buffer) if end is None else end):
        raise short(stop, end)
    end = end if stop is None else stop
    while stop is None or position < stop:
        item = require_head(buffer, position, end, encoding)
        if item.tag != ITEM:
            return None
        number -= 1
        if number == 0:
            return _in_item(buffer, item, encoding, path[2:], end, depth + 1)
        position = _item_behind(buffer, item, encoding, end, depth + 1)
    return None


def _in_item(
    buffer: bytes, item: Head, encoding: Encoding, path: Sequence[int], end: int | None, depth: int
) -> Found | None:
    position = item.start
    stop = None if item.length == UNDEFINED else item.start + item.length
    end = end if stop is None else stop
    encoding = item_encoding(buffer, position, len(buffer) if end is None else end, encoding)
    while stop is None or position < stop:
        head = require_head(buffer, position, end, encoding)
        if head.tag == ITEM_END:
            return None
        if head.tag == path[0]:
            return _descend(buffer, head, encoding, path, end, depth)
        position = _behind(buffer, head, encoding, end, depth)
    return None


def _found(buffer: bytes, head: Head, encoding: Encoding, end: int | None, *, top: bool) -> Found:
    vr = head.vr if head.vr not in ("", "??") else _dictionary_vr(head)
    if head.length != UNDEFINED:
        return Found(vr, head.start, head.length, encapsulated=False)
    encapsulated = not _is_sequence(head)
    if top and encapsulated:
        return Found("OB" if head.tag in PIXEL_DATA else vr, head.start, None, encapsulated=True)
    behind = _behind(buffer, head, encoding, end, 0)
    return Found("OB" if head.tag in PIXEL_DATA else vr, head.start, behind - head.start, encapsulated)


def _dictionary_vr(head: Head) -> str:
    return settle(dictionary_entry(head.tag), signed=False, words=head.length // 2)


def _is_sequence(head: Head) -> bool:
    """Whether a value of undefined length is no encapsulated data."""
    if head.tag in PIXEL_DATA:
        return False
    vr = head.vr or _dictionary_vr(head)
    return vr == "UN" or vr not in BINARY


def _inner(head: Head, encoding: Encoding) -> Encoding:
    """The encoding of the items of a sequence; that of UN is implicit VR (PS3.5 6.2.2)."""
    if head.vr != "UN":
        return encoding
    return EXPLICIT if head.length == UNDEFINED else IMPLICIT


def _behind(buffer: bytes, head: Head, encoding: Encoding, end: int | None, depth: int) -> int:
    """The position behind the element of `head`."""
    if depth > DEPTH_LIMIT:
        raise Damaged
    if head.length != UNDEFINED:
        behind = head.start + head.length
        if behind > (len(buffer) if end is None else end):
            raise short(behind, end)
        return behind
    encoding = _inner(head, encoding)
    if not _is_sequence(head):
        return fragments_end(buffer, head.start, end, encoding)
    position = head.start
    if not holds_items(buffer, position, end, encoding):
        return delimiter_end(buffer, position, end, encoding)
    while True:
        item = require_head(buffer, position, end, encoding)
        if item.tag == SEQUENCE_END:
            return item.start
        position = _item_behind(buffer, item, encoding, end, depth + 1)


def _item_behind(buffer: bytes, item: Head, encoding: Encoding, end: int | None, depth: int) -> int:
    if item.tag != ITEM:
        raise Damaged
    if item.length != UNDEFINED:
        return _behind(buffer, item, encoding, end, depth)
    encoding = item_encoding(buffer, item.start, len(buffer) if end is None else end, encoding)
    position = item.start
    while True:
        head = require_head(buffer, position, end, encoding)
        if head.tag == ITEM_END:
            return head.start
        position = _behind(buffer, head, encoding, end, depth)
