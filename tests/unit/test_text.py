"""Character sets: the examples of PS3.5 annexes H to K, and what the field makes of them."""

import pytest

from service.dicom.text import DEFAULT, OUTSIDE, UNDECLARED, character_set, registration

EXAMPLES = [  # Specific Character Set, encoded, decoded, where from
    (b"ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme", "PS3.3 C.12.1.1.2"),
    (b"ISO_IR 101", b"W\xb3a\xb6ciwy", "Właściwy", "ISO 8859-2"),
    (b"ISO_IR 109", b"\xa6\xbc", "Ĥĵ", "ISO 8859-3"),
    (b"ISO_IR 110", b"\xa2", "ĸ", "ISO 8859-4"),
    (b"ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος", "PS3.5 annex, Greek"),
    (b"ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار", "PS3.5 annex, Arabic"),
    (b"ISO_IR 138", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה", "PS3.5 annex, Hebrew"),
    (b"ISO_IR 144", b"\xbb\xee\xdace\xdc\xd1yp\xd3", "Люкceмбypг", "PS3.5 annex, Cyrillic"),
    (b"ISO_IR 148", b"\xf0\xfd\xfe", "ğış", "ISO 8859-9"),
    (b"ISO_IR 166", b"\xca\xc7\xd1\xca\xb4\xd5", "สวัสดี", "TIS 620-2533"),
    (b"ISO_IR 203", b"\xa4\xbd", "€œ", "ISO 8859-15"),
    (b"ISO_IR 192", "Wang^XiaoDong=王^小東".encode(), "Wang^XiaoDong=王^小東", "PS3.5 J.1"),
    (b"GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东", "PS3.5 J.3"),
    (b"GBK", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东", "PS3.5 J.4"),
    (
        b"\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "PS3.5 H.3.1",
    ),
    (
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        "PS3.5 H.3.2",
    ),
    (
        b"\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
        "PS3.5 I.2",
    ),
    (
        b"\\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东=",
        "PS3.5 K.2",
    ),
    (b"\\ISO 2022 IR 159", b"\x1b$(D0!\x1b(B", "丂", "JIS X 0212"),
    (
        b"ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 126",
        b"Dionysios=\x1b-F\xc4\xe9\xef^\xe9=\x1b-L\xbb\xee",
        "Dionysios=Διο^é=Лю",
        "PS3.3 C.12.1.1.2, PS3.5 6.1.2.5.3: a name's delimiters end a designation",
    ),
]


@pytest.mark.parametrize(("declared", "encoded", "decoded", "source"), EXAMPLES)
def test_the_examples_of_the_standard_are_read(
    declared: bytes, encoded: bytes, decoded: str, source: str
) -> None:
    charset, clean = character_set(declared)

    assert clean
    assert charset.decode(encoded, name=True) == (decoded, None), source


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("ISO_IR 100", "100"),
        ("ISO IR 100 ", "100"),
        ("ISO-IR 100", "100"),
        ("ISO_IR_100", "100"),
        ("iso_ir 192", "192"),
        ("ISO 2022 IR 6", "6"),
        ("ISO 2022 IR 100", "100"),
        ("ISO_2022_IR_87", "87"),
        ("ISO 2022 58", "58"),
        ("ISO_IR 6", "6"),
        ("UTF8", "192"),
        ("UTF-8", "192"),
        ("GB18030", "GB18030"),
        ("ISO 2022 GBK", "GBK"),
        ("ISO_IR 999", None),
        ("KLINGON", None),
    ],
)
def test_the_spellings_of_the_field_are_understood(written: str, number: str | None) -> None:
    assert registration(written) == number


def test_a_backslash_as_second_byte_of_a_character_separates_nothing() -> None:
    charset, _ = character_set(b"GB18030")

    assert charset.decode(b"\x81\x5c\\\x81\x5c") == ("乗\\乗", None)


def test_a_backslash_inside_a_two_byte_set_of_jis_separates_nothing() -> None:
    charset, _ = character_set(b"\\ISO 2022 IR 87")

    decoded, flaw = charset.decode(b"\x1b$B\x30\x5c\x1b(B\\A")

    assert (decoded.split("\\")[1:], flaw) == (["A"], None)


def test_a_name_keeps_its_designation_where_nothing_else_could_be_meant() -> None:
    charset, _ = character_set(b"\\ISO 2022 IR 149")

    assert charset.decode(b"\x1b$)C\xc8\xab^\xb1\xe6\xb5\xbf", name=True)[0] == "홍^길동"


def test_text_without_declaration_is_utf_8_if_it_can_be_and_latin_1_else() -> None:
    assert DEFAULT.decode("Jérôme".encode()) == ("Jérôme", UNDECLARED)
    assert DEFAULT.decode(b"J\xe9r\xf4me") == ("Jérôme", UNDECLARED)


def test_bytes_outside_a_character_set_are_replaced_and_told() -> None:
    charset, _ = character_set(b"ISO_IR 192")

    assert charset.decode(b"A\xed\xa0\x80") == ("A\ufffd\ufffd\ufffd", OUTSIDE)


def test_an_empty_declaration_is_the_default_repertoire() -> None:
    assert character_set(b"  ") == (DEFAULT, True)


def test_an_unknown_term_is_told_and_the_known_ones_count() -> None:
    charset, clean = character_set(b"KLINGON\\ISO_IR 100")

    assert (charset.decode(b"\xe9")[0], clean) == ("é", False)


def test_any_bytes_decode_under_any_character_set() -> None:
    everything = bytes(range(256)) + b"\x1b$B\x1b(B\x1b$)C\xff\x1b-F\xff\x1b"
    for declared in {example[0] for example in EXAMPLES}:
        decoded, _ = character_set(declared)[0].decode(everything)
        decoded.encode("utf_8")
