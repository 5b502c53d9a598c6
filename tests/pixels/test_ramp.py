"""Levels that are computed are those of the table, value by value."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.pixels.ramp import ramp_of
from service.pixels.voi import Function, Grey, Padding, Rescale, Window, to_grey

_PIXELS = (256, 512)  # enough of them that a ramp is looked for
_numbers = st.floats(-70_000, 70_000) | st.integers(-4_000, 4_000).map(float)
_widths = st.floats(0.01, 70_000) | st.integers(1, 4_096).map(float) | st.just(1e-300)


@st.composite
def greys(draw: st.DrawFn) -> Grey:
    """Ways to show an image, of which most rise evenly."""
    center, width = draw(_numbers), draw(_widths)
    function = draw(st.sampled_from(Function))
    window = Window(center, max(width, 1.0) if function is Function.LINEAR else width, function)
    slope = draw(st.sampled_from((1.0, 2.0, -1.0, 0.1, 1.00061, 1e-6, 1e6)))
    padding = draw(st.none() | st.just(Padding(-2_000, -2_000)) | st.just(Padding(0, 100)))
    spread = draw(st.booleans())
    return Grey(
        modality=Rescale(slope, draw(st.sampled_from((0.0, -1_024.0, 0.5, -32_768.0)))),
        voi=None if spread else window,
        inverted=draw(st.booleans()),
        padding=padding,
        span=(center, center + width) if spread else None,
    )


@settings(max_examples=150, deadline=None)
@given(
    grey=greys(),
    dtype=st.sampled_from((np.uint8, np.int8, np.uint16, np.int16)),
    first=st.integers(-32_768, 65_535),
    count=st.integers(1, 30_000),
)
def test_each_value_has_the_level_that_it_has_alone(grey, dtype, first, count):
    info = np.iinfo(dtype)
    low = min(max(first, info.min), info.max)
    values = np.arange(low, min(low + count, info.max + 1)).astype(dtype)
    array = np.resize(values, _PIXELS)

    levels = to_grey(array, grey)

    assert np.array_equal(levels, grey.levels(array, grey.span or (0.0, 0.0)))


@pytest.mark.parametrize("function", [Function.LINEAR, Function.LINEAR_EXACT])
@pytest.mark.parametrize(
    ("center", "width"),
    [(40, 400), (40, 401), (40, 80), (-600, 1500), (400, 1800), (2048, 4096), (127.5, 255), (0, 2)],
)
@pytest.mark.parametrize("inverted", [False, True])
def test_the_windows_of_every_day_are_on_a_ramp(center, width, function, inverted):
    grey = Grey(modality=Rescale(1, -1024), voi=Window(center, width, function), inverted=inverted)
    values = np.arange(4096, dtype=np.uint16)
    levels = grey.levels(values, (0, 0))

    ramp = ramp_of(values, levels, grey.rise((0, 0)))

    assert ramp is not None
    assert np.array_equal(ramp.apply(values), levels)


def test_one_level_out_of_line_and_there_is_no_ramp():
    values = np.arange(1000, dtype=np.int16)
    levels = (values // 4).astype(np.uint8)
    assert ramp_of(values, levels, 0.25) is not None
    levels[500] += 1
    assert ramp_of(values, levels, 0.25) is None


@pytest.mark.parametrize("rise", [math.nan, math.inf, 0.5, -0.25, 1e300])
def test_levels_that_rise_otherwise_are_on_no_ramp(rise):
    values = np.arange(1000, dtype=np.int16)
    assert ramp_of(values, (values // 4).astype(np.uint8), rise) is None


@pytest.mark.parametrize("level", [0, 7, 255])
def test_an_image_of_one_level_is_flat(level):
    values = np.arange(10, dtype=np.uint16)
    levels = np.full(10, level, np.uint8)

    ramp = ramp_of(values, levels, 0.01)

    assert ramp is not None and np.array_equal(ramp.apply(values), levels)


def test_an_image_larger_than_a_block_is_of_one_piece():
    array = np.arange(1 << 12, dtype=np.uint16).repeat(100).reshape(640, 640)
    grey = Grey(voi=Window(2048, 4096))
    assert np.array_equal(to_grey(array, grey), grey.levels(array, (0, 0)))


def test_rows_that_are_not_one_behind_the_other_are_shown_as_they_are():
    array = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)[::-1, ::-1] // 16
    wide = np.repeat(array, 2, axis=1)[:, ::1]
    turned = np.asfortranarray(wide)
    grey = Grey(voi=Window(2048, 4096))
    assert np.array_equal(to_grey(turned, grey), grey.levels(wide, (0, 0)))
