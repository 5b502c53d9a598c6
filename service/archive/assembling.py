"""Objects made of metadata and bulk data (PS3.18 10.5.2): a data set, the parts that fill its gaps."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from service.archive.spool import Spool
from service.dicom.codestream import Peek, Picture, picture, unboxed
from service.dicom.elements import ITEM, SEQUENCE_END, UNDEFINED
from service.dicom.errors import ClassMismatch, NotDicom, SyntaxUnsupported, TooLarge
from service.dicom.frames import Extent, PixelShape
from service.dicom.part10 import file_head
from service.dicom.resource import is_uid
from service.dicom.syntaxes import BY_UID, EXPLICIT_LE, IMPLICIT_LE, OCTETS, SYNTAXES, Form, Syntax
from service.dicom.writing import DataSet, Detached, Segment, element_head, padding

PIXEL_DATA = 0x7FE00010

_NUMBER_OF_FRAMES = 0x00280008
_DOCUMENT = 0x00420011
_DOCUMENT_TYPE = 0x00420012
_DOCUMENT_LENGTH = 0x00420015
_IDENTIFIERS = (
    (0x00080016, "SOP Class UID (0008,0016)"),
    (0x00080018, "SOP Instance UID (0008,0018)"),
    (0x0020000D, "Study Instance UID (0020,000D)"),
    (0x0020000E, "Series Instance UID (0020,000E)"),
)
# The Image Pixel attributes that no decoder can do without (PS3.3 C.7.6.3): samples, photometric
# interpretation, rows, columns, bits allocated.
_NEEDED = (0x00280002, 0x00280004, 0x00280010, 0x00280011, 0x00280100)
_JPEG_2000 = ("image/jp2", "image/jpx", "image/jphc")
_ALIASES = {"image/jph": "image/jphc", "image/x-jls": "image/jls", "image/x-dicom-rle": "image/dicom-rle"}
_DEFAULTS = {row.media_type.lower(): row for row in SYNTAXES if row.media_type is not None and row.is_default}
_MAX_FRAGMENT = UNDEFINED - 1
_PEEK = 1 << 20


class Arrival:
    """Stands among an object's blocks for a value whose bytes are about to arrive."""


ARRIVAL = Arrival()


@dataclass(slots=True)
class Supplied:
    """The parts that answer one BulkDataURI, all of one media type: where they lie in the spool.

    `arriving` is the length of the only part where its bytes have not come yet.
    """

    media_type: str
    parameter: str
    extents: list[Extent] = field(default_factory=list)
    arriving: int | None = None

    @property
    def length(self) -> int:
        return self.arriving if self.arriving is not None else sum(extent.length for extent in self.extents)


def require_uids(data_set: DataSet) -> None:
    """`ClassMismatch` if one of the four UIDs that every instance has is missing or no UID."""
    for tag, what in _IDENTIFIERS:
        uid = data_set.text(tag)
        if not uid:
            raise ClassMismatch(f"{what} is missing or empty.")
        if not is_uid(uid):
            raise ClassMismatch(f"{what} is not 1 to 64 digits and dots.")


def declared_syntax(media_type: str, parameter: str) -> Syntax | None:
    """The transfer syntax that a part of pixel data names, or its media type means (PS3.18 8.7.3.5.2).

    `None` where only the codestream can tell. `SyntaxUnsupported` or `NotDicom` if pixel data cannot be
    taken over as they are.
    """
    kind = _ALIASES.get(media_type, media_type) or OCTETS
    if parameter not in ("", "*"):
        return _named_syntax(kind, parameter)
    if kind == OCTETS:
        return BY_UID[EXPLICIT_LE]
    if kind in ("image/jpeg", "image/jls", *_JPEG_2000):
        return None
    if kind not in _DEFAULTS:
        raise NotDicom(
            "Pixel data of this media type would have to be transformed, which is not done here: send "
            "application/octet-stream, or codestreams of a type that a transfer syntax has."
        )
    return _DEFAULTS[kind]


def _named_syntax(kind: str, parameter: str) -> Syntax:
    syntax = BY_UID.get(parameter)
    if syntax is None or syntax.form is Form.REFERENCE:
        raise SyntaxUnsupported("The transfer syntax of the pixel data is not stored here.")
    if syntax.form is Form.NATIVE:
        if syntax.uid not in (EXPLICIT_LE, IMPLICIT_LE):
            raise SyntaxUnsupported("Native pixel data are taken in little endian only (PS3.18 8.7.3).")
        syntax = BY_UID[EXPLICIT_LE]
    if kind not in (OCTETS, (syntax.media_type or OCTETS).lower()):
        raise NotDicom("The media type of the pixel data is not one of their transfer syntax.")
    return syntax


def parts_expected(data_set: DataSet, syntax: Syntax | None) -> int:
    """How many parts the pixel data come in: one for each frame where they are compressed.

    `syntax` is `None` for a codestream, which is always one frame.
    """
    each_frame = syntax is None or syntax.form is Form.FRAMES
    return max(1, data_set.number(_NUMBER_OF_FRAMES, 1)) if each_frame else 1


def object_blocks(
    data_set: DataSet, supplied: Mapping[str, Supplied], spool: Spool
) -> Iterator[bytes | Arrival]:
    """The DICOM file that `data_set` makes with the values of its gaps, by their URIs.

    `NotDicom`, `SyntaxUnsupported` or `TooLarge` if they do not make one.
    """
    pixels = next((gap for gap in data_set.detached if gap.top and gap.tag == PIXEL_DATA), None)
    syntax = BY_UID[EXPLICIT_LE]
    if pixels is not None:
        syntax = _settle_pixels(data_set, supplied[pixels.uri], spool)
    _complete_document(data_set, supplied)
    yield file_head(data_set.text(0x00080016), data_set.text(0x00080018), syntax.uid)
    for segment in data_set.segments:
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
    for extent in value.extents:
        yield from spool.blocks(extent)
    yield fill


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


def _settle_pixels(data_set: DataSet, value: Supplied, spool: Spool) -> Syntax:
    """The transfer syntax of the pixel data; the picture's description is completed, boxes come off."""
    syntax = declared_syntax(value.media_type, value.parameter)
    if syntax is not None and not syntax.encapsulated:
        _require_length(data_set, value)
        return syntax
    kind = _ALIASES.get(value.media_type, value.media_type)
    if kind in ("", OCTETS) and syntax is not None:
        kind = syntax.media_type or OCTETS
    if kind in _JPEG_2000:
        value.extents = [_without_box(spool, extent) for extent in value.extents]
    lacking = [tag for tag in _NEEDED if not data_set.has_value(tag)]
    if syntax is None or lacking:
        seen = picture(kind, _peek(spool, value.extents[0])) if value.extents else None
        if seen is None:
            named = ", ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in lacking)
            raise NotDicom(f"The metadata lack {named}, and the pixel data are of a type that is not read.")
        _describe(data_set, seen)
        syntax = syntax or BY_UID[seen.syntax]
    return syntax


def _require_length(data_set: DataSet, value: Supplied) -> None:
    """`NotDicom` if native pixel data are too short, as one of several frames would be."""
    needed = 0
    if all(data_set.number(tag) for tag in (0x00280010, 0x00280011, 0x00280100)):
        shape = PixelShape(
            rows=data_set.number(0x00280010),
            columns=data_set.number(0x00280011),
            samples=data_set.number(0x00280002, 1),
            bits_allocated=data_set.number(0x00280100),
            frames=data_set.number(_NUMBER_OF_FRAMES, 1),
            photometric=data_set.text(0x00280004),
        )
        needed = (shape.frames * shape.frame_bits + 7) // 8
    if value.length < needed:
        raise NotDicom(f"The pixel data are {value.length} bytes long and should be {needed}.")


def _peek(spool: Spool, extent: Extent) -> Peek:
    def peek(position: int, length: int) -> bytes:
        left = min(length, _PEEK, extent.length - position)
        return spool.read(Extent(extent.offset + position, left)) if left > 0 else b""

    return peek


def _without_box(spool: Spool, extent: Extent) -> Extent:
    inner = unboxed(_peek(spool, extent), extent.length)
    return Extent(extent.offset + inner.offset, inner.length)


def _describe(data_set: DataSet, seen: Picture) -> None:
    """Put in what the metadata may leave to the codestream (PS3.18 10.5.2)."""
    if not (seen.rows > 0 and seen.columns > 0 and seen.samples > 0):
        raise NotDicom("The codestream's header does not tell the size of the picture.")
    stored = data_set.number(0x00280101, seen.bits_stored)
    values: list[tuple[int, str, str | int]] = [
        (0x00280002, "US", seen.samples),
        (0x00280004, "CS", seen.photometric),
        (0x00280010, "US", seen.rows),
        (0x00280011, "US", seen.columns),
        (0x00280100, "US", seen.bits_allocated),
        (0x00280101, "US", stored),
        (0x00280102, "US", stored - 1),
        (0x00280103, "US", int(seen.signed)),
    ]
    if data_set.number(0x00280002, seen.samples) > 1:
        values.append((0x00280006, "US", 0))
    if any(isinstance(value, int) and not 0 <= value <= 0xFFFF for _, _, value in values):
        raise NotDicom("The picture is larger than the attributes of an image can say.")
    for tag, vr, value in values:
        if not data_set.has_value(tag):
            data_set.put(tag, vr, value)


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
