"""Every key at every level (PS3.4 Tables C.6-1 to C.6-5)."""

from typing import Any

import pytest
from pydicom.dataset import Dataset

from tests.conformance.searching import GUSEVA, MR, MUELLER, NOBODY, SR, YAMADA
from tests.dimse.finding import PATIENT_ROOT, PATIENT_STUDY_ONLY, PENDING, STUDY_ROOT, found
from tests.identifiers import a_query

ALL = {YAMADA, MUELLER, GUSEVA, NOBODY}

CT_SERIES, SR_SERIES, MR_SERIES, NO_SERIES, OLD_CT, PT_SERIES = (
    "1.1.1", "1.1.2", "1.2.1", "1.3.1", "1.4.1", "1.4.2",
)  # fmt: skip
EACH = {CT_SERIES, SR_SERIES, MR_SERIES, NO_SERIES, OLD_CT, PT_SERIES}

PATIENT_KEYS = [
    ("PatientID", "P2", {"P2"}),
    ("PatientID", "P?", {"P1", "P2"}),
    ("PatientName", "Müller^J*", {"P1"}),
    ("PatientBirthDate", "19700203", {"P1"}),
    ("PatientBirthDate", "1960-1980", {"P1"}),
    ("PatientSex", "M", {"P1"}),
    ("IssuerOfPatientID", "", {"P1", "P2", "p1", ""}),
]
STUDY_KEYS = [
    ("StudyInstanceUID", YAMADA, {YAMADA}),
    ("StudyInstanceUID", [YAMADA, GUSEVA, "9.9"], {YAMADA, GUSEVA}),
    ("StudyDate", "20240115", {MUELLER}),
    ("StudyDate", "20240101-20240301", {MUELLER, YAMADA}),
    ("StudyDate", "-20231231", {GUSEVA}),
    ("StudyTime", "0800", {YAMADA}),
    ("StudyTime", "10-11", {MUELLER}),
    ("AccessionNumber", "A2", {YAMADA}),
    ("AccessionNumber", "A?", {MUELLER, YAMADA, GUSEVA}),
    ("StudyID", "S1", {MUELLER, YAMADA}),
    ("PatientName", "yamada^tarou", {YAMADA}),
    ("PatientName", "山田*", {YAMADA}),
    ("PatientName", "гусева*", {GUSEVA}),
    ("PatientID", "p1", {GUSEVA}),
    ("PatientID", "P1\\P2", {MUELLER, YAMADA}),
    ("ModalitiesInStudy", "SR", {MUELLER}),
    ("ModalitiesInStudy", ["SR", "MR"], {MUELLER, YAMADA}),
    ("SOPClassesInStudy", MR, {YAMADA}),
    ("ReferringPhysicianName", "ref*", {MUELLER}),
    ("StudyDescription", "Thorax, Abdomen", {MUELLER}),
    ("PatientBirthDate", "19700203", {MUELLER}),
    ("PatientSex", "M", {MUELLER}),
    ("InstitutionName", "Hosp*", {MUELLER}),
    ("NumberOfStudyRelatedSeries", "2", {MUELLER, GUSEVA}),
    ("NumberOfStudyRelatedInstances", "3", {MUELLER}),
    ("StudyDate", "", ALL),
    ("PatientName", "*", ALL),
]
SERIES_KEYS = [
    ("SeriesInstanceUID", PT_SERIES, {PT_SERIES}),
    ("SeriesInstanceUID", [PT_SERIES, CT_SERIES], {PT_SERIES, CT_SERIES}),
    ("StudyInstanceUID", MUELLER, {CT_SERIES, SR_SERIES}),
    ("StudyInstanceUID", [MUELLER, YAMADA], {CT_SERIES, SR_SERIES, MR_SERIES}),
    ("Modality", "PT", {PT_SERIES}),
    ("Modality", ["MR", "PT"], {MR_SERIES, PT_SERIES}),
    ("SeriesNumber", "10", {PT_SERIES}),
    ("SeriesDescription", "AX*", {CT_SERIES}),
    ("BodyPartExamined", "CHEST", {CT_SERIES}),
    ("PerformedProcedureStepStartDate", "20240115", {CT_SERIES}),
    ("PerformedProcedureStepStartTime", "10-11", {CT_SERIES}),
    ("NumberOfSeriesRelatedInstances", "2", {CT_SERIES}),
    ("PatientName", "Müller*", {CT_SERIES, SR_SERIES}),
    ("PatientID", "p1", {OLD_CT, PT_SERIES}),
    ("Laterality", "", EACH),
]
IMAGE_KEYS = [
    ("SOPInstanceUID", "1.1.1.2", {"1.1.1.2"}),
    ("SOPInstanceUID", ["1.1.1.2", "1.4.2.1"], {"1.1.1.2", "1.4.2.1"}),
    ("SeriesInstanceUID", CT_SERIES, {"1.1.1.1", "1.1.1.2"}),
    ("StudyInstanceUID", MUELLER, {"1.1.1.1", "1.1.1.2", "1.1.2.1"}),
    ("InstanceNumber", "2", {"1.1.1.1"}),
    ("SOPClassUID", SR, {"1.1.2.1"}),
    ("SOPClassUID", [SR, MR], {"1.1.2.1", "1.2.1.1"}),
    ("Rows", 4, {"1.1.1.1", "1.1.1.2", "1.2.1.1", "1.4.1.1"}),
    ("BitsAllocated", 8, set()),
    ("NumberOfFrames", "1", {"1.2.1.1"}),
    ("ImageType", "AXIAL", {"1.1.1.1", "1.1.1.2"}),
    ("SliceThickness", "2.5", {"1.1.1.1", "1.1.1.2"}),
    ("PatientPosition", "HF?", {"1.1.1.1", "1.1.1.2"}),
    ("AcquisitionDateTime", "20240301060000", {"1.2.1.1"}),
    ("Modality", "MR", {"1.2.1.1"}),
    ("StudyDate", "20240301", {"1.2.1.1"}),
    ("ContentDate", "20240301", set()),
]


def named(rows: list[tuple[str, Any, set[str]]]) -> Any:
    return pytest.mark.parametrize(
        ("keyword", "value", "expected"), rows, ids=[f"{keyword}={value}" for keyword, value, _ in rows]
    )


def a_request(level: str, keyword: str, value: Any, **more: Any) -> Dataset:
    return a_query(level, SpecificCharacterSet="ISO_IR 192", **{**more, keyword: value})


@named(PATIENT_KEYS)
@pytest.mark.parametrize("root", [PATIENT_ROOT, PATIENT_STUDY_ONLY], ids=["patient root", "only"])
def test_keys_of_patients(ask, root, keyword, value, expected):
    answers = ask.find(a_request("PATIENT", keyword, value), root)

    assert set(found(answers, "PatientID")) == expected
    assert set(answers.pending) == {PENDING}
    assert all(keyword in match for match in answers.matches)


@named(STUDY_KEYS)
@pytest.mark.parametrize("root", [PATIENT_ROOT, STUDY_ROOT], ids=["patient root", "study root"])
def test_keys_of_studies(ask, root, keyword, value, expected):
    answers = ask.find(a_request("STUDY", keyword, value), root)

    assert sorted(found(answers, "StudyInstanceUID")) == sorted(expected)
    assert set(answers.pending) == {PENDING}
    assert all(keyword in match for match in answers.matches)


@named(SERIES_KEYS)
@pytest.mark.parametrize("root", [PATIENT_ROOT, STUDY_ROOT], ids=["patient root", "study root"])
def test_keys_of_series(ask, root, keyword, value, expected):
    answers = ask.find(a_request("SERIES", keyword, value), root)

    assert sorted(found(answers, "SeriesInstanceUID")) == sorted(expected)
    assert set(answers.pending) == {PENDING}
    assert all(keyword in match and "StudyInstanceUID" in match for match in answers.matches)


@named(IMAGE_KEYS)
@pytest.mark.parametrize("root", [PATIENT_ROOT, STUDY_ROOT], ids=["patient root", "study root"])
def test_keys_of_images(ask, root, keyword, value, expected):
    answers = ask.find(a_request("IMAGE", keyword, value), root)

    assert sorted(found(answers, "SOPInstanceUID")) == sorted(expected)
    assert set(answers.pending) <= {PENDING}
    assert all(keyword in match and "SeriesInstanceUID" in match for match in answers.matches)


def test_keys_inside_sequences_are_matched_on_one_item(ask):
    def having(step: str, procedure: str) -> Dataset:
        item = Dataset()
        item.ScheduledProcedureStepID, item.RequestedProcedureID = step, procedure
        return a_query("SERIES", RequestAttributesSequence=[item])

    assert found(ask.find(having("SPS1", "RP1")), "SeriesInstanceUID") == [CT_SERIES]
    assert found(ask.find(having("SPS1", "RP2")), "SeriesInstanceUID") == []
    (match,) = ask.find(having("SPS*", "")).matches
    assert [item.ScheduledProcedureStepID for item in match.RequestAttributesSequence] == ["SPS1", "SPS2"]


def test_private_keys_are_matched_and_returned_by_their_creator(ask):
    query = a_query("IMAGE", StudyInstanceUID=MUELLER, SeriesInstanceUID=CT_SERIES)
    query.private_block(0x0009, "OTHER", create=True).add_new(0x01, "LO", "of o*")

    answers = ask.find(query)

    assert len(answers.matches) == 2
    assert {match[0x00091001].value for match in answers.matches} == {"of others"}
    assert {match[0x00090010].value for match in answers.matches} == {"OTHER"}
