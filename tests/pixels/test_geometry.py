"""Viewports: what part, what size, and the values in between."""

from fractions import Fraction

import numpy as np
import pytest
from pydicom.dataset import Dataset

from service.dicom.errors import BadRequest
from service.pixels.geometry import LARGEST_AREA, Placement, Region, Viewport, pixel_aspect, place
from tests.pixels.pictures import attributes_of


def averaged(values: list[int], count: int) -> list[Fraction]:
    """Each of `count` equal parts of a row by the exact average over it."""
    step = Fraction(len(values), count)
    parts = []
    for number in range(count):
        low, high = number * step, (number + 1) * step
        ends = [(max(low, Fraction(place)), min(high, Fraction(place + 1))) for place in range(len(values))]
        weights = [max(Fraction(0), end - start) for start, end in ends]
        parts.append(sum((w * v for w, v in zip(weights, values, strict=True)), Fraction(0)) / step)
    return parts


@pytest.mark.parametrize(("size", "count"), [(10, 5), (10, 3), (97, 13), (100, 99), (7, 1), (512, 200)])
@pytest.mark.parametrize("across", [True, False])
def test_downwards_each_pixel_is_the_average_of_its_area(size, count, across):
    values = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8)
    image = values[None, :] if across else values[:, None]
    shape = (count, 1) if across else (1, count)

    scaled = Placement(0, 0, image.shape[1], image.shape[0], *shape).apply(image).ravel()

    exact = [float(part) for part in averaged(values.tolist(), count)]
    assert np.abs(scaled - np.asarray(exact)).max() <= 0.51


def test_upwards_values_lie_between_their_neighbours():
    image = np.array([[0, 100]], np.uint8)
    # centres at -0.25, 0.25, 0.75, 1.25 of the old pixels
    assert Placement(0, 0, 2, 1, 4, 1).apply(image).tolist() == [[0, 25, 75, 100]]


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 3)])
@pytest.mark.parametrize("size", [(11, 17), (300, 200), (30, 40), (1, 1)])
def test_an_even_area_stays_even(shape, size):
    image = np.full(shape, 137, np.uint8)
    scaled = Placement(0, 0, 30, 40, *size).apply(image)
    assert scaled.shape[:2] == (size[1], size[0])
    assert (scaled == 137).all()


def test_the_same_size_is_the_same_image():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    assert np.array_equal(Placement(0, 0, 30, 20, 30, 20).apply(image), image)


def test_a_part_without_a_size_is_cut_out():
    image = np.arange(60, dtype=np.uint8).reshape(6, 10)
    placement = place(Viewport(region=Region(0.2, 0.5, 0.3, 0.5, relative=True)), 6, 10)
    assert np.array_equal(placement.apply(image), image[3:, 2:5])


@pytest.mark.parametrize(
    ("viewport", "rows", "columns", "size"),
    [
        (Viewport(100, 100), 512, 512, (100, 100)),
        (Viewport(100, 100), 512, 256, (50, 100)),
        (Viewport(100, 100), 256, 512, (100, 50)),
        (Viewport(1000, 1000), 256, 512, (1000, 500)),
        (Viewport(100, None), 200, 400, (100, 50)),
        (Viewport(None, 100), 200, 400, (200, 100)),
        (Viewport(100, 100, Region(0, 0, 10, 20)), 512, 512, (50, 100)),
        (Viewport(1, 1), 10, 4000, (1, 1)),
        (Viewport(), 10, 20, (20, 10)),
    ],
)
def test_the_picture_fits_its_viewport_and_keeps_its_shape(viewport, rows, columns, size):
    placement = place(viewport, rows, columns)
    assert (placement.columns, placement.rows) == size


def test_a_picture_never_grows_beyond_the_limit():
    placement = place(Viewport(None, 8192), 10, 10_000)
    assert placement.columns * placement.rows <= LARGEST_AREA * 1.01


def test_negative_sizes_flip():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(place(Viewport(4, 3, Region(0, 0, -4, 3)), 3, 4).apply(image), image[:, ::-1])
    assert np.array_equal(place(Viewport(4, 3, Region(0, 0, 4, -3)), 3, 4).apply(image), image[::-1])
    assert np.array_equal(place(Viewport(2, 3, Region(1, 0, -2)), 3, 4).apply(image), image[:, 1:3][:, ::-1])


def test_a_region_is_cut_at_the_edge_of_the_image():
    placement = place(Viewport(10, 10, Region(90, 80, 1000, 1000)), 100, 100)
    assert (placement.x, placement.y, placement.width, placement.height) == (90, 80, 10, 20)


@pytest.mark.parametrize("region", [Region(100, 0), Region(0, 200, 5, 5), Region(1000, 1000, -5, 5)])
def test_a_region_outside_of_the_image_is_refused(region):
    with pytest.raises(BadRequest):
        place(Viewport(10, 10, region), 100, 100)


@pytest.mark.parametrize(
    "region",
    [
        Region(0, 0, 1e-200, 1e-200),
        Region(0, 0, 1, 5e-324),
        Region(99.9999999),
        Region(0, 0, 1e-300, 1e-300, relative=True),
    ],
)
def test_a_region_too_thin_to_be_reckoned_with_is_refused(region):
    for viewport in (Viewport(10, 10, region), Viewport(10, None, region), Viewport(None, None, region)):
        with pytest.raises(BadRequest):
            place(viewport, 100, 100)


def test_pixels_that_are_not_square_are_shown_in_their_shape():
    made = Dataset()
    made.PixelAspectRatio = [2, 1]
    placement = place(Viewport(100, 100), 100, 100, pixel_aspect(attributes_of(made)))
    assert (placement.columns, placement.rows) == (50, 100)


@pytest.mark.parametrize(
    ("spacing", "aspect"), [([0.5, 0.5], 1), ([0.5, 0.501], 1), ([1, 0.5], 2), ([1, 0], 1), ([100, 1], 1)]
)
def test_the_shape_of_a_pixel_is_that_of_its_spacing(spacing, aspect):
    made = Dataset()
    made.PixelSpacing = spacing
    assert pixel_aspect(attributes_of(made)) == aspect


def test_the_spacing_of_enhanced_images_is_in_their_functional_groups():
    made, group, measures = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [3, 1]
    group.PixelMeasuresSequence = [measures]
    made.SharedFunctionalGroupsSequence = [group]
    assert pixel_aspect(attributes_of(made)) == 3


def test_a_reduced_image_fills_the_same_place():
    image = np.random.default_rng(5).integers(0, 256, (64, 64)).astype(np.uint8)
    half = image.reshape(32, 2, 32, 2).mean(axis=(1, 3)).round().astype(np.uint8)
    placement = place(Viewport(8, 8, Region(16, 16, 32, 32)), 64, 64)
    whole = placement.apply(image).astype(int)
    reduced = placement.within(32, 32, of=(64, 64)).apply(half)
    assert np.abs(whole - reduced).max() <= 1


def test_points_go_where_their_pixels_go():
    placement = Placement(10, 20, 40, 20, 80, 40, flip_x=True)
    assert placement.point(10, 20) == (80, 0)
    assert placement.point(30, 30) == (40, 20)
