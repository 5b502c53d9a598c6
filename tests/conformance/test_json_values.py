"""Values in the DICOM JSON model: a row for each value representation, and for what is empty."""

import math
import struct

import pytest

from tests.conformance.rows import cites, row
from tests.elements import element, file_of, item, sequence
from tests.keeping import object_of, written

CREATOR = element(0x00090010, "LO", b"ROWS")
TAG, KEY = 0x00091001, "00091001"
TABLE = "PS3.18 Table F.2.3-1"


# One value of each representation: bytes in, the attribute as it is written in the answer out.
VALUES = [
    row(TABLE, "AE is a string", "AE", b"STORE ", '{"vr":"AE","Value":["STORE"]}'),
    row(TABLE, "AS is a string", "AS", b"042Y", '{"vr":"AS","Value":["042Y"]}'),
    row(
        TABLE,
        "AT is a string of eight hexadecimal digits",
        "AT",
        struct.pack("<4H", 0x0018, 0x00FF, 0x7FE0, 0x0010),
        '{"vr":"AT","Value":["001800FF","7FE00010"]}',
    ),
    row(TABLE, "CS is a string", "CS", b"A\\B ", '{"vr":"CS","Value":["A","B"]}'),
    row(TABLE, "DA is a string", "DA", b"20240131", '{"vr":"DA","Value":["20240131"]}'),
    row(TABLE, "DS is a number, its digits kept", "DS", b"0.10", '{"vr":"DS","Value":[0.10]}'),
    row(
        TABLE,
        "DS in any spelling is a number",
        "DS",
        b"+1\\-.5\\007\\1.E+2 ",
        '{"vr":"DS","Value":[1,-0.5,7,1e+2]}',
    ),
    row(TABLE, "DS beyond a double's reach is a string", "DS", b"1e999 ", '{"vr":"DS","Value":["1e999"]}'),
    row(TABLE, "DS that is no number is a string", "DS", b"1,5 ", '{"vr":"DS","Value":["1,5"]}'),
    row(
        TABLE,
        "DT is a string",
        "DT",
        b"20240131101500.5+0100 ",
        '{"vr":"DT","Value":["20240131101500.5+0100"]}',
    ),
    row(TABLE, "FD is a number", "FD", struct.pack("<2d", 0.1, -2.5), '{"vr":"FD","Value":[0.1,-2.5]}'),
    row(TABLE, "FL is a number", "FL", struct.pack("<2f", 0.5, -2.0), '{"vr":"FL","Value":[0.5,-2.0]}'),
    row(TABLE, "IS is a number", "IS", b"-12\\7 ", '{"vr":"IS","Value":[-12,7]}'),
    row(
        TABLE,
        "IS beyond 2^53 is a string",
        "IS",
        b"9007199254740993",
        '{"vr":"IS","Value":["9007199254740993"]}',
    ),
    row(TABLE, "LO is a string", "LO", b" A\\B", '{"vr":"LO","Value":["A","B"]}'),
    row(TABLE, "LT is one string", "LT", b" a\\b\r\n ", '{"vr":"LT","Value":[" a\\\\b\\r\\n"]}'),
    row(TABLE, "OB is inline", "OB", b"\1\2\3\4", '{"vr":"OB","InlineBinary":"AQIDBA=="}'),
    row(
        TABLE, "OD is inline", "OD", struct.pack("<d", math.nan), '{"vr":"OD","InlineBinary":"AAAAAAAA+H8="}'
    ),
    row(TABLE, "OF is inline", "OF", struct.pack("<f", 1.0), '{"vr":"OF","InlineBinary":"AACAPw=="}'),
    row(TABLE, "OL is inline", "OL", struct.pack("<I", 1), '{"vr":"OL","InlineBinary":"AQAAAA=="}'),
    row(TABLE, "OV is inline", "OV", struct.pack("<Q", 1), '{"vr":"OV","InlineBinary":"AQAAAAAAAAA="}'),
    row(TABLE, "OW is inline", "OW", struct.pack("<H", 1), '{"vr":"OW","InlineBinary":"AQA="}'),
    row(
        TABLE,
        "PN is an object of its groups",
        "PN",
        b"A^B=C=D ",
        '{"vr":"PN","Value":[{"Alphabetic":"A^B","Ideographic":"C","Phonetic":"D"}]}',
    ),
    row(
        TABLE,
        "PN has only the groups that there are",
        "PN",
        b"A\\==D ",
        '{"vr":"PN","Value":[{"Alphabetic":"A"},{"Phonetic":"D"}]}',
    ),
    row(TABLE, "SH is a string", "SH", b"S1", '{"vr":"SH","Value":["S1"]}'),
    row(TABLE, "SL is a number", "SL", struct.pack("<i", -5), '{"vr":"SL","Value":[-5]}'),
    row(TABLE, "SS is a number", "SS", struct.pack("<2h", -2, 7), '{"vr":"SS","Value":[-2,7]}'),
    row(TABLE, "ST is one string", "ST", b"a\\b ", '{"vr":"ST","Value":["a\\\\b"]}'),
    row(
        TABLE,
        "SV is a number, a string beyond 2^53",
        "SV",
        struct.pack("<3q", -7, -(1 << 53), (1 << 53) - 1),
        '{"vr":"SV","Value":[-7,"-9007199254740992",9007199254740991]}',
    ),
    row(TABLE, "TM is a string", "TM", b"101500.5", '{"vr":"TM","Value":["101500.5"]}'),
    row(TABLE, "UC is strings", "UC", b" a\\b ", '{"vr":"UC","Value":[" a","b"]}'),
    row(TABLE, "UI is a string", "UI", b"1.2.3\0", '{"vr":"UI","Value":["1.2.3"]}'),
    row(TABLE, "UL is a number", "UL", struct.pack("<I", 1 << 31), '{"vr":"UL","Value":[2147483648]}'),
    row(TABLE, "UN is inline", "UN", b"\0\xff", '{"vr":"UN","InlineBinary":"AP8="}'),
    row(TABLE, "UR is one string", "UR", b"http://a\\b ", '{"vr":"UR","Value":["http://a\\\\b"]}'),
    row(TABLE, "US is a number", "US", struct.pack("<2H", 1, 65535), '{"vr":"US","Value":[1,65535]}'),
    row(TABLE, "UT is one string", "UT", b"a\\b ", '{"vr":"UT","Value":["a\\\\b"]}'),
    row(
        TABLE,
        "UV is a number, a string beyond 2^53",
        "UV",
        struct.pack("<2Q", 7, 1 << 60),
        '{"vr":"UV","Value":[7,"1152921504606846976"]}',
    ),
]
EMPTY = (
    "AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV"
)


@pytest.mark.parametrize(("vr", "value", "expected"), VALUES)
def test_a_value_is_written_as_the_table_says(site, vr, value, expected):
    assert f'"{KEY}":{expected}' in written(site, file_of(CREATOR, element(TAG, vr, value)))


@cites(TABLE, "each value representation has its JSON type")
def test_there_is_a_row_for_every_value_representation():
    shown = {case.values[0] for case in VALUES} | {"SQ"}
    assert shown == set(EMPTY.split())


@pytest.mark.parametrize(
    "vr", [row("PS3.18 F.2.5", f"an empty {vr} has only vr", vr) for vr in EMPTY.split()]
)
def test_an_attribute_without_a_value_has_only_its_vr(site, vr):
    assert f'"{KEY}":{{"vr":"{vr}"}}' in written(site, file_of(CREATOR, element(TAG, vr, b"")))


NULLS = [
    row("PS3.18 F.2.5", "an empty value among others is null", "LO", b"A\\\\C", ["A", None, "C"]),
    row("PS3.18 F.2.5", "an empty first value is null", "LO", b"\\B", [None, "B"]),
    row("PS3.18 F.2.5", "an empty last value is null", "CS", b"A\\", ["A", None]),
    row("PS3.18 F.2.5", "an empty number is null", "DS", b"1\\\\2", [1, None, 2]),
    row("PS3.18 F.2.5", "an empty whole number is null", "IS", b"\\2", [None, 2]),
    row(
        "PS3.18 F.2.5",
        "an empty name is null",
        "PN",
        b"A\\\\B",
        [{"Alphabetic": "A"}, None, {"Alphabetic": "B"}],
    ),
    row("PS3.18 F.2.5", "spaces alone are no value", "LO", b"  ", None),
]


@pytest.mark.parametrize(("vr", "value", "expected"), NULLS)
def test_an_empty_value_among_others_is_null(site, vr, value, expected):
    assert object_of(site, file_of(CREATOR, element(TAG, vr, value)))[KEY].get("Value") == expected


@pytest.mark.parametrize(
    ("defined", "items", "expected"),
    [
        row("PS3.18 F.2.5", "an empty item is an empty object", True, [b""], [{}]),
        row("PS3.18 F.2.5", "so it is in undefined lengths", False, [b"", b""], [{}, {}]),
        row("PS3.18 F.2.5", "a sequence without items has only vr", True, [], None),
        row("PS3.18 F.2.5", "so it has in an undefined length", False, [], None),
        row(
            "PS3.18 F.2.2",
            "an item is an object like the whole",
            False,
            [element(0x00100020, "LO", b"P1")],
            [{"00100020": {"vr": "LO", "Value": ["P1"]}}],
        ),
    ],
)
def test_items_are_objects(site, defined, items, expected):
    made = sequence(0x00081140, *(item(one, defined=defined) for one in items), defined=defined)
    found = object_of(site, file_of(made))["00081140"]
    assert found == ({"vr": "SQ"} if expected is None else {"vr": "SQ", "Value": expected})
