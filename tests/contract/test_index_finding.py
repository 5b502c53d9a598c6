"""Searches: every kind of match at every level, order, pages, and what is returned."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from service.dicom.errors import BadRequest
from service.dicom.query import Query
from service.dicom.record import InstanceRecord
from service.dicom.resource import Level
from service.index.port import FullIndex, OnDuplicate

type Found = dict[str, dict[str, Any]]
type Builder = Callable[..., InstanceRecord]

STUDY, SERIES, INSTANCE = Level.STUDY, Level.SERIES, Level.INSTANCE
UIDS = {STUDY: "0020000D", SERIES: "0020000E", INSTANCE: "00080018"}


@pytest.fixture
def full(index: FullIndex, a_record: Builder) -> FullIndex:
    """Three studies: 1.1 has a CT series of two and an SR, 1.2 one MR, 1.3 hardly anything."""
    person = {
        "x00100010": "Müller^Jürgen", "x00100020": "P1", "x00100030": "19700203", "x00100040": "M",
        "x00080020": "20240115", "x00080030": "101530.5", "x00080050": "A1", "x00200010": "S1",
        "x00080090": "Ref^Doc", "x00081030": "Thorax, Abdomen", "x00080080": "Hospital",
    }  # fmt: skip
    ct = person | {
        "x00080060": "CT", "x00200011": 2, "x0008103E": "AXIAL", "x00400244": "20240115", "x00400245": "1010",
        "x00400275": [{"00400009": "SPS1", "00401001": "RP1"}, {"00400009": "SPS2", "00401001": "RP2"}],
        "x00080008": ["ORIGINAL", "PRIMARY"], "x00280010": 512, "x00280011": 256, "x00280100": 16,
        "x00180050": 2.5, "x00185100": "HFS", "x00181030": "Chest*",
    }  # fmt: skip
    sr = person | {
        "x00080060": "SR", "x00200011": 1, "x00200013": 1,
        "x0040A043": [{"00080100": "113000", "00080102": "DCM", "00080104": "Of Interest"}],
    }  # fmt: skip
    mr = {
        "x00100010": "Yamada^Tarou=山田^太郎=やまだ^たろう", "x00100020": "P2", "x00080020": "20240301",
        "x00080030": "080000", "x00080060": "MR", "x00080050": "A2", "x00200013": 1, "x00200011": 1,
        "x0008002A": "20240301080000+0200", "x00280008": 12,
    }  # fmt: skip
    records = [
        a_record("1.1", "1.1.1", "1.1.1.1", **ct, x00200013=2),
        a_record("1.1", "1.1.1", "1.1.1.2", **ct, x00200013=1),
        a_record("1.1", "1.1.2", "1.1.2.1", **sr, sop_class="1.2.840.10008.5.1.4.1.1.88.59"),
        a_record("1.2", "1.2.1", "1.2.1.1", **mr, syntax="1.2.840.10008.1.2.4.90"),
        a_record("1.3", "1.3.1", "1.3.1.1"),
    ]
    index.add(records, on_duplicate=OnDuplicate.REFUSE)
    return index


def search(index: FullIndex, level: Level, *params: tuple[str, str], **scope: Any) -> list[Found]:
    answer = index.find(Query.from_url(level, params, **scope))
    return [orjson.loads(m.replace(b"\x00", b"base").replace(b"\x01", b'"x"')) for m in answer.matches]


def uids(index: FullIndex, level: Level, *params: tuple[str, str], **scope: Any) -> list[str]:
    return [found[UIDS[level]]["Value"][0] for found in search(index, level, *params, **scope)]


CT_1, CT_2, SR_1, MR_1, BARE = "1.1.1.1", "1.1.1.2", "1.1.2.1", "1.2.1.1", "1.3.1.1"

MATCHES: list[tuple[Level, list[tuple[str, str]], list[str]]] = [
    # single values, wildcards, lists (PS3.4 C.2.2.2.1, .2, .4)
    (STUDY, [("PatientID", "P1")], ["1.1"]),
    (STUDY, [("PatientID", "p1")], []),
    (STUDY, [("PatientID", "P?")], ["1.2", "1.1"]),
    (STUDY, [("00100020", "*1")], ["1.1"]),
    (STUDY, [("PatientID", "P1\\P2")], ["1.2", "1.1"]),
    (STUDY, [("StudyDescription", "Thorax, Abdomen")], ["1.1"]),
    (STUDY, [("StudyDescription", "*, A*")], ["1.1"]),
    (STUDY, [("InstitutionName", "Hosp*")], ["1.1"]),
    (STUDY, [("AccessionNumber", "A2")], ["1.2"]),
    (STUDY, [("StudyID", "S1")], ["1.1"]),
    (STUDY, [("StudyInstanceUID", "1.1,1.3")], ["1.1", "1.3"]),
    (STUDY, [("StudyInstanceUID", "1.1\\\\1.2")], ["1.2", "1.1"]),
    (STUDY, [("PatientSex", "")], ["1.2", "1.1", "1.3"]),
    (STUDY, [("PatientSex", "*")], ["1.2", "1.1", "1.3"]),
    # person names: case, accents, groups (PS3.18 8.3.4.2)
    (STUDY, [("PatientName", "MULLER^JURGEN")], ["1.1"]),
    (STUDY, [("PatientName", "müller*")], ["1.1"]),
    (STUDY, [("PatientName", "muller")], []),
    (STUDY, [("PatientName", "山田*")], ["1.2"]),
    (STUDY, [("PatientName", "=山田^太郎")], ["1.2"]),
    (STUDY, [("PatientName", "yamada*=*=やまだ*")], ["1.2"]),
    (STUDY, [("PatientName", "山田*=*")], []),
    (STUDY, [("ReferringPhysicianName", "ref^doc")], ["1.1"]),
    (STUDY, [("PatientName", "jur mul"), ("fuzzymatching", "true")], ["1.1"]),
    (STUDY, [("PatientName", "uller"), ("fuzzymatching", "true")], []),
    (STUDY, [("PatientName", "*uller*"), ("fuzzymatching", "true")], ["1.1"]),
    # dates and times (PS3.4 C.2.2.2.5, PS3.18 8.3.4.1.1)
    (STUDY, [("StudyDate", "20240115")], ["1.1"]),
    (STUDY, [("StudyDate", "20240101-20240131")], ["1.1"]),
    (STUDY, [("StudyDate", "20240116-")], ["1.2"]),
    (STUDY, [("StudyDate", "-20240115")], ["1.1"]),
    (STUDY, [("StudyTime", "101530.5")], ["1.1"]),
    (STUDY, [("StudyTime", "-0800")], ["1.2"]),
    (STUDY, [("StudyDate", "20240114-20240301"), ("StudyTime", "2000-0700")], ["1.1"]),
    (STUDY, [("StudyDate", "20240115-20240301"), ("StudyTime", "1016-0800")], ["1.2"]),
    # empty values and several at once (PS3.18 8.3.4.4, .5)
    (STUDY, [("PatientSex", '""'), ("emptyvaluematching", "true")], ["1.2", "1.3"]),
    (STUDY, [("PatientName", '""'), ("emptyvaluematching", "true")], ["1.3"]),
    (STUDY, [("ModalitiesInStudy", '""'), ("emptyvaluematching", "true")], ["1.3"]),
    (STUDY, [("PatientSex", '""')], []),
    (STUDY, [("ModalitiesInStudy", "CT,SR"), ("multiplevaluematching", "true")], ["1.1"]),
    (STUDY, [("ModalitiesInStudy", "CT,MR"), ("multiplevaluematching", "true")], []),
    # computed attributes
    (STUDY, [("ModalitiesInStudy", "CT,MR")], ["1.2", "1.1"]),
    (STUDY, [("ModalitiesInStudy", "MR\\XA")], ["1.2"]),
    (STUDY, [("ModalitiesInStudy", "S?")], ["1.1"]),
    (STUDY, [("SOPClassesInStudy", "1.2.840.10008.5.1.4.1.1.88.59")], ["1.1"]),
    (STUDY, [("NumberOfStudyRelatedInstances", "3")], ["1.1"]),
    (STUDY, [("InstanceAvailability", "ONLINE")], ["1.2", "1.1", "1.3"]),
    (STUDY, [("InstanceAvailability", "OFFLINE")], []),
    # series
    (SERIES, [("Modality", "CT")], ["1.1.1"]),
    (SERIES, [("Modality", "MR\\SR")], ["1.2.1", "1.1.2"]),
    (SERIES, [("PatientID", "P1")], ["1.1.2", "1.1.1"]),
    (SERIES, [("SeriesNumber", "02")], ["1.1.1"]),
    (SERIES, [("SeriesInstanceUID", "1.1.2")], ["1.1.2"]),
    (SERIES, [("NumberOfSeriesRelatedInstances", "2")], ["1.1.1"]),
    (SERIES, [("PerformedProcedureStepStartDate", "2024"), ("00400245", "1000-1020")], ["1.1.1"]),
    (SERIES, [("RequestAttributesSequence.ScheduledProcedureStepID", "SPS?")], ["1.1.1"]),
    (SERIES, [("00400275.00400009", "SPS1"), ("00400275.RequestedProcedureID", "RP1")], ["1.1.1"]),
    (SERIES, [("00400275.00400009", "SPS1"), ("00400275.00401001", "RP2")], []),
    (SERIES, [("ProtocolName", "Chest*")], ["1.1.1"]),
    # instances
    (INSTANCE, [("SOPInstanceUID", "1.1.1.2")], [CT_2]),
    (INSTANCE, [("SOPClassUID", "1.2.840.10008.5.1.4.1.1.88.59")], [SR_1]),
    (INSTANCE, [("InstanceNumber", "1")], [MR_1, SR_1, CT_2]),
    (INSTANCE, [("Modality", "CT"), ("InstanceNumber", "2")], [CT_1]),
    (INSTANCE, [("ImageType", "PRIMARY")], [CT_2, CT_1]),
    (INSTANCE, [("ConceptNameCodeSequence.CodeValue", "113000")], [SR_1]),
    (INSTANCE, [("0040A043.00080100", "113000"), ("0040A043.00080102", "99X")], []),
    (INSTANCE, [("AcquisitionDateTime", "20240301060000")], [MR_1]),
    (INSTANCE, [("AcquisitionDateTime", "20240301-20240302")], [MR_1]),
    (INSTANCE, [("NumberOfFrames", "12")], [MR_1]),
    (INSTANCE, [("Rows", "512"), ("Columns", "256")], [CT_2, CT_1]),
    (INSTANCE, [("AvailableTransferSyntaxUID", "1.2.840.10008.1.2.4.90")], [MR_1]),
    (INSTANCE, [("StudyDate", "20240301")], [MR_1]),
]


@pytest.mark.parametrize(("level", "params", "expected"), MATCHES, ids=lambda value: str(value)[:60])
def test_a_key_matches(
    full: FullIndex, level: Level, params: list[tuple[str, str]], expected: list[str]
) -> None:
    assert uids(full, level, *params) == expected


@pytest.mark.parametrize(
    ("level", "params", "scope", "expected"),
    [
        (SERIES, [], {"study": "1.1"}, ["1.1.2", "1.1.1"]),
        (INSTANCE, [], {"study": "1.1"}, [SR_1, CT_2, CT_1]),
        (INSTANCE, [], {"study": "1.1", "series": "1.1.1"}, [CT_2, CT_1]),
        (INSTANCE, [], {"series": "1.1.1"}, [CT_2, CT_1]),
        (INSTANCE, [], {"study": "1.2", "series": "1.1.1"}, []),
        (SERIES, [("StudyInstanceUID", "1.2")], {"study": "1.1"}, []),
        (SERIES, [("PatientPosition", "HFS")], {"study": "1.1"}, ["1.1.1"]),
        (INSTANCE, [("SliceThickness", "2.50")], {"study": "1.1"}, [CT_2, CT_1]),
        (INSTANCE, [("SliceThickness", "2.50"), ("InstanceNumber", "2")], {"study": "1.1"}, [CT_1]),
        (SERIES, [("PatientPosition", "HFS"), ("StudyInstanceUID", "1.1")], {}, ["1.1.1"]),
        (INSTANCE, [("00091001", "x")], {"study": "1.1"}, []),
    ],
)  # fmt: skip
def test_a_search_keeps_to_its_scope(
    full: FullIndex, level: Level, params: list[tuple[str, str]], scope: dict[str, str], expected: list[str]
) -> None:
    assert uids(full, level, *params, **scope) == expected


def test_a_key_without_a_column_needs_a_study(full: FullIndex) -> None:
    with pytest.raises(BadRequest, match="00185100 is not indexed"):
        full.find(Query.from_url(SERIES, [("PatientPosition", "HFS")]))


@pytest.mark.parametrize(
    "params",
    [
        [("StudyInstanceUID", ",".join(f"1.{n}" for n in range(10_000)))],
        [("PatientName", "\\".join(f"yamada*=*{n}*=*" for n in range(49)) + "\\yamada*")],
        [("PatientID", "\\".join(f"*{n}?*" for n in range(49)) + "\\P2")],
        [("PatientName", " ".join(["yam", "ta"] * 50)), ("fuzzymatching", "true")],
    ],
    ids=["uids", "names", "patterns", "words"],
)
def test_the_longest_keys_are_answered(full: FullIndex, params: list[tuple[str, str]]) -> None:
    assert "1.2" in uids(full, STUDY, *params)


def test_a_patient_level_search_is_for_those_above(full: FullIndex) -> None:
    with pytest.raises(BadRequest):
        full.find(Query(level=Level.PATIENT))


# -- what is returned -------------------------------------------------------------------------------


def test_a_study_answers_with_the_required_attributes(full: FullIndex) -> None:
    (found,) = search(full, STUDY, ("StudyInstanceUID", "1.3"))

    assert found == {
        "00080020": {"vr": "DA"},
        "00080030": {"vr": "TM"},
        "00080050": {"vr": "SH"},
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00080061": {"vr": "CS"},
        "00080090": {"vr": "PN"},
        "00081190": {"vr": "UR", "Value": ["base/studies/1.3"]},
        "00100010": {"vr": "PN"},
        "00100020": {"vr": "LO"},
        "00100030": {"vr": "DA"},
        "00100040": {"vr": "CS"},
        "0020000D": {"vr": "UI", "Value": ["1.3"]},
        "00200010": {"vr": "SH"},
        "00201206": {"vr": "IS", "Value": [1]},
        "00201208": {"vr": "IS", "Value": [1]},
    }


def test_text_beyond_ascii_is_labelled(full: FullIndex) -> None:
    (found,) = search(full, STUDY, ("StudyInstanceUID", "1.1"))

    assert found["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert found["00100010"]["Value"] == [{"Alphabetic": "Müller^Jürgen"}]


def test_a_series_answers_with_its_study(full: FullIndex) -> None:
    (found,) = search(full, SERIES, ("Modality", "CT"))

    assert found["0020000D"]["Value"] == ["1.1"]
    assert found["00080061"]["Value"] == ["CT", "SR"]
    assert found["00201209"]["Value"] == [2]
    assert found["00081190"]["Value"] == ["base/studies/1.1/series/1.1.1"]
    assert [list(item) for item in found["00400275"]["Value"]] == [["00400009", "00401001"]] * 2


def test_an_instance_in_a_series_answers_for_itself(full: FullIndex) -> None:
    found, _ = search(full, INSTANCE, study="1.1", series="1.1.1")

    assert sorted(found) == list(found)
    assert list(found) == [
        "00080016", "00080018", "00080056", "00081190", "00083002", "0020000D", "0020000E", "00200013",
        "00280010", "00280011", "00280100",
    ]  # fmt: skip
    assert found["00081190"]["Value"] == ["base/studies/1.1/series/1.1.1/instances/1.1.1.2"]


@pytest.mark.parametrize(
    ("scope", "with_series", "with_study"),
    [({}, True, True), ({"study": "1.1"}, True, False), ({"study": "1.1", "series": "1.1.1"}, False, False)],
)
def test_an_instance_answers_with_the_levels_not_in_its_path(
    full: FullIndex, scope: dict[str, str], with_series: bool, with_study: bool
) -> None:
    found = search(full, INSTANCE, ("SOPInstanceUID", CT_1), **scope)[0]

    assert ("00080060" in found, "00100020" in found) == (with_series, with_study)
    assert ("00201209" in found, "00201208" in found) == (with_series, with_study)


def test_the_stored_syntax_of_each_instance_is_told(full: FullIndex) -> None:
    answer = full.find(Query.from_url(INSTANCE, [("InstanceNumber", "1")]))

    told = [one.split("|") for one in answer.syntaxes]
    assert [syntax for syntax, *_ in told] == [
        "1.2.840.10008.1.2.4.90",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.1",
    ]
    assert told[0][1:] == [str(0x7FE00010), "1", "16", "12", "1", "MONOCHROME2"]
    assert all(match.count(b"\x01") == 1 for match in answer.matches)
    assert not full.find(Query.from_url(STUDY, [])).syntaxes


def test_keys_and_included_fields_are_returned(full: FullIndex) -> None:
    (study,) = search(
        full, STUDY, ("InstitutionName", "Hospital"), ("includefield", "SOPClassesInStudy,PatientPosition")
    )
    instance = search(
        full, INSTANCE, ("includefield", "00180050"), ("PatientID", ""), ("includefield", "Modality"),
        study="1.1", series="1.1.1",
    )[0]  # fmt: skip

    assert study["00080080"]["Value"] == ["Hospital"]
    assert len(study["00080062"]["Value"]) == 2
    assert "00185100" not in study  # of the series: not of this level or above
    assert instance["00180050"]["Value"] == [2.5]
    assert (instance["00100020"]["Value"], instance["00080060"]["Value"]) == (["P1"], ["CT"])


@pytest.mark.parametrize(
    ("level", "has", "has_not"),
    [
        (STUDY, ["00080080", "00081030", "00080062"], ["00080060", "00180050", "00080018", "7FE00010"]),
        (SERIES, ["00080080", "00080060", "00185100", "00181030"], ["00180050", "00080018"]),
        (INSTANCE, ["00080080", "00080060", "00180050", "00080008", "7FE00010"], []),
    ],
)
def test_all_fields_are_those_of_the_level_and_above(
    full: FullIndex, level: Level, has: list[str], has_not: list[str]
) -> None:
    found = search(full, level, ("includefield", "all"), ("PatientID", "P1"))[-1]

    assert [tag for tag in has if tag not in found] == []
    assert [tag for tag in has_not if tag in found] == []
    assert sorted(found) == list(found)


def test_bulk_data_keep_their_slot(full: FullIndex) -> None:
    answer = full.find(Query.from_url(INSTANCE, [("includefield", "7FE00010"), ("SOPInstanceUID", CT_1)]))

    place = b'"\x00/studies/1.1/series/1.1.1/instances/1.1.1.1/bulkdata/7FE00010"'
    assert place in answer.matches[0]


def test_an_included_sequence_is_whole(index: FullIndex, a_record: Builder) -> None:
    item = {"00400009": "S", "00080104": "more"}
    index.add([a_record(x00400275=[item])], on_duplicate=OnDuplicate.REFUSE)

    (plain,) = search(index, SERIES)
    (asked,) = search(index, SERIES, ("includefield", "RequestAttributesSequence"))

    assert list(plain["00400275"]["Value"][0]) == ["00400009"]
    assert list(asked["00400275"]["Value"][0]) == ["00400009", "00080104"]


# -- order and pages --------------------------------------------------------------------------------


def test_the_newest_study_comes_first(index: FullIndex, a_record: Builder) -> None:
    given = [
        ("1.5", None, "120000"), ("1.4", "20240101", None), ("1.3", "20240101", "1015"),
        ("1.2", "20240101", "10:15"), ("1.1", "20240102", "0900"), ("1.6", "20230101", "2300"),
        ("1.7", "garbage", None),
    ]  # fmt: skip
    index.add([a_record(s, x00080020=d, x00080030=t) for s, d, t in given], on_duplicate=OnDuplicate.REFUSE)

    expected = ["1.1", "1.2", "1.3", "1.4", "1.6", "1.5", "1.7"]
    assert uids(index, STUDY) == expected
    assert [uid[:3] for uid in uids(index, SERIES)] == expected
    assert [uid[:3] for uid in uids(index, INSTANCE)] == expected


@pytest.mark.parametrize(
    ("offset", "limit", "size", "remaining"),
    [(0, 3, 3, 7), (3, 3, 3, 4), (9, 3, 1, 0), (10, 3, 0, 0), (500, 3, 0, 0), (0, 0, 0, 10), (4, 100, 6, 0)],
)
def test_pages_follow_one_another(
    index: FullIndex, a_record: Builder, offset: int, limit: int, size: int, remaining: int
) -> None:
    index.add([a_record(f"1.{n:02}") for n in range(10)], on_duplicate=OnDuplicate.REFUSE)
    everything = index.find(Query(level=STUDY))

    for query in (
        Query(level=STUDY, offset=offset, limit=limit),
        Query(level=SERIES, offset=offset, limit=limit),
    ):
        answer = index.find(query)
        assert (len(answer.matches), answer.remaining, answer.at_least, answer.total) == (
            size,
            remaining,
            False,
            10,
        )
        if query.level is STUDY:
            assert list(answer.matches) == list(everything.matches[offset : offset + limit])


def test_an_offset_that_no_archive_reaches_finds_nothing(full: FullIndex) -> None:
    answer = full.find(Query.from_url(STUDY, [("offset", "999999999999999")]))

    assert (list(answer.matches), answer.remaining, answer.total) == ([], 0, 3)
