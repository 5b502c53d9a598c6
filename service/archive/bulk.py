"""The bytes of one value of an instance, found again in its object."""

import struct
from collections.abc import Buffer, Callable, Iterator
from functools import partial

from service.archive.codestreams import codestream
from service.archive.frames import frames_of, turned, word_bytes
from service.archive.port import Archive
from service.archive.reading import MAX_READ, Content, InflatedRuns, value_blocks
from service.dicom.errors import NotDicom, NotFound, Superseded
from service.dicom.frames import Extent, PixelPlace
from service.dicom.header import Found, NeedMore, Skip, find_value
from service.dicom.record import Held
from service.dicom.syntaxes import BY_UID
from service.dicom.vr import WORD

_WINDOW = 64 << 10
_MAX_WINDOW = 32 << 20
_ITEM_HEAD = 8
_ITEM, _DELIMITER = 0xE000FFFE, 0xE0DDFFFE
_FRAMES_AT_ONCE = 1_000
_MOST_FRAGMENTS = 1 << 16


def bulk_value(
    archive: Archive, held: Held, path: tuple[int, ...], block_size: int, finder: "Finder | None" = None
) -> Content:
    """The value at `path` (tags and item numbers in turn), little endian. `NotFound` if it is not there.

    A `finder` of the same instance finds several values in ascending order sooner.
    """
    if held.pixels is not None and path == (held.pixels.tag,) and not held.pixels.encapsulated:
        found, extent = Found(held.pixels.vr, 0, None, encapsulated=False), held.pixels.extent
    else:
        found, extent = (finder or Finder(archive, held)).find(path)
    syntax = BY_UID[held.syntax]
    if found.encapsulated:
        if syntax.deflated:
            raise NotFound("A deflated object holds no fragments that could be told apart.")
        return _fragments(archive, held, extent, block_size)
    width = WORD.get(found.vr, 1) if syntax.big_endian else 1
    if width > 1 and held.pixels is not None and held.shape is not None and path == (held.pixels.tag,):
        width = word_bytes(held.shape, held.pixels)
    blocks = partial(_blocks, archive, held, extent, width, block_size)
    if syntax.deflated or width > 1:
        return Content(extent.length, blocks)
    return Content(extent.length, blocks, extent.length, partial(_run, archive, held, extent, block_size))


def cut_to(content: Content, size: int) -> Content:
    """The first `size` bytes of a content that is not shorter."""
    if content.size == size:
        return content

    def blocks() -> Iterator[Buffer]:
        left = size
        for block in content.blocks():
            view = memoryview(block).cast("B")[:left]
            left -= len(view)
            yield view

    return Content(size, blocks, content.bound, content.run)


def pixel_parts(
    archive: Archive, held: Held, pixels: PixelPlace, block_size: int
) -> tuple[int, Callable[[], Iterator[Content]]]:
    """Encapsulated pixel data: how many contents they are, and a way to them.

    One content for each frame, or a single one where frames are not told apart.
    """
    if held.shape is not None and held.pixels is not None:
        try:
            frames_of(archive, held, [1, held.shape.frames], block_size)
        except Superseded:
            raise
        except NotFound:
            pass
        else:
            return held.shape.frames, partial(frame_contents, archive, held, held.shape.frames, block_size)
    whole = partial(_fragments, archive, held, pixels.extent, block_size)
    return 1, lambda: iter((whole(),))


def are_told_apart(archive: Archive, held: Held) -> bool:
    """Whether it is known where each frame of the pixel data lies."""
    shape, pixels = held.shape, held.pixels
    if shape is not None and pixels is not None and not pixels.encapsulated:
        return 0 < shape.frames * shape.frame_bits <= 8 * pixels.extent.length
    try:
        return held.shape is not None and archive.frames(held, [1, held.shape.frames]) is not None
    except Superseded:
        raise
    except NotFound:
        return False


def frame_contents(archive: Archive, held: Held, count: int, block_size: int) -> Iterator[Content]:
    """The first `count` frames in order, looked up some at a time."""
    for first in range(1, count + 1, _FRAMES_AT_ONCE):
        numbers = range(first, min(first + _FRAMES_AT_ONCE, count + 1))
        for frame in frames_of(archive, held, numbers, block_size):
            yield frame.content


def _fragments(archive: Archive, held: Held, value: Extent, block_size: int) -> Content:
    """All fragments behind the Basic Offset Table of an encapsulated value, joined."""
    head = bytes(archive.read(held, Extent(value.offset, _ITEM_HEAD)))
    behind_table = value.offset + _ITEM_HEAD + int.from_bytes(head[4:], "little")
    fragments = Extent(behind_table, value.end - _ITEM_HEAD - behind_table)
    return codestream(archive, held, fragments, block_size)


def _run(archive: Archive, held: Held, extent: Extent, block_size: int, run: Extent) -> Iterator[Buffer]:
    return value_blocks(archive, held, Extent(extent.offset + run.offset, run.length), block_size)


def _blocks(archive: Archive, held: Held, extent: Extent, width: int, block_size: int) -> Iterator[Buffer]:
    stored = value_blocks(archive, held, extent, block_size)
    return turned(stored, width) if width > 1 else stored


class Finder:
    """Finds values of one instance; one that lies behind the last one found is searched from there."""

    def __init__(self, archive: Archive, held: Held) -> None:
        self.held = held
        self._syntax = BY_UID[held.syntax]
        self._source = _Source(archive, held)
        self._begin()

    def _begin(self) -> None:
        self._tag = 0
        self._move(self.held.data_offset)

    def _move(self, position: int, window: int = _WINDOW) -> None:
        self._position, self._window = position, window
        self._buffer: bytes | None = None

    def find(self, path: tuple[int, ...]) -> tuple[Found, Extent]:
        """The place of the value at `path`. `NotFound` if it is not there."""
        if path[0] < self._tag:
            self._begin()
        found = self._search(path)
        if found is None and self._tag:  # elements may be out of order
            self._begin()
            found = self._search(path)
        if found is None:
            raise NotFound("The instance has no such value.")
        self._tag = path[0]
        return found

    def _search(self, path: tuple[int, ...]) -> tuple[Found, Extent] | None:
        """Look on from the present place, in windows that grow where an element has to be seen whole."""
        pixels = self.held.pixels
        while self._window <= _MAX_WINDOW:
            if self._buffer is None:
                self._buffer = self._source.read(self._position, self._window)
            step = find_value(self._buffer, self._syntax, path, final=len(self._buffer) < self._window)
            if isinstance(step, Found):
                start = self._position + step.position
                length = self._fragments_length(start) if step.length is None else step.length
                return None if length is None else (step, Extent(start, length))
            if isinstance(step, NeedMore):
                window = _WINDOW if step.position else 2 * self._window
                self._move(self._position + step.position, max(window, step.at_least))
            elif isinstance(step, Skip) and step.position is not None:
                self._move(self._position + step.position)
            elif isinstance(step, Skip) and pixels is not None and self._position < pixels.extent.end:
                self._move(pixels.extent.end)
            else:
                break
        return None

    def _fragments_length(self, start: int) -> int | None:
        """The length of the encapsulated value at `start`, delimiter included.

        `None` if it has no end, or is no pixel data and in more fragments than anybody would write.
        """
        pixels = self.held.pixels
        if pixels is not None and pixels.extent.offset == start:
            return pixels.extent.length
        position = start
        for _ in range(_MOST_FRAGMENTS):
            head = self._source.read(position, _ITEM_HEAD)
            if len(head) < _ITEM_HEAD:
                return None
            tag, length = struct.unpack("<II", head)
            position += _ITEM_HEAD
            if tag != _ITEM:
                return position - start if tag == _DELIMITER else None
            position += length
        return None


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
