"""A client that nobody here wrote: wsidicom opens tiled slides over DICOMweb and reads regions of them."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEG2000Lossless, generate_uid

from tests.e2e.ohif.viewing import as_file
from tests.slides import Slide

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's and pydicom's, about the files

wsidicom: Any = pytest.importorskip("wsidicom", reason="wsidicom is not installed: it cannot be tried.")

_SMALL = "wsi/sm_image.dcm"
_JPEG = "wsi/multiframe_camelyon_challenge_image.dcm"
# Slides by their encoding, and how far a lossy one may be from what another decoder makes of it.
SLIDES = {
    "native": (_SMALL, 0),
    "JPEG-LS": ("wsi/sm_image_jpegls.dcm", 0),
    "JPEG-LS, without offset table": ("wsi/sm_image_jpegls_nobot.dcm", 0),
    "16 bits of grey": ("wsi/sm_image_grayscale.dcm", 0),
    "JPEG 2000": ("wsi/example-jpeg-2000.dcm", 0),
    "JPEG": (_JPEG, 4),
}

type Opener = Callable[..., Any]


@pytest.fixture
def opened(product) -> Opener:
    """Stores data sets in a study of its own, a series for each modality, and opens it."""
    client = wsidicom.WsiDicomWebClient.create_client(product.root)

    def open_slide(*sets: Dataset, **options: Any) -> Any:
        study, series = generate_uid(), {one.Modality: generate_uid() for one in sets}
        for one in sets:
            one.StudyInstanceUID, one.SeriesInstanceUID = study, series[one.Modality]
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            kept = httpx.post(
                f"{product.root}/studies",
                content=as_file(one),
                headers={"Content-Type": "application/dicom"},
                timeout=60,
            )
            assert kept.status_code == 200, kept.text
        return wsidicom.WsiDicom.open_web(client, study, series.values(), **options)

    return open_slide


def mosaic(slide: FileDataset) -> NDArray[Any]:
    """The whole of a slide whose tiles follow one another row by row (TILED_FULL), by pydicom."""
    rows, columns = int(slide.TotalPixelMatrixRows), int(slide.TotalPixelMatrixColumns)
    across, down = -(-columns // slide.Columns), -(-rows // slide.Rows)
    tiles = pixel_array(slide)
    tiles = tiles.reshape(down, across, slide.Rows, slide.Columns, -1)
    whole = tiles.transpose(0, 2, 1, 3, 4).reshape(down * slide.Rows, across * slide.Columns, -1)
    return whole[:rows, :columns]


def region_of(opened: Any, at: tuple[int, int], size: tuple[int, int]) -> NDArray[Any]:
    """Samples of a rectangle of the first level: rows × columns × samples."""
    read = np.asarray(opened.read_region(at, 0, size, as_array=True))
    return read.reshape(*read.shape[:2], -1)


@pytest.mark.parametrize(("place", "tolerance"), SLIDES.values(), ids=SLIDES)
def test_a_region_is_the_pixels_of_its_tiles(opened, real_data: Path, place, tolerance):
    slide = pydicom.dcmread(real_data / place)
    expected = mosaic(slide)

    with opened(slide) as seen:
        assert (seen.size.width, seen.size.height) == (
            slide.TotalPixelMatrixColumns,
            slide.TotalPixelMatrixRows,
        )
        found = region_of(seen, (0, 0), (seen.size.width, seen.size.height))

    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= tolerance


def test_the_levels_of_a_pyramid_are_found_and_read(opened):
    slide = Slide(3000)
    sets = [pydicom.dcmread(BytesIO(level.file())) for level in slide.levels]

    several = [level for level in slide.levels if level.across > 1]

    with opened(*sets) as seen:
        found = {level.level: level.size.width for level in seen.levels}
        regions = [
            np.asarray(seen.read_region((200, 190), level.number, (150, 120), as_array=True))
            for level in several
        ]

    assert found == {level.number: level.pixels for level in slide.levels}
    for level, region in zip(several, regions, strict=True):
        difference = region.astype(int) - level.region(190, 200, 120, 150)
        assert np.abs(difference).max() <= 4


def test_a_tile_comes_as_it_is_stored(opened):
    slide = Slide(3000)
    largest = slide.levels[0]

    with opened(pydicom.dcmread(BytesIO(largest.file()))) as seen:
        encoded = seen.read_encoded_tile(0, (3, 2))

    frame = 2 * largest.across + 3 + 1
    assert encoded.rstrip(b"\0") == largest.codestream(frame).rstrip(b"\0")


def test_pixels_may_be_asked_for_in_another_transfer_syntax(opened, real_data):
    slide = pydicom.dcmread(real_data / _SMALL)
    expected = mosaic(slide)

    with opened(slide, requested_transfer_syntax=JPEG2000Lossless) as seen:
        assert np.array_equal(region_of(seen, (0, 0), (50, 50)), expected)
        assert seen.read_encoded_tile(0, (0, 0)).startswith(b"\xff\x4f\xff\x51")  # SOC, SIZ


def test_labels_stand_beside_the_slide(opened, real_data):
    slide, label = (pydicom.dcmread(real_data / place) for place in (_JPEG, "wsi/test.dcm"))
    expected = pixel_array(label)
    label.FrameOfReferenceUID = slide.FrameOfReferenceUID

    with opened(slide, label) as seen:
        found = np.asarray(seen.read_label())

    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 4


def test_annotations_have_their_points(opened, real_data):
    slide, annotations = (pydicom.dcmread(real_data / place) for place in (_SMALL, "wsi/sm_annotations.dcm"))
    groups = annotations.AnnotationGroupSequence
    expected = {str(one.AnnotationGroupLabel): int(one.NumberOfAnnotations) for one in groups}

    with opened(slide, annotations) as seen:
        (found,) = seen.annotations
        assert {group.label: len(group.annotations) for group in found.groups} == expected
