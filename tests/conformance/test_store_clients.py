"""Store requests as known clients send them, byte for byte where their source tells."""

import json
import xml.etree.ElementTree as ET

import pytest

from service.dicom.dicomxml import xml_document
from tests.composing import JSON, NAMESPACE, PIXELS, URI, XML, Bulk, a_body, an_image, metadata, values_of
from tests.conformance.rows import cites, row
from tests.making import a_ct, new_uid
from tests.sites import ROOT, Site


def post(site: Site, body: bytes, path: str = "/studies", **headers: str):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return site.client.post(ROOT + path, content=body, headers=named)


def python_client(*files: bytes) -> bytes:
    """The body of dicomweb-client: a fixed boundary, a line end before every one of them."""
    boundary = "0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1"
    parts = b"".join(
        f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + file for file in files
    )
    return parts + f"\r\n--{boundary}--".encode()


@cites(
    "[D] dicomweb-client (python)",
    "a fixed boundary, a line end first; JSON or XML is told by an equal Content-Type",
)
@pytest.mark.parametrize("path", ["/studies", "/studies/1.2.840.1"])
def test_dicomweb_client_of_python(site, path):
    kind = 'multipart/related; type="application/dicom"; boundary="0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1"'
    body = python_client(a_ct(study="1.2.840.1"), a_ct(study="1.2.840.1"))
    for accept, answered in ((JSON, JSON), ("*/*", JSON), (XML, XML)):
        response = post(site, body, path, Content_Type=kind, Accept=accept)
        assert response.status_code == 200
        assert response.headers["content-type"] == answered
    assert len(response.content) == int(response.headers["content-length"])


@cites(
    "[D] dicomweb-client (js)",
    "boundary at random, quoted type; 200, 202, 204 and 206 are success, 201 is not",
)
def test_dicomweb_client_of_javascript(site):
    boundary = "----=_Part_0_65402.1700000000"
    kind = f"multipart/related; type=application/dicom; boundary={boundary}"
    quoted = f'multipart/related; type="application/dicom"; boundary="{boundary}"'
    body = f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + a_ct()
    body += f"\r\n--{boundary}--".encode()
    assert post(site, body, Content_Type=quoted, Accept="*/*").status_code == 200
    assert post(site, body, Content_Type=kind).status_code in (
        200,
        400,
    )  # a bare = is no token (RFC 2045 5.1)
    assert post(site, body.replace(b"DICM", b"D1CM"), Content_Type=quoted).status_code == 409


@cites(
    "[D] dcm4che stowrs", "boundary myboundary, a transfer syntax on each part, Accept as the request's type"
)
@pytest.mark.parametrize("accept", [JSON, XML, "application/json", "application/xml"])
def test_stowrs_of_files(site, accept):
    body = b"\r\n--myboundary\r\nContent-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n\r\n"
    body += a_ct() + b"\r\n--myboundary--\r\n"
    kind = "multipart/related;type=application/dicom;boundary=myboundary"
    response = post(site, body, Content_Type=kind, Accept=accept)
    assert response.status_code == 200
    assert response.headers["content-type"] == (XML if "xml" in accept else JSON)


@cites("[D] dcm4che stowrs", "metadata with a picture or a document beside them")
@pytest.mark.parametrize("kind", [JSON, XML])
def test_stowrs_of_metadata(site, kind):
    document = metadata(shape=False, T00420011={"vr": "OB", "BulkDataURI": "bulk"})
    written = json.dumps([document]).encode() if kind == JSON else xml_document(document)
    body = b"--myboundary\r\nContent-Type: " + kind.encode() + b"\r\n\r\n" + written
    body += b"\r\n--myboundary\r\nContent-Type: application/pdf\r\nContent-Location: bulk\r\n\r\n%PDF-1.4"
    body += b"\r\n--myboundary--\r\n"
    sent = f"multipart/related;type={kind};boundary=myboundary"
    response = post(site, body, Content_Type=sent, Accept=kind)
    assert response.status_code == 200
    assert response.headers["content-type"] == kind


@cites("[D] Weasis", "Accept of XML; the URL in (0008,1190) is fetched next")
def test_weasis(site):
    study = new_uid()
    body = b"--mimeTypeBoundary\r\nContent-Type: application/dicom\r\n\r\n" + a_ct(study=study)
    body += b"\r\n--mimeTypeBoundary--"
    kind = 'multipart/related;type="application/dicom";boundary=mimeTypeBoundary'
    response = post(site, body, Content_Type=kind, Accept=XML)
    root = ET.fromstring(response.content)
    assert root.tag == NAMESPACE + "NativeDicomModel"
    (url,) = values_of(response.content)["00081190"]
    assert (
        site.get(url or "", 'multipart/related;type="application/dicom";transfer-syntax=*').status_code == 200
    )


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        row("[D] Microsoft", "one file, without multipart", "application/dicom", a_ct()),
        row(
            "[D] curl",
            "--data-binary with its default type is no store",
            "application/x-www-form-urlencoded",
            a_ct(),
        ),
        row("[D] AWS, scripts", "DICOM JSON alone", JSON, json.dumps(metadata()).encode()),
    ],
)
def test_scripts(site, kind, body):
    response = post(site, body, Content_Type=kind)
    assert response.status_code == (415 if "urlencoded" in kind else 200)


@cites(
    "[D] OHIF",
    "segmentations and reports are stored by dcmjs to /studies, and as JSON with pixels beside them",
)
def test_ohif(site):
    response = post(
        site,
        a_body([json.dumps([an_image()]).encode()], [Bulk(URI, PIXELS)]),
        Content_Type=f'multipart/related; type="{JSON}"; boundary=bnd',
        Accept=f"{JSON}, multipart/related; type=application/octet-stream; transfer-syntax=*",
    )
    assert response.status_code == 200


@cites("[D] Java HttpURLConnection", "its default Accept, and a body in chunks without a length")
def test_java(site):
    def chunks():
        body = b"--b\r\n\r\n" + a_ct() + b"\r\n--b--"
        yield from (body[at : at + 100] for at in range(0, len(body), 100))

    headers = {
        "Content-Type": "multipart/related; type=application/dicom; boundary=b",
        "Accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
    }
    response = site.client.post(ROOT + "/studies", content=chunks(), headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == JSON
