"""dicom-microscopy-viewer, unmodified, opens tiled slides of the real service and shows their pixels."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels.utils import pixel_array
from pydicom.uid import generate_uid

from tests.e2e.ohif.viewing import as_file
from tests.e2e.wsi.slide_viewing import HEIGHT, WIDTH, Seen, SlideViewer, seen_at
from tests.slides import TILE, Level, Slide

# Real slides by their encoding, and how far colours may be off: the viewer applies the profile they bring.
SLIDES = {
    "native": ("wsi/sm_image.dcm", 3),
    "native, numbered": ("wsi/sm_image_numbers.dcm", 3),
    "JPEG-LS": ("wsi/sm_image_jpegls.dcm", 3),
    "JPEG-LS, without offset table": ("wsi/sm_image_jpegls_nobot.dcm", 3),
    "JPEG 2000": ("wsi/example-jpeg-2000.dcm", 3),
}
_PIXELS = 32_000
_GRID = 40


@pytest.fixture
def sound(slides: SlideViewer) -> Iterator[SlideViewer]:
    """The viewer; a complaint of the browser or a tile that did not come fails the test."""
    yield slides
    assert slides.wrong() == []


@pytest.fixture(scope="module")
def pyramid(slides: SlideViewer) -> Slide:
    """A slide of more than 20,000 tiles in eight levels, stored."""
    slide = Slide(_PIXELS)
    assert slide.tiles > 20_000
    for level in slide.levels:
        slides.store(level.file())
    return slide


def grid() -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows and columns of points of the screen, some pixels apart, in no step with the tiles."""
    rows, columns = np.meshgrid(
        np.linspace(5, HEIGHT - 6, _GRID).round(), np.linspace(5, WIDTH - 6, _GRID).round(), indexing="ij"
    )
    return rows.ravel(), columns.ravel()


def assert_drawn(seen: Seen, level: Level, least: int) -> None:
    """The view shows the pixels of the tiles of a level at `least` points, those beside an edge left out."""
    rows, columns = grid()
    down, across = (place / 2**level.number for place in seen.places(rows, columns))
    edge = 3
    inside = np.ones(len(rows), bool)
    for place in (down, across):
        inside &= (place > edge) & (place < level.pixels - edge)
        inside &= (place % TILE > edge) & (place % TILE < TILE - edge)
    assert inside.sum() >= least
    found = seen.picture[rows[inside].astype(int), columns[inside].astype(int)]
    expected = [
        level.region(int(row), int(column), 1, 1)[0, 0]
        for row, column in zip(down[inside], across[inside], strict=True)
    ]
    assert np.abs(found.astype(int) - np.array(expected, int)).max() <= 4


@pytest.mark.parametrize("number", [0, 1, 3, 5])
def test_a_large_pyramid_shows_the_tiles_of_each_level(sound, pyramid, number, tmp_path):
    tab = sound.open(pyramid.study, pyramid.series)

    seen = seen_at(tab, 2.0**number, 9_000, 22_000, tmp_path)

    assert seen.resolution == 2**number
    assert_drawn(seen, pyramid.levels[number], _GRID**2 // 4)


def test_only_the_tiles_in_sight_are_asked_for(sound, pyramid, tmp_path):
    largest = pyramid.levels[0]
    tab = sound.open(pyramid.study, pyramid.series)

    seen_at(tab, 1.0, 16_000, 16_000, tmp_path)

    frames = [int(number) for instance, number in tab.run("slide.frames") if instance == largest.instance]
    assert 12 <= len(frames) <= 40
    middle = largest.across // 2
    places = [divmod(number - 1, largest.across) for number in frames]
    assert all(abs(down - middle) <= 3 and abs(across - middle) <= 3 for down, across in places)


@pytest.mark.parametrize(("place", "tolerance"), SLIDES.values(), ids=SLIDES)
def test_a_real_slide_is_shown_as_it_is(sound, real_data, place, tolerance, tmp_path):
    slide = pydicom.dcmread(real_data / place)
    slide.StudyInstanceUID, slide.SeriesInstanceUID, slide.SOPInstanceUID = (generate_uid() for _ in range(3))
    slide.file_meta.MediaStorageSOPInstanceUID = slide.SOPInstanceUID
    sound.store(as_file(slide))
    height, width = slide.TotalPixelMatrixRows, slide.TotalPixelMatrixColumns

    tab = sound.open(slide.StudyInstanceUID, slide.SeriesInstanceUID)
    seen = seen_at(tab, 0.1, width / 2, height / 2, tmp_path)

    rows, columns = grid()
    down, right = seen.places(rows, columns)
    inside = (down > 0) & (down < height) & (right > 0) & (right < width)
    for place_of in (down, right):  # the viewer interpolates: only the middle of a pixel is of its colour
        inside &= np.abs(place_of % 1 - 0.5) < 0.2
    assert inside.sum() > _GRID
    expected = colours(slide, down[inside].astype(int), right[inside].astype(int))
    found = seen.picture[rows[inside].astype(int), columns[inside].astype(int)]
    assert np.abs(found.astype(int) - expected).max() <= tolerance


def colours(slide: pydicom.FileDataset, rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[Any]:
    """The colours of pixels of a slide whose tiles follow one another row by row, by pydicom."""
    tiles = pixel_array(slide)
    across = -(-slide.TotalPixelMatrixColumns // slide.Columns)
    frames = rows // slide.Rows * across + columns // slide.Columns
    found: NDArray[Any] = tiles[frames, rows % slide.Rows, columns % slide.Columns]
    return found
