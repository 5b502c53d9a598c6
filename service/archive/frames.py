"""The frames of an instance, each with its size and a way to its bytes."""

import bisect
import itertools
from collections.abc import Buffer, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from service.archive.codestreams import codestream, short_codestream
from service.archive.port import Archive
from service.archive.reading import Content, InflatedRuns, blocks_of
from service.dicom.errors import BadRequest, NotFound
from service.dicom.frames import Extent, PixelPlace, PixelShape, merge
from service.dicom.record import Held
from service.dicom.reencode import swapped
from service.dicom.syntaxes import BY_UID, ENCAPSULATED_UNCOMPRESSED
from service.dicom.vr import WORD

_GAP = 16 << 10
_STARTS = 8


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: its number, counted from 1, and its bytes."""

    number: int
    content: Content


def frames_of(archive: Archive, held: Held, numbers: Sequence[int], block_size: int) -> list[Frame]:
    """The frames with these numbers, counted from 1, in the order asked.

    `NotFound` if the instance has no frames, not this one, or they cannot be told apart.
    """
    if held.pixels is None:
        raise NotFound("The instance has no pixel data.")
    if held.pixels.encapsulated is not BY_UID[held.syntax].encapsulated:
        raise NotFound("The pixel data are not as the transfer syntax says; retrieve the object whole.")
    if held.pixels.encapsulated:
        return _encapsulated(archive, held, numbers, block_size)
    if held.shape is None:
        raise NotFound("The instance's attributes do not tell the size of a frame.")
    return _native(archive, held, held.shape, held.pixels, numbers, block_size)


def _encapsulated(archive: Archive, held: Held, numbers: Sequence[int], block_size: int) -> list[Frame]:
    extents = archive.frames(held, numbers)
    if extents is None:
        raise NotFound("The frames of this instance cannot be told apart; retrieve it whole.")
    windows = _Windows(archive, held, extents, block_size)
    return [
        Frame(number, _encapsulated_content(archive, held, windows, extent, block_size))
        for number, extent in zip(numbers, extents, strict=True)
    ]


def _encapsulated_content(
    archive: Archive, held: Held, windows: "_Windows", items: Extent, block_size: int
) -> Content:
    length = None
    if held.syntax == ENCAPSULATED_UNCOMPRESSED and held.shape is not None:
        length = (held.shape.frame_bits + 7) // 8
    if items.length <= block_size:
        return short_codestream(partial(windows.read, items), held, items.length, length)
    return codestream(archive, held, items, block_size, length)


def _native(
    archive: Archive,
    held: Held,
    shape: PixelShape,
    pixels: PixelPlace,
    numbers: Sequence[int],
    block_size: int,
) -> list[Frame]:
    syntax = BY_UID[held.syntax]
    width = word_bytes(shape, pixels) if syntax.big_endian else 1
    spans = [_span(shape, pixels, number, width) for number in numbers]
    windows = _Windows(archive, held, [span.extent for span in spans], block_size)
    plain = width == 1 and not syntax.deflated
    runs = _deflated_runs(archive, held, numbers, block_size) if syntax.deflated else None

    def run(span: _Span, part: Extent) -> Iterator[Buffer]:
        return blocks_of(archive, held, Extent(span.extent.offset + part.offset, part.length), block_size)

    def blocks(span: _Span) -> Iterator[Buffer]:
        if plain and span.whole and span.extent.length <= block_size:
            return iter((windows.read(span.extent),))
        if runs is not None:
            return _cut(runs.run(span.extent), span, width)
        return _cut(blocks_of(archive, held, span.extent, block_size), span, width)

    def content(span: _Span) -> Content:
        bound = None if syntax.deflated else span.extent.length
        if not plain or not span.whole:
            return Content(span.size, partial(blocks, span), bound)
        lend = partial(archive.lend, held, span.extent)
        return Content(span.size, partial(blocks, span), bound, partial(run, span), lend=lend)

    return [Frame(number, content(span)) for number, span in zip(numbers, spans, strict=True)]


def word_bytes(shape: PixelShape, pixels: PixelPlace) -> int:
    """The bytes of a word of big endian pixel data: of a sample, where it is wider than a word of the VR.

    Of samples of 32 bits in OW writers turn all four bytes, whatever PS3.5 says of words.
    """
    word = WORD.get(pixels.vr, 1)
    return max(word, shape.bits_allocated // 8) if word > 1 else 1


def _deflated_runs(archive: Archive, held: Held, numbers: Sequence[int], block_size: int) -> InflatedRuns:
    """One way through a deflated object for all frames, which goes back to its start a few times at most."""
    if sum(later < earlier for earlier, later in itertools.pairwise(numbers)) > _STARTS:
        raise BadRequest("The object is deflated: ask for its frames in ascending order.")
    return InflatedRuns(archive, held, block_size)


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a native frame lies: the words that hold it, the bits before it in them, its bits."""

    extent: Extent
    first_bit: int
    bits: int

    @property
    def size(self) -> int:
        return (self.bits + 7) // 8

    @property
    def whole(self) -> bool:
        return self.first_bit == 0 and self.bits == 8 * self.extent.length


def _span(shape: PixelShape, pixels: PixelPlace, number: int, width: int) -> _Span:
    """Frames follow one another without padding, by bits where Bits Allocated is 1 (PS3.5 8.1.1)."""
    if number > shape.frames:
        raise NotFound(f"The instance has {shape.frames} frames; there is no frame {number}.")
    first_bit = (number - 1) * shape.frame_bits
    last_bit = first_bit + shape.frame_bits
    if (last_bit + 7) // 8 > pixels.extent.length:
        raise NotFound(f"The pixel data are too short to hold frame {number}.")
    first = first_bit // (8 * width) * width
    last = min(-(-last_bit // (8 * width)) * width, pixels.extent.length)
    return _Span(Extent(pixels.extent.offset + first, last - first), first_bit - 8 * first, shape.frame_bits)


def _cut(stored: Iterator[Buffer], span: _Span, width: int) -> Iterator[bytes]:
    """The frame out of the words that hold it: words turned, bits moved to begin at a byte."""
    if width > 1:
        words = turned(stored, width)
    else:
        words = (bytes(block) for block in stored)
    return _aligned(words, span.first_bit, span.bits)


def turned(stored: Iterator[Buffer], width: int) -> Iterator[bytes]:
    """`stored` with the bytes of each word of `width` bytes in reverse."""
    carried = b""
    for block in stored:
        data = carried + bytes(block)
        whole = len(data) - len(data) % width
        carried = data[whole:]
        yield swapped(data[:whole], width)
    yield carried


def _aligned(blocks: Iterator[bytes], first_bit: int, bits: int) -> Iterator[bytes]:
    """`bits` bits from `first_bit` on; the bits that fill the last byte up are zero."""
    skip, shift = divmod(first_bit, 8)
    left = (bits + 7) // 8
    carried = b""
    for block in blocks:
        data = carried + block
        dropped = min(skip, len(data))
        skip -= dropped
        data = data[dropped:]
        # A byte that is shifted takes its upper bits from the next one, which must be there.
        ready = min(left, len(data) - (1 if shift else 0))
        if ready > 0:
            left -= ready
            yield _bits(data[: ready + 1], shift, ready, bits % 8 if not left else 0)
            data = data[ready:]
        carried = data
        if not left:
            return
    yield _bits(carried, shift, left, bits % 8)


def _bits(data: bytes, shift: int, length: int, last_bits: int) -> bytes:
    """`length` bytes of `data` from bit `shift` on, only `last_bits` of the last one unless it is 0."""
    if not shift and not last_bits:
        return data[:length]
    number = int.from_bytes(data, "little") >> shift
    kept = 8 * length - (8 - last_bits if last_bits else 0)
    return (number & ((1 << kept) - 1)).to_bytes(length, "little")


class _Windows:
    """Reads runs of one object, several near ones in a single read."""

    def __init__(self, archive: Archive, held: Held, extents: Sequence[Extent], block_size: int) -> None:
        self._archive = archive
        self._held = held
        small = [extent for extent in extents if extent.length <= block_size]
        self._reads = merge(small, gap=_GAP, limit=block_size)
        self._firsts = [read.offset for read in self._reads]
        self._last: tuple[Extent, memoryview] | None = None

    def read(self, extent: Extent) -> memoryview:
        """The bytes of one of the extents that were announced."""
        last = self._last  # several threads may be here, each with the window that it needs
        if last is None or not _covers(last[0], extent):
            window = self._reads[bisect.bisect_right(self._firsts, extent.offset) - 1]
            window = window if _covers(window, extent) else extent
            last = self._last = (window, memoryview(self._archive.read(self._held, window)))
        window, data = last
        return data[extent.offset - window.offset : extent.end - window.offset]


def _covers(window: Extent, extent: Extent) -> bool:
    return window.offset <= extent.offset and extent.end <= window.end
