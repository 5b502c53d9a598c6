"""Lines, areas, overlay planes and attributes: also such as nobody should write."""

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from service.pixels.attributes import Attributes
from service.pixels.drawing import area, circle, disc, ellipse, outline, smooth
from service.pixels.overlays import Overlay, overlays_of
from service.pixels.presentation import GREYSCALE, State
from service.pixels.render import render
from service.pixels.report import report_html, report_text
from service.pixels.shutters import hidden_by
from tests.pixels.pictures import attributes_of, pixels_of


def test_a_line_has_no_gaps():
    mask = outline([(2.5, 3.5), (90.5, 60.5)], 100, 100)
    columns = np.argwhere(mask.any(axis=0)).ravel()
    assert columns.tolist() == list(range(2, 91))
    assert mask[3, 2] and mask[60, 90]


def test_a_line_has_its_width():
    assert outline([(0.5, 50.5), (99.5, 50.5)], 100, 100, 5).sum(axis=0).tolist() == [5] * 100


def test_areas_are_filled_by_their_centres():
    mask = area([(10, 10), (20, 10), (20, 30), (10, 30)], 50, 50)
    expected = np.zeros((50, 50), np.bool_)
    expected[10:30, 10:20] = True
    assert np.array_equal(mask, expected)


def test_a_round_area_is_as_large_as_its_formula():
    by_points = area(circle((50, 50), (80, 50)), 100, 100)
    by_distance = disc((50, 50), 30, 100, 100)
    assert abs(int(by_points.sum()) - np.pi * 900) < 30
    assert np.count_nonzero(by_points != by_distance) < 40


def test_an_ellipse_goes_through_the_ends_of_its_axes():
    points = np.asarray(ellipse(((10, 20), (30, 20)), ((20, 15), (20, 25))))
    for end in ((10, 20), (30, 20), (20, 15), (20, 25)):
        assert np.abs(points - end).sum(axis=1).min() < 1e-6


def test_a_smooth_curve_goes_through_its_points():
    points = [(0.0, 0.0), (10.0, 20.0), (30.0, 5.0), (40.0, 40.0)]
    curve = smooth(points)
    assert all(point in curve for point in points)
    assert len(curve) > 40


@pytest.mark.parametrize("end", [(1e300, 1e300), (float("nan"), 1.0), (float("inf"), 0.0), (-1e9, 50.0)])
def test_lines_to_nowhere_take_no_time(end):
    assert outline([(5.0, 5.0), end], 100, 100).shape == (100, 100)


def an_overlay(bits: np.ndarray, origin: tuple[int, int] = (1, 1), **more: int) -> Dataset:
    made = Dataset()
    for element, vr, value in (
        (0x10, "US", bits.shape[-2]), (0x11, "US", bits.shape[-1]), (0x40, "CS", "G"),
        (0x50, "SS", list(origin)), (0x100, "US", 1), (0x102, "US", 0),
    ):  # fmt: skip
        made.add_new((0x6002, element), vr, value)
    for name, value in more.items():
        made.add_new(
            (0x6002, {"frames": 0x15, "first": 0x51}[name]), {"frames": "IS", "first": "US"}[name], value
        )
    content = np.packbits(bits.ravel().astype(np.uint8), bitorder="little").tobytes()
    made.add_new((0x6002, 0x3000), "OW", content + bytes(len(content) % 2))
    return made


@pytest.mark.parametrize("origin", [(1, 1), (3, 5), (-1, -2), (19, 29), (100, 100)])
def test_an_overlay_lies_at_its_origin(origin):
    bits = np.random.default_rng(1).integers(0, 2, (7, 9)).astype(np.bool_)
    expected = np.zeros((20, 30), np.bool_)
    for row, column in np.argwhere(bits):
        y, x = row + origin[0] - 1, column + origin[1] - 1
        if 0 <= y < 20 and 0 <= x < 30:
            expected[y, x] = True
    found = overlays_of(attributes_of(an_overlay(bits, origin)))
    assert [overlay.group for overlay in found] == [0x6002]
    assert np.array_equal(found[0].mask(20, 30), expected)


def test_each_frame_has_its_plane_of_an_overlay():
    bits = np.random.default_rng(2).integers(0, 2, (3, 5, 5)).astype(np.bool_)
    overlay = Overlay(0x6002, attributes_of(an_overlay(bits, frames=3, first=2)))
    assert not overlay.mask(5, 5, 1).any()
    for frame in (2, 3, 4):
        assert np.array_equal(overlay.mask(5, 5, frame), bits[frame - 2])
    assert not overlay.mask(5, 5, 5).any()


def test_an_overlay_that_is_cut_off_is_empty():
    made = an_overlay(np.ones((8, 8), np.bool_))
    made[0x60020010].value = 60000
    made[0x60020011].value = 60000
    assert not Overlay(0x6002, attributes_of(made)).mask(8, 8).any()


def test_an_image_without_a_shutter_hides_nothing():
    assert hidden_by(attributes_of(Dataset()), 10, 10) is None


ODD: list[Any] = [
    None,
    [],
    {},
    "",
    "x",
    -1,
    0,
    1e308,
    [None],
    [{}],
    [[1]],
    ["a", "b"],
    [1e308, -1e308],
    [float("nan")] * 3,
]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_odd_metadata_never_stop_a_picture(odd):
    tags = (
        "00281050", "00281051", "00281052", "00281053", "00281056", "00283000", "00283010", "00280120",
        "00281101", "00281201", "00280034", "00280030", "52009229", "52009230", "20500020", "00089205",
        "00280010", "00620002",
    )  # fmt: skip
    array = np.random.default_rng(1).integers(0, 4096, (8, 8)).astype(np.uint16)
    for tag in tags:
        for member in ({"vr": "DS", "Value": odd}, {"vr": "OW", "InlineBinary": odd}, odd):
            attributes = Attributes({tag: member, "00281055": {"vr": "LO"}})
            assert render(pixels_of(array), attributes).image.shape == (8, 8)
            palette = pixels_of(array, "PALETTE COLOR")
            assert render(palette, attributes).image.shape[:2] == (8, 8)


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_odd_presentation_states_never_stop_a_picture(odd):
    array = np.random.default_rng(1).integers(0, 256, (8, 8)).astype(np.uint8)
    tags = (
        "0070005A", "00700001", "00700041", "00700042", "00181600", "00181622", "00283110", "00283000",
        "20500010", "60020010", "60021001", "00700060", "00700052", "00700053", "00700100", "00700101",
        "00700102", "00700103", "00700022", "00700023", "00700005", "00700024", "00700006", "00700010",
        "00700014", "00700002", "00181610", "00181620", "00181602",
    )  # fmt: skip
    for tag in tags:
        member = {"vr": "FL", "Value": odd}
        inner: dict[str, Any] = {
            "vr": "SQ",
            "Value": [{"00700014": {"vr": "FL", "Value": [1, 1]}, tag: member}],
        }
        state = {
            "00080016": {"vr": "UI", "Value": [GREYSCALE]},
            "0070005A": inner,
            "00700001": {"vr": "SQ", "Value": [{"00700008": inner, "00700009": inner}]},
            "00181600": {"vr": "CS", "Value": ["RECTANGULAR", "CIRCULAR", "POLYGONAL", "BITMAP"]},
            tag: member,
        }
        picture = render(pixels_of(array), Attributes({}), state=State(Attributes(state))).image
        assert picture.size <= 1 << 25


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_odd_reports_never_stop_a_page(odd):
    for tag in (
        "0040A040",
        "0040A043",
        "0040A730",
        "0040A160",
        "0040A300",
        "0040A120",
        "00081199",
        "0040DB73",
    ):
        for kind in ("TEXT", "NUM", "CODE", "DATETIME", "IMAGE", "SCOORD", "CONTAINER", "PNAME"):
            item = {"0040A040": {"vr": "CS", "Value": [kind]}, tag: {"vr": "UT", "Value": odd}}
            report = Attributes({"0040A730": {"vr": "SQ", "Value": [item]}, tag: {"vr": "UT", "Value": odd}})
            assert report_html(report).startswith("<!DOCTYPE html>")
            assert report_text(report)
