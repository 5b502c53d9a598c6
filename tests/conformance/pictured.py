"""Real images for the tests of transcoding, stored one at a time, and codecs that are not ours."""

import copy
import csv
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from service.dicom.syntaxes import BY_UID, EXPLICIT_BE, EXPLICIT_LE, ROOT
from service.pixels.codecs import decode, encode
from service.pixels.frame import Frame, FrameShape, Pixels
from tests.making import a_data_set, a_file, add_pixels
from tests.reading import turned

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

J2K, J2K_LOSSY, JPEG, JPEG_LL, JLS = (ROOT + tail for tail in (".4.90", ".4.91", ".4.50", ".4.70", ".4.80"))
HTJ2K, HTJ2K_RPCL, RLE, JXL = (ROOT + tail for tail in (".4.201", ".4.202", ".5", ".4.110"))
NEAR_LOSSLESS, HTJ2K_LOSSY, JXL_LOSSY = (ROOT + tail for tail in (".4.81", ".4.203", ".4.112"))
_DCMTK = {JPEG_LL: "dcmdjpeg", JLS: "dcmdjpls", NEAR_LOSSLESS: "dcmdjpls"}
ROWS, COLUMNS = 24, 40


@cache
def manifest() -> tuple[dict[str, str], ...]:
    """The real files whose pixels independent decoders agree on."""
    if not (DATA / "MANIFEST.csv").exists():
        return ()
    with (DATA / "MANIFEST.csv").open(newline="") as file:
        return tuple(row for row in csv.DictReader(file) if row["pixel_sha256_frame1"])


def samples_of(payload: bytes, dataset: Dataset, *, photometric: str | None = None) -> np.ndarray[Any, Any]:
    """One frame by pydicom's decoder out of Explicit VR Little Endian, colour by pixel, nothing converted."""
    return decoded([payload], EXPLICIT_LE, dataset, photometric=photometric)[0]


def decoded(
    payloads: Sequence[bytes], syntax: str, dataset: Dataset, *, photometric: str | None = None
) -> list[np.ndarray[Any, Any]]:
    """Frames by decoders that are not ours: pydicom's, and DCMTK's for what pydicom has none for.

    Of JPEG XL there is no second decoder here.
    """
    if syntax in _DCMTK:
        payloads, syntax = [_by_dcmtk(one, syntax, dataset) for one in payloads], EXPLICIT_LE
    if syntax in (JXL, JXL_LOSSY):
        shape = _shape(dataset)
        return [decode(Frame(one, syntax, shape)).array for one in payloads]
    native = not BY_UID[syntax].encapsulated
    value = b"".join(payloads) if native else encapsulate(list(payloads), has_bot=True)
    options: dict[str, Any] = {
        "rows": dataset.Rows,
        "columns": dataset.Columns,
        "samples_per_pixel": dataset.SamplesPerPixel,
        "bits_allocated": dataset.BitsAllocated,
        "bits_stored": dataset.BitsStored,
        "pixel_representation": dataset.PixelRepresentation,
        "photometric_interpretation": photometric or dataset.PhotometricInterpretation,
        "number_of_frames": len(payloads),
        "pixel_keyword": "PixelData",
        "pixel_vr": "OW" if dataset.BitsAllocated > 8 else "OB",
        "as_rgb": False,
    }
    if dataset.SamplesPerPixel > 1:
        options["planar_configuration"] = dataset.get("PlanarConfiguration", 0)
    decoder = get_decoder(UID(syntax))
    return [np.array(frame) for frame, _ in decoder.iter_array(value, raw=False, **options)]


def _by_dcmtk(payload: bytes, syntax: str, dataset: Dataset) -> bytes:
    program = _DCMTK[syntax]
    if shutil.which(program) is None:
        pytest.skip("DCMTK is not installed")
    made = copy.deepcopy(dataset)
    made.pop("NumberOfFrames", None)
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.dcm", Path(folder) / "after.dcm"
        before.write_bytes(a_file(made, syntax, codestreams=[payload]))
        subprocess.run([program, str(before), str(after)], check=True, timeout=30)
        return bytes(pydicom.dcmread(after).PixelData)[: dataset.Rows * dataset.Columns * 2]


def _shape(dataset: Dataset) -> FrameShape:
    samples, bits = dataset.SamplesPerPixel, dataset.BitsAllocated
    kind = "MONOCHROME2" if samples == 1 else "RGB"
    return FrameShape(ROWS, COLUMNS, samples, bits, dataset.BitsStored, dataset.HighBit, False, kind)


def digest(array: np.ndarray[Any, Any]) -> str:
    """As the manifest has it."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def picture(number: int = 0, *, bits: int = 12, samples: int = 1) -> np.ndarray[Any, Any]:
    """A smooth picture with a little noise, another for each number."""
    random = np.random.default_rng(number)
    down, across = np.mgrid[0:ROWS, 0:COLUMNS]
    base = (down * 3 + across * 5 + number * 11) % 200 + random.integers(0, 8, (ROWS, COLUMNS))
    grey = base * ((1 << bits) // 256)
    made = grey if samples == 1 else np.stack([grey, grey // 2 + 20, 255 - grey], axis=-1)
    return made.astype(np.uint8 if bits <= 8 else np.uint16)


def stored(
    pictures: Sequence[np.ndarray[Any, Any]], syntax: str = EXPLICIT_LE, **attributes: Any
) -> tuple[bytes, Dataset]:
    """A file of these pictures in `syntax`, and its data set as it would be native."""
    first = pictures[0]
    samples = 1 if first.ndim == 2 else 3
    bits = 8 * first.dtype.itemsize
    kind = "MONOCHROME2" if samples == 1 else "RGB"
    made = add_pixels(
        a_data_set(**attributes),
        [one.tobytes() for one in pictures],
        rows=ROWS,
        columns=COLUMNS,
        bits=bits,
        samples=samples,
        photometric=kind,
    )
    if bits == 16:
        made.BitsStored, made.HighBit = 12, 11
    if not BY_UID[syntax].encapsulated:
        native = made.PixelData
        if syntax == EXPLICIT_BE:  # pydicom writes words as they are
            made.PixelData = turned(native, 2)
        file = a_file(made, syntax)
        made.PixelData = native
        return file, made
    shape = FrameShape(ROWS, COLUMNS, samples, bits, made.BitsStored, made.HighBit, False, kind)
    frames = [encode(Pixels(one, shape), syntax) for one in pictures]
    made.PhotometricInterpretation = frames[0].shape.photometric
    codestreams = [bytes(one.payload) for one in frames]
    if syntax not in (JXL, JXL_LOSSY):
        return a_file(made, syntax, codestreams=codestreams), made
    # Which pydicom does not know: another name of the same length in its place.
    file = a_file(made, HTJ2K, codestreams=codestreams)
    return file.replace(HTJ2K.encode(), syntax.encode(), 1), made
