"""Dates and times of one time zone, told in another."""

import pytest

from service.dicom.matching import in_zone
from service.dicom.zones import days_around, read_zone, zoned_date, zoned_time

CET, EST, UTC = 60, -300, 0


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("+0100", 60), ("-0530", -330), ("+0000", 0), ("+1400", 840), ("-1200", -720), ("+0100 ", 60),
        ("0100", None), ("+1401", None), ("-1201", None), ("+0160", None), ("", None), (100, None),
    ],
)  # fmt: skip
def test_a_zone_is_an_offset(text: object, minutes: int | None) -> None:
    assert read_zone(text) == minutes


@pytest.mark.parametrize(
    ("date", "time", "own", "zone", "told"),
    [
        ("20240301", "003000.000000", CET, UTC, ("20240229", "233000.000000")),
        ("20231231", "200000.500000", EST, CET, ("20240101", "020000.500000")),
        ("20240101", "240000.000000", UTC, CET, ("20240102", "010000.000000")),
        ("20240101", "100000.000000", None, CET, ("20240101", "100000.000000")),
        ("20240101", "100000.000000", CET, CET, ("20240101", "100000.000000")),
        ("20240101", None, CET, UTC, ("20240101", None)),
        (None, "003000.000000", CET, UTC, (None, "233000.000000")),
        ("20240231", "003000.000000", CET, UTC, ("20240231", "003000.000000")),  # no such day
        (None, None, CET, UTC, (None, None)),
    ],
)
def test_a_moment_has_another_date_and_time_in_another_zone(
    date: str | None, time: str | None, own: int | None, zone: int, told: tuple[str | None, str | None]
) -> None:
    assert (zoned_date(date, time, own, zone), zoned_time(date, time, own, zone)) == told


@pytest.mark.parametrize(
    ("date", "days", "other"),
    [("20240301", -2, "20240228"), ("20241231", 2, "20250102"), ("20240231", 2, "20240304"),
     ("99991231", 2, "99991231"), ("00000101", -2, "00000101")],
)  # fmt: skip
def test_days_are_counted_from_days_that_no_calendar_has(date: str, days: int, other: str) -> None:
    assert days_around(date, days) == other


def test_a_date_of_birth_has_no_zone() -> None:
    data_set = {
        "00080020": {"vr": "DA", "Value": ["20240101"]},
        "00080030": {"vr": "TM", "Value": ["0030"]},
        "00080201": {"vr": "SH", "Value": ["+0100"]},
        "00100030": {"vr": "DA", "Value": ["19700101"]},
        "00100032": {"vr": "TM", "Value": ["0030"]},
    }

    told = in_zone(data_set, UTC)

    assert told["00080020"] == {"vr": "DA", "Value": ["20231231"]}
    assert told["00080030"] == {"vr": "TM", "Value": ["233000.000000"]}
    assert (told["00100030"], told["00100032"]) == (data_set["00100030"], data_set["00100032"])
    assert in_zone(data_set, None) is data_set
