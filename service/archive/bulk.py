"""The bytes of one value of an instance, found again in its object."""

from collections.abc import Buffer, Callable, Iterator
from dataclasses import dataclass
from functools import partial

from service.archive.frames import Frame, codestream_blocks, frames_of, turned
from service.archive.port import Archive
from service.archive.reading import MAX_READ, inflated_blocks, value_blocks
from service.dicom.errors import NotFound
from service.dicom.frames import Extent, PixelPlace
from service.dicom.header import Found, NeedMore, Skip, find_value
from service.dicom.record import Held
from service.dicom.syntaxes import BY_UID
from service.dicom.vr import WORD

_WINDOW = 64 << 10
_MAX_WINDOW = 32 << 20
_ITEM_HEAD = 8


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


def pixel_parts(archive: Archive, held: Held, pixels: PixelPlace, block_size: int) -> list[BulkValue]:
    """Encapsulated pixel data: one value for each frame, or a single one where frames are not told apart."""
    if held.shape is not None:
        try:
            numbers = range(1, held.shape.frames + 1)
            frames: list[Frame] = frames_of(archive, held, numbers, block_size)
            return [BulkValue(frame.size, frame.blocks) for frame in frames]
        except NotFound:
            pass
    return [BulkValue(None, partial(_whole_stream, archive, held, pixels, block_size))]


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
        self._deflated = BY_UID[held.syntax].deflated

    def read(self, position: int, length: int) -> bytes:
        if self._deflated:
            return self._inflated(position, length)
        length = min(length, self._held.size - position)
        if length <= 0:
            return b""
        extent = Extent(position, length)
        return b"".join(value_blocks(self._archive, self._held, extent, min(length, MAX_READ)))

    def _inflated(self, position: int, length: int) -> bytes:
        taken = bytearray()
        at = self._held.data_offset
        for block in inflated_blocks(self._archive, self._held, _WINDOW):
            taken += block[max(position - at, 0) : max(position + length - at, 0)]
            at += len(block)
            if at >= position + length:
                break
        return bytes(taken)
