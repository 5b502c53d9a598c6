"""Palettes and colour spaces, against pydicom and on paper."""

import shutil
import subprocess

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import processing
from pydicom.uid import ExplicitVRLittleEndian

from service.dicom.errors import NotAcceptable
from service.pixels.colour import Palette, expand_segments, interleaved, palette_of, to_rgb
from service.pixels.render import picture_of
from tests.making import a_data_set, a_file, add_pixels
from tests.pixels.pictures import RealImage, attributes_of, pixels_of, read_pnm


def a_palette(
    tables: list[np.ndarray],
    first: int = 0,
    bits: int = 8,
    *,
    segments: bool = False,
    count: int | None = None,
) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.PhotometricInterpretation, made.PixelRepresentation = "PALETTE COLOR", 0
    for channel, table in enumerate(tables):
        made.add_new(0x00281101 + channel, "US", [len(table) if count is None else count, first, bits])
        content = table.astype("u1" if bits == 8 else "<u2").tobytes()
        made.add_new((0x00281221 if segments else 0x00281201) + channel, "OW", content)
    return made


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_ybr_becomes_the_rgb_of_pydicom(photometric):
    array = np.random.default_rng(1).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    expected = processing.convert_color_space(array, photometric, "RGB")
    assert np.abs(to_rgb(pixels_of(array, photometric)).astype(int) - expected).max() <= 1
    assert np.mean(to_rgb(pixels_of(array, photometric)) != expected) < 0.001


def test_partial_range_has_black_at_16_and_white_at_235():
    array = np.array(
        [[[16, 128, 128], [235, 128, 128], [82, 90, 240], [145, 54, 34], [41, 240, 110]]], np.uint8
    )
    # BT.601: black, white, red, green, blue
    expected = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]])
    for photometric in ("YBR_PARTIAL_420", "YBR_PARTIAL_422"):
        assert np.abs(to_rgb(pixels_of(array, photometric)).astype(int) - expected).max() <= 2


def test_the_reversible_transform_comes_back_exactly():
    rgb = np.random.default_rng(2).integers(0, 256, (50, 50, 3)).astype(np.int16)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    transformed = np.stack([(red + 2 * green + blue) >> 2, blue - green, red - green], axis=-1)
    assert np.array_equal(to_rgb(pixels_of(transformed, "YBR_RCT")), rgb)


def test_sixteen_bits_of_colour_keep_their_upper_eight():
    array = np.array([[[0x1234, 0xFFFF, 0x00FF]]], np.uint16)
    assert to_rgb(pixels_of(array, "RGB")).tolist() == [[[0x12, 0xFF, 0x00]]]
    assert to_rgb(pixels_of(array >> 4, "RGB", bits=12)).tolist() == [[[0x12, 0xFF, 0x00]]]


def test_planes_become_pixels():
    planes = np.arange(12).reshape(3, 2, 2)
    assert interleaved(planes).tolist() == [[[0, 4, 8], [1, 5, 9]], [[2, 6, 10], [3, 7, 11]]]


@pytest.mark.parametrize(
    "path",
    [
        "pixel/examples_palette.dcm", "pixel/OT-PAL-8-face.dcm", "pixel/gdcm-US-ALOKA-16.dcm",
        "ts/rle/OBXXXX1A_rle.dcm", "ts/testpattern/TestPattern_Palette.dcm",
        "ts/testpattern/TestPattern_Palette_16.dcm", "encapsulation/palette-multiframe-jpeg-ls.dcm",
    ],
)  # fmt: skip
def test_real_palettes_are_those_of_pydicom(real_data, path):
    image = RealImage(real_data / path)
    pixels = image.pixels()
    expected = processing.apply_color_lut(pixels.array, image.dataset)
    if expected.dtype.itemsize == 2 and expected.max() > 255:
        expected = expected >> 8
    assert np.array_equal(picture_of(pixels, image.attributes), expected)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("first", [0, 20, 300])
def test_random_palettes_are_those_of_pydicom(first, bits):
    random = np.random.default_rng(first + bits)
    made = a_palette([random.integers(0, 1 << bits, 200) for _ in range(3)], first, bits)
    # Of 8-bit tables pydicom's own places wrap at 256.
    array = random.integers(0, 600 if bits > 8 else first + 256, (40, 40)).astype(np.uint16)
    palette = palette_of(attributes_of(made))
    assert palette is not None
    expected = processing.apply_color_lut(array, made)
    assert np.array_equal(palette.apply(array), expected >> (bits - 8))


def test_sixteen_bit_entries_that_are_all_small_were_meant_as_eight():
    made = a_palette([np.arange(256)] * 3, bits=16)
    palette = palette_of(attributes_of(made))
    assert palette is not None
    assert palette.apply(np.array([[200]], np.uint8)).tolist() == [[[200, 200, 200]]]


def test_segments_are_expanded_as_by_pydicom():
    # discrete, linear up, linear down, then the first two again
    segments = np.array([0, 3, 10, 500, 20000, 1, 100, 60000, 1, 53, 0, 2, 2, 0, 0])
    made = a_palette([segments] * 3, 0, 16, segments=True, count=259)
    array = np.arange(259, dtype=np.uint16).reshape(7, 37)
    palette = palette_of(attributes_of(made))
    assert palette is not None
    assert np.array_equal(palette.apply(array), processing.apply_color_lut(array, made) >> 8)


@pytest.mark.parametrize(
    "words", [[7, 1, 2], [1, 5, 100], [2, 1, 0, 0], [0, 1, 5, 2, 1, 9, 0], [0, 1, 5, 2, 4, 0, 0], [0], [2, 1]]
)
def test_broken_segments_make_no_endless_and_no_huge_table(words):
    assert len(expand_segments(np.array(words, "<u2").tobytes(), 16, 65536)) <= 65536


def test_repeated_segments_stop_at_the_size_of_the_table():
    words = [0, 1, 5, 1, 60000, 9] + [2, 65535, 0, 0] * 1000
    assert len(expand_segments(np.array(words, "<u2").tobytes(), 16, 256)) <= 256


def test_values_below_a_supplemental_palette_are_grey():
    made = a_palette([np.full(10, 255), np.zeros(10), np.zeros(10)], first=100)
    made.PixelPresentation = "COLOR"
    array = np.array([[0, 50, 99, 100, 109]], np.uint8)
    picture = picture_of(pixels_of(array), attributes_of(made))
    assert picture.tolist() == [[[0] * 3, [50] * 3, [99] * 3, [255, 0, 0], [255, 0, 0]]]


def test_a_real_supplemental_palette_colours_a_perfusion_map(real_data):
    image = RealImage(real_data / "encapsulation/CT0012.explicit_little_endian.dcm")
    pixels = image.pixels()
    picture = picture_of(pixels, image.attributes).astype(int)
    first = image.dataset.RedPaletteColorLookupTableDescriptor[1]
    grey = pixels.array < first
    assert (picture[grey].max(axis=1) == picture[grey].min(axis=1)).all()
    assert 0 < np.count_nonzero(~grey) < grey.size
    tables = [
        np.frombuffer(image.dataset[tag].value, "<u2") >> 8 for tag in (0x00281201, 0x00281202, 0x00281203)
    ]
    places = np.minimum(pixels.array[~grey] - first, len(tables[0]) - 1)
    assert np.array_equal(picture[~grey], np.stack([table[places] for table in tables], axis=-1))


def test_values_beyond_the_palette_take_its_ends():
    palette = Palette(5, np.array([[1, 2, 3], [4, 5, 6]], np.uint8))
    assert palette.apply(np.array([[-3, 5, 6, 900]], np.int16)).tolist() == [
        [[1, 2, 3], [1, 2, 3], [4, 5, 6], [4, 5, 6]]
    ]


@pytest.mark.skipif(shutil.which("dcm2pnm") is None, reason="DCMTK is not installed.")
def test_colours_of_few_bits_are_as_bright_as_others(tmp_path):
    samples = np.arange(2 * 4 * 3).reshape(2, 4, 3).astype(np.uint8)
    made = add_pixels(
        a_data_set(), [samples.tobytes()], rows=2, columns=4, bits=8, samples=3, photometric="RGB"
    )
    made.BitsStored, made.HighBit = 5, 4
    path = tmp_path / "five.dcm"
    path.write_bytes(a_file(made))
    theirs = read_pnm(subprocess.run(["dcm2pnm", "+op", path], capture_output=True, check=True).stdout)

    ours = to_rgb(pixels_of(samples, "RGB", bits=5))

    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert ours.max() == 23 * 255 // 31


def test_colours_in_floating_point_have_no_picture():
    with pytest.raises(NotAcceptable):
        picture_of(pixels_of(np.zeros((2, 2, 3), np.float32), "RGB"), attributes_of(Dataset()))


def test_colour_that_nobody_knows_has_no_picture():
    with pytest.raises(NotAcceptable):
        picture_of(pixels_of(np.zeros((2, 2, 4), np.uint8), "CMYK"), attributes_of(Dataset()))
