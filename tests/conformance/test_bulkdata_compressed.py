"""Uncompressed pixel data, asked for in a compressed media type by their bulk data URI (PS3.18 8.7.3.3)."""

import numpy as np
import pytest

from service.dicom.syntaxes import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from tests.conformance.pictured import HTJ2K, J2K, J2K_LOSSY, JLS, JPEG, RLE, decoded, picture, stored
from tests.conformance.retrieving import MANY_ANY, MANY_OCTETS, OCTETS, keep, study_of
from tests.conformance.rows import cites, row
from tests.making import a_data_set, a_file, add_pixels
from tests.reading import parts_of
from tests.sites import ROOT

PICTURES = [picture(number) for number in range(3)]
PLACES = ["/bulkdata/7FE00010", "/bulkdata", "/pixeldata"]


@pytest.mark.parametrize("below", PLACES)
@pytest.mark.parametrize(
    ("syntax", "media_type"),
    [
        row("PS3.18 Table 8.7.3-5", "JPEG 2000", J2K, "image/jp2"),
        row("PS3.18 Table 8.7.3-5", "HTJ2K", HTJ2K, "image/jphc"),
        row("PS3.18 Table 8.7.3-5", "JPEG-LS", JLS, "image/jls"),
        row("PS3.18 Table 8.7.3-5", "RLE", RLE, "image/dicom-rle"),
    ],
)
def test_native_pixel_data_are_a_compressed_part_for_each_frame(site, below, syntax, media_type):
    file, dataset = stored(PICTURES)
    path = keep(site, file)
    response = site.get(path + below, f'multipart/related; type="{media_type}"')
    assert response.status_code == 200
    parts = parts_of(response)
    assert {part.headers["Content-Type"] for part in parts} == {f"{media_type}; transfer-syntax={syntax}"}
    assert {part.headers["Content-Location"] for part in parts} == {f"{ROOT}{path}/bulkdata/7FE00010"}
    got = decoded([part.content for part in parts], syntax, dataset)
    assert all(np.array_equal(one, other) for one, other in zip(got, PICTURES, strict=True))


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED])
@cites("spec transfer-syntaxes 5", "from whatever uncompressed transfer syntax")
def test_every_native_syntax_can_be_compressed(site, syntax):
    file, dataset = stored(PICTURES, syntax)
    response = site.get(keep(site, file) + PLACES[0], 'multipart/related; type="image/jls"')
    got = decoded([part.content for part in parts_of(response)], JLS, dataset)
    assert all(np.array_equal(one, other) for one, other in zip(got, PICTURES, strict=True))


@cites("PS3.18 Table 10.4.4-1 note", "a single part is for one item: a frame, or the value as it is")
@pytest.mark.parametrize("below", PLACES)
def test_one_frame_may_go_alone(site, below):
    one, several = keep(site, stored(PICTURES[:1])[0]), keep(site, stored(PICTURES)[0])
    got = site.get(one + below, "image/jp2")
    assert (got.status_code, got.headers["content-type"]) == (200, f"image/jp2; transfer-syntax={J2K}")
    assert got.content == site.get(f"{one}/frames/1", "image/jp2").content
    run = site.get(one + below, "image/jp2", Range="bytes=3-9")
    assert (run.status_code, run.content) == (206, got.content[3:10])
    assert site.get(several + below, "image/jp2").status_code == 406
    assert site.get(several + below, OCTETS).content == b"".join(one.tobytes() for one in PICTURES)


@cites("PS3.18 8.7.7", "as it is stored where either would do")
@pytest.mark.parametrize("accept", ["*/*", MANY_ANY, MANY_OCTETS, f"{MANY_OCTETS}, image/jp2; q=0.5"])
def test_octets_come_first(site, accept):
    path = keep(site, stored(PICTURES)[0])
    response = site.get(path + PLACES[0], accept)
    content = response.content
    if response.headers["content-type"].startswith("multipart"):
        (part,) = parts_of(response)
        content = part.content
    assert content == b"".join(one.tobytes() for one in PICTURES)


@cites("spec transfer-syntaxes 5", "with loss only where that is named")
def test_loss_is_named(site):
    path = keep(site, stored(PICTURES)[0])
    lossy = f'multipart/related; type="image/jp2"; transfer-syntax={J2K_LOSSY}'
    assert {part.headers["Content-Type"] for part in parts_of(site.get(path + PLACES[0], lossy))} == {
        f"image/jp2; transfer-syntax={J2K_LOSSY}"
    }
    anything = site.get(path + PLACES[0], 'multipart/related; type="image/jp2"; transfer-syntax=*')
    assert {part.headers["Content-Type"] for part in parts_of(anything)} == {
        f"image/jp2; transfer-syntax={J2K}"
    }


def floating() -> bytes:
    made = add_pixels(a_data_set(), [bytes(32)])
    made.FloatPixelData = bytes(64)
    del made.PixelData
    return a_file(made)


def native() -> bytes:
    return stored(PICTURES)[0]


def too_short() -> bytes:
    made = add_pixels(a_data_set(), [bytes(32)])
    made.NumberOfFrames = 2
    return a_file(made)


@cites("PS3.18 8.7.7", "406 for a type that the pixel data cannot be in, and what there is instead")
@pytest.mark.parametrize(
    ("file", "tag", "accept"),
    [
        row("spec transfer-syntaxes 3", "floating point", floating, "7FE00008", "image/jp2"),
        row("spec transfer-syntaxes 2", "fewer frames than promised", too_short, "7FE00010", "image/jp2"),
        row("spec transfer-syntaxes 1", "multi-component", native, "7FE00010", "image/jpx"),
        row("spec transfer-syntaxes 1", "a video", native, "7FE00010", "video/mp4"),
        row("spec transfer-syntaxes 3", "16 bits", native, "7FE00010",
            f"image/jpeg; transfer-syntax={JPEG}"),
    ],
)  # fmt: skip
def test_what_cannot_be_compressed_is_not_acceptable(site, file, tag, accept):
    response = site.get(f"{keep(site, file())}/bulkdata/{tag}", f"multipart/related; type={accept}")
    assert response.status_code == 406
    assert f'multipart/related; type="{OCTETS}"' in str(response.json()["available"])


@cites("PS3.18 10.4.1.1.5", "pixel data of a study, each in the form asked for")
def test_a_study_of_native_and_compressed_images(site):
    file, dataset = stored(PICTURES)
    path = keep(site, file)
    study, series = dataset.StudyInstanceUID, dataset.SeriesInstanceUID
    again, _ = stored(PICTURES[::-1], J2K, study=study, series=series)
    other = keep(site, again)
    parts = parts_of(site.get(study_of(path) + "/pixeldata", 'multipart/related; type="image/jp2"'))
    for place, pictures in ((path, PICTURES), (other, PICTURES[::-1])):
        mine = [part.content for part in parts if place in part.headers["Content-Location"]]
        got = decoded(mine, J2K, dataset)
        assert all(np.array_equal(one, another) for one, another in zip(got, pictures, strict=True))


@cites("RFC 9110 8.8.3", "another form of the same value has another entity tag")
def test_entity_tags_differ(site):
    path = keep(site, stored(PICTURES)[0])
    tags = [
        site.get(path + PLACES[0], f'multipart/related; type="{name}"').headers["etag"]
        for name in (OCTETS, "image/jp2", "image/jls")
    ]
    assert len(set(tags)) == 3
    unchanged = site.get(
        path + PLACES[0], 'multipart/related; type="image/jls"', **{"If-None-Match": tags[2]}
    )
    assert unchanged.status_code == 304
