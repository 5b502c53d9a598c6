"""From stored colour to RGB of 8 bits: palettes, YBR of all kinds, planes (PS3.3 C.7.6.3.1.2, C.7.9)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dicom.errors import NotAcceptable
from service.pixels.attributes import Attributes
from service.pixels.frame import Pixels
from service.pixels.lookup import Lookup, entry_count, lookup_of

RED_DESCRIPTOR, RED_DATA, RED_SEGMENTS = 0x00281101, 0x00281201, 0x00281221
_PIXEL_PRESENTATION = 0x00089205
_BLOCK = 1 << 16  # pixels converted at once

Image = NDArray[np.uint8]
"""Rows × columns of grey, or rows × columns × 3 of red, green and blue."""


@dataclass(frozen=True, slots=True, eq=False)
class Palette:
    """Three tables of 8-bit entries, which start at the same input value."""

    first: int
    colours: NDArray[np.uint8]
    """Entries × 3."""

    def apply(self, values: NDArray[Any]) -> Image:
        """The colours of whole numbers; beyond either end the last entry there holds."""
        low = int(values.min()) if values.size else 0
        high = int(values.max()) if values.size else 0
        if low >= self.first and high < self.first + len(self.colours):
            places = values if self.first == 0 else values - self.first
        else:
            places = np.clip(values.astype(np.int64) - self.first, 0, len(self.colours) - 1)
        picture = np.empty((*values.shape, 3), np.uint8)
        for channel in range(3):
            picture[..., channel] = np.ascontiguousarray(self.colours[:, channel]).take(places)
        return picture


def palette_of(attributes: Attributes, *, signed: bool = False) -> Palette | None:
    """The palette of an image, its segments expanded; `None` if there is none that can be used."""
    tables: list[Lookup] = []
    for channel in range(3):
        table = _palette_table(attributes, channel, signed)
        if table is None:
            return None
        tables.append(table)
    count = min(len(table.entries) for table in tables)
    most = max(int(table.entries.max()) for table in tables)
    # Entries of 16 bits that all stay below 256 were meant as 8 bits: writers are that careless.
    drop = max(table.bits for table in tables) - 8 if most > 255 else 0
    stack = np.stack([table.entries[:count] for table in tables], axis=1)
    return Palette(tables[0].first, (stack >> max(drop, 0)).astype(np.uint8))


def is_supplemental(attributes: Attributes) -> bool:
    """Whether a palette colours only the values from its first one on (PS3.3 C.7.6.19)."""
    return attributes.text(_PIXEL_PRESENTATION) in ("COLOR", "MIXED") and RED_DESCRIPTOR in attributes


def supplemented(pixels: Pixels, attributes: Attributes, levels: Image) -> Image:
    """Grey levels, with the values from the palette's first on in its colours (PS3.3 C.7.6.19)."""
    palette = palette_of(attributes, signed=pixels.shape.signed)
    if palette is None:
        return levels
    coloured = (pixels.array >= palette.first)[..., None]
    return np.where(coloured, palette.apply(pixels.array), levels[..., None])


def to_rgb(pixels: Pixels) -> Image:
    """Colour pixels of any photometric interpretation but PALETTE COLOR as RGB of 8 bits."""
    array, shape = pixels.array, pixels.shape
    array = array[..., :3]
    if array.dtype.kind == "f":
        raise NotAcceptable("There is no picture of colours in floating point (PS3.3 C.7.6.24).")
    converted = _CONVERSIONS.get(shape.photometric)
    if shape.bits_stored > 8 and shape.photometric != "YBR_RCT":
        array = array >> (shape.bits_stored - 8)
    if converted is None:
        if shape.bits_stored < 8:
            array = array.astype(np.uint16) * 255 // ((1 << shape.bits_stored) - 1)
        return _narrow(array)
    return converted(array)


def interleaved(planes: NDArray[Any]) -> NDArray[Any]:
    """Three planes, as Planar Configuration 1 has them, as colour by pixel."""
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1))


def expand_segments(content: bytes, bits: int, count: int) -> NDArray[np.uint16]:
    """The entries that a segmented table stands for, at most `count` (PS3.3 C.7.9.2).

    Empty if the segments are broken: an unknown kind, or a reference that is not to earlier segments.
    """
    words = np.frombuffer(content, "<u2" if bits > 8 else np.uint8, len(content) // (2 if bits > 8 else 1))
    segments = words.tolist()
    made: list[int] = []
    starts: dict[int, None] = {}
    if not _expand(segments, 0, len(segments), made, starts, count, width=2 if bits > 8 else 1):
        return np.zeros(0, np.uint16)
    return np.asarray(made[:count], np.uint16)


def _expand(
    words: list[int],
    place: int,
    end: int,
    made: list[int],
    starts: dict[int, None],
    count: int,
    *,
    width: int,
) -> bool:
    """Append what the segments from `place` to `end` stand for; false if they are broken."""
    while place + 2 <= end and len(made) < count:
        kind, length = words[place], words[place + 1]
        starts[place] = None
        if kind == 0:
            made += words[place + 2 : place + 2 + length]
            place += 2 + length
        elif kind == 1 and place + 3 <= end and made and length:
            start, stop = made[-1], words[place + 2]
            made += [_between(start, stop, step, length) for step in range(1, length + 1)]
            place += 3
        elif kind == 2 and (again := _reference(words, place, width)) in starts:
            if not _repeat(words, again, length, place, made, count):
                return False
            place += 2 + 4 // width
        else:
            return False
    return True


def _repeat(words: list[int], place: int, segments: int, end: int, made: list[int], count: int) -> bool:
    """Append `segments` earlier segments again; they may not be references themselves."""
    for _ in range(segments):
        if len(made) >= count:
            return True
        if place + 2 > end or words[place] > 1:
            return False
        kind, length = words[place], words[place + 1]
        if kind == 0:
            made += words[place + 2 : place + 2 + length]
            place += 2 + length
            continue
        if not made:
            return False
        start, stop = made[-1], words[place + 2]
        made += [_between(start, stop, step, length) for step in range(1, length + 1)]
        place += 3
    return True


def _between(start: int, stop: int, step: int, steps: int) -> int:
    return start + ((stop - start) * step * 2 + steps) // (2 * steps)


def _reference(words: list[int], place: int, width: int) -> int:
    """The place of the segment that an indirect segment names by its offset in bytes."""
    if width == 2:
        if place + 4 > len(words):
            return -1
        return (words[place + 2] | words[place + 3] << 16) // 2
    if place + 6 > len(words):
        return -1
    return sum(words[place + 2 + byte] << 8 * byte for byte in range(4))


def _palette_table(attributes: Attributes, channel: int, signed: bool) -> Lookup | None:
    descriptor = attributes.numbers(RED_DESCRIPTOR + channel)
    content = attributes.octets(RED_DATA + channel)
    if not content and len(descriptor) >= 3:
        segments = attributes.octets(RED_SEGMENTS + channel)
        entries = expand_segments(segments, int(descriptor[2]), entry_count(descriptor))
        content = entries.astype("<u2").tobytes()
    return lookup_of(descriptor, content, signed=signed)


def _narrow(array: NDArray[Any]) -> Image:
    return np.ascontiguousarray(array.astype(np.uint8, copy=False))


def _from_full(array: NDArray[Any]) -> Image:
    """YBR_FULL and its subsampled form, chroma already at full size (PS3.3 C.7.6.3.1.2)."""
    return _from_luma(array, 1.0, 0.0, 1.402, 0.344136286, 0.714136286, 1.772)


def _from_partial(array: NDArray[Any]) -> Image:
    """YBR_PARTIAL_420 and YBR_PARTIAL_422: black is 16, white 235 (ITU-R BT.601)."""
    chroma = 255 / 224
    return _from_luma(
        array, 255 / 219, 16.0, 1.402 * chroma, 0.344136286 * chroma, 0.714136286 * chroma, 1.772 * chroma
    )


def _from_luma(
    array: NDArray[Any], gain: float, black: float, red: float, blue_less: float, red_less: float, blue: float
) -> Image:
    centre = np.float32(0 if array.dtype.kind == "i" else 128)
    picture = np.empty(array.shape, np.uint8)
    at_once = max(1, _BLOCK // array.shape[1])  # rows: in floating point they take four times their room
    for start in range(0, array.shape[0], at_once):
        rows = slice(start, start + at_once)
        luma, cb, cr = (array[rows, :, channel].astype(np.float32) for channel in range(3))
        luma = (luma - np.float32(black)) * np.float32(gain) + np.float32(0.5)
        cb -= centre
        cr -= centre
        picture[rows, :, 0] = np.clip(luma + cr * np.float32(red), 0, 255)
        picture[rows, :, 1] = np.clip(luma - cb * np.float32(blue_less) - cr * np.float32(red_less), 0, 255)
        picture[rows, :, 2] = np.clip(luma + cb * np.float32(blue), 0, 255)
    return picture


def _from_reversible(array: NDArray[Any]) -> Image:
    """YBR_RCT: the reversible transform of JPEG 2000, differences with their sign (PS3.3 C.7.6.3.1.2)."""
    luma, cb, cr = (array[..., channel].astype(np.int32) for channel in range(3))
    green = luma - ((cb + cr) >> 2)
    picture: Image = np.clip(np.stack([cr + green, green, cb + green], axis=-1), 0, 255).astype(np.uint8)
    return picture


_CONVERSIONS: Mapping[str, Callable[[NDArray[Any]], Image]] = {
    "YBR_FULL": _from_full,
    "YBR_FULL_422": _from_full,
    "YBR_ICT": _from_full,
    "YBR_PARTIAL_422": _from_partial,
    "YBR_PARTIAL_420": _from_partial,
    "YBR_RCT": _from_reversible,
}
