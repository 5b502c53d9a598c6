"""Metadata, search results and store responses as XML (PS3.18 8.7.2, PS3.19 A.1)."""

import xml.etree.ElementTree as ET

import pytest

from service.dicom.xmlreading import read_xml
from tests.composing import NAMESPACE, XML, XML_PARTS, values_of
from tests.making import a_ct, a_data_set, a_file, new_uid
from tests.reading import parts_of


def keep(site, *files: bytes) -> str:
    """Store `files`; the path of the last one's instance."""
    response = site.post_parts(*files)
    assert response.status_code in (200, 202), response.text
    url = response.json()["00081199"]["Value"][-1]["00081190"]["Value"][0]
    return str(url).removeprefix("http://testserver/dicom-web")


def test_metadata_of_a_study_are_a_document_for_each_instance(site):
    study, series = new_uid(), new_uid()
    keep(site, *(a_ct(study=study, series=series, InstanceNumber=number) for number in (2, 1)))
    response = site.get(f"/studies/{study}/metadata", XML_PARTS)
    parts = parts_of(response)
    assert response.headers["content-type"].startswith('multipart/related; type="application/dicom+xml"; ')
    assert [part.headers["Content-Type"] for part in parts] == [XML, XML]
    assert [part.headers["Content-Length"] for part in parts] == [str(len(part.content)) for part in parts]
    assert [values_of(part.content)["00200013"] for part in parts] == [["1"], ["2"]]
    for part in parts:
        (one,) = parts_of(site.get(part.headers["Content-Location"], XML_PARTS))
        assert one.content == part.content


def test_xml_says_what_the_json_says(site):
    made = a_data_set(
        PatientName="Müller^Jörg=山^田", SpecificCharacterSet="ISO_IR 192", PatientComments="a<b&c\x1b"
    )
    made.RequestAttributesSequence = [a_data_set(SliceThickness="0.10")]
    made.private_block(0x0029, "ACME", create=True).add_new(1, "OB", bytes(4000))
    path = keep(site, a_file(made))
    (document,) = site.get(path + "/metadata").json()
    (part,) = parts_of(site.get(path + "/metadata", XML_PARTS))
    found = read_xml(part.content)
    assert found.pop("00104000") == {"vr": "LT", "Value": ["a<b&c\ufffd"]}
    assert document.pop("00104000") == {"vr": "LT", "Value": ["a<b&c\x1b"]}
    # The numbers of JSON are text in XML, and keep their digits.
    sequence = found["00400275"]["Value"][0]
    assert sequence.pop("00180050") == {"vr": "DS", "Value": ["0.10"]}
    assert document["00400275"]["Value"][0].pop("00180050") == {"vr": "DS", "Value": [0.1]}
    assert as_text(found) == as_text(document)
    assert found["00291001"]["BulkDataURI"] == f"http://testserver/dicom-web{path}/bulkdata/00291001"


def as_text(document):
    if isinstance(document, dict):
        return {key: as_text(value) for key, value in document.items()}
    return [as_text(value) for value in document] if isinstance(document, list) else str(document)


@pytest.mark.parametrize("accept", [XML, "application/xml", f"text/html;q=0.5, {XML}; q=.9"])
def test_metadata_of_one_instance_may_be_a_single_document(site, accept):
    path = keep(site, a_ct(AccessionNumber="A7"))
    response = site.get(path + "/metadata", accept)
    assert response.status_code == 200
    assert response.headers["content-type"] == XML
    assert values_of(response.content)["00080050"] == ["A7"]


def test_a_single_document_is_not_what_several_instances_can_be(site):
    study = new_uid()
    keep(site, a_ct(study=study))
    for path in (f"/studies/{study}/metadata", "/studies", "/instances"):
        response = site.get(path, XML)
        assert response.status_code == 406
        assert response.json()["available"] == ["application/dicom+json", XML_PARTS]


@pytest.mark.parametrize("accept", ["*/*", "application/*", "application/dicom+json, " + XML_PARTS])
def test_json_is_what_comes_where_either_will_do(site, accept):
    path = keep(site, a_ct())
    for where in ("/studies", path + "/metadata"):
        assert site.get(where, accept).headers["content-type"] == "application/dicom+json"


@pytest.mark.parametrize(
    "accept",
    [
        XML_PARTS,
        "multipart/related; type=application/dicom+xml",
        'multipart/related; type="application/xml"',
        'multipart/related; type="application/dicom+xml"; transfer-syntax=1.2.840.10008.1.2.1',
        "multipart/related",
    ],
)
def test_searches_are_answered_in_xml_where_it_is_asked_for(site, accept):
    keep(site, a_ct(AccessionNumber="A1"), a_ct(AccessionNumber="A2"))
    for path in ("/studies", "/series?includefield=AccessionNumber", "/instances?AccessionNumber=A*"):
        parts = parts_of(site.get(path, accept))
        assert sorted(values_of(part.content)["00080050"][0] or "" for part in parts) == ["A1", "A2"]
        urls = [str(values_of(part.content)["00081190"][0]) for part in parts]
        assert all(url.startswith("http://testserver/dicom-web/studies/") for url in urls)


def test_a_search_that_finds_nothing_has_no_parts(site):
    response = site.get("/studies?PatientID=nobody", XML_PARTS)
    assert response.status_code == 204
    assert response.content == b""


def test_metadata_of_many_instances_stream(open_site):
    site = open_site(read_block=1 << 14)
    study, series = new_uid(), new_uid()
    keep(site, *(a_ct(study=study, series=series, InstanceNumber=number) for number in range(1, 41)))
    parts = parts_of(site.get(f"/studies/{study}/series/{series}/metadata", XML_PARTS))
    numbers = [values_of(part.content)["00200013"] for part in parts]
    assert numbers == [[str(number)] for number in range(1, 41)]


@pytest.mark.parametrize("accept", [XML, "application/xml"])
def test_the_store_response_is_xml_where_it_is_asked_for(site, accept):
    study = new_uid()
    body = a_ct(study=study)
    headers = {"Content-Type": "application/dicom", "Accept": accept}
    response = site.client.post("http://testserver/dicom-web/studies", content=body, headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == XML
    root = ET.fromstring(response.content)
    assert root.tag == NAMESPACE + "NativeDicomModel"
    assert values_of(response.content)["00081190"] == [f"http://testserver/dicom-web/studies/{study}"]
    found = read_xml(response.content)
    assert list(found) == ["00081190", "00081199"]
    assert found["00081199"]["Value"][0]["00081150"]["Value"] == ["1.2.840.10008.5.1.4.1.1.2"]


def test_failures_are_told_in_xml_too(site):
    headers = {"Content-Type": "application/dicom", "Accept": XML}
    response = site.client.post("http://testserver/dicom-web/studies", content=bytes(400), headers=headers)
    assert response.status_code == 409
    (failure,) = read_xml(response.content)["0008119A"]["Value"]
    assert failure["00081197"] == {"vr": "US", "Value": ["49152"]}
