"""The URI service, WADO-URI (PS3.18 chapter 9), for DICOM objects."""

import pytest

from service.dicom.syntaxes import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from service.dicom.syntaxes import ROOT as UIDS
from tests.making import a_ct, a_data_set, a_file, add_pixels, new_uid
from tests.reading import data_set, differences
from tests.sites import ROOT, Site

J2K, LOSSY_JPEG = UIDS + ".4.90", UIDS + ".4.50"
DICOM = "application/dicom"


def keep(site: Site, file: bytes) -> dict[str, str]:
    """Store `file`; the parameters that name it, and that ask for the object."""
    assert site.post(file).status_code == 200
    stored = data_set(file)
    return {
        "requestType": "WADO",
        "studyUID": stored.StudyInstanceUID,
        "seriesUID": stored.SeriesInstanceUID,
        "objectUID": stored.SOPInstanceUID,
        "contentType": DICOM,
    }


def ask(site: Site, parameters: dict[str, str], base: str = ROOT, **headers: str):
    return site.client.get(base + "/wado", params=parameters, headers=headers)


def compressed(syntax: str) -> bytes:
    return a_file(add_pixels(a_data_set(), [bytes(32)]), syntax, codestreams=[b"\xff\x4f\xff\xd9"])


@pytest.fixture
def ct(site):
    file = a_ct()
    return file, keep(site, file)


@pytest.mark.parametrize("base", [ROOT, "http://testserver"])
def test_an_object_comes_alone_and_with_its_type(site, ct, base):
    file, parameters = ct
    response = ask(site, parameters, base)
    assert response.status_code == 200
    assert response.content == file  # spec 13: single part only
    assert response.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT_LE}"
    assert response.headers["content-length"] == str(len(file))


def without(*names: str):
    return lambda given: {name: value for name, value in given.items() if name not in names}


def and_(**more: str):
    return lambda given: given | more


ROWS = [
    ("9.1 requestType is mandatory", without("requestType"), 400),
    ("9.1 requestType is WADO", and_(requestType="wado"), 400),
    ("9.1 requestType is WADO", and_(requestType=""), 400),
    ("9.1 objectUID is mandatory", without("objectUID"), 400),
    ("9.1 a UID is one (PS3.5 9.1)", and_(objectUID="1.2.x"), 400),
    ("9.1 a UID is one", and_(objectUID=""), 400),
    ("9.1 a UID is one", and_(studyUID="9" * 65), 400),
    ("9.1 a UID is one", and_(seriesUID="x"), 400),
    ("spec 13 [D]: studyUID and seriesUID may be left out", without("studyUID", "seriesUID"), 200),
    ("spec 13 [D]: one of them may be left out", without("studyUID"), 200),
    ("spec 13 [D]: one of them may be left out", without("seriesUID"), 200),
    ("spec 13: a UID given has to agree", and_(studyUID="1.2.3"), 404),
    ("spec 13: a UID given has to agree", and_(seriesUID="1.2.3"), 404),
    ("9.4.3 an unknown object", and_(objectUID="1.2.3"), 404),
    ("9.4 transferSyntax: the stored one", and_(transferSyntax=EXPLICIT_LE), 200),
    ("9.4 [D] transferSyntax=* as stored", and_(transferSyntax="*"), 200),
    ("9.4 an empty transferSyntax is none", and_(transferSyntax=""), 200),
    ("9.4 a transferSyntax that is no UID", and_(transferSyntax="explicit"), 400),
    ("9.4 a transferSyntax that is not supported", and_(transferSyntax=LOSSY_JPEG), 406),
    ("9.4 Implicit VR never leaves", and_(transferSyntax=IMPLICIT_LE), 406),
    ("9.4 an unknown transferSyntax", and_(transferSyntax="1.2.3.4"), 406),
    ("9.4.1 anonymize=yes: never the identified object", and_(anonymize="yes"), 406),
    ("9.4.1 anonymize has no other value", and_(anonymize="no"), 400),
    ("9.4.1 anonymize has no other value", and_(anonymize=""), 400),
    ("spec 13: annotation is about pictures", and_(annotation="patient"), 400),
    ("spec 13: windowing is about pictures", and_(windowCenter="40", windowWidth="400"), 400),
    ("spec 13: windowing is about pictures", and_(windowWidth="400"), 400),
    ("spec 13: contentType has no parameters", and_(contentType=f"{DICOM}; transfer-syntax={J2K}"), 400),
    ("spec 13: contentType has no parameters", and_(contentType=f"{DICOM};charset=utf-8"), 400),
    ("spec 13: no mixture", and_(contentType=f"{DICOM},image/jpeg"), 400),
    ("spec 13: a media type", and_(contentType="dicom"), 400),
    ("spec 13: a media type", and_(contentType=""), 400),
    ("8.7.1 types in any case", and_(contentType="Application/DICOM"), 200),
    ("spec 13: no such picture is made", and_(contentType="image/tiff"), 406),
    ("8.3.1 unknown parameters are ignored", and_(frobnicate="1"), 200),
    ("8.3.1 charset is about text", and_(charset="UTF-8"), 200),
]


@pytest.mark.parametrize(
    ("rule", "change", "status"), ROWS, ids=[f"{n} {row[0]}" for n, row in enumerate(ROWS)]
)
def test_parameters_mean_what_the_standard_says(site, ct, rule, change, status):
    file, parameters = ct
    response = ask(site, change(parameters))
    assert response.status_code == status, (rule, response.text)
    if status == 200:
        assert response.content == file
    else:
        assert response.json()["detail"]
        assert "Doe" not in response.text


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "image/jpeg"),  # spec 13: a picture
        ("image/*", "image/jpeg"),
        ("image/jpeg, application/dicom;q=0.5", "image/jpeg"),
        ("application/dicom", DICOM),
        ("application/*", DICOM),
        ("application/dicom, image/jpeg;q=0.5", DICOM),
    ],
)
def test_accept_decides_where_content_type_does_not(site, ct, accept, media_type):
    file, parameters = ct
    response = ask(site, without("contentType")(parameters), Accept=accept)
    assert response.headers["content-type"].partition(";")[0] == media_type
    assert ask(site, parameters, Accept="image/*").content == file  # spec 13: contentType comes first


def test_a_refusal_says_what_there_is(site, ct):
    response = ask(site, ct[1] | {"contentType": "image/tiff"})
    assert "image/jpeg" in response.json()["available"]


def test_a_parameter_given_twice_with_two_values_is_a_bad_request(site, ct):
    _, parameters = ct
    for name, value, status in (("objectUID", "1.2.3", 400), ("requestType", "WADO", 200)):
        response = site.client.get(ROOT + "/wado", params=[*parameters.items(), (name, value)])
        assert response.status_code == status


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_BE, DEFLATED])
@pytest.mark.parametrize("asked", [None, "*", EXPLICIT_LE])
def test_what_must_not_leave_as_it_is_leaves_in_explicit_little_endian(site, syntax, asked):
    file = a_ct(syntax=syntax)
    parameters = keep(site, file) | ({"transferSyntax": asked} if asked else {})
    response = ask(site, parameters)
    assert response.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT_LE}"
    sent = data_set(response.content)
    assert sent.file_meta.TransferSyntaxUID == EXPLICIT_LE
    assert differences(data_set(file), sent, big_endian=syntax == EXPLICIT_BE) == []


@pytest.mark.parametrize(
    ("stored", "asked", "status"),
    [
        (J2K, "*", 200),  # [D] Weasis, dcm4che: as stored
        (J2K, J2K, 200),
        (J2K, None, 406),  # PS3.18 9.4: Explicit VR Little Endian, and this is no codestream
        (J2K, EXPLICIT_LE, 406),
        (LOSSY_JPEG, None, 200),  # PS3.18 8.7.3.5.2: what exists only in a lossy form
        (LOSSY_JPEG, "*", 200),
    ],
)
def test_compressed_objects_leave_as_they_are_stored(site, stored, asked, status):
    file = compressed(stored)
    response = ask(site, keep(site, file) | ({"transferSyntax": asked} if asked else {}))
    assert response.status_code == status
    if status == 200:
        assert response.content == file
        assert response.headers["content-type"] == f"application/dicom; transfer-syntax={stored}"
    else:
        assert response.json()["available"] == [f"application/dicom; transfer-syntax={stored}"]


def test_of_several_objects_with_one_uid_the_last_to_come_in_is_meant(site):
    instance = new_uid()
    first, second = (
        a_ct(instance=instance, StudyDate="20990101"),
        a_ct(instance=instance, StudyDate="19990101"),
    )
    parameters = keep(site, first)
    keep(site, second)
    short = without("studyUID", "seriesUID")(parameters)
    assert ask(site, short).content == second
    assert ask(site, parameters).content == first


def test_an_object_with_a_name_in_another_script_is_found(site):
    parameters = keep(site, a_ct(SpecificCharacterSet="ISO_IR 192", PatientName="山田^太郎"))
    assert ask(site, without("studyUID", "seriesUID")(parameters)).status_code == 200


def test_a_deleted_object_is_not_found(site, ct):
    _, parameters = ct
    site.client.delete(f"{ROOT}/studies/{parameters['studyUID']}")
    assert ask(site, parameters).status_code == 404  # spec 13: 410 only where deletions are remembered


def test_head_conditions_and_ranges_work_as_elsewhere(site, ct):
    file, parameters = ct
    head = site.client.head(ROOT + "/wado", params=parameters)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(file)), b"")
    assert ask(site, parameters, **{"If-None-Match": head.headers["etag"]}).status_code == 304
    part = ask(site, parameters, Range="bytes=10-19")
    assert (part.status_code, part.content) == (206, file[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(file)}"
    assert ask(site, parameters, Range=f"bytes={len(file)}-").status_code == 416
