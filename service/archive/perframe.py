"""Stored DICOM JSON read for single frames: the functional groups of the others are not parsed (C.7.6.16)."""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, overload

import orjson

from service.dicom.members import Sought, items, members
from service.dicom.record import BASE_SLOT, SYNTAXES_SLOT

_PER_FRAME = 0x52009230
_NAMED = b'"52009230":'
_SOUGHT = Sought.of([_PER_FRAME])
_LARGE = 64 << 10  # bytes; shorter documents are parsed as fast as they are cut
_PARSED = 12  # times the size of the JSON, and so many bytes for each object in it, its values take in memory
_OBJECT_BYTES = 64


class Items(Sequence[Any]):
    """The items of a sequence, each parsed when it is asked for."""

    __slots__ = ("_document", "_ends", "_starts")

    def __init__(self, document: bytes, start: int) -> None:
        """The first item begins at `start`, the others follow it with commas between."""
        self._document = document
        self._starts, self._ends = array("q"), array("q")
        for begin, end in items(document, start):
            self._starts.append(begin)
            self._ends.append(end)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return orjson.loads(self._document[self._starts[index] : self._ends[index]])


def parsed(document: bytes, *, most_bytes: int) -> tuple[Mapping[str, Any], int]:
    """The attributes of a stored document, and about how many bytes of memory they take.

    Items are told apart without being parsed where the result is worth keeping: where it takes no more than
    `most_bytes`. To look for them once takes as long as to parse all.
    """
    filled = document.replace(BASE_SLOT, b"").replace(SYNTAXES_SLOT, b"")
    if len(filled) >= _LARGE and _NAMED in filled:
        for member in members(filled, sought=_SOUGHT):
            if member.tag == _PER_FRAME and member.items and 2 * len(filled) <= most_bytes:
                return _cut(filled, member.start, member.end, member.items)
    found: Mapping[str, Any] = orjson.loads(filled)
    return found, _size(filled)


def _size(document: bytes) -> int:
    return _PARSED * len(document) + _OBJECT_BYTES * document.count(b"{")


def _cut(document: bytes, start: int, end: int, first: int) -> tuple[Mapping[str, Any], int]:
    """The attributes without the member from `start` to `end`, and its items, the first one at `first`."""
    rest = document[:start] + b'"52009230":null' + document[end:]
    groups = Items(document, first)
    found: dict[str, Any] = orjson.loads(rest)
    found[f"{_PER_FRAME:08X}"] = {"vr": "SQ", "Value": groups}
    return found, _size(rest) + len(document) + 16 * len(groups)
