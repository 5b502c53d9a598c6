"""Cornerstone's image loader, unmodified, decodes what the service sends: the samples are those agreed on."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pydicom
import pytest
from pydicom import FileDataset

from service.dicom.syntaxes import EXPLICIT_LE
from service.dicom.syntaxes import ROOT as UIDS
from tests.e2e.loader.loading import Loaded, Loader

HTJ2K, HTJ2K_RPCL, JPEG_XL = UIDS + ".4.201", UIDS + ".4.202", UIDS + ".4.110"
_CT = "ts/ct-family/CTImage_{}"
_PLAIN = _CT.format("LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1.dcm")
_LOSSY = _CT.format("JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50.dcm")
# Files whose samples nobody disputes, by what the loader has to decode.
LOSSLESS = {
    "implicit": _CT.format("LittleEndianImplicitTransferSyntax_1.2.840.10008.1.2.dcm"),
    "explicit": _PLAIN,
    "big endian": _CT.format("BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2.dcm"),
    "deflated": _CT.format("DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99.dcm"),
    "RLE": _CT.format("RLELosslessTransferSyntax_1.2.840.10008.1.2.5.dcm"),
    "RLE, 12 bits": "ts/mr-siemens-family/4.dcm",
    "RLE, colour": "ts/rle/SC_rgb_rle.dcm",
    "RLE, several frames": "encapsulation/CT0012.not_fragmented_no_bot_rle.dcm",
    "JPEG lossless": _CT.format("JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57.dcm"),
    "JPEG lossless SV1": _CT.format("JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70.dcm"),
    "JPEG-LS": _CT.format("JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80.dcm"),
    "JPEG-LS, 12 bits": "ts/mr-siemens-family/7.dcm",
    "JPEG-LS, colour": "wsi/sm_image_jpegls.dcm",
    "JPEG-LS in fragments": "encapsulation/CT1_UNC.fragmented_bot_jpeg_ls.80.dcm",
    "JPEG 2000": _CT.format("JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90.dcm"),
    "JPEG 2000, 12 bits": "ts/mr-siemens-family/9.dcm",
    "JPEG 2000, several frames": "pixel/emri_small_jpeg_2k_lossless.dcm",
    "HTJ2K, colour": "ts/htj2k/HTJ2KLossless_08_RGB.dcm",
    "native, colour": "ts/testpattern/TestPattern_RGB.dcm",
}


@pytest.fixture
def sound(loader: Loader) -> Iterator[Loader]:
    """The loader; a complaint of the browser fails the test."""
    yield loader
    complaints = list(loader.tab.complaints)
    loader.tab.complaints.clear()
    assert complaints == []


@pytest.fixture
def agreed(real_data: Path, manifest: list[dict[str, str]]):
    """A file and the SHA-256 of its first frame that independent decoders agree on."""

    def read(place: str) -> tuple[FileDataset, str]:
        (row,) = (row for row in manifest if row["path"] == place)
        return pydicom.dcmread(real_data / place), row["pixel_sha256_frame1"]

    return read


def digest(loaded: Loaded, image: FileDataset) -> str:
    """The SHA-256 of samples as native pixel data of an image."""
    kind = "i" if image.PixelRepresentation else "u"
    return hashlib.sha256(loaded.samples.astype(f"<{kind}{image.BitsAllocated // 8}").tobytes()).hexdigest()


@pytest.mark.parametrize("place", LOSSLESS.values(), ids=LOSSLESS)
def test_a_frame_is_decoded_to_the_samples_that_decoders_agree_on(sound, agreed, place):
    image, expected = agreed(place)
    instance = sound.stored(image)

    loaded = sound.frame(instance, 1)

    assert digest(loaded, image) == expected
    syntax = image.file_meta.TransferSyntaxUID
    assert loaded.transfer_syntax == (syntax if syntax.is_encapsulated else EXPLICIT_LE)


@pytest.mark.parametrize("syntax", [HTJ2K, HTJ2K_RPCL, JPEG_XL], ids=["HTJ2K", "HTJ2K RPCL", "JPEG XL"])
def test_what_the_service_makes_is_decoded_without_loss(sound, agreed, syntax):
    image, expected = agreed(_PLAIN)
    instance = sound.stored(image)
    sound.made_into(instance, syntax)

    loaded = sound.frame(instance, 1)

    assert loaded.transfer_syntax == syntax
    assert digest(loaded, image) == expected


def test_lossy_jpeg_is_decoded_as_others_do(sound, agreed):
    image, _ = agreed(_LOSSY)
    expected = image.pixel_array.astype(int)

    loaded = sound.frame(sound.stored(image), 1)

    assert np.abs(loaded.samples[..., 0].astype(int) - expected).max() <= 2


def test_an_htj2k_frame_is_read_by_ranges(sound, agreed):
    image, expected = agreed(_PLAIN)
    instance = sound.stored(image)
    sound.made_into(instance, HTJ2K_RPCL)

    first = sound.frame(instance, 1, rangeIndex=0, chunkSize=20_000, decodeLevel=3)
    whole = sound.frame(instance, 1, streaming=True)

    assert first.samples.shape == whole.samples.shape
    assert digest(whole, image) == expected


@pytest.mark.parametrize("name", ["explicit", "JPEG 2000", "JPEG-LS", "RLE", "JPEG lossless SV1"])
def test_a_whole_object_by_wado_uri_is_decoded_too(sound, agreed, name):
    image, expected = agreed(LOSSLESS[name])
    sound.stored(image)
    query = {
        "requestType": "WADO",
        "studyUID": image.StudyInstanceUID,
        "seriesUID": image.SeriesInstanceUID,
        "objectUID": image.SOPInstanceUID,
        "contentType": "application/dicom",
        "transferSyntax": image.file_meta.TransferSyntaxUID,
    }

    loaded = sound.frame_of_object(f"{sound.program.root}/wado?{urlencode(query)}", 1)

    assert digest(loaded, image) == expected
