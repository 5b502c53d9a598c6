"""The matching rules over parsed data sets (PS3.4 C.2.2.2)."""

import fnmatch
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.dicom.criteria import Filter, Match
from service.dicom.matching import glob, matches
from service.dicom.query import Query
from service.dicom.resource import Level
from tests.swiftness import spent_s

DATASET: dict[str, object] = {
    "00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "PRIMARY"]},
    "00080020": {"vr": "DA", "Value": ["20240115"]},
    "00080030": {"vr": "TM", "Value": ["1015"]},
    "00081030": {"vr": "LO", "Value": ["Head", "Neck "]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane", "Ideographic": "山田"}]},
    "00100040": {"vr": "CS"},
    "00180050": {"vr": "DS", "Value": [2.5]},
    "00400275": {
        "vr": "SQ",
        "Value": [
            {"00400009": {"vr": "SH", "Value": ["S1"]}, "00401001": {"vr": "SH", "Value": ["P1"]}},
            {
                "00400009": {"vr": "SH", "Value": ["S2"]},
                "00321064": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["CODE"]}}]},
            },
        ],
    },
    "00091001": {"vr": "IS", "Value": ["007"]},
}

TRUE = [
    [("ImageType", "PRIMARY")],
    [("StudyDescription", "Neck")],
    [("StudyDescription", "H*d")],
    [("PatientName", "doe*"), ("StudyDate", "2024")],
    [("PatientName", "=山田")],
    [("SliceThickness", "2.50")],
    [("00091001", "7")],
    [("StudyTime", "1000-1030")],
    [("00400275.00400009", "S1"), ("00400275.00401001", "P1")],
    [("00400275.00321064.CodeValue", "C?DE"), ("00400275.00400009", "S2")],
    [("PatientSex", '""'), ("emptyvaluematching", "true")],
    [("PatientComments", '""'), ("emptyvaluematching", "true")],
    [("00400275.00080104", '""'), ("emptyvaluematching", "true")],
    [("StudyDescription", "Head,Neck"), ("multiplevaluematching", "true")],
    [("StudyDate", "20240114-20240116"), ("StudyTime", "2200-0800")],
    [],
]  # fmt: skip
FALSE = [
    [("StudyDescription", "head")],
    [("StudyDescription", "Head*Neck")],  # never across values
    [("PatientName", "jane*")],
    [("PatientSex", "M")],
    [("PatientComments", "?")],
    [("00400275.00400009", "S2"), ("00400275.00401001", "P1")],
    [("00400275.00321064.CodeValue", "CODE"), ("00400275.00400009", "S1")],
    [("StudyDescription", "Head,Chest"), ("multiplevaluematching", "true")],
    [("StudyDate", "20240115-20240116"), ("StudyTime", "1100-0800")],
    [("PatientName", '""'), ("emptyvaluematching", "true")],
]


def satisfied(params: list[tuple[str, str]], *, combined: bool = True) -> bool:
    return matches(Query.from_url(Level.INSTANCE, params).filters, DATASET, combined_datetime=combined)


@pytest.mark.parametrize("params", TRUE, ids=str)
def test_a_data_set_matches(params: list[tuple[str, str]]) -> None:
    assert satisfied(params)


@pytest.mark.parametrize("params", FALSE, ids=str)
def test_a_data_set_does_not_match(params: list[tuple[str, str]]) -> None:
    assert not satisfied(params)


def test_dates_and_times_are_one_interval_only_where_combined() -> None:
    params = [("StudyDate", "20240114-20240116"), ("StudyTime", "2200-0800")]

    assert satisfied(params, combined=True)
    assert not satisfied(params, combined=False)


@pytest.mark.parametrize(
    "element",
    [None, 3, [], {}, {"Value": 3}, {"Value": [None]}, {"Value": [{}]}, {"vr": "SQ", "Value": ["other"]}],
)
def test_odd_elements_do_not_match_and_do_not_raise(element: object) -> None:
    keys = Query.from_url(Level.INSTANCE, [("PatientID", "x"), ("PatientName", "x")]).filters
    nested = [Filter((0x00400275, 0x00400009), "SH", Match.ANY, ("x",))]

    assert not matches(keys, {"00100020": element, "00100010": element})
    assert not matches(nested, {"00400275": element})


@settings(max_examples=500, deadline=None)
@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_wildcards_agree_with_a_regular_expression(pattern: str, text: str) -> None:
    expected = re.fullmatch(fnmatch.translate(pattern), text) is not None

    assert glob(pattern, text) == expected


def test_hostile_patterns_cost_little() -> None:
    def match() -> None:
        for pattern in ("*a" * 500 + "b", "*" + "a" * 1000 + "b", "*" + "?a" * 500 + "b"):
            assert not glob(pattern, "a" * 10_000)

    assert spent_s(match, 0.5) <= 0.5
