"""Rendered reports, documents, videos and presentation states (PS3.18 8.7.4, 8.3.5)."""

from xml.etree import ElementTree

import numpy as np
import pytest

from tests.conformance.picturing import (
    JPEG,
    MANY_JPEG,
    MANY_PNG,
    PNG,
    a_document,
    a_report,
    a_state,
    an_image,
    decoded,
    picture,
    ramp,
)
from tests.conformance.retrieving import MP4, encapsulated, keep, series_of, study_of
from tests.conformance.rows import cites, row
from tests.reading import parts_of

NAMES = {"study": "1.1", "series": "1.2"}


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        row("PS3.18 Table 8.7.4-1", "text/html is the default of text", None, "text/html"),
        row("PS3.18 Table 8.7.4-1", "also by a wildcard", "text/*", "text/html"),
        row("PS3.18 Table 8.7.4-1", "text/plain", "text/plain", "text/plain"),
        row("PS3.18 Table 8.7.4-1", "text/xml", "text/xml", "text/xml"),
    ],
)
def test_a_report_is_text(site, accept, media_type):
    path = keep(site, a_report())
    response = site.get(path + "/rendered", accept)
    assert response.headers["content-type"] == f"{media_type}; charset=utf-8"
    html = media_type != "text/plain"
    assert ("Finding &lt;one&gt;" if html else "Finding <one>") in response.text
    assert ("usual &amp; nothing" if html else "usual & nothing") in response.text
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert site.get(path + "/rendered", JPEG).status_code == 406


@cites("PS3.18 Table 8.7.4-1", "text/xml is a well-formed document, whatever characters the report holds")
def test_a_report_as_xml(site):
    path = keep(site, a_report(PatientName="Doe^\x01<Jane>", StudyDescription="a\x0bb&\x1fc"))
    response = site.get(path + "/rendered", "text/xml")
    root = ElementTree.fromstring(response.content)
    assert root.tag == "{http://www.w3.org/1999/xhtml}html"
    assert "Nothing unusual & nothing else" in "".join(root.itertext())


@cites("PS3.18 8.8", "text that must not be in UTF-8 is not acceptable")
def test_a_report_in_another_character_set(site):
    path = keep(site, a_report()) + "/rendered"
    assert site.get(path, **{"Accept-Charset": "utf-8"}).status_code == 200
    assert site.get(path, **{"Accept-Charset": "latin1, utf-8;q=0"}).status_code == 406


@cites("Orthanc 1.23, dcmjs", "encapsulated documents leave as they are, in their exact length")
@pytest.mark.parametrize("accept", [None, "application/pdf", "application/*"])
def test_a_document(site, accept):
    content = b"%PDF-1.7 odd."
    path = keep(site, a_document(content))
    response = site.get(path + "/rendered", accept)
    assert (response.status_code, response.content) == (200, content)
    assert response.headers["content-type"] == "application/pdf"
    assert response.headers["content-length"] == str(len(content))
    assert site.get(study_of(path) + "/rendered", accept).content == content
    many = site.get(path + "/rendered", 'multipart/related; type="application/pdf"')
    assert [part.content for part in parts_of(many)] == [content]
    assert site.get(path + "/rendered", JPEG).status_code == 406


@cites("spec 8", "a document of another kind must not run as a page of ours")
def test_a_document_that_is_no_pdf(site):
    response = site.get(keep(site, a_document(b"<html/>", "text/html")) + "/rendered")
    assert response.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert response.headers["x-content-type-options"] == "nosniff"


@cites("OHIF 3.10", "video leaves as it is stored, any run of it")
def test_a_video(site):
    stream = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 8
    path = keep(site, encapsulated([stream], MP4)) + "/rendered"
    for accept in (None, "video/mp4", "video/*"):
        response = site.get(path, accept)
        assert (response.status_code, response.content) == (200, stream)
        assert response.headers["content-type"] == "video/mp4"
    part = site.get(path, "video/mp4", Range="bytes=4-7")
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert site.get(path, JPEG).status_code == 406
    assert site.get(path.replace("/rendered", "/frames/1/rendered")).status_code == 406


@cites("spec transfer-syntaxes 1", "a video is called what its first bytes say it is, or what was asked for")
def test_a_video_in_a_transport_stream(site):
    stream = (b"\x47" + bytes(187)) * 4
    path = keep(site, encapsulated([stream], MP4)) + "/rendered"
    assert site.get(path).headers["content-type"] == "video/mp2t"
    assert site.get(path, "video/mp4").headers["content-type"] == "video/mp4"


@pytest.fixture
def state(site):
    """A presentation state of two images that it shows inverted, by a window of 64 and 128."""
    for instance, first in (("1.3", 0), ("1.4", 50)):
        keep(site, an_image(ramp(first=first), **NAMES, instance=instance))
    return keep(site, a_state(("1.2", "1.3"), ("1.2", "1.4"), study="1.1", series="1.9", instance="1.8"))


@cites("PS3.18 8.3.5", "a presentation state is applied to all images that it refers to")
def test_a_presentation_state(site, state):
    def expected(first: int) -> np.ndarray:
        return 255 - np.clip((ramp(first=first) - 63.5) * 255 / 127 + 127.5, 0, 255)

    alone = picture(site.get(state + "/rendered", PNG))
    assert np.abs(alone - expected(0)).max() <= 1
    parts = parts_of(site.get(state + "/rendered", MANY_PNG))
    for part, first in zip(parts, (0, 50), strict=True):
        assert np.abs(decoded(part.content, PNG) - expected(first)).max() <= 1


@pytest.mark.parametrize(
    ("below", "status"),
    [
        row("PS3.18 8.3.5.1.4", "a window", "/rendered?window=10,20,linear", 400),
        row("spec 8", "a frame number", "/frames/1/rendered", 400),
        row("PS3.18 8.3.5.1.3", "a viewport with a region", "/rendered?viewport=8,8,1,1,4,4", 400),
        row("PS3.18 8.3.5.1.3", "a viewport", "/rendered?viewport=8,8", 200),
        row("PS3.18 8.3.5.1.1", "annotation", "/rendered?annotation=technique", 200),
    ],
)
def test_what_a_presentation_state_takes(site, state, below, status):
    assert site.get(state + below).status_code == status


@cites("spec 8", "in a study of images, states are not shown of their own")
def test_a_study_with_a_presentation_state(site, state):
    response = site.get("/studies/1.1/rendered", MANY_JPEG)
    assert (response.status_code, len(parts_of(response))) == (206, 2)
    assert len(parts_of(site.get(series_of(state) + "/rendered", MANY_JPEG))) == 2
