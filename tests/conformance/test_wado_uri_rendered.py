"""The URI service for pictures, text, documents and video (PS3.18 chapter 9)."""

from collections.abc import Mapping

import numpy as np
import pytest

from tests.conformance.picturing import (
    GIF,
    JPEG,
    PNG,
    a_document,
    a_report,
    a_state,
    an_image,
    picture,
    ramp,
)
from tests.conformance.retrieving import MP4, encapsulated, keep
from tests.conformance.rows import cites, row
from tests.sites import ROOT, Site

IMAGE = {"requestType": "WADO", "studyUID": "1.1", "seriesUID": "1.2", "objectUID": "1.3"}
STUDY = {"study": "1.1", "series": "1.2"}
APPLIED = {"presentationSeriesUID": "1.9", "presentationUID": "1.8"}


@pytest.fixture
def kept(site: Site) -> Site:
    """An image, one of three frames, a report, a document, a video, and a state for the first image."""
    for file in (
        an_image(ramp(), **STUDY, instance="1.3"),
        an_image(*(ramp(first=100 * number) for number in range(3)), **STUDY, instance="1.4"),
        a_report(**STUDY, instance="1.5"),
        a_document(b"%PDF-1.7 odd.", **STUDY, instance="1.6"),
        encapsulated([b"\0\0\0\x18ftypmp42"], MP4, StudyID="S"),
        a_state(("1.2", "1.3"), study="1.1", series="1.9", instance="1.8"),
        a_state(("1.2", "1.4"), study="1.1", series="1.9", instance="1.7"),
    ):
        keep(site, file)
    return site


def ask(site: Site, changes: Mapping[str, str | None], place: str = ROOT + "/wado", **headers: str):
    asked = {name: value for name, value in {**IMAGE, **changes}.items() if value is not None}
    return site.client.get(place, params=asked, headers=headers)


TYPES = [
    row("PS3.18 9.1", "image/jpeg where neither contentType nor Accept says more", {}, "*/*", JPEG),
    row("PS3.18 9.1", "Accept", {}, PNG, PNG),
    row("PS3.18 9.1.2", "contentType comes first", {"contentType": GIF}, PNG, GIF),
    row("PS3.18 9.1.2", "a list", {"contentType": "image/tiff,image/png"}, "*/*", PNG),
    row("PS3.18 9.1.2", "any picture", {"contentType": "image/*"}, "*/*", JPEG),
    row("PS3.18 9.1.2", "in any case", {"contentType": "Image/PNG"}, "*/*", PNG),
    row("PS3.18 9.1.2", "jp2", {"contentType": "image/jp2"}, "*/*", "image/jp2"),
    row("spec 13", "a list that a multipart begins", {}, f'multipart/related; type="{PNG}", {JPEG}', JPEG),
    row("PS3.18 9.1", "the default of text", {"objectUID": "1.5"}, "*/*", "text/html; charset=utf-8"),
    row(
        "PS3.18 9.1.2",
        "text as text",
        {"objectUID": "1.5", "contentType": "text/plain"},
        "*/*",
        "text/plain; charset=utf-8",
    ),
    row("PS3.18 9.1", "a document", {"objectUID": "1.6"}, "*/*", "application/pdf"),
    row(
        "PS3.18 9.1.2",
        "a document by its type",
        {"objectUID": "1.6", "contentType": "application/pdf"},
        "*/*",
        "application/pdf",
    ),
]


@pytest.mark.parametrize(("changes", "accept", "media_type"), TYPES)
@pytest.mark.parametrize("place", [ROOT + "/wado", ROOT, "http://testserver/wado"])
def test_one_item_in_the_type_agreed_on(kept, changes, accept, media_type, place):
    response = ask(kept, changes, place, Accept=accept)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == media_type
    if media_type.startswith("image/"):
        assert picture(response).shape[:2] == (8, 16)


STATUSES = [
    row("PS3.18 9.1.2", "contentType with a syntax", {"contentType": JPEG + ";transfer-syntax=*"}, 400),
    row("PS3.18 9.1.2", "contentType with a charset", {"contentType": "text/html;charset=utf-8"}, 400),
    row("PS3.18 9.1.2", "objects and pictures at once", {"contentType": "application/dicom,image/png"}, 400),
    row("PS3.18 9.1.2", "no media type", {"contentType": "jpeg"}, 400),
    row("PS3.18 9.1.2", "no such type", {"contentType": "image/tiff"}, 406),
    row("PS3.18 9.1.2", "pictures are no text", {"contentType": "text/html"}, 406),
    row("PS3.18 9.1.2", "text is no picture", {"contentType": JPEG, "objectUID": "1.5"}, 406),
    row("PS3.18 9.1", "requestType is mandatory", {"requestType": None}, 400),
    row("PS3.18 9.1", "objectUID is mandatory", {"objectUID": None}, 400),
    row("spec 13", "studyUID and seriesUID are not", {"studyUID": None, "seriesUID": None}, 200),
    row("spec 13", "a studyUID that does not agree", {"studyUID": "1.9"}, 404),
    row("PS3.18 9.4.3", "an object that is not there", {"objectUID": "1.99"}, 404),
    row("spec 13", "anonymize: never the identified one", {"anonymize": "yes"}, 406),
    row("PS3.18 9.4.1", "anonymize: any other value", {"anonymize": "no"}, 400),
    row("PS3.18 9.5", "frameNumber 1 of one", {"frameNumber": "1"}, 200),
    row("spec 13", "frameNumber 2 of one", {"frameNumber": "2"}, 400),
    row("PS3.18 9.5", "frameNumber of several", {"objectUID": "1.4", "frameNumber": "3"}, 200),
    row("spec 8", "frameNumber behind the last", {"objectUID": "1.4", "frameNumber": "4"}, 404),
    row("PS3.18 9.5", "frameNumber 0", {"frameNumber": "0"}, 400),
    row("PS3.18 9.5", "frameNumber: a word", {"frameNumber": "first"}, 400),
    row("PS3.18 9.5", "frameNumber of what is no image", {"objectUID": "1.5", "frameNumber": "1"}, 400),
    row("PS3.18 9.5", "rows: 0", {"rows": "0"}, 400),
    row("PS3.18 9.5", "columns: a fraction", {"columns": "1.5"}, 400),
    row("PS3.18 9.5", "region: three numbers", {"region": "0,0,1"}, 400),
    row("PS3.18 9.5", "region: beyond the image", {"region": "0,0,1,1.5"}, 400),
    row("PS3.18 9.5", "region: nothing inside", {"region": "0.5,0,0.5,1"}, 400),
    row("PS3.18 9.5", "windowCenter alone", {"windowCenter": "10"}, 400),
    row("PS3.18 9.5", "windowWidth alone", {"windowWidth": "10"}, 400),
    row("PS3.18 9.5", "windowWidth 0", {"windowCenter": "10", "windowWidth": "0"}, 400),
    row("PS3.18 9.5", "imageQuality 0", {"imageQuality": "0"}, 400),
    row("PS3.18 9.5", "imageQuality 101", {"imageQuality": "101"}, 400),
    row("PS3.18 9.5", "frameNumber of many digits", {"objectUID": "1.4", "frameNumber": "9" * 23}, 404),
    row("PS3.18 9.5", "imageQuality 100", {"imageQuality": "100"}, 200),
    row("PS3.18 9.5", "annotation", {"annotation": "patient,technique"}, 200),
    row("PS3.18 9.5", "imageAnnotation, as it was called", {"imageAnnotation": "patient"}, 200),
    row("PS3.18 9.5", "annotation without a value", {"annotation": ""}, 400),
    row("PS3.18 9.5", "presentationUID alone", {"presentationUID": "1.8"}, 400),
    row("PS3.18 9.5", "a state that is not there", APPLIED | {"presentationUID": "1.99"}, 404),
    row("PS3.18 9.5", "a state of another image", APPLIED | {"presentationUID": "1.7"}, 400),
    row(
        "PS3.18 9.5",
        "an object that is no state",
        {"presentationSeriesUID": "1.2", "presentationUID": "1.4"},
        400,
    ),
    row(
        "PS3.18 9.5",
        "a state and a window",
        APPLIED | {"windowCenter": "10", "windowWidth": "20"},
        400,
    ),
    row("spec 8", "a state itself", {"seriesUID": "1.9", "objectUID": "1.8"}, 200),
    row(
        "spec 8",
        "a state itself, and a window",
        {"seriesUID": "1.9", "objectUID": "1.8", "windowCenter": "10", "windowWidth": "20"},
        400,
    ),
    row(
        "spec 8",
        "a state itself, and a frame",
        {"seriesUID": "1.9", "objectUID": "1.8", "frameNumber": "1"},
        400,
    ),
    row("PS3.18 8.3", "unknown parameters are ignored", {"brightness": "9"}, 200),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "status"), STATUSES)
def test_parameters_mean_what_the_standard_says(kept, changes, status):
    response = ask(kept, changes)
    assert response.status_code == status, response.text
    assert response.headers["content-type"]
    if status != 200:
        assert response.json()["detail"]


WINDOWED = {"windowCenter": "63.5", "windowWidth": "128"}


def shown(site: Site, changes: Mapping[str, str | None]) -> np.ndarray:
    return picture(ask(site, {**WINDOWED, **changes, "contentType": PNG})).astype(int)


@cites("PS3.18 9.5", "windowCenter and windowWidth are the window")
def test_the_window(kept):
    expected = np.clip((ramp() - 63) * 255 / 127 + 127.5, 0, 255)
    assert np.abs(shown(kept, {}) - expected).max() <= 1
    narrow = shown(kept, {"windowCenter": "64", "windowWidth": "1"})
    assert np.array_equal(narrow, (ramp() > 63.5) * 255)


@cites("PS3.18 9.5", "region is in parts of the image, and cut out")
def test_the_region(kept):
    whole = shown(kept, {})
    assert np.array_equal(shown(kept, {"region": "0,0,1,1"}), whole)
    assert np.array_equal(shown(kept, {"region": "0.5,0.25,1,0.75"}), whole[2:6, 8:])


@cites("PS3.18 9.5", "rows and columns are maxima, the shape stays")
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({"rows": "4", "columns": "4"}, (2, 4)),
        ({"rows": "4"}, (4, 8)),
        ({"columns": "8"}, (4, 8)),
        ({"rows": "16", "columns": "64"}, (16, 32)),
        ({"rows": "4", "columns": "16", "region": "0,0,0.25,0.5"}, (4, 4)),
    ],
)
def test_the_size(kept, size, expected):
    assert shown(kept, size).shape == expected


@cites("PS3.18 9.5", "frameNumber chooses a frame, the first where there is none")
def test_the_frame(kept):
    wide = {"objectUID": "1.4", "windowCenter": "200", "windowWidth": "400"}
    for number in (None, "1", "2", "3"):
        frame = shown(kept, wide | {"frameNumber": number})
        expected = (ramp(first=100 * (int(number or 1) - 1)) - 199.5) * 255 / 399 + 127.5
        assert np.abs(frame - np.clip(expected, 0, 255)).max() <= 1


@cites("spec 8", "GIF moves where no frame is named")
def test_an_animation(kept):
    assert picture(ask(kept, {"objectUID": "1.4", "contentType": GIF})).shape[0] == 3
    assert picture(ask(kept, {"objectUID": "1.4", "contentType": GIF, "frameNumber": "2"})).shape[0] == 8


@cites("PS3.18 9.5", "presentationUID is applied, and says how the image is shown")
def test_a_presentation_state_is_applied(kept):
    response = ask(kept, APPLIED | {"contentType": PNG})
    expected = 255 - np.clip((ramp() - 63.5) * 255 / 127 + 127.5, 0, 255)
    assert np.abs(picture(response) - expected).max() <= 1
    itself = ask(kept, {"seriesUID": "1.9", "objectUID": "1.8", "contentType": PNG})
    assert itself.content == response.content
    small = ask(kept, APPLIED | {"contentType": PNG, "rows": "4", "columns": "8"})
    assert picture(small).shape == (4, 8)


@cites("PS3.18 9.5", "imageQuality is that of JPEG")
def test_the_quality(kept):
    poor, fine = (ask(kept, {"imageQuality": quality}) for quality in ("5", "100"))
    assert len(poor.content) < len(fine.content)
    assert poor.headers["etag"] != fine.headers["etag"]


@cites("RFC 9110 13.1.2", "what the client has is not sent again")
def test_an_entity_tag(kept):
    first = ask(kept, {})
    assert ask(kept, {}, **{"If-None-Match": first.headers["etag"]}).status_code == 304
    assert ask(kept, {"rows": "4"}, **{"If-None-Match": first.headers["etag"]}).status_code == 200


@cites("PS3.18 8.3.5.1.1", "unknown annotation keywords are passed over, with a warning")
def test_unknown_annotations(kept):
    response = ask(kept, {"annotation": "patient,dose"})
    assert response.status_code == 200
    assert response.headers["warning"].endswith('annotation values are not supported: dose"')


@cites("PS3.18 8.8", "text that must not be in UTF-8 is not acceptable")
def test_a_character_set(kept):
    assert ask(kept, {"objectUID": "1.5", "charset": "utf-8"}).status_code == 200
    assert ask(kept, {"objectUID": "1.5", "charset": "latin1, *;q=0"}).status_code == 406
