"""Mask subtraction in presentation states: frames less other frames (PS3.3 C.7.6.10, C.11.13)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from service.dicom.errors import NotAcceptable
from service.pixels.attributes import Attributes
from service.pixels.voi import Values

_SEQUENCE, _OPERATION = 0x00286100, 0x00286101
_MASK_FRAMES, _AVERAGED, _SHIFT, _OFFSET = 0x00286110, 0x00286112, 0x00286114, 0x00286120
_RELATIONSHIP = 0x00281040
_MOST_FRAMES = 64


@dataclass(frozen=True, slots=True)
class Subtraction:
    """The frames, counted from 1, whose average is shown, and those whose average is taken from it."""

    contrast: tuple[int, ...]
    mask: tuple[int, ...]

    def of(self, values: Callable[[int], Values]) -> Values:
        """The difference of two averages; `values` gives the modality values of a frame."""
        return _average(self.contrast, values) - _average(self.mask, values)


def is_subtracted(state: Attributes) -> bool:
    """Whether a presentation state takes frames from one another at all."""
    item = state.item(_SEQUENCE)
    return item is not None and item.text(_OPERATION) != "NONE"


def subtraction_of(state: Attributes, frame: int, count: int) -> Subtraction | None:
    """What a presentation state takes from a frame, counted from 1, of an image that has `count`.

    `None` for a frame that has no counterpart, which the operation does not cover. `NotAcceptable` for an
    operation that is not done here: no other picture may be taken for it.
    """
    item = state.item(_SEQUENCE)
    if item is None or not is_subtracted(state):
        return None
    if any(item.numbers(_SHIFT)):
        raise NotAcceptable("The presentation state shifts what it subtracts, which is not done here.")
    averaged = item.integer(_AVERAGED) or 1
    if not 1 <= averaged <= _MOST_FRAMES:
        raise NotAcceptable("The presentation state averages more frames than is done here.")
    contrast = tuple(range(frame, frame + averaged))
    match item.text(_OPERATION):
        case "AVG_SUB":
            mask = tuple(int(number) for number in item.numbers(_MASK_FRAMES))
            if not mask or len(mask) > _MOST_FRAMES or not all(1 <= number <= count for number in mask):
                raise NotAcceptable("The presentation state subtracts frames that are not there, or many.")
        case "TID":
            offset = item.integer(_OFFSET)
            mask = (frame - (1 if offset is None else offset),)
        case _:
            raise NotAcceptable("The presentation state subtracts frames in a way that is not done here.")
    # The range that is assumed where none is given ends where there are no frames to be had.
    if contrast[-1] > count or not all(1 <= number <= count for number in mask):
        return None
    return Subtraction(contrast, mask)


def require_logarithmic(image: Attributes, *, transformed: bool) -> None:
    """`NotAcceptable` for values in proportion to X-ray intensity: logarithms are subtracted (PS3.4 N.2.1.2).

    `transformed` says that the presentation state's own modality LUT leads to them.
    """
    if image.text(_RELATIONSHIP) == "LIN" and not transformed:
        raise NotAcceptable("The image's values are linear, and the presentation state subtracts logarithms.")


def _average(numbers: tuple[int, ...], values: Callable[[int], Values]) -> Values:
    total: Values | None = None
    for number in numbers:
        one = values(number)
        if total is None:
            total = one.astype(np.float64)
        elif one.shape != total.shape:
            raise NotAcceptable("The frames that are subtracted from one another are not of one size.")
        else:
            total += one
    assert total is not None
    return total / len(numbers)
