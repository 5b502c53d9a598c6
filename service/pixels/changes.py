"""What another transfer syntax changes in a data set, as attributes in the DICOM JSON model.

The pixel description (PS3.3 C.7.6.3, PS3.5 8.2), what no longer holds (offset tables, padding, signatures),
and what a lossy compression makes of an image: a derived one (PS3.3 C.7.6.1.1.5, C.7.6.1.1.2).
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.dicom.errors import Undecodable
from service.dicom.syntaxes import BY_UID, ROOT, Form
from service.pixels.attributes import Attributes
from service.pixels.frame import FrameShape
from service.pixels.plan import Act, Plan

Change = tuple[str, list[Any]] | None
"""VR and values as in DICOM JSON, one of bytes for a binary VR; or `None`: the attribute goes."""

SOP_CLASS, SOP_INSTANCE = 0x00080016, 0x00080018
LOSSY, RATIO, METHOD = 0x00282110, 0x00282112, 0x00282114
_IMAGE_TYPE = 0x00080008
_DERIVATION, _SOURCE_IMAGES, _DERIVATION_CODE = 0x00082111, 0x00082112, 0x00089215
_SAMPLES, _PHOTOMETRIC, _PLANAR = 0x00280002, 0x00280004, 0x00280006
_ROWS, _COLUMNS = 0x00280010, 0x00280011
_ALLOCATED, _STORED, _HIGH_BIT, _SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
_SMALLEST_AND_LARGEST = (0x00280106, 0x00280107, 0x00280108, 0x00280109)
_FLOAT_PIXELS, _DOUBLE_PIXELS = 0x7FE00008, 0x7FE00009
_OFFSETS = (0x7FE00001, 0x7FE00002)
_TRAILING_PADDING = 0xFFFCFFFC
_SIGNATURES = (0x4FFE0001, 0xFFFAFFFA)

# PS3.3 C.7.6.1.1.5.2: what each lossy syntax is compressed with.
_METHODS: Mapping[str, str] = {
    ROOT + tail: method
    for tails, method in (
        ((".4.50", ".4.51", ".4.53", ".4.55", ".4.111"), "ISO_10918_1"),
        ((".4.81",), "ISO_14495_1"),
        ((".4.91",), "ISO_15444_1"),
        ((".4.203",), "ISO_15444_15"),
        ((".4.112",), "ISO_18181_1"),
    )
    for tail in tails
}
# Of which a codestream is never without loss.
_ALWAYS_LOSSY = frozenset(ROOT + tail for tail in (".4.50", ".4.51", ".4.53", ".4.55", ".4.111"))


@dataclass(frozen=True, slots=True)
class Compression:
    """How an instance was compressed: `quality` and `near` as asked, sizes in bytes over all frames."""

    quality: int
    near: int
    native_size: int
    encoded_size: int


def shape_of(attributes: Attributes) -> FrameShape:
    """The shape of an instance's frames; `Undecodable` if its attributes do not tell."""
    rows, columns = attributes.integer(_ROWS), attributes.integer(_COLUMNS)
    floating = 32 if _FLOAT_PIXELS in attributes else 64 if _DOUBLE_PIXELS in attributes else 0
    allocated = floating or attributes.integer(_ALLOCATED)
    if not rows or not columns or not allocated:
        raise Undecodable("The instance's attributes do not tell the size of a frame.")
    stored = allocated if floating else attributes.integer(_STORED) or allocated
    high_bit = attributes.integer(_HIGH_BIT)
    samples = attributes.integer(_SAMPLES) or 1
    return FrameShape(
        rows=rows,
        columns=columns,
        samples=samples,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1 if high_bit is None or floating else high_bit,
        signed=attributes.integer(_SIGNED) == 1,
        photometric=attributes.text(_PHOTOMETRIC) or ("RGB" if samples == 3 else "MONOCHROME2"),
        planar=1 if attributes.integer(_PLANAR) == 1 else 0,
        floating=bool(floating),
    )


def pixel_data_vr(syntax: str, shape: FrameShape) -> str:
    """The VR of Pixel Data (PS3.5 A.1 to A.4)."""
    if BY_UID[syntax].form is not Form.NATIVE:
        return "OB"
    return "OW" if shape.bits_allocated > 8 else "OB"


def changes(
    attributes: Attributes,
    stored: str,
    made: FrameShape,
    plan: Plan,
    compression: Compression | None = None,
) -> dict[int, Change]:
    """What changes at the top level of the data set whose frames were made into `made`.

    `made` is the shape of a frame that `transcode` gave, `stored` the transfer syntax before. Where the
    plan loses something, `compression` says how, and the instance becomes a derived one with a UID of its
    own, the same for the same request. Pixel Data and file meta are the writer's.
    """
    if plan.act is Act.PASS:
        return {}
    changed: dict[int, Change] = {}
    for tag in (*_OFFSETS, _TRAILING_PADDING, *_SIGNATURES):
        if attributes.values(tag) or tag in attributes:
            changed[tag] = None
    if not made.floating:
        _describe(changed, attributes, made, recoded=plan.act is Act.DECODE_ENCODE)
    if stored in _ALWAYS_LOSSY:
        _remember(changed, attributes, stored)
    if plan.loses:
        if compression is None:
            raise ValueError("A lossy plan needs to say how it compressed.")
        _derive(changed, attributes, plan.syntax, compression)
    return changed


def derived_uid(source: str, syntax: str, quality: int, near: int) -> str:
    """The SOP Instance UID of a lossy copy: the same for the same source and parameters (PS3.5 B.2)."""
    parameter = near if syntax == ROOT + ".4.81" else quality
    digest = hashlib.sha256(f"{source}\0{syntax}\0{parameter}".encode("ascii")).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def _describe(changed: dict[int, Change], attributes: Attributes, made: FrameShape, *, recoded: bool) -> None:
    """The Image Pixel attributes that differ from those there."""
    if attributes.text(_PHOTOMETRIC) != made.photometric:
        changed[_PHOTOMETRIC] = ("CS", [made.photometric])
    if made.samples > 1 and attributes.integer(_PLANAR) != made.planar:
        changed[_PLANAR] = ("US", [made.planar])
    if recoded:
        for tag, value in (
            (_ALLOCATED, made.bits_allocated),
            (_STORED, made.bits_stored),
            (_HIGH_BIT, made.bits_stored - 1),
        ):
            if attributes.integer(tag) != value:
                changed[tag] = ("US", [value])


def _remember(changed: dict[int, Change], attributes: Attributes, stored: str) -> None:
    """What was lost stays lost once decompressed (PS3.3 C.7.6.1.1.5); some writers do not say so."""
    if attributes.text(LOSSY) != "01":
        changed[LOSSY] = ("CS", ["01"])
    if METHOD not in attributes:
        changed[METHOD] = ("CS", [_METHODS[stored]])


def _derive(
    changed: dict[int, Change], attributes: Attributes, syntax: str, compression: Compression
) -> None:
    source = attributes.text(SOP_INSTANCE)
    ratio = round(compression.native_size / max(compression.encoded_size, 1), 2)
    method = _METHODS[syntax]
    changed[SOP_INSTANCE] = (
        "UI",
        [derived_uid(source, syntax, compression.quality, compression.near)],
    )
    image_type = attributes.texts(_IMAGE_TYPE)
    changed[_IMAGE_TYPE] = ("CS", ["DERIVED", *(image_type[1:] or ["PRIMARY"])])
    changed[LOSSY] = ("CS", ["01"])
    changed[RATIO] = ("DS", [*attributes.numbers(RATIO), ratio])
    changed[METHOD] = ("CS", [*attributes.texts(METHOD), method])
    before = attributes.text(_DERIVATION)
    words = f"Lossy compression {method}, ratio {ratio:g}:1"
    changed[_DERIVATION] = ("ST", [(f"{before}; {words}" if before else words)[:1024]])
    changed[_DERIVATION_CODE] = (
        "SQ",
        [*attributes.values(_DERIVATION_CODE), _code("113040", "Lossy Compression")],
    )
    changed[_SOURCE_IMAGES] = ("SQ", [*attributes.values(_SOURCE_IMAGES), _predecessor(attributes, source)])
    for tag in _SMALLEST_AND_LARGEST:
        if tag in attributes:
            changed[tag] = None


def _predecessor(attributes: Attributes, source: str) -> dict[str, Any]:
    """The item of Source Image Sequence for the image that was compressed (PS3.3 Table 10-3, CID 7202)."""
    return {
        "00081150": {"vr": "UI", "Value": [attributes.text(SOP_CLASS)]},
        "00081155": {"vr": "UI", "Value": [source]},
        "0040A170": {"vr": "SQ", "Value": [_code("121320", "Uncompressed predecessor")]},
    }


def _code(value: str, meaning: str) -> dict[str, Any]:
    """A coded entry of the DICOM Controlled Terminology (PS3.16 annex D)."""
    return {
        "00080100": {"vr": "SH", "Value": [value]},
        "00080102": {"vr": "SH", "Value": ["DCM"]},
        "00080104": {"vr": "LO", "Value": [meaning]},
    }
