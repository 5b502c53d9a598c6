"""Store of metadata with pixel data: which transfer syntax, which description (PS3.18 10.5.2, 8.7.3)."""

import pytest
from pydicom.encaps import generate_frames

from service.dicom.syntaxes import ROOT
from tests.composing import OCTETS, PIXELS, URI, Bulk, an_image, object_of, post_json, refusal

# What is stored


def jpeg(
    kind: int = 0xC0, *, samples: int = 1, selection: int = 0, adobe: bool = False, names: bytes = b"\1\2\3"
) -> bytes:
    """The headers of a JPEG codestream of 20 × 10 pixels."""
    components = b"".join(
        bytes((name, 0x22 if number == 0 and samples == 3 else 0x11, 0))
        for number, name in enumerate(names[:samples])
    )
    frame = b"\x08\x00\x0a\x00\x14" + bytes((samples,)) + components
    scan = bytes((samples,)) + b"\x01\x00" * samples + bytes((selection, 0, 0))
    application = b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0\0" if adobe else b"\xff\xe0\x00\x04JF"
    segments = application + b"\xff" + bytes((kind,)) + (len(frame) + 2).to_bytes(2, "big") + frame
    return (
        b"\xff\xd8" + segments + b"\xff\xda" + (len(scan) + 2).to_bytes(2, "big") + scan + b"\x11\x22\xff\xd9"
    )


def jpeg_2000(*, reversible: bool = True, high_throughput: bool = False, samples: int = 1) -> bytes:
    """The headers of a JPEG 2000 codestream of 20 × 10 pixels of 12 bits, signed."""
    size = b"\0\0" + b"".join(number.to_bytes(4, "big") for number in (20, 10, 0, 0, 20, 10, 0, 0))
    siz = size + samples.to_bytes(2, "big") + b"\x8b\x01\x01" * samples
    cod = (
        b"\0\0\0\x01" + bytes((samples == 3,)) + b"\x05\x04\x04" + bytes((0x40 * high_throughput, reversible))
    )
    markers = b"\xff\x51" + (len(siz) + 2).to_bytes(2, "big") + siz
    return b"\xff\x4f" + markers + b"\xff\x52" + (len(cod) + 2).to_bytes(2, "big") + cod + b"\xff\x90\0"


def box(kind: bytes, *content: bytes) -> bytes:
    whole = b"".join(content)
    return (len(whole) + 8).to_bytes(4, "big") + kind + whole


def mp4(entry: bytes = b"avc1") -> bytes:
    """An MP4 file with a track of sound and one of pictures of 20 × 10 pixels, described at its end."""

    def track(described: bytes) -> bytes:
        table = box(b"stsd", bytes(4), b"\0\0\0\x01", described)
        return box(b"trak", box(b"tkhd", bytes(84)), box(b"mdia", box(b"minf", box(b"stbl", table))))

    pictures = box(entry, bytes(24), b"\0\x14\0\x0a", bytes(50))
    moov = box(b"moov", track(box(b"mp4a", bytes(28))), track(pictures))
    return box(b"ftyp", b"mp42\0\0\0\0") + box(b"mdat", bytes(1000)) + moov


def jp2(codestream: bytes) -> bytes:
    return box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2c", codestream)


# The headers of pictures of 20 × 10 pixels, as libjxl wrote them.
JXL = bytes.fromhex("ff0a4870101437020800010080004b386898c283f715")
LOSSY_JXL = bytes.fromhex("ff0a48f001001448003c0101791400800a9551c60d5e")


@pytest.mark.parametrize(
    ("media_type", "content", "syntax"),
    [
        ("image/jpeg", jpeg(0xC0), ".4.50"),
        ("image/jpeg", jpeg(0xC1), ".4.51"),
        ("image/jpeg", jpeg(0xC3, selection=6), ".4.57"),
        ("image/jpeg", jpeg(0xC3, selection=1), ".4.70"),
        ("image/jls", jpeg(0xF7), ".4.80"),
        ("image/jls", jpeg(0xF7, selection=2), ".4.81"),
        ("image/jp2", jpeg_2000(), ".4.90"),
        ("image/jp2", jpeg_2000(reversible=False), ".4.91"),
        ("image/jp2", jp2(jpeg_2000()), ".4.90"),
        ("image/jpx", jpeg_2000(reversible=False), ".4.93"),
        ("image/jphc", jpeg_2000(high_throughput=True), ".4.201"),
        ("image/jphc", jpeg_2000(high_throughput=True, reversible=False), ".4.203"),
        ("image/dicom-rle", b"\x01\0\0\0" + bytes(61), ".5"),
        ("image/jxl", JXL, ".4.110"),
        ("image/jxl", LOSSY_JXL, ".4.112"),
        ("video/mp4", b"\0\0\0\x18ftypmp42", ".4.102"),
        ("video/H265", b"\0\0\0\x01@", ".4.107"),
        ("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50", b"\xff\xd8anything\xff\xd9", ".4.50"),
        (f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2.4.80", b"\xff\xd8anything\xff\xd9", ".4.80"),
        (f'{OCTETS}; transfer-syntax="1.2.840.10008.1.2.1"', PIXELS, ".1"),
        ("video/mpeg; transfer-syntax=1.2.840.10008.1.2.4.100", b"\0\0\x01\xb3", ".4.100"),
    ],
)
@pytest.mark.parametrize("tell_length", [False, True])
def test_the_media_type_or_the_codestream_tells_the_transfer_syntax(
    site, media_type, content, syntax, tell_length
):
    found = object_of(site, post_json(site, an_image(), Bulk(URI, content, media_type, tell_length)))
    assert found.file_meta.TransferSyntaxUID == ROOT + syntax
    if syntax == ".1":
        return
    assert found["PixelData"].VR == "OB"
    codestream = jpeg_2000() if content == jp2(jpeg_2000()) else content
    (frame,) = generate_frames(found.PixelData, number_of_frames=1)
    assert frame == codestream + b"\0" * (len(codestream) % 2)


def test_frames_come_one_by_one_and_get_an_offset_table(site):
    frames = [bytes([number]) * (2 * number + 2) for number in range(5)]
    media_type = "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"
    response = post_json(site, an_image(frames=5), *(Bulk(URI, frame, media_type) for frame in frames))
    found = object_of(site, response)
    assert list(generate_frames(found.PixelData, number_of_frames=5)) == frames
    table = found.PixelData[8 : 8 + 20]
    assert [int.from_bytes(table[at : at + 4], "little") for at in range(0, 20, 4)] == [0, 10, 22, 36, 52]
    url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    assert site.get(url + "/frames/3", "image/jpeg; transfer-syntax=*").content == frames[2]


def test_a_video_is_one_part_for_all_frames(site):
    found = object_of(site, post_json(site, an_image(frames=90), Bulk(URI, b"\0\0\0\x18ftyp", "video/mp4")))
    assert found.PixelData == b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x08\0\0\0\0\0\0\x18ftyp"


@pytest.mark.parametrize(
    ("media_type", "content", "expected"),
    [
        ("image/jpeg", jpeg(), (10, 20, 1, 8, 8, 0, "MONOCHROME2")),
        ("image/jpeg", jpeg(samples=3), (10, 20, 3, 8, 8, 0, "YBR_FULL_422")),
        ("image/jpeg", jpeg(samples=3, adobe=True), (10, 20, 3, 8, 8, 0, "RGB")),
        ("image/jpeg", jpeg(samples=3, names=b"RGB"), (10, 20, 3, 8, 8, 0, "RGB")),
        ("image/jls", jpeg(0xF7, samples=3), (10, 20, 3, 8, 8, 0, "RGB")),
        ("image/jp2", jpeg_2000(), (10, 20, 1, 16, 12, 1, "MONOCHROME2")),
        ("image/jp2", jpeg_2000(samples=3), (10, 20, 3, 16, 12, 1, "YBR_RCT")),
        ("image/jp2", jpeg_2000(samples=3, reversible=False), (10, 20, 3, 16, 12, 1, "YBR_ICT")),
        ("image/jxl", JXL, (10, 20, 1, 8, 8, 0, "MONOCHROME2")),
        ("image/jxl", LOSSY_JXL, (10, 20, 3, 8, 8, 0, "XYB")),
        ("video/mp4", mp4(), (10, 20, 3, 8, 8, 0, "YBR_PARTIAL_420")),
        ("video/H265", mp4(b"hvc1"), (10, 20, 3, 8, 8, 0, "YBR_PARTIAL_420")),
        ("video/mpeg", b"\0\0\x01\xb3\x01\x40\x0a\x33", (10, 20, 3, 8, 8, 0, "YBR_PARTIAL_420")),
    ],
)
def test_what_the_codestream_says_need_not_be_said_again(site, media_type, content, expected):
    found = object_of(site, post_json(site, an_image(shape=False), Bulk(URI, content, media_type)))
    assert (
        found.Rows,
        found.Columns,
        found.SamplesPerPixel,
        found.BitsAllocated,
        found.BitsStored,
        found.PixelRepresentation,
        found.PhotometricInterpretation,
    ) == expected
    assert found.HighBit == found.BitsStored - 1
    assert ("PlanarConfiguration" in found) == (found.SamplesPerPixel == 3)


def test_an_extended_offset_table_of_other_fragments_is_left_out(site):
    table = {"vr": "OV", "BulkDataURI": "table"}
    document = an_image(T7FE00001=table, T7FE00002={"vr": "OV", "InlineBinary": "AAAAAAAAAAA="})
    response = post_json(site, document, Bulk(URI, jpeg(), "image/jpeg"))
    assert "ExtendedOffsetTable" not in object_of(site, response)


# What is refused


@pytest.mark.parametrize("media_type", ["image/bmp", "application/pdf"])
def test_pictures_of_a_type_that_is_not_read_are_refused(site, media_type):
    response = post_json(site, an_image(), Bulk(URI, b"\x89PNG", media_type))
    assert "not stored here" in refusal(response, 0xC122)


@pytest.mark.parametrize(
    ("media_type", "reason"),
    [
        ("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.90", 0xC000),
        ("image/jp2; transfer-syntax=1.2.3", 0xC122),
        (f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2.2", 0xC122),
        (f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2.1.99", 0xC122),
        (f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2.4.94", 0xC122),
    ],
)
def test_transfer_syntaxes_that_pixel_data_cannot_have_are_refused(site, media_type, reason):
    refusal(post_json(site, an_image(), Bulk(URI, PIXELS, media_type)), reason)


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/jls", "image/jp2", "image/jphc", "image/jxl"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"\xff\xd8",
        b"\xff\xd8\xff\xff\xff",
        b"\xff\xd8\xff\xda\x00\x02",
        b"\xff\xd8\xff\xc0\x00\x02\xff\xda\x00\x02",
        b"\xff\xd8" + b"\xff\xd0" * 5000,
        b"\xff\xd8" + b"\xff\xe0\x00\x00" * 5000,
        jpeg(0xC2),
        jpeg()[:20],
        b"\xff\x4f\xff\x51",
        jpeg_2000()[:50],
        jpeg_2000()[:58],
        b"\xff\x4f\xff\x51\x00\x29" + bytes(39) + b"\xff\x90",
        b"\x00\x00\x00\x0cjP  \r\n\x87\n",
        b"\x00\x00\x00\x0cjP  \r\n\x87\n" + b"\x00\x00\x00\x01jp2c" + b"\xff" * 8,
        b"\x00\x00\x00\x0cjP  \r\n\x87\n" + b"\x00\x00\x00\x04jp2c",
        b"GIF89a",
    ],
)
def test_codestreams_that_are_none_are_refused(site, media_type, content):
    refusal(post_json(site, an_image(), Bulk(URI, content, media_type)))


def test_what_no_codestream_tells_must_be_said(site):
    for media_type in ("image/dicom-rle", "video/mp4", "video/mpeg"):
        response = post_json(site, an_image(shape=False), Bulk(URI, b"\x01\0\0\0", media_type))
        assert "(0028,0010)" in refusal(response)


def test_native_pixels_that_are_neither_one_frame_nor_all_are_refused(site):
    response = post_json(site, an_image(frames=2), Bulk(URI, (PIXELS * 2)[:-2]))
    assert "62 bytes long and should be 64" in refusal(response)


@pytest.mark.parametrize("tell_length", [False, True])
def test_native_frames_of_different_lengths_are_refused(site, tell_length):
    bulk = [Bulk(URI, content, OCTETS, tell_length) for content in (PIXELS, PIXELS[:-4])]
    assert "not a frame each" in refusal(post_json(site, an_image(frames=2), *bulk))


def test_too_few_frames_are_refused(site):
    media_type = "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"
    response = post_json(site, an_image(frames=3), Bulk(URI, b"ab", media_type), Bulk(URI, b"cd", media_type))
    assert "too few" in refusal(response)
    assert "too few" in refusal(post_json(site, an_image(frames=3), Bulk(URI, PIXELS), Bulk(URI, PIXELS)))


def test_frames_of_different_kinds_are_refused(site):
    bulk = [Bulk(URI, jpeg(), "image/jpeg"), Bulk(URI, jpeg_2000(), "image/jp2")]
    assert "different" in refusal(post_json(site, an_image(frames=2), *bulk))
