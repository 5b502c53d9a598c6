"""Person names in comparable form."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.dicom.names import fold, fold_group, fold_name, name_patterns, words


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("Doe^John", "doe^john"),
        ("  Doe ^ John  Paul ^^^", "doe^john paul"),
        ("MÜLLER^Jürgen", "muller^jurgen"),
        ("Straße", "strasse"),
        ("ГУСЕВА^Мария", "гусева^мария"),
        ("Ёлкин^Андрей", "елкин^андреи"),
        ("Μαρία", "μαρια"),
        ("山田^太郎", "山田^太郎"),
        ("ガ", "ガ"),  # the voicing mark is no accent
        ("ﾔﾏﾀﾞ", "ヤマダ"),  # half-width
        ("홍^길동", "홍^길동"),
        ("Ｄｏｅ＾Ｊ", "doe^j"),
        ("İbrahim", "ibrahim"),
        ("", ""),
        ("^^^", ""),
        ("a\0b＼c＝d", "ab c d"),
    ],
)
def test_a_group_is_folded(written: str, folded: str) -> None:
    assert fold_group(written) == folded


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30))
def test_folding_is_done_once_for_all(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30))
def test_a_folded_group_has_no_separators_of_values_or_groups(text: str) -> None:
    assert not set("\\=\0") & set(fold_group(text))


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        ({"Alphabetic": "Doe^J", "Ideographic": "山"}, ("doe^j", "山", "")),
        ({"Phonetic": "ヤマ"}, ("", "", "ヤマ")),
        ("Doe^J=山=ヤ=more", ("doe^j", "山", "ヤ")),
        ({"Alphabetic": 3}, ("", "", "")),
        (None, ("", "", "")),
        (7, ("", "", "")),
    ],
)
def test_a_name_has_three_groups(value: object, groups: tuple[str, str, str]) -> None:
    assert fold_name(value) == groups


@pytest.mark.parametrize(
    ("key", "patterns"),
    [
        ("Doe*", (("doe*",),)),
        ("Doe^*", (("doe^*", "doe"),)),
        ("Doe^*^*", (("doe^*^*", "doe^*", "doe"),)),
        ("*^*", ((),)),
        ("*=山*", ((), ("山*",))),
        ("=山*", ((), ("山*",))),
        ("a==b", (("a",), (), ("b",))),
        ("^*", (("^*",),)),
    ],
)
def test_a_key_asks_of_one_or_any_group(key: str, patterns: tuple[tuple[str, ...], ...]) -> None:
    assert name_patterns(key) == patterns


def test_words_stand_in_any_component() -> None:
    assert words("Doe^John Paul^^Dr.") == ("doe", "john", "paul", "dr.")
