"""Codestreams that make decoders lie, stall or swell."""

import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest

from service.dicom.errors import Undecodable
from service.dicom.syntaxes import EXPLICIT_LE, ROOT
from service.pixels.codecs import decode, encode
from service.pixels.frame import Frame, FrameShape, Pixels, Samples
from tests.codestreams import colour, grey, mask
from tests.swiftness import spent_s

END = b"\xff\xd9"


def payload_of(pixels: Pixels, tail: str, **options: int) -> bytes:
    return bytes(encode(pixels, ROOT + tail, **options).payload)


def test_lossy_htj2k_beyond_the_range_is_cut_off_there_and_does_not_wrap_around():
    y, x = np.mgrid[:96, :96]
    array = np.where((x // 5 + y // 7) % 2, 255, 0).astype(np.uint8)
    shape = FrameShape(96, 96, 1, 8, 8, 7, False, "MONOCHROME2")
    frame = encode(Pixels(array, shape), ROOT + ".4.203", quality=50)

    again = decode(frame).array

    assert np.abs(again.astype(int) - array).max() < 100
    wrapped = imagecodecs.htj2k_decode(frame.payload)
    assert np.abs(wrapped.astype(int) - array).max() > 200  # else the detour is needed no more


def test_jpeg_ls_without_end_marker_decodes_without_a_stall():
    pixels = grey(12)
    payload = payload_of(pixels, ".4.80")
    frame = Frame(payload.removesuffix(END), ROOT + ".4.80", pixels.shape)

    assert spent_s(lambda: decode(frame), 0.5, time.process_time) <= 0.5
    assert np.array_equal(decode(frame).array, pixels.array)


def test_jpeg_ls_that_is_cut_short_is_refused_without_a_stall():
    pixels = grey(12, rows=128, columns=128)
    payload = payload_of(pixels, ".4.80")

    def decode_what_is_left() -> None:
        for size in range(len(payload) // 2, len(payload) - 2, 500):
            with pytest.raises(Undecodable):
                decode(Frame(payload[:size], ROOT + ".4.80", pixels.shape))

    assert spent_s(decode_what_is_left, 1, time.process_time) <= 1


@pytest.mark.parametrize("ending", [b"\0" + END, b"\0" + END + b"\0", END + b"\0"])
def test_jpeg_ls_with_a_zero_before_or_behind_its_end_marker_decodes(ending):
    pixels = grey(12)
    payload = payload_of(pixels, ".4.80").removesuffix(END) + ending

    assert np.array_equal(decode(Frame(payload, ROOT + ".4.80", pixels.shape)).array, pixels.array)


def test_differences_of_lossless_jpeg_count_modulo_the_precision():
    # Samples of 16 bits that are those wanted but for multiples of 4096; the first prediction is 2^15 at
    # 16 bits and 2^11 at 12, so that relabelling the codestream moves all of them by the difference.
    pixels = grey(12)
    turns = np.arange(pixels.shape.rows, dtype=np.int64)[:, None] % 5 * 4096
    wrapped = (pixels.array + turns + (1 << 15) - (1 << 11)).astype(np.uint16)
    payload = bytearray(imagecodecs.jpeg8_encode(wrapped, lossless=True, predictor=1, bitspersample=16))
    payload[payload.index(b"\xff\xc3") + 4] = 12

    again = decode(Frame(bytes(payload), ROOT + ".4.70", pixels.shape))

    assert np.array_equal(again.array, pixels.array)


@pytest.mark.parametrize("tail", [".4.50", ".4.70", ".4.90", ".4.91", ".4.201", ".4.203", ".4.112"])
@pytest.mark.parametrize("pixels", [grey(8), colour()], ids=["grey", "colour"])
def test_codestreams_that_are_cut_short_are_refused(tail, pixels):
    frame = encode(pixels, ROOT + tail)
    payload = bytes(frame.payload)
    decoded = []
    for size in range(0, len(payload) - 4, max(len(payload) // 50, 1)):
        try:
            decode(Frame(payload[:size], frame.syntax, frame.shape))
            decoded.append(size)
        except Undecodable:
            pass
    assert decoded == []


def larger_jpeg(payload: bytearray) -> None:
    start = next(payload.index(mark) for mark in (b"\xff\xc0", b"\xff\xc3", b"\xff\xf7") if mark in payload)
    payload[start + 5 : start + 9] = b"\xff\xf0\xff\xf0"


def larger_jpeg_2000(payload: bytearray) -> None:
    payload[8:16] = b"\x00\x00\xff\xf0\x00\x00\xff\xf0"
    payload[24:32] = b"\x00\x00\xff\xf0\x00\x00\xff\xf0"


def many_tiles(payload: bytearray) -> None:
    payload[24:32] = b"\x00\x00\x00\x01\x00\x00\x00\x01"


def tiny_precincts(payload: bytearray) -> None:
    start = payload.index(b"\xff\x52")
    levels = payload[start + 9]
    payload[start + 4] |= 1
    payload[start + 2 : start + 4] = (12 + levels + 1).to_bytes(2)
    payload[start + 14 : start + 14] = b"\x11" * (levels + 1)


def precincts_in_a_tile(payload: bytearray) -> None:
    """A coding style of its own in the header of the first tile-part."""
    start = payload.index(b"\xff\x52")
    style = bytearray(payload[start : start + 14])
    style[2:4], style[4] = (12 + style[9] + 1).to_bytes(2), style[4] | 1
    style += b"\x11" * (style[9] + 1)
    part = payload.index(b"\xff\x90")
    length = int.from_bytes(payload[part + 6 : part + 10]) + len(style)
    payload[part + 6 : part + 10] = length.to_bytes(4)
    payload[part + 12 : part + 12] = style


def many_layers_of_precincts(payload: bytearray) -> None:
    start = payload.index(b"\xff\x52")
    levels = payload[start + 9]
    payload[start + 4] |= 1
    payload[start + 2 : start + 4] = (12 + levels + 1).to_bytes(2)
    payload[start + 6 : start + 8] = b"\xff\xff"
    payload[start + 14 : start + 14] = b"\x44" * (levels + 1)


def many_scans(payload: bytearray) -> None:
    scan = payload[payload.index(b"\xff\xda") : -2]
    payload[-2:-2] = scan * 40


def deeper(payload: bytearray) -> None:
    payload[42] = 31


def more_components(payload: bytearray) -> None:
    payload[40:42] = b"\x3f\xff"


def larger_jpeg_xl(payload: bytearray) -> None:
    payload[2:8] = b"\xfe\xff\xff\xff\xff\xff"


@pytest.mark.parametrize(
    ("tail", "swell"),
    [
        (".4.50", larger_jpeg), (".4.70", larger_jpeg), (".4.80", larger_jpeg), (".4.90", larger_jpeg_2000),
        (".4.201", larger_jpeg_2000), (".4.90", many_tiles), (".4.201", many_tiles), (".4.90", deeper),
        (".4.90", tiny_precincts), (".4.201", tiny_precincts), (".4.201", precincts_in_a_tile),
        (".4.90", many_layers_of_precincts), (".4.50", many_scans),
        (".4.201", more_components), (".4.90", more_components), (".4.110", larger_jpeg_xl),
    ],
)  # fmt: skip
def test_codestreams_that_ask_for_more_than_their_picture_needs_are_refused_before_they_are_decoded(
    tail: str, swell: Callable[[bytearray], None]
):
    frame = encode(grey(8, rows=256, columns=256), ROOT + tail)
    payload = bytearray(frame.payload)
    swell(payload)

    def refuse() -> None:
        with pytest.raises(Undecodable):
            decode(Frame(bytes(payload), frame.syntax, frame.shape))

    tracemalloc.start()
    refuse()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20
    assert spent_s(refuse, 0.05, time.process_time) <= 0.05


def test_frames_of_another_size_than_the_data_set_says_are_refused():
    for tail in (".4.50", ".4.70", ".4.80", ".4.90", ".4.201", ".4.110"):
        frame = encode(grey(8), ROOT + tail)
        for wrong in ({"rows": 47}, {"columns": 62}, {"samples": 3, "photometric": "RGB"}):
            with pytest.raises(Undecodable):
                decode(Frame(frame.payload, frame.syntax, frame.shape.becoming(**wrong)))


def test_a_deflate_bomb_is_inflated_no_further_than_the_frame():
    shape = grey(8).shape
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    payload = deflater.compress(bytes(64 << 20)) + deflater.flush()
    tracemalloc.start()

    pixels = decode(Frame(payload, ROOT + ".8.1", shape))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pixels.array.shape == (48, 61)
    assert peak < 1 << 20


def test_an_rle_segment_that_unpacks_to_more_than_its_plane_is_refused():
    frame = encode(grey(8), ROOT + ".5")
    bomb = bytes(frame.payload) + b"\x81\x00" * 100_000

    with pytest.raises(Undecodable):
        decode(Frame(bomb, frame.syntax, frame.shape))


def smooth() -> Samples:
    y, x = np.mgrid[:40, :48]
    return np.stack((x * 5, y * 6, 255 - x * 3), axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("stated", "coded", "adobe", "expected"),
    [
        ("YBR_FULL_422", "ycbcr", None, "RGB"),
        ("YBR_FULL", "ycbcr", None, "YBR_FULL"),
        ("RGB", "rgb", None, "RGB"),
        ("RGB", "rgb", 0, "RGB"),
        ("RGB", "ycbcr", 1, "RGB"),
        ("YBR_FULL_422", "rgb", 0, "RGB"),
        ("RGB", "rgb", 219, "RGB"),
    ],
)
def test_colours_of_jpeg_are_what_the_codestream_says_then_what_the_data_set_says(
    stated, coded, adobe, expected
):
    rgb = smooth()
    plain = imagecodecs.jpeg8_encode(rgb, level=95, subsampling="444", colorspace="rgb", outcolorspace=coded)
    payload = _bare(bytes(plain), adobe)
    shape = FrameShape(40, 48, 3, 8, 8, 7, False, stated)

    pixels = decode(Frame(payload, ROOT + ".4.50", shape))

    wanted = rgb if expected == "RGB" else luma_and_chroma(rgb)
    assert pixels.shape.photometric == expected
    assert np.abs(pixels.array.astype(int) - wanted).max() <= 12


@pytest.mark.parametrize("subsampling", ["422", "420", "440"])
def test_halved_components_are_chroma_where_the_codestream_does_not_say_otherwise(subsampling):
    rgb = smooth()
    payload = _bare(bytes(imagecodecs.jpeg8_encode(rgb, level=95, subsampling=subsampling)), None)
    shape = FrameShape(40, 48, 3, 8, 8, 7, False, "RGB")

    pixels = decode(Frame(payload, ROOT + ".4.50", shape))

    assert pixels.shape.photometric == "RGB"
    assert np.abs(pixels.array.astype(int) - rgb).max() <= 12


def test_components_that_are_named_red_green_and_blue_are_that():
    rgb = smooth()
    plain = imagecodecs.jpeg8_encode(rgb, level=95, subsampling="444", colorspace="rgb", outcolorspace="rgb")
    for names in (b"RGB", b"rgb"):
        payload = _bare(bytes(plain), None, names)
        shape = FrameShape(40, 48, 3, 8, 8, 7, False, "YBR_FULL_422")

        pixels = decode(Frame(payload, ROOT + ".4.50", shape))

        assert np.abs(pixels.array.astype(int) - rgb).max() <= 12


def _bare(payload: bytes, adobe: int | None, names: bytes = b"\1\2\3") -> bytes:
    """Without the application segments, its components named, and with the Adobe segment asked for."""
    position = 2
    while payload[position + 1] in (0xE0, 0xEE):
        position += 2 + int.from_bytes(payload[position + 2 : position + 4])
    bare = bytearray(payload[position:])
    start = bare.index(b"\xff\xc0")
    scan = bare.index(b"\xff\xda")
    for number in range(3):
        bare[start + 10 + 3 * number] = bare[scan + 5 + 2 * number] = names[number]
    segment = b"" if adobe is None else b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0" + bytes((adobe,))
    return b"\xff\xd8" + segment + bytes(bare)


def luma_and_chroma(rgb: Samples) -> Any:
    matrix = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    return rgb @ matrix.T + (0, 128, 128)


def test_the_component_transformation_of_jpeg_2000_is_undone_and_said_to_be():
    pixels = colour()
    for tail, stated in ((".4.90", "YBR_RCT"), (".4.91", "YBR_ICT"), (".4.201", "YBR_RCT")):
        frame = encode(pixels, ROOT + tail)
        assert frame.shape.photometric == stated
        for claimed in (stated, "RGB"):
            again = decode(Frame(frame.payload, frame.syntax, frame.shape.becoming(photometric=claimed)))
            assert again.shape.photometric == "RGB"
            assert np.abs(again.array.astype(int) - pixels.array).max() <= (8 if tail == ".4.91" else 0)


@pytest.mark.parametrize("rows", [1, 7, 8, 45])
def test_single_bits_survive_rle_whatever_their_number(rows):
    pixels = mask(rows, 61)
    frame = encode(pixels, ROOT + ".5")

    assert np.array_equal(decode(frame).array, pixels.array)
    assert len(bytes(encode(pixels, EXPLICIT_LE).payload)) == (rows * 61 + 7) // 8
