"""Retrieve of rendered resources (PS3.18 8.3.5, 8.7.4, 10.4.1.1.3): parameters, media types, statuses."""

from collections.abc import Buffer

import numpy as np
import pytest

from service.dicom.errors import Busy
from service.dicom.frames import Extent
from service.dicom.syntaxes import ROOT as UIDS
from service.pixels.workshop import Workshop
from service.store.memory import MemoryStore
from tests.conformance.picturing import (
    GIF,
    JPEG,
    MANY_JPEG,
    MANY_PNG,
    PNG,
    a_report,
    a_state,
    an_image,
    decoded,
    picture,
    ramp,
)
from tests.conformance.retrieving import encapsulated, keep, series_of, study_of
from tests.conformance.rows import cites, row
from tests.making import a_data_set, a_file, new_uid
from tests.reading import parts_of
from tests.sites import ROOT

COLOUR = np.dstack([ramp(8, 16).astype(np.uint8)] * 3)
NAMES = {"study": "1.1", "series": "1.2"}


@pytest.fixture
def image(site):
    """A grey image of 8 × 16 pixels with the values 0 to 127."""
    return keep(site, an_image(ramp()))


@pytest.fixture
def frames(site):
    """An image of three frames, the second brighter than the first, and so on."""
    return keep(site, an_image(*(ramp(first=100 * number) for number in range(3)), FrameTime="40"))


@pytest.fixture
def reads(monkeypatch):
    """The runs of objects that are read from here on."""
    made: list[Extent] = []
    real = MemoryStore.read

    def counting(store: MemoryStore, key: str, extent: Extent) -> Buffer:
        made.append(extent)
        return real(store, key, extent)

    monkeypatch.setattr(MemoryStore, "read", counting)
    return made


ACCEPTED = [
    row("annotation", "patient", "annotation=patient"),
    row("annotation", "both", "annotation=patient,technique"),
    row("annotation", "keywords in any case", "annotation=Patient"),
    row("quality", "the worst", "quality=1"),
    row("quality", "the best", "quality=100"),
    row("viewport", "size only", "viewport=8,8"),
    row("viewport", "a region", "viewport=8,8,2,2,4,4"),
    row("viewport", "parts of the region left out", "viewport=8,8,,,4,4"),
    row("viewport", "decimals", "viewport=8,8,0.5,0.5,3.5,3.5"),
    row("viewport", "negative sizes flip", "viewport=8,8,,,-16,-8"),
    row("window", "linear", "window=64,128,linear"),
    row("window", "linear-exact, narrow", "window=64,0.5,linear-exact"),
    row("window", "sigmoid", "window=64,12.5,sigmoid"),
    row("window", "a negative center", "window=-10,100,linear"),
    row("iccprofile", "no", "iccprofile=no"),
    row("iccprofile", "yes", "iccprofile=yes"),
    row("iccprofile", "sRGB", "iccprofile=srgb"),
    row("iccprofile", "Adobe RGB", "iccprofile=adobergb"),
    row("iccprofile", "ROMM RGB", "iccprofile=rommrgb"),
    row("PS3.18 8.3", "unknown parameters are ignored", "brightness=9"),
]
REFUSED = [
    row("annotation", "no value", "annotation="),
    row("annotation", "no keyword", "annotation=1,2"),
    row("annotation", "an empty keyword", "annotation=patient,"),
    row("quality", "0", "quality=0"),
    row("quality", "101", "quality=101"),
    row("quality", "a fraction", "quality=50.5"),
    row("quality", "no value", "quality="),
    row("quality", "a word", "quality=high"),
    row("viewport", "one number", "viewport=8"),
    row("viewport", "no number", "viewport=a,b"),
    row("viewport", "0", "viewport=0,8"),
    row("viewport", "a fraction for a size", "viewport=8.5,8"),
    row("viewport", "negative", "viewport=-8,8"),
    row("viewport", "seven numbers", "viewport=8,8,1,1,1,1,1"),
    row("viewport", "a region outside of the image", "viewport=8,8,100,100,4,4"),
    row("window", "two of three", "window=64,128"),
    row("window", "no center", "window=,128,linear"),
    row("window", "no such function", "window=64,128,cubic"),
    row("window", "a width of 0", "window=64,0,linear-exact"),
    row("window", "a width below 1 for linear", "window=64,0.5,linear"),
    row("window", "a negative width", "window=64,-1,sigmoid"),
    row("window", "words", "window=a,b,linear"),
    row("iccprofile", "no such profile", "iccprofile=cmyk"),
    row("iccprofile", "no value", "iccprofile="),
    row("PS3.18 8.3", "one parameter twice", "quality=10&quality=20"),
]


@pytest.mark.parametrize("query", ACCEPTED)
@pytest.mark.parametrize("below", ["/rendered", "/frames/1/rendered"])
def test_parameters_that_are_understood(site, image, below, query):
    response = site.get(f"{image}{below}?{query}")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == JPEG
    assert "warning" not in response.headers


@pytest.mark.parametrize("query", REFUSED)
@pytest.mark.parametrize("level", [study_of, series_of, str, lambda path: path + "/frames/1"])
def test_parameters_that_are_bad_requests(site, image, level, query):
    response = site.get(f"{level(image)}/rendered?{query}")
    assert response.status_code == 400, response.text
    assert response.json()["detail"]


@cites("PS3.18 8.3.5.1.1", "unknown annotation keywords are passed over, with a warning that names them")
def test_unknown_annotations(site, image):
    response = site.get(f"{image}/rendered?annotation=patient,dose,laterality")
    assert response.status_code == 200
    assert response.headers["warning"] == (
        '299 testserver "The following annotation values are not supported: dose, laterality"'
    )


@cites("PS3.18 8.3.5.1.2", "quality is about types that lose something; of others the picture is the same")
def test_quality_of_a_type_without_loss(site, image):
    plain, poor = (site.get(f"{image}/rendered{query}", PNG) for query in ("", "?quality=5"))
    assert (poor.status_code, picture(poor).tolist()) == (200, picture(plain).tolist())
    assert site.get(f"{image}/rendered?quality=0", PNG).status_code == 400


@cites("PS3.18 8.3.5.1.5", "a colour profile asked for in a type that leaves without one is a bad request")
@pytest.mark.parametrize("media_type", [GIF, "image/webp", "image/jp2"])
def test_a_profile_in_a_type_that_has_none(site, image, media_type):
    assert site.get(image + "/rendered?iccprofile=srgb", media_type).status_code == 400
    assert site.get(image + "/rendered?iccprofile=no", media_type).status_code == 200


TYPES = [
    row("PS3.18 Table 8.7.4-1", "image/jpeg is the default", None, JPEG),
    row("PS3.18 Table 8.7.4-1", "any type is the default", "*/*", JPEG),
    row("PS3.18 Table 8.7.4-1", "any picture is the default", "image/*", JPEG),
    row("PS3.18 Table 8.7.4-1", "image/jpeg", JPEG, JPEG),
    row("PS3.18 Table 8.7.4-1", "image/png", PNG, PNG),
    row("PS3.18 Table 8.7.4-1", "image/gif", GIF, GIF),
    row("PS3.18 Table 8.7.4-1", "image/jp2", "image/jp2", "image/jp2"),
    row("PS3.18 Table 8.7.4-1", "image/jph", "image/jph", "image/jph"),
    row("PS3.18 Table 8.7.4-1", "image/jxl", "image/jxl", "image/jxl"),
    row("spec 8", "image/webp", "image/webp", "image/webp"),
    row("PS3.18 8.7.7", "by quality", "image/png;q=0.5, image/gif;q=0.8", GIF),
    row("spec 3.3", "a transfer syntax is ignored", f"image/jpeg; transfer-syntax={UIDS}.4.70", JPEG),
    row("browsers", "the list that browsers send", "text/html,image/webp,*/*;q=0.8", "image/webp"),
    row("Java", "the list that Java sends", "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JPEG),
]


@pytest.mark.parametrize(("accept", "media_type"), TYPES)
@pytest.mark.parametrize("level", [study_of, series_of, str, lambda path: path + "/frames/1"])
def test_a_single_frame_is_a_picture_of_the_type_agreed_on(site, image, level, accept, media_type):
    response = site.get(level(image) + "/rendered", accept)
    assert response.headers["content-type"] == media_type
    shown = picture(response)
    assert shown.shape[:2] == (8, 16)
    assert shown.dtype == np.uint8
    grey = shown if shown.ndim == 2 else shown[..., 0]
    assert np.abs(grey.astype(int) - ramp() * 2).max() < 12


@pytest.mark.parametrize(
    "accept",
    [
        row("spec 8", "pictures are no text", "text/html"),
        row("PS3.18 8.7.7", "no such type", "image/tiff"),
        row("PS3.18 8.7.7", "ruled out", "image/*;q=0"),
        row("PS3.18 8.7.5", "objects are not rendered", "application/dicom"),
    ],
)
def test_what_cannot_be_had_is_406_and_says_what_can(site, image, accept):
    response = site.get(image + "/rendered", accept)
    assert response.status_code == 406
    assert JPEG in response.text


@cites("PS3.18 8.7.5", "objects and pictures in one accept parameter are a bad request")
def test_an_accept_parameter_that_mixes(site, image):
    assert site.get(image + "/rendered?accept=image/png").headers["content-type"] == PNG
    assert site.get(image + "/rendered?accept=image/png,application/dicom").status_code == 400


@pytest.mark.parametrize(
    ("below", "status"),
    [
        row("spec 8", "a wrong frame", "/frames/4/rendered", 404),
        row("spec 8", "one of several is wrong", "/frames/1,4/rendered", 404),
        row("spec 7", "0 is no frame", "/frames/0/rendered", 400),
        row("spec 7", "no number", "/frames/a/rendered", 400),
    ],
)
def test_frames_that_are_not_there(site, frames, below, status):
    assert site.get(frames + below).status_code == status


@cites("spec 8", "what is not there is not found")
@pytest.mark.parametrize("below", ["", "/series/1.2.3", "/series/1.2.3/instances/1.2.3"])
def test_resources_that_are_not_there(site, below):
    assert site.get(f"/studies/1.2.3{below}/rendered").status_code == 404


@cites("spec 8", "what has no picture, text or document is 406")
@pytest.mark.parametrize(
    "made",
    [
        a_file(a_data_set(sop_class="1.2.840.10008.5.1.4.1.1.481.3")),
        encapsulated([b"\xff\xd8 nothing \xff\xd9"], UIDS + ".4.50"),
        encapsulated([b"\xff\xd8\xff\xd9"], UIDS + ".4.56"),
        a_state(("1.2", "1.3"), study="1.1"),
    ],
    ids=["a plan", "a damaged frame", "a retired syntax", "a state of images that are not here"],
)
def test_what_cannot_be_shown(site, made):
    path = keep(site, made)
    assert site.get(path + "/rendered").status_code == 406
    assert site.get(study_of(path) + "/rendered").status_code == 406


@cites("spec 8", "of several frames an image type shows the first, GIF all of them")
def test_an_instance_of_several_frames(site, frames):
    whole = {"window": "200,400,linear-exact"}
    first = picture(site.client.get(ROOT + frames + "/rendered", params=whole, headers={"Accept": PNG}))
    assert np.abs(first - ramp() * 255 / 400).max() <= 0.51
    moving = site.client.get(ROOT + frames + "/rendered", params=whole, headers={"Accept": GIF})
    shown = picture(moving)
    assert shown.shape[0] == 3
    grey = shown[..., 0] if shown.ndim == 4 else shown
    for number in range(3):
        assert np.abs(grey[number] - ramp(first=100 * number) * 255 / 400).max() <= 0.51
    assert moving.content.count(b"\x21\xf9\x04\x04\x04\x00") == 3  # PS3.3 C.7.6.5: 40 ms for each


@cites("spec 8", "frames that have no window are animated over one range of values")
def test_an_animation_without_a_window(site, frames):
    shown = picture(site.get(frames + "/rendered", GIF))
    grey = shown[..., 0] if shown.ndim == 4 else shown
    assert (grey.min(), grey.max()) == (0, 255)
    assert np.abs(grey[1] - ramp(first=100) * 255 / 327).max() <= 1


@cites("spec 8", "frames that are listed come in a multipart, or as an animation")
def test_frames_that_are_listed(site, frames):
    response = site.get(frames + "/frames/3,1/rendered")
    assert response.headers["content-type"].startswith(f'multipart/related; type="{JPEG}"')
    parts = parts_of(response)
    assert [part.headers["Content-Location"] for part in parts] == [
        f"{ROOT}{frames}/frames/{number}/rendered" for number in (3, 1)
    ]
    assert [part.headers["Content-Type"] for part in parts] == [JPEG] * 2
    assert [int(part.headers["Content-Length"]) for part in parts] == [len(part.content) for part in parts]
    assert picture(site.get(frames + "/frames/3,1/rendered", GIF)).shape[0] == 2
    assert site.get(frames + "/frames/1,2/rendered", PNG).status_code == 406
    assert site.get(frames + "/frames/2/rendered", PNG).headers["content-type"] == PNG


@cites("PS3.18 Table 10.4.4-1", "a multipart has a part for each instance, and for each frame of one")
def test_a_multipart_of_all_that_can_be_shown(site):
    single = keep(site, an_image(ramp(), **NAMES, InstanceNumber=1))
    several = keep(site, an_image(ramp(), ramp(), **NAMES, InstanceNumber=2))
    response = site.get("/studies/1.1/rendered", MANY_PNG)
    assert response.status_code == 200
    assert [part.headers["Content-Location"] for part in parts_of(response)] == [
        f"{ROOT}{single}/rendered",
        *(f"{ROOT}{several}/frames/{number}/rendered" for number in (1, 2)),
    ]
    assert all(decoded(part.content, PNG).shape == (8, 16) for part in parts_of(response))
    assert site.get(series_of(single) + "/rendered", MANY_PNG).content == response.content


@cites("PS3.18 Table 10.4.3-1", "what cannot be shown as asked stays behind: 206, and a warning says so")
def test_a_multipart_without_some(site):
    keep(site, an_image(ramp(), **NAMES))
    report = keep(site, a_report(study="1.1"))
    response = site.get("/studies/1.1/rendered", MANY_PNG)
    assert (response.status_code, len(parts_of(response))) == (206, 1)
    assert "1 of 2 instances cannot be shown" in response.headers["warning"]
    both = site.get("/studies/1.1/rendered", f'{MANY_PNG}, multipart/related; type="text/html"')
    assert both.status_code == 200
    assert [part.headers["Content-Type"] for part in parts_of(both)] == [PNG, "text/html; charset=utf-8"]
    assert parts_of(both)[1].headers["Content-Location"] == f"{ROOT}{report}/rendered"


@cites("Orthanc, OHIF", "a study or series alone is shown by one image: the middle one")
def test_one_image_for_a_series(site):
    for number in range(1, 4):
        image = an_image(ramp(first=100 * number), **NAMES, InstanceNumber=number)
        keep(site, image)
    keep(site, a_report(study="1.1"))
    query = "?window=200,400,linear-exact"
    for path in ("/studies/1.1", "/studies/1.1/series/1.2"):
        shown = picture(site.get(f"{path}/rendered{query}", PNG))
        assert np.abs(shown - ramp(first=200) * 255 / 400).max() <= 0.51


@cites("RFC 9110 13.1.2", "what the client has is not made again; another wish is another thing")
@pytest.mark.parametrize("accept", [PNG, MANY_PNG])
def test_entity_tags(site, image, reads, accept):
    first = site.get(image + "/rendered", accept)
    tag = {"If-None-Match": first.headers["etag"]}
    reads.clear()
    again = site.get(image + "/rendered", accept, **tag)
    assert (again.status_code, again.content) == (304, b"")
    assert reads == []
    for query in ("?window=1,2,linear", "?viewport=4,4", "?annotation=patient", "?quality=3"):
        other = site.get(image + "/rendered" + query, accept, **tag)
        assert other.status_code == 200
        assert other.headers["etag"] != first.headers["etag"]


@cites("RFC 9110 9.3.2", "HEAD is GET without the body")
@pytest.mark.parametrize("accept", [JPEG, MANY_JPEG])
def test_head(site, image, accept):
    got = site.get(image + "/rendered", accept)
    head = site.client.head(ROOT + image + "/rendered", headers={"Accept": accept})
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "etag", "vary", "cache-control"):
        assert head.headers[name] == got.headers[name]
    if accept == JPEG:
        assert head.headers["content-length"] == str(len(got.content))
    assert site.client.head(ROOT + image + "/frames/2/rendered").status_code == 404


@cites("issue 4", "Server-Timing tells what the time was spent on")
def test_server_timing(site, image):
    told = site.get(image + "/rendered").headers["server-timing"]
    assert [one.partition(";")[0] for one in told.split(", ")] == [
        "index", "pixels", "read", "decode", "render", "encode", "send",
    ]  # fmt: skip


@cites("issue 4", "identical requests are made once, whoever asks")
def test_the_same_picture_is_made_once(site, image, reads):
    first = site.get(image + "/rendered").content
    assert [extent.length for extent in reads] == [256]
    assert site.get(image + "/frames/1/rendered").content == first
    assert site.get(study_of(image) + "/rendered").content == first
    assert len(reads) == 1


@cites("spec 8", "an animation beyond what memory allows is 413 and says what to do")
def test_an_animation_that_is_too_large(site, monkeypatch):
    path = keep(site, an_image(*[ramp()] * 40))
    monkeypatch.setattr("service.web.darkroom.MOST_ANIMATED_PIXELS", 39 * 128)
    refused = site.get(path + "/rendered", GIF)
    assert refused.status_code == 413
    assert "fewer frames" in refused.json()["detail"]
    assert site.get(path + "/rendered?viewport=8,8", GIF).status_code == 200
    assert site.get(path + "/frames/1,2,3/rendered", GIF).status_code == 200


@cites("issue 4", "a full queue of the workshop is 503 with Retry-After, at once")
def test_a_full_queue(site, image, monkeypatch):
    def full(*positional: object, **named: object) -> None:
        raise Busy("All threads for pixels are at work and the queue is full.")

    monkeypatch.setattr(Workshop, "submit", full)
    response = site.get(image + "/rendered")
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1


@cites("spec 8", "names of patients are burned in only where annotation=patient asks for it")
def test_annotations_change_the_picture(site):
    path = keep(site, an_image(np.zeros((256, 256), np.uint8), instance=new_uid()))
    plain = picture(site.get(path + "/rendered?window=128,256,linear", PNG))
    assert not plain.any()
    for keyword in ("patient", "technique"):
        query = f"?window=128,256,linear&annotation={keyword}"
        assert picture(site.get(path + "/rendered" + query, PNG)).any()


@cites("PS3.3 C.7.6.3", "colour leaves in colour, as JPEG with chroma of its own")
def test_colour(site):
    red = COLOUR.copy()
    red[..., 1:] = 0
    path = keep(site, an_image(red))
    assert np.array_equal(picture(site.get(path + "/rendered", PNG)), red)
    shown = picture(site.get(path + "/rendered?quality=100", JPEG)).astype(int)
    assert np.abs(shown - red).max() <= 4
