"""Frames in the colours, planes and bits that a viewer expects who knows the stored metadata."""

import imagecodecs
import numpy as np
import pytest

from service.dicom.errors import NotAcceptable, Undecodable
from service.dicom.syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, ROOT
from service.pixels.codecs import decode, encode
from service.pixels.frame import Frame, FrameShape
from service.pixels.transcode import transcode
from tests.codestreams import colour, grey, mask, native


def test_a_frame_in_the_syntax_asked_for_is_the_stored_one():
    frame = encode(grey(12), ROOT + ".4.90")

    assert transcode(frame, ROOT + ".4.90") is frame


def test_what_the_plan_refuses_is_not_acceptable():
    with pytest.raises(NotAcceptable, match="not take 12 bits"):
        transcode(native(grey(12)), ROOT + ".4.50")


def test_bits_above_those_stored_survive_between_native_syntaxes_and_go_in_compressed_ones():
    shape = FrameShape(2, 2, 1, 16, 12, 11, False, "MONOCHROME2")
    stored = np.array([0xF001, 0x8002, 0x0003, 0x1FFF], "<u2").tobytes()

    kept = transcode(Frame(stored, IMPLICIT_LE, shape), ROOT + ".1.98")
    deflated = transcode(Frame(stored, EXPLICIT_LE, shape), ROOT + ".8.1")
    compressed = transcode(Frame(stored, EXPLICIT_LE, shape), ROOT + ".4.80")

    assert kept.payload == stored
    assert bytes(transcode(deflated, EXPLICIT_LE).payload) == stored
    assert decode(compressed).array.tolist() == [[1, 2], [3, 4095]]


def test_big_endian_words_become_little_endian_ones():
    values = np.array([[1, 0xF302]], ">u2")
    shape = FrameShape(1, 2, 1, 16, 12, 11, False, "MONOCHROME2")

    made = transcode(Frame(values.tobytes(), EXPLICIT_BE, shape), EXPLICIT_LE)

    assert made.payload == values.astype("<u2").tobytes()


def test_a_high_bit_elsewhere_is_moved_down_when_encoded():
    shape = FrameShape(1, 2, 1, 16, 12, 15, False, "MONOCHROME2")
    stored = np.array([100 << 4, 4095 << 4], "<u2").tobytes()

    made = transcode(Frame(stored, EXPLICIT_LE, shape), ROOT + ".4.201")

    assert made.shape.high_bit == 11
    assert decode(made).array.tolist() == [[100, 4095]]


def test_rgb_gets_the_component_transformation_in_jpeg_2000():
    for tail in (".4.90", ".4.201", ".4.202"):
        made = transcode(native(colour()), ROOT + tail)
        assert made.shape.photometric == "YBR_RCT"
        back = transcode(made, EXPLICIT_LE)
        assert (back.shape.photometric, back.shape.planar) == ("RGB", 0)
        assert back.payload == colour().array.tobytes()


def test_ybr_full_stays_what_it_is():
    pixels = colour(8, "YBR_FULL")
    for tail in (".4.90", ".4.201", ".4.80", ".4.70", ".5", ".4.110"):
        made = transcode(native(pixels), ROOT + tail)
        assert made.shape.photometric == "YBR_FULL"
        assert transcode(made, EXPLICIT_LE).payload == pixels.array.tobytes()


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_decoded_rle_is_by_plane_where_the_metadata_say_so(photometric, planar):
    pixels = colour(8, photometric)
    frame = encode(pixels, ROOT + ".5", planar=planar)

    made = transcode(frame, EXPLICIT_LE)

    assert made.shape == pixels.shape.becoming(planar=planar)
    expected = np.moveaxis(pixels.array, -1, 0) if planar else pixels.array
    assert bytes(made.payload) == expected.tobytes()


def test_planes_are_put_in_order_for_codecs_and_kept_in_rle():
    planes = encode(colour(), EXPLICIT_LE, planar=1)

    jpeg_ls, rle = transcode(planes, ROOT + ".4.80"), transcode(planes, ROOT + ".5")

    assert (jpeg_ls.shape.planar, rle.shape.planar) == (0, 1)
    assert np.array_equal(decode(jpeg_ls).array, colour().array)
    assert np.array_equal(decode(rle).array, colour().array)


def test_native_halved_chroma_becomes_full_in_codecs_without_loss():
    shape = FrameShape(2, 2, 3, 8, 8, 7, False, "YBR_FULL_422")
    frame = Frame(bytes([10, 20, 100, 150, 30, 40, 90, 160]), EXPLICIT_LE, shape)

    made = transcode(frame, ROOT + ".4.80")

    assert made.shape.photometric == "YBR_FULL"
    assert decode(made).array[0].tolist() == [[10, 100, 150], [20, 100, 150]]


def test_jpeg_colours_follow_the_stored_photometric_interpretation():
    frame = encode(colour(), ROOT + ".4.50")

    rgb = transcode(frame, EXPLICIT_LE)
    full = transcode(
        Frame(frame.payload, frame.syntax, frame.shape.becoming(photometric="YBR_FULL")), EXPLICIT_LE
    )

    assert (rgb.shape.photometric, full.shape.photometric) == ("RGB", "YBR_FULL")
    size = 3 * frame.shape.pixels
    assert len(bytes(rgb.payload)) == len(bytes(full.payload)) == size
    red, green, blue = np.frombuffer(rgb.payload, np.uint8).reshape(-1, 3).astype(float).T
    luma = np.frombuffer(full.payload, np.uint8).reshape(-1, 3)[:, 0]
    assert np.abs(0.299 * red + 0.587 * green + 0.114 * blue - luma).mean() < 3  # but for what clips


def test_ybr_full_compressed_as_jpeg_has_the_same_colours():
    pixels = colour(8, "YBR_FULL")
    smooth = pixels.array.copy()
    smooth[:] = smooth.mean(axis=(0, 1)).astype(np.uint8)
    frame = native(type(pixels)(smooth, pixels.shape))

    made = transcode(frame, ROOT + ".4.50")
    again = decode(Frame(made.payload, made.syntax, made.shape.becoming(photometric="YBR_FULL")))

    assert made.shape.photometric == "YBR_FULL_422"
    assert np.abs(again.array.astype(int) - smooth).max() <= 2


def test_a_codestream_in_rgb_labelled_ybr_full_is_sent_as_the_label_says():
    rgb = colour(rows=16, columns=16)
    # A baseline JPEG whose components are named R, G and B.
    payload = bytes(imagecodecs.jpeg8_encode(rgb.array, level=98, colorspace="rgb", outcolorspace="rgb"))
    shape = rgb.shape.becoming(photometric="YBR_FULL")

    native_frame = transcode(Frame(payload, ROOT + ".4.50", shape), EXPLICIT_LE)
    encoded_frame = transcode(Frame(payload, ROOT + ".4.50", shape), ROOT + ".4.80")

    assert native_frame.shape.photometric == "YBR_FULL"
    assert encoded_frame.shape.photometric == "RGB"
    luma = np.frombuffer(native_frame.payload, np.uint8).reshape(-1, 3)[:, 0]
    expected = rgb.array.reshape(-1, 3) @ (0.299, 0.587, 0.114)
    assert np.abs(luma - expected).max() < 20


def test_subsampled_colour_in_a_codec_without_transformation_leaves_as_rgb():
    pixels = colour(8, "YBR_FULL")
    frame = encode(pixels, ROOT + ".4.80")
    labelled = Frame(frame.payload, frame.syntax, frame.shape.becoming(photometric="YBR_FULL_422"))

    made = transcode(labelled, EXPLICIT_LE)

    assert made.shape.photometric == "RGB"
    assert len(bytes(made.payload)) == 3 * pixels.shape.pixels


def test_jpeg_recompressed_as_jpeg_xl_comes_back_bit_for_bit():
    jpeg = encode(colour(rows=256, columns=256), ROOT + ".4.50")

    recompressed = transcode(jpeg, ROOT + ".4.111")
    back = transcode(recompressed, ROOT + ".4.50")

    assert recompressed.shape == jpeg.shape
    assert bytes(back.payload) == bytes(jpeg.payload)
    assert len(bytes(recompressed.payload)) < len(bytes(jpeg.payload))
    assert transcode(recompressed, EXPLICIT_LE).payload == transcode(jpeg, EXPLICIT_LE).payload


def test_a_lossless_codestream_is_one_of_the_wider_syntax_as_well():
    frame = encode(grey(12), ROOT + ".4.90")

    made = transcode(frame, ROOT + ".4.91")

    assert (made.payload, made.syntax) == (frame.payload, ROOT + ".4.91")


def test_single_bits_are_packed_from_the_lowest_upward():
    pixels = mask(3, 5)

    payload = bytes(transcode(encode(pixels, ROOT + ".5"), EXPLICIT_LE).payload)

    assert payload == np.packbits(pixels.array.reshape(-1), bitorder="little").tobytes()


def test_a_frame_that_is_only_wrapped_anew_is_as_long_as_its_shape_says():
    frame = native(grey(8, rows=3, columns=5))
    payload = bytes(frame.payload)

    for before, after in ((ROOT + ".1.98", EXPLICIT_LE), (EXPLICIT_LE, ROOT + ".1.98")):
        longer = transcode(Frame(payload + b"\x77" * 9, before, frame.shape), after)
        assert longer.payload == payload
        with pytest.raises(Undecodable):
            transcode(Frame(payload[:-1], before, frame.shape), after)


def test_a_frame_that_is_only_wrapped_anew_keeps_nothing_of_what_was_read_with_it():
    frame = native(grey(8))
    read = memoryview(bytes(frame.payload) + bytes(1 << 20))

    made = transcode(Frame(read, EXPLICIT_LE, frame.shape), ROOT + ".1.98")

    assert isinstance(made.payload, bytes)


def test_the_steps_are_timed():
    steps: dict[str, float] = {}

    transcode(encode(grey(12), ROOT + ".4.90"), ROOT + ".4.201", steps=steps)

    assert steps.keys() == {"decode", "encode"} and all(seconds > 0 for seconds in steps.values())


def test_damage_is_undecodable():
    frame = encode(grey(12), ROOT + ".4.90")

    with pytest.raises(Undecodable):
        transcode(Frame(bytes(frame.payload)[:100], frame.syntax, frame.shape), EXPLICIT_LE)
