"""What was odd about an instance, told at {instance}/findings."""

import pytest

from tests.making import a_ct
from tests.sites import ROOT, Site


def path_of(site: Site, file: bytes) -> str:
    response = site.post(file)
    assert response.status_code == 200, response.text
    url: str = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    return url.removeprefix(ROOT)


def test_nothing_odd_is_an_empty_list(site):
    response = site.get(path_of(site, a_ct()) + "/findings")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == []


def test_what_was_odd_is_kept_with_the_instance_and_changes_no_status(site):
    # given: less pixel data than rows and columns need, and bytes behind the last element
    file = a_ct((bytes(10),), PatientName="Sakura^Momo") + bytes(8)
    # when
    path = path_of(site, file)
    found = site.get(path + "/findings").json()
    # then
    assert "Zero bytes follow the last element." in found
    assert any("should be 32" in sentence for sentence in found)
    assert "Sakura" not in " ".join(found)
    assert site.get(path, "application/dicom; transfer-syntax=*").content == file


@pytest.mark.parametrize("path", ["/studies/1/series/2/instances/3", "/studies/1.2.3/series/4.5/instances/6"])
def test_of_what_is_not_there_there_are_no_findings(site, path):
    assert site.get(path + "/findings").status_code == 404


def test_a_uid_that_is_none_is_a_bad_request(site):
    assert site.get("/studies/x/series/2/instances/3/findings").status_code == 400


@pytest.mark.parametrize(
    ("accept", "status"),
    [("application/json", 200), ("*/*", 200), ("application/dicom+json", 200), ("image/png", 406)],
)
def test_findings_are_json(site, accept, status):
    assert site.get(path_of(site, a_ct()) + "/findings", accept).status_code == status


def test_findings_are_of_one_instance_only(site):
    path = path_of(site, a_ct())
    for level in (path.partition("/series")[0], path.partition("/instances")[0]):
        assert site.get(level + "/findings").status_code == 404
    assert site.client.post(ROOT + path + "/findings").status_code == 405
