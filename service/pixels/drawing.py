"""Lines and areas on a grid of pixels, as masks; coordinates are (x, y) from the upper left edge."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
Mask = NDArray[np.bool_]

_MOST_POINTS = 100_000
_FINE = 0.5
_FAR = 1e7


def outline(points: Sequence[Point], rows: int, columns: int, width: int = 1) -> Mask:
    """The straight lines from point to point, `width` pixels wide; one point is a dot."""
    mask = np.zeros((rows, columns), np.bool_)
    reach = width + 1.0
    if len(points) == 1:
        _dots(mask, np.asarray([points[0]]), width)
    for start, end in itertools.pairwise(points):
        ends = _clipped(start, end, -reach, -reach, columns + reach, rows + reach)
        if ends is None:
            continue
        (x0, y0), (x1, y1) = ends
        steps = int(math.hypot(x1 - x0, y1 - y0) / _FINE) + 2
        _dots(mask, np.stack([np.linspace(x0, x1, steps), np.linspace(y0, y1, steps)], axis=1), width)
    return mask


def area(points: Sequence[Point], rows: int, columns: int) -> Mask:
    """The pixels whose centres lie inside of a closed polygon, by the even-odd rule."""
    mask = np.zeros((rows, columns), np.bool_)
    if len(points) < 3:
        return mask
    corners = np.nan_to_num(np.asarray(points, np.float64)).clip(-_FAR, _FAR)
    x0, y0 = corners[:, 0], corners[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    centres = np.arange(columns) + 0.5
    first = max(0, int(min(max(y0.min() - 1, 0), rows)))
    last = min(rows, int(min(max(y0.max() + 1, 0), rows)))
    for row in range(first, last):
        crossing = (y0 <= row + 0.5) != (y1 <= row + 0.5)
        slope = (x1 - x0)[crossing] / (y1 - y0)[crossing]
        edges = np.sort(x0[crossing] + (row + 0.5 - y0[crossing]) * slope)
        mask[row] = np.searchsorted(edges, centres) % 2 == 1
    return mask


def disc(center: Point, radius: float, rows: int, columns: int) -> Mask:
    """The pixels whose centres lie inside of a circle."""
    across = np.arange(columns)[None, :] + 0.5 - center[0]
    down = np.arange(rows)[:, None] + 0.5 - center[1]
    return across * across + down * down <= radius * radius


def ellipse(major: tuple[Point, Point], minor: tuple[Point, Point]) -> list[Point]:
    """The points of an ellipse by the ends of its axes."""
    (ax, ay), (bx, by) = major
    (cx, cy), (dx, dy) = minor
    x, y = (ax + bx) / 2, (ay + by) / 2
    long, short = ((bx - ax) / 2, (by - ay) / 2), ((dx - cx) / 2, (dy - cy) / 2)
    turns = np.linspace(0, 2 * math.pi, 181)
    return [
        (
            x + long[0] * math.cos(turn) + short[0] * math.sin(turn),
            y + long[1] * math.cos(turn) + short[1] * math.sin(turn),
        )
        for turn in turns.tolist()
    ]


def circle(center: Point, rim: Point) -> list[Point]:
    """The points of a circle by its centre and a point on it."""
    x, y = center
    across, down = rim[0] - x, rim[1] - y
    return ellipse(
        ((x - across, y - down), (x + across, y + down)), ((x + down, y - across), (x - down, y + across))
    )


def smooth(points: Sequence[Point]) -> list[Point]:
    """The points of a smooth curve through all the points given (a Catmull-Rom spline)."""
    if len(points) < 3 or len(points) > _MOST_POINTS // 16:
        return list(points)
    closed = points[0] == points[-1]
    knots = [points[-2] if closed else points[0], *points, points[1] if closed else points[-1]]
    control = np.asarray(knots, np.float64)
    part = (np.arange(16) / 16)[:, None]
    curve: list[Point] = []
    for place in range(len(points) - 1):
        a, b, c, d = control[place : place + 4]
        bend = (2 * a - 5 * b + 4 * c - d) * part**2 + (3 * b - a - 3 * c + d) * part**3
        curve += [(float(x), float(y)) for x, y in 0.5 * (2 * b + (c - a) * part + bend)]
    return [*curve, points[-1]]


def _dots(mask: Mask, points: NDArray[np.float64], width: int) -> None:
    rows, columns = mask.shape
    points = points[np.isfinite(points).all(axis=1)].clip(-_FAR, _FAR)
    for down in range(width):
        for across in range(width):
            x = np.floor(points[:, 0] + across - (width - 1) / 2).astype(np.int64)
            y = np.floor(points[:, 1] + down - (width - 1) / 2).astype(np.int64)
            inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
            mask[y[inside], x[inside]] = True


def _clipped(
    start: Point, end: Point, left: float, top: float, right: float, bottom: float
) -> tuple[Point, Point] | None:
    """The part of a line inside of a box; `None` if there is none, or a coordinate is no number."""
    if not all(map(math.isfinite, (*start, *end))):
        return None
    x0, y0, x1, y1 = (min(max(number, -_FAR), _FAR) for number in (*start, *end))
    enter, leave = 0.0, 1.0
    for step, low, high in ((x1 - x0, left - x0, right - x0), (y1 - y0, top - y0, bottom - y0)):
        if step == 0:
            if low > 0 or high < 0:
                return None
            continue
        ends = sorted((low / step, high / step))
        enter, leave = max(enter, ends[0]), min(leave, ends[1])
    if enter > leave:
        return None
    return (x0 + (x1 - x0) * enter, y0 + (y1 - y0) * enter), (x0 + (x1 - x0) * leave, y0 + (y1 - y0) * leave)
