"""Pictures in boxes (ISO/IEC 14496-12): JPEG XL (ISO/IEC 18181) and MP4, and MPEG-2 sequences (T.262).

Only what their headers say of the picture is read; nothing is decoded.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from service.dicom.errors import NotDicom

Peek = Callable[[int, int], bytes]
"""So many bytes from a place in a part, fewer at its end."""

_MAX_BOXES = 4096
_JXL_SIGNATURE = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_JXL_CODESTREAM = b"\xff\x0a"
_JXL_HEADER_BYTES = 64  # more than size, bit depth and colour space ever take
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_VISUAL_ENTRIES = frozenset((b"avc1", b"avc2", b"avc3", b"avc4", b"hvc1", b"hev1", b"mp4v", b"encv"))
_SEQUENCE_HEADER = b"\x00\x00\x01\xb3"
_MPEG_SEARCHED = 1 << 20


@dataclass(frozen=True, slots=True)
class Box:
    """One box: its content lies from `start` up to `end`."""

    kind: bytes
    start: int
    end: int


def boxes(peek: Peek, start: int, end: int, left: Iterator[int] | None = None) -> Iterator[Box]:
    """The boxes between two places, up to the first that reaches beyond.

    `left` counts down how many are looked at, together with those of other calls.
    """
    position = start
    for _ in left or iter(range(_MAX_BOXES)):
        head = peek(position, 16) if position < end else b""
        if len(head) < 8:
            return
        length, kind = struct.unpack_from(">I4s", head)
        begin = position + 8
        if length == 1 and len(head) == 16:
            length, begin = struct.unpack_from(">Q", head, 8)[0], position + 16
        stop = position + length if length else end
        if stop < begin or stop > end:
            return
        yield Box(kind, begin, stop)
        position = stop


@dataclass(frozen=True, slots=True)
class JxlHeader:
    """What a JPEG XL codestream says first; `xyb` is the colour space that only lossy pictures are in."""

    rows: int
    columns: int
    bits: int
    grey: bool
    xyb: bool


def jxl_header(peek: Peek, size: int) -> JxlHeader | None:
    """The header of a JPEG XL picture, bare or in boxes; `None` if it has channels beyond the colours.

    `NotDicom` if it is none.
    """
    start = 0
    if peek(0, len(_JXL_SIGNATURE)) == _JXL_SIGNATURE:
        for box in boxes(peek, 0, size):
            if box.kind in (b"jxlc", b"jxlp"):
                start = box.start + (4 if box.kind == b"jxlp" else 0)
                break
    header = peek(start, _JXL_HEADER_BYTES)
    if not header.startswith(_JXL_CODESTREAM):
        raise NotDicom("The part is not image/jxl.")
    return _jxl_metadata(_Bits(header[2:]))


class _Bits:
    """Bits of a JPEG XL header, the least significant first."""

    def __init__(self, content: bytes) -> None:
        self._left = 8 * len(content)
        self._bits = int.from_bytes(content, "little")

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise NotDicom("The codestream ends inside its header.")
        value = self._bits & ((1 << count) - 1)
        self._bits >>= count
        return value

    def choose(self, *choices: tuple[int, int]) -> int:
        """A number as one of four pairs of an offset and a count of bits."""
        offset, count = choices[self.take(2)]
        return offset + self.take(count)


def _jxl_size(bits: _Bits) -> tuple[int, int]:
    """Rows and columns."""
    small = bits.take(1)

    def side() -> int:
        return 8 * (1 + bits.take(5)) if small else bits.choose((1, 9), (1, 13), (1, 18), (1, 30))

    rows = side()
    ratio = bits.take(3)
    if not ratio:
        return rows, side()
    wide, high = _RATIOS[ratio - 1]
    return rows, rows * wide // high


def _jxl_metadata(bits: _Bits) -> JxlHeader | None:
    rows, columns = _jxl_size(bits)
    if bits.take(1):  # everything is as usual
        return JxlHeader(rows, columns, 8, grey=False, xyb=True)
    if bits.take(1):  # orientation, a size to show, a preview, an animation
        bits.take(3)
        if bits.take(1):
            _jxl_size(bits)
        if bits.take(2):
            return None
    if bits.take(1):  # floating point samples
        return None
    depth = bits.choose((8, 0), (10, 0), (12, 0), (1, 6))
    bits.take(1)
    if bits.choose((0, 0), (1, 0), (2, 4), (1, 12)):
        return None
    xyb = bool(bits.take(1))
    grey = False
    if not bits.take(1):
        bits.take(1)
        grey = bits.choose((0, 0), (1, 0), (2, 4), (18, 6)) == 1
    return JxlHeader(rows, columns, depth, grey, xyb)


def video_size(peek: Peek, size: int) -> tuple[int, int] | None:
    """Rows and columns of the video in an MP4 file or an MPEG-2 stream; `None` if it is in neither."""
    if peek(4, 4) == b"ftyp":
        return _mp4_size(peek, size)
    beginning = peek(0, min(size, _MPEG_SEARCHED))
    found = beginning.find(_SEQUENCE_HEADER)
    sides = beginning[found + 4 : found + 7]
    if found < 0 or len(sides) < 3:
        return None
    both = int.from_bytes(sides, "big")
    return both & 0xFFF, both >> 12


def _mp4_size(peek: Peek, size: int) -> tuple[int, int] | None:
    """By the sample description of the first track that has pictures (ISO/IEC 14496-12 8.5.2, 12.1.3)."""
    left = iter(range(_MAX_BOXES))
    for track in _inside(peek, left, Box(b"", 0, size), b"moov", b"trak"):
        for table in _inside(peek, left, track, b"mdia", b"minf", b"stbl", b"stsd"):
            for entry in boxes(peek, table.start + 8, table.end, left):
                sides = peek(entry.start + 24, 4)
                if entry.kind in _VISUAL_ENTRIES and len(sides) == 4:
                    columns, rows = struct.unpack(">HH", sides)
                    return rows, columns
    return None


def _inside(peek: Peek, left: Iterator[int], box: Box, *path: bytes) -> Iterator[Box]:
    """The boxes that `path` leads to inside `box`."""
    for inner in boxes(peek, box.start, box.end, left):
        if inner.kind == path[0]:
            if len(path) == 1:
                yield inner
            else:
                yield from _inside(peek, left, inner, *path[1:])
