"""Cutting and scaling: the viewport of a rendered image (PS3.18 8.3.5.1.3)."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dicom.errors import BadRequest
from service.pixels.attributes import Attributes, functional_group
from service.pixels.colour import Image

LARGEST_SIDE = 8192
"""The most rows or columns that a viewport may ask for."""
LARGEST_AREA = 1 << 24
"""The most pixels that an image is scaled to."""

_ASPECT_RATIO = 0x00280034
_SPACINGS = (0x00280030, 0x00181164, 0x00182010)
_THINNEST = 1e-6  # of a region, in pixels: what is thinner holds nothing, and cannot be reckoned with
_PIXEL_MEASURES = 0x00289110
_SQUARE_WITHIN = 0.01
_STRANGEST_ASPECT = 10.0


@dataclass(frozen=True, slots=True)
class Region:
    """The part of the image that is wanted, from its upper left corner.

    In pixels, or, where `relative`, in parts of the image. `None` reaches to the far edge. A negative
    size flips the part.
    """

    x: float = 0.0
    y: float = 0.0
    width: float | None = None
    height: float | None = None
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Viewport:
    """The size that the part of the image is scaled to fit into, its shape kept; `None` is no bound."""

    width: int | None = None
    height: int | None = None
    region: Region = Region()


@dataclass(frozen=True, slots=True)
class Placement:
    """Which part of an image goes where: a box in pixels of the image, and the size it is scaled to."""

    x: float
    y: float
    width: float
    height: float
    columns: int
    rows: int
    flip_x: bool = False
    flip_y: bool = False

    def apply(self, image: Image) -> Image:
        """The part of `image`, scaled: by area average downwards, bilinearly upwards."""
        rows = _resample(image, self.y, self.height, self.rows)
        turned = np.ascontiguousarray(np.swapaxes(rows, 0, 1))
        placed = np.swapaxes(_resample(turned, self.x, self.width, self.columns), 0, 1)
        if self.flip_x:
            placed = placed[:, ::-1]
        if self.flip_y:
            placed = placed[::-1]
        if placed.dtype != np.uint8:
            placed = np.floor(placed + np.float32(0.5))
        return np.ascontiguousarray(placed, dtype=np.uint8)

    def within(self, rows: int, columns: int, *, of: tuple[int, int]) -> "Placement":
        """The same part where the image came in `rows` × `columns` instead of its own size `of`."""
        down, across = rows / of[0], columns / of[1]
        if down == across == 1:
            return self
        return replace(
            self, x=self.x * across, width=self.width * across, y=self.y * down, height=self.height * down
        )

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the image, in pixels from its upper left edge, lies in the result."""
        across = (x - self.x) * self.columns / self.width
        down = (y - self.y) * self.rows / self.height
        return (self.columns - across if self.flip_x else across, self.rows - down if self.flip_y else down)


def place(viewport: Viewport, rows: int, columns: int, aspect: float = 1.0) -> Placement:
    """How an image of `rows` × `columns` fills a viewport.

    `aspect` is the height of a pixel by its width; it counts where the image is scaled. `BadRequest` if
    the region lies outside of the image.
    """
    region = viewport.region
    x, width, flip_x = _span(region.x, region.width, columns, region.relative)
    y, height, flip_y = _span(region.y, region.height, rows, region.relative)
    if width < _THINNEST or height < _THINNEST:
        raise BadRequest("The region lies outside of the image.")
    if viewport.width is None and viewport.height is None:
        # Not scaled: whole pixels, those that the region touches.
        x, width = _whole(x, width, columns)
        y, height = _whole(y, height, rows)
        return Placement(x, y, width, height, int(width), int(height), flip_x, flip_y)
    shown = height * aspect
    scale = min(
        LARGEST_SIDE / max(width, shown) if viewport.width is None else viewport.width / width,
        LARGEST_SIDE / max(width, shown) if viewport.height is None else viewport.height / shown,
        (LARGEST_AREA / (width * shown)) ** 0.5,
    )
    size = [max(1, int(length * scale + 0.5)) for length in (width, shown)]
    return Placement(x, y, width, height, size[0], size[1], flip_x, flip_y)


def pixel_aspect(attributes: Attributes, frame: int = 1) -> float:
    """The height of a pixel by its width; 1 where it is square, about square, or not to be believed."""
    ratio = attributes.numbers(_ASPECT_RATIO)
    measures = functional_group(attributes, frame, _PIXEL_MEASURES)
    sources = [] if measures is None else [measures.numbers(_SPACINGS[0])]
    sources += [ratio, *(attributes.numbers(tag) for tag in _SPACINGS)]
    for pair in sources:
        if len(pair) == 2 and pair[0] > 0 and pair[1] > 0:
            aspect = pair[0] / pair[1]
            square = abs(aspect - 1.0) <= _SQUARE_WITHIN
            strange = not 1 / _STRANGEST_ASPECT <= aspect <= _STRANGEST_ASPECT
            return 1.0 if square or strange else aspect
    return 1.0


def _span(start: float, length: float | None, size: int, relative: bool) -> tuple[float, float, bool]:
    """Start and length of a region along one side, in pixels inside the image, and whether it is flipped."""
    scale = size if relative else 1
    first = start * scale
    wanted = size - first if length is None else length * scale
    end = min(first + abs(wanted), size)
    first = max(first, 0.0)
    return first, end - first, wanted < 0 if length is not None else False


def _whole(start: float, length: float, size: int) -> tuple[float, float]:
    first = int(start)
    return float(first), float(max(1, min(size, int(np.ceil(start + length))) - first))


def _resample(image: NDArray[Any], start: float, length: float, count: int) -> NDArray[Any]:
    """`count` rows made of the rows of `image` from `start` on."""
    step = length / count
    if step == 1.0 and start == int(start):
        return image[int(start) : int(start) + count]
    flat = image.reshape(image.shape[0], -1)
    made = _average(flat, start, step, count) if step > 1.0 else _interpolate(flat, start, step, count)
    return made.reshape(count, *image.shape[1:])


def _average(rows: NDArray[Any], start: float, step: float, count: int) -> NDArray[np.float32]:
    """Each row the average of `step` rows, the cut ones by what is left of them."""
    made = np.empty((count, rows.shape[1]), np.float32)
    sums = np.uint32 if rows.dtype == np.uint8 else np.float32
    for number in range(count):
        low, high = start + number * step, min(start + (number + 1) * step, len(rows))
        first = min(int(low), len(rows) - 1)
        last = max(int(np.ceil(high)), first + 1)
        total = made[number]
        total[:] = rows[first:last].sum(axis=0, dtype=sums)
        if low > first:
            total -= rows[first] * np.float32(low - first)
        if last > high:
            total -= rows[last - 1] * np.float32(last - high)
        total *= np.float32(1 / (high - low))
    return made


def _interpolate(rows: NDArray[Any], start: float, step: float, count: int) -> NDArray[np.float32]:
    """Each row between its two neighbours, by the distance of the pixels' centres."""
    centres = np.clip(start + (np.arange(count) + 0.5) * step - 0.5, 0, len(rows) - 1)
    before = centres.astype(np.intp)
    after = np.minimum(before + 1, len(rows) - 1)
    part = (centres - before).astype(np.float32)[:, None]
    made: NDArray[np.float32] = rows[before] * (1 - part) + rows[after] * part
    return made
