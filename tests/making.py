"""DICOM files made for tests, by pydicom: an implementation that is not ours."""

import io
import itertools
from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from service.dicom.syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE

CT = "1.2.840.10008.5.1.4.1.1.2"
_counter = itertools.count(1)


def new_uid() -> str:
    """A UID that no other test uses."""
    return f"2.25.7700{next(_counter)}"


def a_data_set(
    *,
    study: str | None = None,
    series: str | None = None,
    instance: str | None = None,
    sop_class: str = CT,
    **attributes: Any,
) -> Dataset:
    """A data set with UIDs, a patient, and `attributes` by keyword."""
    made = Dataset()
    made.SOPClassUID = sop_class
    made.SOPInstanceUID = instance or new_uid()
    made.StudyInstanceUID = study or new_uid()
    made.SeriesInstanceUID = series or new_uid()
    made.PatientName = "Doe^Jane"
    made.PatientID = "P1"
    made.StudyDate = "20240131"
    made.StudyTime = "101500"
    made.AccessionNumber = "A1"
    made.StudyID = "S1"
    made.Modality = "CT"
    made.SeriesNumber = 1
    made.InstanceNumber = 1
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def add_pixels(
    made: Dataset,
    frames: Sequence[bytes],
    *,
    rows: int = 4,
    columns: int = 4,
    bits: int = 16,
    samples: int = 1,
    photometric: str = "MONOCHROME2",
) -> Dataset:
    """`made` with native pixel data of these frames."""
    made.Rows, made.Columns = rows, columns
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    made.SamplesPerPixel, made.PhotometricInterpretation = samples, photometric
    made.PixelRepresentation = 0
    if samples > 1:
        made.PlanarConfiguration = 0
    if len(frames) > 1:
        made.NumberOfFrames = len(frames)
    value = b"".join(frames)
    made.PixelData = value + b"\0" * (len(value) % 2)
    made["PixelData"].VR = "OW" if bits > 8 else "OB"
    return made


def a_file(made: Dataset, syntax: str = EXPLICIT_LE, *, codestreams: Sequence[bytes] | None = None) -> bytes:
    """`made` as a DICOM file in `syntax`; with `codestreams`, encapsulated, one fragment a frame."""
    if codestreams is not None:
        made.PixelData = encapsulate(list(codestreams), has_bot=True)
        made["PixelData"].VR = "OB"
        made["PixelData"].is_undefined_length = True
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = io.BytesIO()
    made.save_as(
        buffer,
        enforce_file_format=True,
        implicit_vr=syntax == IMPLICIT_LE,
        little_endian=syntax != EXPLICIT_BE,
        force_encoding=False,
    )
    return buffer.getvalue()


def a_ct(
    frames: Sequence[bytes] = (bytes(range(32)),), syntax: str = EXPLICIT_LE, **attributes: Any
) -> bytes:
    """A small CT file; each frame has 4 × 4 pixels of 16 bits."""
    return a_file(add_pixels(a_data_set(**attributes), frames), syntax)
