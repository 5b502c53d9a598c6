"""What somebody stored, asked for by a browser: it is never a page, nor a script, of the server's own."""

import pytest

from tests.conformance.retrieving import keep
from tests.conformance.test_encapsulated_documents import a_document
from tests.making import a_ct, a_data_set, a_file
from tests.reading import parts_of
from tests.sites import Site

SCRIPT = b"<script>alert(document.domain)</script>"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
RUNS = "text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/xslt+xml"
LOADED = (
    "text/javascript",
    "application/javascript",
    "application/x-javascript",
    "text/ecmascript",
    "text/javascript1.5",
    "text/jscript",
    "text/css",
    "TEXT/JavaScript; a=b",
)


def polyglot(beginning: bytes) -> bytes:
    """A DICOM file that begins like something else: its preamble is the sender's to choose (PS3.10 7.1)."""
    file = a_ct()
    return beginning.ljust(128, b" ")[:128] + file[128:]


@pytest.mark.parametrize(
    "beginning",
    [
        b"MZ\x90\0",
        b"\x7fELF\x02\x01\x01",
        b"II*\0",
        b"%PDF-1.7\n",
        b"GIF89a",
        b"PK\x03\x04",
        b"<html>" + SCRIPT,
    ]
    + [b"x=1;/*", b"#!/bin/sh\n", b"\x1f\x8b\x08"],
)
def test_a_polyglot_is_dicom_to_whoever_asks(site, beginning):
    path = keep(site, polyglot(beginning))

    for accept in ("application/dicom", "application/dicom; transfer-syntax=*", BROWSER):
        answer = site.get(path, accept)
        assert answer.status_code == 200
        assert "dicom" in answer.headers["content-type"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    # What is stored is what was sent: nobody runs it here, and whoever fetches it is told what it is.
    assert site.get(path, "application/dicom; transfer-syntax=*").content[: len(beginning)] == beginning


@pytest.mark.parametrize("media_type", RUNS)
@pytest.mark.parametrize("below", ["/bulkdata/00420011", "/rendered"])
def test_a_document_that_could_run_is_in_a_sandbox(site, media_type, below):
    path = keep(site, a_document(SCRIPT, media_type, len(SCRIPT)))

    answer = site.get(path + below, f"{media_type}, text/html;q=0.1, */*;q=0.01")

    if answer.status_code == 200 and not answer.headers["content-type"].startswith("multipart/"):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.status_code in (200, 406)


@pytest.mark.parametrize("media_type", LOADED)
def test_a_document_is_no_script_that_a_page_of_ours_could_load(site, media_type):
    path = keep(site, a_document(b"alert(document.domain)", media_type))

    kind = media_type.partition(";")[0].lower()
    (part,) = parts_of(site.get(path + "/bulkdata/00420011"))

    assert site.get(path + "/bulkdata/00420011", kind).status_code == 406
    assert part.headers["Content-Type"].startswith("application/octet-stream")


def test_text_of_a_data_set_is_text_in_a_rendered_report(site):
    made = a_data_set(
        sop_class="1.2.840.10008.5.1.4.1.1.88.11",
        Modality="SR",
        PatientName="<img src=x onerror=alert(1)>",
        CompletionFlag="COMPLETE",
        VerificationFlag="UNVERIFIED",
        ValueType="TEXT",
        TextValue=SCRIPT.decode(),
    )
    path = keep(site, a_file(made))

    answer = site.get(path + "/rendered", "text/html")

    assert answer.status_code == 200
    assert b"<script" not in answer.content and b"<img" not in answer.content
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/studies", "/studies/x<script>", "/studies?limit=<script>", "/nothing"])
@pytest.mark.parametrize("accept", [BROWSER, "application/json", "*/*"])
def test_the_type_of_every_answer_counts(site, path, accept):
    keep(site, a_ct())

    answer = site.get(path, accept)

    assert answer.headers["x-content-type-options"] == "nosniff"
    assert b"<script>" not in answer.content


def test_a_refusal_as_a_page_runs_nothing_and_is_in_no_frame(site):
    answer = site.get("/studies/1.2.3/metadata", "text/html")

    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/api"])
def test_pages_are_in_no_frame_of_others(site: Site, path):
    headers = site.client.get(f"http://testserver{path}").headers

    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    ["//evil.example/", "/%2f/evil.example", "/\\evil.example", "/dicom-web//evil.example/..", "/ohif//x"],
)
def test_nobody_is_led_elsewhere(site: Site, path):
    answer = site.client.get(f"http://testserver{path}", follow_redirects=False)

    assert "evil" not in answer.headers.get("location", "")
    assert answer.status_code in (200, 308, 400, 404)
