"""DICOM JSON written as data sets, read back by pydicom (PS3.18 F.2, PS3.5 7)."""

import io
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from service.dicom.errors import BadRequest, NotDicom, TooLarge
from service.dicom.jsonreading import data_sets, read_json
from service.dicom.writing import DataSet, Detached, detached_uris, element_head

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")


def bytes_of(document: dict[str, Any]) -> bytes:
    pieces = list(DataSet(document).segments)
    assert all(isinstance(piece, bytes) for piece in pieces)
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


def read_back(document: dict[str, Any]) -> Dataset:
    meta = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
    return pydicom.dcmread(io.BytesIO(bytes(128) + b"DICM" + meta + bytes_of(document)))


def value(vr: str, *values: Any, tag: str = "00091001") -> bytes:
    """The padded bytes of one element's value."""
    content = bytes_of({tag: {"vr": vr, "Value": list(values)}})
    return content[12 if vr in ("UC", "UR", "UT", "SV", "UV") else 8 :]


@pytest.mark.parametrize(
    ("vr", "values", "expected"),
    [
        ("CS", ["A", None, "BC"], b"A\\\\BC "),
        ("UI", ["1.2", "1.23"], b"1.2\\1.23"),
        ("UI", ["1.2"], b"1.2\0"),
        ("UT", ["a\\b"], b"a\\b "),
        ("PN", [{"Alphabetic": "A^B", "Phonetic": "C"}], b"A^B==C"),
        ("PN", [{"Ideographic": "C"}, None, "D^E"], b"=C\\\\D^E "),
        ("AT", ["00100010", "7FE00010"], b"\x10\x00\x10\x00\xe0\x7f\x10\x00"),
        ("US", ["1", 65535], b"\x01\x00\xff\xff"),
        ("SS", [-1], b"\xff\xff"),
        ("UL", ["4294967295"], b"\xff\xff\xff\xff"),
        ("SV", ["-9223372036854775808"], b"\0\0\0\0\0\0\0\x80"),
        ("UV", ["18446744073709551615"], b"\xff" * 8),
        ("FL", ["1.5", "-Infinity"], b"\x00\x00\xc0\x3f\x00\x00\x80\xff"),
        ("FD", [1], b"\0\0\0\0\0\0\xf0\x3f"),
        ("FD", ["NaN"], b"\0\0\0\0\0\0\xf8\x7f"),
        ("DS", ["0.10", 2.5], b"0.10\\2.5"),
        ("IS", [7, "+08"], b"7\\+08 "),
        ("US", ["5.0"], b"\x05\x00"),
    ],
)
def test_values_are_written_by_their_vr(vr, values, expected):
    assert value(vr, *values) == expected


def test_a_single_value_needs_no_array():
    assert bytes_of({"00100020": {"vr": "LO", "Value": "P1"}}).endswith(b"P1")


def test_decimals_keep_the_digits_that_the_json_has():
    (document,) = data_sets(b'{"00281053":{"vr":"DS","Value":[0.10,1e3,"2.50"]}}')
    assert bytes_of(document)[8:] == b"0.10\\1e3\\2.50 "


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("0.30000000000000004", b"0.30000000000000004 "),
        ("-1.2345678901234567e-101", b"-1.2345678901234567e-101"),
        ("123456789012345678", b"123456789012345678"),
    ],
)
def test_a_number_with_more_digits_than_a_decimal_string_holds_keeps_them(written, expected):
    (document,) = data_sets(b'{"00281053":{"vr":"DS","Value":[%s]}}' % written.encode())
    assert bytes_of(document)[8:] == expected


@pytest.mark.parametrize(
    ("vr", "value"), [("LO", r'"a\ud800"'), ("PN", r'{"Alphabetic":"\udfff"}'), ("UT", r'"\ud83d"')]
)
def test_half_a_surrogate_pair_is_no_text(vr, value):
    (document,) = data_sets(b'{"00104000":{"vr":"%s","Value":[%s]}}' % (vr.encode(), value.encode()))
    with pytest.raises(NotDicom, match=r"\(0010,4000\)"):
        bytes_of(document)


def test_the_first_number_of_a_lut_descriptor_is_never_signed():
    assert value("SS", 65535, -5, 16, tag="00283002") == b"\xff\xff\xfb\xff\x10\x00"


def test_elements_are_sorted_and_groups_of_other_things_left_out():
    found = read_back(
        {
            "00200013": {"vr": "IS", "Value": [1]},
            "00020010": {"vr": "UI", "Value": ["1.2.840.10008.1.2.5"]},
            "00080000": {"vr": "UL", "Value": [12]},
            "00083002": {"vr": "UI", "Value": ["1.2"]},
            "00080060": {"vr": "CS", "Value": ["CT"]},
        }
    )
    assert [element.tag for element in found] == [0x00080060, 0x00200013]


def test_text_beyond_ascii_is_utf_8_and_says_so():
    found = read_back({"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller", "Ideographic": "山"}]}})
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert found.PatientName == "Müller=山"


@pytest.mark.parametrize("declared", ["ISO_IR 100", "GB18030", "ISO 2022 IR 87"])
def test_the_declared_character_set_becomes_that_of_the_text(declared):
    character_set = {"vr": "CS", "Value": [declared]}
    found = read_back(
        {"00080005": character_set, "00081140": {"vr": "SQ", "Value": [{"00080005": character_set}]}}
    )
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert found.ReferencedImageSequence[0].SpecificCharacterSet == "ISO_IR 192"


def test_plain_text_declares_no_character_set():
    assert "SpecificCharacterSet" not in read_back({"00100020": {"vr": "LO", "Value": ["P1"]}})


def test_sequences_are_written_item_by_item():
    item = {"00081155": {"vr": "UI", "Value": ["1.2"]}}
    found = read_back({"00081140": {"vr": "SQ", "Value": [item, {}, None]}, "00081115": {"vr": "SQ"}})
    assert [len(one) for one in found.ReferencedImageSequence] == [1, 0, 0]
    assert found.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2"
    assert len(found.ReferencedSeriesSequence) == 0


def test_binary_values_are_padded():
    assert bytes_of({"00420011": {"vr": "OB", "InlineBinary": "AAEC"}})[12:] == b"\0\1\2\0"
    assert bytes_of({"00420011": {"vr": "OB", "InlineBinary": "A A\nE C"}})[12:] == b"\0\1\2\0"


def test_a_value_too_long_for_its_vr_is_of_unknown_vr():
    assert bytes_of({"00091001": {"vr": "DS", "Value": ["1" * 70_000]}})[4:12] == b"UN\0\0\x70\x11\x01\0"


def test_a_missing_vr_is_that_of_the_dictionary():
    assert read_back({"00100010": {"Value": ["A^B"]}})["PatientName"].VR == "PN"


def test_values_elsewhere_leave_their_place_open():
    inner = {"00091001": {"vr": "UN", "BulkDataURI": "b"}}
    data_set = DataSet(
        {
            "7FE00010": {"vr": "OW", "BulkDataURI": "c"},
            "00081140": {"vr": "SQ", "Value": [inner]},
            "00080018": {"vr": "UI", "Value": ["1.2"]},
        }
    )
    assert data_set.detached == [
        Detached(0x00091001, "UN", "b", top=False),
        Detached(0x7FE00010, "OW", "c", top=True),
    ]
    assert data_set.text(0x00080018) == "1.2"
    assert not data_set.has_value(0x00280010)
    data_set.put(0x00280010, "US", 7)
    assert data_set.number(0x00280010) == 7
    assert element_head(0x00280010, "US", 2) + b"\x07\0" in b"".join(
        piece for piece in data_set.segments if isinstance(piece, bytes)
    )


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {"0010": {"vr": "LO"}},
        {"PatientName": {"vr": "PN"}},
        {"FFFEE000": {"vr": "UN"}},
        {"00100020": "P1"},
        {"00100020": {"vr": "XX"}},
        {"00100020": {"vr": 5}},
        {"00100020": {"vr": ["LO"]}},
        {"00100020": {"vr": "LO", "Value": [{}]}},
        {"00100020": {"vr": "LO", "Value": [True]}},
        {"00100020": {"vr": "LO", "Value": ["A"], "InlineBinary": "AA=="}},
        {"00100010": {"vr": "PN", "Value": [{"Alphabetic": 5}]}},
        {"00100010": {"vr": "PN", "Value": [["A"]]}},
        {"00280010": {"vr": "US", "Value": [65536]}},
        {"00280010": {"vr": "US", "Value": [None]}},
        {"00280010": {"vr": "US", "Value": ["x"]}},
        {"00280010": {"vr": "US", "Value": [1.5]}},
        {"00280010": {"vr": "US", "Value": ["1e999"]}},
        {"00280010": {"vr": "US", "Value": ["9" * 5000]}},
        {"00280010": {"vr": "FL", "Value": [1e300]}},
        {"00280009": {"vr": "AT", "Value": ["0010"]}},
        {"00420011": {"vr": "OB", "InlineBinary": "A"}},
        {"00420011": {"vr": "OB", "InlineBinary": "AA-_"}},
        {"00420011": {"vr": "OB", "InlineBinary": 5}},
        {"00420011": {"vr": "OB", "Value": [1, 2]}},
        {"00420011": {"vr": "OB", "BulkDataURI": 5}},
        {"00420011": {"vr": "OB", "BulkDataURI": ""}},
        {"00081140": {"vr": "SQ", "BulkDataURI": "x"}},
        {"00081140": {"vr": "SQ", "Value": ["x"]}},
        {"0010002a": {"vr": "LO"}, "0010002A": {"vr": "LO"}},
    ],
)
def test_what_is_no_data_set_is_refused_without_its_values(document):
    with pytest.raises(NotDicom) as refused:
        DataSet(document)
    assert "P1" not in str(refused.value)


def test_depth_is_bounded():
    document: dict[str, Any] = {}
    for _ in range(66):
        document = {"00081140": {"vr": "SQ", "Value": [document]}}
    with pytest.raises(NotDicom, match="nested"):
        DataSet(document)


@pytest.mark.parametrize("content", [b"", b"{", b"nul", b'"x"', b"5", b'{"a":\xff}', b"[" * 100_000])
def test_what_is_no_json_of_data_sets_is_a_bad_request(content):
    with pytest.raises(BadRequest):
        data_sets(content)


@pytest.mark.parametrize("unit", [b"[],", b"1,", b"{},"])
def test_more_values_than_memory_should_hold_are_too_large(unit):
    with pytest.raises(TooLarge):
        data_sets(b"[" + unit * 3_000_000 + b"1]")


def test_json_may_begin_with_a_byte_order_mark():
    assert read_json(b"\xef\xbb\xbf[]") == []


def test_references_are_found_wherever_they_are():
    document = {"a": {"BulkDataURI": "1"}, "b": [{"BulkDataURI": "2"}, 5], "BulkDataURI": 7}
    assert sorted(detached_uris(document)) == ["1", "2"]
