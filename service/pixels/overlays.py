"""Overlay planes: one bit per pixel, in the groups 6000 to 601E (PS3.3 C.9.2)."""

from dataclasses import dataclass

import numpy as np

from service.pixels.attributes import Attributes
from service.pixels.drawing import Mask

GROUPS = range(0x6000, 0x6020, 2)
_ROWS, _COLUMNS, _FRAMES, _ORIGIN, _FIRST_FRAME = 0x0010, 0x0011, 0x0015, 0x0050, 0x0051
_LAYER, _DATA = 0x1001, 0x3000


@dataclass(frozen=True, slots=True)
class Overlay:
    """An overlay group of a data set."""

    group: int
    source: Attributes

    @property
    def layer(self) -> str:
        """Overlay Activation Layer: the graphic layer it is shown in; empty if it is not."""
        return self.source.text(self.group << 16 | _LAYER)

    @property
    def has_data(self) -> bool:
        return self.group << 16 | _DATA in self.source

    def mask(self, rows: int, columns: int, frame: int = 1) -> Mask:
        """The bits over a frame, counted from 1, of an image of `rows` × `columns`.

        All false where the overlay does not reach, is not of this frame, or is cut off.
        """
        mask = np.zeros((rows, columns), np.bool_)
        high, wide = (self._number(element) for element in (_ROWS, _COLUMNS))
        first = frame - max(self._number(_FIRST_FRAME), 1)
        if self._number(_FRAMES) <= 1 and self.group << 16 | _FIRST_FRAME not in self.source:
            first = 0  # a single plane is over every frame
        content = self.source.octets(self.group << 16 | _DATA)
        size = high * wide
        if not 0 < size <= len(content) * 8 or not 0 <= first < max(self._number(_FRAMES), 1):
            return mask
        bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")
        bits = bits[first * size : (first + 1) * size]
        if len(bits) < size:
            return mask
        plane = bits.reshape(high, wide).astype(np.bool_)
        origin = self.source.numbers(self.group << 16 | _ORIGIN)
        top, left = (int(origin[0]) - 1, int(origin[1]) - 1) if len(origin) == 2 else (0, 0)
        plane = plane[max(-top, 0) :, max(-left, 0) :]
        top, left = max(top, 0), max(left, 0)
        plane = plane[: max(rows - top, 0), : max(columns - left, 0)]
        mask[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
        return mask

    def _number(self, element: int) -> int:
        return self.source.integer(self.group << 16 | element) or 0


def overlays_of(source: Attributes) -> list[Overlay]:
    """The overlay groups of a data set that say anything of themselves."""
    there = {tag >> 16 for tag in source.tags}
    return [Overlay(group, source) for group in GROUPS if group in there]
