"""Encapsulated documents as bulk data: in their own media type (PS3.18 10.4.1.1.2, PS3.3 C.24)."""

import pytest

from service.dicom.syntaxes import EXPLICIT_LE
from tests.conformance.retrieving import DICOM, J2K, MANY_ANY, MANY_OCTETS, OCTETS, encapsulated, keep
from tests.conformance.rows import cites, row
from tests.making import a_data_set, a_file, new_uid
from tests.reading import parts_of
from tests.sites import ROOT

PLAIN = f"{OCTETS}; transfer-syntax={EXPLICIT_LE}"
STREAMS = [b"\xff\x4f one \xff\xd9", b"\xff\x4f two!\xff\xd9"]
DOCUMENT = "1.2.840.10008.5.1.4.1.1.104.1"


def a_document(content: bytes, media_type: str = "application/pdf", length: int | None = None) -> bytes:
    made = a_data_set(sop_class=DOCUMENT, Modality="DOC", MIMETypeOfEncapsulatedDocument=media_type)
    made.EncapsulatedDocument = content + bytes(len(content) % 2)
    if length is not None:
        made.EncapsulatedDocumentLength = length
    return a_file(made)


PDF = b"%PDF-1.7 " + b"x" * 1500


@pytest.mark.parametrize("below", ["/bulkdata/00420011", "/bulkdata"])
@pytest.mark.parametrize(
    ("accept", "label", "single"),
    [
        row("spec 7", "in its own type", "application/pdf", "application/pdf", True),
        row(
            "spec 7", "in a multipart", 'multipart/related; type="application/pdf"', "application/pdf", False
        ),
        row("spec 7", "where anything is acceptable", "*/*", "application/pdf", False),
        row("PS3.18 Table 10.4.4-1", "as octets", MANY_OCTETS, PLAIN, False),
        row("PS3.18 Table 10.4.4-1", "as octets alone", OCTETS, PLAIN, True),
        row("PS3.18 8.7.7", "in the type wanted more", f"{OCTETS}, application/pdf; q=0.5", PLAIN, True),
    ],
)
def test_an_encapsulated_document_has_its_own_type(site, below, accept, label, single):
    path = keep(site, a_document(PDF, length=len(PDF)))
    response = site.get(path + below, accept)
    assert response.status_code == 200
    if single:
        assert (response.headers["content-type"], response.content) == (label, PDF)
        assert response.headers["content-length"] == str(len(PDF))
    else:
        (part,) = parts_of(response)
        assert (part.headers["Content-Type"], part.content) == (label, PDF)
        assert part.headers["Content-Location"] == f"{ROOT}{path}/bulkdata/00420011"


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        row("spec 7", "the exact length", len(PDF), PDF),
        row("spec 7", "no length: the value as it is, padded", None, PDF + b"\0"),
        row("spec 7", "a length that cannot be is not believed", 10, PDF + b"\0"),
        row("spec 7", "nor one that is too long", 10_000, PDF + b"\0"),
    ],
)
def test_an_encapsulated_document_has_its_exact_length(site, length, expected):
    path = keep(site, a_document(PDF, length=length))
    assert site.get(path + "/bulkdata/00420011", "application/pdf").content == expected
    assert site.get(path + "/bulkdata/00420011", "*/*").status_code == 200
    assert site.get(path + "/bulkdata/00420011", OCTETS, Range="bytes=1500-").content == expected[1500:]


@pytest.mark.parametrize(
    ("media_type", "label"),
    [
        row("spec 7", "a type with parameters", "text/XML; charset=utf-8", "text/xml"),
        row("spec 7", "no type", "", PLAIN),
        row("spec 7", "what is no type", "portable document", PLAIN),
        row("spec 7", "a line of its own", "a/b\r\nX-Evil: 1", PLAIN),
        row("spec 7", "a multipart would be taken for ours", "multipart/related", PLAIN),
    ],
)
def test_only_a_media_type_is_taken_for_one(site, media_type, label):
    path = keep(site, a_document(PDF, media_type, len(PDF)))
    (part,) = parts_of(site.get(path + "/bulkdata/00420011"))
    assert part.headers.keys() == {"Content-Type", "Content-Location", "Content-Length"}
    assert (part.headers["Content-Type"], part.content) == (label, PDF)


@cites("spec 18", "a document that somebody stored is no page of ours")
def test_a_document_does_not_run_in_a_browser(site):
    path = keep(site, a_document(b"<script>alert(1)</script>", "text/html"))
    response = site.get(path + "/bulkdata/00420011", "text/html,application/xhtml+xml;q=0.9")
    assert response.headers["content-type"].partition(";")[0] == "text/html"
    assert "sandbox" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"


@cites("PS3.18 10.4.1.1.5", "a study of both kinds: what each instance points to")
def test_a_study_of_images_and_documents(site):
    study = new_uid()
    made = a_data_set(study=study, sop_class=DOCUMENT, MIMETypeOfEncapsulatedDocument="application/pdf")
    made.EncapsulatedDocument, made.EncapsulatedDocumentLength = PDF + b"\0", len(PDF)
    keep(site, a_file(made))
    keep(site, encapsulated(STREAMS, study=study))
    keep(site, a_file(a_data_set(study=study)))
    parts = parts_of(
        site.get(f"/studies/{study}/bulkdata", f"{MANY_ANY}, multipart/related; type=application/pdf")
    )
    assert sorted(part.content for part in parts) == sorted([PDF, *STREAMS])
    assert {part.headers["Content-Type"] for part in parts} == {
        "application/pdf",
        f"image/jp2; transfer-syntax={J2K}",
    }
    assert (
        site.get(f"/studies/{study}", f'multipart/related; type="{DICOM}"; transfer-syntax=*').status_code
        == 200
    )
