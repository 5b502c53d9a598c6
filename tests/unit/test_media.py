import pytest

from service.dicom.media import (
    DICOM,
    DICOM_JSON,
    Representation,
    content_type,
    decoded_plus,
    mixes_pictures,
    negotiate,
    parse_accept,
)
from service.dicom.syntaxes import EXPLICIT_LE, OCTETS, ROOT

J2K = ROOT + ".4.90"
DICOM_MANY = Representation(DICOM, EXPLICIT_LE, multipart=True, default=True)
DICOM_ONE = Representation(DICOM, EXPLICIT_LE, default=True)
J2K_MANY = Representation(DICOM, J2K, multipart=True)
J2K_ONE = Representation(DICOM, J2K)
JSON = Representation(DICOM_JSON)
FRAME_NATIVE = Representation(OCTETS, EXPLICIT_LE, multipart=True, default=True)
FRAME_J2K = Representation("image/jp2", J2K, multipart=True, octets=True, default=True)

# PS3.18 8.7 and what clients send (RFC 9110 12.5.1 for the weights): Accept, offers, what goes out.
ROWS = [
    ("", [DICOM_MANY, DICOM_ONE], DICOM_MANY),
    ("*/*", [DICOM_MANY, DICOM_ONE], DICOM_MANY),
    ("*", [J2K_MANY, J2K_ONE], J2K_MANY),
    ("application/dicom", [DICOM_MANY, DICOM_ONE], DICOM_ONE),
    ("APPLICATION/DICOM", [DICOM_MANY, DICOM_ONE], DICOM_ONE),
    ('multipart/related; type="application/dicom"', [DICOM_MANY, DICOM_ONE], DICOM_MANY),
    ("multipart/related;type=application/dicom", [DICOM_MANY, DICOM_ONE], DICOM_MANY),
    ("multipart/related", [DICOM_MANY, DICOM_ONE], DICOM_MANY),
    ('multipart/related; type="*/*"', [DICOM_MANY, DICOM_ONE], DICOM_MANY),
    ('multipart/related; type="application/dicom"', [J2K_MANY, J2K_ONE], None),
    ('multipart/related; type="application/dicom"; transfer-syntax=*', [J2K_MANY, J2K_ONE], J2K_MANY),
    ('multipart/related; type="application/dicom"; transfer-syntax="*"', [J2K_MANY, J2K_ONE], J2K_MANY),
    ("multipart/related; transfer-syntax=*", [J2K_MANY, J2K_ONE], J2K_MANY),
    (f"application/dicom; transfer-syntax={J2K}", [J2K_MANY, J2K_ONE], J2K_ONE),
    (f'application/dicom ; transfer-syntax = "{J2K}"', [J2K_MANY, J2K_ONE], J2K_ONE),
    ("application/dicom; transfer-syntax=1.2.3", [J2K_MANY, J2K_ONE], None),
    ("image/png", [DICOM_MANY, DICOM_ONE], None),
    ("application/dicom; q=0", [DICOM_ONE], None),
    ("application/dicom; q=0, */*", [DICOM_MANY, DICOM_ONE], DICOM_MANY),
    ("application/dicom;q=.2, multipart/related;q=.3", [DICOM_ONE, DICOM_MANY], DICOM_MANY),
    ("application/dicom;q=1.5", [DICOM_ONE], None),
    ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", [JSON], JSON),
    ("application/json", [JSON], JSON),
    ("application/dicom+json, application/json", [JSON], JSON),
    ('application/dicom+json, multipart/related; type="application/dicom+xml"', [JSON], JSON),
    ("application/dicom json", [JSON], None),
    ("application/*", [JSON], JSON),
    ("nonsense", [JSON], None),
    ("/;;=,", [JSON], None),
    # frames: OHIF and cornerstone3D
    ('multipart/related; type="application/octet-stream"; transfer-syntax="*"', [FRAME_J2K], FRAME_J2K),
    ("multipart/related; type=application/octet-stream; transfer-syntax=*", [FRAME_NATIVE], FRAME_NATIVE),
    ("multipart/related; type=application/octet-stream", [FRAME_J2K], None),
    ("multipart/related; type=application/octet-stream", [FRAME_NATIVE], FRAME_NATIVE),
    ("multipart/related; type=image/jp2", [FRAME_J2K], FRAME_J2K),
    ('multipart/related; type="image/*"', [FRAME_J2K], FRAME_J2K),
    ("multipart/related; type=image/dicom+jp2", [FRAME_J2K], FRAME_J2K),
    (f"multipart/related; type=image/jp2; transfer-syntax={ROOT}.4.91", [FRAME_J2K], None),
]  # fmt: skip


@pytest.mark.parametrize(("accept", "offers", "expected"), ROWS)
def test_an_accept_header_is_answered_by_what_it_wants_most(accept, offers, expected):
    ranked = negotiate(parse_accept([accept] if accept else []), offers)
    assert next(iter(ranked), None) == expected


def test_of_two_transfer_syntaxes_in_one_range_the_first_is_preferred():
    accept = f"multipart/related; type=application/dicom; transfer-syntax={J2K}; transfer-syntax=*"
    assert negotiate(parse_accept([accept]), [DICOM_MANY, J2K_MANY]) == [J2K_MANY, DICOM_MANY]


def test_the_stored_form_comes_first_where_nothing_else_is_preferred():
    assert negotiate(parse_accept(["*/*"]), [J2K_MANY, DICOM_MANY]) == [J2K_MANY, DICOM_MANY]


def test_a_comma_in_quotes_does_not_end_a_range():
    accept = 'multipart/related; type="application/dicom"; boundary="a,b"; transfer-syntax=*'
    assert negotiate(parse_accept([accept]), [J2K_MANY]) == [J2K_MANY]


def test_a_content_type_is_taken_apart_with_or_without_quotes():
    given = 'Multipart/Related; type="application/dicom"; transfer-syntax=1.2; boundary="a;b"'
    media_type, parameters = content_type(given)
    assert media_type == "multipart/related"
    assert parameters == {"type": "application/dicom", "transfer-syntax": "1.2", "boundary": "a;b"}


def test_a_part_names_its_transfer_syntax_without_quotes():
    assert J2K_ONE.content_type == f"application/dicom; transfer-syntax={J2K}"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("application/dicom json", "application/dicom+json"),
        ("multipart/related; type=image/dicom jp2; q=1", "multipart/related; type=image/dicom+jp2; q=1"),
        ('multipart/related ; type = "image/dicom jp2"', 'multipart/related ; type = "image/dicom+jp2"'),
        ("application/dicom, */*", "application/dicom, */*"),
    ],
)
def test_a_plus_that_form_decoding_took_away_comes_back(given, meant):
    assert decoded_plus(given) == meant


@pytest.mark.parametrize(
    ("accept", "mixes"),
    [
        ("application/dicom, image/jpeg", True),
        ("application/dicom+json, text/html", True),
        ("application/octet-stream, image/png", True),
        ("application/dicom, multipart/related; type=image/jpeg", False),
        (f"application/dicom, image/jp2; transfer-syntax={J2K}", False),
        ("application/dicom, image/jls", False),
        ("application/octet-stream, image/jpeg", False),
        ("image/jpeg, image/png, video/mp4", False),
        ("application/dicom+json, application/dicom+xml", False),
        ("*/*, image/png", False),
    ],
)
def test_objects_and_pictures_are_told_apart(accept, mixes):
    assert mixes_pictures(parse_accept([accept])) == mixes
