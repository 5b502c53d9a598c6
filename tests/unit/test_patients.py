"""Studies folded to patients."""

from typing import Any

import pytest

from service.dicom.errors import TooMany
from service.dicom.patients import Patients


def a_study(
    patient: str, *, issuer: str = "", name: str = "", series: int = 1, instances: int = 1
) -> dict[str, Any]:
    study: dict[str, Any] = {
        "00080020": {"vr": "DA", "Value": ["20240101"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]} if name else {"vr": "PN"},
        "00100020": {"vr": "LO", "Value": [patient]} if patient else {"vr": "LO"},
        "00201206": {"vr": "IS", "Value": [series]},
        "00201208": {"vr": "IS", "Value": [instances]},
    }
    return study | ({"00100021": {"vr": "LO", "Value": [issuer]}} if issuer else {})


def ids(found: Any) -> list[str]:
    return ["".join(one["00100020"].get("Value", [""])) for one in found]


def test_each_patient_is_told_once_and_at_once():
    patients = Patients(counting=False, most=10)

    assert ids(patients.take([a_study("P1"), a_study("P2"), a_study("P1")])) == ["P1", "P2"]
    assert ids(patients.take([a_study("P2"), a_study("P3")])) == ["P3"]
    assert list(patients.rest()) == []


def test_the_same_id_of_another_issuer_is_another_patient():
    patients = Patients(counting=False, most=10)

    assert len(list(patients.take([a_study("P1", issuer="A"), a_study("P1", issuer="B")]))) == 2


def test_patients_without_an_id_are_told_apart_by_name():
    patients = Patients(counting=False, most=10)
    studies = [a_study("", name="Doe"), a_study("", name="Roe"), a_study("", name="Doe")]

    assert len(list(patients.take(studies))) == 2


def test_counts_wait_for_all_studies():
    patients = Patients(counting=True, most=10)
    studies = [a_study("P1", series=2, instances=5), a_study("P2"), a_study("P1", series=1, instances=3)]

    assert list(patients.take(studies)) == []
    counted = [
        [patient[tag]["Value"][0] for tag in ("00201200", "00201202", "00201204")]
        for patient in patients.rest()
    ]
    assert counted == [[2, 3, 8], [1, 1, 1]]


def test_patients_with_counts_keep_what_is_said_of_them():
    patients = Patients(counting=True, most=10)
    study = a_study("P1", name="Doe") | {"00080056": {"vr": "CS", "Value": ["ONLINE"]}, "PatientID": {}}

    list(patients.take([study]))

    (patient,) = patients.rest()
    assert sorted(patient) == ["00080056", "00100010", "00100020", "00201200", "00201202", "00201204"]


def test_more_patients_than_can_be_remembered_are_refused():
    patients = Patients(counting=False, most=2)

    with pytest.raises(TooMany, match="more than 2 patients"):
        list(patients.take([a_study("P1"), a_study("P2"), a_study("P3")]))


def test_counts_are_asked_by_three_attributes():
    assert Patients.counts([0x00100020, 0x00201202])
    assert not Patients.counts([0x00100020, 0x00201208])
