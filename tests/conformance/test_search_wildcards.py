"""Wildcards and the value representations that have them (PS3.4 C.2.2.2.4)."""

from typing import Any

import pytest

from tests.conformance.rows import cites, row
from tests.conformance.searching import found, search
from tests.making import a_ct
from tests.sites import Site

VALUES = {
    "StationAETitle": ("AE", "CT_ONE"),
    "PatientPosition": ("CS", "HFS_LONG"),
    "ProtocolName": ("LO", "Chest routine"),
    "AdditionalPatientHistory": ("LT", "Fell from a tree\r\nlast week"),
    "OperatorsName": ("PN", "Roe^Ann"),
    "RequestingService": ("LO", "Ward 7"),
    "StationName": ("SH", "Room 1"),
    "InstitutionAddress": ("ST", "Long Street 1"),
    "LongCodeValue": ("UC", "a very long code"),
    "URNCodeValue": ("UR", "urn:oid:2.16.840.1"),
    "TextValue": ("UT", "some text of any length"),
}
NUMBERS = {"PatientAge": "045Y", "SliceThickness": "2.5", "Rows": 4, "AcquisitionNumber": "7"}


@pytest.fixture
def kept(site: Site) -> Site:
    attributes: dict[str, Any] = {keyword: value for keyword, (_, value) in VALUES.items()} | {
        keyword: value for keyword, value in NUMBERS.items() if keyword != "Rows"
    }
    assert site.post(a_ct(study="1.1", series="1.2", instance="1.3", **attributes)).status_code == 200
    assert site.post(a_ct(study="1.1", series="1.5", instance="1.6")).status_code == 200
    return site


@pytest.mark.parametrize(
    ("keyword", "value"),
    [row("PS3.4 C.2.2.2.4", f"{vr}: {name}", name, value) for name, (vr, value) in VALUES.items()],
)
def test_text_is_matched_by_wildcards(kept, keyword, value):
    path = "/studies/1.1/instances"
    for asked in (value[:2] + "*", "*" + value[-3:], "?" + value[1:], value[:-1] + "?", f"*{value[1:-1]}*"):
        assert found(search(kept, path, (keyword, asked))) == ["1.3"], asked
    for asked in ("zz*", value + "?", "?" + value, "*zz"):
        assert found(search(kept, path, (keyword, asked))) == [], asked


@cites("PS3.4 C.2.2.2.4", "there is no escape: a reverse solidus before * does not make it a character")
def test_there_is_no_escape(kept):
    assert found(search(kept, "/studies/1.1/instances", ("InstitutionAddress", "Long\\*"))) == []


@pytest.mark.parametrize(
    "keyword", [row("PS3.4 C.2.2.2.4", f"{keyword} has no wildcards", keyword) for keyword in NUMBERS]
)
def test_other_values_are_not_matched_by_wildcards(kept, keyword):
    value = str(NUMBERS[keyword])
    response = search(kept, "/studies/1.1/instances", (keyword, value[:-1] + "?"))
    assert response.status_code in (204, 400)
