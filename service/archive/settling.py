"""Pixel data that come beside metadata: which transfer syntax they are in and what they say of the picture.

A data set may leave the description to the codestream; pictures of formats without a transfer syntax
become native; native frames may come one by one (PS3.18 10.5.2, 8.7.3).
"""

from dataclasses import dataclass, field, replace

from service.archive.pictures import MOST_DECODED, TRANSFORMED, as_native, require_readable
from service.archive.spool import Spool
from service.dicom.codestream import Picture, picture, unboxed
from service.dicom.containers import Peek
from service.dicom.errors import NotDicom, SyntaxUnsupported
from service.dicom.frames import Extent, PixelShape
from service.dicom.syntaxes import BY_UID, EXPLICIT_LE, IMPLICIT_LE, OCTETS, SYNTAXES, Form, Syntax
from service.dicom.writing import DataSet

_NUMBER_OF_FRAMES = 0x00280008
_PLANAR_CONFIGURATION = 0x00280006
# The Image Pixel attributes that no decoder can do without (PS3.3 C.7.6.3): samples, photometric
# interpretation, rows, columns, bits allocated.
_NEEDED = (0x00280002, 0x00280004, 0x00280010, 0x00280011, 0x00280100)
_JPEG_2000 = ("image/jp2", "image/jpx", "image/jphc")
# Names that were in use before the standard's own (PS3.18 8.7.3).
_ALIASES = {
    "image/jph": "image/jphc",
    "image/x-jls": "image/jls",
    "image/x-dicom-rle": "image/dicom-rle",
    "image/dicom+jpeg": "image/jpeg",
    "image/dicom+jpeg-ls": "image/jls",
    "image/dicom+jp2": "image/jp2",
    "image/dicom+jpx": "image/jpx",
    "image/dicom+rle": "image/dicom-rle",
}
# Their codestreams tell what they are; the others are what their type means.
_TELLING = ("image/jpeg", "image/jls", *_JPEG_2000, "image/jxl")
_DEFAULTS = {row.media_type.lower(): row for row in SYNTAXES if row.media_type is not None and row.is_default}
_PEEK = 1 << 20


@dataclass(slots=True)
class Supplied:
    """The parts that answer one BulkDataURI, all of one media type: where they lie in the spool.

    `arriving` is the length of the only part where its bytes have not come yet, `frame_bits` the size of
    each part where it is a native frame; `transformed` tells what the media type's pictures became.
    """

    media_type: str
    parameter: str
    extents: list[Extent] = field(default_factory=list)
    arriving: int | None = None
    frame_bits: int = 0
    transformed: Picture | None = None

    @property
    def length(self) -> int:
        if self.arriving is not None:
            return self.arriving
        if self.frame_bits:
            return (len(self.extents) * self.frame_bits + 7) // 8
        return sum(extent.length for extent in self.extents)


def declared_syntax(media_type: str, parameter: str) -> Syntax | None:
    """The transfer syntax that a part of pixel data names, or its media type means (PS3.18 8.7.3.5.2).

    `None` where the codestream tells. `SyntaxUnsupported` or `NotDicom` if pixel data cannot be taken
    over as they are.
    """
    kind = _ALIASES.get(media_type, media_type) or OCTETS
    if parameter not in ("", "*"):
        return _named_syntax(kind, parameter)
    if kind == OCTETS:
        return BY_UID[EXPLICIT_LE]
    if kind in _TELLING or kind in TRANSFORMED:
        return None
    if kind not in _DEFAULTS:
        raise SyntaxUnsupported(
            "Pixel data of this media type are not stored here: send application/octet-stream, image/png, or "
            "codestreams of a type that a transfer syntax has."
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
    if kind not in (OCTETS, (syntax.media_type or "image/jpeg").lower()):  # retired processes have none
        raise NotDicom("The media type of the pixel data is not one of their transfer syntax.")
    return syntax


def parts_expected(data_set: DataSet, syntax: Syntax | None, media_type: str) -> int:
    """How many parts the pixel data come in: one for each frame where they are compressed.

    `syntax` is `None` for a codestream, which is always one frame, and for a GIF file, which holds them
    all. Native pixel data come in one part, unless the first is a frame of several (`is_native_frame`).
    """
    each_frame = syntax.form is Form.FRAMES if syntax is not None else media_type != "image/gif"
    return frames_of(data_set) if each_frame else 1


def frames_of(data_set: DataSet) -> int:
    """Number of Frames, one where it is not told."""
    return max(1, data_set.number(_NUMBER_OF_FRAMES, 1))


def is_native_frame(data_set: DataSet, length: int) -> bool:
    """Whether native pixel data of so many bytes are one of several frames, with or without padding."""
    shape = _shape(data_set)
    if shape is None:
        return False
    one, all_frames = (bits + 7 >> 3 for bits in (shape.frame_bits, shape.frames * shape.frame_bits))
    return length in (one, one + one % 2) and length < all_frames


def describes_picture(data_set: DataSet) -> bool:
    """Whether the metadata tell what no decoder can do without."""
    return not _lacking(data_set)


def settle_pixels(data_set: DataSet, value: Supplied, spool: Spool) -> Syntax:
    """The transfer syntax of the pixel data; the picture's description is completed, boxes come off."""
    if value.media_type in TRANSFORMED and value.transformed is None:
        _transform(value, spool)
    if value.transformed is not None:
        _describe_transformed(data_set, value.transformed, len(value.extents))
    syntax = BY_UID[EXPLICIT_LE] if value.transformed else declared_syntax(value.media_type, value.parameter)
    if syntax is not None and not syntax.encapsulated:
        _settle_native(data_set, value)
        return syntax
    kind = _ALIASES.get(value.media_type, value.media_type)
    if kind in ("", OCTETS) and syntax is not None:
        kind = (syntax.media_type or OCTETS).lower()
    if kind in _JPEG_2000:
        value.extents = [_without_box(spool, extent) for extent in value.extents]
    lacking = _lacking(data_set)
    if syntax is None or lacking:
        extent = value.extents[0] if value.extents else Extent(0, 0)
        seen = picture(kind, _peek(spool, extent), extent.length)
        if seen is not None:
            _describe(data_set, seen)
        elif lacking:
            named = ", ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in lacking)
            raise NotDicom(f"The metadata lack {named}, and the pixel data are of a kind that is not read.")
        syntax = syntax or (BY_UID[seen.syntax] if seen is not None else _DEFAULTS[kind])
    return syntax


def _transform(value: Supplied, spool: Spool) -> None:
    """Decode the pictures and keep their samples, a frame each, in the place of the files."""
    extents: list[Extent] = []
    left = MOST_DECODED
    for extent in value.extents:
        require_readable(extent.length)
        described, frames = as_native(spool.read(extent), value.media_type, limit=left)
        left -= sum(map(len, frames))
        if value.transformed not in (None, described):
            raise NotDicom("The pictures of the pixel data are not all of one kind.")
        value.transformed = described
        for frame in frames:
            extents.append(Extent(spool.size, len(frame)))
            spool.append(memoryview(frame))
    value.extents = extents


def _describe_transformed(data_set: DataSet, seen: Picture, frames: int) -> None:
    """Put in what the samples are, whatever the metadata say; size and number of frames must agree."""
    told = [(0x00280010, seen.rows), (0x00280011, seen.columns), (_NUMBER_OF_FRAMES, frames)]
    if any(data_set.has_value(tag) and data_set.number(tag) != number for tag, number in told):
        raise NotDicom("The pictures are not as many, or not as large, as the metadata say.")
    one_of_two = data_set.text(0x00280004) == "MONOCHROME1" and seen.samples == 1
    photometric = "MONOCHROME1" if one_of_two else seen.photometric
    for tag, vr, value in _description(replace(seen, photometric=photometric)):
        data_set.put(tag, vr, value)
    if frames > 1:
        data_set.put(_NUMBER_OF_FRAMES, "IS", frames)


def _lacking(data_set: DataSet) -> list[int]:
    return [tag for tag in _NEEDED if not data_set.has_value(tag)]


def _settle_native(data_set: DataSet, value: Supplied) -> None:
    """See to it that native pixel data are all there, in one part or in one for each frame."""
    shape = _shape(data_set)
    if shape is None:
        return
    if len(value.extents) > 1:
        if not all(is_native_frame(data_set, extent.length) for extent in value.extents):
            raise NotDicom("The pixel data come in parts that are not a frame each.")
        value.frame_bits = shape.frame_bits
        one = (shape.frame_bits + 7) // 8
        value.extents = [Extent(extent.offset, one) for extent in value.extents]
    needed = (shape.frames * shape.frame_bits + 7) // 8
    if value.length < needed:
        raise NotDicom(f"The pixel data are {value.length} bytes long and should be {needed}.")


def _shape(data_set: DataSet) -> PixelShape | None:
    """The Image Pixel module as far as it tells the size of a frame, else `None`."""
    if not all(data_set.number(tag) for tag in (0x00280010, 0x00280011, 0x00280100)):
        return None
    return PixelShape(
        rows=data_set.number(0x00280010),
        columns=data_set.number(0x00280011),
        samples=data_set.number(0x00280002, 1),
        bits_allocated=data_set.number(0x00280100),
        frames=frames_of(data_set),
        photometric=data_set.text(0x00280004),
        bits_stored=data_set.number(0x00280101),
        high_bit=data_set.number(0x00280102),
        signed=data_set.number(0x00280103) == 1,
        planar=data_set.number(0x00280006),
    )


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
    samples = data_set.number(0x00280002, seen.samples)
    for tag, vr, value in _description(replace(seen, bits_stored=stored)):
        if not data_set.has_value(tag) and not (tag == _PLANAR_CONFIGURATION and samples == 1):
            data_set.put(tag, vr, value)


def _description(seen: Picture) -> list[tuple[int, str, str | int]]:
    """The Image Pixel attributes of a picture, by pixel where it has several samples (PS3.3 C.7.6.3.1)."""
    values: list[tuple[int, str, str | int]] = [
        (0x00280002, "US", seen.samples),
        (0x00280004, "CS", seen.photometric),
        (0x00280010, "US", seen.rows),
        (0x00280011, "US", seen.columns),
        (0x00280100, "US", seen.bits_allocated),
        (0x00280101, "US", seen.bits_stored),
        (0x00280102, "US", seen.bits_stored - 1),
        (0x00280103, "US", int(seen.signed)),
    ]
    if seen.samples > 1:
        values.append((_PLANAR_CONFIGURATION, "US", 0))
    if any(isinstance(value, int) and not 0 <= value <= 0xFFFF for _, _, value in values):
        raise NotDicom("The picture is larger than the attributes of an image can say.")
    return values
