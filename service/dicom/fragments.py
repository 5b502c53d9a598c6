"""Encapsulated pixel data (PS3.5 A.4): its fragments as they stream by, and the frames they make."""

import array
import itertools
import struct
from collections.abc import Buffer, Sequence
from dataclasses import dataclass

from service.dicom.errors import NotDicom
from service.dicom.frames import FrameTable
from service.dicom.syntaxes import Form, Syntax

_ITEM = 0xE000FFFE
_DELIMITER = 0xE0DDFFFE
_UNDEFINED = 0xFFFFFFFF
# What a codestream begins with: SOI of the JPEG family, SOC of JPEG 2000, and JPEG XL's signature.
_STARTS = frozenset((b"\xff\xd8", b"\xff\x4f", b"\xff\x0a"))
MAX_FRAGMENTS = 1 << 22
_MAX_BASIC_TABLE = 4 * MAX_FRAGMENTS


@dataclass(frozen=True, slots=True)
class Fragments:
    """The fragments of one pixel data element.

    `offsets` are those of the item tags, behind the Basic Offset Table; `end` is where the sequence
    delimiter begins; `starts` tells of each fragment whether a codestream begins in it. `basic_table`
    holds the Basic Offset Table's value.
    """

    offsets: Sequence[int]
    starts: Sequence[int]
    basic_table: bytes
    end: int


class FragmentScan:
    """Walks the items of encapsulated pixel data by their lengths, keeping none of their bytes."""

    def __init__(self, offset: int) -> None:
        """`offset` is the place of the first item tag in the object."""
        self._position = offset
        self._head = b""
        self._skip = 0
        self._probe: bytes | None = None
        self._table: bytearray | None = None
        self._table_left = -1
        self._offsets = array.array("Q")
        self._starts = array.array("B")
        self.fragments: Fragments | None = None
        """Set once the sequence delimiter has passed."""

    def push(self, view: memoryview) -> int:
        """Take the bytes that follow; how many of them belong to the pixel data."""
        at, size = 0, len(view)
        while at < size and self.fragments is None:
            if self._table_left > 0:
                at += self._take_table(view[at:])
            elif self._skip and self._probe is not None:
                at += self._take_probe(view[at:])
            elif self._skip:
                step = min(self._skip, size - at)
                self._skip -= step
                self._position += step
                at += step
            else:
                at += self._take_head(view[at:])
        return at

    @property
    def passable(self) -> int:
        """How many of the bytes that follow are inside a fragment and need not be pushed."""
        return self._skip if self._probe is None and self._table_left <= 0 else 0

    def pass_over(self, size: int) -> None:
        """Go on behind the next `size` bytes, at most `passable`."""
        self._skip -= size
        self._position += size

    def _take_head(self, view: memoryview) -> int:
        taken = bytes(view[: 8 - len(self._head)])
        self._head += taken
        if len(self._head) < 8:
            return len(taken)
        tag, length = struct.unpack("<II", self._head)
        self._head = b""
        if tag == _DELIMITER:
            table = bytes(self._table or b"")
            self.fragments = Fragments(self._offsets, self._starts, table, self._position)
        elif tag != _ITEM or length == _UNDEFINED:
            raise NotDicom("The encapsulated pixel data are not a sequence of items (PS3.5 A.4).")
        elif self._table is None:
            self._begin_table(length)
        else:
            self._begin_fragment(length)
        self._position += 8
        return len(taken)

    def _begin_table(self, length: int) -> None:
        if length > _MAX_BASIC_TABLE:
            raise NotDicom("The Basic Offset Table is longer than any number of frames explains.")
        self._table = bytearray()
        self._table_left = length

    def _begin_fragment(self, length: int) -> None:
        if len(self._offsets) >= MAX_FRAGMENTS:
            raise NotDicom(f"The pixel data have more than {MAX_FRAGMENTS} fragments.")
        self._offsets.append(self._position)
        self._starts.append(0)
        self._skip = length
        self._probe = b""

    def _take_table(self, view: memoryview) -> int:
        assert self._table is not None
        taken = view[: self._table_left]
        self._table += taken
        self._table_left -= len(taken)
        self._position += len(taken)
        return len(taken)

    def _take_probe(self, view: memoryview) -> int:
        assert self._probe is not None
        taken = bytes(view[: min(self._skip, 2 - len(self._probe))])
        self._probe += taken
        self._skip -= len(taken)
        self._position += len(taken)
        if len(self._probe) == 2:
            self._starts[-1] = self._probe in _STARTS
            self._probe = None
        return len(taken)


def frame_table(
    fragments: Fragments, frames: int, syntax: Syntax, extended_table: bytes = b""
) -> FrameTable | None:
    """Which fragments make which frame (PS3.5 A.4), or `None` where it cannot be told.

    Counts that leave no choice come first, then the Extended and the Basic Offset Table if each of
    their offsets hits a fragment, then the marks by which codestreams begin.
    """
    if syntax.form is not Form.FRAMES or frames < 1 or len(fragments.offsets) < frames:
        return None
    if len(fragments.offsets) == frames:
        return _table(fragments.offsets, fragments.end)
    if frames == 1:
        return _table(fragments.offsets[:1], fragments.end)
    for table, width in ((extended_table, "Q"), (fragments.basic_table, "I")):
        firsts = _firsts_by_table(fragments, frames, table, width)
        if firsts is not None:
            return _table(firsts, fragments.end)
    marked = array.array("Q", itertools.compress(fragments.offsets, fragments.starts))
    if len(marked) == frames and marked[0] == fragments.offsets[0]:
        return _table(marked, fragments.end)
    return None


def _table(firsts: Sequence[int], end: int) -> FrameTable:
    offsets = array.array("Q", firsts)
    offsets.append(end)
    return FrameTable(offsets)


def _firsts_by_table(fragments: Fragments, frames: int, table: bytes, width: str) -> Sequence[int] | None:
    """The places of the frames' first fragments by an offset table; `None` if one is not a fragment's."""
    size = struct.calcsize("<" + width)
    if len(table) != frames * size:
        return None
    base = fragments.offsets[0]
    known = iter(fragments.offsets)
    firsts = array.array("Q")
    for (offset,) in struct.iter_unpack("<" + width, table):
        first = base + offset
        if (not firsts and offset) or first not in known:  # goes on where the last one was found
            return None
        firsts.append(first)
    return firsts


def frame_payload(items: Buffer) -> bytes | memoryview:
    """The codestream of one frame from its items: fragments joined, tags and padding removed."""
    parts: list[memoryview] = []
    view = memoryview(items)
    position = 0
    while position + 8 <= len(view):
        tag, length = struct.unpack_from("<II", view, position)
        if tag != _ITEM or position + 8 + length > len(view):
            raise NotDicom("The frame's items are damaged.")
        parts.append(view[position + 8 : position + 8 + length])
        position += 8 + length
    return parts[0] if len(parts) == 1 else b"".join(parts)
