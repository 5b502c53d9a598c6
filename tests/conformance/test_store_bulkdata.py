"""Metadata with bulk data (PS3.18 10.5.2, 8.7.3): what becomes of each media type and of what is left out."""

import json

import pytest
from pydicom.encaps import generate_frames

from service.dicom.syntaxes import EXPLICIT_LE, ROOT
from tests.composing import (
    OCTETS,
    PIXELS,
    URI,
    Bulk,
    a_body,
    an_image,
    failures,
    metadata,
    object_of,
    post_body,
    post_json,
    refusal,
)
from tests.conformance.rows import cites, row

STREAM = b"\xff\x4f\xff\x51 not looked at"
CODESTREAM_TYPES = "PS3.18 Table 8.7.3-5"


# Transfer syntaxes


@pytest.mark.parametrize(
    ("media_type", "syntax"),
    [
        row("PS3.18 8.7.3.5.2", "octets mean Explicit VR Little Endian", OCTETS, EXPLICIT_LE),
        row("PS3.18 8.7.3.5.2", "and so does no type", "", EXPLICIT_LE),
        row("PS3.18 8.7.3.5.2", "any is what the type means", f"{OCTETS}; transfer-syntax=*", EXPLICIT_LE),
        row(
            "PS3.18 8.7.3.5.2",
            "in implicit VR the pixels are the same",
            f"{OCTETS}; transfer-syntax={ROOT}",
            EXPLICIT_LE,
        ),
        row(CODESTREAM_TYPES, "image/jpeg", f"image/jpeg; transfer-syntax={ROOT}.4.50", ROOT + ".4.50"),
        row(CODESTREAM_TYPES, "image/jpeg", f"image/jpeg; transfer-syntax={ROOT}.4.51", ROOT + ".4.51"),
        row(CODESTREAM_TYPES, "image/jpeg", f"image/jpeg; transfer-syntax={ROOT}.4.57", ROOT + ".4.57"),
        row(CODESTREAM_TYPES, "image/jpeg", f"image/jpeg; transfer-syntax={ROOT}.4.70", ROOT + ".4.70"),
        row(CODESTREAM_TYPES, "image/dicom-rle", "image/dicom-rle", ROOT + ".5"),
        row(CODESTREAM_TYPES, "image/jls", f"image/jls; transfer-syntax={ROOT}.4.80", ROOT + ".4.80"),
        row(CODESTREAM_TYPES, "image/jls", f"image/jls; transfer-syntax={ROOT}.4.81", ROOT + ".4.81"),
        row(CODESTREAM_TYPES, "image/jp2", f"image/jp2; transfer-syntax={ROOT}.4.90", ROOT + ".4.90"),
        row(CODESTREAM_TYPES, "image/jp2", f"image/jp2; transfer-syntax={ROOT}.4.91", ROOT + ".4.91"),
        row(CODESTREAM_TYPES, "image/jpx", f"image/jpx; transfer-syntax={ROOT}.4.92", ROOT + ".4.92"),
        row(CODESTREAM_TYPES, "image/jpx", f"image/jpx; transfer-syntax={ROOT}.4.93", ROOT + ".4.93"),
        row(CODESTREAM_TYPES, "image/jphc", f"image/jphc; transfer-syntax={ROOT}.4.201", ROOT + ".4.201"),
        row(CODESTREAM_TYPES, "image/jphc", f"image/jphc; transfer-syntax={ROOT}.4.202", ROOT + ".4.202"),
        row(CODESTREAM_TYPES, "image/jphc", f"image/jphc; transfer-syntax={ROOT}.4.203", ROOT + ".4.203"),
        row(CODESTREAM_TYPES, "image/jxl", f"image/jxl; transfer-syntax={ROOT}.4.110", ROOT + ".4.110"),
        row(CODESTREAM_TYPES, "image/jxl", f"image/jxl; transfer-syntax={ROOT}.4.111", ROOT + ".4.111"),
        row(CODESTREAM_TYPES, "image/jxl", f"image/jxl; transfer-syntax={ROOT}.4.112", ROOT + ".4.112"),
        row(CODESTREAM_TYPES, "deflated frames", f"{OCTETS}; transfer-syntax={ROOT}.8.1", ROOT + ".8.1"),
        row("PS3.18 Table 8.7.3-6", "video/mpeg", "video/mpeg", ROOT + ".4.101"),
        row(
            "PS3.18 Table 8.7.3-6", "video/mpeg", f"video/mpeg; transfer-syntax={ROOT}.4.100", ROOT + ".4.100"
        ),
        row("PS3.18 Table 8.7.3-6", "video/mp4", "video/mp4", ROOT + ".4.102"),
        row("PS3.18 Table 8.7.3-6", "video/mp4", f"video/mp4; transfer-syntax={ROOT}.4.106", ROOT + ".4.106"),
        row("PS3.18 Table 8.7.3-6", "video/H265", "video/H265", ROOT + ".4.107"),
        row(
            "PS3.18 Table 8.7.3-6", "video/H265", f"video/h265; transfer-syntax={ROOT}.4.108", ROOT + ".4.108"
        ),
        row("[D] old names", "image/x-jls", f"image/x-jls; transfer-syntax={ROOT}.4.80", ROOT + ".4.80"),
        row("[D] old names", "image/x-dicom-rle", "image/x-dicom-rle", ROOT + ".5"),
        row("[D] old names", "image/dicom+rle", "image/dicom+rle", ROOT + ".5"),
        row(
            "[D] old names",
            "image/dicom+jpeg",
            f"image/dicom+jpeg; transfer-syntax={ROOT}.4.70",
            ROOT + ".4.70",
        ),
        row(
            "[D] old names",
            "image/dicom+jpeg-ls",
            f"image/dicom+jpeg-ls; transfer-syntax={ROOT}.4.81",
            ROOT + ".4.81",
        ),
        row(
            "[D] old names",
            "image/dicom+jp2",
            f"image/dicom+jp2; transfer-syntax={ROOT}.4.91",
            ROOT + ".4.91",
        ),
        row(
            "[D] old names",
            "image/dicom+jpx",
            f"image/dicom+jpx; transfer-syntax={ROOT}.4.93",
            ROOT + ".4.93",
        ),
        row("[D] old names", "image/jph", f"image/jph; transfer-syntax={ROOT}.4.201", ROOT + ".4.201"),
    ],
)
@pytest.mark.parametrize("tell_length", [False, True])
def test_the_transfer_syntax_is_that_of_the_bulk_data(site, media_type, syntax, tell_length):
    native = syntax == EXPLICIT_LE
    content = PIXELS if native else STREAM
    found = object_of(site, post_json(site, an_image(), Bulk(URI, content, media_type, tell_length)))
    assert found.file_meta.TransferSyntaxUID == syntax
    if native:
        assert found.PixelData == PIXELS
    else:
        (frame,) = generate_frames(found.PixelData, number_of_frames=1)
        assert frame.startswith(STREAM)


@cites(
    "PS3.18 10.5.2", "a codestream is encapsulated unchanged, one fragment a frame, its frames in their order"
)
@pytest.mark.parametrize("tell_length", [False, True])
def test_each_frame_of_compressed_pixel_data_is_a_part(site, tell_length):
    frames = [b"\xff\xd8 frame %d\xff\xd9" % number for number in (100, 2, 33, 4)]
    kind = f"image/jpeg; transfer-syntax={ROOT}.4.50"
    parts = [Bulk(URI, frame, kind, tell_length) for frame in frames]
    response = post_json(site, an_image(frames=4), *parts)
    found = object_of(site, response)
    kept = list(generate_frames(found.PixelData, number_of_frames=4))
    assert [one.rstrip(b"\0") for one in kept] == frames
    url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    for number, frame in enumerate(frames, 1):
        assert (
            site.get(f"{url}/frames/{number}", "image/jpeg; transfer-syntax=*").content.rstrip(b"\0") == frame
        )


@pytest.mark.parametrize(
    ("count", "words"),
    [
        row("PS3.18 10.5.2", "a frame too few refuses the instance", 2, "too few"),
        row("PS3.18 10.5.2", "one too many is a failure of its own", 4, "More parts"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "content"), [(OCTETS, PIXELS), (f"image/jls; transfer-syntax={ROOT}.4.80", STREAM)]
)
def test_frames_are_as_many_as_the_metadata_say(site, count, words, kind, content):
    response = post_json(site, an_image(frames=3), *[Bulk(URI, content, kind)] * count)
    assert response.status_code == (409 if count < 3 else 202)
    ((reason, instance, comment),) = failures(response)
    assert (reason, bool(instance)) == (0xC000, count < 3)
    assert words in comment


# Native frames


def shaped(rows: int, columns: int, bits: int, frames: int, samples: int = 1, **more):
    names = {
        "T00280010": rows,
        "T00280011": columns,
        "T00280100": bits,
        "T00280101": bits,
        "T00280102": bits - 1,
    }
    numbers = {**names, "T00280002": samples}
    return an_image(
        frames=frames, **{tag: {"vr": "US", "Value": [value]} for tag, value in numbers.items()}, **more
    )


@pytest.mark.parametrize(
    ("document", "frames", "joined"),
    [
        row(
            "[P] native frames",
            "16 bits",
            shaped(2, 2, 16, 3),
            [b"8 bytes!", b"and more", b"the last"],
            b"8 bytes!and morethe last",
        ),
        row(
            "[P] native frames",
            "odd bytes are not padded between frames",
            shaped(1, 3, 8, 3),
            [b"abc", b"def", b"ghi"],
            b"abcdefghi",
        ),
        row(
            "[P] native frames",
            "though their parts may be",
            shaped(1, 3, 8, 3),
            [b"abc\0", b"def\0", b"ghi\0"],
            b"abcdefghi",
        ),
        row("[P] native frames", "colours", shaped(1, 2, 8, 2, 3), [b"RGBrgb", b"123456"], b"RGBrgb123456"),
        row(
            "PS3.18 8.7.3.3.1",
            "single bits follow one another without a gap",
            shaped(1, 3, 1, 4),
            [b"\5", b"\2", b"\7", b"\1"],
            b"\xd5\x03",
        ),
        row(
            "PS3.18 8.7.3.3.1",
            "also over bytes",
            shaped(1, 12, 1, 2),
            [b"\xff\x0f", b"\xab\x0c"],
            b"\xff\xbf\xca",
        ),
    ],
)
@pytest.mark.parametrize("tell_length", [False, True])
def test_native_frames_may_come_one_by_one(site, document, frames, joined, tell_length):
    parts = [Bulk(URI, frame, OCTETS, tell_length) for frame in frames]
    response = post_json(site, document, *parts)
    padded = joined + b"\0" * (len(joined) % 2)
    assert object_of(site, response).PixelData == padded
    url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    served = [site.get(f"{url}/frames/{number}", OCTETS).content for number in range(1, len(frames) + 1)]
    assert [one[: len(one)] for one in served] == [
        frame[: len(one)] for frame, one in zip(frames, served, strict=True)
    ]


@cites("PS3.18 10.5.2", "native pixel data are one part for all frames")
@pytest.mark.parametrize("tell_length", [False, True])
def test_native_pixel_data_are_one_part(site, tell_length):
    found = object_of(site, post_json(site, an_image(frames=3), Bulk(URI, PIXELS * 3, OCTETS, tell_length)))
    assert found.PixelData == PIXELS * 3


@cites("PS3.5 A.2", "native pixels of more than 8 bits are OW, whatever the metadata say")
def test_wide_native_pixels_are_ow(site):
    document = an_image(T7FE00010={"vr": "OB", "BulkDataURI": URI})
    assert object_of(site, post_json(site, document, Bulk(URI, PIXELS)))["PixelData"].VR == "OW"


# Documents and other values


@pytest.mark.parametrize(
    ("media_type", "sop_class"),
    [
        row("PS3.18 8.7.3", "PDF", "application/pdf", "1.2.840.10008.5.1.4.1.1.104.1"),
        row("PS3.18 8.7.3", "CDA", "text/xml", "1.2.840.10008.5.1.4.1.1.104.2"),
        row("PS3.18 8.7.3", "STL", "model/stl", "1.2.840.10008.5.1.4.1.1.104.3"),
        row("PS3.18 8.7.3", "OBJ", "model/obj", "1.2.840.10008.5.1.4.1.1.104.4"),
        row("PS3.18 8.7.3", "MTL", "model/mtl", "1.2.840.10008.5.1.4.1.1.104.5"),
    ],
)
def test_a_document_travels_in_its_own_type(site, media_type, sop_class):
    document = metadata(
        shape=False,
        T00080016={"vr": "UI", "Value": [sop_class]},
        T00420011={"vr": "OB", "BulkDataURI": URI},
        T00420012={"vr": "LO", "Value": [media_type]},
    )
    response = post_json(site, document, Bulk(URI, b"odd", media_type))
    found = object_of(site, response)
    assert (found.EncapsulatedDocument, found.EncapsulatedDocumentLength) == (b"odd\0", 3)
    url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    assert site.get(url + "/bulkdata/00420011", OCTETS).content.rstrip(b"\0") == b"odd"


@pytest.mark.parametrize(
    ("vr", "content"),
    [
        *(
            row("PS3.18 F.2.2", f"{vr} at a BulkDataURI", vr, bytes(range(16)))
            for vr in ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
        ),
        *(
            row("PS3.18 10.4.1.1.2", f"{vr} at a BulkDataURI", vr, bytes(16))
            for vr in ("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV")
        ),
        *(row("PS3.18 10.4.1.1.2", f"{vr} at a BulkDataURI", vr, b"1\\2 ") for vr in ("DS", "IS")),
        *(row("PS3.18 10.4.1.1.2", f"{vr} at a BulkDataURI", vr, b"text") for vr in ("LT", "ST", "UC", "UT")),
    ],
)
def test_a_value_of_any_such_vr_may_lie_elsewhere(site, vr, content):
    document = metadata(T00090010={"vr": "LO", "Value": ["ACME"]}, T00091001={"vr": vr, "BulkDataURI": URI})
    response = post_json(site, document, Bulk(URI, content))
    assert response.status_code == 200, response.text
    url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    file = site.get(url, "application/dicom").content
    head = b"\x09\0\x01\x10" + vr.encode()
    assert file[file.index(head) :].endswith(content) or content in file[file.index(head) :]


@cites("PS3.18 10.5.2", "group 0002 is not part of metadata; what is there of it is left out")
def test_file_meta_in_metadata_are_left_out(site):
    document = an_image(
        T00020010={"vr": "UI", "Value": [ROOT + ".4.50"]}, T00020003={"vr": "UI", "Value": ["1.2"]}
    )
    found = object_of(site, post_json(site, document, Bulk(URI, PIXELS)))
    assert found.file_meta.TransferSyntaxUID == EXPLICIT_LE
    assert found.file_meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID


@cites(
    "PS3.18 8.6.1.2",
    "a part belongs to the metadata whose BulkDataURI is its Content-Location, in any order of parts",
)
def test_parts_are_matched_by_location_not_by_order(site):
    documents = [an_image(T7FE00010={"vr": "OW", "BulkDataURI": f"b/{number}"}) for number in range(4)]
    parts = [Bulk(f"b/{number}", bytes([number]) * 32) for number in (2, 0, 3, 1)]
    response = post_json(site, documents, *parts)
    assert response.status_code == 200
    by_instance = {
        one["00081155"]["Value"][0]: one["00081190"]["Value"][0]
        for one in response.json()["00081199"]["Value"]
    }
    for number, document in enumerate(documents):
        url = by_instance[document["00080018"]["Value"][0]]
        assert site.get(url + "/frames/1", OCTETS).content == bytes([number]) * 32


@cites("PS3.18 8.6.1.2", "metadata come before the bulk data that they refer to")
def test_bulk_data_before_their_metadata_belong_to_nothing(site):
    early = a_body([], [Bulk(URI, PIXELS)]).removesuffix(b"--")
    late = a_body([json.dumps([an_image()]).encode()]).removeprefix(b"--bnd")
    response = post_body(site, early + late)
    assert response.status_code == 409
    # a part that nothing refers to yet, and an instance without its bulk data
    assert [reason for reason, *_ in failures(response)] == [0xC000, 0xC000]
    assert list(site.store.keys()) == []


@cites("PS3.18 8.11 [P]", "a BulkDataURI of another server is never fetched")
@pytest.mark.parametrize("uri", ["http://127.0.0.1:9/x", "file:///etc/hostname", "https://example.org/a"])
def test_nothing_is_fetched(site, uri):
    response = post_json(site, an_image(T7FE00010={"vr": "OW", "BulkDataURI": uri}))
    assert "BulkDataURI" in refusal(response)
