"""Identifiers as queries: levels, keys, what is negotiated, and what is passed over."""

from typing import Any

import pytest
from pydicom.dataset import Dataset

from service.dicom.criteria import Filter, Match
from service.dicom.errors import BadKey
from service.dicom.privates import PrivateBlock
from service.dicom.querying import Agreement, Asked, Root, agreed, read_query
from service.dicom.resource import Level
from tests.identifiers import a_query, identifier_of

STUDY_UID, SERIES_UID = 0x0020000D, 0x0020000E


def asked(query: Dataset, root: Root = Root.PATIENT, *, strict: bool = False, **agreement: bool) -> Asked:
    return read_query(identifier_of(query), root, Agreement(**agreement), strict=strict)


def refused(query: Dataset, root: Root = Root.PATIENT, **given: Any) -> int:
    """The attribute that is at fault."""
    with pytest.raises(BadKey) as caught:
        asked(query, root, **given)
    return caught.value.tag


# Levels, PS3.4 C.6


@pytest.mark.parametrize(
    ("told", "level"),
    [
        ("PATIENT", Level.PATIENT),
        ("STUDY", Level.STUDY),
        ("SERIES", Level.SERIES),
        ("IMAGE", Level.INSTANCE),
        ("INSTANCE", Level.INSTANCE),
        ("study", Level.STUDY),
    ],
)
def test_levels_are_understood_in_the_spellings_met(told, level):
    assert asked(a_query(told)).level is level


@pytest.mark.parametrize(
    ("root", "told"),
    [(Root.STUDY, "PATIENT"), (Root.PATIENT_STUDY_ONLY, "SERIES"), (Root.PATIENT_STUDY_ONLY, "IMAGE")],
)
def test_a_level_that_the_model_does_not_have_is_refused(root, told):
    assert refused(a_query(told), root) == 0x00080052


def test_a_level_that_there_is_not_is_refused():
    assert refused(a_query("FRAME")) == 0x00080052


@pytest.mark.parametrize(
    ("keys", "level"),
    [
        ({"PatientID": ""}, Level.PATIENT),
        ({"PatientID": "", "StudyInstanceUID": ""}, Level.STUDY),
        ({"StudyInstanceUID": "1.2", "SeriesInstanceUID": ""}, Level.SERIES),
        ({"SOPInstanceUID": ""}, Level.INSTANCE),
    ],
)
def test_a_level_that_is_not_told_is_that_of_the_lowest_unique_key(keys, level):
    assert asked(a_query("", **keys)).level is level
    assert refused(a_query("", **keys), strict=True) == 0x00080052


def test_without_level_and_unique_key_there_is_nothing_to_go_by():
    assert refused(a_query("", PatientName="A*")) == 0x00080052


# Keys


def test_one_study_above_the_level_is_the_scope_of_the_query():
    query = asked(
        a_query("IMAGE", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3", SOPInstanceUID="")
    ).query

    assert (query.study, query.series, query.filters) == ("1.2", "1.2.3", ())


def test_several_studies_above_the_level_are_a_key():
    query = asked(a_query("SERIES", StudyInstanceUID=["1.2", "1.3"])).query

    assert query.study is None
    assert query.filters == (Filter((STUDY_UID,), "UI", Match.ANY, ("1.2", "1.3")),)


def test_the_unique_key_of_the_level_is_a_list():
    query = asked(a_query("STUDY", StudyInstanceUID=["1.2", "1.3"])).query

    assert query.filters[0].values == ("1.2", "1.3")


@pytest.mark.parametrize("value", ["", "*", "**", " * "])
def test_what_matches_everything_is_no_filter_but_is_returned(value):
    query = asked(a_query(PatientID=value)).query

    assert query.filters == ()
    assert 0x00100020 in query.fields


def test_several_modalities_are_alternatives():
    query = asked(a_query("SERIES", Modality=["MR", "XA"])).query

    assert query.filters == (Filter((0x00080060,), "CS", Match.ANY, ("MR", "XA")),)


RANGES = [
    ("20240101 - 20240131", ("20240101", "20240131")),
    ("2024.01.01-2024.01.31", ("20240101", "20240131")),
    ("2024-01-01-2024-01-31", ("20240101", "20240131")),
    ("-20240131", ("", "20240131")),
    ("20240101-", ("20240101", "")),
]


@pytest.mark.parametrize(("text", "bounds"), RANGES)
def test_ranges_of_dates_are_read_in_the_spellings_met(text, bounds):
    assert asked(a_query_with(0x00080020, "DA", text)).query.filters[0].values == bounds


@pytest.mark.parametrize(
    ("text", "bounds"),
    [("0000-2400", ("000000.000000", "240000.000000")), ("10:00-11:30", ("100000.000000", "113059.999999"))],
)
def test_ranges_of_times_are_read_in_the_spellings_met(text, bounds):
    assert asked(a_query_with(0x00080030, "TM", text)).query.filters[0].values == bounds


@pytest.mark.parametrize(
    ("tag", "vr", "text"),
    [(0x00080020, "DA", "2024*"), (0x00080030, "TM", "10*"), (STUDY_UID, "UI", "1.2.*")],
)
def test_wildcards_where_there_are_none_are_passed_over_and_said(tag, vr, text):
    found = asked(a_query_with(tag, vr, text))

    assert found.query.filters == ()
    assert found.unsupported == (tag,)
    assert refused(a_query_with(tag, vr, text), strict=True) == tag


@pytest.mark.parametrize(
    ("tag", "vr", "text"),
    [(0x00080020, "DA", "yesterday"), (0x00080030, "TM", "99"), (STUDY_UID, "UI", "1.2.x")],
)
def test_a_malformed_key_is_named(tag, vr, text):
    assert refused(a_query_with(tag, vr, text)) == tag


def test_keys_of_lower_levels_are_passed_over_and_said():
    found = asked(a_query("STUDY", SeriesDescription="AX*", Rows=512, InstanceNumber=None))

    assert found.query.filters == ()
    assert set(found.unsupported) == {0x0008103E, 0x00280010}
    assert refused(a_query("STUDY", SeriesDescription="AX*"), strict=True) == 0x0008103E


def test_keys_of_the_study_are_below_the_patient():
    found = asked(a_query("PATIENT", PatientName="A*", StudyDate="20240101", PatientAge="040Y"))

    assert [key.tag for key in found.query.filters] == [0x00100010]
    assert set(found.unsupported) == {0x00080020, 0x00101010}


def test_keys_in_sequences_are_filters_with_a_path():
    item = Dataset()
    item.ScheduledProcedureStepID = "S1"
    item.RequestedProcedureID = ""
    query = asked(a_query("SERIES", RequestAttributesSequence=[item])).query

    assert query.filters == (Filter((0x00400275, 0x00400009), "SH", Match.ANY, ("S1",)),)
    assert 0x00400275 in query.fields


def test_a_key_in_any_item_but_the_first_is_refused():
    item = Dataset()
    item.ScheduledProcedureStepID = "S1"

    assert refused(a_query("SERIES", RequestAttributesSequence=[Dataset(), Dataset(), item])) == 0x00400275


@pytest.mark.parametrize("name", ["*^*", "*^*^*", "*=*", "**", "^"])
def test_names_that_ask_nothing_are_no_filters(name):
    assert asked(a_query(PatientName=name)).query.filters == ()


def test_private_keys_carry_their_creator():
    query = a_query("IMAGE")
    query.private_block(0x0009, "ACME 1", create=True).add_new(0x01, "LO", "of acme")
    found = asked(query).query

    assert found.private == (PrivateBlock(0x0009, 0x10, "ACME 1"),)
    assert found.filters == (Filter((0x00091001,), "", Match.ANY, ("of acme",)),)
    assert 0x00091001 in found.fields and 0x00090010 not in found.fields


# Hierarchy, PS3.4 C.4.1.2


def test_relational_queries_need_no_negotiation():
    query = asked(a_query("SERIES", PatientName="Doe*", Modality="CT")).query

    assert {key.tag for key in query.filters} == {0x00100010, 0x00080060}


def test_strictly_each_level_above_has_one_value():
    assert refused(a_query("SERIES", StudyInstanceUID="1.2"), strict=True) == 0x00100020
    assert refused(a_query("SERIES", PatientID="P*", StudyInstanceUID="1.2"), strict=True) == 0x00100020
    assert refused(a_query("SERIES", PatientID="P1"), strict=True) == STUDY_UID
    assert refused(a_query("SERIES"), Root.STUDY, strict=True) == STUDY_UID
    two = a_query("IMAGE", StudyInstanceUID=["1.2", "1.3"], SeriesInstanceUID="1.4")
    assert refused(two, Root.STUDY, strict=True) == STUDY_UID
    assert asked(a_query("SERIES", PatientID="P1", StudyInstanceUID="1.2"), strict=True).query.study == "1.2"


def test_strictly_other_keys_of_levels_above_have_no_value():
    query = a_query("SERIES", StudyInstanceUID="1.2", StudyDate="20240101")

    assert refused(query, Root.STUDY, strict=True) == 0x00080020
    assert asked(query, Root.STUDY, strict=True, relational=True).level is Level.SERIES


def test_strictly_the_patient_is_of_the_study_in_the_study_root():
    query = asked(a_query("STUDY", PatientName="Doe*", PatientID="P1"), Root.STUDY, strict=True).query

    assert len(query.filters) == 2


# What is negotiated, PS3.4 C.5.1.1


@pytest.mark.parametrize(
    ("offered", "answer"),
    [
        (b"\1", b"\1"),
        (b"\0", b"\0"),
        (b"\1\1\1", b"\1\1\1"),
        (b"\1\1\1\1\1\1\1", b"\1\1\1\1\0\1\1"),
        (b"\0\1\0\2\1\0\1", b"\0\1\0\0\0\0\1"),
        (b"\1\1\1\1\1\1\1\1\1", b"\1\1\1\1\0\1\1"),
        (b"", b""),
    ],
)
def test_what_is_offered_is_agreed_to_but_for_enhanced_conversion(offered, answer):
    assert agreed(offered) == answer


def test_what_was_agreed_is_read_byte_by_byte():
    assert Agreement.of(b"") == Agreement()
    assert Agreement.of(b"\1") == Agreement(relational=True)
    assert Agreement.of(b"\0\1\1\1\0\1\1") == Agreement(False, True, True, True, True, True)


def test_dates_and_times_are_combined_where_that_was_agreed():
    query = a_query(StudyDate="20240101-20240102", StudyTime="10-12")

    assert not asked(query).query.combined_datetime
    assert asked(query, combined_datetime=True).query.combined_datetime


def test_names_are_matched_by_words_where_that_was_agreed():
    query = a_query(PatientName="jo do")

    assert asked(query).query.filters[0].match is Match.ANY
    assert asked(query, fuzzy=True).query.filters[0].match is Match.WORDS


def test_two_quotation_marks_mean_empty_where_that_was_agreed():
    query = a_query(AccessionNumber='""')

    assert asked(query).query.filters[0].values == ('""',)
    assert asked(query, empty_values=True).query.filters[0].match is Match.EMPTY


def test_several_values_mean_all_of_them_where_that_was_agreed():
    query = a_query("STUDY", ModalitiesInStudy=["CT", "PT"])

    assert asked(query).query.filters[0].match is Match.ANY
    assert asked(query, multiple_values=True).query.filters[0].match is Match.ALL


def test_the_time_zone_counts_where_that_was_agreed():
    query = a_query(StudyDate="20240101", TimezoneOffsetFromUTC="+0100")

    assert asked(query).query.zone is None
    assert asked(query).unsupported == (0x00080201,)
    zoned = asked(query, timezone=True)
    assert zoned.query.zone == 60
    assert {0x00080020, 0x00080030, 0x00080201} <= set(zoned.query.fields)
    assert refused(a_query(TimezoneOffsetFromUTC="CET"), timezone=True) == 0x00080201


def test_a_query_has_bounds():
    assert refused(a_query("IMAGE", SOPInstanceUID=[f"1.2.{n}" for n in range(10_001)])) == 0x00080018
    assert refused(a_query(PatientID="\\".join(f"a{n}*" for n in range(51)))) == 0x00100020


def a_query_with(tag: int, vr: str, text: str) -> Dataset:
    """A query with a value that pydicom would not let pass."""
    query = a_query()
    query.add_new(tag, "LO", "x")
    query[tag].VR = "LO"
    query[tag]._value = text
    return query
