"""The URI service for DICOM objects (PS3.18 chapter 9)."""

import pytest

from service.dicom.syntaxes import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from service.dicom.syntaxes import ROOT as UIDS
from tests.conformance.rows import cites, row
from tests.making import a_ct, a_data_set, a_file, add_pixels
from tests.reading import data_set
from tests.sites import ROOT, Site

J2K, JPEG = UIDS + ".4.90", UIDS + ".4.50"
DICOM = "application/dicom"
NATIVE = {
    "requestType": "WADO",
    "studyUID": "1.1",
    "seriesUID": "1.2",
    "objectUID": "1.3",
    "contentType": DICOM,
}


@pytest.fixture
def kept(site: Site) -> Site:
    names = {"study": "1.1", "series": "1.2"}
    for instance, syntax in (("1.4", J2K), ("1.5", JPEG)):
        made = add_pixels(a_data_set(**names, instance=instance), [bytes(32)])
        assert site.post(a_file(made, syntax, codestreams=[b"\xff\x4f\xff\xd9"])).status_code == 200
    for instance, syntax in (
        ("1.3", EXPLICIT_LE),
        ("1.6", IMPLICIT_LE),
        ("1.7", EXPLICIT_BE),
        ("1.8", DEFLATED),
    ):
        file = a_ct(study="1.1", series="1.2", instance=instance, syntax=syntax)
        assert site.post(file).status_code == 200
    return site


def ask(site: Site, changes: dict[str, str | None], place: str = ROOT + "/wado", **headers: str):
    asked = {name: value for name, value in (NATIVE | changes).items() if value is not None}
    return site.client.get(place, params=asked, headers=headers)


ROWS = [
    row("PS3.18 9.1", "requestType is mandatory", {"requestType": None}, 400),
    row("PS3.18 9.1", "requestType is WADO, spelt so", {"requestType": "wado"}, 400),
    row("PS3.18 9.1", "objectUID is mandatory", {"objectUID": None}, 400),
    row("spec 13", "studyUID and seriesUID may be left out", {"studyUID": None, "seriesUID": None}, 200),
    row("spec 13", "a studyUID that does not agree", {"studyUID": "1.9"}, 404),
    row("spec 13", "a seriesUID that does not agree", {"seriesUID": "1.9"}, 404),
    row("PS3.5 9.1", "a UID that is none", {"objectUID": "x"}, 400),
    row("PS3.18 9.4.3", "an object that is not there", {"objectUID": "1.9"}, 404),
    row("PS3.18 8.3", "unsupported parameters are ignored", {"level": "9"}, 200),
    row(
        "PS3.18 9.4", "contentType with a transfer syntax", {"contentType": DICOM + ";transfer-syntax=*"}, 400
    ),
    row("PS3.18 9.4", "contentType with a charset", {"contentType": DICOM + "; charset=utf-8"}, 400),
    row("PS3.18 9.4", "objects and pictures at once", {"contentType": DICOM + ",image/jpeg"}, 400),
    row("PS3.18 9.4", "charset is a parameter of its own", {"charset": "UTF-8"}, 200),
    row("PS3.18 9.4", "transferSyntax: its UID", {"transferSyntax": EXPLICIT_LE}, 200),
    row("PS3.18 9.4", "transferSyntax: no UID", {"transferSyntax": "little"}, 400),
    row("PS3.18 9.4", "transferSyntax: not supported", {"transferSyntax": "1.2.3"}, 406),
    row("PS3.18 8.7.3.5.2", "transferSyntax: Implicit VR never", {"transferSyntax": IMPLICIT_LE}, 406),
    row("PS3.18 8.7.3.5.2", "transferSyntax: Big Endian never", {"transferSyntax": EXPLICIT_BE}, 406),
    row("spec 13", "anonymize=yes: never the identified object", {"anonymize": "yes"}, 406),
    row("PS3.18 9.4.1", "anonymize: any other value", {"anonymize": "true"}, 400),
    row("spec 13", "annotation is about pictures", {"annotation": "patient"}, 400),
    row("spec 13", "windowing is about pictures", {"windowCenter": "40", "windowWidth": "80"}, 400),
]


@pytest.mark.parametrize(("changes", "status"), ROWS)
@pytest.mark.parametrize("place", [ROOT + "/wado", ROOT, "http://testserver/wado"])
def test_parameters_mean_what_the_standard_says(kept, place, changes, status):
    response = ask(kept, changes, place)
    assert response.status_code == status, response.text
    assert response.headers["content-type"]
    if status == 200:
        assert data_set(response.content).SOPInstanceUID == "1.3"


FORMS = [
    row("PS3.18 9.4", "Explicit VR Little Endian where none is named", "1.3", None, EXPLICIT_LE),
    row("PS3.18 9.4", "an empty transferSyntax is none", "1.3", "", EXPLICIT_LE),
    row("spec 13", "* is as stored (dcmjs, Weasis)", "1.4", "*", J2K),
    row("PS3.18 9.4", "the stored one by its UID", "1.4", J2K, J2K),
    row("PS3.18 8.7.3.5.2", "lossy, as stored", "1.5", "*", JPEG),
    row("PS3.18 8.7.3.5.2", "Implicit VR is written anew", "1.6", "*", EXPLICIT_LE),
    row("PS3.18 8.7.3.5.2", "Big Endian is written anew", "1.7", "*", EXPLICIT_LE),
    row("PS3.18 8.7.3.5.2", "Deflated is inflated", "1.8", "*", EXPLICIT_LE),
]


@pytest.mark.parametrize(("instance", "syntax", "expected"), FORMS)
def test_an_object_comes_alone_in_the_transfer_syntax_agreed_on(kept, instance, syntax, expected):
    response = ask(kept, {"objectUID": instance, "transferSyntax": syntax})
    assert response.headers["content-type"] == f"application/dicom; transfer-syntax={expected}"
    assert data_set(response.content).file_meta.TransferSyntaxUID == expected


@cites("PS3.18 9.1.2", "contentType comes before Accept, and Accept decides where there is none")
def test_content_type_comes_first(kept):
    assert ask(kept, {}, Accept="image/jpeg").status_code == 200
    assert ask(kept, {"contentType": None}, Accept=DICOM).status_code == 200
