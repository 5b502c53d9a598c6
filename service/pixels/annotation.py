"""Text burned into a picture (PS3.18 8.3.5.1.1)."""

import enum
import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.pixels.colour import Image
from service.pixels.glyphs import CELL_COLUMNS, drawn, writable

_SHARE = 192
"""The picture's smaller side by the width of a glyph's pixel."""
_LONGEST = 256


class Corner(enum.Enum):
    """Where a block of text goes."""

    TOP_LEFT = "top left"
    BOTTOM_LEFT = "bottom left"


def burn(image: Image, lines: Sequence[str], corner: Corner) -> Image:
    """A copy of `image` with lines of text in a corner, white with a black edge.

    The letters grow with the picture. Lines that are too long are folded; what does not fit is cut off.
    """
    scale = text_scale(image)
    block = _block(lines, scale, image.shape[1] - 2 * scale)
    rows, columns = (min(have, want) for have, want in zip(image.shape, block.shape, strict=False))
    burned = image.copy()
    if corner is Corner.TOP_LEFT:
        stamp(burned, block[:rows, :columns], 0, 0, scale)
    else:
        stamp(burned, block[block.shape[0] - rows :, :columns], image.shape[0] - rows, 0, scale)
    return burned


def text_scale(image: Image) -> int:
    """The width of a glyph's pixel, in pixels of the picture."""
    return max(1, int(min(image.shape[:2])) // _SHARE)


def stamp(
    image: Image, mask: NDArray[np.bool_], top: int, left: int, edge: int, ink: int | tuple[int, ...] = 255
) -> None:
    """Draw `mask` into `image` in `ink`, with a black edge of `edge` pixels; what lies outside is cut off."""
    row, column = max(top, 0), max(left, 0)
    mask = mask[row - top :, column - left :]
    mask = mask[: max(image.shape[0] - row, 0), : max(image.shape[1] - column, 0)]
    if mask.size:
        area = image[row : row + mask.shape[0], column : column + mask.shape[1]]
        area[_widened(mask, edge)] = 0
        area[mask] = ink


def _block(lines: Sequence[str], scale: int, width: int) -> NDArray[np.bool_]:
    most = max(1, width // (CELL_COLUMNS * scale))
    folded = [part for line in lines for part in textwrap.wrap(writable(line[:_LONGEST]), most) or [""]]
    drawn_lines = [drawn(line, scale) for line in folded]
    columns = max((line.shape[1] for line in drawn_lines), default=0)
    rows = [np.pad(line, ((scale, 0), (scale, scale + columns - line.shape[1]))) for line in drawn_lines]
    return np.concatenate(rows) if rows else np.zeros((0, 0), np.bool_)


def _widened(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """`mask` and every pixel within `by` rows and columns of it."""
    wide = mask.copy()
    for distance in range(1, by + 1):
        wide[distance:] |= mask[:-distance]
        wide[:-distance] |= mask[distance:]
    tall = wide.copy()
    for distance in range(1, by + 1):
        wide[:, distance:] |= tall[:, :-distance]
        wide[:, :-distance] |= tall[:, distance:]
    return wide
