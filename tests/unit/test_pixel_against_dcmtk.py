"""What is encoded here, decoded by DCMTK."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from service.dicom.syntaxes import EXPLICIT_LE, ROOT
from service.pixels.codecs import decode
from service.pixels.encapsulate import encapsulated
from service.pixels.frame import Frame, Pixels
from service.pixels.plan import Act, plan
from service.pixels.transcode import transcode
from tests.codestreams import colour, grey, native

PROGRAMS = {
    ".4.50": "dcmdjpeg",
    ".4.57": "dcmdjpeg",
    ".4.70": "dcmdjpeg",
    ".4.80": "dcmdjpls",
    ".4.81": "dcmdjpls",
    ".5": "dcmdrle",
}
PICTURES = {
    "u8": grey(8), "u10": grey(10), "u12": grey(12), "u16": grey(16), "i12": grey(12, signed=True),
    "i16": grey(16, signed=True), "RGB 8": colour(), "YBR_FULL": colour(8, "YBR_FULL"),
}  # fmt: skip
pytestmark = [
    pytest.mark.skipif(
        any(shutil.which(program) is None for program in PROGRAMS.values()), reason="DCMTK is not installed"
    ),
    pytest.mark.filterwarnings("ignore:.*:UserWarning"),
]


# Baseline JPEG is of 8 bits, and nearly lossless JPEG-LS takes no sign.
REFUSED = {(".4.50", name) for name in ("u10", "u12", "u16", "i12", "i16")} | {
    (".4.81", "i12"),
    (".4.81", "i16"),
}


@pytest.mark.parametrize(("tail", "name"), sorted(REFUSED))
def test_samples_that_a_syntax_does_not_take_are_refused(tail, name):
    assert plan(EXPLICIT_LE, PICTURES[name].shape, ROOT + tail).act is Act.REFUSE


@pytest.mark.parametrize(
    ("tail", "name"), [(tail, name) for tail in PROGRAMS for name in PICTURES if (tail, name) not in REFUSED]
)
def test_dcmtk_decodes_the_same_samples(tmp_path, tail, name):
    pixels = PICTURES[name]
    made = transcode(native(pixels), ROOT + tail)

    seen = decoded_by(PROGRAMS[tail], made, tmp_path)

    ours = decode(made)
    assert seen.shape == ours.array.shape
    assert np.abs(seen.astype(np.int64) - ours.array).max() <= (7 if tail == ".4.50" else 0)


@pytest.mark.parametrize(
    "pixels",
    [grey(2), grey(5), grey(7), grey(5, signed=True), grey(8, allocated=16), grey(4, allocated=16)],
    ids=["u2", "u5", "u7", "i5", "u8 in 16", "u4 in 16"],
)
def test_dcmtk_decodes_jpeg_ls_of_few_bits(tmp_path, pixels):
    made = transcode(native(pixels), ROOT + ".4.80")

    assert np.array_equal(decoded_by("dcmdjpls", made, tmp_path), pixels.array)


def decoded_by(program: str, frame: Frame, folder: Path) -> np.ndarray:
    image = written(frame)
    image.save_as(folder / "before.dcm", enforce_file_format=True)
    colours = ["+cn"] if program == "dcmdjpeg" and frame.shape.photometric != "YBR_FULL_422" else []
    subprocess.run(
        [program, *colours, str(folder / "before.dcm"), str(folder / "after.dcm")], check=True, timeout=30
    )
    after = pydicom.dcmread(folder / "after.dcm")
    shape = frame.shape.becoming(
        photometric=after.PhotometricInterpretation, planar=after.get("PlanarConfiguration", 0)
    )
    pixels: Pixels = decode(Frame(after.PixelData, EXPLICIT_LE, shape))
    return pixels.array


def written(frame: Frame) -> Dataset:
    shape = frame.shape
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = UID(frame.syntax)
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    image.SOPInstanceUID = "1.2.3"
    image.Rows, image.Columns, image.SamplesPerPixel = shape.rows, shape.columns, shape.samples
    image.BitsAllocated, image.BitsStored, image.HighBit = (
        shape.bits_allocated,
        shape.bits_stored,
        shape.high_bit,
    )
    image.PixelRepresentation = int(shape.signed)
    image.PhotometricInterpretation = shape.photometric
    if shape.samples > 1:
        image.PlanarConfiguration = shape.planar
    items = b"".join(bytes(block) for block in encapsulated([frame.payload]))
    image.PixelData = items[:-8]  # the writer adds the delimiter itself
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    return image
