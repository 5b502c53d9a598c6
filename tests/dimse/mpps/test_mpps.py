"""N-CREATE, N-SET and N-GET of performed procedure steps: states, attributes, statuses (PS3.4 F.7, F.8)."""

import pytest
from pydicom.dataset import Dataset

from bridge.worklist.settings import WorklistSettings
from tests.dimse.dimse_peers import IMPLICIT_LE, a_uid
from tests.dimse.mpps.performing import Modality, a_series, a_step, an_end, of
from tests.dimse.worklist.scheduling import ITEMS, a_request, patients


def attributes(modality: Modality, instance: str) -> Dataset:
    response, found = modality.get(instance)
    assert response.Status == 0
    assert found is not None
    return found


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED"])
def test_a_step_is_created_changed_and_ended(start, modality, status):
    ct, instance = modality(start().port), a_uid()

    assert ct.create(a_step(), instance).Status == 0x0000
    assert attributes(ct, instance).PerformedProcedureStepStatus == "IN PROGRESS"
    assert ct.set(of(PerformedProcedureStepDescription="Thorax"), instance).Status == 0x0000
    assert ct.set(an_end(status), instance).Status == 0x0000

    kept = attributes(ct, instance)
    assert kept.PerformedProcedureStepStatus == status
    assert (kept.PerformedProcedureStepDescription, kept.PatientID) == ("Thorax", "P1")
    assert len(kept.PerformedSeriesSequence[0].ReferencedImageSequence) == 1


def test_a_step_without_a_uid_is_given_one(start, modality):
    ct = modality(start().port)

    response = ct.create(a_step(), None)

    assert response.Status == 0
    assert attributes(ct, str(ct.command.AffectedSOPInstanceUID)).PatientID == "P1"


def test_a_uid_is_used_once(start, modality):
    ct, instance = modality(start().port), a_uid()
    ct.create(a_step(), instance)

    assert ct.create(a_step(), instance).Status == 0x0111


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"PerformedProcedureStepStatus": "COMPLETED"}, 0x0106),
        ({"PerformedProcedureStepStatus": "DISCONTINUED"}, 0x0106),
        ({"PerformedProcedureStepStatus": "DONE"}, 0x0106),
        ({"PerformedProcedureStepStatus": ""}, 0x0121),
        ({"PerformedProcedureStepStatus": None}, 0x0120),
        ({"PerformedProcedureStepID": None}, 0x0120),
        ({"PerformedStationAETitle": ""}, 0x0121),
        ({"PerformedProcedureStepStartTime": None}, 0x0120),
        ({"Modality": ""}, 0x0121),
        ({"ScheduledStepAttributesSequence": None}, 0x0120),
        ({"ScheduledStepAttributesSequence": []}, 0x0121),
        ({"ScheduledStepAttributesSequence": [Dataset()]}, 0x0120),
        ({"ScheduledStepAttributesSequence": [of(StudyInstanceUID="")]}, 0x0121),
        ({"PatientName": None, "PerformedSeriesSequence": None}, 0x0000),
    ],
)
def test_what_is_wrong_with_a_creation_is_said(start, modality, changed, status):
    ct, instance = modality(start().port), a_uid()

    response = ct.create(a_step(**changed), instance)

    assert response.Status == status
    assert ct.get(instance)[0].Status == (0x0112 if status else 0)


def test_the_attributes_at_fault_are_named(start, modality):
    ct = modality(start().port)

    assert ct.create(a_step(PerformedProcedureStepStatus="DONE"), a_uid()).Status == 0x0106
    assert ct.command.CommandDataSetType != 0x0101  # the Attribute List; pynetdicom does not read it
    ct.create(a_step(Modality=None, PerformedProcedureStepID=None), a_uid())
    assert ct.command.AttributeIdentifierList == [0x00400253, 0x00080060]
    assert "0040,0253" in ct.command.ErrorComment


@pytest.mark.parametrize(
    ("changed", "status"),
    [({"PatientName": None}, 0x0120), ({"PerformedSeriesSequence": None}, 0x0120), ({}, 0x0000)],
)
def test_strict_peers_send_all_that_is_demanded(start, modality, changed, status):
    ct = modality(start(strict=True).port)

    assert ct.create(a_step(**changed), a_uid()).Status == status


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"PerformedProcedureStepEndTime": None}, 0x0121),
        ({"PerformedSeriesSequence": []}, 0x0121),
        ({"PerformedSeriesSequence": [of(SeriesInstanceUID="1.2")]}, 0x0120),
        ({}, 0x0000),
    ],
)
def test_a_final_state_is_complete_where_that_is_demanded(start, modality, changed, status):
    ct, instance = modality(start(strict=True).port), a_uid()
    ct.create(a_step(), instance)

    assert ct.set(an_end(**changed), instance).Status == status
    state = attributes(ct, instance).PerformedProcedureStepStatus
    assert state == ("IN PROGRESS" if status else "COMPLETED")


def test_a_careless_end_is_taken(start, modality):
    ct, instance = modality(start().port), a_uid()
    ct.create(a_step(), instance)

    assert ct.set(of(PerformedProcedureStepStatus="DISCONTINUED"), instance).Status == 0x0000


@pytest.mark.parametrize("final", ["COMPLETED", "DISCONTINUED"])
def test_a_step_that_is_over_is_no_longer_updated(start, modality, final):
    ct, instance = modality(start().port), a_uid()
    ct.create(a_step(), instance)
    ct.set(an_end(final), instance)

    response = ct.set(an_end("COMPLETED"), instance)

    assert (response.Status, response.ErrorID) == (0x0110, 0xA710)  # PS3.4 Table F.7.2-2
    assert response.ErrorComment == "Performed Procedure Step Object may no longer be updated"


def test_what_an_n_set_may_not_change_stays_and_is_named(start, modality):
    ct, instance = modality(start().port), a_uid()
    ct.create(a_step(), instance)

    same = ct.set(of(PatientID="P1", StudyID="", PerformedProcedureStepDescription="a"), instance)
    other = ct.set(of(PatientID="P2", PerformedProcedureStepDescription="b"), instance)

    assert same.Status == 0x0000
    assert (other.Status, other.AttributeIdentifierList) == (0x0107, 0x00100020)
    kept = attributes(ct, instance)
    assert (kept.PatientID, kept.PerformedProcedureStepDescription) == ("P1", "b")


def test_nobody_knows_a_step_that_was_not_created(start, modality):
    ct = modality(start().port)

    assert ct.set(an_end(), a_uid()).Status == 0x0112
    assert ct.get(a_uid())[0].Status == 0x0112


def test_some_attributes_are_told_on_request(start, modality):
    ct, instance = modality(start().port, syntax=IMPLICIT_LE), a_uid()
    ct.create(a_step(PatientName="Müller^Jürgen", SpecificCharacterSet="ISO_IR 100"), instance)

    response, found = ct.get(instance, [0x00100010, 0x00400252])
    lacking, _ = ct.get(instance, [0x00100010, 0x00104000])

    assert response.Status == 0 and found is not None
    assert [element.keyword for element in found if element.tag.group > 8] == [
        "PatientName", "PerformedProcedureStepStatus",
    ]  # fmt: skip
    assert found.PatientName == "Müller^Jürgen"
    assert (lacking.Status, lacking.AttributeIdentifierList) == (0x0001, 0x00104000)


def test_a_step_of_thousands_of_images_is_taken(start, modality):
    ct, instance = modality(start().port), a_uid()
    ct.create(a_step(), instance)

    assert ct.set(an_end(PerformedSeriesSequence=[a_series(3000)]), instance).Status == 0x0000
    assert len(attributes(ct, instance).PerformedSeriesSequence[0].ReferencedImageSequence) == 3000


def test_a_step_that_is_too_long_is_refused(start, modality):
    ct, instance = modality(start().port), a_uid()
    ct.create(a_step(), instance)

    assert ct.set(an_end(PerformedSeriesSequence=[a_series(14_000)]), instance).Status == 0x0213
    assert attributes(ct, instance).PerformedProcedureStepStatus == "IN PROGRESS"


def test_the_oldest_that_are_over_make_room_and_open_ones_never_do(start, modality):
    ct = modality(start(kept=3).port)
    instances = [a_uid() for _ in range(6)]
    for instance in instances[:3]:
        assert ct.create(a_step(), instance).Status == 0
    ct.set(an_end(), instances[1])

    assert ct.create(a_step(), instances[3]).Status == 0x0000
    assert ct.create(a_step(), instances[4]).Status == 0x0213

    assert [ct.get(each)[0].Status for each in instances[:4]] == [0, 0x0112, 0, 0]


def test_steps_are_there_after_a_restart(start, modality):
    bridge, instance = start(), a_uid()
    ct = modality(bridge.port)
    ct.create(a_step(), instance)
    ct.set(of(PerformedProcedureStepDescription="Thorax"), instance)
    bridge.end()

    again = modality(start().port)

    assert attributes(again, instance).PerformedProcedureStepDescription == "Thorax"
    assert again.set(an_end(), instance).Status == 0x0000


@pytest.mark.parametrize(
    ("end", "told", "status"),
    [
        (None, {"P1", "P2", "P3", "p4", "P5"}, "STARTED"),
        ("DISCONTINUED", {"P1", "P2", "P3", "p4", "P5"}, ""),
        ("COMPLETED", {"P2", "P3", "p4", "P5"}, ""),
    ],
)
@pytest.mark.parametrize("key", [{"study": "1.2.3.1", "accession": ""}, {"study": "9.9", "accession": "A1"}])
def test_the_worklist_follows_what_is_performed(start, modality, end, told, status, key):
    bridge, instance = start(), a_uid()
    bridge.push(ITEMS)
    ct = modality(bridge.port)
    ct.create(a_step(step="S1", **key), instance)
    if end is not None:
        ct.set(an_end(end), instance)

    answers = bridge.ask(a_request(ScheduledProcedureStepStatus=""))

    assert patients(answers) == told
    found = {match.PatientID: match.ScheduledProcedureStepSequence[0] for match in answers.matches}
    assert all(
        (step.ScheduledProcedureStepStatus or "") == "" for name, step in found.items() if name != "P1"
    )
    if "P1" in told:
        assert (found["P1"].ScheduledProcedureStepStatus or "") == status


def test_completed_steps_are_told_where_that_is_chosen(start, modality):
    bridge, instance = start(worklist=WorklistSettings(hide_done=False)), a_uid()
    bridge.push(ITEMS[:1])
    ct = modality(bridge.port)
    ct.create(a_step(), instance)
    ct.set(an_end(), instance)

    assert patients(bridge.ask()) == {"P1"}
