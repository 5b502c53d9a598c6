"""A client that nobody here wrote: wsidicom opens tiled slides over DICOMweb and reads regions of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import generate_uid

from tests.e2e.ohif.viewing import as_file

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's and pydicom's, about the files

wsidicom: Any = pytest.importorskip("wsidicom", reason="wsidicom is not installed: it cannot be tried.")

_SMALL = "wsi/sm_image.dcm"
# Slides by their encoding, and how far a lossy one may be from what another decoder makes of it.
SLIDES = {
    "native": (_SMALL, 0),
    "JPEG-LS": ("wsi/sm_image_jpegls.dcm", 0),
    "JPEG-LS, without offset table": ("wsi/sm_image_jpegls_nobot.dcm", 0),
    "16 bits of grey": ("wsi/sm_image_grayscale.dcm", 0),
    "JPEG 2000": ("wsi/example-jpeg-2000.dcm", 0),
    "JPEG": ("wsi/multiframe_camelyon_challenge_image.dcm", 4),
}

type Opener = Callable[..., Any]


@pytest.fixture
def opened(product) -> Opener:
    """Stores data sets as a slide of its own, and opens it."""
    client = wsidicom.WsiDicomWebClient.create_client(product.root)

    def open_slide(*slides: Dataset, **options: Any) -> Any:
        study, series = generate_uid(), generate_uid()
        for one in slides:
            one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID = study, series, generate_uid()
            one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
            kept = httpx.post(
                f"{product.root}/studies",
                content=as_file(one),
                headers={"Content-Type": "application/dicom"},
                timeout=60,
            )
            assert kept.status_code == 200, kept.text
        return wsidicom.WsiDicom.open_web(client, study, series, **options)

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
        assert (seen.size.width, seen.size.height) == (slide.TotalPixelMatrixColumns, slide.TotalPixelMatrixRows)
        found = region_of(seen, (0, 0), (seen.size.width, seen.size.height))

    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= tolerance
