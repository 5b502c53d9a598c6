"""Display shutters: what is hidden of an image (PS3.3 C.7.6.11, C.7.6.15)."""

import numpy as np

from service.pixels.attributes import Attributes
from service.pixels.drawing import Mask, area, disc
from service.pixels.overlays import Overlay

SHAPE, OVERLAY_GROUP, PRESENTATION_VALUE = 0x00181600, 0x00181623, 0x00181622
_LEFT, _RIGHT, _UPPER, _LOWER = 0x00181602, 0x00181604, 0x00181606, 0x00181608
_CENTER, _RADIUS, _VERTICES = 0x00181610, 0x00181612, 0x00181620


def hidden_by(attributes: Attributes, rows: int, columns: int) -> Mask | None:
    """The pixels of an image of `rows` × `columns` that shutters hide; `None` if there is no shutter.

    Of several shutters each hides its share.
    """
    shapes = {shape.strip() for shape in attributes.texts(SHAPE)}
    open_ = np.ones((rows, columns), np.bool_)
    if "RECTANGULAR" in shapes:
        open_ &= _rectangle(attributes, rows, columns)
    if "CIRCULAR" in shapes:
        center, radius = attributes.numbers(_CENTER), attributes.number(_RADIUS)
        if len(center) == 2 and radius is not None:
            open_ &= disc((center[1] - 0.5, center[0] - 0.5), radius, rows, columns)
    if "POLYGONAL" in shapes:
        numbers = attributes.numbers(_VERTICES)
        corners = [(x - 0.5, y - 0.5) for y, x in zip(numbers[::2], numbers[1::2], strict=False)]
        open_ &= area(corners, rows, columns)
    group = attributes.integer(OVERLAY_GROUP)
    if "BITMAP" in shapes and group is not None:
        open_ &= ~Overlay(group, attributes).mask(rows, columns)
    return None if open_.all() else ~open_


def _rectangle(attributes: Attributes, rows: int, columns: int) -> Mask:
    """The pixels inside of the edges, the edges' own rows and columns included; both count from 1."""
    left, right = attributes.integer(_LEFT), attributes.integer(_RIGHT)
    upper, lower = attributes.integer(_UPPER), attributes.integer(_LOWER)
    across, down = np.arange(1, columns + 1), np.arange(1, rows + 1)
    kept = (down >= (upper or 1)) & (down <= (rows if lower is None else lower))
    wide = (across >= (left or 1)) & (across <= (columns if right is None else right))
    return kept[:, None] & wide[None, :]
