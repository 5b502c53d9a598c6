"""Retrieve of bulk data and pixel data (PS3.18 10.4.1.1.2, 10.4.1.1.5, 10.4.1.1.6)."""

from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from service.dicom.syntaxes import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from service.dicom.syntaxes import ROOT as UIDS
from tests.conformance.retrieving import (
    J2K,
    JPEG,
    MANY_ANY,
    MANY_OCTETS,
    MP4,
    OCTETS,
    RLE,
    encapsulated,
    keep,
    series_of,
    study_of,
)
from tests.conformance.rows import cites, row
from tests.making import a_ct, a_data_set, a_file, add_pixels, new_uid
from tests.reading import parts_of
from tests.sites import ROOT, Site

PIXELS = bytes(range(32))
PLAIN = f"{OCTETS}; transfer-syntax={EXPLICIT_LE}"
STREAMS = [b"\xff\x4f one \xff\xd9", b"\xff\x4f two!\xff\xd9", b"\xff\x4f three \xff\xd9"]
BLOCKS = {number: bytes([number]) * (1500 + 2 * number) for number in range(1, 5)}


def rich(syntax: str = EXPLICIT_LE, **attributes: Any) -> Dataset:
    """A data set with bulk data at its top level and inside of items, and with pixel data."""
    made = add_pixels(a_data_set(**attributes), [PIXELS])
    made.private_block(0x0009, "ISTHMUS TEST", create=True).add_new(0x01, "OB", BLOCKS[1])
    inner, deep = a_data_set(), a_data_set()
    inner.private_block(0x0009, "ISTHMUS TEST", create=True).add_new(0x02, "OB", BLOCKS[2])
    deep.private_block(0x0009, "ISTHMUS TEST", create=True).add_new(0x03, "OB", BLOCKS[3])
    inner.ReferencedImageSequence = [a_data_set(), deep]
    made.ReferencedImageSequence = [a_data_set(), inner]
    made.private_block(0x0011, "ISTHMUS TEST", create=True).add_new(0x01, "OB", BLOCKS[4])
    made.private_block(0x0011, "ISTHMUS TEST").add_new(0x02, "OB", b"short")
    return made


def pointed_to(site: Site, resource: str) -> list[str]:
    """The BulkDataURIs in the metadata of a resource, in their order."""
    found: list[str] = []

    def look(item: Any) -> None:
        for one in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
            look(one)
        if isinstance(item, dict) and isinstance(item.get("BulkDataURI"), str):
            found.append(item["BulkDataURI"])

    look(site.get(resource + "/metadata").json())
    return found


EXPECTED = [BLOCKS[3], BLOCKS[2], BLOCKS[1], BLOCKS[4], PIXELS]  # by tags: the sequence comes first


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED])
@cites("spec 7", "a BulkDataURI leads to the bytes of the value, little endian")
def test_each_uri_leads_to_its_value(site, syntax):
    made = rich()
    if syntax == EXPLICIT_BE:
        made["PixelData"].VR = "OB"  # pydicom turns no words
    path = keep(site, a_file(made, syntax))
    uris = pointed_to(site, path)
    assert len(uris) == 5
    assert [site.get(uri, OCTETS).content for uri in uris] == EXPECTED
    for uri, expected in zip(uris, EXPECTED, strict=True):
        (part,) = parts_of(site.get(uri))
        assert part.content == expected
        assert part.headers == {
            "Content-Type": PLAIN,
            "Content-Location": uri,
            "Content-Length": str(len(expected)),
        }


@pytest.mark.parametrize("level", [study_of, series_of, str])
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED])
@cites("PS3.18 10.4.1.1.5", "all bulk data of a resource, each at the URI that metadata give")
def test_bulk_data_are_all_that_metadata_point_to(site, syntax, level):
    names = {"study": new_uid(), "series": new_uid()}
    paths = []
    for number in (1, 2):
        made = rich(**names, InstanceNumber=number)
        if syntax == EXPLICIT_BE:
            made["PixelData"].VR = "OB"
        paths.append(keep(site, a_file(made, syntax)))
    resource = level(paths[0])
    response = site.get(resource + "/bulkdata")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(f'multipart/related; type="{OCTETS}"; boundary=')
    parts = parts_of(response)
    assert [part.headers["Content-Location"] for part in parts] == pointed_to(site, resource)
    assert [part.content for part in parts] == EXPECTED * (1 if level is str else 2)
    assert {part.headers["Content-Type"] for part in parts} == {PLAIN}


@pytest.mark.parametrize("level", [study_of, series_of, str])
@cites("PS3.18 10.4.1.1.6", "pixel data are those at the top level, and nothing else")
def test_pixel_data_are_those_at_the_top_level(site, level):
    icon = add_pixels(Dataset(), [bytes(2000)], rows=50, columns=40, bits=8)
    made = rich()
    made.IconImageSequence = [icon]
    path = keep(site, a_file(made))
    keep(site, a_file(a_data_set(study=made.StudyInstanceUID, series=made.SeriesInstanceUID)))
    assert any("/00880200/1/7FE00010" in uri for uri in pointed_to(site, path))
    (part,) = parts_of(site.get(level(path) + "/pixeldata"))
    assert part.content == PIXELS
    assert part.headers == {
        "Content-Type": PLAIN,
        "Content-Location": f"{ROOT}{path}/bulkdata/7FE00010",
        "Content-Length": "32",
    }


@pytest.mark.parametrize(
    ("keyword", "tag", "width"),
    [
        row("PS3.3 C.7.6.24", "float pixel data", "FloatPixelData", "7FE00008", 4),
        row("PS3.3 C.7.6.25", "double float pixel data", "DoubleFloatPixelData", "7FE00009", 8),
    ],
)
def test_float_pixel_data_are_pixel_data(site, keyword, tag, width):
    made = a_data_set(Rows=2, Columns=2, SamplesPerPixel=1, BitsAllocated=8 * width)
    setattr(made, keyword, bytes(range(4 * width)))
    path = keep(site, a_file(made))
    (part,) = parts_of(site.get(path + "/pixeldata"))
    assert part.content == bytes(range(4 * width))
    assert part.headers["Content-Location"] == f"{ROOT}{path}/bulkdata/{tag}"


@pytest.mark.parametrize(
    ("alias", "canonical"),
    [
        row("spec 7", "/bulk is an alias", "/bulk/7FE00010", "/bulkdata/7FE00010"),
        row("spec 7", "of nested values too", "/bulk/00081140/2/00091002", "/bulkdata/00081140/2/00091002"),
        row("spec 7", "/frames is the pixel data", "/frames", "/pixeldata"),
        row("spec 2", "tags in lower case", "/bulkdata/7fe00010", "/bulkdata/7FE00010"),
    ],
)
def test_aliases_name_the_same(site, alias, canonical):
    path = keep(site, a_file(rich()))
    (one,), (other,) = (parts_of(site.get(path + below)) for below in (alias, canonical))
    assert one == other
    assert site.get(path + alias, OCTETS).content == one.content


@pytest.mark.parametrize(
    ("below", "status"),
    [
        row("PS3.18 10.4.3", "no such element", "00091099", 404),
        row("PS3.18 10.4.3", "no such item", "00081140/9/00091002", 404),
        row("PS3.18 10.4.3", "no such element in an item", "00081140/1/00091002", 404),
        row("spec 7", "items count from 1", "00081140/0/00091002", 400),
        row("spec 7", "a path ends in a tag", "00081140/1", 400),
        row("spec 7", "a tag has eight digits", "7FE0010", 400),
        row("spec 7", "of hexadecimal digits", "7FE0001X", 400),
        row("spec 7", "a path that climbs", "..%2F..", 400),
        row("spec 7", "a keyword is no tag", "PixelData", 400),
    ],
)
@pytest.mark.parametrize("name", ["bulkdata", "bulk"])
def test_values_that_are_not_there(site, below, status, name):
    path = keep(site, a_file(rich()))
    assert site.get(f"{path}/{name}/{below}").status_code == status


@pytest.mark.parametrize("below", ["/bulkdata", "/pixeldata"])
@pytest.mark.parametrize("level", [study_of, series_of, str])
@pytest.mark.parametrize("accept", ["*/*", MANY_OCTETS, MANY_ANY])
@cites("PS3.18 10.4.3", "404 where there is nothing, not an empty multipart")
def test_nothing_is_not_found(site, below, level, accept):
    path = keep(site, a_file(a_data_set()))
    assert site.get(level(path) + below, accept).status_code == 404
    assert site.get("/studies/1.2.3" + below, accept).status_code == 404


@pytest.mark.parametrize(
    ("syntax", "label"),
    [
        row("spec 7", "JPEG 2000", J2K, f"image/jp2; transfer-syntax={J2K}"),
        row("spec 7", "JPEG", JPEG, f"image/jpeg; transfer-syntax={JPEG}"),
        row("spec 7", "RLE", RLE, f"image/dicom-rle; transfer-syntax={RLE}"),
    ],
)
@pytest.mark.parametrize(
    "below", ["/bulkdata/7FE00010", "/bulk/7FE00010", "/bulkdata", "/pixeldata", "/frames"]
)
def test_compressed_pixel_data_are_a_part_for_each_frame(site, syntax, label, below):
    path = keep(site, encapsulated(STREAMS, syntax))
    for accept in (
        MANY_ANY,
        f'multipart/related; type="{label.partition(";")[0]}"; transfer-syntax={syntax}',
    ):
        response = site.get(path + below, accept)
        assert response.status_code == 200
        parts = parts_of(response)
        padded = [one + b"\0" * (len(one) % 2) for one in STREAMS] if syntax == RLE else STREAMS
        assert [part.content for part in parts] == padded
        assert {part.headers["Content-Type"] for part in parts} == {label}
        assert {part.headers["Content-Location"] for part in parts} == {f"{ROOT}{path}/bulkdata/7FE00010"}
        assert f'type="{label.partition(";")[0]}"' in response.headers["content-type"]


@pytest.mark.parametrize("below", ["/bulkdata/7FE00010", "/bulkdata", "/pixeldata"])
@cites("PS3.18 Table 10.4.4-1 note", "a single part is for one item: one compressed frame, one native value")
def test_one_item_may_go_alone(site, below):
    one = keep(site, encapsulated(STREAMS[:1]))
    got = site.get(one + below, "image/jp2")
    assert (got.status_code, got.content) == (200, STREAMS[0])
    assert got.headers["content-type"] == f"image/jp2; transfer-syntax={J2K}"
    assert got.headers["content-length"] == str(len(STREAMS[0]))
    assert site.get(one + below, "image/jp2", Range="bytes=2-4").content == STREAMS[0][2:5]
    several = keep(site, encapsulated(STREAMS))
    assert site.get(several + below, "image/jp2").status_code == 406
    native = keep(site, a_ct([PIXELS, PIXELS]))
    got = site.get(native + below, OCTETS)
    assert (got.status_code, got.content) == (200, PIXELS * 2)
    assert got.headers["content-type"] == PLAIN
    assert site.get(native + below, OCTETS, Range="bytes=30-33").content == (PIXELS * 2)[30:34]


@cites("PS3.18 Table 10.4.4-1 note", "several values are no single part")
def test_several_values_do_not_go_alone(site):
    path = keep(site, a_file(rich()))
    assert site.get(path + "/bulkdata", OCTETS).status_code == 406
    assert site.get(study_of(path) + "/pixeldata", OCTETS).status_code == 406


@pytest.mark.parametrize(
    "below",
    [
        row("PS3.18 8.7.7", "one value", "/bulkdata/7FE00010"),
        row("PS3.18 8.7.7", "bulk data", "/bulkdata"),
        row("PS3.18 8.7.7", "pixel data", "/pixeldata"),
    ],
)
@pytest.mark.parametrize("accept", ['multipart/related; type="image/png"', "text/plain", MANY_OCTETS])
def test_what_is_not_available_so_is_not_acceptable(site, below, accept):
    # Part 10 process 16 was retired before anybody decoded it.
    path = keep(site, encapsulated(STREAMS, UIDS + ".4.58"))
    for place in (path,) if below.endswith("10") else (path, series_of(path), study_of(path)):
        response = site.get(place + below, accept)
        assert response.status_code == 406
        assert response.json()["available"]


@pytest.mark.parametrize("below", ["/bulkdata", "/pixeldata"])
@cites("PS3.18 Table 10.4.3-1", "206 if some bulk data could be sent and others could not")
def test_bulk_data_of_which_a_part_is_acceptable_are_partial(site, below):
    study = new_uid()
    keep(site, a_ct(study=study))
    keep(site, encapsulated(STREAMS, UIDS + ".4.58", study=study))
    response = site.get(f"/studies/{study}{below}", MANY_OCTETS)
    assert response.status_code == 206
    assert "1 of 2" in response.headers["warning"]
    assert [part.content for part in parts_of(response)] == [bytes(range(32))]
    assert len(parts_of(site.get(f"/studies/{study}{below}", MANY_ANY))) == 1 + len(STREAMS)


@pytest.mark.parametrize("below", ["/bulkdata/7FE00010", "/bulkdata", "/pixeldata", "/frames"])
@pytest.mark.parametrize("accept", ["*/*", "video/mp4", 'multipart/related; type="video/mp4"', MANY_ANY])
@cites("spec 7", "a video is one representation: its stream, as it is stored")
def test_a_video_leaves_as_its_stream(site, below, accept):
    stream = b"a whole stream" * 10_000
    made = add_pixels(a_data_set(), [bytes(32)] * 9)
    path = keep(site, a_file(made, MP4, codestreams=[stream]))
    response = site.get(path + below, accept)
    assert response.status_code == 200
    label = f"video/mp4; transfer-syntax={MP4}"
    if accept == "video/mp4":
        assert (response.headers["content-type"], response.content) == (label, stream)
        assert response.headers["content-length"] == str(len(stream))
        run = site.get(path + below, accept, Range="bytes=100000-100013")
        assert (run.status_code, run.content) == (206, stream[100_000:100_014])
    else:
        (part,) = parts_of(response)
        assert (part.headers["Content-Type"], part.content) == (label, stream)


@cites("PS3.18 8.7.3.5.2", "fragments in a transfer syntax that has none are never called uncompressed")
def test_pixel_data_of_an_unknown_form_are_not_mislabelled(site):
    made = add_pixels(a_data_set(), [bytes(32)])
    file = a_file(made, J2K, codestreams=[b"\xff\x4f\xff\xd9"]).replace(
        J2K.encode(), (UIDS + ".1\0\0\0").encode()
    )
    path = keep(site, file)
    (part,) = parts_of(site.get(path + "/pixeldata"))
    assert part.headers["Content-Type"] == OCTETS
    assert part.content == b"\xff\x4f\xff\xd9"
    assert site.get(path + "/frames/1").status_code == 404


@cites("spec 9", "an object with very many values is answered in the order of its metadata")
def test_very_many_values(open_site):
    site = open_site()
    made = a_data_set()
    for group in range(0x0011, 0x0011 + 2 * 100, 2):
        made.private_block(group, "ISTHMUS TEST", create=True).add_new(
            1, "OB", group.to_bytes(2, "big") * 600
        )
    items = []
    for number in range(100):
        item = Dataset()
        item.private_block(0x0011, "ISTHMUS TEST", create=True).add_new(1, "OB", bytes([number]) * 1200)
        items.append(item)
    made.ReferencedImageSequence = items
    for syntax in (EXPLICIT_LE, IMPLICIT_LE, DEFLATED):
        made.SOPInstanceUID = new_uid()
        path = keep(site, a_file(made, syntax))
        parts = parts_of(site.get(path + "/bulkdata"))
        assert [part.headers["Content-Location"] for part in parts] == pointed_to(site, path)
        expected = [bytes([number]) * 1200 for number in range(100)]
        expected += [group.to_bytes(2, "big") * 600 for group in range(0x0011, 0x0011 + 200, 2)]
        assert [part.content for part in parts] == expected


@pytest.mark.parametrize("below", ["/bulkdata", "/bulkdata/00880200/1/7FE00010"])
@pytest.mark.parametrize(
    ("compressed", "label"),
    [
        row("spec transfer-syntaxes 6", "an icon in fragments", True, f"image/jp2; transfer-syntax={J2K}"),
        row("spec transfer-syntaxes 6", "a native icon of a compressed image", False, PLAIN),
    ],
)
def test_an_icon_is_what_its_own_length_says(site, below, compressed, label):
    icon = add_pixels(Dataset(), [bytes(2000)], rows=50, columns=40, bits=8)
    expected = bytes(2000)
    if compressed:
        expected = b"\xff\x4f" + bytes(2001) + b"\xff\xd9"
        icon.PixelData = encapsulate([expected], has_bot=True)
        icon["PixelData"].is_undefined_length = True
    made = add_pixels(a_data_set(), [bytes(32)])
    made.IconImageSequence = [icon]
    path = keep(site, a_file(made, J2K, codestreams=STREAMS[:1]))
    parts = parts_of(site.get(path + below, MANY_ANY))
    assert (parts[0].headers["Content-Type"], parts[0].content) == (label, expected)
    assert parts[0].headers["Content-Location"] == f"{ROOT}{path}/bulkdata/00880200/1/7FE00010"


@cites("spec 7", "a value in fragments that is no pixel data: what the fragments hold")
@pytest.mark.parametrize("group", [0x0009, 0x7FE1])
def test_a_private_value_in_fragments(site, group):
    made = add_pixels(a_data_set(), [bytes(32)])
    made.private_block(group, "ISTHMUS TEST", create=True).add_new(0x01, "OB", encapsulate([b"fragment"]))
    made[group, 0x1001].is_undefined_length = True
    path = keep(site, a_file(made, J2K, codestreams=STREAMS[:1]))
    parts = parts_of(site.get(path + "/bulkdata", MANY_ANY))
    values = {part.headers["Content-Location"].rpartition("/")[2]: part.content for part in parts}
    assert values == {f"{group:04X}1001": b"fragment", "7FE00010": STREAMS[0]}
    assert site.get(path + "/frames/1", "image/jp2").content == STREAMS[0]


KINDS = ("doc/", "seg/", "sr/", "ts/", "waveform/", "wsi/", "pr/", "rt/", "encapsulation/")


@cites("PS3.18 10.4.1.1.5", "of files that nobody here made, too: each URI of their metadata, once, in order")
def test_bulk_data_of_real_files(open_site, real_data, manifest):
    wrong: list[str] = []
    small = [one for one in manifest if one["path"].startswith(KINDS) and int(one["bytes"]) < 60_000]
    assert len(small) > 30
    for one in small:
        site = open_site()
        stored = site.post((real_data / one["path"]).read_bytes())
        if stored.status_code not in (200, 202):
            continue
        path = stored.json()["00081199"]["Value"][0]["00081190"]["Value"][0].removeprefix(ROOT)
        expected = pointed_to(site, path)
        response = site.get(path + "/bulkdata", f"{MANY_ANY}, multipart/related; q=0.5")
        if not expected:
            wrong += (
                [] if response.status_code == 404 else [f"{one['path']}: {response.status_code} for nothing"]
            )
            continue
        found = [(part.headers["Content-Location"], part.content) for part in parts_of(response)]
        if list(dict.fromkeys(uri for uri, _ in found)) != expected:
            wrong.append(f"{one['path']}: not what the metadata point to")
        for uri in expected[:3] + expected[-1:]:
            alone = [
                part.content for part in parts_of(site.get(uri, f"{MANY_ANY}, multipart/related; q=0.5"))
            ]
            if alone != [content for place, content in found if place == uri]:
                wrong.append(f"{one['path']}: {uri} is something else alone")
    assert wrong == []
