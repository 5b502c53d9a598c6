"""The graphic and text objects of a presentation state, drawn into the picture (PS3.3 C.10.5)."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.pixels.annotation import stamp
from service.pixels.attributes import Attributes
from service.pixels.colour import Image
from service.pixels.drawing import Mask, Point, area, circle, ellipse, outline, smooth
from service.pixels.geometry import Placement
from service.pixels.glyphs import CELL_COLUMNS, CELL_ROWS, drawn
from service.pixels.references import applies

Ink = int | tuple[int, int, int]

_ANNOTATION_SEQUENCE, _LAYER = 0x00700001, 0x00700002
_TEXT_SEQUENCE, _TEXT = 0x00700008, 0x00700006
_BOX_UNITS, _BOX_TOP_LEFT, _BOX_BOTTOM_RIGHT, _JUSTIFICATION = 0x00700003, 0x00700010, 0x00700011, 0x00700012
_ANCHOR_UNITS, _ANCHOR, _ANCHOR_VISIBLE = 0x00700004, 0x00700014, 0x00700015
_GRAPHIC_SEQUENCE, _UNITS, _DATA, _TYPE, _FILLED = 0x00700009, 0x00700005, 0x00700022, 0x00700023, 0x00700024

_MOST_NUMBERS = 20_000
_MOST_OBJECTS = 500
_LINES_PER_PICTURE = 512
_TEXT_PER_PICTURE = 384


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """The picture to draw on, and the way to it: the part of the image, then the turn, then the flip."""

    image: Image
    placement: Placement
    turn: int
    flip: bool

    @property
    def rows(self) -> int:
        return int(self.image.shape[0])

    @property
    def columns(self) -> int:
        return int(self.image.shape[1])

    @property
    def line_width(self) -> int:
        return max(1, min(self.rows, self.columns) // _LINES_PER_PICTURE)

    @property
    def text_scale(self) -> int:
        return max(1, min(self.rows, self.columns) // _TEXT_PER_PICTURE)

    def point(self, x: float, y: float, units: str) -> Point:
        """Where a point lies in the picture: of DISPLAY in parts of it, else in pixels of the image."""
        if units == "DISPLAY":
            return x * self.columns, y * self.rows
        across, down = self.placement.point(x, y)
        wide, high = self.placement.columns, self.placement.rows
        for _ in range(self.turn):  # a quarter clockwise: what was the bottom is at the left
            across, down, wide, high = high - down, across, high, wide
        return (wide - across if self.flip else across), down

    def ink(self, mask: Mask, value: Ink) -> None:
        self.image[mask] = value


def draw_annotations(
    surface: Surface, state: Attributes, image: Attributes, frame: int, layers: Mapping[str, Ink]
) -> None:
    """Draw the annotations of a frame, counted from 1, layer by layer; without a layer in white, first.

    Of more objects than anybody could tell apart, the first ones are drawn.
    """
    annotations = [one for one in state.items(_ANNOTATION_SEQUENCE) if applies(one, image, frame)]
    order = {layer: place for place, layer in enumerate(layers, start=1)}
    annotations.sort(key=lambda one: order.get(one.text(_LAYER), 0))
    left = _MOST_OBJECTS
    for annotation in annotations:
        value = layers.get(annotation.text(_LAYER), 255)
        graphics, texts = annotation.items(_GRAPHIC_SEQUENCE), annotation.items(_TEXT_SEQUENCE)
        for graphic in graphics[:left]:
            _draw_graphic(surface, graphic, value)
        for text in texts[:left]:
            _draw_text(surface, text, value)
        left = max(left - len(graphics) - len(texts), 0)


def _draw_graphic(surface: Surface, graphic: Attributes, value: Ink) -> None:
    numbers = graphic.numbers(_DATA)[:_MOST_NUMBERS]
    units, kind = graphic.text(_UNITS), graphic.text(_TYPE)
    points = [surface.point(x, y, units) for x, y in zip(numbers[::2], numbers[1::2], strict=False)]
    if not points:
        return
    if kind == "POINT":
        _draw_cross(surface, points[0], value)
        return
    if kind == "CIRCLE" and len(points) == 2:
        points = circle(points[0], points[1])
    elif kind == "ELLIPSE" and len(points) == 4:
        points = ellipse((points[0], points[1]), (points[2], points[3]))
    elif kind == "INTERPOLATED":
        points = smooth(points)
    surface.ink(outline(points, surface.rows, surface.columns, surface.line_width), value)
    if graphic.text(_FILLED) == "Y":
        surface.ink(area(points, surface.rows, surface.columns), value)


def _draw_cross(surface: Surface, center: Point, value: Ink) -> None:
    (x, y), reach = center, 3 * surface.line_width
    for line in (((x - reach, y), (x + reach, y)), ((x, y - reach), (x, y + reach))):
        surface.ink(outline(line, surface.rows, surface.columns, surface.line_width), value)


def _draw_text(surface: Surface, text: Attributes, value: Ink) -> None:
    """The text in its box, or beside its anchor; a visible anchor is joined to the box by a line."""
    lines = [line.rstrip() for line in text.text(_TEXT).replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    scale = surface.text_scale
    lines = [line[: surface.columns // (CELL_COLUMNS * scale) + 1] for line in lines]
    lines = lines[: surface.rows // (CELL_ROWS * scale) + 1]
    width, height = max(map(len, lines)) * CELL_COLUMNS * scale, len(lines) * CELL_ROWS * scale
    corners = text.numbers(_BOX_TOP_LEFT) + text.numbers(_BOX_BOTTOM_RIGHT)
    anchor = text.numbers(_ANCHOR)
    at = surface.point(anchor[0], anchor[1], text.text(_ANCHOR_UNITS)) if len(anchor) == 2 else None
    justified = text.text(_JUSTIFICATION)
    if len(corners) == 4:
        units = text.text(_BOX_UNITS)
        one, two = surface.point(corners[0], corners[1], units), surface.point(corners[2], corners[3], units)
        left, right = sorted((one[0], two[0]))
        top = min(one[1], two[1])
        left += {"CENTER": (right - left - width) / 2, "RIGHT": right - left - width}.get(justified, 0.0)
    elif at is not None:
        left, top = at[0] + 4 * scale, at[1] - height / 2
    else:
        return
    # Text that would start outside is moved in: it is there to be read.
    left = max(0.0, min(left, surface.columns - width))
    top = max(0.0, min(top, surface.rows - height))
    if at is not None and text.text(_ANCHOR_VISIBLE) == "Y":
        near = (min(max(at[0], left), left + width), min(max(at[1], top), top + height))
        surface.ink(outline((at, near), surface.rows, surface.columns, surface.line_width), value)
    for number, line in enumerate(lines):
        stamp(
            surface.image, drawn(line, scale), int(top) + number * CELL_ROWS * scale, int(left), scale, value
        )
