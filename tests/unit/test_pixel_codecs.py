"""Every encoder against every decoder, and against decoders that are not ours."""

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
from openjpeg.utils import decode as openjpeg_decode
from openjpeg.utils import encode_array as openjpeg_encode
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import RLELosslessDecoder
from pydicom.uid import UID

from service.dicom.errors import NotAcceptable, Undecodable
from service.dicom.syntaxes import EXPLICIT_BE, EXPLICIT_LE, ROOT
from service.pixels.codecs import decode, encode, peak_signal_to_noise_db
from service.pixels.codecs.headers import jpeg_header
from service.pixels.codecs.jpeg2000_header import jpeg_2000_header
from service.pixels.frame import Frame, FrameShape, Pixels
from service.pixels.plan import Act, plan
from service.pixels.transcode import transcode
from tests.codestreams import LOSSLESS, colour, grey, mask, native, noise

PICTURES = {
    "u8": grey(8), "u10": grey(10), "u12": grey(12), "u15": grey(15), "u16": grey(16), "u22": grey(22),
    "u7 in 8": grey(7), "u8 in 16": grey(8, allocated=16), "u12 in 32": grey(12, allocated=32),
    "i8": grey(8, signed=True), "i12": grey(12, signed=True), "i16": grey(16, signed=True),
    "u28": grey(28), "u32": grey(32), "RGB 8": colour(), "RGB 16": colour(16), "RGB 12": colour(12),
    "YBR_FULL": colour(8, "YBR_FULL"), "1 bit": mask(), "1 bit in 8": grey(1),
    **{f"{rows} × {columns}": grey(12, rows=rows, columns=columns)
       for rows, columns in ((1, 2), (2, 1), (1, 300), (300, 1), (2, 2), (3, 200), (65, 3), (1, 1))},
    **{f"noise of {bits} bits": noise(bits, rows=65, columns=257) for bits in (1, 2, 3, 8, 16, 22, 28)},
    "signed noise": noise(16, rows=65, columns=257, signed=True),
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_every_lossless_path_gives_the_same_samples_bit_for_bit(name):
    pixels = PICTURES[name]
    wrong = []
    for first in LOSSLESS:
        if plan(EXPLICIT_LE, pixels.shape, first).act is Act.REFUSE:
            continue
        made = transcode(native(pixels), first)
        for second in LOSSLESS:
            if plan(first, made.shape, second).act is Act.REFUSE:
                continue
            again = decode(transcode(made, second))
            same = again.array.dtype == pixels.array.dtype and np.array_equal(again.array, pixels.array)
            if not same or again.shape != pixels.shape:
                wrong.append(f"{first} to {second}: {again.shape}")
    assert wrong == []


@pytest.mark.parametrize("name", ["u8", "u12", "u16", "i12", "i16", "RGB 8", "YBR_FULL", "u22"])
@pytest.mark.parametrize("tail", [".4.90", ".4.201", ".4.202"])
def test_another_jpeg_2000_decoder_reads_what_is_encoded(name, tail):
    pixels = PICTURES[name]

    codestream = bytes(encode(pixels, ROOT + tail).payload)

    assert np.array_equal(openjpeg_decode(codestream), pixels.array)


@pytest.mark.parametrize("name", ["u8", "u12", "i16", "RGB 8"])
def test_what_another_jpeg_2000_encoder_writes_is_decoded(name):
    pixels = PICTURES[name]
    shape = pixels.shape
    codestream = openjpeg_encode(
        pixels.array, bits_stored=shape.bits_stored, photometric_interpretation=1 if shape.samples == 3 else 2
    )

    assert np.array_equal(decode(Frame(codestream, ROOT + ".4.90", shape)).array, pixels.array)


@pytest.mark.parametrize("name", ["u8", "u12", "i16", "RGB 8", "RGB 16"])
def test_another_rle_decoder_reads_what_is_encoded(name):
    pixels = PICTURES[name]
    shape = pixels.shape

    array, _ = RLELosslessDecoder.as_array(
        _data_set(shape, bytes(encode(pixels, ROOT + ".5").payload)), raw=True, decoding_plugin="pydicom"
    )

    assert np.array_equal(array, pixels.array)


def _data_set(shape: FrameShape, payload: bytes) -> Dataset:
    image = Dataset()
    image.file_meta = Dataset()  # type: ignore[assignment]
    image.file_meta.TransferSyntaxUID = UID(ROOT + ".5")
    image.Rows, image.Columns, image.SamplesPerPixel = shape.rows, shape.columns, shape.samples
    image.BitsAllocated, image.BitsStored = shape.bits_allocated, shape.bits_stored
    image.PixelRepresentation = int(shape.signed)
    image.PhotometricInterpretation = shape.photometric
    if shape.samples > 1:
        image.PlanarConfiguration = 0
    item = b"\xfe\xff\x00\xe0" + len(payload).to_bytes(4, "little") + payload
    image.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0" + item
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    return image


@pytest.mark.parametrize("tail", [".4.91", ".4.203"])
@pytest.mark.parametrize("name", ["u8", "u12", "u16", "i12", "i16", "RGB 8", "RGB 16"])
@pytest.mark.parametrize("quality", [60, 90])
def test_wavelet_codecs_keep_about_the_signal_to_noise_that_quality_means(tail, name, quality):
    pixels = PICTURES[name]

    again = decode(encode(pixels, ROOT + tail, quality=quality))

    assert again.shape == pixels.shape
    assert _signal_to_noise_db(again, pixels) > peak_signal_to_noise_db(quality) - 5


def _signal_to_noise_db(again: Pixels, pixels: Pixels) -> float:
    error = again.array.astype(np.float64) - pixels.array
    return float(20 * np.log10((1 << pixels.shape.bits_stored) / max(np.sqrt((error**2).mean()), 1e-9)))


@pytest.mark.parametrize("near", [1, 2, 5])
@pytest.mark.parametrize("name", ["u8", "u12", "u16", "RGB 8"])
def test_near_lossless_is_never_off_by_more_than_near(name, near):
    pixels = PICTURES[name]

    again = decode(encode(pixels, ROOT + ".4.81", near=near))

    error = np.abs(again.array.astype(np.int64) - pixels.array)
    assert 0 < int(error.max()) <= near


@pytest.mark.parametrize(
    ("tail", "name"),
    [(".4.50", "u8"), (".4.50", "RGB 8"), (".4.112", "u8"), (".4.112", "u12"), (".4.112", "RGB 8")],
)
def test_pictures_for_eyes_keep_the_picture_and_its_colours(tail, name):
    pixels = PICTURES[name]

    again = decode(encode(pixels, ROOT + tail, quality=90))

    assert again.shape.photometric == pixels.shape.photometric
    assert _signal_to_noise_db(again, pixels) > 30
    bias = again.array.astype(np.float64).mean(axis=(0, 1)) - pixels.array.mean(axis=(0, 1))
    assert np.abs(bias).max() < 2 ** (pixels.shape.bits_stored - 6)


def test_a_quality_costs_bytes():
    sizes = [
        [len(bytes(encode(PICTURES["u8"], ROOT + tail, quality=quality).payload)) for quality in (30, 60, 90)]
        for tail in (".4.50", ".4.91", ".4.203", ".4.112")
    ]
    assert all(size == sorted(size) and size[0] < size[-1] for size in sizes)


def test_codestreams_tell_the_bits_that_are_stored():
    for name, bits in (("u10", 10), ("u12", 12), ("u15", 15), ("i12", 12)):
        for tail in (".4.57", ".4.70", ".4.80"):
            assert jpeg_header(encode(PICTURES[name], ROOT + tail).payload).precision == bits
        for tail in (".4.90", ".4.201"):
            header = jpeg_2000_header(bytes(encode(PICTURES[name], ROOT + tail).payload))
            assert (header.precision, header.signed) == (bits, name == "i12")


def test_rpcl_goes_down_to_a_small_resolution_and_tells_the_lengths_of_its_parts():
    payload = bytes(encode(grey(12, rows=200, columns=5000), ROOT + ".4.202").payload)

    header = jpeg_2000_header(payload)

    assert header.high_throughput and header.reversible
    assert 5000 >> header.levels <= 64
    assert payload[payload.index(b"\xff\x52") + 5] == 2  # the order by resolution, then position
    assert b"\xff\x55" in payload[: payload.index(b"\xff\x90")]


@pytest.mark.parametrize("tail", [".4.90", ".4.201", ".4.203"])
def test_less_resolution_is_decoded_where_the_codestream_has_it(tail):
    pixels = grey(12, rows=90, columns=130)
    frame = encode(pixels, ROOT + tail)

    half, least = decode(frame, reduced=1), decode(frame, reduced=40)

    assert half.array.shape == (45, 65) == (half.shape.rows, half.shape.columns)
    assert abs(float(half.array.mean()) - float(pixels.array.mean())) < 30
    assert least.array.shape == (least.shape.rows, least.shape.columns)
    assert least.shape.rows <= 12


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_less_resolution_of_sharp_edges_does_not_wrap_around(bits, signed):
    coarse = noise(bits, rows=16, columns=16, signed=signed).array
    array = coarse.repeat(5, axis=0).repeat(5, axis=1)
    kind = grey(bits, signed=signed, rows=80, columns=80).shape
    frame = encode(Pixels(array, kind), ROOT + ".4.201")

    for reduced in (1, 2, 3):
        ours = decode(frame, reduced=reduced).array
        theirs = imagecodecs.jpeg2k_decode(bytes(frame.payload), skipres=reduced)
        assert np.array_equal(ours, theirs), reduced


LOSSY_CODECS: dict[str, tuple[str, Callable[..., Any], dict[str, Any], Callable[..., Any]]] = {
    "JPEG": (".4.51", imagecodecs.jpeg8_encode, {"level": 60, "bitspersample": 12}, imagecodecs.jpeg8_decode),
    "JPEG 2000": (
        ".4.91",
        imagecodecs.jpeg2k_encode,
        {"level": 60, "codecformat": "j2k", "reversible": False},
        imagecodecs.jpeg2k_decode,
    ),
    "JPEG-LS": (".4.81", imagecodecs.jpegls_encode, {"level": 5}, imagecodecs.jpegls_decode),
    "JPEG XL": (
        ".4.112",
        imagecodecs.jpegxl_encode,
        {"lossless": False, "distance": 1.0},
        imagecodecs.jpegxl_decode,
    ),
}


def test_high_throughput_of_28_bits_is_decoded_under_either_name_and_for_less_resolution():
    pixels = noise(28, rows=65, columns=257)
    frame = encode(pixels, ROOT + ".4.201")

    assert np.array_equal(decode(Frame(frame.payload, ROOT + ".4.203", frame.shape)).array, pixels.array)
    assert decode(frame, reduced=1).array.size > 0


@pytest.mark.parametrize("name", LOSSY_CODECS)
def test_what_loss_adds_beyond_bits_stored_is_cut_off_and_does_not_wrap_around(name):
    coarse = noise(10, rows=16, columns=16).array
    array = coarse.repeat(5, axis=0).repeat(5, axis=1)
    shape = FrameShape(80, 80, 1, 16, 10, 9, False, "MONOCHROME2")
    tail, codec, options, plain = LOSSY_CODECS[name]
    payload = bytes(codec(array, **options))
    stored = plain(payload)
    assert stored.max() > 1023  # or there is nothing to cut off

    pixels = decode(Frame(payload, ROOT + tail, shape))

    assert np.array_equal(pixels.array, stored.clip(0, 1023))


def test_less_resolution_means_nothing_to_other_syntaxes():
    assert np.array_equal(decode(native(PICTURES["u12"]), reduced=3).array, PICTURES["u12"].array)


def test_native_samples_are_moved_down_from_high_bit_and_lose_what_lies_above():
    shape = FrameShape(1, 4, 1, 16, 12, 13, False, "MONOCHROME2")
    stored = np.array([0xC000 | 0x3FFC, 0x8001 | (5 << 2), 0x3FFC, 0], "<u2")

    pixels = decode(Frame(stored.tobytes(), EXPLICIT_LE, shape))

    assert pixels.array.tolist() == [[4095, 5, 4095, 0]]
    assert pixels.shape.high_bit == 11


def test_signed_native_samples_take_their_sign_from_bits_stored():
    shape = FrameShape(1, 3, 1, 16, 12, 11, True, "MONOCHROME2")
    stored = np.array([0x0FFF, 0xF800, 0x17FF], "<u2")

    assert decode(Frame(stored.tobytes(), EXPLICIT_LE, shape)).array.tolist() == [[-1, -2048, 2047]]


@pytest.mark.parametrize("dtype", [">u2", ">i2", ">u4"])
def test_big_endian_samples_are_turned(dtype):
    values = np.array([[1, 258, 30000]], dtype)
    bits = 8 * values.dtype.itemsize
    shape = FrameShape(1, 3, 1, bits, bits, bits - 1, dtype[1] == "i", "MONOCHROME2")

    pixels = decode(Frame(values.tobytes(), EXPLICIT_BE, shape))

    assert pixels.array.dtype.isnative and pixels.array.tolist() == values.tolist()


@pytest.mark.parametrize(("bits", "dtype"), [(32, "<f4"), (64, "<f8")])
def test_float_samples_come_as_they_are(bits, dtype):
    values = np.array([[0.5, -1e30, np.inf]], dtype)
    shape = FrameShape(1, 3, 1, bits, bits, bits - 1, False, "MONOCHROME2", floating=True)

    pixels = decode(Frame(values.tobytes(), EXPLICIT_LE, shape))

    assert np.array_equal(pixels.array, values) and pixels.array.dtype == np.dtype(dtype[1:])


def test_planes_become_colour_by_pixel():
    pixels = colour()
    frame = encode(pixels, EXPLICIT_LE, planar=1)

    assert frame.shape.planar == 1
    assert bytes(frame.payload) == np.moveaxis(pixels.array, -1, 0).tobytes()
    assert np.array_equal(decode(frame).array, pixels.array)


def test_halved_chroma_is_shared_by_two_pixels():
    shape = FrameShape(1, 4, 3, 8, 8, 7, False, "YBR_FULL_422")

    pixels = decode(Frame(bytes([10, 20, 1, 2, 30, 40, 3, 4]), EXPLICIT_LE, shape))

    assert pixels.shape.photometric == "YBR_FULL"
    assert pixels.array.tolist() == [[[10, 1, 2], [20, 1, 2], [30, 3, 4], [40, 3, 4]]]


@pytest.mark.parametrize(
    "shape",
    [
        FrameShape(2, 2, 1, 12, 12, 11, False, "MONOCHROME2"),
        FrameShape(2, 2, 1, 16, 17, 16, False, "MONOCHROME2"),
        FrameShape(2, 2, 1, 16, 12, 10, False, "MONOCHROME2"),
        FrameShape(2, 3, 3, 8, 8, 7, False, "YBR_FULL_422"),
        FrameShape(0, 2, 1, 8, 8, 7, False, "MONOCHROME2"),
        FrameShape(2, 9, 1, 8, 8, 7, False, "MONOCHROME2"),
    ],
)
def test_native_frames_of_impossible_shape_or_too_few_bytes_are_refused(shape):
    with pytest.raises(Undecodable):
        decode(Frame(bytes(16), EXPLICIT_LE, shape))


def test_syntaxes_without_codec_are_refused():
    with pytest.raises(Undecodable):
        decode(Frame(b"", ROOT + ".4.92", PICTURES["u8"].shape))
    with pytest.raises(NotAcceptable):
        encode(PICTURES["u8"], ROOT + ".4.92")
