"""What a store request may look like (PS3.18 10.5.1, 8.6; RFC 2046, RFC 9110)."""

import gzip
import json
from typing import Any

import pytest

from service.dicom.dicomxml import xml_document
from tests.composing import JSON, OCTETS, PIXELS, URI, XML, Bulk, a_body, an_image, metadata, object_of
from tests.conformance.rows import cites, row
from tests.making import a_ct, new_uid
from tests.sending import HEAD, Sender
from tests.sites import ROOT, Site

FILES = 'multipart/related; type="application/dicom"; boundary=bnd'


def post(site: Site, body: bytes, media_type: str, path: str = "/studies", **headers: str):
    return site.client.post(ROOT + path, content=body, headers={"Content-Type": media_type, **headers})


def part(content: bytes, head: bytes = b"Content-Type: application/dicom", newline: bytes = b"\r\n") -> bytes:
    return b"--bnd" + newline + head + newline * 2 + content + newline


# What the payload is


def two_files() -> bytes:
    return part(a_ct()) + part(a_ct()) + b"--bnd--"


def json_of(*documents: dict[str, Any]) -> bytes:
    return a_body([json.dumps(list(documents)).encode()], [Bulk(URI, PIXELS)])


def xml_of(*documents: dict[str, Any]) -> bytes:
    return a_body([xml_document(one) for one in documents], [Bulk(URI, PIXELS)], kind=XML)


@pytest.mark.parametrize(
    ("media_type", "body", "stored"),
    [
        row("PS3.18 10.5.2", "PS3.10 files, one a part", FILES, two_files(), 2),
        row(
            "PS3.18 10.5.2",
            "metadata in JSON, one array for all",
            f'multipart/related; type="{JSON}"; boundary=bnd',
            json_of(an_image(), an_image()),
            2,
        ),
        row(
            "PS3.18 10.5.2",
            "metadata in XML, one document a part",
            f'multipart/related; type="{XML}"; boundary=bnd',
            xml_of(an_image(), an_image()),
            2,
        ),
        row(
            "PS3.18 Table 8.7.3-1",
            "a root of application/octet-stream",
            f'multipart/related; type="{OCTETS}"; boundary=bnd',
            json_of(an_image()),
            1,
        ),
        row("[D] Microsoft, curl", "one file without multipart", "application/dicom", a_ct(), 1),
        row("[P] one data set", "JSON without multipart", JSON, json.dumps([metadata()]).encode(), 1),
        row("[P] one data set", "an object, not an array", JSON, json.dumps(metadata()).encode(), 1),
        row(
            "[P] one data set",
            "several data sets in an array",
            JSON,
            json.dumps([metadata(), metadata()]).encode(),
            2,
        ),
        row("[P] one data set", "XML without multipart", XML, xml_document(metadata()), 1),
        row("[P] old names", "application/json", "application/json", json.dumps(metadata()).encode(), 1),
        row("[P] old names", "text/xml", "text/xml", xml_document(metadata()), 1),
    ],
)
def test_a_payload_is_stored(site, media_type, body, stored):
    response = post(site, body, media_type)
    assert response.status_code == 200, response.text
    assert len(response.json()["00081199"]["Value"]) == stored
    assert len(site.get("/instances").json()) == stored


@cites("[P] one data set", "pixel data may be inline where nothing else can hold them")
def test_a_single_data_set_may_hold_its_pixel_data(site):
    document = metadata(
        T7FE00010={"vr": "OW", "InlineBinary": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}
    )
    assert object_of(site, post(site, json.dumps(document).encode(), JSON)).PixelData == PIXELS


@cites("PS3.18 10.5.2, 8.11", "a BulkDataURI means a part of the same request; nothing is fetched")
def test_a_single_data_set_has_no_bulk_data_beside_it(site):
    response = post(site, json.dumps(an_image()).encode(), JSON)
    assert response.status_code == 409
    (failure,) = response.json()["00081198"]["Value"]
    assert failure["00081197"]["Value"] == [0xC000]
    assert "BulkDataURI of (7FE0,0010)" in failure["00000902"]["Value"][0]


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        row("PS3.18 8.7.3", "files by default", "multipart/related; boundary=bnd", two_files()),
        row("PS3.18 8.7.3", "JSON", "multipart/related; boundary=bnd", json_of(an_image())),
        row("PS3.18 8.7.3", "XML", "multipart/related; boundary=bnd", xml_of(an_image())),
    ],
)
def test_a_body_without_its_type_is_what_its_first_part_is(site, media_type, body):
    assert post(site, body, media_type).status_code == 200


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        row(
            "RFC 2045 5.1",
            "parameters in quotes",
            'multipart/related; type="application/dicom"; boundary="bnd"',
            200,
        ),
        row("RFC 2045 5.1", "and without", "multipart/related; type=application/dicom; boundary=bnd", 200),
        row("RFC 2045 5.1", "in any order", 'multipart/related; boundary=bnd; type="application/dicom"', 200),
        row("RFC 2045 5.1", "in any case", 'Multipart/Related; TYPE="Application/DICOM"; Boundary=bnd', 200),
        row(
            "RFC 2045 5.1",
            "spaces around",
            'multipart/related ; type = "application/dicom" ; boundary = bnd',
            200,
        ),
        row(
            "[D] clients",
            "extra parameters",
            "multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.1; charset=utf-8;"
            ' start="<1>"; boundary=bnd',
            200,
        ),
        row("PS3.18 8.5", "an unknown root type", 'multipart/related; type="text/plain"; boundary=bnd', 415),
        row(
            "PS3.18 8.5",
            "no multipart/related",
            'multipart/mixed; type="application/dicom"; boundary=bnd',
            415,
        ),
        row("PS3.18 8.5", "a form", "multipart/form-data; boundary=bnd", 415),
        row("PS3.18 8.5", "octets alone", OCTETS, 415),
        row("PS3.18 8.5", "a picture", "image/jpeg", 415),
        row("PS3.18 8.5", "no type at all", "", 415),
        row("RFC 2046 5.1.1", "no boundary", 'multipart/related; type="application/dicom"', 400),
        row("RFC 2046 5.1.1", "too long a one", f"multipart/related; type={JSON}; boundary={'b' * 71}", 400),
        row(
            "RFC 2046 5.1.1",
            "another one",
            'multipart/related; type="application/dicom"; boundary=other',
            400,
        ),
    ],
)
def test_the_content_type_is_read_as_its_rfc_says(site, media_type, status):
    response = post(site, two_files(), media_type)
    assert response.status_code == status, response.text
    if status == 415:
        assert 'type="application/dicom+json"' in response.json()["detail"]


@pytest.mark.parametrize(
    "coding",
    [
        row("RFC 9110 8.4", "a coding that is not read", "br"),
        row("RFC 9110 8.4", "two of them", "gzip, gzip"),
    ],
)
def test_a_coding_that_is_not_read_is_415(site, coding):
    assert post(site, a_ct(), "application/dicom", **{"Content-Encoding": coding}).status_code == 415


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        row("RFC 9110 8.4.1.3", "gzip", "gzip", gzip.compress(two_files())),
        row("RFC 9110 8.4.1.3", "its old name", "x-gzip", gzip.compress(two_files())),
        row("RFC 9110 8.4.1", "in any case", "GZip", gzip.compress(two_files())),
        row(
            "RFC 1952 2.2",
            "several members",
            "gzip",
            gzip.compress(two_files()[:100]) + gzip.compress(two_files()[100:]),
        ),
        row("RFC 9110 12.5.3", "none", "identity", two_files()),
    ],
)
def test_a_coding_is_undone(site, coding, body):
    assert post(site, body, FILES, **{"Content-Encoding": coding}).status_code in (200, 202)


@cites("PS3.18 10.5.1", "there are no query parameters; unknown ones are ignored (8.3)")
def test_query_parameters_mean_nothing(site):
    assert post(site, a_ct(), "application/dicom", "/studies?x=1&PatientID=2").status_code == 200


@pytest.mark.parametrize(
    ("study", "status"),
    [row("PS3.18 8.5", "no UID", "x", 400), row("PS3.18 8.5", "65 characters", "1" * 65, 400)],
)
def test_a_study_that_is_no_uid_is_a_bad_request(site, study, status):
    assert post(site, a_ct(), "application/dicom", f"/studies/{study}").status_code == status


# The multipart


@pytest.mark.parametrize(
    "body",
    [
        row("[D] dicomweb-client", "a line end before the first boundary", b"\r\n" + two_files()),
        row("RFC 2046 5.1.1", "a preamble", b"This is a message.\r\nWith lines.\r\n" + two_files()),
        row("RFC 2046 5.1.1", "an epilogue", two_files() + b"\r\nThe end.\r\n--bnd\r\nno part"),
        row(
            "RFC 2046 5.1.1", "spaces behind a boundary", two_files().replace(b"--bnd\r\n", b"--bnd \t \r\n")
        ),
        row(
            "[P] line ends",
            "bare line feeds",
            part(a_ct(), newline=b"\n") * 1 + part(a_ct(), newline=b"\n") + b"--bnd--\n",
        ),
        row("[P] the last boundary", "without its dashes", part(a_ct()) + part(a_ct()) + b"--bnd"),
        row("[P] the last boundary", "and with a line end", part(a_ct()) + part(a_ct()) + b"--bnd\r\n"),
        row("[P] the last boundary", "with one dash", part(a_ct()) + part(a_ct()) + b"--bnd-"),
        row(
            "RFC 2046 5.1",
            "parts without any header",
            part(a_ct(), b"").replace(b"\r\n\r\n\r\n", b"\r\n\r\n", 1) + b"--bnd--",
        ),
        row(
            "RFC 2045 2", "headers in any case", part(a_ct(), b"content-TYPE:Application/DICOM") + b"--bnd--"
        ),
        row(
            "RFC 2045 2",
            "headers in any order, also unknown ones",
            part(a_ct(), b"X-A: 1\r\nContent-Length: 1\r\nContent-ID: <1>\r\nContent-Type: application/dicom")
            + b"--bnd--",
        ),
        row(
            "RFC 5322 2.2.3",
            "folded headers",
            part(a_ct(), b"Content-Type:\r\n application/dicom;\r\n\ttransfer-syntax=1.2.840.10008.1.2.1")
            + b"--bnd--",
        ),
        row(
            "[D] dcm4che",
            "a transfer syntax on the part",
            part(a_ct(), b"Content-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1")
            + b"--bnd--",
        ),
        row(
            "RFC 2045 6.2",
            "a transfer encoding that changes nothing",
            part(a_ct(), b"Content-Type: application/dicom\r\nContent-Transfer-Encoding: binary")
            + b"--bnd--",
        ),
        row(
            "RFC 2046 5.1.1",
            "boundary-like bytes in a part",
            part(a_ct(PatientComments="\r\n--bn\r\n--bndx")) + b"--bnd--",
        ),
    ],
)
@pytest.mark.parametrize("cut", [0, 1, 7], ids=["in one piece", "byte by byte", "by sevens"])
def test_a_multipart_is_taken_apart(site, body, cut):
    blocks = [body[at : at + cut] for at in range(0, len(body), cut)] if cut else [body]
    sender = Sender(*blocks, then="end").send_to(site)
    assert sender.status == 200, sender.body
    assert "00081198" not in sender.answer
    assert "0008119A" not in sender.answer


@pytest.mark.parametrize(
    "coding",
    [
        row("RFC 2045 6.4", "base64 is not undone", b"Content-Transfer-Encoding: base64"),
        row("RFC 2045 6.7", "quoted-printable neither", b"Content-Transfer-Encoding: quoted-printable"),
        row("RFC 9110 8.4", "nor a coding of a part", b"Content-Encoding: gzip"),
    ],
)
def test_a_part_in_a_coding_is_refused_rather_than_stored_wrong(site, coding):
    head = b"Content-Type: application/dicom\r\n" + coding
    assert post(site, part(a_ct(), head) + b"--bnd--", FILES).status_code == 409
    bulk = a_body([json.dumps([an_image()]).encode()], [Bulk(URI, PIXELS)])
    location = b"Content-Location: " + URI.encode()
    body = bulk.replace(location, location + b"\r\n" + coding)
    response = post(site, body, f'multipart/related; type="{JSON}"; boundary=bnd')
    assert response.status_code == 409
    (failure,) = response.json()["00081198"]["Value"]
    assert "send it in binary" in failure["00000902"]["Value"][0]


@pytest.mark.parametrize(
    "body",
    [
        row("PS3.18 10.5.3", "nothing", b""),
        row("PS3.18 10.5.3", "a closing boundary alone", b"--bnd--"),
        row("PS3.18 10.5.3", "a boundary alone", b"--bnd"),
        row("PS3.18 10.5.3", "a boundary and a line end", b"--bnd\r\n"),
        row("PS3.18 10.5.3", "a file and no multipart", a_ct()),
        row("PS3.18 10.5.3", "one part that no boundary closes", part(a_ct())),
        row("PS3.18 10.5.3", "half a part", part(a_ct())[:-50]),
        row("PS3.18 10.5.3", "headers that do not end", b"--bnd\r\nContent-Type: application/dicom\r\n"),
    ],
)
@pytest.mark.parametrize("kind", ["application/dicom", JSON, XML])
def test_broken_multipart_is_a_bad_request(site, body, kind):
    response = post(site, body, f'multipart/related; type="{kind}"; boundary=bnd')
    assert response.status_code == 400
    assert response.json()["detail"]
    assert list(site.store.keys()) == []


@cites("[P] a missing boundary", "a part that has its Content-Length is whole without a boundary behind it")
@pytest.mark.parametrize("behind", [b"", b"\r\n", b"\r\n--b"])
def test_a_part_of_told_length_needs_no_boundary_behind_it(site, behind):
    file = a_ct()
    head = b"Content-Type: application/dicom\r\nContent-Length: %d" % len(file)
    whole = part(file, head).removesuffix(b"\r\n")
    assert post(site, part(a_ct()) + whole + behind, FILES).status_code == 200
    assert post(site, whole[:-1], FILES).status_code == 400


@cites("[P] a missing boundary", "complete parts are stored, the one that the body ends in is C000")
def test_parts_before_a_missing_boundary_are_stored(site):
    response = post(site, part(a_ct()) + part(a_ct())[:-20], FILES)
    assert response.status_code == 202
    assert len(response.json()["00081199"]["Value"]) == 1
    (failure,) = response.json()["00081198"]["Value"]
    assert failure["00081197"]["Value"] == [0xC000]


# The transport


@pytest.mark.parametrize(
    ("media_type", "headers", "status"),
    [
        row("RFC 9110 10.1.1", "refused by its type", b"text/plain", {}, 415),
        row("PS3.18 10.5.3", "refused by its Accept", FILES.encode(), {"accept": b"image/png"}, 406),
        row("RFC 9110 10.1.1", "refused by its coding", FILES.encode(), {"content_encoding": b"br"}, 415),
        row(
            "RFC 9110 10.1.1",
            "refused for its boundary",
            b"multipart/related; type=application/dicom",
            {},
            400,
        ),
    ],
)
def test_who_waits_to_be_asked_for_the_body_hears_a_refusal_instead(site, media_type, headers, status):
    """A server sends the interim answer 100 when the application asks for the body."""
    sender = Sender(then="stall", media_type=media_type, expect=b"100-continue", **headers).send_to(site)
    assert (sender.status, sender.asked) == (status, 0)


@cites("RFC 9112 7.1", "a body in chunks has no Content-Length and any sizes, empty ones too")
def test_a_body_comes_in_any_chunks(site):
    body = b"\r\n" + HEAD + a_ct() + b"\r\n--bnd--"
    blocks = [body[:3], b"", body[3:9], b"", b"", body[9:-1], body[-1:], b""]
    assert Sender(*blocks, then="end").send_to(site).status == 200


@cites("PS3.18 10.5 [P]", "a connection that ends stores the complete parts, and nothing of the others")
def test_a_disconnect_stores_complete_parts_only(site):
    instance = new_uid()
    whole, cut = a_ct(instance=instance), a_ct()
    Sender(HEAD + whole + b"\r\n" + HEAD, cut[:-1], then="cut").send_to(site)
    found = site.get("/instances").json()
    assert [one["00080018"]["Value"][0] for one in found] == [instance]
    Sender(a_ct(), then="cut", media_type=b"application/dicom").send_to(site)
    Sender(json.dumps(metadata()).encode(), then="cut", media_type=JSON.encode()).send_to(site)
    assert len(site.get("/instances").json()) == 1


@cites("RFC 9110 15.5.9", "a body that stalls is 408")
def test_a_body_that_stalls_is_timed_out(site):
    sender = Sender(HEAD, then="stall").send_to(site, body_stall_s=0.05)
    assert sender.status == 408


@cites("PS3.18 10.5.3", "too many parts are 413; what came before stays and is counted")
def test_too_many_parts_are_413(open_site):
    response = open_site(max_parts=2).post_parts(a_ct(), a_ct(), a_ct())
    assert response.status_code == 413
    assert "2 instances before that are stored" in response.json()["detail"]


@cites("PS3.18 10.5.3", "metadata beyond the limit are 413")
def test_too_large_metadata_are_413(open_site):
    document = metadata(T00104000={"vr": "LT", "Value": ["x" * 2_000_000]})
    site = open_site(header_limit=1 << 20)
    assert post(site, json.dumps(document).encode(), JSON).status_code == 413


@cites("PS3.18 10.5.3", "more uploads than there is room for are 503 with Retry-After")
def test_no_room_is_503(open_site):
    response = open_site(uploads=0).post(a_ct())
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
