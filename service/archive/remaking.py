"""Whole instances in another transfer syntax: the data set written anew around frames that are made.

Native frames go out one after the other as they are made. Encapsulated ones are spooled first, so that
offset tables, and what the attributes say of a lossy compression, are true.
"""

from collections.abc import Buffer, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from service.archive.frames import frames_of
from service.archive.icons import icons_without_fragments
from service.archive.port import Archive
from service.archive.reading import Content, InflatedRuns
from service.archive.spool import Spool
from service.archive.transcoding import NEAR, QUALITY, FrameJob, Steps, frame_jobs, source_syntax
from service.archive.writing import written
from service.dicom.elements import UNDEFINED, actual_encoding, encoding_of
from service.dicom.errors import NotAcceptable, NotDicom, NotFound
from service.dicom.frames import Extent
from service.dicom.part10 import file_head
from service.dicom.record import Held
from service.dicom.reencode import explicit_little
from service.dicom.syntaxes import BY_UID, Form
from service.dicom.writing import element_head
from service.pixels.encapsulate import encapsulated, extended_offsets
from service.pixels.frame import frame_shape
from service.pixels.plan import Act, plan

if TYPE_CHECKING:
    from service.pixels.attributes import Attributes
    from service.pixels.changes import Change, Compression
    from service.pixels.embedded import EmbeddedOverlay, Plane
    from service.pixels.frame import Frame, FrameShape
    from service.pixels.plan import Plan

Make = Callable[[Iterable[FrameJob]], Iterator["Frame"]]
"""Gives the frames of jobs in their order, each when it is wanted."""

_PIXEL_DATA = 0x7FE00010
_AT_ONCE = 1_000
_MOST_INFLATED = 32 << 20
_MOST_OVERLAYS = 64 << 20
_OFFSETS, _LENGTHS = 0x7FE00001, 0x7FE00002


def remade_blocks(
    archive: Archive, held: Held, syntax: str, make: Make, steps: Steps, block_size: int
) -> Iterator[Buffer]:
    """The instance as a DICOM file whose frames are made into `syntax`.

    `NotAcceptable` if that cannot be done, before the first block unless a later frame is damaged.
    """
    frames = make(_jobs(archive, held, syntax, steps, block_size))
    try:
        remade = _Remade(archive, held, syntax, block_size)
        if BY_UID[syntax].form is Form.NATIVE:
            yield from remade.native(frames)
        else:
            yield from remade.encapsulated(frames)
    except NotDicom as damage:
        raise NotAcceptable(f"The object cannot be written in another transfer syntax. {damage}") from damage


def _jobs(archive: Archive, held: Held, syntax: str, steps: Steps, block_size: int) -> Iterator[FrameJob]:
    return frame_jobs(held, _contents(archive, held, block_size), syntax, steps)


def _contents(archive: Archive, held: Held, block_size: int) -> Iterator[tuple[int, Content]]:
    """The stored frames in order, looked up some at a time."""
    assert held.shape is not None
    count = held.shape.frames
    for first in range(1, count + 1, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, count + 1))
        try:
            frames = frames_of(archive, held, numbers, block_size)
        except NotFound as cause:
            raise NotAcceptable(str(cause)) from cause
        for frame in frames:
            yield frame.number, frame.content


class _Remade:
    """One instance on its way into another transfer syntax."""

    def __init__(self, archive: Archive, held: Held, syntax: str, block_size: int) -> None:
        # What loads numpy and the codecs, which the start of the program need not wait for.
        from service.archive.showing import attributes_of

        assert held.shape is not None and held.pixels is not None
        self._archive = archive
        self._held = held
        self._syntax = syntax
        self._block_size = block_size
        self._frames = held.shape.frames
        self._shape: FrameShape = frame_shape(held.shape, held.pixels.tag)
        self._plan: Plan = plan(source_syntax(held), self._shape, syntax)
        if self._plan.act is Act.REFUSE:
            raise NotAcceptable(self._plan.reason)
        self._attributes: Attributes = attributes_of(archive, held, block_size)

    def native(self, frames: Iterator["Frame"]) -> Iterator[Buffer]:
        """The file, whose frames go out while the next ones are made."""
        from service.pixels.changes import pixel_data_vr

        first = next(frames)
        bits = first.shape.native_bits
        length = (bits * self._frames + 7) // 8
        head = element_head(_PIXEL_DATA, pixel_data_vr(self._syntax, first.shape), length + length % 2)
        payloads = _of_one_shape(first, frames)
        yield from self._before(first.shape, None, self._overlays())
        yield head
        yield from payloads if bits % 8 == 0 else _bit_by_bit(payloads, bits)
        yield b"\0" * (length % 2)
        yield from self._after()

    def encapsulated(self, frames: Iterator["Frame"]) -> Iterator[Buffer]:
        """The file, once all its frames are made."""
        from service.pixels.changes import Compression

        spool = Spool()
        try:
            lengths: list[int] = []
            shape: FrameShape | None = None
            for frame in frames:
                if shape is not None and frame.shape != shape:
                    raise NotAcceptable("The frames of the instance are not all of one kind.")
                shape = frame.shape
                payload = memoryview(frame.payload).cast("B")
                spool.append(payload)
                lengths.append(len(payload))
            if shape is None:
                raise NotAcceptable("The instance has no frames.")
            native_size = self._frames * self._shape.native_bytes
            compression = Compression(QUALITY, NEAR, native_size, spool.size)
            yield from self._before(shape, compression, self._overlays())
            tables = extended_offsets(lengths)
            if tables is not None:
                for tag, table in zip((_OFFSETS, _LENGTHS), tables, strict=True):
                    yield element_head(tag, "OV", len(table)) + table
            yield element_head(_PIXEL_DATA, "OB", UNDEFINED)
            yield from encapsulated(_read_back(spool, lengths), lengths)
            yield from self._after()
        finally:
            spool.close()

    def _before(
        self, made: "FrameShape", compression: "Compression | None", overlays: "dict[int, Change]"
    ) -> Iterator[Buffer]:
        """File meta information and all elements that stand before the pixel data."""
        from service.pixels.changes import SOP_INSTANCE, changes

        held = self._held
        changed = {
            **overlays,
            **changes(self._attributes, source_syntax(held), made, self._plan, compression),
        }
        uid = changed.get(SOP_INSTANCE)
        instance = held.key.instance if uid is None else str(uid[1][0])
        elements = {tag: written(tag, change, self._attributes) for tag, change in changed.items()}
        if BY_UID[held.syntax].encapsulated:
            elements |= icons_without_fragments(self._archive, held, self._attributes, self._block_size)
        elements |= {_OFFSETS: None, _LENGTHS: None}
        yield file_head(held.sop_class, instance, self._syntax)
        assert held.pixels is not None
        extent = Extent(held.data_offset, held.pixels.extent.offset - self._head() - held.data_offset)
        yield from self._rewritten(extent, {tag: one for tag, one in elements.items() if tag < _PIXEL_DATA})

    def _head(self) -> int:
        """The size of what stands before the value of the pixel data: tag, VR where there is one, length."""
        held = self._held
        encoding = encoding_of(BY_UID[held.syntax])
        if not BY_UID[held.syntax].deflated:
            first = bytes(self._archive.read(held, Extent(held.data_offset, 16)))
            encoding = actual_encoding(first, 0, encoding)
        return 8 if encoding.implicit else 12

    def _after(self) -> Iterator[Buffer]:
        """The elements that stand behind the pixel data: no padding and no signatures."""
        held = self._held
        assert held.pixels is not None
        end = held.pixels.extent.end
        gone: dict[int, bytes | None] = {0xFFFAFFFA: None, 0xFFFCFFFC: None}
        if BY_UID[held.syntax].deflated:
            yield from self._rewritten(Extent(end, _MOST_INFLATED), gone)
        elif end < held.size:
            yield from self._rewritten(Extent(end, held.size - end), gone)

    def _rewritten(self, extent: Extent, changed: dict[int, bytes | None]) -> Iterator[bytes]:
        held, encoding = self._held, encoding_of(BY_UID[self._held.syntax])
        read: Callable[[Extent], Buffer] = partial(self._archive.read, held)
        if BY_UID[held.syntax].deflated:
            content = self._inflated(extent)
            extent = Extent(extent.offset, len(content))
            read = partial(_cut, content, extent.offset)
        if not extent.length:  # nothing tells an encoding
            yield b"".join(one or b"" for _, one in sorted(changed.items()))
            return
        yield from explicit_little(read, extent, encoding, block_size=self._block_size, changed=changed)

    def _inflated(self, extent: Extent) -> bytes:
        """The bytes of `extent` of a deflated object, fewer where it ends before that."""
        if extent.length > _MOST_INFLATED:
            raise NotAcceptable("The deflated object has more attributes than are rewritten here.")
        taken = bytearray()
        try:
            for block in InflatedRuns(self._archive, self._held, self._block_size).run(extent):
                taken += block
        except NotDicom:  # past the end
            pass
        return bytes(taken)

    def _overlays(self) -> "dict[int, Change]":
        """Overlays in bits that no codec keeps, which move out of the pixels (PS3.5 8.1.2)."""
        if self._plan.act is not Act.DECODE_ENCODE:
            return {}
        from service.pixels.embedded import embedded_overlays, extracted, keeps_all_bits

        if not keeps_all_bits(self._held.syntax):
            return {}
        found = embedded_overlays(self._attributes)
        if not found:
            return {}
        if len(found) * self._frames * self._shape.pixels > _MOST_OVERLAYS:
            raise NotAcceptable("The pixels hold overlays, more of them than are taken out of them here.")
        planes = {overlay: list(self._planes(overlay)) for overlay in found}
        return dict(extracted(planes))

    def _planes(self, overlay: "EmbeddedOverlay") -> Iterator["Plane"]:
        from service.pixels.frame import Frame

        for _, content in _contents(self._archive, self._held, self._block_size):
            payload = b"".join(content.blocks())
            yield overlay.plane(Frame(payload, source_syntax(self._held), self._shape))


def _cut(content: bytes, offset: int, extent: Extent) -> bytes:
    return content[extent.offset - offset : extent.end - offset]


def _of_one_shape(first: "Frame", others: Iterator["Frame"]) -> Iterator[Buffer]:
    """The payloads of frames that have to be alike, since one description is of all."""
    yield first.payload
    for frame in others:
        if frame.shape != first.shape:
            raise NotAcceptable("The frames of the instance are not all of one kind.")
        yield frame.payload


def _bit_by_bit(payloads: Iterator[Buffer], bits: int) -> Iterator[bytes]:
    """Frames of `bits` bits, one behind the other without padding (PS3.5 8.1.1)."""
    carried, held = 0, 0
    for payload in payloads:
        carried |= (int.from_bytes(bytes(payload), "little") & ((1 << bits) - 1)) << held
        whole, rest = divmod(held + bits, 8)
        yield (carried & ((1 << 8 * whole) - 1)).to_bytes(whole, "little")
        carried, held = carried >> 8 * whole, rest
    if held:
        yield carried.to_bytes(1, "little")


def _read_back(spool: Spool, lengths: Sequence[int]) -> Iterator[bytes]:
    position = 0
    for length in lengths:
        yield b"".join(spool.blocks(Extent(position, length)))
        position += length
