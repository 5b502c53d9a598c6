"""Identifiers read from bytes: keys, character sets, sequences, and bytes that are none."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from service.dicom.errors import BadRequest
from service.dicom.identifier import MOST_BYTES, Key, read_identifier
from service.dicom.syntaxes import BY_UID, DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from tests.identifiers import PLAIN, a_query, encoded, identifier_of
from tests.swiftness import spent_s

NAME, ID, DATE, LEVEL = 0x00100010, 0x00100020, 0x00080020, 0x00080052
REQUESTS, STEP = 0x00400275, 0x00400009


@pytest.mark.parametrize("syntax", PLAIN)
def test_keys_are_read_in_every_uncompressed_syntax(syntax):
    item = Dataset()
    item.ScheduledProcedureStepID = "S*"
    query = a_query(
        PatientName="Doe^*", StudyDate="20240101-20240131", ModalitiesInStudy=["CT", "MR"], Rows=512,
        PatientID=None, RequestAttributesSequence=[item],
    )  # fmt: skip

    found = identifier_of(query, syntax)

    assert found.text(LEVEL) == "STUDY"
    assert found.text(NAME) == "Doe^*"
    assert found.text(DATE) == "20240101-20240131"
    assert found.text(0x00080061) == "CT\\MR"
    assert found.text(0x00280010) == "512"
    assert found.find(ID) == Key(ID, "LO")
    assert found.find(REQUESTS) == Key(REQUESTS, "SQ", items=((Key(STEP, "SH", "S*"),),))


def test_a_deflated_identifier_is_inflated():
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    content = deflater.compress(encoded(a_query(PatientID="P1"), EXPLICIT_LE)) + deflater.flush()

    assert read_identifier(content, BY_UID[DEFLATED]).text(ID) == "P1"


def test_an_identifier_that_inflates_without_end_is_refused():
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    content = deflater.compress(bytes(MOST_BYTES * 40)) + deflater.flush()

    with pytest.raises(BadRequest, match="too long"):
        read_identifier(content, BY_UID[DEFLATED])


CHARSETS = [
    ("ISO_IR 100", "Müller*", ("100",)),
    ("ISO_IR 126", "Διονυσιος", ("126",)),
    ("ISO_IR 144", "Люкceмбypг", ("144",)),
    ("GB18030", "王^小东", ("GB18030",)),
    ("ISO_IR 192", "山田^太郎", ("192",)),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", ("6", "87")),
    (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎", ("13", "87")),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞", ("6", "149")),
]


@pytest.mark.parametrize(("terms", "name", "numbers"), CHARSETS)
def test_text_is_decoded_as_the_identifier_declares(terms, name, numbers):
    found = identifier_of(a_query(SpecificCharacterSet=terms, PatientName=name), EXPLICIT_LE)

    assert found.text(NAME) == name
    assert found.charset == numbers


SPELLINGS = ["ISO_IR 100", "ISO-IR 100", "ISO IR 100", "iso_ir 100", "ISO 2022 IR 6\\ISO 2022 IR 100"]


@pytest.mark.parametrize("terms", SPELLINGS)
def test_careless_spellings_of_character_sets_are_understood(terms):
    content = element(0x00080005, b"CS", terms.encode()) + element(NAME, b"PN", "Müller".encode("latin-1"))

    assert read_identifier(content, BY_UID[EXPLICIT_LE]).text(NAME) == "Müller"


@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize("declared", ["", "ISO_IR 6"])
def test_text_without_a_character_set_is_of_the_one_that_its_peer_is_known_for(syntax, declared):
    order = "big" if syntax == EXPLICIT_BE else "little"
    vrs = syntax != IMPLICIT_LE
    content = element(NAME, b"PN" if vrs else b"", "Διονυσιος".encode("iso8859-7"), order)
    if declared:
        content = element(0x00080005, b"CS" if vrs else b"", declared.encode(), order) + content

    found = read_identifier(content, BY_UID[syntax], fallback="ISO_IR 126")

    assert found.text(NAME) == "Διονυσιος"
    assert found.charset == ("126",)


def test_text_without_any_character_set_is_utf_8_or_else_latin_1():
    utf_8 = element(NAME, b"PN", "Müller".encode())
    latin = element(NAME, b"PN", "Müller".encode("latin-1"))

    assert read_identifier(utf_8, BY_UID[EXPLICIT_LE]).text(NAME) == "Müller"
    assert read_identifier(latin, BY_UID[EXPLICIT_LE]).text(NAME) == "Müller"


def test_a_backslash_inside_a_character_parts_nothing():
    # 蘒 is 9D 5C in GBK, whose second byte is that of a backslash.
    content = element(0x00080005, b"CS", b"GB18030") + element(ID, b"LO", "诶\\乗".encode("gb18030"))
    assert b"\x5c" in "乗".encode("gb18030")

    assert read_identifier(content, BY_UID[EXPLICIT_LE]).text(ID) == "诶\\乗"


def test_padding_is_no_value():
    content = element(ID, b"LO", b"  \0\0") + element(0x0020000D, b"UI", b"1.2.3 \0\0")

    found = read_identifier(content, BY_UID[EXPLICIT_LE])

    assert found.text(ID) == ""
    assert found.text(0x0020000D) == "1.2.3"


def test_group_lengths_and_file_meta_are_no_keys():
    content = (
        element(0x00020010, b"UI", b"1.2")
        + element(0x00080000, b"UL", b"\1\0\0\0")
        + element(ID, b"LO", b"P1")
        + element(0x00100000, b"UL", b"\1\0\0\0")
    )

    assert [key.tag for key in read_identifier(content, BY_UID[EXPLICIT_LE]).keys] == [ID]


def test_private_keys_are_read_with_their_creator_in_implicit_vr_too():
    query = a_query()
    query.private_block(0x0009, "ACME 1", create=True).add_new(0x01, "LO", "of acme")

    found = identifier_of(query)

    assert found.text(0x00090010) == "ACME 1"
    assert found.text(0x00091001) == "of acme"


def test_sequences_are_read_to_any_depth_that_data_sets_have():
    query = a_query()
    query.PatientID = "P1"
    for _ in range(40):
        outer = Dataset()
        outer.RequestAttributesSequence = [query]
        query = outer

    key = identifier_of(query).find(REQUESTS)

    depth = 0
    while key is not None and key.vr == "SQ":
        depth += 1
        key = next((inner for inner in key.items[0] if inner.tag in (REQUESTS, ID)), None)
    assert depth == 40
    assert key == Key(ID, "LO", "P1")


AT_MOST_S = 0.5  # of processor time: nobody else is served meanwhile
HOSTILE = {
    "cut in a head": b"\x10\x00\x10",
    "cut in a value": b"\x10\x00\x10\x00\xff\x00\x00\x00ab",
    "a length of 4 GB": b"\x10\x00\x10\x00\xfe\xff\xff\xffab",
    "a delimiter first": b"\xfe\xff\xdd\xe0\x00\x00\x00\x00",
    "endless sequences": b"\x40\x00\x75\x02\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 30000,
    "an open sequence": b"\x40\x00\x75\x02\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff",
    "too long": b"\x10\x00\x20\x00" + (MOST_BYTES).to_bytes(4, "little") + bytes(MOST_BYTES),
    "many keys": b"".join(
        (0x0009).to_bytes(2, "little") + n.to_bytes(2, "little") + bytes(4) for n in range(0x1000, 0x3000)
    ),
    "a long text": b"\x10\x00\x00\x40" + (100_000).to_bytes(4, "little") + b"a" * 100_000,
    "one key again and again": b"\x10\x00\x20\x00\x00\x00\x00\x00" * 130_000,
    "items without end": b"\x40\x00\x75\x02\x00\x00\x0f\x00" + b"\xfe\xff\x00\xe0\0\0\0\0" * 122_880,
    "an item of many keys": b"\x40\x00\x75\x02\x08\x00\x07\x00\xfe\xff\x00\xe0\x00\x00\x07\x00"
    + b"".join(b"\x09\x00" + n.to_bytes(2, "little") + bytes(4) for n in range(0x1000, 0xF000)),
    "many names": b"\x10\x00\x10\x00\x00\x00\x0f\x00" + b"a\\" * 491_520,
    "many designations": b"\x10\x00\x10\x00\x00\x00\x0f\x00" + b"\x1b$B\x1b(B " * 140_434 + b"  ",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_identifier_is_refused_at_once(content):
    def read() -> None:
        with pytest.raises(BadRequest, match=r"The data set|An element of the data set"):
            read_identifier(content, BY_UID[IMPLICIT_LE])

    assert spent_s(read, AT_MOST_S) <= AT_MOST_S


@pytest.mark.parametrize("syntax", [*PLAIN, DEFLATED])
@settings(max_examples=300, deadline=2000)
@given(content=st.binary(max_size=400))
def test_any_bytes_are_an_identifier_or_refused(syntax, content):
    try:
        read_identifier(content, BY_UID[syntax], fallback="ISO_IR 100")
    except BadRequest:
        pass


SAMPLE = encoded(
    a_query(SpecificCharacterSet="ISO_IR 100", PatientName="Müller*", StudyDate="20240101-", PatientID="P1"),
    EXPLICIT_LE,
)


@settings(max_examples=500, deadline=2000)
@given(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255), st.integers(0, len(SAMPLE)))
def test_damaged_identifiers_are_read_or_refused(place, byte, cut):
    damaged = bytearray(SAMPLE)
    damaged[place] = byte
    try:
        read_identifier(bytes(damaged[:cut]), BY_UID[EXPLICIT_LE])
    except BadRequest:
        pass


def element(tag: int, vr: bytes, value: bytes, order: str = "little") -> bytes:
    """One element; without a VR, in implicit VR."""
    value += b"\0" * (len(value) % 2) if vr in (b"UI", b"OB") else b" " * (len(value) % 2)

    def number(n: int, size: int) -> bytes:
        return n.to_bytes(size, "big" if order == "big" else "little")

    head = number(tag >> 16, 2) + number(tag & 0xFFFF, 2)
    return head + (vr + number(len(value), 2) if vr else number(len(value), 4)) + value
