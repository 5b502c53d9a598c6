"""Queries as QIDO requests: what is sent, and what is left to be filtered."""

import random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from service.dicom.matching import in_zone, matches
from service.dicom.query import Query
from service.dicom.querying import Agreement, Root, read_query
from service.dicom.resource import Level
from service.dicom.targets import Targets, targets
from tests.identifiers import a_query, identifier_of


def of(query: Dataset, **agreement: bool) -> Targets:
    return targets(read_query(identifier_of(query), Root.PATIENT, Agreement(**agreement)).query)


def sent(found: Targets) -> tuple[str, dict[str, str]]:
    """Path and parameters of the only request, without `includefield`."""
    (request,) = found.requests
    parts = urlsplit(request)
    pairs = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
    return parts.path, {name: value for name, value in pairs.items() if name != "includefield"}


def included(found: Targets) -> set[str]:
    pairs = dict(parse_qsl(urlsplit(found.requests[0]).query))
    return set(pairs.get("includefield", "").split(","))


@pytest.mark.parametrize(
    ("level", "keys", "path"),
    [
        ("PATIENT", {}, "/studies"),
        ("STUDY", {}, "/studies"),
        ("SERIES", {}, "/series"),
        ("SERIES", {"StudyInstanceUID": "1.2"}, "/studies/1.2/series"),
        ("IMAGE", {}, "/instances"),
        ("IMAGE", {"StudyInstanceUID": "1.2"}, "/studies/1.2/instances"),
        (
            "IMAGE",
            {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3"},
            "/studies/1.2/series/1.3/instances",
        ),
    ],
)
def test_the_path_is_that_of_the_level_and_the_scope(level, keys, path):
    assert sent(of(a_query(level, **keys))) == (path, {})


@pytest.mark.parametrize(
    ("keys", "parameters"),
    [
        ({"PatientName": "Müller^J*"}, {"00100010": "Müller^J*"}),
        ({"PatientID": "a b&c=d,e"}, {"00100020": "a b&c=d,e"}),
        ({"StudyDate": "20240101-"}, {"00080020": "20240101-"}),
        ({"StudyDate": "202401"}, {"00080020": "20240101-20240131"}),
        ({"StudyTime": "1015"}, {"00080030": "101500"}),
        ({"StudyTime": "10-12"}, {"00080030": "100000-125959.999999"}),
        ({"ModalitiesInStudy": ["CT", "MR"]}, {"00080061": "CT,MR"}),
        ({"StudyInstanceUID": ["1.2", "1.3"]}, {"0020000D": "1.2,1.3"}),
        ({"PatientID": "A\\B"}, {"00100020": "A\\B"}),
        ({"AccessionNumber": "A1", "StudyID": "S?"}, {"00080050": "A1", "00200010": "S?"}),
    ],
)
def test_the_keys_that_every_server_knows_are_sent_and_not_filtered_again(keys, parameters):
    found = of(a_query(**keys))

    assert sent(found) == ("/studies", parameters)
    assert found.residual == ()


def test_wildcards_go_as_they_are_since_some_servers_decode_nothing():
    (request,) = of(a_query(PatientID="A*?,b c+")).requests

    assert request.startswith("/studies?00100020=A*?,b%20c%2B")


def test_keys_that_servers_may_ignore_are_sent_and_filtered_again():
    found = of(a_query(InstitutionName="Hosp*"))

    assert sent(found)[1] == {"00080080": "Hosp*"}
    assert [key.tag for key in found.residual] == [0x00080080]
    assert "00080080" in included(found)


def test_keys_that_no_server_need_know_are_only_filtered():
    found = of(a_query("IMAGE", SliceThickness="2.5"))

    assert sent(found)[1] == {}
    assert [key.tag for key in found.residual] == [0x00180050]
    assert "00180050" in included(found)


def test_ranges_of_dates_and_times_go_apart_since_servers_combine_them():
    found = of(a_query(StudyDate="20240101-20240103", StudyTime="10-12"))

    assert sent(found)[1] == {"00080020": "20240101-20240103"}
    assert found.keeps(a_study(date="20240102", time="110000"))
    assert not found.keeps(a_study(date="20240102", time="200000"))


def test_combined_dates_and_times_are_one_interval_whatever_the_server_does():
    found = of(a_query(StudyDate="20240101-20240103", StudyTime="10-12"), combined_datetime=True)

    assert sent(found)[1] == {"00080020": "20240101-20240103"}
    assert found.keeps(a_study(date="20240102", time="200000"))
    assert not found.keeps(a_study(date="20240101", time="090000"))
    assert not found.keeps(a_study(date="20240103", time="130000"))


def test_a_time_zone_widens_what_is_asked_of_the_server():
    found = of(a_query(StudyDate="20240101", StudyTime="00-01", TimezoneOffsetFromUTC="+0100"), timezone=True)

    assert sent(found)[1] == {"00080020": "20231231-20240102"}
    assert found.keeps(a_study(date="20231231", time="233000", zone="+0000"))
    assert not found.keeps(a_study(date="20240101", time="023000", zone="+0000"))
    assert "00080201" in included(found)


def test_an_empty_value_is_asked_for_and_filtered_again():
    found = of(a_query(AccessionNumber='""'), empty_values=True)

    assert sent(found)[1] == {"00080050": '""', "emptyvaluematching": "true"}
    assert [key.tag for key in found.residual] == [0x00080050]


def test_an_empty_date_is_empty_in_every_time_zone():
    query = a_query(StudyDate='""', TimezoneOffsetFromUTC="+0100")
    found = of(query, empty_values=True, timezone=True)

    assert sent(found) == ("/studies", {"00080020": '""', "emptyvaluematching": "true"})
    assert found.keeps({"00080201": {"vr": "SH", "Value": ["-0500"]}})
    assert not found.keeps({"00080020": {"vr": "DA", "Value": ["20240101"]}})


def test_of_values_that_are_all_wanted_one_is_asked_for():
    found = of(a_query(ModalitiesInStudy=["CT", "PT"]), multiple_values=True)

    assert sent(found)[1] == {"00080061": "CT"}
    assert not found.keeps({"00080061": {"vr": "CS", "Value": ["CT"]}})
    assert found.keeps({"00080061": {"vr": "CS", "Value": ["CT", "PT"]}})


def test_fuzzy_names_are_asked_for_as_such():
    assert sent(of(a_query(PatientName="jo do"), fuzzy=True))[1] == {
        "00100010": "jo do",
        "fuzzymatching": "true",
    }


def test_keys_of_one_item_go_together_or_not_at_all():
    item = Dataset()
    item.ScheduledProcedureStepID = "S1"
    known = of(a_query("SERIES", RequestAttributesSequence=[item]))
    item.ScheduledProcedureStepDescription = "head"
    unknown = of(a_query("SERIES", RequestAttributesSequence=[item]))

    assert sent(known)[1] == {"00400275.00400009": "S1"}
    assert sent(unknown)[1] == {}
    assert len(unknown.residual) == 2


@pytest.mark.parametrize(
    ("keyword", "value", "pattern"),
    [
        ("PatientName", "Doe^J*", "Doe*J**"),
        ("PatientName", "Müller", "M*ller*"),
        ("PatientName", "山田*", None),
        ("PatientName", "Doe", "Doe"),
        ("PatientID", "P 1/2", "P*1*2"),
        ("PatientID", "P1\\P2", None),
        ("AccessionNumber", '""', None),
        ("StudyDescription", "Thorax, Abdomen", "Thorax**Abdomen"),
    ],
)
def test_of_a_server_that_decodes_nothing_wildcards_are_asked(keyword, value, pattern):
    query = a_query(**{"SpecificCharacterSet": "ISO_IR 192", keyword: value})
    asked = read_query(identifier_of(query), Root.PATIENT, Agreement(empty_values=True)).query
    found = targets(asked, decodes=False)

    assert list(sent(found)[1].values()) == ([] if pattern is None else [pattern])
    assert list(found.residual) == ([] if value == "Doe" else list(asked.filters))
    assert "%" not in found.requests[0]


def test_long_lists_of_uids_go_in_several_requests():
    uids = [f"1.2.{n}" for n in range(150)]

    found = of(a_query("IMAGE", SOPInstanceUID=uids))

    asked = [dict(parse_qsl(urlsplit(request).query))["00080018"].split(",") for request in found.requests]
    assert [len(chunk) for chunk in asked] == [64, 64, 22]
    assert [uid for chunk in asked for uid in chunk] == uids
    assert found.residual == ()


def test_a_second_long_list_is_filtered():
    uids = [f"1.2.{n}" for n in range(100)]

    found = of(a_query("SERIES", StudyInstanceUID=uids, SeriesInstanceUID=uids))

    assert len(found.requests) == 2
    assert [key.tag for key in found.residual] == [0x0020000E]


def test_private_keys_are_named_with_their_creator_and_filtered():
    query = a_query("IMAGE", StudyInstanceUID="1.2")
    query.private_block(0x0009, "ACME 1", create=True).add_new(0x01, "LO", "yes")
    found = of(query)

    assert sent(found) == ("/studies/1.2/instances", {"00090010": "ACME 1"})
    assert "00091001" in included(found)
    stored = {
        "00090011": {"vr": "LO", "Value": ["ACME 1"]},
        "00091101": {"vr": "LO", "Value": ["yes"]},
        "00091001": {"vr": "LO", "Value": ["no"]},
    }
    assert found.keeps(stored)


def test_what_is_asked_to_be_returned_is_included_unless_it_always_is():
    found = of(a_query("SERIES", PatientName="", Modality="", BodyPartExamined=""))

    assert {"00100010", "00180015"} <= included(found)
    assert "00080060" not in included(found)


def test_more_attributes_than_a_url_can_name_are_asked_for_as_all():
    found = targets(Query(Level.INSTANCE, fields=tuple(range(0x00280010, 0x00280010 + 500))))

    assert found.requests == ("/instances?includefield=all",)


# Whatever is asked: what the server finds and the filter keeps is what matches.

VALUES: dict[str, list[Any]] = {
    "StudyDate": ["20240101", "20240101-20240102", "-20240102", "20240102-", "202401"],
    "StudyTime": ["10", "08-12", "-12", "12-", "101530"],
    "PatientName": ["Doe*", "doe^jane", "*roe*", "D?e^J*"],
    "PatientID": ["P1", "P?", "P1\\P2"],
    "ModalitiesInStudy": [["CT"], ["CT", "MR"], ["MR", "PT"]],
    "AccessionNumber": ["A1", "A*", '""'],
    "PatientBirthDate": ["19700101", "1960-1980"],
    "InstitutionName": ["H*", "Hospital"],
    "NumberOfStudyRelatedInstances": ["3"],
    "TimezoneOffsetFromUTC": ["+0100", "-0500"],
}
FLAGS = ("combined_datetime", "fuzzy", "timezone", "empty_values", "multiple_values")


def a_study(*, date: str = "", time: str = "", zone: str = "", **more: Any) -> dict[str, Any]:
    told = {"00080020": ("DA", date), "00080030": ("TM", time), "00080201": ("SH", zone)}
    return {tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in told.items() if value} | more


def some_studies() -> list[dict[str, Any]]:
    chance = random.Random(4)
    studies = []
    for _ in range(60):
        study = a_study(
            date=chance.choice(["20231231", "20240101", "20240102", "20240103", ""]),
            time=chance.choice(["", "003000", "101530", "120000.5", "233000"]),
            zone=chance.choice(["", "+0000", "+0100", "-0500"]),
        )
        told = {
            "00100010": ("PN", [{"Alphabetic": chance.choice(["Doe^Jane", "Roe^Jo", "Dae^Jim"])}]),
            "00100020": ("LO", [chance.choice(["P1", "P2", "P10"])]),
            "00080061": ("CS", chance.choice([["CT"], ["MR", "PT"], ["CT", "PT"], ["CT", "MR"]])),
            "00080050": ("SH", chance.choice([[], ["A1"], ["A2"], ["B"]])),
            "00100030": ("DA", chance.choice([[], ["19700101"], ["19850615"]])),
            "00080080": ("LO", chance.choice([[], ["Hospital"], ["Clinic"]])),
            "00201208": ("IS", [chance.choice([1, 3])]),
        }
        study |= {tag: {"vr": vr, "Value": values} for tag, (vr, values) in told.items() if values}
        studies.append(study)
    return studies


STUDIES = some_studies()
KEYS = st.dictionaries(st.sampled_from(sorted(VALUES)), st.integers(0, 4), max_size=4)


@settings(max_examples=400, deadline=None)
@given(KEYS, st.sets(st.sampled_from(FLAGS)))
def test_what_a_server_finds_and_the_filter_keeps_is_what_matches(choice, flags):
    keys = {name: VALUES[name][at % len(VALUES[name])] for name, at in choice.items()}
    query = read_query(
        identifier_of(a_query(**keys)), Root.STUDY, Agreement(**dict.fromkeys(flags, True))
    ).query
    found = targets(query)
    (request,) = found.requests

    # given: a server of the standard, which combines dates and times and ignores what it need not know
    pairs = parse_qsl(urlsplit(request).query, keep_blank_values=True)
    asked = Query.from_url(Level.STUDY, pairs)
    by_server = [
        study
        for study in STUDIES
        if matches(asked.filters, in_zone(study, asked.zone), combined_datetime=True)
    ]

    # then
    expected = [
        study
        for study in STUDIES
        if matches(query.filters, in_zone(study, query.zone), combined_datetime=query.combined_datetime)
    ]
    assert [study for study in by_server if found.keeps(study)] == expected
