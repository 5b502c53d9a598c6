"""Queries as identifiers of a C-FIND: what a provider is asked, and what is compared with its answers."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from service.dicom.identifier import read_identifier
from service.dicom.identifying import Asking, asked_of, at_level
from service.dicom.matching import matches
from service.dicom.query import Query
from service.dicom.querying import Root, read_query
from service.dicom.resource import Level
from service.dicom.syntaxes import BY_UID, EXPLICIT_LE, IMPLICIT_LE

STUDY_DATE, STUDY_TIME, ACCESSION, PATIENT = (0x00080020,), (0x00080030,), (0x00080050,), (0x00100010,)
STUDY = (0x0020000D,)


def read(*params: tuple[str, str], level: Level = Level.STUDY, **scope: Any) -> Query:
    return Query.from_url(level, params, **scope)


def values_sent(query: Query, path: tuple[int, ...]) -> list[str]:
    return [asking.keys.get(path, "") for asking in asked_of(query).identifiers]


def answered(asking: Asking, datasets: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What a provider finds that matches by the letter of PS3.4 C.2.2.2."""
    identifier = read_identifier(asking.encode(BY_UID[EXPLICIT_LE]), BY_UID[EXPLICIT_LE])
    query = read_query(identifier, Root.STUDY).query
    return [
        one
        for one in datasets
        if matches(query.filters, one) and query.study in (None, one["0020000D"]["Value"][0])
    ]


def dataset(chosen: random.Random, number: int) -> dict[str, Any]:
    def element(vr: str, *values: Any) -> dict[str, Any]:
        value = chosen.choice((*values, None))
        return {"vr": vr} if value is None else {"vr": vr, "Value": [value]}

    return {
        "0020000D": {"vr": "UI", "Value": [f"1.2.{number}"]},
        "00080020": element("DA", "20240131", "20240201", "20231230"),
        "00080030": element("TM", "101500", "2359", "0001"),
        "00080050": element("SH", "A1", "A12", "B1"),
        "00100020": element("LO", "P1", "P22", "X"),
        "00100010": element("PN", {"Alphabetic": "Müller^Jürgen"}, {"Alphabetic": "Doe^Jane"}),
    }


WORDS = (
    ("StudyDate", ("20240131", "20240101-20240228", "-20240131", "20240201-")),
    ("StudyTime", ("101500", "1000-1100", "-0100")),
    ("AccessionNumber", ("A1", "A*", "A?", "A1,B1")),
    ("PatientID", ("P1", "P*", "?")),
    ("PatientName", ("müller*", "Doe^Jane", "*j*")),
    ("StudyInstanceUID", ("1.2.3", "1.2.3,1.2.4,1.2.5")),
)


@pytest.mark.parametrize("seed", range(120))
def test_a_provider_that_matches_finds_exactly_what_the_query_is_for(seed: int) -> None:
    chosen = random.Random(seed)
    datasets = [dataset(chosen, number) for number in range(40)]
    keys = chosen.sample(WORDS, chosen.randint(1, 3))
    params = [(name, chosen.choice(texts)) for name, texts in keys]
    params += [("multiplevaluematching", "true")] * chosen.randint(0, 1)
    query = read(*params)

    asked = asked_of(query)
    found = [one for asking in asked.identifiers for one in answered(asking, datasets)]
    kept = {one["0020000D"]["Value"][0] for one in found if asked.keeps(one)}

    combined = query.combined_datetime
    meant = [one for one in datasets if matches(query.filters, one, combined_datetime=combined)]
    assert kept == {one["0020000D"]["Value"][0] for one in meant}, params


def test_lists_of_uids_are_sent_a_hundred_at_a_time() -> None:
    uids = [f"1.2.{number}" for number in range(250)]

    sent = values_sent(read(("StudyInstanceUID", ",".join(uids))), STUDY)

    assert [len(one.split("\\")) for one in sent] == [100, 100, 50]
    assert "\\".join(sent).split("\\") == uids


def test_a_fuzzy_name_is_asked_for_by_its_first_word() -> None:
    query = read(("PatientName", "jane doe"), ("fuzzymatching", "true"))

    assert values_sent(query, PATIENT) == ["*jane*"]


def test_a_range_of_date_and_time_that_is_one_interval_sends_the_dates() -> None:
    query = read(("StudyDate", "20240130-20240201"), ("StudyTime", "1000-1100"))

    assert values_sent(query, STUDY_DATE) == ["20240130-20240201"]
    assert values_sent(query, STUDY_TIME) == [""]


def test_dates_of_another_zone_are_asked_a_day_around() -> None:
    query = read(("StudyDate", "20240131"), ("TimezoneOffsetFromUTC", "+0100"))

    assert values_sent(query, STUDY_DATE) == ["20240130-20240201"]


def test_too_long_a_value_is_compared_here() -> None:
    query = read(("AccessionNumber", "A" * 65))

    assert values_sent(query, ACCESSION) == [""]
    assert not asked_of(query).keeps({"00080050": {"vr": "SH", "Value": ["B"]}})
    assert asked_of(query).keeps({"00080050": {"vr": "SH", "Value": ["A" * 65]}})


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
def test_the_scope_and_the_level_are_part_of_the_identifier(syntax: str) -> None:
    query = read(("Modality", "CT"), level=Level.SERIES, study="1.2.3")
    (asking,) = asked_of(query).identifiers

    identifier = read_identifier(asking.encode(BY_UID[syntax]), BY_UID[syntax])

    told = {key.tag: key.text for key in identifier.keys}
    assert told[0x00080052] == "SERIES"
    assert (told[0x0020000D], told[0x00080060], told[0x0020000E]) == ("1.2.3", "CT", "")
    assert list(told) == sorted(told)


def test_a_name_that_the_peers_character_set_lacks_is_sent_in_utf_8() -> None:
    from service.dicom.repertoire import named

    (asking,) = asked_of(read(("PatientName", "山田*"))).identifiers

    encoded = asking.encode(BY_UID[EXPLICIT_LE], named("ISO_IR 100"))

    assert "山田*".encode() in encoded
    assert b"ISO_IR 192" in encoded


def test_a_walk_asks_each_level_for_its_own_keys() -> None:
    query = read(("Modality", "CT"), ("PatientID", "P1"), level=Level.SERIES)

    assert [key.path for key in at_level(query, Level.SERIES).filters] == [(0x00080060,)]
    assert [key.path for key in at_level(query, Level.STUDY).filters] == [(0x00100020,)]
