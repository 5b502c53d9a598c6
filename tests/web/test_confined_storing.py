"""What somebody may store, and let go of, who is confined to certain studies or patients."""

from collections.abc import Callable

import pytest

from service.index.port import OnDuplicate
from tests.making import a_data_set
from tests.sites import ROOT
from tests.wards import MINE, OTHERS, Ids, Ward, a_file_of, failures, some_ids

JSON = "application/dicom+json"
OBJECTS = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def objects(ward: Ward) -> set[str]:
    store = ward.archive._store
    return {key for key, _ in store.keys("")}


@pytest.mark.parametrize("on_duplicate", OnDuplicate)
def test_what_is_sent_of_others_is_refused_and_nothing_of_it_is_kept(
    open_ward: Callable[..., Ward], on_duplicate: OnDuplicate
) -> None:
    ward = open_ward(on_duplicate)
    mine, others = some_ids(), some_ids()
    ward.store(a_file_of(mine, MINE), a_file_of(others, OTHERS))
    before = objects(ward)
    fresh = some_ids()
    beside = Ids(others.study, others.series, fresh.instance)
    ward.be(mine.confinement("patient"))
    sent = {
        "another patient, a study that is not there": a_file_of(fresh, OTHERS),
        "no patient": a_file_of(fresh, ""),
        "another patient, a study of mine": a_file_of(Ids(mine.study, mine.series, fresh.instance), OTHERS),
        "the same instance": a_file_of(others, OTHERS),
        "other content for their instance": a_file_of(others, MINE),
        "one instance more of their study": a_file_of(beside, MINE),
        "one series more of their study": a_file_of(Ids(others.study, fresh.series, fresh.instance), MINE),
    }

    for what, file in sent.items():
        response = ward.store(file)
        assert response.status_code == 409, what
        assert failures(response) == [0x0124], what
        assert "may not store" in response.text
    mixed = ward.store(*sent.values())
    assert failures(mixed) == [0x0124] * len(sent)

    assert objects(ward) == before
    ward.be(None)
    assert len(ward.get("/instances").json()) == 2
    assert ward.get(others.fill("/studies/{study}"), OBJECTS).content.count(b"DICM") == 1


def test_what_is_sent_of_ones_own_is_taken(ward: Ward, mine: Ids, others: Ids) -> None:
    ward.be(mine.confinement("patient"))
    fresh = some_ids()
    for ids in (fresh, Ids(mine.study, fresh.series, fresh.instance)):
        response = ward.store(a_file_of(ids, f" {MINE} "))
        assert response.status_code == 200, response.text
        assert ward.get(ids.fill("/studies/{study}/series/{series}/metadata")).status_code == 200
    both = ward.store(a_file_of(some_ids(), MINE), a_file_of(some_ids(), OTHERS))
    assert both.status_code == 202
    assert failures(both) == [0x0124]
    assert len(both.json()["00081199"]["Value"]) == 1
    other = a_file_of(mine, MINE, InstanceNumber=77)
    assert failures(ward.store(other)) == [0x0111]  # of one's own one may learn


def test_who_is_confined_to_a_study_stores_into_it_and_nowhere_else(
    ward: Ward, mine: Ids, others: Ids
) -> None:
    ward.be(mine.confinement("study"))
    fresh = some_ids()
    inside = a_file_of(Ids(mine.study, fresh.series, fresh.instance), "whoever")
    assert ward.store(inside).status_code == 200
    for path in ("/studies", f"/studies/{mine.study}"):
        again = a_file_of(Ids(mine.study, fresh.series, some_ids().instance), MINE)
        assert ward.store(again, path=path).status_code == 200
    absent = some_ids()
    hidden = Ids(others.study, others.series, absent.instance)
    for ids in (hidden, absent):
        for path in ("/studies", f"/studies/{ids.study}"):
            response = ward.store(a_file_of(ids, MINE), path=path)
            assert (response.status_code, failures(response)) == (409, [0x0124])


def test_metadata_that_are_sent_are_refused_as_files_are(ward: Ward, mine: Ids, others: Ids) -> None:
    ward.be(mine.confinement("patient"))

    def document(ids: Ids, patient: str) -> bytes:
        made = a_data_set(study=ids.study, series=ids.series, instance=ids.instance, PatientID=patient)
        return made.to_json().encode()

    fresh = some_ids()
    hidden = ward.client.post(
        ROOT + "/studies", content=document(fresh, OTHERS), headers={"Content-Type": JSON}
    )
    taken = ward.client.post(ROOT + "/studies", content=document(fresh, MINE), headers={"Content-Type": JSON})
    assert (hidden.status_code, failures(hidden)) == (409, [0x0124])
    assert taken.status_code == 200


def test_several_patients_in_one_object_are_the_first_of_them(ward: Ward, mine: Ids) -> None:
    ward.be(mine.confinement("patient"))
    first, second = some_ids(), some_ids()
    assert ward.store(a_file_of(first, [MINE, OTHERS])).status_code == 200
    assert failures(ward.store(a_file_of(second, [OTHERS, MINE]))) == [0x0124]
    assert ward.get(first.fill("/studies/{study}/metadata")).status_code == 200
