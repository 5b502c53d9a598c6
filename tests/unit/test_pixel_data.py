"""Real files: what is decoded is what independent decoders agree on."""

import csv
import hashlib
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.encaps import get_frame

from service.dicom.codestream import picture
from service.dicom.errors import NotDicom
from service.dicom.syntaxes import BY_UID, EXPLICIT_BE, ROOT
from service.pixels.attributes import Attributes
from service.pixels.changes import shape_of
from service.pixels.codecs import DECODABLE, decode
from service.pixels.codecs.headers import jpeg_header
from service.pixels.codecs.jpeg2000_header import jpeg_2000_codestream, jpeg_2000_header
from service.pixels.frame import Frame
from service.pixels.plan import Act, available, plan
from service.pixels.transcode import transcode

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason="the shared DICOM files are not here"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning"),
]

# Tagged RGB, but JFIF: Cb and Cr are 128 throughout. The hash is of the samples taken as they are.
MISLABELLED = "modality/mg/example-mg.dcm"

_LARGEST = 70_000  # pixels of a frame that is coded ten times over


@cache
def rows() -> list[dict[str, str]]:
    with (DATA / "MANIFEST.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["pixel_sha256_frame1"] and row["transfer_syntax"]]


def first_frame(row: dict[str, str]) -> tuple[Frame, Dataset]:
    before = pydicom.dcmread(DATA / row["path"], force=True)
    shape = shape_of(Attributes(described(before)))
    syntax = row["transfer_syntax"]
    if BY_UID[syntax].encapsulated:
        payload = get_frame(before.PixelData, 0, number_of_frames=int(before.get("NumberOfFrames") or 1))
    else:
        element = next(before[tag] for tag in (0x7FE00010, 0x7FE00008, 0x7FE00009) if tag in before)
        payload = element.value[: shape.native_bytes + 1]
        if syntax == EXPLICIT_BE and shape.bits_allocated <= 8 and element.VR == "OW":
            payload = np.frombuffer(payload[: len(payload) & ~1], ">u2").astype("<u2").tobytes()
    return Frame(payload, syntax, shape), before


def described(before: Dataset) -> dict[str, Any]:
    """The Image Pixel module in the DICOM JSON model."""
    wanted = [element for element in before.group_dataset(0x0028) if element.VR in ("US", "CS")]
    document: dict[str, Any] = {
        f"{int(element.tag):08X}": {"vr": element.VR, "Value": [element.value]} for element in wanted
    }
    for tag in (0x7FE00008, 0x7FE00009):
        if tag in before:
            document[f"{tag:08X}"] = {"vr": before[tag].VR, "InlineBinary": ""}
    return document


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def frames() -> Iterator[tuple[dict[str, str], Frame]]:
    for row in rows():
        yield row, first_frame(row)[0]


def test_every_real_frame_decodes_to_the_pixels_that_independent_decoders_agree_on():
    differences = []
    for row, frame in frames():
        if row["path"] == MISLABELLED:
            continue
        if frame.shape.photometric == "YBR_FULL_422" and BY_UID[frame.syntax].encapsulated:
            # The hashes are of samples as they are coded, before any conversion to RGB.
            frame = Frame(frame.payload, frame.syntax, frame.shape.becoming(photometric="YBR_FULL"))
        try:
            array = decode(frame).array
        except Exception as error:
            differences.append(f"{row['path']}: {type(error).__name__} {error}")
            continue
        if digest(array) != row["pixel_sha256_frame1"]:
            differences.append(f"{row['path']}: other pixels ({row['pixel_note']})")
    assert differences == []


def test_rgb_that_is_jfif_is_ycbcr():
    row = next(row for row in rows() if row["path"] == MISLABELLED)

    pixels = decode(first_frame(row)[0])

    assert pixels.shape.photometric == "RGB"
    assert int(np.ptp(pixels.array.astype(int), axis=2).max()) <= 1  # a mammogram has no colour


def test_subsampled_colour_leaves_as_rgb_and_full_chroma_as_it_is():
    wrong = []
    for row, frame in frames():
        if row["transfer_syntax"] not in (ROOT + ".4.50", ROOT + ".4.51") or frame.shape.samples != 3:
            continue
        made = transcode(frame, ROOT + ".1")
        expected = "YBR_FULL" if row["photometric"] == "YBR_FULL" else "RGB"
        size = len(memoryview(made.payload).cast("B"))
        if (made.shape.photometric, made.shape.planar, size) != (expected, 0, 3 * frame.shape.pixels):
            wrong.append(f"{row['path']}: {made.shape.photometric} {made.shape.planar} {size}")
    assert wrong == []


def test_every_real_frame_survives_every_lossless_syntax_it_is_offered_in():
    wrong = []
    for row, frame in smallest_of_each_kind():
        before = decode(frame)
        for syntax in available(frame.syntax, frame.shape):
            made = transcode(frame, syntax)
            after = decode(made)
            if after.shape.photometric != before.shape.photometric:
                continue  # RGB for YBR: compared in colours elsewhere
            if not np.array_equal(after.array, before.array):
                wrong.append(f"{row['path']} in {syntax}")
    assert wrong == []


def _slice(payload: bytes, place: int, size: int) -> bytes:
    return payload[place : place + size]


def smallest_of_each_kind() -> Iterator[tuple[dict[str, str], Frame]]:
    kinds: dict[tuple[str, ...], dict[str, str]] = {}
    for row in sorted(rows(), key=lambda row: int(row["rows"]) * int(row["cols"])):
        kinds.setdefault((row["transfer_syntax"], row["photometric"], row["bits_alloc_stored_repr"]), row)
    for row in kinds.values():
        if int(row["rows"]) * int(row["cols"]) <= _LARGEST:
            yield row, first_frame(row)[0]


def test_whatever_is_decoded_is_planned_and_the_rest_is_refused():
    for _, frame in frames():
        explicit = plan(frame.syntax, frame.shape, ROOT + ".1")
        assert (explicit.act is Act.REFUSE) == (frame.syntax not in DECODABLE)


def test_headers_read_before_decoding_say_what_ingest_reads_of_them():
    differences = []
    for row, frame in frames():
        media_type = BY_UID[frame.syntax].media_type
        payload = bytes(frame.payload)
        if media_type not in ("image/jpeg", "image/jls", "image/jp2", "image/jphc"):
            continue
        boxless = jpeg_2000_codestream(payload) if media_type in ("image/jp2", "image/jphc") else payload
        try:
            said = picture(media_type, partial(_slice, boxless), len(boxless))
        except NotDicom:
            continue  # progressive JPEG, which ingest takes from no loose codestream
        assert said is not None
        header = (
            jpeg_header(payload) if media_type in ("image/jpeg", "image/jls") else jpeg_2000_header(boxless)
        )
        if (header.rows, header.columns, header.samples, header.precision) != (
            said.rows, said.columns, said.samples, said.bits_stored,
        ):  # fmt: skip
            differences.append(row["path"])
    assert differences == []
