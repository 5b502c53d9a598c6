"""Values to members of the DICOM JSON model: one row, one rule (PS3.18 annex F, PS3.5 6.2)."""

import base64
import struct

import orjson
import pytest

from service.dicom.dicomjson import (
    CUT_WORD,
    MORE_GROUPS,
    NOT_A_NUMBER,
    Reading,
    little_endian,
    value_member,
)
from service.dicom.text import character_set

TAG = 0x00091001
ROWS: list[tuple[str, bytes, object]] = [
    ("CS", b"A\\B ", ["A", "B"]),
    ("CS", b" A ", ["A"]),
    ("LO", b"A\\\\C", ["A", None, "C"]),
    ("LO", b"   ", None),
    ("LO", b"", None),
    ("UI", b"1.2.3\0", ["1.2.3"]),
    ("ST", b" a\\b \r\n ", [" a\\b \r\n"]),
    ("UR", b"http://a\\b ", ["http://a\\b"]),
    ("UC", b" a\\b ", [" a", "b"]),
    ("LO", b'"\x01\x1f\x7f', ['"\x01\x1f\x7f']),
    ("PN", b"A^B=C=D", [{"Alphabetic": "A^B", "Ideographic": "C", "Phonetic": "D"}]),
    ("PN", b"==D ", [{"Phonetic": "D"}]),
    ("PN", b"A\\\\=", [{"Alphabetic": "A"}, None, None]),
    ("DS", b"0.10", [0.10]),
    ("DS", b"1e5\\-0\\ 7 ", [1e5, 0, 7]),
    ("DS", b"+1\\.5\\-.5\\1.\\007\\1.E+2", [1, 0.5, -0.5, 1, 7, 100]),
    ("DS", b"1\\\\2", [1, None, 2]),
    ("IS", b"9007199254740991", [9007199254740991]),
    ("IS", b"9007199254740993", ["9007199254740993"]),
    ("DS", b"1e999", ["1e999"]),
    ("AT", struct.pack("<4H", 0x0018, 0x00FF, 0x7FE0, 0x0010), ["001800FF", "7FE00010"]),
    ("US", struct.pack("<2H", 1, 65535), [1, 65535]),
    ("SS", struct.pack("<h", -2), [-2]),
    ("UL", struct.pack("<I", 1 << 31), [1 << 31]),
    ("SL", struct.pack("<i", -5), [-5]),
    ("FL", struct.pack("<f", 0.5), [0.5]),
    ("FD", struct.pack("<2d", 0.1, -1e300), [0.1, -1e300]),
    ("UV", struct.pack("<2Q", 7, 1 << 60), [7, str(1 << 60)]),
    ("SV", struct.pack("<2q", -7, -(1 << 60)), [-7, str(-(1 << 60))]),
]


def content_of(member: bytes | None) -> dict[str, object]:
    assert member is not None
    content: dict[str, object] = orjson.loads(b"{" + member + b"}")[f"{TAG:08X}"]
    return content


@pytest.mark.parametrize(("vr", "value", "expected"), ROWS)
def test_each_vr_is_written_as_annex_f_asks(vr: str, value: bytes, expected: object) -> None:
    reading = Reading()

    member = value_member(TAG, vr, value, reading)

    written = {"vr": vr} if expected is None else {"vr": vr, "Value": expected}
    assert (content_of(member), reading.odd) == (written, [])


def test_decimal_strings_keep_their_digits() -> None:
    assert value_member(TAG, "DS", b"0.10\\1.50e+3", Reading()) == (
        b'"00091001":{"vr":"DS","Value":[0.10,1.50e+3]}'
    )


@pytest.mark.parametrize(
    "written", [b"abc", b"1,5", b"--1", b"+", b".", b"e5", b"+e10", b"0x10", b"NaN", b"1 2"]
)
def test_what_is_no_number_stays_text_and_is_told(written: bytes) -> None:
    reading = Reading()

    content = content_of(value_member(TAG, "DS", written, reading))

    assert (content["Value"], reading.odd) == ([written.decode()], [NOT_A_NUMBER])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_have_no_value_in_json(number: float) -> None:
    assert value_member(TAG, "FD", struct.pack("<2d", 1.0, number), Reading()) is None
    assert value_member(TAG, "FL", struct.pack("<f", number), Reading()) is None


@pytest.mark.parametrize("vr", ["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
def test_binaries_are_written_inline(vr: str) -> None:
    value = bytes(range(16))

    content = content_of(value_member(TAG, vr, value, Reading()))

    assert content == {"vr": vr, "InlineBinary": base64.b64encode(value).decode()}


@pytest.mark.parametrize(
    ("vr", "width"), [("OB", 1), ("UN", 1), ("OW", 2), ("OF", 4), ("OL", 4), ("OD", 8), ("OV", 8)]
)
def test_inline_binaries_are_little_endian_whatever_the_object_is(vr: str, width: int) -> None:
    value = bytes(range(16))

    content = content_of(value_member(TAG, vr, value, Reading(big_endian=True)))

    turned = b"".join(value[i : i + width][::-1] for i in range(0, 16, width))
    assert content["InlineBinary"] == base64.b64encode(turned).decode()


def test_bytes_behind_the_last_whole_word_are_kept() -> None:
    assert little_endian("OW", b"\1\2\3") == b"\2\1\3"


@pytest.mark.parametrize(
    ("vr", "value", "expected"), [("US", b"\1\0\2", [1]), ("FD", b"\1\2\3", None), ("AT", b"\1", None)]
)
def test_a_cut_word_is_left_out_and_told(vr: str, value: bytes, expected: object) -> None:
    reading = Reading()

    content = content_of(value_member(TAG, vr, value, reading))

    assert (content.get("Value"), reading.odd) == (expected, [CUT_WORD])


def test_a_fourth_component_group_is_left_out_and_told() -> None:
    reading = Reading()

    content = content_of(value_member(TAG, "PN", b"A=B=C=D", reading))

    assert (content["Value"], reading.odd) == (
        [{"Alphabetic": "A", "Ideographic": "B", "Phonetic": "C"}],
        [MORE_GROUPS],
    )


def test_the_first_and_third_value_of_a_lookup_table_descriptor_are_unsigned() -> None:
    member = value_member(0x00283002, "SS", struct.pack("<HhH", 40000, -1024, 40000), Reading())

    assert member == b'"00283002":{"vr":"SS","Value":[40000,-1024,40000]}'


def test_text_is_decoded_by_its_character_set() -> None:
    reading = Reading(character_set(b"GB18030")[0])

    content = content_of(value_member(TAG, "LO", b"\x81\x5c\\\xcd\xf5", reading))

    assert (content["Value"], reading.odd) == (["乗", "王"], [])


def test_slots_cannot_come_from_values() -> None:
    for vr in ("LO", "UT", "PN", "DS", "UC", "UI"):
        member = value_member(TAG, vr, b"a\0\1b\0\1c", Reading())
        assert member is not None
        assert not {0, 1} & set(member)
