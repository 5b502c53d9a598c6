"""Presentation states: the values against DCMTK, what is drawn by where it is."""

import copy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from service.dicom.errors import NotAcceptable
from service.pixels.asking import Asked
from service.pixels.geometry import Region, Viewport
from service.pixels.presentation import PSEUDO_COLOUR, State
from service.pixels.references import ImageReference, lab_to_rgb, referenced_images
from service.pixels.render import render
from tests.pixels.pictures import RealImage, attributes_of, pixels_of, read_pnm

needs_dcmtk = pytest.mark.skipif(shutil.which("dcmp2pgm") is None, reason="DCMTK is not installed.")


@pytest.fixture(scope="module")
def image(real_data) -> RealImage:
    return RealImage(real_data / "pr/imageForPrLUTs.dcm")


@pytest.fixture
def luts(real_data) -> Dataset:
    return pydicom.dcmread(real_data / "pr/prLUTs.dcm")


@pytest.fixture
def plain(luts: Dataset) -> Dataset:
    """A state that changes nothing."""
    for keyword in ("ModalityLUTSequence", "SoftcopyVOILUTSequence", "PresentationLUTSequence"):
        del luts[keyword]
    luts.PresentationLUTShape = "IDENTITY"
    return luts


def shown(state: Dataset, image: RealImage, viewport: Viewport | None = None) -> np.ndarray:
    applied = State(attributes_of(state))
    return render(image.pixels(), image.attributes, Asked(viewport=viewport), state=applied).image


def shown_by_dcmtk(state: Dataset, image: RealImage, folder: Path) -> np.ndarray:
    state.save_as(folder / "state.dcm")
    picture = folder / "picture.pgm"
    command = ["dcmp2pgm", "-p", str(folder / "state.dcm"), str(image.path), str(picture)]
    subprocess.run(command, capture_output=True, check=True)
    return read_pnm(picture.read_bytes()).astype(int)


@needs_dcmtk
def test_modality_voi_and_presentation_tables_are_those_of_dcmtk(luts, image, tmp_path):
    assert np.array_equal(shown(luts, image), shown_by_dcmtk(luts, image, tmp_path))


@needs_dcmtk
@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE"])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", ["N", "Y"])
def test_turns_and_flips_are_those_of_dcmtk(plain, image, tmp_path, shape, rotation, flip):
    plain.PresentationLUTShape, plain.ImageRotation, plain.ImageHorizontalFlip = shape, rotation, flip
    assert np.abs(shown(plain, image) - shown_by_dcmtk(plain, image, tmp_path)).max() <= 1


@needs_dcmtk
def test_window_and_rescale_are_those_of_the_state(plain, image, tmp_path):
    window = Dataset()
    window.WindowCenter, window.WindowWidth = 100, 90
    plain.SoftcopyVOILUTSequence = [window]
    plain.RescaleSlope, plain.RescaleIntercept, plain.RescaleType = 2, -50, "US"
    assert np.abs(shown(plain, image) - shown_by_dcmtk(plain, image, tmp_path)).max() <= 1


def test_a_window_for_another_image_does_not_count(plain, image):
    window, other = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = 100, 1
    other.ReferencedSOPClassUID, other.ReferencedSOPInstanceUID = image.dataset.SOPClassUID, "1.2.3"
    window.ReferencedImageSequence = [other]
    plain.SoftcopyVOILUTSequence = [window]
    assert np.array_equal(shown(plain, image), image.pixels().array)
    other.ReferencedSOPInstanceUID = image.dataset.SOPInstanceUID
    assert set(np.unique(shown(plain, image))) == {0, 255}
    other.ReferencedFrameNumber = 2
    assert np.array_equal(shown(plain, image), image.pixels().array)


def test_what_the_state_does_not_say_the_image_does_not_either(plain):
    made = Dataset()
    made.WindowCenter, made.WindowWidth, made.RescaleSlope, made.RescaleIntercept = 1, 1, 5, 5
    array = np.arange(256, dtype=np.uint8).reshape(16, 16)
    del plain.DisplayedAreaSelectionSequence
    state = State(attributes_of(plain))
    picture = render(pixels_of(array, "MONOCHROME1"), attributes_of(made), state=state).image
    assert np.array_equal(picture, array)


def area_of(state: Dataset, left: int, top: int, right: int, bottom: int) -> Dataset:
    area: Dataset = state.DisplayedAreaSelectionSequence[0]
    area.DisplayedAreaTopLeftHandCorner, area.DisplayedAreaBottomRightHandCorner = (
        [left, top],
        [right, bottom],
    )
    return area


def test_the_displayed_area_is_cut_out(plain, image):
    area_of(plain, 101, 51, 300, 400)
    assert np.array_equal(shown(plain, image), image.pixels().array[50:400, 100:300])


def test_a_displayed_area_beyond_the_image_has_a_black_edge(plain, image):
    area_of(plain, -49, -19, 522, 512)
    picture = shown(plain, image)
    assert picture.shape == (532, 572)
    assert not picture[:20].any() and not picture[:, :50].any() and not picture[:, 562:].any()
    assert np.array_equal(picture[20:, 50:562], image.pixels().array)


def test_the_corners_of_a_turned_area_are_those_of_the_turned_image(plain, image):
    plain.ImageRotation, plain.ImageHorizontalFlip = 90, "N"
    # turned clockwise, the lower left of the image is at the upper left
    area_of(plain, 101, 400, 300, 51)
    assert np.array_equal(shown(plain, image), np.rot90(image.pixels().array[50:400, 100:300], -1))


def test_the_displayed_area_fits_the_viewport(plain, image):
    plain.ImageRotation, plain.ImageHorizontalFlip = 90, "N"
    area_of(plain, 1, 1, 512, 256)
    assert shown(plain, image, Viewport(100, 100)).shape == (100, 50)


def test_a_region_is_one_of_the_displayed_area(plain, image):
    area_of(plain, 101, 51, 300, 400)
    viewport = Viewport(region=Region(0.5, 0, 0.5, 1, relative=True))
    assert np.array_equal(shown(plain, image, viewport), image.pixels().array[50:400, 200:300])


def test_magnified_areas_are_magnified(plain, image):
    area = area_of(plain, 1, 1, 100, 50)
    area.PresentationSizeMode, area.PresentationPixelMagnificationRatio = "MAGNIFY", 2.5
    assert shown(plain, image).shape == (125, 250)


def test_areas_of_pixels_that_are_not_square_are_stretched(plain, image):
    area = area_of(plain, 1, 1, 100, 50)
    area.PresentationPixelAspectRatio = [3, 1]
    assert shown(plain, image).shape == (150, 100)


def test_shutters_hide_what_is_outside_of_all_of_them(plain, image):
    plain.ShutterShape = ["RECTANGULAR", "CIRCULAR", "POLYGONAL"]
    plain.ShutterLeftVerticalEdge, plain.ShutterRightVerticalEdge = 50, 480
    plain.ShutterUpperHorizontalEdge, plain.ShutterLowerHorizontalEdge = 100, 500
    plain.CenterOfCircularShutter, plain.RadiusOfCircularShutter = [256, 250], 200
    plain.VerticesOfThePolygonalShutter = [90, 90, 90, 400, 450, 400, 400, 60]
    plain.ShutterPresentationValue = 0x7FFF
    array, picture = image.pixels().array, shown(plain, image)
    for row, column, hidden in (
        (255, 250, False), (98, 250, True), (99, 250, False), (255, 48, True), (255, 410, True),
        (460, 250, True), (255, 84, False), (100, 120, True),
    ):  # fmt: skip
        assert (picture[row, column] == 127) == (hidden or array[row, column] == 127), (row, column)


def test_overlays_in_an_active_layer_are_drawn(real_data, image):
    state = pydicom.dcmread(real_data / "pr/prOverlay.dcm")
    picture, array = shown(state, image), image.pixels().array
    bits = np.zeros((512, 512), bool)
    for group in (0x6008, 0x600A):
        content = np.frombuffer(state[group, 0x3000].value, np.uint8)
        bits |= np.unpackbits(content, bitorder="little").reshape(512, 512).astype(bool)
    assert bits.sum() > 1000
    assert (picture[bits] == 255).all()
    assert np.array_equal(picture[~bits], array[~bits])


def test_a_bitmap_shutter_hides_its_bits(plain, image):
    bits = np.zeros((512, 512), np.uint8)
    bits[:100, :200] = 1
    plain.ShutterShape, plain.ShutterOverlayGroup, plain.ShutterPresentationValue = "BITMAP", 0x6000, 0xFFFF
    for element, vr, value in (
        (0x10, "US", 512), (0x11, "US", 512), (0x40, "CS", "G"), (0x50, "SS", [1, 1]), (0x100, "US", 1),
        (0x102, "US", 0), (0x3000, "OW", np.packbits(bits, bitorder="little").tobytes()),
    ):  # fmt: skip
        plain.add_new((0x6000, element), vr, value)
    picture = shown(plain, image)
    assert (picture[:100, :200] == 255).all()
    assert np.array_equal(picture[100:], image.pixels().array[100:])


def with_graphics(state: Dataset, *objects: Dataset, text: Dataset | None = None) -> Dataset:
    layer, annotation = Dataset(), Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder, layer.GraphicLayerRecommendedDisplayGrayscaleValue = (
        "A",
        1,
        0xC800,
    )
    annotation.GraphicLayer = "A"
    annotation.GraphicObjectSequence = list(objects)
    if text is not None:
        annotation.TextObjectSequence = [text]
    state.GraphicLayerSequence, state.GraphicAnnotationSequence = [layer], [annotation]
    return state


def a_graphic(kind: str, points: list[float], *, filled: str = "N", units: str = "PIXEL") -> Dataset:
    made = Dataset()
    made.GraphicAnnotationUnits, made.GraphicDimensions, made.GraphicType = units, 2, kind
    made.GraphicData, made.NumberOfGraphicPoints, made.GraphicFilled = points, len(points) // 2, filled
    return made


@pytest.mark.parametrize(
    ("graphic", "on", "off"),
    [
        (a_graphic("POLYLINE", [10, 20.5, 100, 20.5]), [(20, 10), (20, 50), (20, 99)], [(22, 50), (20, 105)]),
        (
            a_graphic("CIRCLE", [256.5, 256.5, 306.5, 256.5]),
            [(256, 306), (206, 256), (306, 256)],
            [(256, 256)],
        ),
        (a_graphic("CIRCLE", [256, 256, 306, 256], filled="Y"), [(256, 256), (230, 230)], [(200, 200)]),
        (
            a_graphic("ELLIPSE", [100.5, 200.5, 300.5, 200.5, 200.5, 150.5, 200.5, 250.5]),
            [(200, 100), (200, 300), (150, 200), (250, 200)],
            [(200, 200), (150, 110)],
        ),
        (a_graphic("POINT", [50.5, 60.5]), [(60, 50), (60, 52), (58, 50)], [(64, 54)]),
        (a_graphic("INTERPOLATED", [10.5, 10.5, 50.5, 80.5, 90.5, 10.5]), [(10, 10), (80, 50), (10, 90)], []),
        (a_graphic("POLYLINE", [0.5, 0.0, 0.5, 1.0], units="DISPLAY"), [(5, 256), (500, 256)], [(5, 250)]),
    ],
)
def test_graphics_are_drawn_where_they_are(plain, image, graphic, on, off):
    picture, array = shown(with_graphics(plain, graphic), image), image.pixels().array
    assert [place for place in on if picture[place] != 200] == []
    assert [place for place in off if picture[place] != array[place]] == []


def test_graphics_turn_with_the_image(plain, image):
    plain.ImageRotation, plain.ImageHorizontalFlip = 90, "Y"
    picture = shown(with_graphics(plain, a_graphic("POLYLINE", [10.5, 20.5, 100.5, 20.5])), image)
    drawn = image.pixels().array.copy()
    drawn[20, 10:101] = 200
    assert np.array_equal(picture, np.rot90(drawn, -1)[:, ::-1])


def test_text_stands_in_its_box(plain, image):
    text = Dataset()
    text.UnformattedTextValue = "Lesion\r\n12 mm"
    text.BoundingBoxAnnotationUnits, text.BoundingBoxTextHorizontalJustification = "PIXEL", "LEFT"
    text.BoundingBoxTopLeftHandCorner, text.BoundingBoxBottomRightHandCorner = [300, 100], [400, 130]
    picture = shown(with_graphics(plain, text=text), image)
    changed = np.argwhere(picture != image.pixels().array)
    top, left = changed.min(axis=0)
    bottom, right = changed.max(axis=0)
    assert 98 <= top <= 102 and 298 <= left <= 302
    assert bottom <= 122 and right <= 340


def test_graphics_without_bounds_or_sense_harm_nothing(plain, image):
    objects = [
        a_graphic("POLYLINE", [-1e30, -1e30, 1e30, 1e30]),
        a_graphic("CIRCLE", [0, 0, 1e9, 1e9], filled="Y"),
        a_graphic("ELLIPSE", [1, 2]),
        a_graphic("STARFISH", [1, 2, 3, 4]),
        a_graphic("POLYLINE", []),
    ]
    assert shown(with_graphics(plain, *objects), image).shape == (512, 512)


def test_pseudo_colour_states_colour_grey_images(plain, real_data, image):
    palette = pydicom.dcmread(real_data / "pr/hotiron.dcm")
    plain.SOPClassUID = PSEUDO_COLOUR
    for tag in (0x00281101, 0x00281102, 0x00281103, 0x00281201, 0x00281202, 0x00281203):
        plain[tag] = palette[tag]
    tables = [np.frombuffer(palette[tag].value, np.uint8) for tag in (0x00281201, 0x00281202, 0x00281203)]
    expected = np.stack([table[image.pixels().array] for table in tables], axis=-1)
    assert np.array_equal(shown(plain, image), expected)


def test_other_presentation_states_are_not_applied(plain):
    other = copy.deepcopy(plain)
    other.SOPClassUID = "1.2.840.10008.5.1.4.1.1.11.4"
    with pytest.raises(NotAcceptable):
        State(attributes_of(other))


def test_a_state_names_its_images(luts, image):
    made = image.dataset
    expected = ImageReference(made.SeriesInstanceUID, made.SOPClassUID, made.SOPInstanceUID, ())
    assert referenced_images(attributes_of(luts)) == [expected]


@pytest.mark.parametrize(
    ("lab", "rgb"),
    [
        ((0xFFFF, 0x8080, 0x8080), (255, 255, 255)),
        ((0, 0x8080, 0x8080), (0, 0, 0)),
        # sRGB red is L* 54.29, a* 80.80, b* 69.89 under D50
        ((35579, 53661, 50858), (255, 0, 0)),
    ],
)
def test_encoded_lab_becomes_srgb(lab, rgb):
    assert np.abs(np.subtract(lab_to_rgb(list(lab)), rgb)).max() <= 2
