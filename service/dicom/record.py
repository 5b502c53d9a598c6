"""What is known of a stored instance: written at ingest, read by every later request."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.dicom.frames import FrameTable, PixelPlace, PixelShape
from service.dicom.resource import InstanceKey

# Stored JSON holds these bytes, both illegal in JSON, where something is filled in on the way out.
BASE_SLOT = b"\x00"  # the DICOMweb root, as the client sees it
SYNTAXES_SLOT = b"\x01"  # the values of Available Transfer Syntax UID (0008,3002)


def syntax_and_pixels(syntax: str, shape: PixelShape | None, pixels: PixelPlace | None) -> str:
    """What the syntaxes in which an instance is available depend on, in one text for many like it.

    Its stored transfer syntax and, where it has pixel data whose shape is known, their tag, samples, Bits
    Allocated, Bits Stored, Pixel Representation and Photometric Interpretation, separated by bars.
    """
    if shape is None or pixels is None:
        return syntax
    told = (pixels.tag, shape.samples, shape.bits_allocated, shape.bits_stored, int(shape.signed))
    return "|".join((syntax, *map(str, told), shape.photometric))


@dataclass(frozen=True, slots=True)
class Description:
    """What the index keeps of an instance's attributes, made by `attributes.describe`.

    `columns` holds matchable values by column name, a mapping for each of study, series and instance;
    the summaries are the finished DICOM JSON members that a search returns at each level, without
    braces.
    """

    study: Mapping[str, str | int | float | None]
    series: Mapping[str, str | int | float | None]
    instance: Mapping[str, str | int | float | None]
    study_summary: bytes
    series_summary: bytes
    instance_summary: bytes
    requests: tuple[tuple[str, str], ...] = ()
    """Scheduled Procedure Step ID and Requested Procedure ID of each Request Attributes item."""


@dataclass(frozen=True, slots=True)
class Held:
    """One stored instance, as a reader needs it.

    `row` is its number in the index: it grows, and any change of the instance makes another one.
    `digest` is the SHA-256 of (transfer syntax UID, 0x00, data set). `size` is in bytes, of the object.
    `data_offset` is where the data set begins in it; `head_fits` is false where the file meta
    information before that names another class or instance than the data set, and must not go out.
    """

    row: int
    key: InstanceKey
    sop_class: str
    syntax: str
    object_key: str
    place: str
    size: int
    digest: bytes
    shape: PixelShape | None
    pixels: PixelPlace | None
    data_offset: int = 0
    head_fits: bool = True


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One instance to be entered in the index; its object is already durable.

    `json` is the whole DICOM JSON object, with slots. `frames` is given for encapsulated pixel data
    whose frames could be told apart. `findings` are sentences about odd values, free of patient data.
    """

    key: InstanceKey
    sop_class: str
    syntax: str
    object_key: str
    place: str
    size: int
    digest: bytes
    shape: PixelShape | None
    pixels: PixelPlace | None
    frames: FrameTable | None
    description: Description
    json: bytes
    findings: tuple[str, ...] = ()
    data_offset: int = 0
    head_fits: bool = True
