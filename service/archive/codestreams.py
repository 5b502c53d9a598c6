"""The contents of the items of encapsulated pixel data (PS3.5 A.4), tags and padding removed."""

import struct
from collections.abc import Buffer, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from service.archive.port import Archive
from service.archive.reading import Content, blocks_of
from service.dicom.errors import NotDicom, Undecodable
from service.dicom.fragments import frame_payload
from service.dicom.frames import Extent
from service.dicom.record import Held
from service.dicom.syntaxes import BY_UID

_ITEM = 0xE000FFFE
_ITEM_HEAD = 8
_MOST_MEASURED = 256  # fragments; each costs a read of its head
# EOI of the JPEG family, EOC of JPEG 2000, and the byte that makes the fragment's length even.
_PADDED_END = b"\xff\xd9\x00"
_MARKED = frozenset(("image/jpeg", "image/jls", "image/jp2", "image/jpx", "image/jphc"))


def short_codestream(
    read: Callable[[], Buffer], held: Held, bound: int, length: int | None = None
) -> Content:
    """The codestream of an instance's frame in the items that one `read` of `bound` bytes gives.

    `length` is that of the frame, where it is known.
    """

    def measure() -> Content:
        payload = memoryview(frame_payload(read()))
        payload = payload[: _length(held, length, payload, len(payload))]
        return Content(
            len(payload), lambda: iter((payload,)), 0, lambda run: iter((payload[run.offset : run.end],))
        )

    return Content(None, lambda: measure().blocks(), bound, measure=measure)


def codestream(
    archive: Archive, held: Held, items: Extent, block_size: int, length: int | None = None
) -> Content:
    """The codestream in consecutive items that lie at `items`, walked item by item.

    `length` is that of a frame, where it is known.
    """
    if length is None:
        blocks = partial(_blocks, archive, held, items, block_size)
    else:
        blocks = partial(_first_bytes, archive, held, items, block_size, length)
    measure = partial(_measured, archive, held, items, block_size, length, blocks)
    return Content(None, blocks, items.length, measure=measure)


def _blocks(archive: Archive, held: Held, items: Extent, block_size: int) -> Iterator[Buffer]:
    """The contents of the items, of which the last bytes are held back until nothing follows them."""
    last, size = b"", 0
    for piece in _pieces(archive, held, items):
        if not piece.length:
            yield b""  # a sign of life: there may be a million of them
        for block in blocks_of(archive, held, piece, block_size):
            view = memoryview(block).cast("B")
            size += len(view)
            if len(view) < len(_PADDED_END):
                joined = last + bytes(view)
                yield joined[: -len(_PADDED_END)]
                last = joined[-len(_PADDED_END) :]
                continue
            if last:
                yield last
            yield view[: -len(_PADDED_END)]
            last = bytes(view[-len(_PADDED_END) :])
    yield last[: len(last) - (size - _length(held, None, last, size))]


def _first_bytes(
    archive: Archive, held: Held, items: Extent, block_size: int, length: int
) -> Iterator[Buffer]:
    """The first `length` bytes of the contents of the items. `Undecodable` if there are not so many."""
    left = length
    for piece in _pieces(archive, held, items):
        if not left:
            break
        yield b""
        wanted = Extent(piece.offset, min(piece.length, left))
        left -= wanted.length
        yield from blocks_of(archive, held, wanted, block_size)
    _length(held, length, b"", length - left)


def _length(held: Held, known: int | None, tail: Buffer, size: int) -> int:
    """How many of the `size` bytes of a frame's fragments are the frame; the others are padding.

    Codestreams have an end mark, `tail` ends in it or not; of uncompressed frames the length is known.
    `Undecodable` if there are not so many.
    """
    if known is not None:
        if size < known:
            raise Undecodable(f"The frame has {size} bytes; its shape needs {known}.")
        return known
    marked = BY_UID[held.syntax].media_type in _MARKED
    return size - int(marked and bytes(memoryview(tail)[-len(_PADDED_END) :]) == _PADDED_END)


def _pieces(archive: Archive, held: Held, items: Extent) -> Iterator[Extent]:
    """Where the contents of the items lie. `NotDicom` if they are not items."""
    position = items.offset
    while position < items.end:
        tag, length = struct.unpack("<II", archive.read(held, Extent(position, _ITEM_HEAD)))
        if tag != _ITEM or position + _ITEM_HEAD + length > items.end:
            raise NotDicom("The frame's items are damaged.")
        yield Extent(position + _ITEM_HEAD, length)
        position += _ITEM_HEAD + length


def _measured(
    archive: Archive,
    held: Held,
    items: Extent,
    block_size: int,
    length: int | None,
    blocks: Callable[[], Iterator[Buffer]],
) -> Content:
    """The codestream with its size, unless it is in so many pieces that it takes long to tell."""
    pieces: list[Extent] = []
    for piece in _pieces(archive, held, items):
        if len(pieces) >= _MOST_MEASURED:
            return Content(None, blocks, items.length)
        pieces.append(piece)
    size = sum(piece.length for piece in pieces)
    tail: Buffer = b""
    if pieces and pieces[-1].length >= len(_PADDED_END):
        tail = archive.read(held, Extent(pieces[-1].end - len(_PADDED_END), len(_PADDED_END)))
    run = _Pieces(archive, held, pieces, block_size)
    whole = Extent(0, _length(held, length, tail, size))
    return Content(whole.length, partial(run, whole), items.length, run)


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Runs of what lies in pieces of an object."""

    archive: Archive
    held: Held
    pieces: Sequence[Extent]
    block_size: int

    def __call__(self, run: Extent) -> Iterator[Buffer]:
        position = 0
        for piece in self.pieces:
            first = max(run.offset - position, 0)
            last = min(run.end - position, piece.length)
            if first < last:
                wanted = Extent(piece.offset + first, last - first)
                yield from blocks_of(self.archive, self.held, wanted, self.block_size)
            position += piece.length
