"""Matches as identifiers: which elements they have, in which syntax and character set."""

import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from service.dicom.answering import AnswerWriter
from service.dicom.dicomjson import CHARACTER_SET_MEMBER
from service.dicom.identifier import read_identifier
from service.dicom.querying import QUERY_LEVEL, Agreement, Root, read_query
from service.dicom.repertoire import named, repertoire
from service.dicom.syntaxes import BY_UID, DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from tests.identifiers import PLAIN, a_query, decoded, encoded, identifier_of

MATCH: dict[str, Any] = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "00080020": {"vr": "DA", "Value": ["20240115"]},
    "00080050": {"vr": "SH"},
    "00080056": {"vr": "CS", "Value": ["ONLINE"]},
    "00080061": {"vr": "CS", "Value": ["CT", "SR"]},
    "00080201": {"vr": "SH", "Value": ["+0100"]},
    "00081190": {"vr": "UR", "Value": ["http://127.0.0.1/dicom-web/studies/1.2"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
    "00100020": {"vr": "LO", "Value": ["P1"]},
    "0020000D": {"vr": "UI", "Value": ["1.2"]},
    "0020000E": {"vr": "UI", "Value": ["1.2.3"]},
    "00200011": {"vr": "IS", "Value": [7]},
    "00280010": {"vr": "US", "Value": [512]},
    "00400275": {
        "vr": "SQ",
        "Value": [
            {"00400009": {"vr": "SH", "Value": ["S1"]}, "00401001": {"vr": "SH", "Value": ["R1"]}},
            {"00400009": {"vr": "SH", "Value": ["S2"]}},
        ],
    },
}


NOTHING_AGREED = Agreement()


def a_writer(
    query: Dataset,
    syntax: str = IMPLICIT_LE,
    *,
    root: Root = Root.STUDY,
    charset: str | None = None,
    agreement: Agreement = NOTHING_AGREED,
) -> AnswerWriter:
    identifier = identifier_of(query)
    chosen = repertoire(identifier.charset) if charset is None else named(charset)
    assert chosen is not None
    return AnswerWriter(
        read_query(identifier, root, agreement),
        BY_UID[syntax],
        "ISTHMUS",
        chosen,
        fixed=charset is not None,
        timezone=agreement.timezone,
    )


def keywords(answer: Dataset) -> list[str]:
    return [element.keyword for element in answer]


@pytest.mark.parametrize("syntax", PLAIN)
def test_an_answer_has_the_keys_asked_and_what_goes_without_saying(syntax):
    query = a_query("SERIES", StudyDate="", Rows=None, PatientName="", SeriesNumber="", AccessionNumber="")

    answer = decoded(a_writer(query, syntax).write(MATCH), syntax)

    assert keywords(answer) == [
        "StudyDate",
        "AccessionNumber",
        "QueryRetrieveLevel",
        "RetrieveAETitle",
        "InstanceAvailability",
        "PatientName",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SeriesNumber",
        "Rows",
    ]
    assert answer.QueryRetrieveLevel == "SERIES"
    assert answer.RetrieveAETitle == "ISTHMUS"
    assert answer.PatientName == "Doe^Jane"
    assert answer.SeriesNumber == 7
    assert answer.Rows == 512
    assert answer["AccessionNumber"].is_empty


def test_the_patient_id_is_a_unique_key_of_the_patient_root_only():
    assert "PatientID" in decoded(a_writer(a_query(), root=Root.PATIENT).write(MATCH))
    assert "PatientID" not in decoded(a_writer(a_query(), root=Root.STUDY).write(MATCH))


def test_a_patient_has_no_date_of_a_study():
    query = a_query("PATIENT", StudyDate="", StudyInstanceUID="", PatientName="", PatientSex="")

    answer = decoded(a_writer(query, root=Root.PATIENT).write(MATCH))

    assert answer["StudyDate"].is_empty and answer["StudyInstanceUID"].is_empty
    assert (answer.PatientName, answer.PatientID) == ("Doe^Jane", "P1")
    assert answer.InstanceAvailability == "ONLINE"


def test_uids_that_the_query_fixes_are_told_even_if_the_server_does_not():
    query = a_query("IMAGE", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3")

    answer = decoded(a_writer(query).write({"00080018": {"vr": "UI", "Value": ["1.2.3.4"]}}))

    assert (answer.StudyInstanceUID, answer.SeriesInstanceUID) == ("1.2", "1.2.3")
    assert answer.SOPInstanceUID == "1.2.3.4"


def test_keys_without_a_value_are_there_and_empty():
    answer = decoded(a_writer(a_query(StudyDescription="", StudyID="")).write({}))

    assert answer["StudyDescription"].is_empty and answer["StudyID"].is_empty
    assert answer["StudyInstanceUID"].is_empty
    assert "InstanceAvailability" not in answer


def test_the_level_is_written_as_the_standard_writes_it():
    assert decoded(a_writer(a_query("INSTANCE")).write(MATCH)).QueryRetrieveLevel == "IMAGE"


def test_file_meta_and_group_lengths_are_never_returned():
    query = a_query()
    content = b"\x02\x00\x10\x00\x04\x00\x00\x001.2\0" + encoded(query) + b"\x10\0\0\0\x04\0\0\0\0\0\0\0"
    asked = read_query(read_identifier(content, BY_UID[IMPLICIT_LE]), Root.STUDY)
    writer = AnswerWriter(asked, BY_UID[IMPLICIT_LE], "A", repertoire(()))

    answer = decoded(writer.write({**MATCH, "00020010": {"vr": "UI", "Value": ["1.2"]}}))

    assert all(element.tag.group != 2 and element.tag.element for element in answer)


def test_the_time_zone_is_told_where_it_was_negotiated():
    assert "TimezoneOffsetFromUTC" not in decoded(a_writer(a_query()).write(MATCH))
    told = decoded(a_writer(a_query(), agreement=Agreement(timezone=True)).write(MATCH))
    assert told.TimezoneOffsetFromUTC == "+0100"
    without = {key: element for key, element in MATCH.items() if key != "00080201"}
    untold = decoded(a_writer(a_query(), agreement=Agreement(timezone=True)).write(without))
    assert "TimezoneOffsetFromUTC" not in untold


# Sequences and private attributes


@pytest.mark.parametrize("syntax", PLAIN)
def test_sequences_come_back_with_their_items(syntax):
    answer = decoded(a_writer(a_query("SERIES", RequestAttributesSequence=[]), syntax).write(MATCH), syntax)

    assert [item.ScheduledProcedureStepID for item in answer.RequestAttributesSequence] == ["S1", "S2"]
    assert answer.RequestAttributesSequence[0].RequestedProcedureID == "R1"


@pytest.mark.parametrize("syntax", PLAIN)
def test_items_have_the_keys_that_were_asked_in_them(syntax):
    item = Dataset()
    item.ScheduledProcedureStepID = ""
    item.ScheduledProcedureStepDescription = ""
    query = a_query("SERIES", RequestAttributesSequence=[item])

    answer = decoded(a_writer(query, syntax).write(MATCH), syntax)

    for found in answer.RequestAttributesSequence:
        assert keywords(found) == ["ScheduledProcedureStepDescription", "ScheduledProcedureStepID"]


def test_private_attributes_come_under_the_numbers_that_the_request_gives_them():
    query = a_query("IMAGE")
    query.private_block(0x0009, "ACME 1", create=True).add_new(0x01, "LO", "")
    match = MATCH | {
        "00090010": {"vr": "LO", "Value": ["OTHER"]},
        "00090011": {"vr": "LO", "Value": ["ACME 1"]},
        "00091001": {"vr": "LO", "Value": ["of others"]},
        "00091101": {"vr": "LO", "Value": ["of acme"]},
    }

    answer = decoded(a_writer(query, EXPLICIT_LE).write(match), EXPLICIT_LE)

    assert answer[0x00090010].value == "ACME 1"
    assert answer[0x00091001].value == "of acme"
    assert 0x00090011 not in answer


# Character sets


def with_name(name: str, **groups: str) -> dict[str, Any]:
    return MATCH | {"00100010": {"vr": "PN", "Value": [{"Alphabetic": name, **groups}]}}


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 126", "Διονυσιος"),
        ("GB18030", "王^小东"),
        (["", "ISO 2022 IR 87"], "山田^太郎"),
        ("ISO_IR 192", "Müller^山田"),
    ],
)
def test_answers_are_in_the_character_set_of_the_request(terms, name):
    query = a_query(SpecificCharacterSet=terms, PatientName="")

    answer = decoded(a_writer(query).write(with_name(name)))

    assert answer.PatientName == name
    declared = answer.SpecificCharacterSet
    assert declared == (["ISO 2022 IR 6", "ISO 2022 IR 87"] if isinstance(terms, list) else terms)


def test_what_the_requested_set_lacks_is_told_in_utf_8():
    query = a_query(SpecificCharacterSet="ISO_IR 100", PatientName="", StudyDescription="")
    match = with_name("山田^太郎") | {"00081030": {"vr": "LO", "Value": ["für Ω"]}}

    answer = decoded(a_writer(query).write(match))

    assert answer.SpecificCharacterSet == "ISO_IR 192"
    assert answer.PatientName == "山田^太郎"
    assert answer.StudyDescription == "für Ω"


def test_the_set_of_one_answer_is_not_that_of_the_next():
    writer = a_writer(a_query(SpecificCharacterSet="ISO_IR 100", PatientName=""))

    sets = [
        decoded(writer.write(with_name(name))).SpecificCharacterSet for name in ("Müller", "山田", "Müller")
    ]

    assert sets == ["ISO_IR 100", "ISO_IR 192", "ISO_IR 100"]


def test_without_a_requested_set_only_what_needs_one_declares_it():
    writer = a_writer(a_query(PatientName=""))

    assert "SpecificCharacterSet" not in decoded(writer.write(MATCH))
    assert decoded(writer.write(with_name("Müller"))).SpecificCharacterSet == "ISO_IR 192"


def test_a_peer_of_one_set_is_told_nothing_in_another():
    writer = a_writer(a_query(PatientName=""), charset="ISO_IR 100")

    answer = decoded(writer.write(with_name("Müller^山田")))

    assert answer.SpecificCharacterSet == "ISO_IR 100"
    assert answer.PatientName == "Müller^??"


def test_all_groups_of_a_name_are_told():
    query = a_query(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="")
    match = with_name("Yamada^Tarou", Ideographic="山田^太郎", Phonetic="やまだ^たろう")

    assert decoded(a_writer(query).write(match)).PatientName == "Yamada^Tarou=山田^太郎=やまだ^たろう"


# Bytes


def test_deflated_answers_are_deflated():
    query = a_query(PatientName="")

    content = a_writer(query, DEFLATED).write(MATCH)

    assert len(content) % 2 == 0
    plain = zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(content)
    assert decoded(plain, EXPLICIT_LE).PatientName == "Doe^Jane"


def test_values_too_long_for_their_vr_are_unknown_in_explicit_vr():
    query = a_query(StudyDescription="")
    match = MATCH | {"00081030": {"vr": "LO", "Value": ["x" * 70000]}}

    answer = a_writer(query, EXPLICIT_LE).write(match)

    assert b"\x08\x00\x30\x10UN\0\0\x70\x11\x01\0xxx" in answer


def test_whole_numbers_with_a_point_are_whole():
    query = a_query("IMAGE", Rows=None, InstanceNumber=None, SliceThickness=None)
    match = {
        "00280010": {"vr": "US", "Value": [512.0]},
        "00200013": {"vr": "IS", "Value": [7.0]},
        "00180050": {"vr": "DS", "Value": [2.0]},
    }

    answer = decoded(a_writer(query).write(match))

    assert (answer.Rows, answer.SliceThickness) == (512, 2)
    assert answer["InstanceNumber"].value.original_string == "7"


ODD: list[Any] = [
    None, [], "x", 7, {"Value": [1]}, {"vr": "??", "Value": ["a"]}, {"vr": "US", "Value": ["a", None]},
    {"vr": "AT", "Value": ["zzzzzzzz"]}, {"vr": "SQ", "Value": ["a", None, {"x": 1}]},
    {"vr": "PN", "Value": [1, None]}, {"vr": "AT", "Value": [{}]},
    {"vr": "OB", "InlineBinary": "%%%"}, {"vr": "OB", "BulkDataURI": "x"}, {"vr": "LO", "Value": {"a": 1}},
    {"vr": "IS", "Value": [1.5, True, None]}, {"vr": "US", "Value": [70000]}, {"vr": 7},
]  # fmt: skip


@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize("element", ODD, ids=str)
def test_odd_elements_of_careless_servers_are_written_as_far_as_they_go(syntax, element):
    query = a_query("IMAGE", Rows=None, PatientName="", StudyDate="", RequestAttributesSequence=[])
    match = dict.fromkeys(("00280010", "00100010", "00080020", "00400275"), element)

    answer = read_identifier(a_writer(query, syntax).write(match), BY_UID[syntax])

    assert answer.text(QUERY_LEVEL) == "IMAGE"
    assert {key.tag for key in answer.keys} >= {0x00280010, 0x00100010, 0x00080020, 0x00400275}


TEXT = st.text(
    st.characters(max_codepoint=0x2FFF, exclude_characters="\\^=", exclude_categories=("C", "Z")), max_size=20
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE]),
    TEXT,
    st.lists(st.integers(0, 65535), max_size=4),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=3),
    st.lists(st.from_regex(r"[0-9A-F]{8}", fullmatch=True), max_size=3),
)
def test_whatever_a_match_holds_is_read_again_by_us(syntax, text, words, longs, floats, tags):
    query = a_query("IMAGE", StudyDescription="", PatientName="", Rows=None, FrameIncrementPointer=None)
    query.add_new(0x00186020, "SL", None)
    query.add_new(0x00189087, "FD", None)
    match = {
        "00081030": {"vr": "LO", "Value": [text]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": text}]},
        "00280010": {"vr": "US", "Value": words},
        "00186020": {"vr": "SL", "Value": longs},
        "00189087": {"vr": "FD", "Value": floats},
        "00280009": {"vr": "AT", "Value": tags},
    }

    found = read_identifier(a_writer(query, syntax).write(match), BY_UID[syntax])

    assert found.text(0x00081030) == text.strip(" ")
    assert found.text(0x00100010).strip() == text.strip(" ")
    assert found.text(0x00280010) == "\\".join(map(str, words))
    assert found.text(0x00186020) == "\\".join(map(str, longs))
    assert [float(part) for part in found.text(0x00189087).split("\\") if part] == floats
    assert found.text(0x00280009) == "\\".join(tags)


def test_the_character_set_of_the_json_is_not_taken_for_that_of_the_answer():
    assert b"ISO_IR 192" in CHARACTER_SET_MEMBER
    answer = a_writer(a_query(SpecificCharacterSet="ISO_IR 100", PatientName="")).write(MATCH)
    assert b"ISO_IR 192" not in answer
