"""Objects made of metadata and bulk data (PS3.18 10.5.2): a data set, the parts that fill its gaps."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from service.archive.settling import Supplied, settle_pixels
from service.archive.spool import Spool
from service.dicom.classes import require_of_patient
from service.dicom.elements import ITEM, SEQUENCE_END, UNDEFINED
from service.dicom.errors import ClassMismatch, TooLarge
from service.dicom.part10 import file_head
from service.dicom.resource import is_uid
from service.dicom.syntaxes import BY_UID, EXPLICIT_LE, OCTETS, Form, Syntax
from service.dicom.writing import DataSet, Detached, Segment, element_head, padding

PIXEL_DATA = 0x7FE00010

_BITS_ALLOCATED = 0x00280100
_DOCUMENT = 0x00420011
_DOCUMENT_TYPE = 0x00420012
_DOCUMENT_LENGTH = 0x00420015
_IDENTIFIERS = (
    (0x00080016, "SOP Class UID (0008,0016)"),
    (0x00080018, "SOP Instance UID (0008,0018)"),
    (0x0020000D, "Study Instance UID (0020,000D)"),
    (0x0020000E, "Series Instance UID (0020,000E)"),
)
_MAX_FRAGMENT = UNDEFINED - 1


class Arrival:
    """Stands among an object's blocks for a value whose bytes are about to arrive."""


ARRIVAL = Arrival()


def require_uids(data_set: DataSet) -> None:
    """`ClassMismatch` if one of the four UIDs that every instance has is missing or no UID.

    `ClassUnsupported` if it belongs to no study.
    """
    require_of_patient(data_set.text(0x00080016))
    for tag, what in _IDENTIFIERS:
        uid = data_set.text(tag)
        if not uid:
            raise ClassMismatch(f"{what} is missing or empty.")
        if not is_uid(uid):
            raise ClassMismatch(f"{what} is not 1 to 64 digits and dots.")


def object_blocks(
    data_set: DataSet, supplied: Mapping[str, Supplied], spool: Spool
) -> Iterator[bytes | Arrival]:
    """The DICOM file that `data_set` makes with the values of its gaps, by their URIs.

    `NotDicom`, `SyntaxUnsupported` or `TooLarge` if they do not make one.
    """
    pixels = next((gap for gap in data_set.detached if gap.top and gap.tag == PIXEL_DATA), None)
    syntax = BY_UID[EXPLICIT_LE]
    if pixels is not None:
        syntax = settle_pixels(data_set, supplied[pixels.uri], spool)
    _complete_document(data_set, supplied)
    yield file_head(data_set.text(0x00080016), data_set.text(0x00080018), syntax.uid)
    wide = data_set.number(_BITS_ALLOCATED) > 8
    for segment in data_set.segments:
        if wide and isinstance(segment, Detached) and segment is pixels and not syntax.encapsulated:
            segment = replace(segment, vr="OW")  # whatever the metadata say (PS3.5 A.2)
        yield from _segment_blocks(segment, supplied, spool, syntax)


def _segment_blocks(
    segment: Segment, supplied: Mapping[str, Supplied], spool: Spool, syntax: Syntax
) -> Iterator[bytes | Arrival]:
    if isinstance(segment, bytes):
        yield segment
        return
    value = supplied[segment.uri]
    if segment.top and segment.tag == PIXEL_DATA and syntax.encapsulated:
        yield from _encapsulated(value, spool, syntax)
    else:
        yield from _plain(segment, value, spool)


def _plain(gap: Detached, value: Supplied, spool: Spool) -> Iterator[bytes | Arrival]:
    fill = padding(gap.vr, value.length)
    length = value.length + len(fill)
    if length > _MAX_FRAGMENT:
        raise TooLarge("A value is larger than 4 GiB, which no element can hold (PS3.5 7.1).")
    yield element_head(gap.tag, gap.vr, length)
    if value.arriving is not None:
        yield ARRIVAL
    if value.frame_bits % 8:
        yield from _joined_bits(value, spool)
    else:
        for extent in value.extents:
            yield from spool.blocks(extent)
    yield fill


def _joined_bits(value: Supplied, spool: Spool) -> Iterator[bytes]:
    """Frames that each begin at a byte, one behind the other without gaps (PS3.5 8.1.1, PS3.18 8.7.3)."""
    pending, held = 0, 0
    for extent in value.extents:
        left = value.frame_bits
        for block in spool.blocks(extent):
            bits = min(left, 8 * len(block))
            left -= bits
            pending |= (int.from_bytes(block, "little") & ((1 << bits) - 1)) << held
            whole, held = divmod(held + bits, 8)
            yield (pending & ((1 << 8 * whole) - 1)).to_bytes(whole, "little")
            pending >>= 8 * whole
    if held:
        yield pending.to_bytes(1)


def _encapsulated(value: Supplied, spool: Spool, syntax: Syntax) -> Iterator[bytes | Arrival]:
    """One fragment for each frame, behind a Basic Offset Table; that of a video is empty (PS3.5 A.4)."""
    lengths = [value.arriving] if value.arriving is not None else [one.length for one in value.extents]
    if max(lengths, default=0) > _MAX_FRAGMENT - 1:
        raise TooLarge("A frame is larger than 4 GiB, which no fragment can hold (PS3.5 A.4).")
    table = b"" if syntax.form is Form.VIDEO else _offset_table(lengths)
    yield element_head(PIXEL_DATA, "OB", UNDEFINED) + _item(len(table)) + table
    for number, length in enumerate(lengths):
        yield _item(length + length % 2)
        if value.arriving is not None:
            yield ARRIVAL
        else:
            yield from spool.blocks(value.extents[number])
        yield b"\0" * (length % 2)
    yield struct.pack("<HHI", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)


def _item(length: int) -> bytes:
    return struct.pack("<HHI", ITEM >> 16, ITEM & 0xFFFF, length)


def _offset_table(lengths: Sequence[int]) -> bytes:
    """The offset of each frame's item; empty where the last is beyond 32 bits."""
    offsets = [0]
    for length in lengths[:-1]:
        offsets.append(offsets[-1] + 8 + length + length % 2)
    return struct.pack(f"<{len(offsets)}I", *offsets) if offsets[-1] <= 0xFFFFFFFF else b""


def _complete_document(data_set: DataSet, supplied: Mapping[str, Supplied]) -> None:
    """An encapsulated document's length without padding, and its type (PS3.3 C.24.2)."""
    gap = next((one for one in data_set.detached if one.top and one.tag == _DOCUMENT), None)
    if gap is None:
        return
    value = supplied[gap.uri]
    if not data_set.has_value(_DOCUMENT_LENGTH):
        data_set.put(_DOCUMENT_LENGTH, "UL", value.length)
    if not data_set.has_value(_DOCUMENT_TYPE) and value.media_type not in ("", OCTETS):
        data_set.put(_DOCUMENT_TYPE, "LO", value.media_type)
