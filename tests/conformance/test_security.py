"""What is told to whom, and the bounds of what is taken (spec 18, PS3.18 8.11)."""

import json
import logging

import pytest

from service.environment import SettingError
from service.settings import Settings
from tests.composing import JSON, OCTETS, Bulk, a_body, post_body
from tests.conformance.rows import cites, row
from tests.making import a_ct
from tests.sites import ROOT, Site

ONE = "/studies/1.1/series/1.2/instances/1.3"
DICOM = "application/dicom"


@pytest.fixture
def kept(site: Site) -> Site:
    file = a_ct(study="1.1", series="1.2", instance="1.3", PatientName="Doe^Jane", PatientID="SECRET7")
    assert site.post(file).status_code == 200
    return site


@cites("spec 18", "no patient's name or identifier in log lines, query strings included")
def test_logs_hold_no_names_of_patients(kept, caplog):
    with caplog.at_level(logging.DEBUG, logger="isthmus"):
        for path in (
            "/studies?PatientName=Doe*&PatientID=SECRET7",
            "/studies?PatientID=SECRET7&limit=x",
            "/studies/SECRET7",
            "/SECRET7",
            ONE + "/metadata?PatientName=Doe",
            ONE + "/frames/SECRET7",
        ):
            kept.get(path)
        kept.get("/studies", "image/SECRET7", Referer="http://x/?PatientID=SECRET7")
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("isthmus")]
    assert len(ours) >= 7
    assert [line for line in ours if "SECRET7" in line or "Doe" in line] == []


@cites("spec 18", "URLs that the service makes hold UIDs only")
def test_urls_hold_no_names_of_patients(kept):
    (metadata,) = kept.get(ONE + "/metadata").json()
    (match,) = kept.get("/instances").json()
    made = (metadata["7FE00010"]["BulkDataURI"], match["00081190"]["Value"][0])
    assert [url for url in made if "SECRET7" in url or "Doe" in url] == []


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        row(
            "spec 18",
            "beyond loopback only where somebody says so",
            {"ISTHMUS_HOST": "0.0.0.0"},
            "ISTHMUS_AUTH",
        ),
        row("spec 18", "an IPv6 address beyond loopback", {"ISTHMUS_HOST": "::"}, "ISTHMUS_AUTH"),
    ],
)
def test_the_service_does_not_listen_to_everybody_by_accident(environ, said):
    with pytest.raises(SettingError, match=said):
        Settings.from_environment(environ)


def many_parts(count: int) -> bytes:
    part = b"--bnd\r\nContent-Type: application/dicom\r\n\r\nx\r\n"
    return part * count + b"--bnd--"


@cites("spec 18", "more parts than allowed are 413")
def test_the_number_of_parts_is_bounded(open_site):
    site = open_site(max_parts=3)
    kind = 'multipart/related; type="application/dicom"; boundary=bnd'
    assert site.post(many_parts(4), kind).status_code == 413
    assert site.post(many_parts(3), kind).status_code == 409


@cites("spec 18", "the headers of parts are bounded: 400")
def test_the_headers_of_a_part_are_bounded(site):
    body = b"--bnd\r\nContent-Type: application/dicom; x=" + b"a" * 20_000 + b"\r\n\r\nx\r\n--bnd--"
    assert site.post(body, 'multipart/related; type="application/dicom"; boundary=bnd').status_code == 400


@cites("spec 18", "an Accept header is bounded: 400")
def test_an_accept_header_is_bounded(kept):
    assert kept.get("/studies", "application/dicom+json, " * 1000 + "*/*").status_code == 400


@cites("spec 18", "frames of one request are bounded: 400")
def test_the_number_of_frames_of_a_request_is_bounded(kept):
    assert kept.get(ONE + "/frames/" + ",".join(["1"] * 20_001)).status_code == 400


DEEP = 100_000


@pytest.mark.parametrize(
    "document",
    [
        row("spec 18", "JSON that is nested without end", b'[{"00081140":{"vr":"SQ","Value":' * DEEP),
        row("spec 18", "JSON that is cut", b'[{"00080018":'),
        row("spec 18", "JSON that is none", b"\xff\xfe\x00"),
    ],
)
def test_hostile_json_is_refused(site, document):
    response = post_body(site, a_body([document]))
    assert response.status_code in (400, 409, 413)
    assert site.get("/studies").status_code == 204


ENTITIES = b"""<?xml version="1.0"?>
<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd"><!ENTITY b "&a;&a;">]>
<NativeDicomModel><DicomAttribute tag="00100020" vr="LO"><Value number="1">&b;</Value></DicomAttribute>
</NativeDicomModel>"""


@cites("spec 18", "XML with a document type, and so with entities, is not read")
def test_xml_entities_are_not_read(site):
    kind = "application/dicom+xml"
    response = post_body(site, a_body([ENTITIES], kind=kind), kind=kind)
    assert response.status_code in (400, 409)
    assert "root:" not in response.text


@cites("spec 18", "what a BulkDataURI in a store request names is never fetched")
def test_a_bulk_data_uri_is_never_fetched(kept):
    (document,) = kept.get(ONE + "/metadata").json()
    document["00080018"]["Value"] = ["1.9"]
    # a URL of our own, which would even answer
    response = post_body(kept, a_body([json.dumps(document).encode()]), kind=JSON)
    assert response.status_code == 409
    assert kept.get("/instances?SOPInstanceUID=1.9").status_code == 204


@cites("spec 18", "bulk data that nothing refers to are not kept")
def test_a_part_that_nobody_asked_for_is_not_kept(kept):
    stray = Bulk("http://elsewhere.example/1", bytes(1 << 16), OCTETS)
    response = post_body(kept, a_body([b"[]"], [stray]))
    assert response.status_code in (400, 409)


@cites("spec 18", "an answer of 404 does not tell whether something else is there")
def test_what_is_not_there_and_what_is_elsewhere_look_alike(kept):
    one, other = (
        kept.get("/studies/9.9/series/1.2/instances/1.3"),
        kept.get("/studies/9.9/series/9.8/instances/9.7"),
    )
    assert (one.status_code, one.json()) == (other.status_code, other.json())
    assert one.status_code == 404


@cites("RFC 9110 15.5.15", "a long URL of UIDs is read: viewers send lists of them")
def test_a_long_list_of_uids_is_read(kept):
    uids = ",".join(f"1.2.840.{number}" for number in range(400))
    response = kept.client.get(f"{ROOT}/studies?StudyInstanceUID={uids},1.1")
    assert response.status_code == 200
