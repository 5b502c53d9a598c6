"""The bytes of one value of an instance, found again in its object."""

from collections.abc import Buffer, Callable, Iterator
from dataclasses import dataclass
from functools import partial

from service.archive.frames import codestream_blocks, frames_of, turned
from service.archive.port import Archive
from service.archive.reading import MAX_READ, InflatedRuns, value_blocks
from service.dicom.errors import NotDicom, NotFound
from service.dicom.frames import Extent, PixelPlace
from service.dicom.header import Found, NeedMore, Skip, find_value
from service.dicom.record import Held
from service.dicom.syntaxes import BY_UID
from service.dicom.vr import WORD

_WINDOW = 64 << 10
_MAX_WINDOW = 32 << 20
_ITEM_HEAD = 8
_FRAMES_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class BulkValue:
    """One value: `size` in bytes where it is known beforehand, `blocks` makes its bytes."""

    size: int | None
    blocks: Callable[[], Iterator[Buffer]]


def bulk_value(archive: Archive, held: Held, path: tuple[int, ...], block_size: int) -> BulkValue:
    """The value at `path` (tags and item numbers in turn), little endian. `NotFound` if it is not there."""
    if held.pixels is not None and path == (held.pixels.tag,) and not held.pixels.encapsulated:
        found, extent = Found(held.pixels.vr, 0, None, encapsulated=False), held.pixels.extent
    else:
        found, extent = _find(archive, held, path)
    width = WORD.get(found.vr, 1) if BY_UID[held.syntax].big_endian else 1
    return BulkValue(extent.length, partial(_blocks, archive, held, extent, width, block_size))


def pixel_parts(
    archive: Archive, held: Held, pixels: PixelPlace, block_size: int
) -> tuple[int, Callable[[], Iterator[BulkValue]]]:
    """Encapsulated pixel data: how many values they are, and a way to them.

    One value for each frame, or a single one where frames are not told apart.
    """
    if held.shape is not None and held.pixels is not None:
        try:
            frames_of(archive, held, [1, held.shape.frames], block_size)
        except NotFound:
            pass
        else:
            return held.shape.frames, partial(_frame_values, archive, held, held.shape.frames, block_size)
    whole = BulkValue(None, partial(_whole_stream, archive, held, pixels, block_size))
    return 1, partial(iter, (whole,))


def _frame_values(archive: Archive, held: Held, count: int, block_size: int) -> Iterator[BulkValue]:
    """The frames in order, looked up some at a time."""
    for first in range(1, count + 1, _FRAMES_AT_ONCE):
        numbers = range(first, min(first + _FRAMES_AT_ONCE, count + 1))
        for frame in frames_of(archive, held, numbers, block_size):
            yield BulkValue(frame.size, frame.blocks)


def _whole_stream(archive: Archive, held: Held, pixels: PixelPlace, block_size: int) -> Iterator[Buffer]:
    """All fragments behind the Basic Offset Table, joined."""
    first = pixels.extent.offset
    head = bytes(archive.read(held, Extent(first, _ITEM_HEAD)))
    behind_table = first + _ITEM_HEAD + int.from_bytes(head[4:], "little")
    fragments = Extent(behind_table, pixels.extent.end - _ITEM_HEAD - behind_table)
    return codestream_blocks(archive, held, fragments, block_size)


def _blocks(archive: Archive, held: Held, extent: Extent, width: int, block_size: int) -> Iterator[Buffer]:
    stored = value_blocks(archive, held, extent, block_size)
    return turned(stored, width) if width > 1 else stored


def _find(archive: Archive, held: Held, path: tuple[int, ...]) -> tuple[Found, Extent]:
    """The value's place, searched in windows that grow where an element has to be seen whole."""
    syntax = BY_UID[held.syntax]
    source = _Source(archive, held)
    position, window = held.data_offset, _WINDOW
    while True:
        buffer = source.read(position, window)
        step = find_value(buffer, syntax, path, final=len(buffer) < window)
        if isinstance(step, Found):
            length = step.length
            if length is None:
                assert held.pixels is not None
                length = held.pixels.extent.length
            return step, Extent(position + step.position, length)
        if isinstance(step, NeedMore):
            position += step.position
            window = max(window if step.position else 2 * window, step.at_least)
        elif isinstance(step, Skip) and step.position is not None:
            position += step.position
        elif isinstance(step, Skip) and held.pixels is not None and position < held.pixels.extent.end:
            position = held.pixels.extent.end
        else:
            break
        if window > _MAX_WINDOW:
            break
    raise NotFound("The instance has no such value.")


class _Source:
    """Any bytes of an object's data set, inflated if need be; a read past the end gives what there is."""

    def __init__(self, archive: Archive, held: Held) -> None:
        self._archive = archive
        self._held = held
        deflated = BY_UID[held.syntax].deflated
        self._runs = InflatedRuns(archive, held, _WINDOW) if deflated else None

    def read(self, position: int, length: int) -> bytes:
        if self._runs is not None:
            return self._inflated(self._runs, position, length)
        length = min(length, self._held.size - position)
        if length <= 0:
            return b""
        extent = Extent(position, length)
        return b"".join(value_blocks(self._archive, self._held, extent, min(length, MAX_READ)))

    def _inflated(self, runs: InflatedRuns, position: int, length: int) -> bytes:
        taken = bytearray()
        try:
            for block in runs.run(Extent(position, length)):
                taken += block
        except NotDicom:  # past the end
            pass
        return bytes(taken)
