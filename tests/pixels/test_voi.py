"""From stored values to grey levels, against formulas on paper and against pydicom."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import processing
from pydicom.uid import ExplicitVRLittleEndian

from service.pixels.lookup import Lookup
from service.pixels.render import grey_for
from service.pixels.voi import (
    Function,
    Grey,
    Padding,
    Rescale,
    Window,
    grey_of,
    modality_of,
    occurring,
    to_grey,
    voi_of,
)
from tests.pixels.pictures import RealImage, attributes_of, pixels_of

# Real files of every kind of modality and VOI transformation.
REAL = (
    "ts/ct-family/CTImage_LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1.dcm",
    "ts/mr-siemens-family/1.dcm",
    "ts/mr-small-family/MR_small.dcm",
    "modality/pt/sample.dcm",
    "modality/pt/1.dcm",
    "modality/mr/decimal_rescale.dcm",
    "pixel/mlut_18.dcm",
    "pixel/vlut_04.dcm",
    "pixel/12bitSigned_0x0F0F.dcm",
    "pixel/signed-raw-9bit.dcm",
    "studies/seg-ct3/01.dcm",
    "studies/petct-ko/000010.dcm",
    "ts/jpeg/RG2_JPLY.dcm",
)


def on_paper(window: Window, value: int) -> int:
    """The level of PS3.3 C.11.2.1.2.1 and C.11.2.1.3.2 in exact arithmetic, halves rounded up."""
    x, c, w = Fraction(value), Fraction(window.center), Fraction(window.width)
    if window.function is Function.LINEAR:
        low, high = c - Fraction(1, 2) - (w - 1) / 2, c - Fraction(1, 2) + (w - 1) / 2
        if x <= low:
            return 0
        if x > high:
            return 255
        level = ((x - (c - Fraction(1, 2))) / (w - 1) + Fraction(1, 2)) * 255
    else:
        if x <= c - w / 2:
            return 0
        if x > c + w / 2:
            return 255
        level = ((x - c) / w + Fraction(1, 2)) * 255
    return math.floor(level + Fraction(1, 2))


@pytest.mark.parametrize("function", [Function.LINEAR, Function.LINEAR_EXACT])
@pytest.mark.parametrize(
    ("center", "width"),
    [
        (2048, 4096),
        (2048, 1),
        (0, 100),
        (0, 1),
        (0, 2),
        (40, 400),
        (39.5, 401),
        (-600, 1500),
        (127.5, 256),
        (10, 1.5),
    ],
)
def test_windows_are_exact(function, center, width):
    window = Window(center, width, function)
    array = np.arange(-3000, 5000, dtype=np.int16).reshape(80, 100)

    levels = to_grey(array, Grey(voi=window))

    expected = [on_paper(window, value) for value in array.ravel().tolist()]
    assert levels.ravel().tolist() == expected


@pytest.mark.parametrize(("center", "width"), [(40, 400), (0, 1), (-100.5, 33.25), (100, 0.01)])
def test_the_sigmoid_is_that_of_the_standard(center, width):
    array = np.arange(-3000, 5000, dtype=np.int16).reshape(80, 100)

    levels = to_grey(array, Grey(voi=Window(center, width, Function.SIGMOID)))

    exact = [
        255 / (1 + math.exp(min(-4 * (value - center) / width, 700))) for value in array.ravel().tolist()
    ]
    assert levels.ravel().tolist() == [math.floor(level + 0.5) for level in exact]


def test_a_window_of_width_one_is_a_threshold():
    array = np.array([[98, 99, 100, 101]], np.uint16)
    # x <= c - 0.5 is black, above is white
    assert to_grey(array, Grey(voi=Window(100, 1))).tolist() == [[0, 0, 255, 255]]


@pytest.mark.parametrize(
    ("window", "valid"),
    [
        (Window(0, 1), True),
        (Window(0, 0.5), False),
        (Window(0, 0.5, Function.LINEAR_EXACT), True),
        (Window(0, 0, Function.LINEAR_EXACT), False),
        (Window(0, 0.5, Function.SIGMOID), True),
        (Window(0, -1, Function.SIGMOID), False),
        (Window(math.nan, 10), False),
    ],
)
def test_a_window_has_the_width_that_its_function_needs(window, valid):
    assert window.valid is valid


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_random_windows_are_those_of_pydicom(function):
    random = np.random.default_rng(7)
    for _ in range(20):
        made = Dataset()
        made.WindowCenter, made.WindowWidth = (
            float(random.integers(-500, 3000)),
            float(random.integers(2, 3000)),
        )
        made.VOILUTFunction = function
        made.PhotometricInterpretation, made.BitsStored, made.PixelRepresentation = "MONOCHROME2", 16, 1
        array = random.integers(-2000, 4000, (30, 30)).astype(np.int16)
        pixels = pixels_of(array)

        levels = to_grey(array, grey_of(attributes_of(made), pixels.shape, 1))

        windowed = processing.apply_windowing(array, made)
        expected = (windowed - -32768.0) * 255 / 65535
        assert np.abs(levels - expected).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("path", REAL)
def test_real_images_are_as_pydicom_shows_them(real_data, path):
    image = RealImage(real_data / path)
    pixels = image.pixels()
    grey = grey_for(image.attributes, pixels.shape, 1)

    levels = to_grey(pixels.array, replace(grey, padding=None))

    values = processing.apply_modality_lut(pixels.array, image.dataset).astype(np.float64)
    assert np.array_equal(grey.modality_values(pixels.array.astype(np.float64)), values)
    if isinstance(grey.voi, Window):
        window = grey.voi
        center, width = window.center - 0.5, window.width - 1
        expected = np.clip((values - center) / width + 0.5, 0, 1) * 255
    elif isinstance(grey.voi, Lookup):
        expected = processing.apply_voi(values.astype(np.int64), image.dataset) * (255 / grey.voi.top)
    else:
        low, high = grey.span or (values.min(), values.max())
        expected = (values - low) * 255 / (high - low)
    assert np.abs(levels - expected).max() <= 0.5 + 1e-6


def a_lut(count: int, first: int, bits: int, entries: np.ndarray, vr: str = "US") -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, "SS" if first < 0 else "US", [count, first, bits])
    item.add_new(0x00283006, vr, entries.astype("<u2").tobytes() if vr == "OW" else entries.tolist())
    return item


@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize(("first", "bits"), [(0, 16), (-100, 12), (300, 8)])
def test_modality_and_voi_tables_are_those_of_pydicom(first, bits, vr):
    random = np.random.default_rng(bits)
    made = Dataset()
    made.PixelRepresentation, made.BitsStored = 1, 16
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.ModalityLUTSequence = [a_lut(600, first, 16, random.integers(0, 4096, 600), vr)]
    made.ModalityLUTSequence[0].ModalityLUTType = "US"
    # Up to 8 bits pydicom's own places wrap at 256.
    count, start = (3000, 500) if bits > 8 else (200, 3900)
    made.VOILUTSequence = [a_lut(count, start, bits, random.integers(0, 1 << bits, count), vr)]
    array = random.integers(-400, 1500, (60, 60)).astype(np.int16)
    pixels = pixels_of(array)
    attributes = attributes_of(made)
    modality = modality_of(attributes, pixels.shape)
    voi = voi_of(attributes, modality, pixels.shape)
    assert isinstance(modality, Lookup)
    assert isinstance(voi, Lookup)

    levels = to_grey(array, grey_of(attributes, pixels.shape, 1))

    values = processing.apply_modality_lut(array, made)
    assert np.array_equal(modality.apply(array), values)
    expected = processing.apply_voi(values.astype(np.int64), made)
    assert np.array_equal(voi.apply(values), expected)
    assert np.abs(levels - expected * (255 / ((1 << bits) - 1))).max() <= 0.5 + 1e-6


def test_entries_of_eight_bits_may_lie_two_to_a_word():
    made = Dataset()
    item = Dataset()
    item.add_new(0x00283002, "US", [4, 0, 8])
    item.add_new(0x00283006, "OW", bytes([10, 20, 30, 255]))
    made.VOILUTSequence = [item]
    array = np.array([[0, 1, 2, 3, 9]], np.uint8)
    assert to_grey(array, grey_of(attributes_of(made), pixels_of(array).shape, 1)).tolist() == [
        [10, 20, 30, 255, 255]
    ]


def test_the_asked_window_comes_before_that_of_the_image_and_that_before_its_table():
    made = Dataset()
    made.VOILUTSequence = [a_lut(256, 0, 8, np.arange(256))]
    shape = pixels_of(np.zeros((2, 2), np.uint16)).shape
    assert isinstance(grey_of(attributes_of(made), shape, 1).voi, Lookup)
    made.WindowCenter, made.WindowWidth = [40, 50], [400, 500]
    assert grey_of(attributes_of(made), shape, 1).voi == Window(40, 400)
    assert grey_of(attributes_of(made), shape, 1, Window(1, 2)).voi == Window(1, 2)


def test_a_window_that_is_none_falls_back_on_the_table():
    made = Dataset()
    made.VOILUTSequence = [a_lut(256, 0, 8, np.arange(256))]
    made.WindowCenter, made.WindowWidth = 40, 0
    shape = pixels_of(np.zeros((2, 2), np.uint16)).shape
    assert isinstance(grey_of(attributes_of(made), shape, 1).voi, Lookup)


def test_without_a_window_eight_bits_are_shown_as_they_are():
    array = np.array([[10, 20], [30, 200]], np.uint8)
    shape = pixels_of(array).shape
    assert to_grey(array, grey_of(attributes_of(Dataset()), shape, 1)).tolist() == array.tolist()


def test_without_a_window_more_bits_are_spread_over_the_values_that_occur():
    array = np.array([[1000, 1100], [1200, 2000]], np.uint16)
    shape = pixels_of(array).shape
    assert to_grey(array, grey_of(attributes_of(Dataset()), shape, 1)).tolist() == [[0, 26], [51, 255]]


def test_frames_shown_together_share_one_span():
    array = np.array([[1000, 1100], [1200, 2000]], np.uint16)
    assert to_grey(array, Grey(span=(0, 2000))).tolist() == [[128, 140], [153, 255]]


def test_monochrome1_is_inverted():
    array = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = pixels_of(array, "MONOCHROME1")
    assert np.array_equal(to_grey(array, grey_of(attributes_of(Dataset()), pixels.shape, 1)), 255 - array)


def test_padding_is_black_and_counts_for_no_span():
    array = np.array([[-2000, 0], [50, 100]], np.int16)
    made = Dataset()
    made.PixelRepresentation, made.PixelPaddingValue = 1, -2000
    pixels = pixels_of(array)
    assert to_grey(array, grey_of(attributes_of(made), pixels.shape, 1)).tolist() == [[0, 0], [128, 255]]


def test_padding_of_an_inverted_image_is_black_too():
    array = np.array([[0, 100], [4095, 2000]], np.uint16)
    grey = Grey(inverted=True, padding=Padding(4095, 4095), span=(0, 4095))
    assert to_grey(array, grey).tolist() == [[255, 249], [0, 130]]


def test_padding_written_with_the_other_sign_is_understood():
    made = Dataset()
    made.PixelRepresentation = 0
    made.PixelPaddingValue = 63536
    shape = pixels_of(np.zeros((2, 2), np.int16)).shape
    assert grey_of(attributes_of(made), shape, 1).padding == Padding(-2000, -2000)


def test_angiography_is_shown_without_its_modality_transformation():
    made = Dataset()
    made.RescaleSlope, made.RescaleIntercept = 2, 100
    shape = pixels_of(np.zeros((2, 2), np.uint16)).shape
    assert modality_of(attributes_of(made), shape) == Rescale(2, 100)
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.12.1"
    assert modality_of(attributes_of(made), shape) == Rescale()


def test_each_frame_has_the_window_of_its_functional_group():
    made, shared = Dataset(), Dataset()
    transformation = Dataset()
    transformation.RescaleSlope, transformation.RescaleIntercept = 2, -1000
    shared.PixelValueTransformationSequence = [transformation]
    made.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for center in (10, 20):
        window, group = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 100
        group.FrameVOILUTSequence = [window]
        frames.append(group)
    made.PerFrameFunctionalGroupsSequence = frames
    shape = pixels_of(np.zeros((2, 2), np.uint16)).shape

    second = grey_of(attributes_of(made), shape, 2)

    assert second.voi == Window(20, 100)
    assert second.modality == Rescale(2, -1000)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_the_table_gives_what_each_value_alone_would(dtype):
    random = np.random.default_rng(3)
    info = np.iinfo(dtype)
    array = random.integers(info.min, info.max, (300, 300), endpoint=True).astype(dtype)
    grey = Grey(modality=Rescale(1.5, -7), voi=Window(30, 500, Function.SIGMOID), inverted=True)
    assert np.array_equal(to_grey(array, grey), grey.levels(array, (0, 0)))


def test_thirty_two_bits_are_spread_exactly(real_data):
    image = RealImage(real_data / "rt/rtdose.dcm")
    array = image.pixels(8).array
    grey = grey_for(image.attributes, image.pixels(8).shape, 8)
    low, high = int(array.min()), int(array.max())

    levels = to_grey(array, grey)

    exact = [
        math.floor(Fraction((x - low) * 255, high - low) + Fraction(1, 2)) for x in array.ravel().tolist()
    ]
    assert levels.ravel().tolist() == exact
    assert occurring(array, grey) == (low, high)


def test_floating_point_has_no_level_for_what_is_no_number():
    array = np.array([[0.0, 0.5], [1.0, np.nan]], np.float32)
    assert to_grey(array, Grey()).tolist() == [[0, 128], [255, 0]]
