"""From stored values to grey levels: modality, value of interest, presentation (PS3.3 C.11.1 to C.11.6)."""

import enum
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.pixels.attributes import Attributes, functional_group
from service.pixels.frame import FrameShape
from service.pixels.lookup import Lookup, read_lookup
from service.pixels.ramp import ramp_of

GREY_TOP = 255
_TABLE_BITS = 16
_BLOCK = 1 << 17
_WORTH_A_RAMP = 1 << 15  # pixels; for fewer, finding a ramp takes longer than looking them up

MODALITY_LUT_SEQUENCE = 0x00283000
RESCALE_INTERCEPT, RESCALE_SLOPE = 0x00281052, 0x00281053
WINDOW_CENTER, WINDOW_WIDTH, VOI_LUT_FUNCTION = 0x00281050, 0x00281051, 0x00281056
VOI_LUT_SEQUENCE = 0x00283010
PADDING_VALUE, PADDING_LIMIT = 0x00280120, 0x00280121
PRESENTATION_LUT_SHAPE = 0x20500020
_PIXEL_VALUE_TRANSFORMATION, _FRAME_VOI_LUT = 0x00289145, 0x00289132

# XA, XRF, and the retired biplane XA: their modality LUT leads to linear intensities, for subtraction, and
# is not for display (PS3.3 C.8.7.1.1.2); windows are of the stored values.
_PROJECTION_CLASSES = frozenset(f"1.2.840.10008.5.1.4.1.1.12.{number}" for number in (1, 2, 3))

Values = NDArray[np.float64]


class Function(enum.Enum):
    """How a window maps values (PS3.3 C.11.2.1.2.1, C.11.2.1.3)."""

    LINEAR = "linear"
    LINEAR_EXACT = "linear-exact"
    SIGMOID = "sigmoid"


@dataclass(frozen=True, slots=True)
class Window:
    """A window on modality values."""

    center: float
    width: float
    function: Function = Function.LINEAR

    @property
    def valid(self) -> bool:
        """Whether the width is one that the function allows (PS3.3 C.11.2.1.2.1)."""
        least = self.width >= 1 if self.function is Function.LINEAR else self.width > 0
        return least and math.isfinite(self.width) and math.isfinite(self.center)

    def rise(self, top: int) -> float:
        """What `apply` adds from one value to the next between 0 and `top`; not a number if that differs."""
        if self.function is Function.SIGMOID:
            return math.nan
        width = self.width - 1.0 if self.function is Function.LINEAR else self.width
        return top / width if width else math.nan

    def apply(self, values: Values, top: int) -> Values:
        """`values` mapped to 0 to `top`, not rounded."""
        center, width = self.center, self.width
        if self.function is Function.SIGMOID:
            powers = np.clip(values - center, -width * 100, width * 100) * (-4.0 / width)
            return top / (1.0 + np.exp(powers))
        if self.function is Function.LINEAR:
            center, width = center - 0.5, width - 1.0
        if width == 0:
            return np.where(values > center, float(top), 0.0)
        # One division, of exact numbers for windows that are whole or halved: ties round as on paper.
        return np.clip((values - center) * top / width + top / 2, 0.0, top)


@dataclass(frozen=True, slots=True)
class Rescale:
    """Rescale Slope and Rescale Intercept."""

    slope: float = 1.0
    intercept: float = 0.0

    def apply(self, values: Values) -> Values:
        if self.slope == 1.0 and self.intercept == 0.0:
            return values
        return values * self.slope + self.intercept


@dataclass(frozen=True, slots=True)
class Padding:
    """The stored values, both included, that are no part of the image (PS3.3 C.7.5.1.1.2)."""

    low: float
    high: float

    def mask(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        return (values >= self.low) & (values <= self.high)


@dataclass(frozen=True, slots=True)
class Grey:
    """How the stored values of a monochrome image become grey levels.

    Without a `voi` the modality values from `span` on are spread over the whole range: those that the
    image could hold up to 8 bits, else those that it does hold. Padding is black, and counts for no span.
    """

    modality: Rescale | Lookup = Rescale()
    voi: Window | Lookup | None = None
    presentation: Lookup | None = None
    inverted: bool = False
    padding: Padding | None = None
    span: tuple[float, float] | None = None

    def levels(self, stored: NDArray[Any], span: tuple[float, float]) -> NDArray[np.uint8]:
        """The grey level of each stored value; `span` is of modality values, for where there is no VOI."""
        top = GREY_TOP if self.presentation is None else len(self.presentation.entries) - 1
        with np.errstate(all="ignore"):  # of slopes and centres that are out of all reason
            found = self._mapped(stored.astype(np.float64), span, top)
        if self.presentation is not None:
            found = self.presentation.apply(found).astype(np.float64) * (GREY_TOP / self.presentation.top)
        if not np.isfinite(found).all():
            found = np.nan_to_num(found)
        levels = np.floor(found + 0.5).astype(np.uint8)
        if self.inverted:
            levels = GREY_TOP - levels
        if self.padding is not None:
            levels[self.padding.mask(stored)] = 0
        return levels

    def rise(self, span: tuple[float, float]) -> float:
        """What the level grows by from one stored value to the next; not a number where that differs."""
        if self.presentation is not None or not isinstance(self.modality, Rescale):
            return math.nan
        if isinstance(self.voi, Lookup):
            return math.nan
        if self.voi is not None:
            rise = self.voi.rise(GREY_TOP)
        else:
            low, high = span
            rise = GREY_TOP / (high - low) if high > low else math.nan
        return rise * (-self.modality.slope if self.inverted else self.modality.slope)

    def _mapped(self, stored: Values, span: tuple[float, float], top: int) -> Values:
        values = self.modality_values(stored)
        if isinstance(self.voi, Window):
            return self.voi.apply(values, top)
        if isinstance(self.voi, Lookup):
            return self.voi.apply(values).astype(np.float64) * (top / self.voi.top)
        low, high = span
        if high <= low:
            return np.zeros_like(values)
        return np.clip((values - low) * top / (high - low), 0.0, top)

    def modality_values(self, stored: Values) -> Values:
        """The values behind the modality LUT or rescale."""
        return self.modality.apply(stored).astype(np.float64, copy=False)


def grey_of(attributes: Attributes, shape: FrameShape, frame: int, window: Window | None = None) -> Grey:
    """How the image's own attributes want a frame, counted from 1, to be shown; `window` comes first."""
    modality = modality_of(attributes, shape, frame)
    return Grey(
        modality=modality,
        voi=window or voi_of(attributes, modality, shape, frame),
        inverted=shape.photometric == "MONOCHROME1" or attributes.text(PRESENTATION_LUT_SHAPE) == "INVERSE",
        padding=padding_of(attributes, shape),
        span=_possible(modality, shape),
    )


def modality_of(attributes: Attributes, shape: FrameShape, frame: int = 1) -> Rescale | Lookup:
    """The modality transformation of a frame."""
    if attributes.text(0x00080016) in _PROJECTION_CLASSES:
        return Rescale()
    item = attributes.item(MODALITY_LUT_SEQUENCE)
    if item is not None:
        lookup = read_lookup(item, signed=shape.signed)
        if lookup is not None:
            return lookup
    group = functional_group(attributes, frame, _PIXEL_VALUE_TRANSFORMATION)
    return rescale_of(attributes if group is None else group)


def rescale_of(attributes: Attributes) -> Rescale:
    """Slope and intercept; a slope of 0, which would leave nothing to see, is not taken."""
    slope, intercept = attributes.number(RESCALE_SLOPE), attributes.number(RESCALE_INTERCEPT)
    if slope == 0:
        return Rescale()
    return Rescale(1.0 if slope is None else slope, intercept or 0.0)


def voi_of(
    attributes: Attributes, modality: Rescale | Lookup, shape: FrameShape, frame: int = 1
) -> Window | Lookup | None:
    """The first window, else the first VOI LUT, of a frame; `None` if the image has neither."""
    group = functional_group(attributes, frame, _FRAME_VOI_LUT)
    for source in (attributes,) if group is None else (group, attributes):
        window = window_of(source)
        if window is not None:
            return window
        item = source.item(VOI_LUT_SEQUENCE)
        if item is not None:
            lookup = read_lookup(item, signed=may_be_negative(modality, shape))
            if lookup is not None:
                return lookup
    return None


def window_of(attributes: Attributes) -> Window | None:
    """The first window; `None` if there is none that is valid."""
    center, width = attributes.number(WINDOW_CENTER), attributes.number(WINDOW_WIDTH)
    if center is None or width is None:
        return None
    name = attributes.text(VOI_LUT_FUNCTION).lower().replace("_", "-")
    known = {function.value: function for function in Function}
    window = Window(center, width, known.get(name, Function.LINEAR))
    return window if window.valid else None


def padding_of(attributes: Attributes, shape: FrameShape) -> Padding | None:
    """The padding of an image, whichever sign its value was written with."""
    value = attributes.number(PADDING_VALUE)
    if value is None or shape.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return None
    limit = attributes.number(PADDING_LIMIT)
    ends = [_with_sign(one, shape) for one in (value, value if limit is None else limit)]
    return Padding(min(ends), max(ends))


def may_be_negative(modality: Rescale | Lookup, shape: FrameShape) -> bool:
    """Whether modality values may be negative (PS3.3 C.11.2.1.1)."""
    return isinstance(modality, Rescale) and _possible_ends(modality, shape)[0] < 0


def to_grey(array: NDArray[Any], grey: Grey) -> NDArray[np.uint8]:
    """The grey levels of an image: rows × columns of stored values in, the same of levels out.

    Up to 16 bits there is a table of the values that occur. Where all of it lies on a ramp that is
    computed, else each value is looked up.
    """
    integer = array.dtype.kind in "iu"
    low, high = _extremes(array)
    span = grey.span
    if span is None:
        span = (0.0, 0.0) if grey.voi is not None else occurring(array, grey)
    within = integer and array.dtype.itemsize <= _TABLE_BITS // 8 and high - low < max(array.size, 256)
    if not within:
        return _one_by_one(array, grey, span)
    unsigned = np.dtype(f"u{array.dtype.itemsize}")
    values = np.arange(low, high + 1, dtype=np.int64)
    levels = grey.levels(values, span)
    if array.size >= max(_WORTH_A_RAMP, 4 * values.size):
        ramp = ramp_of(values.astype(array.dtype), levels, grey.rise(span))
        if ramp is not None:
            return ramp.apply(array)
    table = np.zeros(1 << 8 * array.dtype.itemsize, np.uint8)
    table[values.astype(unsigned)] = levels
    return looked_up(table, array.view(unsigned))


def _one_by_one(array: NDArray[Any], grey: Grey, span: tuple[float, float]) -> NDArray[np.uint8]:
    """The grey level of each value for itself, block by block: on the way they are several times as wide."""
    flat = np.ascontiguousarray(array).reshape(-1)
    found = np.empty(flat.shape, np.uint8)
    for start in range(0, flat.size, _BLOCK):
        found[start : start + _BLOCK] = grey.levels(flat[start : start + _BLOCK], span)
    return found.reshape(array.shape)


def looked_up(table: NDArray[np.uint8], places: NDArray[Any]) -> NDArray[np.uint8]:
    """The entries of `table` at `places`, block by block: the widened indices stay in the cache."""
    flat = np.ascontiguousarray(places).reshape(-1)
    found = np.empty(flat.shape, np.uint8)
    for start in range(0, flat.size, _BLOCK):
        part = flat[start : start + _BLOCK]
        table.take(part, out=found[start : start + _BLOCK], mode="clip")
    return found.reshape(places.shape)


def occurring(array: NDArray[Any], grey: Grey) -> tuple[float, float]:
    """The lowest and the highest modality value that occur in an image, padding aside.

    Of several frames that are to be shown alike, the widest of these is the `span` to give to each.
    """
    counted = array
    if grey.padding is not None:
        counted = array[~grey.padding.mask(array)]
    if counted.dtype.kind == "f":
        counted = counted[np.isfinite(counted)]
    if not counted.size:
        return 0.0, 0.0
    if isinstance(grey.modality, Rescale):
        counted = np.asarray([counted.min(), counted.max()])
    with np.errstate(all="ignore"):
        values = np.nan_to_num(grey.modality_values(counted.astype(np.float64)))
    return float(values.min()), float(values.max())


def _extremes(array: NDArray[Any]) -> tuple[int, int]:
    if array.dtype.kind not in "iu" or not array.size:
        return 0, 0
    return int(array.min()), int(array.max())


def whole_span(modality: Rescale | Lookup, shape: FrameShape) -> tuple[float, float] | None:
    """The modality values that an image could hold; `None` for floating point, which has no bounds."""
    if isinstance(modality, Lookup):
        return 0.0, float(modality.top)
    return None if shape.floating else _possible_ends(modality, shape)


def _possible(modality: Rescale | Lookup, shape: FrameShape) -> tuple[float, float] | None:
    """The modality values that an image could hold, where that is a sensible range to show."""
    bits = modality.bits if isinstance(modality, Lookup) else shape.bits_stored
    return whole_span(modality, shape) if bits <= 8 else None


def _possible_ends(modality: Rescale, shape: FrameShape) -> tuple[float, float]:
    if shape.floating:
        return -math.inf, math.inf
    low = -(1 << shape.bits_stored - 1) if shape.signed else 0
    ends = [
        value * modality.slope + modality.intercept for value in (low, low + (1 << shape.bits_stored) - 1)
    ]
    return min(ends), max(ends)


def _with_sign(value: float, shape: FrameShape) -> float:
    """A padding value as a stored value: the same 16 bits may have been read with the other sign."""
    if shape.floating:
        return value
    whole = 1 << shape.bits_allocated
    if shape.signed and value >= whole // 2:
        return value - whole
    if not shape.signed and value < 0:
        return value + whole
    return value
