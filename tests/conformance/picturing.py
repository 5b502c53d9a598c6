"""What the tests of rendered resources share: images kept in a site, and pictures read by other eyes."""

from typing import Any

import httpx2 as httpx
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from service.dicom.syntaxes import EXPLICIT_LE
from tests.making import a_data_set, a_file, add_pixels

PNG, JPEG, GIF = "image/png", "image/jpeg", "image/gif"
MANY_PNG, MANY_JPEG = (f'multipart/related; type="{name}"' for name in (PNG, JPEG))
STATE = "1.2.840.10008.5.1.4.1.1.11.1"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"

_DECODERS = {
    PNG: imagecodecs.png_decode,
    JPEG: imagecodecs.jpeg8_decode,
    GIF: imagecodecs.gif_decode,
    "image/webp": imagecodecs.webp_decode,
    "image/jxl": imagecodecs.jpegxl_decode,
    "image/jp2": imagecodecs.jpeg2k_decode,
    "image/jph": imagecodecs.htj2k_decode,
}


def picture(response: httpx.Response) -> NDArray[Any]:
    """The picture in a response."""
    assert response.status_code == 200, response.text
    return decoded(response.content, response.headers["content-type"])


def decoded(content: bytes, media_type: str) -> NDArray[Any]:
    """The picture in a file of a media type."""
    array: NDArray[Any] = np.asarray(_DECODERS[media_type](content))
    return array


def ramp(rows: int = 8, columns: int = 16, first: int = 0) -> NDArray[np.int64]:
    """Values that rise by one from pixel to pixel."""
    return (first + np.arange(rows * columns)).reshape(rows, columns)


def an_image(*frames: NDArray[Any], syntax: str = EXPLICIT_LE, **attributes: Any) -> bytes:
    """A file of these frames, of bytes or, where they are none, words; grey or RGB."""
    frames = tuple(one if one.dtype == np.uint8 else one.astype("<u2") for one in frames)
    photometric = attributes.pop("PhotometricInterpretation", None)
    first = frames[0]
    made = add_pixels(
        a_data_set(**attributes),
        [np.ascontiguousarray(frame).tobytes() for frame in frames],
        rows=first.shape[0],
        columns=first.shape[1],
        bits=8 * first.dtype.itemsize,
        samples=first.shape[2] if first.ndim == 3 else 1,
        photometric=photometric or ("RGB" if first.ndim == 3 else "MONOCHROME2"),
    )
    return a_file(made, syntax)


def a_report(**attributes: Any) -> bytes:
    """A structured report that says one thing."""
    name, item = Dataset(), Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "121071", "DCM", "Finding <one>"
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence, item.TextValue = [name], "Nothing unusual & nothing else"
    made = a_data_set(sop_class=SR, ValueType="CONTAINER", ContentSequence=[item], **attributes)
    made.Modality = "SR"
    return a_file(made)


def a_document(
    content: bytes = b"%PDF-1.7 one", media_type: str = "application/pdf", **attributes: Any
) -> bytes:
    """An encapsulated document, of an odd number of bytes padded to an even one."""
    made = a_data_set(sop_class=PDF, MIMETypeOfEncapsulatedDocument=media_type, **attributes)
    made.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    made.EncapsulatedDocumentLength = len(content)
    made.Modality = "DOC"
    return a_file(made)


def a_state(
    *images: tuple[str, str], study: str, window: tuple[float, float] = (64, 128), **more: Any
) -> bytes:
    """A greyscale presentation state for images, each by its series and SOP Instance UID."""
    series: dict[str, list[Dataset]] = {}
    for own_series, instance in images:
        reference = Dataset()
        reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        reference.ReferencedSOPInstanceUID = instance
        series.setdefault(own_series, []).append(reference)
    made = a_data_set(sop_class=STATE, study=study, **more)
    made.Modality = "PR"
    made.ReferencedSeriesSequence = []
    for own_series, references in series.items():
        item = Dataset()
        item.SeriesInstanceUID, item.ReferencedImageSequence = own_series, references
        made.ReferencedSeriesSequence.append(item)
    voi = Dataset()
    voi.WindowCenter, voi.WindowWidth = window
    made.SoftcopyVOILUTSequence = [voi]
    made.PresentationLUTShape = "INVERSE"
    return a_file(made)
