"""The Native DICOM Model, both ways (PS3.19 annex A.1)."""

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.dicom.dicomxml import xml_document
from service.dicom.errors import NotDicom, TooLarge
from service.dicom.xmlreading import read_xml

NAMESPACE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"


def document_of(inner: str, root: str = "<NativeDicomModel>") -> bytes:
    return f"{root}{inner}</NativeDicomModel>".encode()


def written(**attributes: Any) -> ET.Element:
    """The only attribute of a document made of one attribute, whose key is its tag after a T."""
    text = xml_document({key[1:]: value for key, value in attributes.items()})
    (attribute,) = ET.fromstring(text)
    return attribute


# Written


def test_an_attribute_has_its_tag_vr_and_keyword():
    attribute = written(T00100020={"vr": "LO", "Value": ["P1"]})
    assert attribute.tag == NAMESPACE + "DicomAttribute"
    assert attribute.attrib == {"tag": "00100020", "vr": "LO", "keyword": "PatientID"}
    assert [(value.tag, value.attrib, value.text) for value in attribute] == [
        (NAMESPACE + "Value", {"number": "1"}, "P1")
    ]


def test_an_attribute_without_a_value_has_no_child():
    assert len(written(T00100020={"vr": "LO"})) == 0


def test_empty_values_among_others_keep_their_place():
    attribute = written(T00080008={"vr": "CS", "Value": ["A", None, "C"]})
    assert [(value.get("number"), value.text) for value in attribute] == [("1", "A"), ("2", None), ("3", "C")]


def test_a_person_name_is_told_by_groups_and_components():
    groups = {"Alphabetic": "Yamada^Tarou^^Dr.", "Ideographic": "山田^太郎"}
    (name,) = written(T00100010={"vr": "PN", "Value": [groups]})
    told = {group.tag: [(part.tag, part.text) for part in group] for group in name}
    assert told == {
        NAMESPACE + "Alphabetic": [
            (NAMESPACE + "FamilyName", "Yamada"),
            (NAMESPACE + "GivenName", "Tarou"),
            (NAMESPACE + "NamePrefix", "Dr."),
        ],
        NAMESPACE + "Ideographic": [(NAMESPACE + "FamilyName", "山田"), (NAMESPACE + "GivenName", "太郎")],
    }


def test_bulk_data_and_inline_binary_are_said_as_such():
    (bulk,) = written(T7FE00010={"vr": "OW", "BulkDataURI": "http://host/a?b&c"})
    assert (bulk.tag, bulk.attrib) == (NAMESPACE + "BulkData", {"uri": "http://host/a?b&c"})
    (inline,) = written(T00282000={"vr": "OB", "InlineBinary": "AAEC"})
    assert (inline.tag, inline.text) == (NAMESPACE + "InlineBinary", "AAEC")


def test_a_private_attribute_is_named_by_its_creator():
    text = xml_document(
        {"00091100": {"vr": "LO", "Value": ["x"]}, "00090011": {"vr": "LO", "Value": ["ACME <1>"]}}
    )
    creator, attribute = ET.fromstring(text)
    assert creator.attrib == {"tag": "00090011", "vr": "LO"}
    assert attribute.attrib == {"tag": "00090000", "vr": "LO", "privateCreator": "ACME <1>"}


@pytest.mark.parametrize("bad", ["\0", "\x08", "\x1b", "\ufffe", "\uffff", "\ud800"])
def test_what_xml_cannot_hold_becomes_the_replacement_character(bad):
    (value,) = written(T00100020={"vr": "LO", "Value": [f"a{bad}b"]})
    assert value.text == "a\ufffdb"


def test_line_ends_and_markup_survive_the_parser():
    text = "a\r\nb\rc\td <&> ]]> \"'"
    (value,) = written(T00084000={"vr": "LT", "Value": [text]})
    assert value.text == text


# Read


@pytest.mark.parametrize(
    "root",
    [
        "<NativeDicomModel>",
        '<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel xml:space="preserve">',
        '<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">',
    ],
)
def test_a_document_is_read_with_and_without_the_namespace(root):
    inner = '<DicomAttribute tag="0010001f" vr="LO"><Value number="1">P</Value></DicomAttribute>'
    assert read_xml(document_of(inner, root)) == {"0010001F": {"vr": "LO", "Value": ["P"]}}


def test_unnumbered_values_and_gaps_have_their_places():
    inner = (
        '<DicomAttribute tag="00080008" vr="CS"><Value>A</Value><Value number="4">D</Value></DicomAttribute>'
    )
    assert read_xml(document_of(inner))["00080008"]["Value"] == ["A", None, None, "D"]


def test_an_attribute_without_vr_has_that_of_the_dictionary():
    assert read_xml(document_of('<DicomAttribute tag="00100010"/>')) == {"00100010": {"vr": "PN"}}


def test_what_is_not_of_the_model_is_passed_over():
    inner = '<x><Value>1</Value></x><DicomAttribute tag="00100020" vr="LO"><y/>text</DicomAttribute>'
    assert read_xml(document_of(inner)) == {"00100020": {"vr": "LO"}}


def test_a_bulk_data_uuid_is_a_reference_like_any_other():
    inner = '<DicomAttribute tag="7FE00010" vr="OW"><BulkData uuid="0e5d"/></DicomAttribute>'
    assert read_xml(document_of(inner))["7FE00010"] == {"vr": "OW", "BulkDataURI": "0e5d"}


def private(tag: str, creator: str, value: str) -> str:
    head = f'<DicomAttribute tag="{tag}" vr="LO" privateCreator="{creator}">'
    return f"{head}<Value>{value}</Value></DicomAttribute>"


@pytest.mark.parametrize(
    "attribute",
    [
        '<DicomAttribute tag="00090001" vr="LO"/>',
        '<DicomAttribute tag="00090010" vr="DS"><Value>1</Value></DicomAttribute>',
        '<DicomAttribute tag="000900FF" vr="UN"/>',
        '<DicomAttribute tag="00090011" vr="SQ" privateCreator=""/>',
        '<DicomAttribute tag="00400275" vr="SQ"><Item><DicomAttribute tag="00090002" vr="UI"/></Item>'
        "</DicomAttribute>",
    ],
)
def test_a_private_attribute_of_nobody_is_refused(attribute):
    with pytest.raises(NotDicom, match="privateCreator"):
        read_xml(document_of(attribute))


@pytest.mark.parametrize(
    "attributes",
    [
        '<DicomAttribute tag="00090010" vr="LO"><Value>A</Value></DicomAttribute>',
        '<DicomAttribute tag="00090010"><Value>A</Value></DicomAttribute>',
        '<DicomAttribute tag="00090010" vr="UN"/><DicomAttribute tag="00091001" vr="LO"/>',
        '<DicomAttribute tag="00091001" vr="LO"/>',
    ],
)
def test_creators_and_whole_tags_stay_where_they_are(attributes):
    tags = re.findall('tag="([0-9]{8})"', attributes)
    assert sorted(read_xml(document_of(attributes))) == tags


def test_private_attributes_get_a_block_of_their_creator():
    inner = private("00090001", "A", "1") + private("00090010", "B", "2") + private("00090002", "A", "3")
    assert {key: one["Value"][0] for key, one in read_xml(document_of(inner)).items()} == {
        "00090010": "A", "00090011": "B", "00091001": "1", "00091002": "3", "00091110": "2",
    }  # fmt: skip


def test_private_attributes_go_to_the_block_that_is_reserved_in_the_document():
    creator = '<DicomAttribute tag="00090042" vr="LO"><Value>A</Value></DicomAttribute>'
    found = read_xml(document_of(private("00090001", "A", "1") + creator))
    assert sorted(found) == ["00090042", "00094201"]


def test_private_attributes_may_be_named_whole():
    assert sorted(read_xml(document_of(private("00091201", "A", "1")))) == ["00090012", "00091201"]


def test_a_block_that_is_in_use_is_not_given_away():
    orphan = '<DicomAttribute tag="00091001" vr="LO"><Value>x</Value></DicomAttribute>'
    found = read_xml(document_of(orphan + private("00090001", "A", "1")))
    assert sorted(found) == ["00090011", "00091001", "00091101"]


def test_a_group_without_room_for_another_creator_is_refused():
    inner = "".join(private("00090001", f"C{number}", "1") for number in range(241))
    with pytest.raises(NotDicom, match="Group 0009 has no room"):
        read_xml(document_of(inner))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<a/>",
        b"<NativeDicomModel>",
        b"no xml",
        b"<NativeDicomModel/><NativeDicomModel/>",
        b"<NativeDicomModel><DicomAttribute vr='LO'/></NativeDicomModel>",
        b"<NativeDicomModel><DicomAttribute tag='0010' vr='LO'/></NativeDicomModel>",
        b"<NativeDicomModel>" + b"<DicomAttribute tag='00100020' vr='LO'/>" * 2 + b"</NativeDicomModel>",
        b"<?xml version='1.0' encoding='x-none'?><NativeDicomModel/>",
        b"<NativeDicomModel>\xff</NativeDicomModel>",
        b"<NativeDicomModel>&eacute;</NativeDicomModel>",
    ],
)
def test_what_is_no_document_of_the_model_is_refused(content):
    with pytest.raises(NotDicom):
        read_xml(content)


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE NativeDicomModel [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]>',
        '<!DOCTYPE NativeDicomModel [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE NativeDicomModel SYSTEM "http://127.0.0.1:1/x.dtd">',
        "<!DOCTYPE NativeDicomModel>",
    ],
)
def test_document_types_and_with_them_entities_are_refused(doctype):
    with pytest.raises(NotDicom, match="document type"):
        read_xml(document_of("&b;", doctype + "<NativeDicomModel>"))


def test_depth_and_gaps_are_bounded():
    deep = '<DicomAttribute tag="00081140" vr="SQ"><Item number="1">' * 100
    with pytest.raises(NotDicom, match="deep"):
        read_xml(b"<NativeDicomModel>" + deep.encode())
    with pytest.raises(NotDicom, match="deep"):
        read_xml(b"<NativeDicomModel>" + b"<x>" * 1000)
    for number in ("999999999", "0", "-1", "x", "9" * 30):
        inner = f'<DicomAttribute tag="00080008" vr="CS"><Value number="{number}">A</Value></DicomAttribute>'
        with pytest.raises(NotDicom, match="numbers"):
            read_xml(document_of(inner))


def test_more_elements_than_memory_should_hold_are_too_large():
    with pytest.raises(TooLarge):
        read_xml(document_of("<a/>" * 1_500_000))


# Both ways

TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co")), min_size=1, max_size=8
)
COMPONENT = TEXT.filter(lambda text: "^" not in text)
NAMES = st.dictionaries(
    st.sampled_from(["Alphabetic", "Ideographic", "Phonetic"]),
    st.lists(COMPONENT, min_size=1, max_size=5).map("^".join),
    min_size=1,
)


def valued(vr: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    lists = st.lists(values, min_size=1, max_size=3)
    return lists.map(lambda some: {"vr": vr, "Value": some})


PLAIN = st.one_of(
    valued("LO", st.one_of(TEXT, st.none())),
    valued("PN", st.one_of(NAMES, st.none())),
    st.just({"vr": "OB", "InlineBinary": "AAEC"}),
    TEXT.map(lambda uri: {"vr": "OW", "BulkDataURI": uri}),
    st.just({"vr": "UI"}),
)
TAGS = st.sampled_from(["00080018", "00100010", "00102160", "00404000", "7FE00010"])
DATA_SETS = st.recursive(
    st.dictionaries(TAGS, PLAIN, max_size=4),
    lambda inner: st.dictionaries(TAGS, st.one_of(PLAIN, valued("SQ", inner)), max_size=3),
    max_leaves=6,
)


# The first text of a fresh checkout takes hypothesis seconds to make.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(DATA_SETS)
def test_what_is_written_is_read_again(document):
    assert read_xml(xml_document(document)) == document


def test_private_blocks_keep_their_numbers():
    document: dict[str, dict[str, Any]] = {
        "00090010": {"vr": "LO", "Value": ["A"]},
        "00090033": {"vr": "LO", "Value": ["B"]},
        "00091010": {"vr": "LO", "Value": ["1"]},
        "00093310": {"vr": "SH", "Value": ["2"]},
        "00097701": {"vr": "UN", "InlineBinary": "AAAA"},
    }
    assert read_xml(xml_document(document)) == document
