"""Presentation states that need more than the frame they show, and those that are not applied (PS3.4 N.2)."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from service.dicom.syntaxes import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from service.dicom.syntaxes import ROOT as UIDS
from service.pixels.codecs import encode
from service.pixels.frame import FrameShape, Pixels
from tests.conformance.picturing import MANY_PNG, PNG, a_state, an_image, decoded, picture
from tests.conformance.retrieving import keep, study_of
from tests.conformance.rows import cites, row
from tests.making import a_data_set, a_file, add_pixels
from tests.reading import parts_of, turned

ROWS, COLUMNS, BIT = 12, 20, 13
GREYSCALE = b"1.2.840.10008.5.1.4.1.1.11.1"
IMAGE = {"study": "1.1", "series": "1.2", "instance": "1.3"}
OTHER = {"series": "1.9", "instance": "1.8"}
VALUES = np.random.default_rng(1).integers(0, 256, (3, ROWS, COLUMNS)).astype(np.uint16)
LIT = np.random.default_rng(2).random((3, ROWS, COLUMNS)) < 0.3


def overlaid(syntax: str) -> bytes:
    """An image of 12 bits in 16 whose overlay of group 6002 is in the bit above one that is not used."""
    words = [(frame | lit.astype(np.uint16) << BIT) for frame, lit in zip(VALUES, LIT, strict=True)]
    native = [word.astype("<u2").tobytes() for word in words]
    made = add_pixels(a_data_set(**IMAGE), native, rows=ROWS, columns=COLUMNS, bits=16)
    made.BitsStored, made.HighBit = 12, 11
    for element, value in ((0x10, ROWS), (0x11, COLUMNS), (0x100, 16), (0x102, BIT)):
        made.add_new((0x6002, element), "US", value)
    made.add_new((0x6002, 0x40), "CS", "G")
    made.add_new((0x6002, 0x50), "SS", [1, 1])
    if syntax == UIDS + ".5":
        shape = FrameShape(ROWS, COLUMNS, 1, 16, 16, 15, False, "MONOCHROME2")
        return a_file(
            made, syntax, codestreams=[bytes(encode(Pixels(one, shape), syntax).payload) for one in words]
        )
    if syntax == EXPLICIT_BE:
        made.PixelData = turned(made.PixelData, 2)
    return a_file(made, syntax)


def a_layer(**more) -> dict[str, object]:
    """The graphic layer of overlays, drawn in white."""
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder = "ONE", 1
    layer.GraphicLayerRecommendedDisplayGrayscaleValue = 0xFFFF
    return {"GraphicLayerSequence": [layer], **more}


def activating(*groups: int) -> bytes:
    made = a_state(("1.2", "1.3"), study="1.1", window=(128, 257), **OTHER, **a_layer())
    file = made
    for group in groups:
        file += group.to_bytes(2, "little") + b"\x01\x10" + b"CS" + b"\x04\x00" + b"ONE "
    return file


def in_window(values: np.ndarray) -> np.ndarray:
    """Inverted, over a window of the values from 0 to 256."""
    return 255 - np.floor(np.clip((values - 127.5) * 255 / 256 + 127.5, 0, 255) + 0.5).astype(np.uint8)


@cites(
    "PS3.3-2004 C.9.2.1.2", "an overlay may be in a bit of the pixels that is not stored as a part of them"
)
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED, UIDS + ".5"])
def test_an_overlay_in_the_pixels_is_drawn(site, syntax):
    keep(site, overlaid(syntax))
    state = keep(site, activating(0x6002))
    for number, part in enumerate(parts_of(site.get(state + "/rendered", MANY_PNG))):
        expected = np.where(LIT[number], 255, in_window(VALUES[number].astype(float)))
        assert np.array_equal(decoded(part.content, PNG), expected), number


@cites("PS3.3 C.11.7", "an overlay that no layer activates is not drawn")
def test_an_overlay_that_is_not_active_is_not_drawn(site):
    path = keep(site, overlaid(EXPLICIT_LE))
    state = keep(site, activating())
    assert np.array_equal(picture(site.get(state + "/rendered", PNG)), in_window(VALUES[0].astype(float)))
    shown = picture(site.get(f"{path}/frames/2/rendered?window=128,257,linear", PNG))
    assert np.array_equal(shown, 255 - in_window(VALUES[1].astype(float)))


FRAMES = [np.random.default_rng(number).integers(0, 200, (ROWS, COLUMNS)) for number in range(5)]


def subtracting(operation: str, **more) -> bytes:
    item = Dataset()
    item.MaskOperation = operation
    for keyword, value in more.items():
        setattr(item, keyword, value)
    state = {"MaskSubtractionSequence": [item], "RecommendedViewingMode": "SUB"}
    return a_state(("1.2", "1.3"), study="1.1", window=(0.5, 401), **OTHER, **state)


def about_zero(values: np.ndarray) -> np.ndarray:
    """Inverted, over a window of the values from -200 to 200."""
    return 255 - np.floor(np.clip(values * 255 / 400 + 127.5, 0, 255) + 0.5).astype(np.uint8)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        row(
            "PS3.3 C.7.6.10.1", "a mask", subtracting("AVG_SUB", MaskFrameNumbers=2),
            [frame - FRAMES[1] for frame in FRAMES],
        ),
        row(
            "PS3.3 C.7.6.10.1", "an average of masks", subtracting("AVG_SUB", MaskFrameNumbers=[1, 2, 5]),
            [frame - (FRAMES[0] + FRAMES[1] + FRAMES[4]) / 3 for frame in FRAMES],
        ),
        row(
            "PS3.3 C.7.6.10.1", "an average of contrast frames, the last ones as they are",
            subtracting("AVG_SUB", MaskFrameNumbers=1, ContrastFrameAveraging=2),
            [(FRAMES[n] + FRAMES[n + 1]) / 2 - FRAMES[0] for n in range(4)] + [FRAMES[4]],
        ),
        row(
            "PS3.3 C.7.6.10.1", "the frame before; the first one as it is", subtracting("TID", TIDOffset=1),
            [FRAMES[0], *(FRAMES[n] - FRAMES[n - 1] for n in range(1, 5))],
        ),
        row(
            "PS3.3 C.7.6.10.1", "a frame behind", subtracting("TID", TIDOffset=-2),
            [*(FRAMES[n] - FRAMES[n + 2] for n in range(3)), FRAMES[3], FRAMES[4]],
        ),
        row("PS3.3 C.7.6.10.1", "no subtraction", subtracting("NONE"), FRAMES),
    ],
)  # fmt: skip
def test_masks_are_subtracted(site, state, expected):
    keep(site, an_image(*FRAMES, **IMAGE))
    parts = parts_of(site.get(keep(site, state) + "/rendered", MANY_PNG))
    for number, (part, values) in enumerate(zip(parts, expected, strict=True), 1):
        assert np.abs(decoded(part.content, PNG).astype(int) - about_zero(values)).max() <= 1, number


@cites("PS3.4 N.2.1.2", "the subtraction follows the state's modality LUT")
def test_values_behind_the_modality_lut_are_subtracted(site):
    keep(site, an_image(*FRAMES, **IMAGE))
    item = Dataset()
    item.MaskOperation, item.MaskFrameNumbers = "AVG_SUB", 3
    more = {
        "MaskSubtractionSequence": [item],
        "RescaleSlope": 2,
        "RescaleIntercept": -77,
        "RescaleType": "US",
    }
    state = keep(site, a_state(("1.2", "1.3"), study="1.1", window=(0.5, 801), **OTHER, **more))
    shown = picture(site.get(state + "/rendered", PNG)).astype(int)
    expected = 255 - np.floor(np.clip((FRAMES[0] - FRAMES[2]) * 2 * 255 / 800 + 127.5, 0, 255) + 0.5)
    assert np.abs(shown - expected).max() <= 1


@cites("PS3.3 C.11.8", "without a VOI LUT the whole range of differences is shown")
def test_differences_without_a_window(site):
    keep(site, an_image(*(frame.astype(np.uint8) for frame in FRAMES), **IMAGE))
    item = Dataset()
    item.MaskOperation, item.MaskFrameNumbers = "AVG_SUB", 1
    more = {"MaskSubtractionSequence": [item]}
    file = a_state(("1.2", "1.3"), study="1.1", window=(0, 0), **OTHER, **more)
    parts = parts_of(site.get(keep(site, file) + "/rendered", MANY_PNG))
    expected = 255 - ((FRAMES[1] - FRAMES[0]) + 255) / 2
    assert np.abs(decoded(parts[1].content, PNG) - expected).max() <= 1


@cites("PS3.4 N.2", "what a state wants and is not done is refused: no other picture is taken for it")
@pytest.mark.parametrize(
    ("state", "image"),
    [
        row(
            "PS3.3 C.7.6.10.1.2", "a shift",
            subtracting("AVG_SUB", MaskFrameNumbers=1, MaskSubPixelShift=[0.5, 0]), {},
        ),
        row("PS3.3 C.7.6.10.1", "no mask", subtracting("AVG_SUB"), {}),
        row("PS3.3 C.7.6.10.1", "a mask beyond the end", subtracting("AVG_SUB", MaskFrameNumbers=6), {}),
        row("PS3.3 C.11.13", "an operation of XA alone", subtracting("REV_TID", TIDOffset=1), {}),
        row("PS3.3 C.7.6.10.1", "many frames", subtracting("TID", ContrastFrameAveraging=900), {}),
        row(
            "PS3.4 N.2.1.2", "linear values", subtracting("AVG_SUB", MaskFrameNumbers=1),
            {"PixelIntensityRelationship": "LIN"},
        ),
    ],
)  # fmt: skip
def test_subtractions_that_are_not_done_are_refused(site, state, image):
    path = keep(site, an_image(*FRAMES, **IMAGE, **image))
    response = site.get(keep(site, state) + "/rendered", PNG)
    assert (response.status_code, response.headers["content-type"]) == (406, "application/problem+json")
    assert site.get(path + "/rendered", PNG).status_code == 200


CLASSES = [
    row("PS3.4 B.5", "blending", b".11.4"),
    row("PS3.4 B.5", "XA and XRF", b".11.5"),
    row("PS3.4 B.5", "planar MPR", b".11.6"),
    row("PS3.4 B.5", "compositing planar MPR", b".11.7"),
    row("PS3.4 B.5", "advanced blending", b".11.8"),
    row("PS3.4 B.5", "volume rendering", b".11.9"),
]


@pytest.mark.parametrize("tail", CLASSES)
def test_states_of_other_classes_are_refused(site, tail):
    keep(site, an_image(*FRAMES, **IMAGE))
    state = keep(site, subtracting("NONE").replace(GREYSCALE, GREYSCALE[:-5] + tail))
    response = site.get(state + "/rendered", PNG)
    assert response.status_code == 406
    assert "class" in response.json()["detail"]
    uri = "/wado?requestType=WADO&objectUID=1.3&presentationSeriesUID=1.9&presentationUID=1.8"
    assert site.get(uri).status_code == 406


@cites("PS3.18 Table 10.4.3-1", "a study tells that a state of it is not shown")
def test_a_series_tells_what_it_does_not_show(site):
    keep(site, subtracting("NONE").replace(GREYSCALE, GREYSCALE[:-1] + b"4"))
    shown = an_image(FRAMES[0], **IMAGE)
    path = keep(site, shown)
    response = site.get(study_of(path) + "/rendered", MANY_PNG)
    assert (response.status_code, len(parts_of(response))) == (206, 1)
    assert "1 of 2 instances" in response.headers["warning"]


def supplemented() -> bytes:
    """A grey image whose values from 150 on are colours."""
    made = add_pixels(
        a_data_set(**IMAGE), [FRAMES[0].astype(np.uint8).tobytes()], rows=ROWS, columns=COLUMNS, bits=8
    )
    made.PixelPresentation = "COLOR"
    for channel, name in enumerate(("Red", "Green", "Blue")):
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [50, 150, 8])
        setattr(
            made,
            f"{name}PaletteColorLookupTableData",
            bytes((np.arange(50) * (channel + 1)).astype(np.uint8)),
        )
    return a_file(made)


@cites("PS3.4 N.2", "a greyscale state leaves the colours of a supplemental palette as they are")
def test_supplemental_colours_stay(site):
    keep(site, supplemented())
    shown = picture(site.get(keep(site, activating()) + "/rendered", PNG))
    values = FRAMES[0]
    colours = (values - 150)[..., None] * np.array([1, 2, 3])
    expected = np.where((values >= 150)[..., None], colours, in_window(values.astype(float))[..., None])
    assert np.array_equal(shown, expected)


@cites("PS3.4 N.2", "numbers of colours are no grey levels: a palette's image keeps its colours")
def test_a_palette_is_not_taken_for_grey(site):
    made = add_pixels(
        a_data_set(**IMAGE),
        [(FRAMES[0] // 4).astype(np.uint8).tobytes()],
        rows=ROWS,
        columns=COLUMNS,
        bits=8,
        photometric="PALETTE COLOR",
    )
    tables = np.random.default_rng(9).integers(0, 256, (3, 50)).astype(np.uint8)
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [50, 0, 8])
        setattr(made, f"{name}PaletteColorLookupTableData", table.tobytes())
    keep(site, a_file(made))
    shown = picture(site.get(keep(site, activating()) + "/rendered", PNG))
    assert np.array_equal(shown, np.moveaxis(tables[:, FRAMES[0] // 4], 0, -1))


@cites("PS3.4 N.2", "a colour state is not for an image with a supplemental palette")
def test_a_colour_state_is_not_for_grey_and_colours(site):
    keep(site, supplemented())
    state = keep(site, activating().replace(GREYSCALE, GREYSCALE[:-1] + b"2"))
    assert site.get(state + "/rendered", PNG).status_code == 406
