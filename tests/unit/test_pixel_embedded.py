"""Overlays in the bits above those stored, which codecs cannot carry."""

import numpy as np
import pytest

from service.dicom.syntaxes import EXPLICIT_BE, EXPLICIT_LE
from service.pixels.attributes import Attributes
from service.pixels.changes import shape_of
from service.pixels.embedded import EmbeddedOverlay, embedded_overlays, extracted
from service.pixels.frame import Frame


def image(**overlay: int) -> Attributes:
    values = {
        "00280002": 1, "00280010": 3, "00280011": 5, "00280100": 16, "00280101": 12, "00280102": 11,
        "00280103": 0, "60000010": 3, "60000011": 5,
        **{key.removeprefix("t"): one for key, one in overlay.items()},
    }  # fmt: skip
    return Attributes({tag: {"vr": "US", "Value": [value]} for tag, value in values.items()})


OVERLAID = image(t60000100=16, t60000102=13)


def test_an_overlay_in_a_bit_that_pixels_do_not_use_is_found():
    assert embedded_overlays(OVERLAID) == (EmbeddedOverlay(0x6000, 13),)


@pytest.mark.parametrize(
    "attributes",
    [
        image(),
        image(t60000100=1, t60000102=0),
        image(t60000100=16, t60000102=5),
        image(t60000100=16, t60000102=16),
        image(t60000100=16, t60000102=13, t60003000=1),
        image(t60000100=16, t60000102=13, t00280002=3),
    ],
)
def test_other_overlays_are_not(attributes):
    assert embedded_overlays(attributes) == ()


@pytest.mark.parametrize(("syntax", "dtype"), [(EXPLICIT_LE, "<u2"), (EXPLICIT_BE, ">u2")])
def test_its_planes_become_overlay_data_one_for_each_frame(syntax, dtype):
    overlay = EmbeddedOverlay(0x6000, 13)
    lit = np.random.default_rng(1).random((2, 3, 5)) < 0.5
    stored = (lit * (1 << 13) + 77).astype(dtype)
    frames = [Frame(one.tobytes(), syntax, shape_of(OVERLAID)) for one in stored]

    planes = [overlay.plane(frame) for frame in frames]
    made = extracted({overlay: planes})

    assert np.array_equal(np.stack(planes), lit)
    assert made[0x60000100] == ("US", [1]) and made[0x60000102] == ("US", [0])
    assert made[0x60000015] == ("IS", [2])
    content = made[0x60003000]
    assert content is not None
    bits = np.unpackbits(np.frombuffer(content[1][0], np.uint8), count=30, bitorder="little")
    assert np.array_equal(bits.reshape(2, 3, 5), lit)
    assert len(content[1][0]) % 2 == 0
