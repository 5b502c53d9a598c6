"""Pictures stored beside metadata (PS3.18 10.5.2): transformed ones, and what codestreams tell."""

from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.encaps import generate_frames

from service.dicom.syntaxes import EXPLICIT_LE
from tests.composing import OCTETS, URI, Bulk, an_image, object_of, post_json, refusal
from tests.conformance.rows import cites, row


def png(samples: NDArray[Any]) -> bytes:
    return bytes(imagecodecs.png_encode(samples))


def gif(samples: NDArray[Any]) -> bytes:
    return bytes(imagecodecs.gif_encode(samples))


def mp4(entry: bytes) -> bytes:
    """The boxes of an MP4 file that tell of pictures of 20 × 10 pixels."""

    def box(kind: bytes, *content: bytes) -> bytes:
        whole = b"".join(content)
        return (len(whole) + 8).to_bytes(4, "big") + kind + whole

    described = box(b"stsd", bytes(4), b"\0\0\0\x01", box(entry, bytes(24), b"\0\x14\0\x0a", bytes(50)))
    track = box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", described))))
    return box(b"ftyp", b"mp42\0\0\0\0") + box(b"moov", track) + box(b"mdat", bytes(100))


GREY = np.arange(200, dtype=np.uint8).reshape(10, 20)
COLOURS = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)

# Pictures that no transfer syntax has


def picture_of(found):
    names = (
        "Rows",
        "Columns",
        "SamplesPerPixel",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
    )
    return tuple(getattr(found, name) for name in names), found.PhotometricInterpretation


@pytest.mark.parametrize(
    ("media_type", "samples", "bits"),
    [
        row("PS3.18 10.5.2", "image/png in grey", "image/png", GREY, 8),
        row("PS3.18 10.5.2", "image/png in colours", "image/png", COLOURS, 8),
        row("PS3.18 10.5.2", "image/png of 16 bits", "image/png", GREY.astype(np.uint16) * 257, 16),
        row("PS3.18 10.5.2", "image/gif", "image/gif", GREY, 8),
    ],
)
@pytest.mark.parametrize("shape", [False, True])
def test_png_and_gif_become_uncompressed_without_loss(site, media_type, samples, bits, shape):
    content = png(samples) if media_type == "image/png" else gif(samples)
    document = an_image(shape=False)
    if shape:  # what the metadata say of size must agree; the rest is what the picture is
        document |= {"00280010": {"vr": "US", "Value": [10]}, "00280011": {"vr": "US", "Value": [20]}}
        document |= {"00280004": {"vr": "CS", "Value": ["PALETTE COLOR"]}}
    found = object_of(site, post_json(site, document, Bulk(URI, content, media_type)))
    assert found.file_meta.TransferSyntaxUID == EXPLICIT_LE
    numbers, photometric = picture_of(found)
    expected = imagecodecs.gif_decode(content) if media_type == "image/gif" else samples
    channels = 1 if expected.ndim == 2 else 3
    kept = np.frombuffer(found.PixelData, np.uint16 if bits == 16 else np.uint8)
    assert numbers == (10, 20, channels, bits, bits, bits - 1, 0)
    assert photometric == ("MONOCHROME2" if channels == 1 else "RGB")
    assert np.array_equal(kept.reshape(expected.shape), expected)


@cites("PS3.18 10.5.2, Table 8.7.4-1", "each PNG is a frame, a GIF holds all of them")
def test_frames_of_png_and_gif(site):
    frames = [GREY, 199 - GREY, GREY // 2]
    parts = [Bulk(URI, png(frame), "image/png") for frame in frames]
    found = object_of(site, post_json(site, an_image(frames=3, shape=False), *parts))
    assert found.NumberOfFrames == 3
    assert found.PixelData == b"".join(frame.tobytes() for frame in frames)
    animation = gif(np.stack([GREY, GREY[::-1]]))
    found = object_of(site, post_json(site, an_image(shape=False), Bulk(URI, animation, "image/gif")))
    assert found.NumberOfFrames == 2
    assert len(found.PixelData) == 2 * GREY.size * found.SamplesPerPixel


@cites("[P] one part for several instances", "a PNG that two instances name is decoded for both")
def test_a_picture_of_two_instances(site):
    documents = [an_image(shape=False), an_image(shape=False)]
    response = post_json(site, documents, Bulk(URI, png(COLOURS), "image/png"))
    assert response.status_code == 200
    for stored in response.json()["00081199"]["Value"]:
        url = stored["00081190"]["Value"][0]
        assert site.get(url + "/frames/1", OCTETS).content == COLOURS.tobytes()


@pytest.mark.parametrize(
    ("media_type", "content", "more"),
    [
        row("PS3.18 10.5.2", "no PNG", "image/png", b"\x89PNG", {}),
        row("PS3.18 10.5.2", "a cut one", "image/png", png(COLOURS)[:60], {}),
        row("PS3.18 10.5.2", "no GIF", "image/gif", b"GIF89a", {}),
        row(
            "PS3.18 10.5.2",
            "other rows",
            "image/png",
            png(GREY),
            {"T00280010": {"vr": "US", "Value": [11]}},
        ),
        row("PS3.18 10.5.2", "other frames", "image/gif", gif(GREY), {"frames": 2}),
    ],
)
def test_a_picture_that_is_not_what_it_should_be_is_refused(site, media_type, content, more):
    refusal(post_json(site, an_image(shape=False, **more), Bulk(URI, content, media_type)))


@cites("PS3.18 Table I.2-2", "pixel data of a type without a transfer syntax are C122")
@pytest.mark.parametrize("media_type", ["image/bmp", "image/webp", "image/tiff", "application/zip"])
def test_a_picture_of_a_type_that_is_not_read_is_c122(site, media_type):
    refusal(post_json(site, an_image(), Bulk(URI, b"BM", media_type)), 0xC122)


# What the metadata may leave out


@pytest.mark.parametrize(
    ("media_type", "content", "expected"),
    [
        row(
            "PS3.18 10.5.2",
            "image/jpeg",
            "image/jpeg",
            imagecodecs.jpeg8_encode(COLOURS),
            (3, 8, "YBR_FULL_422"),
        ),
        row(
            "PS3.18 10.5.2",
            "image/jpeg in grey",
            "image/jpeg",
            imagecodecs.jpeg8_encode(GREY),
            (1, 8, "MONOCHROME2"),
        ),
        row(
            "PS3.18 10.5.2",
            "image/jp2",
            "image/jp2",
            imagecodecs.jpeg2k_encode(COLOURS, codecformat="jp2"),
            (3, 8, "YBR_RCT"),
        ),
        row(
            "PS3.18 10.5.2",
            "image/jp2, the bare codestream",
            "image/jp2",
            imagecodecs.jpeg2k_encode(GREY, codecformat="j2k"),
            (1, 8, "MONOCHROME2"),
        ),
        row(
            "PS3.18 10.5.2",
            "image/jpx",
            "image/jpx",
            imagecodecs.jpeg2k_encode(COLOURS, codecformat="j2k"),
            (3, 8, "YBR_RCT"),
        ),
        row(
            "PS3.18 10.5.2", "image/jphc", "image/jphc", imagecodecs.htj2k_encode(GREY), (1, 8, "MONOCHROME2")
        ),
        row("PS3.18 10.5.2", "image/jph", "image/jph", imagecodecs.htj2k_encode(GREY), (1, 8, "MONOCHROME2")),
        row(
            "PS3.18 10.5.2",
            "image/jxl",
            "image/jxl",
            imagecodecs.jpegxl_encode(COLOURS, lossless=True),
            (3, 8, "RGB"),
        ),
        row(
            "PS3.18 10.5.2",
            "image/jxl in boxes",
            "image/jxl",
            imagecodecs.jpegxl_encode(GREY.astype(np.uint16) * 9, lossless=True),
            (1, 16, "MONOCHROME2"),
        ),
        row(
            "[P] more than asked",
            "image/jls",
            "image/jls",
            imagecodecs.jpegls_encode(GREY),
            (1, 8, "MONOCHROME2"),
        ),
        row("PS3.18 10.5.2", "video/mp4", "video/mp4", mp4(b"avc1"), (3, 8, "YBR_PARTIAL_420")),
        row("PS3.18 10.5.2", "video/H265", "video/H265", mp4(b"hvc1"), (3, 8, "YBR_PARTIAL_420")),
        row(
            "PS3.18 10.5.2",
            "video/mpeg",
            "video/mpeg",
            b"\0\0\x01\xb3\x01\x40\x0a\x33",
            (3, 8, "YBR_PARTIAL_420"),
        ),
    ],
)
@pytest.mark.parametrize("tell_length", [False, True])
def test_the_description_of_the_picture_may_be_left_to_the_codestream(
    site, media_type, content, expected, tell_length
):
    document = an_image(shape=False)
    found = object_of(site, post_json(site, document, Bulk(URI, content, media_type, tell_length)))
    numbers, photometric = picture_of(found)
    samples, bits, colours = expected
    assert numbers == (10, 20, samples, bits, bits, bits - 1, 0)
    assert photometric == colours
    assert found.get("PlanarConfiguration") == (0 if samples == 3 else None)


@cites("PS3.18 10.5.2, PS3.5 A.4.4", "the file around a JPEG 2000 codestream is taken off")
def test_only_the_codestream_of_a_jp2_file_is_kept(site):
    file = bytes(imagecodecs.jpeg2k_encode(GREY, codecformat="jp2"))
    found = object_of(site, post_json(site, an_image(shape=False), Bulk(URI, file, "image/jp2")))
    (frame,) = generate_frames(found.PixelData, number_of_frames=1)
    assert frame.startswith(b"\xff\x4f\xff\x51")
    assert frame.rstrip(b"\0") in file


@cites("PS3.18 10.5.2", "what the metadata say of the picture stays as it is")
def test_what_the_metadata_say_is_not_derived(site):
    document = an_image(shape=False, T00280004={"vr": "CS", "Value": ["MONOCHROME1"]})
    found = object_of(
        site, post_json(site, document, Bulk(URI, bytes(imagecodecs.jpegls_encode(GREY)), "image/jls"))
    )
    assert found.PhotometricInterpretation == "MONOCHROME1"
    assert (found.Rows, found.Columns) == (10, 20)
