"""What a confinement permits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dicom.confinement import Confinement, patient_of
from service.dicom.values import comparable

STUDY, OTHER = "1.2", "1.3"


@pytest.mark.parametrize(
    ("studies", "patients", "patient", "permitted"),
    [
        (None, None, None, True),
        (None, None, "A", True),
        ([STUDY], None, None, True),
        ([OTHER], None, "A", False),
        ([], None, "A", False),
        (None, ["A"], "A", True),
        (None, ["A"], "a", False),
        (None, ["A"], "AB", False),
        (None, [" A "], "A", True),
        (None, ["A"], None, False),
        (None, [""], None, False),
        (None, [], "A", False),
        ([STUDY], ["B"], "A", True),
        ([OTHER], ["A"], "A", True),
        ([OTHER], ["B"], "A", False),
        ([], [], "A", False),
    ],
)
def test_either_list_permits_and_an_empty_one_nothing(
    studies: list[str] | None, patients: list[str] | None, patient: str | None, permitted: bool
) -> None:
    within = Confinement(
        None if studies is None else frozenset(studies), None if patients is None else frozenset(patients)
    )
    assert within.permits(STUDY, patient) is permitted


def test_what_no_study_can_have_is_left_out() -> None:
    within = Confinement(frozenset(["1.2", "1.2 ", "", "*", ".."]), frozenset(["", " ", "\0", "\ud800", "A"]))
    assert within == Confinement(frozenset(["1.2"]), frozenset(["A"]))
    only = Confinement(frozenset(["*"]), frozenset([""]))
    assert only.confines
    assert not only.permits("1.2", "A")


def test_the_first_of_several_identifiers_counts() -> None:
    assert patient_of("A\\B") == "A"
    assert patient_of("A") == "A"
    assert patient_of(None) is None


@given(st.text(), st.text())
def test_identifiers_are_compared_as_searches_compare_them(told: str, held: str) -> None:
    patient = comparable("LO", held)
    permitted = Confinement(patients=frozenset([told])).permits(
        STUDY, None if patient is None else str(patient)
    )
    assert permitted is (patient is not None and comparable("LO", told) == patient)
