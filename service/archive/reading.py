"""An instance's bytes as streams of blocks: its object, whole or written anew, and runs of it."""

from __future__ import annotations

from collections.abc import Buffer, Callable, Iterator, Sequence
from dataclasses import dataclass

from service.archive.port import Archive, FileRun
from service.dicom.elements import encoding_of
from service.dicom.errors import NotAcceptable, NotDicom, NotFound, Superseded
from service.dicom.frames import Extent
from service.dicom.inflate import Inflater
from service.dicom.part10 import file_head
from service.dicom.record import Held
from service.dicom.reencode import explicit_little
from service.dicom.resource import Resource
from service.dicom.syntaxes import BY_UID

MAX_READ = 8 << 20


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes on their way out: `blocks` makes them, `size` is their number where it is known beforehand.

    `run` makes any run of them without what stands before. `measure` gives the same content with its
    size, at the cost of a few reads. `bound` is how many bytes have to be read for all of it, `None`
    where making it is more than reading. `lend` gives all of it as a run of a file, if it is to be had so.
    """

    size: int | None
    blocks: Callable[[], Iterator[Buffer]]
    bound: int | None = None
    run: Callable[[Extent], Iterator[Buffer]] | None = None
    measure: Callable[[], Content] | None = None
    lend: Callable[[], FileRun | None] | None = None

    def measured(self, most: int | None = None) -> Content:
        """The content with its size where that can be told, by reading `most` bytes if that is given."""
        if self.measure is None or (most is not None and (self.bound is None or self.bound > most)):
            return self
        return self.measure()


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
        try:
            yield from explicit_little(
                lambda extent: archive.read(held, extent), data_set, encoding, block_size=block_size
            )
        except NotDicom as damage:
            raise NotAcceptable(f"The object cannot be written in Explicit VR. {damage}") from damage


def object_size(held: Held, syntax: str) -> int | None:
    """The size of what `object_blocks` gives, in bytes; `None` where it is written anew."""
    if syntax != held.syntax:
        return None
    if held.head_fits:
        return held.size
    return len(_head(held, syntax)) + held.size - held.data_offset


def without_object(archive: Archive, instances: Sequence[Held]) -> set[int]:
    """The rows of those of `instances` whose objects the store does not have.

    `Superseded` where another object has taken the place of one.
    """
    return {held.row for held in instances if not _has_object(archive, held)}


def _has_object(archive: Archive, held: Held) -> bool:
    try:
        archive.read(held, Extent(0, 1))
    except NotFound:
        key = held.key
        try:
            again = archive.instances(Resource(key.study, key.series, key.instance))
        except NotFound:
            again = ()
        if [other.row for other in again] != [held.row]:
            raise Superseded("The instance was removed or replaced while it was being read.") from None
        return False
    return True


def blocks_of(archive: Archive, held: Held, extent: Extent, block_size: int) -> Iterator[Buffer]:
    """The bytes of `extent`, in blocks of `block_size` (at most 8 MiB)."""
    position = extent.offset
    while position < extent.end:
        length = min(block_size, extent.end - position)
        yield archive.read(held, Extent(position, length))
        position += length


def inflated_blocks(archive: Archive, held: Held, block_size: int) -> Iterator[bytes]:
    """The data set of a deflated object, inflated, in blocks of at most `block_size`."""
    inflater = Inflater(block_size)
    data_set = Extent(held.data_offset, held.size - held.data_offset)
    for block in blocks_of(archive, held, data_set, block_size):
        yield from inflater.push(block)
    if not inflater.complete:
        raise NotDicom("The deflated data set ends too early.")


class InflatedRuns:
    """Runs of a deflated object, inflated once as long as they are asked for in ascending order.

    Extents count in the inflated object: file meta as stored, then the inflated data set.
    """

    def __init__(self, archive: Archive, held: Held, block_size: int) -> None:
        self._archive = archive
        self._held = held
        self._block_size = block_size
        self._base = 0
        self._block = b""
        self._begin()

    def run(self, extent: Extent) -> Iterator[bytes]:
        """The bytes of `extent`; nothing behind it is inflated. `NotDicom` if it ends before that."""
        if extent.offset < self._base:
            self._begin()
        position = extent.offset
        while position < extent.end:
            if position >= self._base + len(self._block):
                self._base += len(self._block)
                self._block = next(self._blocks, b"")
                if not self._block:
                    raise NotDicom("The deflated data set ends too early.")
                continue
            piece = self._block[position - self._base : extent.end - self._base]
            position += len(piece)
            yield piece

    def _begin(self) -> None:
        self._blocks = inflated_blocks(self._archive, self._held, self._block_size)
        self._base = self._held.data_offset
        self._block = b""


def value_blocks(archive: Archive, held: Held, extent: Extent, block_size: int) -> Iterator[Buffer]:
    """The bytes of `extent` of the object, inflated if it is deflated."""
    if BY_UID[held.syntax].deflated:
        return InflatedRuns(archive, held, block_size).run(extent)
    return blocks_of(archive, held, extent, block_size)


def _head(held: Held, syntax: str) -> bytes:
    return file_head(held.sop_class, held.key.instance, syntax)
