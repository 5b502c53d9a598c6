"""Text, captions and icons."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from service.pixels.annotation import Corner, burn, stamp
from service.pixels.captions import date, patient_lines, person_name, technique_lines, time
from service.pixels.glyphs import CELL_COLUMNS, CELL_ROWS, drawn, writable
from service.pixels.icons import Icon, icon, icon_for
from tests.pixels.pictures import attributes_of


def test_every_printable_character_has_its_own_glyph():
    shapes = {drawn(chr(number), 1).tobytes() for number in range(0x20, 0x7F)}
    assert len(shapes) == 0x7F - 0x20


def test_glyphs_keep_a_column_of_space():
    for number in range(0x20, 0x7F):
        assert not drawn(chr(number), 1)[:, -1].any()


def test_text_grows_by_whole_pixels():
    assert drawn("Ab", 3).shape == (3 * CELL_ROWS, 2 * 3 * CELL_COLUMNS)
    assert np.array_equal(drawn("Ab", 3)[::3, ::3], drawn("Ab", 1))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Müller", "Muller"),
        ("Ångström", "Angstrom"),
        ("Straße", "Strasse"),
        ("Łódź", "Lodz"),
        ("山田", "\ufffd" * 2),
    ],
)
def test_what_has_no_glyph_is_written_without_accents_or_as_boxes(text, plain):
    assert writable(text) == plain
    assert drawn(text, 1).shape[1] == CELL_COLUMNS * len(plain)


@pytest.mark.parametrize("shape", [(512, 512), (512, 512, 3)])
@pytest.mark.parametrize("corner", list(Corner))
def test_text_is_white_with_a_black_edge_in_its_corner(shape, corner):
    image = np.full(shape, 128, np.uint8)
    burned = burn(image, ["Doe, Jane", "ID 1"], corner)
    assert (image == 128).all()
    changed = np.argwhere((burned != 128).reshape(512, 512, -1).any(axis=2))
    assert set(np.unique(burned)) == {0, 128, 255}
    rows = changed[:, 0]
    assert rows.max() < 60 if corner is Corner.TOP_LEFT else rows.min() > 450
    assert changed[:, 1].max() < 150


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (300, 5), (20, 20, 3)])
def test_text_that_does_not_fit_is_cut_off(shape):
    image = np.zeros(shape, np.uint8)
    for corner in Corner:
        assert burn(image, ["A very long line indeed " * 40] * 5, corner).shape == shape


def test_a_stamp_outside_of_the_picture_changes_nothing():
    image = np.zeros((10, 10), np.uint8)
    for place in ((-50, 0), (0, -50), (50, 50)):
        stamp(image, np.ones((4, 4), np.bool_), *place, 1)
    assert not image.any()


def test_letters_grow_with_the_picture():
    small = burn(np.zeros((256, 256), np.uint8), ["I"], Corner.TOP_LEFT)
    large = burn(np.zeros((2048, 2048), np.uint8), ["I"], Corner.TOP_LEFT)
    assert (large == 255).sum() == 100 * (small == 255).sum()


def test_captions_tell_who_and_how():
    made = Dataset()
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = (
        "Doe^Jane",
        "P1",
        "19700102",
        "F",
    )
    made.Modality, made.StudyDate, made.StudyTime, made.SeriesDescription = (
        "CT",
        "20240131",
        "101500",
        "Thorax",
    )
    made.KVP, made.SliceThickness, made.SeriesNumber, made.InstanceNumber = 120, "0.625", 2, 17
    assert patient_lines(attributes_of(made)) == ["Jane Doe", "P1", "1970-01-02 F"]
    assert technique_lines(attributes_of(made)) == [
        "CT 2024-01-31 10:15:00", "Thorax", "series 2 image 17", "120 kV thickness 0.625 mm",
    ]  # fmt: skip


def test_captions_of_nothing_are_none():
    assert patient_lines(attributes_of(Dataset())) == []
    assert technique_lines(attributes_of(Dataset())) == []


def test_values_that_are_no_dates_stay_as_they_are():
    assert (date("1999"), time("noon"), time("1015"), date("19991231")) == (
        "1999",
        "noon",
        "10:15",
        "1999-12-31",
    )
    assert person_name("Doe^Jane^^Dr^MD") == "Dr Jane Doe MD"


@pytest.mark.parametrize(
    ("sop_class", "expected"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.33", Icon.REPORT),
        ("1.2.840.10008.5.1.4.1.1.104.1", Icon.DOCUMENT),
        ("1.2.840.10008.5.1.4.1.1.9.1.1", Icon.WAVEFORM),
        ("1.2.840.10008.5.1.4.1.1.77.1.1.1", Icon.VIDEO),
        ("1.2.840.10008.5.1.4.1.1.77.1.1", Icon.OTHER),
        ("1.2.840.10008.5.1.4.1.1.481.5", Icon.OTHER),
    ],
)
def test_each_class_has_its_icon(sop_class, expected):
    assert icon_for(sop_class) is expected


def test_icons_differ_and_fit():
    assert len({icon(kind).tobytes() for kind in Icon}) == len(Icon)
    assert icon(Icon.VIDEO, 64, 200).shape == (64, 64)
    assert icon(Icon.REPORT, 300, 300).shape == (300, 300)
