"""Grey levels that rise evenly, computed: for whole images that is faster than looking each value up."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TOP = 255
_BLOCK = 1 << 17  # pixels whose numbers on the way, of four bytes, stay in the cache of a core


@dataclass(frozen=True, slots=True)
class Ramp:
    """Levels of `factor` × value + `offset`, cut off at 0 and 255, the fraction dropped.

    In single precision: whether that gives the levels that are meant is for `ramp_of` to find out.
    """

    factor: np.float32
    offset: np.float32

    def apply(self, array: NDArray[Any]) -> NDArray[np.uint8]:
        """The levels of integers of up to 16 bits. Each depends on its own value only, wherever it stands."""
        flat = np.ascontiguousarray(array).reshape(-1)
        levels = np.empty(flat.shape, np.uint8)
        scratch = np.empty(min(flat.size, _BLOCK), np.float32)
        with np.errstate(over="ignore"):  # beyond either end it is cut off
            for start in range(0, flat.size, _BLOCK):
                part = flat[start : start + _BLOCK]
                level = scratch[: part.size]
                np.copyto(level, part)
                np.multiply(level, self.factor, out=level)
                np.add(level, self.offset, out=level)
                level.clip(np.float32(0), np.float32(_TOP), out=level)
                np.copyto(levels[start : start + _BLOCK], level, casting="unsafe")
        return levels.reshape(array.shape)


def ramp_of(values: NDArray[Any], levels: NDArray[np.uint8], rise: float) -> Ramp | None:
    """The ramp that gives exactly these `levels` of these `values`; `None` if there is none.

    `values` are of the type of the image, and all that occur in it are among them. `rise` is how much the
    level grows from one value to the next between 0 and 255, less than 0 where it falls.
    """
    if not math.isfinite(rise) or not values.size:
        return None
    with np.errstate(all="ignore"):  # of windows that are out of all reason
        ramp = Ramp(np.float32(rise), np.float32(_offset(values, levels, rise)))
    if not (np.isfinite(ramp.factor) and np.isfinite(ramp.offset)):
        return None
    return ramp if np.array_equal(ramp.apply(values), levels) else None


def _offset(values: NDArray[Any], levels: NDArray[np.uint8], rise: float) -> float:
    """What to add to `rise` × value, so that dropping the fraction leaves the level; no number if nothing is.

    As far as can be from what would give another level, so that what single precision drops does no harm.
    """
    # level <= rise * value + offset < level + 1, of which one side counts where levels are cut off.
    least = levels - values * float(rise)
    if rise < 0:
        least = least[::-1]
    black, white = values.size - int(np.count_nonzero(levels)), int(np.count_nonzero(levels == _TOP))
    low = float(least[black:].max(initial=-math.inf))
    high = float(least[: values.size - white].min(initial=math.inf)) + 1.0
    if not low < high:
        return math.nan
    if low == -math.inf:
        return high - 0.5
    return low + 0.5 if high == math.inf else (low + high) / 2
