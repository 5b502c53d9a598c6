"""An instance's bytes as streams of blocks: its object, whole or written anew, and runs of it."""

import zlib
from collections.abc import Buffer, Iterator

from service.archive.port import Archive
from service.dicom.elements import encoding_of
from service.dicom.errors import NotDicom
from service.dicom.frames import Extent
from service.dicom.part10 import file_head
from service.dicom.record import Held
from service.dicom.reencode import explicit_little
from service.dicom.syntaxes import BY_UID

MAX_READ = 8 << 20


def object_blocks(archive: Archive, held: Held, syntax: str, block_size: int) -> Iterator[Buffer]:
    """The instance as a DICOM file in `syntax`, one of those `syntaxes.available` names.

    Untouched where it is stored so; with other file meta information where its own does not fit it.
    """
    if syntax == held.syntax and held.head_fits:
        yield from blocks_of(archive, held, Extent(0, held.size), block_size)
        return
    yield _head(held, syntax)
    data_set = Extent(held.data_offset, held.size - held.data_offset)
    if syntax == held.syntax:
        yield from blocks_of(archive, held, data_set, block_size)
    elif BY_UID[held.syntax].deflated:
        yield from inflated_blocks(archive, held, block_size)
    else:
        encoding = encoding_of(BY_UID[held.syntax])
        yield from explicit_little(
            lambda extent: archive.read(held, extent), data_set, encoding, block_size=block_size
        )


def object_size(held: Held, syntax: str) -> int | None:
    """The size of what `object_blocks` gives, in bytes; `None` where it is written anew."""
    if syntax != held.syntax:
        return None
    if held.head_fits:
        return held.size
    return len(_head(held, syntax)) + held.size - held.data_offset


def blocks_of(archive: Archive, held: Held, extent: Extent, block_size: int) -> Iterator[Buffer]:
    """The bytes of `extent`, in blocks of `block_size` (at most 8 MiB)."""
    position = extent.offset
    while position < extent.end:
        length = min(block_size, extent.end - position)
        yield archive.read(held, Extent(position, length))
        position += length


def inflated_blocks(archive: Archive, held: Held, block_size: int) -> Iterator[bytes]:
    """The data set of a deflated object, inflated, in blocks of at most `block_size`."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data_set = Extent(held.data_offset, held.size - held.data_offset)
    for block in blocks_of(archive, held, data_set, block_size):
        data: Buffer = block
        while not inflater.eof and memoryview(data).nbytes:
            try:
                plain = inflater.decompress(data, block_size)
            except zlib.error as cause:
                raise NotDicom("The deflated data set is damaged.") from cause
            yield plain
            data = inflater.unconsumed_tail


def inflated_extent(archive: Archive, held: Held, extent: Extent, block_size: int) -> Iterator[bytes]:
    """The bytes of `extent`, which counts in the inflated object; nothing behind it is inflated."""
    position = held.data_offset
    for block in inflated_blocks(archive, held, block_size):
        first = max(extent.offset - position, 0)
        last = extent.end - position
        if first < len(block):
            yield block[first:last]
        position += len(block)
        if position >= extent.end:
            return
    raise NotDicom("The deflated data set ends too early.")


def value_blocks(archive: Archive, held: Held, extent: Extent, block_size: int) -> Iterator[Buffer]:
    """The bytes of `extent` of the object, inflated if it is deflated."""
    if BY_UID[held.syntax].deflated:
        return iter(inflated_extent(archive, held, extent, block_size))
    return blocks_of(archive, held, extent, block_size)


def _head(held: Held, syntax: str) -> bytes:
    return file_head(held.sop_class, held.key.instance, syntax)
