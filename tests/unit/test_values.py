"""Values in comparable form."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.dicom.values import comparable, date, date_time, time

FORMS = [
    ("DA", "20240131", "20240131"),
    ("DA", "2024.01.31", "20240131"),  # ACR-NEMA
    ("DA", "2024-01-31", "20240131"),
    ("DA", "202401", None),
    ("DA", "20241301", None),
    ("DA", "2024.01-31", None),
    ("DA", "garbage", None),
    ("TM", "10", "100000.000000"),
    ("TM", "2230", "223000.000000"),
    ("TM", "22:30:01.5", "223001.500000"),
    ("TM", "223001.1234567", "223001.123456"),
    ("TM", "235960", "235960.000000"),
    ("TM", "2400", "240000.000000"),
    ("TM", "2401", None),
    ("TM", "2560", None),
    ("TM", "9", None),
    ("DT", "2024", "20240101000000.000000"),
    ("DT", "20240131101500.25", "20240131101500.250000"),
    ("DT", "20240101003000+0100", "20231231233000.000000"),
    ("DT", "20240101003000-0130", "20240101020000.000000"),
    ("DT", "00010101000000+1400", None),
    ("DT", "0999+0000", "09990101000000.000000"),
    ("DT", "2024013", None),
    ("IS", "007", 7),
    ("IS", 7, 7),
    ("IS", "1A", None),
    ("IS", "1_0", None),
    ("IS", "12345678901234567890", 12345678901234567890.0),
    ("DS", "2.50", 2.5),
    ("DS", "1e2", 100),
    ("DS", "1e999", None),
    ("DS", "nan", None),
    ("US", 512, 512),
    ("FD", 0.1, 0.1),
    ("LO", " Head ", "Head"),
    ("LO", "a\0", "a"),
    ("LO", "", None),
    ("LO", None, None),
    ("LO", {"x": 1}, None),
    ("LO", 7, "7"),
    ("AT", "0010001f", "0010001F"),
    ("US", True, None),
]


@pytest.mark.parametrize(("vr", "value", "form"), FORMS)
def test_a_value_has_one_comparable_form(vr: str, value: object, form: object) -> None:
    assert comparable(vr, value) == form


@pytest.mark.parametrize(
    ("read", "text", "last"),
    [
        (date, "2024", "20241231"),
        (date, "202402", "20240231"),
        (time, "10", "105959.999999"),
        (time, "1015", "101559.999999"),
        (time, "101500.5", "101500.599999"),
        (time, "2400", "240000.000000"),
        (date_time, "2024", "20241231235959.999999"),
        (date_time, "202402", "20240231235959.999999"),
        (date_time, "202402+0000", "20240229235959.999999"),
        (date_time, "2024013110+0200", "20240131085959.999999"),
    ],
)
def test_the_last_instant_of_a_period_ends_it(read: object, text: str, last: str) -> None:
    assert callable(read)
    assert read(text, last=True) == last


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(["DA", "TM", "DT", "IS", "DS", "LO", "AT", "UN"]),
    st.one_of(
        st.text(max_size=40), st.text("0123456789.+-:eE", max_size=30), st.integers(), st.floats(), st.none()
    ),
)
def test_no_value_raises(vr: str, value: object) -> None:
    form = comparable(vr, value)

    assert form is None or isinstance(form, str | int | float)
    if isinstance(form, int):
        assert -(1 << 63) <= form < 1 << 63  # what databases hold
