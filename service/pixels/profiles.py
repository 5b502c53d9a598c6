"""ICC profiles of pictures: which one goes along, and the way to another one (PS3.18 8.3.5.1.5, ICC.1).

Profiles of three primaries and curves, such as those of cameras and most scanners, are converted here; those
of tables by the codecs.
"""

import functools
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dicom.errors import NotAcceptable
from service.pixels.attributes import Attributes
from service.pixels.codecs.colours import converted
from service.pixels.colour import Image

_ICC_PROFILE, _OPTICAL_PATH_SEQUENCE = 0x00282000, 0x00480105
_HEADER_BYTES = 128
_STEPS = 65536
_CURVE_POINTS = 1024
_TABLES = frozenset((b"A2B0", b"A2B1", b"A2B2"))

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """A colour space: how each 8-bit value is linear light, and the primaries in XYZ under D50, by column."""

    curves: Floats
    """3 × 256."""
    primaries: Floats


# Primaries adapted to D50 by Bradford's matrix: IEC 61966-2-1, Adobe RGB (1998), ROMM RGB (ISO 22028-2).
_PRIMARIES: Mapping[str, tuple[tuple[float, ...], ...]] = {
    "srgb": (
        (0.4360747, 0.3850649, 0.1430804),
        (0.2225045, 0.7168786, 0.0606169),
        (0.0139322, 0.0971045, 0.7141733),
    ),
    "adobergb": (
        (0.6097559, 0.2052401, 0.1492240),
        (0.3111242, 0.6256560, 0.0632197),
        (0.0194811, 0.0608902, 0.7448387),
    ),
    "rommrgb": ((0.7976749, 0.1351917, 0.0313534), (0.2880402, 0.7118741, 0.0000857), (0.0, 0.0, 0.8252100)),
}
_NAMES = {"srgb": "sRGB", "adobergb": "Adobe RGB compatible", "rommrgb": "ROMM RGB"}


def profile_of(attributes: Attributes) -> bytes | None:
    """The ICC profile that an image brings along: its own, else that of its first optical path."""
    path = attributes.item(_OPTICAL_PATH_SEQUENCE)
    for source in (attributes, path):
        if source is not None and _ICC_PROFILE in source:
            profile = source.octets(_ICC_PROFILE)
            if len(profile) > _HEADER_BYTES and profile[36:40] == b"acsp" and profile[16:20] == b"RGB ":
                return profile[: int.from_bytes(profile[:4], "big")]
    return None


def with_profile(image: Image, own: bytes | None, asked: str | None) -> tuple[Image, bytes | None]:
    """The picture and its profile as asked: `no`, `yes`, or a space to convert to.

    Without a wish the image's own goes along. What has no profile is sRGB; grey has none.
    `NotAcceptable` if the image's own profile is not one that can be converted.
    """
    if image.ndim == 2 or asked == "no":
        return image, None
    if asked is None:
        return image, own
    if asked == "yes":
        return image, own or standard_profile("srgb")
    if own is not None and _TABLES & _tags(own).keys():  # which come before primaries (ICC.1 8.3.2)
        return converted(image, own, standard_profile(asked)), standard_profile(asked)
    source = _standard("srgb") if own is None else read_space(own)
    if source is None:
        raise NotAcceptable("The image's colour profile cannot be converted here; iccprofile=yes sends it.")
    if own is None and asked == "srgb":
        return image, standard_profile("srgb")
    return convert(image, source, _standard(asked)), standard_profile(asked)


def convert(image: Image, source: Space, target: Space) -> Image:
    """Colours of one space in another, of 8 bits, out of gamut clipped."""
    linear = np.stack([source.curves[channel].take(image[..., channel]) for channel in range(3)], axis=-1)
    matrix = np.linalg.inv(target.primaries) @ source.primaries
    places = np.clip(linear @ matrix.T, 0.0, 1.0) * (_STEPS - 1) + 0.5
    steps = places.astype(np.uint16)
    return np.stack(
        [_inverse(target.curves[channel]).take(steps[..., channel]) for channel in range(3)], axis=-1
    )


def read_space(profile: bytes) -> Space | None:
    """The space of a profile of primaries and curves; `None` for one of tables, or a broken one."""
    tags = _tags(profile)
    try:
        columns = [struct.unpack(">3i", tags[name + b"XYZ"][8:20]) for name in (b"r", b"g", b"b")]
        curves = [_curve(tags[name + b"TRC"]) for name in (b"r", b"g", b"b")]
    except (KeyError, struct.error):
        return None
    primaries = np.asarray(columns, np.float64).T / 65536
    if any(curve is None for curve in curves) or abs(np.linalg.det(primaries)) < 1e-6:
        return None
    return Space(np.stack([curve for curve in curves if curve is not None]), primaries)


@functools.cache
def standard_profile(name: str) -> bytes:
    """A profile of `srgb`, `adobergb` or `rommrgb`, version 2."""
    text = _NAMES[name].encode("ascii")
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(78)
    values = np.linspace(0, 1, _CURVE_POINTS)
    points = np.floor(_linear(name, values) * 65535 + 0.5).astype(">u2").tobytes()
    curve = b"curv\0\0\0\0" + struct.pack(">I", _CURVE_POINTS) + points
    tags = {
        b"desc": description,
        b"cprt": b"text\0\0\0\0No copyright, use freely\0",
        b"wtpt": _xyz(0.9642, 1.0, 0.8249),
    }
    for number, colour in enumerate((b"r", b"g", b"b")):
        tags[colour + b"XYZ"] = _xyz(*(row[number] for row in _PRIMARIES[name]))
        tags[colour + b"TRC"] = curve
    return _assembled(tags)


def _assembled(tags: Mapping[bytes, bytes]) -> bytes:
    """A display profile of `tags`; equal values are kept once."""
    places: dict[bytes, int] = {}
    start = _HEADER_BYTES + 4 + 12 * len(tags)
    content, table = b"", struct.pack(">I", len(tags))
    for name, value in tags.items():
        if value not in places:
            places[value] = start + len(content)
            content += value + bytes(-len(value) % 4)
        table += name + struct.pack(">2I", places[value], len(value))
    size = start + len(content)
    header = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += struct.pack(">3i", *(round(part * 65536) for part in (0.9642, 1.0, 0.8249)))
    return header.ljust(_HEADER_BYTES, b"\0") + table + content


def _xyz(*parts: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(part * 65536) for part in parts))


@functools.cache
def _standard(name: str) -> Space:
    curve = _linear(name, np.arange(256) / 255)
    return Space(np.stack([curve] * 3), np.asarray(_PRIMARIES[name], np.float64))


def _linear(name: str, values: Floats) -> Floats:
    """Encoded values, 0 to 1, as linear light."""
    if name == "srgb":
        return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    if name == "adobergb":
        return np.asarray(values ** (563 / 256))
    return np.where(values < 16 * 0.001953125, values / 16, values**1.8)


def _inverse(curve: Floats) -> NDArray[np.uint8]:
    """The 8-bit value nearest to each step of linear light."""
    levels = np.interp(np.arange(_STEPS) / (_STEPS - 1), np.maximum.accumulate(curve), np.arange(256))
    return np.floor(levels + 0.5).astype(np.uint8)


def _tags(profile: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    count = int.from_bytes(profile[_HEADER_BYTES : _HEADER_BYTES + 4], "big")
    for number in range(min(count, 100)):
        entry = profile[_HEADER_BYTES + 4 + 12 * number :][:12]
        if len(entry) == 12:
            name, place, size = struct.unpack(">4s2I", entry)
            found[name] = profile[place : place + size]
    return found


def _curve(tag: bytes) -> Floats | None:
    """The linear light of each 8-bit value by a curve of either kind (ICC.1 10.6, 10.18)."""
    values = np.arange(256) / 255
    if tag[:4] == b"curv" and len(tag) >= 12:
        count = int.from_bytes(tag[8:12], "big")
        if count == 0:
            return values
        points: NDArray[Any] = np.frombuffer(tag, ">u2", min(count, (len(tag) - 12) // 2), 12)
        if len(points) != count:
            return None
        if count == 1:
            return np.asarray(values ** (float(points[0]) / 256))
        return np.asarray(np.interp(values, np.linspace(0, 1, count), points / 65535), np.float64)
    if tag[:4] == b"para" and len(tag) >= 12:
        return _parametric(int.from_bytes(tag[8:10], "big"), tag[12:], values)
    return None


def _parametric(kind: int, content: bytes, values: Floats) -> Floats | None:
    count = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}.get(kind)
    if count is None or len(content) < 4 * count:
        return None
    numbers = [number / 65536 for number in struct.unpack(f">{count}i", content[: 4 * count])]
    gamma, a, b, c, d, e, f = (numbers + [1.0, 0.0, 0.0, 0.0, 0.0, 0.0][count - 1 :])[:7]
    if kind in (1, 2):
        # Below -b/a the curve is flat, at c (kind 2) or 0.
        d, e, f, c = (-b / a if a else math.inf), (c if kind == 2 else 0.0), (c if kind == 2 else 0.0), 0.0
    powers = np.maximum(a * values + b, 0.0) ** gamma + e
    if kind == 0:
        return np.asarray(powers)
    return np.asarray(np.clip(np.where(values >= d, powers, c * values + f), 0.0, 1.0), np.float64)
