"""ICC profiles of look-up tables, against the arithmetic of ICC.1 written down once more."""

import struct
from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from service.dicom.errors import NotAcceptable
from service.pixels.profiles import profile_of, standard_profile, with_profile
from tests.pixels.pictures import attributes_of

WHITE = np.array([0.9642, 1.0, 0.8249])
# Linear sRGB from XYZ under D50.
FROM_XYZ = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
)
GAMMA = 1.8
COLOURS = np.random.default_rng(3).integers(0, 256, (48, 48, 3)).astype(np.uint8)

Floats = NDArray[np.float64]


def lab_of(rgb: Floats) -> Floats:
    """What the tables below lead to: an affine map, which every interpolation agrees on."""
    red, green, blue = np.moveaxis(rgb, -1, 0)
    return np.stack([5 + 30 * red + 50 * green + 12 * blue, 30 * (red - green), 25 * (green - blue)], axis=-1)


def xyz_of(rgb: Floats) -> Floats:
    mixed = rgb @ np.array([[0.42, 0.22, 0.03], [0.36, 0.68, 0.12], [0.16, 0.08, 0.65]])
    return np.asarray(mixed)


def srgb_of_lab(lab: Floats) -> Floats:
    fy = (lab[..., 0] + 16) / 116
    f = np.stack([fy + lab[..., 1] / 500, fy, fy - lab[..., 2] / 200], axis=-1)
    return srgb_of_xyz(np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * WHITE)


def srgb_of_xyz(xyz: Floats) -> Floats:
    linear = np.clip(xyz @ FROM_XYZ.T, 0, 1)
    encoded: Floats = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * encoded


def grid(points: int) -> Floats:
    """The inputs of a table's entries: the last channel runs fastest."""
    steps = np.linspace(0, 1, points)
    return np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)


def lut8(points: int = 5) -> bytes:
    """lut8Type with PCSLAB: L* of 0 to 255 and a*, b* from 0 for -128 on (ICC.1 10.11)."""
    lab = lab_of(grid(points))
    entries = np.stack([lab[:, 0] * 2.55, lab[:, 1] + 128, lab[:, 2] + 128], axis=-1)
    curve = np.round(255 * (np.arange(256) / 255) ** GAMMA).astype(np.uint8).tobytes()
    straight = bytes(range(256))
    return head(b"mft1", points) + curve * 3 + np.round(entries).astype(np.uint8).tobytes() + straight * 3


def lut16(points: int = 5) -> bytes:
    """lut16Type with PCSLAB in the older encoding, of which FF00H is L* 100 (ICC.1 10.10)."""
    lab = lab_of(grid(points))
    entries = np.stack([lab[:, 0] * 652.8, (lab[:, 1] + 128) * 256, (lab[:, 2] + 128) * 256], axis=-1)
    curve = np.round(65535 * np.linspace(0, 1, 1024) ** GAMMA).astype(">u2").tobytes()
    straight = np.array([0, 65535], ">u2").tobytes()
    tables = curve * 3 + np.round(entries).astype(">u2").tobytes() + straight * 3
    return head(b"mft2", points) + struct.pack(">2H", 1024, 2) + tables


def a_to_b(points: int = 2) -> bytes:
    """lutAToBType with PCSXYZ: A curves, a table, and straight B curves (ICC.1 10.12)."""
    a = b"para" + bytes(4) + struct.pack(">2H", 0, 0) + struct.pack(">i", round(GAMMA * 65536))
    b = b"para" + bytes(4) + struct.pack(">2H", 0, 0) + struct.pack(">i", 65536)
    entries = np.round(xyz_of(grid(points)) * 32768).astype(">u2").tobytes()
    clut = bytes([points] * 3) + bytes(13) + b"\x02\0\0\0" + entries
    clut += bytes(-len(clut) % 4)
    start = 32
    places = struct.pack(">5I", start, 0, 0, start + 48, start + 48 + len(clut))
    return b"mAB " + bytes(4) + b"\x03\x03\0\0" + places + b * 3 + clut + a * 3


def head(kind: bytes, points: int) -> bytes:
    identity = struct.pack(">9i", *(65536 * one for one in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    return kind + bytes(4) + bytes([3, 3, points, 0]) + identity


def a_profile(space: bytes, version: int = 2, **tables: bytes) -> bytes:
    """An input profile of these tables."""
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", *(round(one * 65536) for one in WHITE)),
        **{name.encode(): table for name, table in tables.items()},
    }
    table, content, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">2I", start + len(content), len(value))
        content += value + bytes(-len(value) % 4)
    made = struct.pack(">I4sI4s4s4s", start + len(content), bytes(4), version << 24, b"scnr", b"RGB ", space)
    made += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    made += struct.pack(">3i", *(round(one * 65536) for one in WHITE))
    return made.ljust(128, b"\0") + table + content


@pytest.mark.parametrize(
    ("profile", "expected", "most"),
    [
        (a_profile(b"Lab ", A2B0=lut8()), lambda rgb: srgb_of_lab(lab_of(rgb)), 2),
        (a_profile(b"Lab ", A2B0=lut16()), lambda rgb: srgb_of_lab(lab_of(rgb)), 1),
        (a_profile(b"XYZ ", 4, A2B0=a_to_b()), lambda rgb: srgb_of_xyz(xyz_of(rgb)), 1),
    ],
    ids=["lut8", "lut16", "lutAToB"],
)
def test_tables_are_converted_as_the_standard_says(
    profile: bytes, expected: Callable[[Floats], Floats], most: float
):
    image, given = with_profile(COLOURS, profile, "srgb")

    assert given == standard_profile("srgb")
    wanted = expected((COLOURS / 255) ** GAMMA)
    off = np.abs(image - wanted)
    assert off.max() <= most and off.mean() < 0.5
    assert np.abs(image.astype(int) - COLOURS).mean() > 10


def test_what_was_measured_comes_before_what_pleases():
    pleasing = a_profile(b"Lab ", A2B0=head(b"mft1", 2) + bytes(256 * 3 + 24 + 256 * 3), A2B1=lut8())
    image, _ = with_profile(COLOURS, pleasing, "srgb")
    alone, _ = with_profile(COLOURS, a_profile(b"Lab ", A2B0=lut8()), "srgb")
    assert np.array_equal(image, alone)


def test_tables_come_before_primaries():
    """ICC.1 8.3.2: a profile of both is one of tables."""
    made = bytearray(standard_profile("adobergb"))
    place = made.index(b"cprt")
    made[place : place + 4] = b"A2B0"
    with pytest.raises(NotAcceptable):  # the text that stands there is no table
        with_profile(COLOURS, bytes(made), "srgb")


def test_a_real_profile_of_tables_is_converted(real_data):
    made = pydicom.dcmread(real_data / "seg/seg_image_sm_control_labelmap_palette_color.dcm")
    own = profile_of(attributes_of(made))
    assert own is not None
    image, _ = with_profile(COLOURS, own, "srgb")
    # It is sRGB's own, whose black is that of a display in a room.
    assert np.abs(image.astype(int) - COLOURS).max() < 40
    bright = COLOURS.min(axis=-1) > 128
    assert np.abs(image.astype(int) - COLOURS)[bright].max() <= 8


@pytest.mark.parametrize("seed", range(60))
def test_mutated_tables_do_no_harm(seed):
    random = np.random.default_rng(seed)
    profile = (
        a_profile(b"Lab ", A2B0=lut8(3)),
        a_profile(b"Lab ", A2B0=lut16(3)),
        a_profile(b"XYZ ", 4, A2B0=a_to_b()),
    )
    content = bytearray(profile[seed % 3])
    for place in random.integers(0, min(len(content), 420), 6):
        content[place] = random.integers(0, 256)
    for broken in (content, content[: random.integers(200, len(content))]):
        try:
            image, _ = with_profile(COLOURS, bytes(broken), "srgb")
        except NotAcceptable:
            continue
        assert image.shape == COLOURS.shape
