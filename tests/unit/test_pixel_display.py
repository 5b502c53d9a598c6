"""Pictures for eyes: written so that other readers see them, read within bounds."""

import struct

import imagecodecs
import numpy as np
import pytest

from service.dicom.errors import NotAcceptable, TooLarge, Undecodable
from service.pixels.codecs import decode_display, encode_display

GREY = (np.add.outer(np.arange(60), np.arange(81)) * 255 // 139).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)
READERS = {
    "image/jpeg": imagecodecs.jpeg8_decode,
    "image/png": imagecodecs.png_decode,
    "image/webp": imagecodecs.webp_decode,
    "image/jxl": imagecodecs.jpegxl_decode,
    "image/jp2": imagecodecs.jpeg2k_decode,
    "image/gif": imagecodecs.gif_decode,
}


@pytest.mark.parametrize("media_type", READERS)
@pytest.mark.parametrize("picture", [GREY, COLOUR], ids=["grey", "colour"])
def test_another_reader_sees_the_picture(media_type, picture):
    file = encode_display(picture, media_type, quality=90)

    seen = READERS[media_type](file)

    expected = picture if seen.ndim == picture.ndim else np.repeat(picture[..., None], 3, axis=2)
    assert seen.shape == expected.shape
    exact = media_type == "image/png" or (media_type == "image/gif" and picture is GREY)
    off = np.abs(seen.astype(int) - expected)
    assert off.mean() < (0.001 if exact else 22 if media_type == "image/gif" else 3)
    assert abs(float(seen.mean()) - float(expected.mean())) < 3


@pytest.mark.parametrize("picture", [GREY, COLOUR], ids=["grey", "colour"])
def test_jph_is_a_codestream_in_boxes(picture):
    file = encode_display(picture, "image/jph", quality=90)

    assert file[4:8] == b"jP  " and file[20:24] == b"jph " and b"ihdr" in file and b"colr" in file
    seen = imagecodecs.jpeg2k_decode(file[file.index(b"\xff\x4f\xff\x51") :])
    assert np.abs(seen.astype(int) - picture).mean() < 3


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/webp", "image/jxl", "image/jp2", "image/jph"])
def test_a_lower_quality_makes_a_smaller_file(media_type):
    noisy = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    sizes = [len(encode_display(noisy, media_type, quality=quality)) for quality in (10, 50, 95)]

    assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize("size", [10, 70_000, 200_000])
def test_icc_profiles_go_along_in_jpeg_however_long(size):
    profile = bytes(np.random.default_rng(2).integers(0, 256, size, dtype=np.uint8))

    file = encode_display(COLOUR, "image/jpeg", icc=profile)

    assert _profile_of_jpeg(file) == profile
    assert imagecodecs.jpeg8_decode(file).shape == COLOUR.shape


def _profile_of_jpeg(file: bytes) -> bytes:
    pieces: dict[int, bytes] = {}
    position = 2
    while file[position + 1] != 0xDA:
        length = int.from_bytes(file[position + 2 : position + 4])
        segment = file[position + 4 : position + 2 + length]
        if file[position + 1] == 0xE2 and segment.startswith(b"ICC_PROFILE\0"):
            pieces[segment[12]] = segment[14:]
            count = segment[13]
        position += 2 + length
    assert sorted(pieces) == list(range(1, count + 1))
    return b"".join(pieces[number] for number in sorted(pieces))


def test_icc_profiles_go_along_in_png():
    file = encode_display(COLOUR, "image/png", icc=b"profile" * 100)

    chunk = file[file.index(b"iCCP") + 4 :]
    assert chunk.startswith(b"ICC profile\0\0")
    assert file.index(b"iCCP") < file.index(b"IDAT")
    assert np.array_equal(imagecodecs.png_decode(file), COLOUR)


def test_an_animation_tells_its_delay_and_runs_without_end():
    pictures = [np.roll(GREY, step, axis=1) for step in range(4)]

    file = encode_display(pictures, "image/gif", delay_ms=200)

    assert b"NETSCAPE2.0" in file
    seen = decode_display(file, "image/gif")
    assert seen.delays_ms == (200,) * 4
    assert all(np.array_equal(image[..., 1], one) for image, one in zip(seen.images, pictures, strict=True))


def test_gif_keeps_up_to_256_colours_as_they_are():
    few = COLOUR // 64 * 64

    seen = decode_display(encode_display([few, few[::-1]], "image/gif"), "image/gif")

    assert np.array_equal(seen.images[0], few) and np.array_equal(seen.images[1], few[::-1])


def test_gif_of_noise_is_whole():
    noise = np.random.default_rng(3).integers(0, 256, (300, 300), dtype=np.uint8)

    seen = decode_display(encode_display([noise, noise.T.copy(), noise], "image/gif"), "image/gif")

    assert np.array_equal(seen.images[1][..., 0], noise.T)


@pytest.mark.parametrize(
    "picture",
    [
        GREY,
        COLOUR,
        np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000,
        np.repeat((np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)[..., None], 3, axis=2),
    ],
)
def test_png_is_read_exactly(picture):
    seen = decode_display(bytes(imagecodecs.png_encode(picture)), "image/png")

    assert np.array_equal(seen.images[0], picture) and seen.images[0].dtype == picture.dtype


def test_transparency_is_laid_over_black():
    picture = np.full((4, 4, 4), 200, np.uint8)
    picture[..., 3] = 0
    picture[0, 0, 3] = 255
    picture[0, 1, 3] = 128

    seen = decode_display(bytes(imagecodecs.png_encode(picture)), "image/png").images[0]

    assert seen[0, 0].tolist() == [200] * 3
    assert seen[0, 1].tolist() == [100] * 3
    assert seen[1].max() == 0


def test_pictures_beyond_the_limit_are_too_large_before_they_are_decoded():
    png = bytearray(imagecodecs.png_encode(GREY))
    struct.pack_into(">II", png, 16, 60_000, 60_000)
    gif = bytearray(encode_display(GREY, "image/gif"))
    struct.pack_into("<HH", gif, 6, 60_000, 60_000)

    for file, media_type in ((png, "image/png"), (gif, "image/gif")):
        with pytest.raises(TooLarge):
            decode_display(bytes(file), media_type)


@pytest.mark.parametrize("media_type", ["image/png", "image/gif", "image/bmp"])
def test_what_is_no_picture_is_undecodable(media_type):
    for file in (b"", b"hello", bytes(100)):
        with pytest.raises(Undecodable):
            decode_display(file, media_type)


@pytest.mark.parametrize("media_type", ["image/png", "image/gif"])
def test_damaged_pictures_are_refused_or_read_but_nothing_else(media_type):
    file = encode_display(COLOUR, media_type)
    chance = np.random.default_rng(4)
    for _ in range(500):
        damaged = bytearray(file)
        reach = 60 if chance.random() < 0.5 else len(file)
        for _ in range(3):
            damaged[chance.integers(reach)] = chance.integers(256)
        try:
            decode_display(
                bytes(damaged[: chance.integers(len(file))] if chance.random() < 0.2 else damaged), media_type
            )
        except (Undecodable, TooLarge):
            pass


def test_what_cannot_be_rendered_is_not_acceptable():
    with pytest.raises(NotAcceptable):
        encode_display(GREY, "image/bmp")
    with pytest.raises(NotAcceptable):
        encode_display([GREY, GREY], "image/png")
    with pytest.raises(NotAcceptable):
        encode_display([GREY, GREY.T], "image/gif")
