"""What the viewer draws is what the server renders: the same level for each pixel."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from tests.browsing import Tab
from tests.making import a_data_set, a_file, add_pixels

ROWS, COLUMNS = 24, 40
RAMP = np.linspace(0, 1, ROWS * COLUMNS)

# Compares what the page's own modules draw with the server's picture of the same frame and window.
COMPARE = """
(async () => {
  const { Dicomweb } = await import("./page/dicomweb.js");
  const { stackOf, loadSlot, GreyFrame } = await import("./page/stack.js");
  const [path, place, window] = GIVEN;
  const [, , study, , series, , instance] = path.split("/");
  const archive = new Dicomweb(new URL("dicom-web", document.baseURI).href);
  const stack = await stackOf(archive, { study, series });
  const slot = stack.filter((one) => one.instance === instance)[place];
  const frame = await loadSlot(archive, slot);
  const kind = window && window.kind.toLowerCase().replace("_", "-");
  const query = window ? `?window=${window.center},${window.width},${kind}` : "";
  const response = await archive.get(archive.url(slot, "/rendered") + query, "image/png");
  const bitmap = await createImageBitmap(await response.blob());
  const { width, height } = bitmap;
  const pixels = (source) => {
    const context = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
    context.drawImage(source, 0, 0);
    return context.getImageData(0, 0, width, height).data;
  };
  const [drawn, rendered] = [pixels(frame.draw(window, false)), pixels(bitmap)];
  let most = frame.width === width && frame.height === height ? 0 : 255;
  const levels = new Set();
  for (let at = 0; at < rendered.length; at += 1) {
    most = Math.max(most, Math.abs(drawn[at] - rendered[at]));
    if (at % 4 === 0) levels.add(rendered[at]);
  }
  return { most, levels: levels.size, local: frame instanceof GreyFrame };
})()
"""


@pytest.fixture(scope="module")
def tab(browser, program) -> Iterator[Tab]:
    opened = browser.open(f"http://127.0.0.1:{program.port}/")
    yield opened
    opened.close()


@pytest.fixture
def compared(tab) -> Callable[..., dict[str, Any]]:
    """Compares the two pictures of a place in the stack of an instance's series."""

    def compare(path: str, *, place: int = 0, window: dict[str, Any] | None = None) -> dict[str, Any]:
        found: dict[str, Any] = tab.run(COMPARE.replace("GIVEN", json.dumps([path, place, window])))
        return found

    return compare


def an_image(
    values: np.ndarray, *, bits: int = 16, stored: int = 12, signed: bool = False, **more: Any
) -> bytes:
    """A file of one frame of these stored values."""
    made = a_data_set()
    whole = values.astype(f"<{'i' if signed else 'u'}{bits // 8}")
    add_pixels(made, [whole.tobytes()], rows=ROWS, columns=COLUMNS, bits=bits)
    made.BitsStored, made.HighBit, made.PixelRepresentation = stored, stored - 1, int(signed)
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return a_file(made)


def ramp(low: float, high: float) -> np.ndarray:
    return np.round(low + RAMP * (high - low))


def a_lut(first: int, entries: np.ndarray, bits: int) -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, "US", [len(entries), first & 0xFFFF, bits])
    item.add_new(0x00283006, "OW", entries.astype("<u2").tobytes())
    return item


def a_modality_lut(first: int, entries: np.ndarray, bits: int) -> Dataset:
    item = a_lut(first, entries, bits)
    item.ModalityLUTType = "US"
    return item


CURVE = np.round(4095 * np.linspace(0, 1, 4096) ** 2)
WINDOW: dict[str, Any] = {"WindowCenter": 40, "WindowWidth": 400}
HU: dict[str, Any] = {"RescaleSlope": 1, "RescaleIntercept": -1024}

IMAGES: dict[str, bytes] = {
    "unsigned, of 12 bits": an_image(ramp(0, 4095), **WINDOW, **HU),
    "signed": an_image(ramp(-2000, 2000), stored=16, signed=True, **WINDOW),
    "signed, of 12 bits with others above them": an_image(
        ramp(-2000, 2000).astype(np.int64) & 0x0FFF | 0x5000, signed=True, **WINDOW
    ),
    "inverted": an_image(ramp(0, 4095), PhotometricInterpretation="MONOCHROME1", **WINDOW, **HU),
    "inverted twice": an_image(
        ramp(0, 4095), PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE", **WINDOW
    ),
    "without a window": an_image(ramp(300, 900)),
    "without a window, padded": an_image(ramp(0, 900), PixelPaddingValue=0, PixelPaddingRangeLimit=50),
    "of 8 bits": an_image(ramp(0, 255), bits=8, stored=8),
    "signed, of 8 bits": an_image(ramp(-128, 127), bits=8, stored=8, signed=True),
    "of 32 bits": an_image(ramp(0, 3e9), bits=32, stored=32),
    "signed, of 32 bits": an_image(ramp(-2e9, 2e9), bits=32, stored=32, signed=True, RescaleSlope="0.001"),
    "with a sigmoid": an_image(ramp(0, 4095), VOILUTFunction="SIGMOID", **WINDOW, **HU),
    "with an exact window": an_image(
        ramp(0, 4095), VOILUTFunction="LINEAR_EXACT", WindowCenter="2000.5", WindowWidth="0.5"
    ),
    "with a window of one": an_image(ramp(0, 100), WindowCenter=50, WindowWidth=1),
    "with a negative slope": an_image(ramp(0, 4095), RescaleSlope="-0.25", RescaleIntercept=100, **WINDOW),
    "with a VOI LUT": an_image(ramp(0, 4095), VOILUTSequence=[a_lut(0, CURVE, 12)]),
    "with a VOI LUT from below zero": an_image(ramp(0, 4095), VOILUTSequence=[a_lut(-1024, CURVE, 12)], **HU),
    "with a modality LUT": an_image(ramp(0, 4095), ModalityLUTSequence=[a_modality_lut(0, CURVE, 12)]),
    "with a modality LUT and a window": an_image(
        ramp(0, 4095), ModalityLUTSequence=[a_modality_lut(100, CURVE[:3000], 12)], **WINDOW
    ),
    "of an angiograph, whose rescaling is not for display": an_image(
        ramp(0, 4095), SOPClassUID="1.2.840.10008.5.1.4.1.1.12.1", RescaleSlope=2, **WINDOW
    ),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_is_drawn_as_the_server_renders_it(page, compared, kind):
    (path,) = page.store(IMAGES[kind])

    found = compared(path)

    assert (found["most"], found["local"]) == (0, True), found
    assert found["levels"] >= 2


@pytest.mark.parametrize(
    "window",
    [
        {"center": 40, "width": 400, "kind": "LINEAR"},
        {"center": -600.5, "width": 1500.25, "kind": "LINEAR"},
        {"center": 300, "width": 0.75, "kind": "LINEAR_EXACT"},
        {"center": 300, "width": 600, "kind": "SIGMOID"},
    ],
    ids=lambda window: f"{window['kind']} {window['width']}",
)
def test_a_window_by_hand_is_drawn_as_the_server_renders_it(page, compared, window):
    (path,) = page.store(an_image(ramp(0, 4095), **HU))

    found = compared(path, window=window)

    assert (found["most"], found["local"]) == (0, True), found


def test_colour_is_the_servers_picture(page, compared):
    made = add_pixels(
        a_data_set(), [bytes(range(240)) * 3], rows=12, columns=20, bits=8, samples=3, photometric="YBR_FULL"
    )
    (path,) = page.store(a_file(made))

    found = compared(path)

    assert (found["most"], found["local"]) == (0, False), found


def test_every_frame_has_its_own_window(page, compared):
    made = a_data_set(sop_class="1.2.840.10008.5.1.4.1.1.2.1")
    frames = [ramp(0, 4095).astype("<u2").tobytes()] * 3
    add_pixels(made, frames, rows=ROWS, columns=COLUMNS)
    groups = []
    for center in (500, 1000, 3000):
        window, rescale, group = Dataset(), Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 800
        rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, -center // 10, "US"
        group.FrameVOILUTSequence, group.PixelValueTransformationSequence = [window], [rescale]
        groups.append(group)
    made.PerFrameFunctionalGroupsSequence = groups
    (path,) = page.store(a_file(made))

    found = [compared(path, place=place) for place in range(3)]

    assert [(one["most"], one["local"]) for one in found] == [(0, True)] * 3, found


# Monochrome files of many kinds and transfer syntaxes, among them big endian, RLE, JPEG 2000, JPEG-LS.
REAL = (
    "pixel/CT_small.dcm",
    "pixel/signed-raw-9bit.dcm",
    "pixel/12bitSigned_0x0F0F.dcm",
    "pixel/12bitUnsigned_0x0F0F.dcm",
    "pixel/emri_small_RLE.dcm",
    "pixel/emri_small_jpeg_2k_lossless.dcm",
    "pixel/emri_small_big_endian.dcm",
    "pixel/mlut_18.dcm",
    "pixel/vlut_04.dcm",
    "pixel/liver_1frame.dcm",
    "pixel/rtdose_1frame.dcm",
    "pixel/parametric_map_float.dcm",
    "pixel/examples_palette.dcm",
    "pixel/examples_ybr_color.dcm",
    "pixel/gdcm-US-ALOKA-16.dcm",
)


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_drawn_as_the_server_renders_them(page, compared, real_data, name):
    (path,) = page.store((real_data / name).read_bytes())

    found = compared(path)

    assert found["most"] == 0, found
