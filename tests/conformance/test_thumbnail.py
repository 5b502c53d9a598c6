"""Retrieve of thumbnails (PS3.18 10.4.1.1.4): one small picture of anything."""

import numpy as np
import pytest

from service.dicom.syntaxes import ROOT as UIDS
from tests.conformance.picturing import (
    GIF,
    JPEG,
    MANY_JPEG,
    PNG,
    STATE,
    a_document,
    a_report,
    an_image,
    decoded,
    picture,
    ramp,
)
from tests.conformance.retrieving import MP4, encapsulated, keep, series_of, study_of
from tests.conformance.rows import cites, row
from tests.making import a_data_set, a_file
from tests.reading import parts_of
from tests.sites import ROOT

NAMES = {"study": "1.1", "series": "1.2"}
ECG = "1.2.840.10008.5.1.4.1.1.9.1.1"


def flat(value: int, rows: int = 64, columns: int = 64) -> np.ndarray:
    """An image of one value but for a corner, which spreads the range."""
    image = np.full((rows, columns), value, np.uint8)
    image[0, :2] = 0, 255
    return image


@pytest.fixture
def image(site):
    return keep(site, an_image(np.tile(np.arange(256, dtype=np.uint8), (512, 1)), Rows=512))


TYPES = [
    row("PS3.18 Table 8.7.4-1", "image/jpeg is the default", None, JPEG),
    row("PS3.18 Table 8.7.4-1", "any picture is the default", "image/*", JPEG),
    row("PS3.18 Table 8.7.4-1", "image/png", PNG, PNG),
    row("PS3.18 Table 8.7.4-1", "image/gif", GIF, GIF),
    row("spec 8", "other rendered types", "image/webp", "image/webp"),
    row("spec 8", "other rendered types", "image/jp2", "image/jp2"),
]


@pytest.mark.parametrize(("accept", "media_type"), TYPES)
@pytest.mark.parametrize("level", [study_of, series_of, str, lambda path: path + "/frames/1"])
def test_a_thumbnail_is_one_small_picture(site, image, level, accept, media_type):
    response = site.get(level(image) + "/thumbnail", accept)
    assert response.headers["content-type"] == media_type
    assert picture(response).shape[:2] == (200, 100)
    assert len(response.content) < 25_000


@pytest.mark.parametrize(
    ("query", "status", "size"),
    [
        row("PS3.18 8.3.5.1.3", "a viewport", "viewport=64,64", 200, (64, 32)),
        row("PS3.18 8.3.5.1.3", "a larger one", "viewport=300,300", 200, (300, 150)),
        row("PS3.18 8.3.5.1.3", "no region", "viewport=64,64,0,0,8,8", 400, None),
        row("PS3.18 8.3.5.1.3", "one number", "viewport=64", 400, None),
        row("PS3.18 8.3.5.1.3", "0", "viewport=0,64", 400, None),
        row("PS3.18 10.4.1.1.4", "other parameters do not count", "window=1&quality=0", 200, (200, 100)),
    ],
)  # fmt: skip
def test_the_size_can_be_asked_for(site, image, query, status, size):
    response = site.get(f"{image}/thumbnail?{query}", PNG)
    assert response.status_code == status
    assert size is None or picture(response).shape == size


@cites("spec 8", "of several frames the middle one")
def test_the_middle_frame(site):
    path = keep(site, an_image(*(flat(value) for value in (50, 100, 150, 200, 250))))
    assert abs(int(picture(site.get(path + "/thumbnail", PNG))[100, 100]) - 150) <= 1
    assert abs(int(picture(site.get(path + "/frames/4/thumbnail", PNG))[100, 100]) - 200) <= 1


@cites("spec 8", "of frames that are listed the first")
def test_the_first_of_the_frames_listed(site):
    path = keep(site, an_image(*(flat(value) for value in (50, 100, 150))))
    assert abs(int(picture(site.get(path + "/frames/2,1/thumbnail", PNG))[100, 100]) - 100) <= 1
    assert site.get(path + "/frames/2,4/thumbnail").status_code == 404
    assert site.get(path + "/frames/0/thumbnail").status_code == 400


@cites("spec 8", "of a series the middle instance, of a study one of images")
def test_the_middle_instance(site):
    keep(site, a_report(study="1.1", SeriesNumber=0))
    for number in (1, 2, 3):
        keep(site, an_image(flat(50 * number), **NAMES, InstanceNumber=number, SeriesNumber=1))
    for path in ("/studies/1.1", "/studies/1.1/series/1.2"):
        assert abs(int(picture(site.get(path + "/thumbnail", PNG))[100, 100]) - 100) <= 1


@cites("spec 8", "reports, documents, video and waveforms have an icon")
@pytest.mark.parametrize(
    "made",
    [
        a_report(),
        a_document(),
        encapsulated([b"\0\0\0\x18ftypmp42"], MP4),
        a_file(a_data_set(sop_class=ECG)),
        a_file(a_data_set(sop_class=STATE)),
    ],
    ids=["report", "document", "video", "waveform", "state"],
)
def test_icons(site, made):
    path = keep(site, made)
    for place in (path, series_of(path), study_of(path)):
        shown = picture(site.get(place + "/thumbnail", PNG))
        assert shown.shape == (200, 200)
        assert shown.std() > 10
    assert site.get(path + "/thumbnail").headers["content-type"] == JPEG
    assert picture(site.get(path + "/thumbnail?viewport=50,40", PNG)).shape == (40, 40)


@cites("spec 8", "no icon says whose it is")
def test_icons_are_the_same_for_everybody(site):
    one, other = (keep(site, a_report(PatientName=name)) for name in ("Doe^Jane", "Roe^Richard"))
    assert site.get(one + "/thumbnail").content == site.get(other + "/thumbnail").content


@cites("PS3.18 10.4.1.1.4", "no patient identification is burned in, whatever is asked for")
def test_nothing_is_written_into_a_thumbnail(site):
    path = keep(site, an_image(np.zeros((256, 256), np.uint8)))
    plain = site.get(path + "/thumbnail", PNG).content
    assert site.get(path + "/thumbnail?annotation=patient", PNG).content == plain
    assert not decoded(plain, PNG).any()


@cites("PS3.18 Table 10.4.4-1", "in a multipart too, with its place")
def test_a_thumbnail_in_a_multipart(site, image):
    (part,) = parts_of(site.get(image + "/thumbnail", MANY_JPEG))
    assert part.headers["Content-Location"] == f"{ROOT}{image}/thumbnail"
    assert decoded(part.content, JPEG).shape == (200, 100)


@pytest.mark.parametrize(
    ("made", "below", "accept", "status"),
    [
        row("spec 8", "what is no picture", an_image(ramp()), "/thumbnail", "text/html", 406),
        row("spec 8", "a wrong frame", an_image(ramp()), "/frames/2/thumbnail", None, 404),
        row("spec 8", "a frame of a report", a_report(), "/frames/1/thumbnail", None, 404),
        row("spec 8", "a damaged frame", encapsulated([b"\xff\xd8\xff\xd9"]), "/thumbnail", None, 406),
        row(
            "spec 8",
            "a syntax that nothing decodes",
            encapsulated([b"\xff\xd8"], UIDS + ".4.56"),
            "/thumbnail",
            None,
            406,
        ),
    ],
)
def test_what_has_no_thumbnail(site, made, below, accept, status):
    assert site.get(keep(site, made) + below, accept).status_code == status


@cites("spec 8", "what is not there has no thumbnail")
@pytest.mark.parametrize("below", ["", "/series/1.2.3", "/series/1.2.3/instances/1.2.3"])
def test_resources_that_are_not_there(site, below):
    assert site.get(f"/studies/1.2.3{below}/thumbnail").status_code == 404


@cites("RFC 9110 13.1.2", "thumbnails are kept by clients, and here")
def test_thumbnails_are_kept(site, image):
    first = site.get(image + "/thumbnail")
    assert "decode" in first.headers["server-timing"]
    again = site.get(image + "/thumbnail")
    assert again.content == first.content
    assert "decode" not in again.headers["server-timing"]
    assert site.get(image + "/thumbnail", **{"If-None-Match": first.headers["etag"]}).status_code == 304
    head = site.client.head(ROOT + image + "/thumbnail")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(first.content)))


@cites("issue 4", "of JPEG 2000 and HTJ2K no more resolution is decoded than is shown")
@pytest.mark.parametrize("name", ["J2K", "HTJ2K"])
def test_less_resolution_is_decoded(site, monkeypatch, name):
    from service.archive import showing
    from service.pixels import codecs
    from service.pixels.codecs import encode
    from tests.pixels.pictures import pixels_of

    made: list[tuple[int, ...]] = []

    def decode(frame, *, reduced=0):
        found = codecs.decode(frame, reduced=reduced)
        made.append(found.array.shape)
        return found

    monkeypatch.setattr(showing, "decode", decode)
    rows, columns = np.indices((1024, 1024))
    image = ((np.sin(rows / 90) + np.cos(columns / 70)) * 500 + 1000).astype(np.uint16)
    syntax = UIDS + (".4.90" if name == "J2K" else ".4.201")
    codestream = bytes(encode(pixels_of(image), syntax).payload)
    data = a_data_set(Rows=1024, Columns=1024, BitsAllocated=16, BitsStored=16, HighBit=15)
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    path = keep(site, a_file(data, syntax, codestreams=[codestream]))
    small = picture(site.get(path + "/thumbnail", PNG)).astype(int)
    whole = picture(site.get(path + "/rendered?viewport=200,200", PNG))
    assert made == [(256, 256), (1024, 1024)]
    assert np.abs(small - whole).mean() < 3
