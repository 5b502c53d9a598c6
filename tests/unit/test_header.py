"""The header walker: what becomes of each kind of element, and where values are found again."""

import base64
import struct
from typing import Any

import orjson
import pytest

from service.dicom.errors import NotDicom
from service.dicom.header import Bulk, End, Found, NeedMore, Skip, Walker, find_value, read_data_set
from service.dicom.memo import Memo
from service.dicom.syntaxes import BY_UID, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE

EXPLICIT, IMPLICIT, BIG = BY_UID[EXPLICIT_LE], BY_UID[IMPLICIT_LE], BY_UID[EXPLICIT_BE]
UNDEFINED = 0xFFFFFFFF
END_OF_SEQUENCE = b"\xfe\xff\xdd\xe0\0\0\0\0"
LONG = ("OB", "OW", "SQ", "UN", "UT", "UC")


def explicit(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    return head + (struct.pack("<HI", 0, length) if vr in LONG else struct.pack("<H", length)) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(content: bytes) -> bytes:
    return implicit(0xFFFEE000, content)


def open_item(content: bytes) -> bytes:
    return implicit(0xFFFEE000, content + b"\xfe\xff\x0d\xe0\0\0\0\0", UNDEFINED)


def read(walker: Walker) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(walker.json().replace(b"\0", b"URL"))
    return content


def json_of(*elements: bytes, syntax: Any = EXPLICIT) -> dict[str, Any]:
    return read(read_data_set(syntax, b"".join(elements)))


NAME = explicit(0x00100010, "PN", b"Doe^Jane")
PIXELS = explicit(0x7FE00010, "OW", bytes(8))


def test_pixel_data_is_passed_over_before_its_bytes_are_there() -> None:
    walker = Walker(EXPLICIT)
    head = NAME + explicit(0x7FE00010, "OW", b"", 1 << 30)

    step = walker.walk(head)

    assert step == Bulk(0x7FE00010, "OW", len(head), 1 << 30)
    assert walker.walk(b"", final=True) == End(0)
    assert read(walker)["7FE00010"] == {"vr": "OW", "BulkDataURI": "URL/bulkdata/7FE00010"}


def test_encapsulated_pixel_data_is_told_without_a_length() -> None:
    body = explicit(0x7FE00010, "OB", item(b"") + item(b"abcd") + END_OF_SEQUENCE, UNDEFINED)

    assert Walker(EXPLICIT).walk(body) == Bulk(0x7FE00010, "OB", 12, None)


def test_empty_pixel_data_has_no_uri() -> None:
    assert json_of(explicit(0x7FE00010, "OW", b"")) == {"7FE00010": {"vr": "OW"}}


def test_an_element_is_processed_only_when_it_is_complete() -> None:
    walker = Walker(EXPLICIT)

    assert walker.walk(NAME[:-1]) == NeedMore(0, len(NAME))
    assert walker.elements == {}
    assert walker.walk(NAME) == NeedMore(len(NAME), 8)
    assert walker.text(0x00100010) == "Doe^Jane"


def test_what_is_odd_about_a_sequence_is_told_once_however_often_it_was_cut() -> None:
    odd = explicit(0x0040A730, "SQ", item(explicit(0x00280008, "IS", b"x ")) + END_OF_SEQUENCE, UNDEFINED)
    walker = Walker(EXPLICIT)

    for size in range(len(odd)):
        walker.walk(odd[:size])
    walker.walk(odd, final=True)

    assert walker.findings == ["(0028,0008) holds text that is not a number."]


@pytest.mark.parametrize("cut", range(1, 28))
def test_a_data_set_that_ends_inside_an_element_is_refused(cut: int) -> None:
    body = explicit(0x00080060, "CS", b"CT") + explicit(0x0040A730, "SQ", item(b"") * 2)

    with pytest.raises(NotDicom):
        read_data_set(EXPLICIT, body[:-cut])


def test_large_binaries_become_uris_with_their_place_counted_from_one() -> None:
    inner = explicit(0x00880200, "SQ", item(b"") + open_item(explicit(0x7FE00010, "OW", bytes(2000))))
    body = explicit(0x60031010, "SQ", item(inner))

    content = json_of(body)["60031010"]["Value"][0]["00880200"]["Value"][1]["7FE00010"]

    assert content["BulkDataURI"] == "URL/bulkdata/60031010/1/00880200/2/7FE00010"


def test_small_pixel_data_of_an_icon_is_an_ordinary_element() -> None:
    icon = explicit(0x00880200, "SQ", item(PIXELS))

    content = json_of(icon, PIXELS)

    assert content["00880200"]["Value"][0]["7FE00010"]["InlineBinary"] == base64.b64encode(bytes(8)).decode()
    assert "BulkDataURI" in content["7FE00010"]


def test_long_text_becomes_a_uri_and_very_long_text_is_passed_over() -> None:
    walker = read_data_set(EXPLICIT, explicit(0x0040A160, "UT", b"x" * 70_000))

    assert read(walker)["0040A160"] == {"vr": "UT", "BulkDataURI": "URL/bulkdata/0040A160"}
    assert isinstance(Walker(EXPLICIT).walk(explicit(0x0040A160, "UT", b"", 2 << 20)), Bulk)


def test_numbers_that_are_not_finite_become_a_uri() -> None:
    body = explicit(0x00189073, "FD", struct.pack("<d", float("nan")))

    assert json_of(body)["00189073"] == {"vr": "FD", "BulkDataURI": "URL/bulkdata/00189073"}


def test_group_lengths_file_meta_and_trailing_padding_are_left_out() -> None:
    body = explicit(0x00080000, "UL", bytes(4)) + NAME + explicit(0xFFFCFFFC, "OB", bytes(5000))

    assert list(json_of(body)) == ["00100010"]


def test_zero_bytes_behind_the_last_element_do_no_harm() -> None:
    walker = read_data_set(EXPLICIT, NAME + bytes(11))

    assert (list(walker.elements), walker.findings) == ([0x00100010], ["Zero bytes follow the last element."])


def test_of_two_elements_with_one_tag_the_first_counts() -> None:
    walker = read_data_set(EXPLICIT, NAME + PIXELS + explicit(0x00100010, "PN", b"Roe^Jane") + PIXELS)

    assert walker.text(0x00100010) == "Doe^Jane"
    assert walker.findings == ["(0010,0010) is there twice.", "(7FE0,0010) is there twice."]


def test_members_are_written_in_ascending_order() -> None:
    body = NAME + explicit(0x00080060, "CS", b"CT")

    assert list(json_of(body)) == ["00080060", "00100010"]


def test_values_of_a_big_endian_data_set_are_turned() -> None:
    body = b"\x00\x28\x00\x10US\x00\x02\x02\x00" + b"\x00\x28\x12\x00OW\0\0\x00\x00\x00\x02\x01\x02"
    sequence = b"\x00\x40\xa7\x30SQ\0\0\xff\xff\xff\xff\xff\xfe\xe0\x00\xff\xff\xff\xff"
    sequence += b"\x00\x28\x00\x11US\x00\x02\x01\x00\xff\xfe\xe0\x0d\0\0\0\0\xff\xfe\xe0\xdd\0\0\0\0"

    content = json_of(body, sequence, syntax=BIG)

    assert content["00280010"]["Value"] == [512]
    assert content["00281200"]["InlineBinary"] == base64.b64encode(b"\x02\x01").decode()
    assert content["0040A730"]["Value"] == [{"00280011": {"vr": "US", "Value": [256]}}]


def test_private_elements_are_typed_by_their_creator() -> None:
    body = implicit(0x00090010, b"GEMS_IDEN_01") + implicit(0x00091001, b"GE_GENESIS_FF ")
    stranger = implicit(0x000B0010, b"NOBODY") + implicit(0x000B1001, b"ab") + implicit(0x000D1001, b"ab")

    content = json_of(body, stranger, syntax=IMPLICIT)

    assert content["00091001"] == {"vr": "LO", "Value": ["GE_GENESIS_FF"]}
    assert [content[tag]["vr"] for tag in ("00090010", "000B1001", "000D1001")] == ["LO", "UN", "UN"]


@pytest.mark.parametrize(("sign", "vr", "value"), [(0, "US", 65534), (1, "SS", -2)])
def test_pixel_representation_settles_signs_before_and_after_it(sign: int, vr: str, value: int) -> None:
    least = struct.pack("<h", -2)
    body = implicit(0x00189810, least) + implicit(0x00280103, struct.pack("<H", sign))
    nested = implicit(0x00283000, item(implicit(0x00283002, least * 3)))

    content = json_of(body, implicit(0x00280106, least), nested, syntax=IMPLICIT)

    assert content["00189810"] == content["00280106"] == {"vr": vr, "Value": [value]}
    assert content["00283000"]["Value"][0]["00283002"]["Value"] == [65534, value, 65534]


def test_a_value_representation_depends_on_the_object_not_on_the_one_before() -> None:
    memo, element = Memo(), implicit(0x00280106, struct.pack("<h", -2))
    written = []
    for sign in (1, 0, 1):
        walker = Walker(IMPLICIT, memo=memo)
        walker.walk(implicit(0x00280103, struct.pack("<H", sign)) + element, final=True)
        written.append(read(walker)["00280106"]["vr"])

    assert written == ["SS", "US", "SS"]


def test_unknown_values_are_typed_where_they_are_known() -> None:
    items = item(implicit(0x00080100, b"T-1"))
    body = explicit(0x00080060, "UN", b"CT") + explicit(0x00081032, "UN", items)
    undefined = explicit(0x00091001, "UN", items + END_OF_SEQUENCE, UNDEFINED)

    content = json_of(body, undefined)

    code = [{"00080100": {"vr": "SH", "Value": ["T-1"]}}]
    assert content["00080060"] == {"vr": "CS", "Value": ["CT"]}
    assert content["00081032"]["Value"] == content["00091001"]["Value"] == code


def test_items_in_implicit_vr_are_read_inside_explicit_vr() -> None:
    body = explicit(0x00081032, "SQ", item(implicit(0x00080100, b"T-1 ")))

    assert json_of(body)["00081032"]["Value"] == [{"00080100": {"vr": "SH", "Value": ["T-1"]}}]


def test_a_data_set_not_in_the_encoding_of_its_syntax_is_read_and_told() -> None:
    for syntax, body in (
        (EXPLICIT, implicit(0x00080060, b"CT")),
        (IMPLICIT, explicit(0x00080060, "CS", b"CT")),
    ):
        walker = read_data_set(syntax, body + (implicit if syntax is EXPLICIT else _lo)(0x00080070, b"ab"))

        assert walker.strings(0x00080060) == ["CT"]
        assert walker.findings == ["The data set is not in the VR encoding of its transfer syntax."]


def _lo(tag: int, value: bytes) -> bytes:
    return explicit(tag, "LO", value)


def test_damage_in_a_defined_length_costs_only_what_follows_it_there() -> None:
    broken = item(explicit(0x00080100, "SH", b"T-1 ") + explicit(0x00080102, "SH", b"", 500))
    walker = read_data_set(EXPLICIT, explicit(0x00081032, "SQ", broken + item(b"")) + NAME)

    assert read(walker)["00081032"]["Value"] == [{"00080100": {"vr": "SH", "Value": ["T-1"]}}, {}]
    assert walker.text(0x00100010) == "Doe^Jane"
    assert walker.findings == ["(0008,1032) is damaged inside."]


def test_a_value_of_undefined_length_without_items_ends_at_the_delimiter() -> None:
    body = explicit(0x0040A160, "UT", b"text of a kind" + END_OF_SEQUENCE, UNDEFINED)

    assert json_of(body, NAME.replace(b"\x10\0\x10\0", b"\x50\0\x10\0"))["0040A160"]["Value"] == [
        "text of a kind"
    ]


@pytest.mark.parametrize("stray", [item(b""), END_OF_SEQUENCE])
def test_a_delimiter_outside_of_a_sequence_is_refused(stray: bytes) -> None:
    with pytest.raises(NotDicom):
        read_data_set(EXPLICIT, NAME + stray)


@pytest.mark.parametrize(("depth", "allowed"), [(50, True), (64, True), (65, False)])
def test_sequences_are_nested_up_to_a_limit(depth: int, allowed: bool) -> None:
    body = b""
    for _ in range(depth):
        body = explicit(0x0040A730, "SQ", item(body))

    if allowed:
        assert json_of(body)
    else:
        with pytest.raises(NotDicom):
            json_of(body)


def test_a_character_set_reaches_into_items_which_may_have_their_own() -> None:
    own = item(explicit(0x00080005, "CS", b"ISO_IR 144") + explicit(0x00104000, "LT", b"\xbb\xee"))
    body = explicit(0x00080005, "CS", b"ISO_IR 100")
    sequence = explicit(0x0040A730, "SQ", own + item(explicit(0x00104000, "LT", b"\xe9 ")))

    content = json_of(body, explicit(0x00100010, "PN", b"\xe9 "), sequence)

    utf_8 = {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert content["00080005"] == content["0040A730"]["Value"][0]["00080005"] == utf_8
    texts = [inner["00104000"]["Value"] for inner in content["0040A730"]["Value"]]
    assert (content["00100010"]["Value"], texts) == ([{"Alphabetic": "é"}], [["Лю"], ["é"]])


def test_undeclared_text_is_declared_utf_8_and_told() -> None:
    walker = read_data_set(EXPLICIT, explicit(0x00100010, "PN", b"\xe9 "))

    assert read(walker)["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert walker.findings == ["(0010,0010) holds 8-bit text although no character set is declared."]


def test_the_same_bytes_mean_something_else_in_another_character_set() -> None:
    memo = Memo()
    names = []
    for term in (b"ISO_IR 100", b"ISO_IR 144", b"ISO_IR 100"):
        walker = Walker(EXPLICIT, memo=memo)
        body = explicit(0x00080005, "CS", term) + explicit(0x00100010, "PN", b"\xd0\xd1")
        walker.walk(body, final=True)
        names.append(walker.text(0x00100010))

    assert names == ["ÐÑ", "аб", "ÐÑ"]


def test_text_of_processed_elements_can_be_asked_for() -> None:
    walker = read_data_set(
        EXPLICIT, explicit(0x00080008, "CS", b"A\\\\C") + explicit(0x00280008, "IS", b"7 ") + PIXELS
    )

    assert walker.strings(0x00080008) == ["A", "", "C"]
    assert walker.text(0x00280008) == "7"
    assert (walker.text(0x7FE00010), walker.text(0x00100010)) == (None, None)


@pytest.mark.parametrize("wrap", [item, open_item])
@pytest.mark.parametrize("write", ["explicit", "implicit"])
def test_a_value_is_found_where_its_path_says(wrap: Any, write: str) -> None:
    small = explicit if write == "explicit" else lambda tag, vr, value: implicit(tag, value)
    inside = small(0x00080100, "SH", b"A ") + small(0x00281201, "OW", b"wanted")
    body = small(0x00080060, "CS", b"CT") + small(0x00089215, "SQ", wrap(b"") + wrap(inside))

    found = find_value(body, EXPLICIT if write == "explicit" else IMPLICIT, (0x00089215, 2, 0x00281201))

    assert isinstance(found, Found)
    assert found.length is not None
    assert body[found.position : found.position + found.length] == b"wanted"


def test_a_search_says_where_to_go_on_and_when_to_give_up() -> None:
    body = NAME + explicit(0x00420011, "OB", b"", 1 << 30)

    assert find_value(body, EXPLICIT, (0x00420011,)) == Found("OB", len(body), 1 << 30, False)
    assert find_value(body, EXPLICIT, (0x00420012,)) == Skip(len(body) + (1 << 30))
    assert find_value(NAME, EXPLICIT, (0x00420012,)) == NeedMore(len(NAME), 12)
    assert find_value(NAME, EXPLICIT, (0x00420012,), final=True) is None
    assert find_value(NAME, EXPLICIT, (0x00100010, 1, 0x00100020), final=True) is None


def test_a_search_does_not_read_encapsulated_pixel_data() -> None:
    body = explicit(0x7FE00010, "OB", item(b""), UNDEFINED)

    assert find_value(body, EXPLICIT, (0x7FE00010,)) == Found("OB", 12, None, True)
    assert find_value(body, EXPLICIT, (0xFFFAFFFA,)) == Skip(None)


def test_a_memo_stays_within_its_bounds() -> None:
    memo = Memo(size_bytes=20_000)
    for number in range(500):
        walker = Walker(EXPLICIT, memo=memo)
        body = explicit(0x00100020, "LO", b"%06d" % number)
        walker.walk(body, final=True)
        assert walker.text(0x00100020) == f"{number:06d}"

    assert len(walker._scope.members) + len(walker._scope.heads) < 100
