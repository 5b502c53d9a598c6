"""A client that nobody here wrote: highdicom reads images, segmentations and reports from the web.

It has no web client of its own: objects come by dicomweb-client, or as a file of which it reads what it
needs, by requests for ranges.
"""

import gc
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from pydicom import Dataset
from pydicom.pixels.utils import pixel_array

from tests.slides import Slide

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's and the client's, about the files

highdicom: Any = pytest.importorskip("highdicom", reason="highdicom is not installed: it cannot be tried.")

_SEGMENTATION = "studies/seg-ct3"
_REPORT = "sr/sr_document.dcm"
_SLIDE = "wsi/sm_image.dcm"
_TILED_SEGMENTATION = "seg/seg_image_sm_dots_tiled_full.dcm"
_BLOCK = 16 << 10


@pytest.fixture(autouse=True)
def databases_left_open() -> Iterator[None]:
    """An image of highdicom holds a database of its frames, and leaves it to the collector to close it."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@dataclass
class Reader:
    """Stores files as they are, and reads them by the Python client."""

    root: str

    def store(self, file: bytes) -> None:
        kept = httpx.post(
            f"{self.root}/studies", content=file, headers={"Content-Type": "application/dicom"}, timeout=60
        )
        assert kept.status_code == 200, kept.text

    def instance(self, one: Dataset) -> Dataset:
        """The instance with the UIDs of another data set, as it was stored."""
        place = (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
        client = DICOMwebClient(self.root)
        return client.retrieve_instance(*place, media_types=(("application/dicom", "*"),))

    def url(self, study: str, series: str, instance: str) -> str:
        return f"{self.root}/studies/{study}/series/{series}/instances/{instance}"


@pytest.fixture(scope="module")
def web(product) -> Reader:
    return Reader(product.root)


class Remote(io.RawIOBase):
    """A file behind a URL: each read is a request for a range. `taken` is the number of bytes that came."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = httpx.Client(
            headers={"Accept": "application/dicom; transfer-syntax=*", "Accept-Encoding": "identity"}
        )
        head = self._client.head(url)
        assert head.headers["accept-ranges"] == "bytes"
        self._size = int(head.headers["content-length"])
        self._tag = head.headers["etag"]
        self._at = 0
        self.taken = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, target: Any) -> int:
        wanted = min(len(target), self._size - self._at)
        if wanted <= 0:
            return 0
        asked = {"Range": f"bytes={self._at}-{self._at + wanted - 1}", "If-Range": self._tag}
        part = self._client.get(self._url, headers=asked)
        assert part.status_code == 206, part.status_code
        target[:wanted] = part.content
        self._at += wanted
        self.taken += wanted
        return wanted

    def close(self) -> None:
        self._client.close()
        super().close()


@pytest.fixture
def remote() -> Iterator[Any]:
    """Opens URLs as files."""
    opened: list[Remote] = []

    def open_one(url: str) -> Remote:
        opened.append(Remote(url))
        return opened[-1]

    yield open_one
    for file in opened:
        file.close()


def test_a_series_becomes_a_volume(web, real_data: Path):
    files = [path for path in sorted((real_data / _SEGMENTATION).iterdir()) if path.name != "liver.dcm"]
    slices = [pydicom.dcmread(path) for path in files]
    for path in files:
        web.store(path.read_bytes())

    volume = highdicom.get_volume_from_series([web.instance(one) for one in slices])

    assert volume.spatial_shape == (3, 512, 512)
    lowest_first = sorted(slices, key=lambda one: float(one.ImagePositionPatient[2]))
    expected = [one.pixel_array * one.RescaleSlope + one.RescaleIntercept for one in lowest_first]
    found = np.asarray(volume.array)
    assert np.array_equal(found, expected) or np.array_equal(found[::-1], expected)


def test_a_segmentation_gives_its_masks(web, real_data):
    path = real_data / _SEGMENTATION / "liver.dcm"
    local = pydicom.dcmread(path)
    web.store(path.read_bytes())

    segmentation = highdicom.seg.Segmentation.from_dataset(web.instance(local))

    labels = [
        segmentation.get_segment_description(number).segment_label for number in segmentation.segment_numbers
    ]
    assert labels == [one.SegmentLabel for one in local.SegmentSequence]
    sources = [str(uid[2]) for uid in segmentation.get_source_image_uids()]
    masks = segmentation.get_pixels_by_source_instance(sources, ignore_spatial_locations=True)
    assert int(masks.sum()) == int(local.pixel_array.sum()) > 0


def test_a_report_has_its_measurements(web, real_data):
    path = real_data / _REPORT
    local = highdicom.sr.srread(path)
    web.store(path.read_bytes())

    report = highdicom.sr.Comprehensive3DSR.from_dataset(web.instance(local))

    groups = report.content.get_planar_roi_measurement_groups()
    expected = local.content.get_planar_roi_measurement_groups()
    assert [group.tracking_uid for group in groups] == [group.tracking_uid for group in expected] != []
    values = [[one.value for one in group.get_measurements()] for group in groups]
    assert values == [[one.value for one in group.get_measurements()] for group in expected]


def test_a_tiled_slide_is_put_together(web, real_data):
    path = real_data / _SLIDE
    web.store(path.read_bytes())
    local = pydicom.dcmread(path)

    image = highdicom.Image.from_dataset(web.instance(local))
    whole = image.get_total_pixel_matrix(apply_icc_profile=False)

    tiles = pixel_array(local).reshape(5, 5, 10, 10, 3).transpose(0, 2, 1, 3, 4).reshape(50, 50, 3)
    assert np.array_equal(whole, tiles)


def test_frames_are_read_from_the_web_as_they_are_needed(web, remote):
    slide = Slide(8000, texture=4.0)
    largest = slide.levels[0]
    file = largest.file()
    web.store(file)
    opened = remote(web.url(slide.study, slide.series, largest.instance))

    image = highdicom.imread(io.BufferedReader(opened, _BLOCK), lazy_frame_retrieval=True)
    region = image.get_total_pixel_matrix(row_start=3001, row_end=3101, column_start=2001, column_end=2301)

    difference = region.astype(int) - largest.region(3000, 2000, 100, 300)
    assert np.abs(difference).max() <= 4
    assert opened.taken < len(file) / 20


def test_a_tiled_segmentation_is_read_by_ranges(web, remote, real_data):
    path = real_data / _TILED_SEGMENTATION
    local = highdicom.seg.segread(path)
    web.store(path.read_bytes())
    url = web.url(local.StudyInstanceUID, local.SeriesInstanceUID, local.SOPInstanceUID)

    opened = io.BufferedReader(remote(url), _BLOCK)
    read = highdicom.seg.Segmentation.from_file(opened, lazy_frame_retrieval=True)

    assert np.array_equal(read.get_total_pixel_matrix(), local.get_total_pixel_matrix())
