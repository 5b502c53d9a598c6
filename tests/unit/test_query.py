"""Reading a search from the parameters of a URL (PS3.18 8.3.4, 10.6.1)."""

import pytest

from service.dicom.attributes import ATTRIBUTES
from service.dicom.criteria import Filter, Match
from service.dicom.errors import BadRequest
from service.dicom.privates import PrivateBlock
from service.dicom.query import Query
from service.dicom.resource import Level

PATIENT_ID, STUDY_UID, STUDY_DATE = 0x00100020, 0x0020000D, 0x00080020


def read(*params: tuple[str, str], level: Level = Level.STUDY, most: int = 5000) -> Query:
    return Query.from_url(level, params, max_results=most)


def only(*params: tuple[str, str], level: Level = Level.STUDY) -> Filter:
    (key,) = read(*params, level=level).filters
    return key


@pytest.mark.parametrize("name", ["PatientID", "00100020"])
def test_an_attribute_is_named_by_keyword_or_tag(name: str) -> None:
    assert only((name, "P1")) == Filter((PATIENT_ID,), "LO", Match.ANY, ("P1",))


def test_hexadecimal_digits_may_be_of_either_case() -> None:
    assert read(("0020000d", "1.2")).filters == read(("0020000D", "1.2")).filters


@pytest.mark.parametrize(
    "name",
    ["RequestAttributesSequence.00400009", "00400275.ScheduledProcedureStepID", "00400275.00400009"],
)
def test_a_path_leads_into_a_sequence(name: str) -> None:
    key = only((name, "S1"), level=Level.SERIES)

    assert key == Filter((0x00400275, 0x00400009), "SH", Match.ANY, ("S1",))


def test_attributes_beyond_the_tables_are_known_too() -> None:
    query = read(("PatientComments", "x*"), ("includefield", "EthnicGroup"))

    assert query.filters == (Filter((0x00104000,), "LT", Match.ANY, ("x*",)),)
    assert query.fields == (0x00104000, 0x00102160)


def test_a_private_attribute_is_named_by_its_tag() -> None:
    assert only(("00091001", "x")) == Filter((0x00091001,), "", Match.ANY, ("x",))


@pytest.mark.parametrize("name", ["foo", "order", "", "a.b", "_", "PatientID.", "0010002", "x" * 600, "ä"])
def test_what_is_no_attribute_is_ignored(name: str) -> None:
    assert read((name, "x")) == read()


@pytest.mark.parametrize(
    ("name", "text", "match", "values"),
    [
        ("StudyInstanceUID", "1.2,1.3", Match.ANY, ("1.2", "1.3")),
        ("StudyInstanceUID", "1.2\\\\1.3,,1.2", Match.ANY, ("1.2", "1.3")),
        ("PatientID", "a\\b", Match.ANY, ("a", "b")),
        ("PatientID", "a,b", Match.ANY, ("a,b",)),
        ("PatientID", " a ", Match.ANY, ("a",)),
        ("ModalitiesInStudy", "CT,MR", Match.ANY, ("CT", "MR")),
        ("StudyDate", "20240131", Match.ANY, ("20240131",)),
        ("StudyDate", "2024.01.31", Match.ANY, ("20240131",)),
        ("StudyDate", "20240101-20240131", Match.RANGE, ("20240101", "20240131")),
        ("StudyDate", "20240101 - 20240131", Match.RANGE, ("20240101", "20240131")),
        ("StudyDate", "2024-01-01-2024-01-31", Match.RANGE, ("20240101", "20240131")),
        ("StudyDate", "-20240131", Match.RANGE, ("", "20240131")),
        ("StudyDate", "20240101-", Match.RANGE, ("20240101", "")),
        ("StudyDate", "2024", Match.RANGE, ("20240101", "20241231")),
        ("StudyDate", "202401-202402", Match.RANGE, ("20240101", "20240231")),
        ("StudyTime", "2230", Match.ANY, ("223000.000000",)),
        ("StudyTime", "10-11", Match.RANGE, ("100000.000000", "115959.999999")),
        ("StudyTime", "0000-2400", Match.RANGE, ("000000.000000", "240000.000000")),
        ("PatientName", "Doe^J*", Match.ANY, ("Doe^J*",)),
        ("PatientName", "Doe, Jane", Match.ANY, ("Doe, Jane",)),
    ],
)
def test_a_value_is_read_by_its_vr(name: str, text: str, match: Match, values: tuple[str, ...]) -> None:
    key = only((name, text))

    assert (key.match, key.values) == (match, values)


@pytest.mark.parametrize(
    ("text", "match", "values"),
    [
        ("20240101-20240201", Match.RANGE, ("20240101000000.000000", "20240201235959.999999")),
        ("20240101-0500", Match.ANY, ("20240101050000.000000",)),  # an offset, not a range to the year 500
        ("20240101-0500-20240102-0500", Match.RANGE, ("20240101050000.000000", "20240103045959.999999")),
        ("2024-", Match.RANGE, ("20240101000000.000000", "")),
    ],
)
def test_a_date_time_may_have_an_offset(text: str, match: Match, values: tuple[str, ...]) -> None:
    key = only(("AcquisitionDateTime", text), level=Level.INSTANCE)

    assert (key.match, key.values) == (match, values)


@pytest.mark.parametrize("text", ["", " ", "*", "**", "\0"])
@pytest.mark.parametrize("name", ["PatientID", "StudyDate", "StudyInstanceUID", "PatientName"])
def test_an_empty_value_matches_everything_and_is_returned(name: str, text: str) -> None:
    query = read((name, text))

    assert query.filters == ()
    assert len(query.fields) == 1


def test_keys_are_returned() -> None:
    assert read(("PatientID", "x"), ("StudyDate", "")).fields == (PATIENT_ID, STUDY_DATE)


@pytest.mark.parametrize(
    ("params", "fields", "everything"),
    [
        ([("includefield", "00100020,StudyDate")], (PATIENT_ID, STUDY_DATE), False),
        ([("includefield", "00100020"), ("includefield", "StudyDate")], (PATIENT_ID, STUDY_DATE), False),
        ([("includeField", "PatientID")], (PATIENT_ID,), False),
        ([("includefield", "all")], (), True),
        ([("includefield", "PatientID"), ("includefield", "all")], (), True),
        ([("includefield", "RequestAttributesSequence.00400009")], (0x00400275,), False),
        ([("includefield", ""), ("includefield", "nonsense,,PatientID")], (PATIENT_ID,), False),
    ],
)
def test_fields_are_included(
    params: list[tuple[str, str]], fields: tuple[int, ...], everything: bool
) -> None:
    query = read(*params)

    assert (query.fields, query.all_fields) == (fields, everything)


@pytest.mark.parametrize(
    ("params", "limit", "offset"),
    [
        ([], 50, 0),
        ([("limit", "10"), ("offset", "20")], 10, 20),
        ([("limit", "0")], 0, 0),
        ([("limit", "999999")], 50, 0),
        ([("limit", str(2**63 - 1)), ("offset", str(2**64 - 1))], 50, 10**15),
        ([("limit", ""), ("offset", "")], 50, 0),
        ([("limit", "5"), ("limit", "5")], 5, 0),
    ],
)
def test_a_page_is_capped(params: list[tuple[str, str]], limit: int, offset: int) -> None:
    query = read(*params, most=50)

    assert (query.limit, query.offset) == (limit, offset)


SECRET = "Geheim"

BAD: list[tuple[Level, list[tuple[str, str]], str]] = [
    (Level.STUDY, [("limit", "-1")], "limit"),
    (Level.STUDY, [("limit", "ten")], "limit"),
    (Level.STUDY, [("limit", "٣")], "limit"),
    (Level.STUDY, [("limit", "9" * 5000)], "limit"),
    (Level.STUDY, [("offset", "1.5")], "offset"),
    (Level.STUDY, [("limit", "1"), ("limit", "2")], "limit is given twice"),
    (Level.STUDY, [("fuzzymatching", "yes")], "fuzzymatching"),
    (Level.STUDY, [("PatientID", SECRET), ("PatientID", SECRET)], "PatientID is given twice"),
    (Level.STUDY, [("PatientID", SECRET), ("00100020", "")], "PatientID is given twice"),
    (Level.STUDY, [("StudyDate", "-")], "StudyDate"),
    (Level.STUDY, [("StudyDate", "2024*")], "StudyDate"),
    (Level.STUDY, [("StudyDate", SECRET)], "StudyDate"),
    (Level.STUDY, [("PatientBirthDate", "20241301")], "PatientBirthDate"),
    (Level.STUDY, [("StudyTime", "25-26")], "StudyTime"),
    (Level.STUDY, [("StudyInstanceUID", "1.2*")], "StudyInstanceUID"),
    (Level.STUDY, [("StudyInstanceUID", SECRET)], "StudyInstanceUID"),
    (Level.STUDY, [("StudyInstanceUID", ",")], "StudyInstanceUID"),
    (Level.STUDY, [("NumberOfStudyRelatedSeries", SECRET)], "NumberOfStudyRelatedSeries"),
    (Level.STUDY, [("PatientID", "*" + "x" * 2000)], "PatientID"),
    (Level.STUDY, [("StudyInstanceUID", ",".join(f"1.{n}" for n in range(10_001)))], "StudyInstanceUID"),
    (Level.STUDY, [("PatientID", "\\".join(f"{SECRET}{n}*" for n in range(51)))], "PatientID"),
    (Level.STUDY, [("PatientName", "\\".join(f"{SECRET}{n}" for n in range(51)))], "PatientName"),
    (Level.STUDY, [("PatientName", " ".join("a" * 101)), ("fuzzymatching", "true")], "PatientName"),
    (
        Level.STUDY,
        [(name, "\\".join(map(str, range(6000)))) for name in ("PatientID", "StudyID")],
        "10000 values",
    ),
    (Level.STUDY, [("multiplevaluematching", "true"), ("PatientID", "a*,b")], "PatientID"),
    (Level.STUDY, [("Modality", "CT")], "search /series"),
    (Level.SERIES, [("SOPInstanceUID", "1.2")], "search /instances"),
    (Level.SERIES, [("RequestAttributesSequence", SECRET)], "RequestAttributesSequence"),
    (Level.STUDY, [(f"{n:08X}", "x") for n in range(0x00111001, 0x00111001 + 101)], "100 keys"),
]


@pytest.mark.parametrize(("level", "params", "told"), BAD, ids=lambda value: str(value)[:50])
def test_a_malformed_parameter_is_named_and_its_value_is_not(
    level: Level, params: list[tuple[str, str]], told: str
) -> None:
    with pytest.raises(BadRequest) as raised:
        Query.from_url(level, params)

    assert told in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES])
def test_a_key_of_a_lower_level_may_stand_without_value(level: Level) -> None:
    assert read(("InstanceNumber", ""), level=level).filters == ()


def test_the_request_about_itself_is_no_key() -> None:
    assert read(("SpecificCharacterSet", "ISO_IR 192"), ("QueryRetrieveLevel", "STUDY")) == read()


def test_empty_values_are_asked_for_by_two_quotation_marks() -> None:
    asked = only(("PatientID", '""'), ("emptyvaluematching", "true"))
    literal = only(("PatientID", '""'), ("emptyvaluematching", "false"))

    assert asked.match is Match.EMPTY
    assert (literal.match, literal.values) == (Match.ANY, ('""',))


def test_several_values_may_all_be_asked_for() -> None:
    key = only(("ModalitiesInStudy", "CT,MR"), ("multiplevaluematching", "true"))

    assert (key.match, key.values) == (Match.ALL, ("CT", "MR"))


@pytest.mark.parametrize(
    ("text", "match"), [("jo do", Match.WORDS), ("*oe*", Match.ANY), ("Doe^J", Match.WORDS)]
)
def test_fuzzy_matching_is_by_words_unless_there_are_wildcards(text: str, match: Match) -> None:
    query = read(("PatientName", text), ("fuzzymatching", "True"))

    assert (query.filters[0].match, query.fuzzy) == (match, True)


def test_an_empty_flag_is_not_given() -> None:
    assert not read(("fuzzymatching", "")).fuzzy


@pytest.mark.parametrize(
    ("text", "zone"),
    [("+0100", 60), (" 0100", 60), ("0100", 60), ("-0530", -330), ("+1400", 840), ("", None), ("*", None)],
)
def test_a_time_zone_is_that_of_the_keys_and_returned(text: str, zone: int | None) -> None:
    query = read(("TimezoneOffsetFromUTC", text))

    assert (query.zone, query.filters, query.fields) == (zone, (), (0x00080201,))


@pytest.mark.parametrize("text", ["CET", "+1", "+01:00", "+0160", "+1500", "-1300", "+0100\\+0200"])
def test_a_time_zone_is_an_offset(text: str) -> None:
    with pytest.raises(BadRequest, match="TimezoneOffsetFromUTC"):
        read(("00080201", text))


def test_objects_without_a_time_zone_may_be_asked_for() -> None:
    key = only(("TimezoneOffsetFromUTC", '""'), ("emptyvaluematching", "true"))

    assert key.match is Match.EMPTY


def test_a_uid_key_may_be_repeated() -> None:
    params = [("StudyInstanceUID", "1.1"), ("0020000D", "1.2,1.3"), ("StudyInstanceUID", "")]

    assert only(*params).values == ("1.1", "1.2", "1.3")


def test_a_creator_says_whose_a_private_attribute_is() -> None:
    query = read(("00090010", "ACME 1 "), ("00110011", "Other"), ("includefield", "00091001"))

    assert query.private == (PrivateBlock(0x0009, 0x10, "ACME 1"),)
    assert query.fields == (0x00110011, 0x00091001)
    assert [key.path for key in query.filters] == [(0x00110011,)]  # nothing of its block is named


def test_the_order_is_read_from_all_that_ask_for_one() -> None:
    query = read(("orderby", "-PatientName, 00080020"), ("orderby", "StudyID,PatientName"))

    told = [(sorting.attribute.keyword, sorting.descending) for sorting in query.order]
    assert told == [("PatientName", True), ("StudyDate", False), ("StudyID", False)]


def test_an_order_has_few_terms() -> None:
    study = [row for row in ATTRIBUTES if row.level is Level.STUDY and row.column]
    names = [row.keyword for row in study if row.vr in ("SH", "LO", "DA")]
    counts = ["NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "StudyTime", "PatientName"]

    with pytest.raises(BadRequest, match="10 attributes at most"):
        read(("orderby", ",".join([*names, *counts])))


def test_the_scope_comes_from_the_path() -> None:
    query = Query.from_url(Level.INSTANCE, [], study="1.2", series="1.3")

    assert (query.study, query.series, query.combined_datetime) == ("1.2", "1.3", True)
    with pytest.raises(BadRequest):
        Query.from_url(Level.SERIES, [], study="..")
