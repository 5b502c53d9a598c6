"""Softcopy presentation states: how somebody wanted an image to be shown (PS3.3 A.33, PS3.4 annex N)."""

from dataclasses import dataclass, replace

import numpy as np

from service.dicom.errors import NotAcceptable, Undecodable
from service.pixels.attributes import Attributes
from service.pixels.colour import Image, is_supplemental, palette_of, supplemented, to_rgb
from service.pixels.drawing import Mask
from service.pixels.embedded import embedded_overlays, keeps_all_bits
from service.pixels.frame import FrameShape, Pixels
from service.pixels.geometry import LARGEST_AREA, LARGEST_SIDE, Placement, Viewport, place
from service.pixels.graphics import Surface, draw_annotations
from service.pixels.lookup import Lookup, read_lookup
from service.pixels.overlays import Overlay, overlays_of
from service.pixels.references import applies, lab_to_rgb
from service.pixels.shutters import PRESENTATION_VALUE, hidden_by
from service.pixels.stack import Stack
from service.pixels.subtraction import is_subtracted, require_logarithmic, subtraction_of
from service.pixels.voi import (
    MODALITY_LUT_SEQUENCE,
    PRESENTATION_LUT_SHAPE,
    VOI_LUT_SEQUENCE,
    Grey,
    Rescale,
    Values,
    Window,
    may_be_negative,
    rescale_of,
    to_grey,
    whole_span,
    window_of,
)

GREYSCALE = "1.2.840.10008.5.1.4.1.1.11.1"
COLOUR = "1.2.840.10008.5.1.4.1.1.11.2"
PSEUDO_COLOUR = "1.2.840.10008.5.1.4.1.1.11.3"
APPLIED = frozenset((GREYSCALE, COLOUR, PSEUDO_COLOUR))
"""The SOP classes of the presentation states that can be applied."""

_SOFTCOPY_VOI_LUT_SEQUENCE, _PRESENTATION_LUT_SEQUENCE = 0x00283110, 0x20500010
_DISPLAYED_AREA_SEQUENCE = 0x0070005A
_FLIP, _ROTATION = 0x00700041, 0x00700042
_TOP_LEFT, _BOTTOM_RIGHT = 0x00700052, 0x00700053
_SIZE_MODE, _SPACING, _ASPECT, _MAGNIFICATION = 0x00700100, 0x00700101, 0x00700102, 0x00700103
_SHUTTER_COLOUR = 0x00181624
_LAYER_SEQUENCE, _LAYER, _LAYER_ORDER = 0x00700060, 0x00700002, 0x00700062
_LAYER_GREY, _LAYER_COLOUR = 0x00700066, 0x00700401


@dataclass(frozen=True, slots=True)
class State:
    """A presentation state, by its attributes. `NotAcceptable` for a class that is not in `APPLIED`.

    `stack` are the frames of the image that it is applied to, which some states need more than one of.
    """

    attributes: Attributes
    stack: Stack | None = None

    def __post_init__(self) -> None:
        if self.attributes.text(0x00080016) not in APPLIED:
            raise NotAcceptable("Presentation states of this class are not rendered.")

    def picture(self, pixels: Pixels, image: Attributes, frame: int, viewport: Viewport | None) -> Image:
        """A frame, counted from 1, of a referenced image as the state wants it shown.

        Without a viewport one pixel of the displayed area is one of the picture, or as many as the state
        magnifies it to. Of a viewport the size counts.
        """
        toned = self._toned(pixels, image, frame)
        rows, columns = toned.shape[:2]
        layers = self._layers(toned.ndim == 3)
        for overlay, value in self._active_overlays(image, layers):
            toned[self._mask(overlay, image, rows, columns, frame)] = value
        hidden = hidden_by(self.attributes, rows, columns)
        if hidden is not None:
            toned[hidden] = self._shutter_value(toned.ndim == 3)
        turn = (self.attributes.integer(_ROTATION) or 0) // 90 % 4
        flip = self.attributes.text(_FLIP) == "Y"
        placement = self._placement(image, frame, rows, columns, viewport, turned=turn % 2 == 1)
        placed = _cut(toned, placement)
        oriented = np.ascontiguousarray(_oriented(placed, turn, flip))
        surface = Surface(oriented, placement, turn, flip)
        draw_annotations(surface, self.attributes, image, frame, layers)
        return oriented

    def _toned(self, pixels: Pixels, image: Attributes, frame: int) -> Image:
        """The image in its own size, its values as the state maps them."""
        shape, kind = pixels.shape, self.attributes.text(0x00080016)
        coloured, numbered = is_supplemental(image), shape.photometric == "PALETTE COLOR"
        if coloured and kind == COLOUR:
            raise NotAcceptable("Color presentation states are not for images that are grey in part.")
        own_colours = kind == COLOUR or pixels.array.ndim == 3 or numbered
        if is_subtracted(self.attributes) and (own_colours or coloured):
            raise NotAcceptable("The presentation state subtracts frames, which is for grey images.")
        if own_colours:
            palette = palette_of(image, signed=shape.signed) if numbered else None
            if pixels.array.ndim == 3:
                return to_rgb(pixels).copy()
            if palette is not None:
                return palette.apply(pixels.array)
        levels = self._levels(pixels, image, frame)
        if kind == PSEUDO_COLOUR:
            palette = palette_of(self.attributes)
            if palette is not None:
                top = len(palette.colours) - 1
                return replace(palette, first=0).apply((levels.astype(np.uint32) * top + 127) // 255)
        # The palette's values are as they are, whatever is done to the grey ones (PS3.4 N.2).
        return supplemented(pixels, image, levels) if coloured and kind == GREYSCALE else levels

    def _levels(self, pixels: Pixels, image: Attributes, frame: int) -> Image:
        """The grey levels of a frame; what is subtracted is so behind the modality LUT (PS3.4 N.2.1.2)."""
        grey = self._grey(image, pixels.shape, frame)
        if not is_subtracted(self.attributes):
            return to_grey(pixels.array, grey)
        if self.stack is None:
            raise NotAcceptable("The presentation state subtracts frames that are not at hand.")
        identity = isinstance(grey.modality, Rescale) and grey.modality == Rescale()
        require_logarithmic(image, transformed=not identity)
        stack, subtraction = self.stack, subtraction_of(self.attributes, frame, self.stack.count)
        if subtraction is None:
            return to_grey(pixels.array, grey)

        def values(number: int) -> Values:
            array = pixels.array if number == frame else stack.pixels(number).array
            return grey.modality_values(array.astype(np.float64))

        low, high = grey.span or (0.0, 0.0)
        subtracted = replace(grey, modality=Rescale(), span=(low - high, high - low))
        return to_grey(subtraction.of(values), subtracted)

    def _mask(self, overlay: Overlay, image: Attributes, rows: int, columns: int, frame: int) -> Mask:
        """The bits of an overlay, also of one in bits of the stored pixels themselves."""
        if not overlay.has_data and self.stack is not None:
            inside = [one for one in embedded_overlays(image) if one.group == overlay.group]
            stored = self.stack.stored(frame) if inside else None
            if stored is not None and keeps_all_bits(stored.syntax):
                try:
                    plane = inside[0].plane(stored)
                except Undecodable as cause:
                    raise NotAcceptable("The overlay in the image's pixels cannot be read.") from cause
                if plane.shape == (rows, columns):
                    return plane
        return overlay.mask(rows, columns, frame)

    def _grey(self, image: Attributes, shape: FrameShape, frame: int) -> Grey:
        """The state's own chain: what it does not name is identity, whatever the image says (PS3.4 N.2.1)."""
        lut = self.attributes.item(MODALITY_LUT_SEQUENCE)
        modality: Rescale | Lookup | None = None if lut is None else read_lookup(lut, signed=shape.signed)
        modality = modality or rescale_of(self.attributes)
        voi: Window | Lookup | None = None
        for item in self.attributes.items(_SOFTCOPY_VOI_LUT_SEQUENCE):
            if applies(item, image, frame):
                table = item.item(VOI_LUT_SEQUENCE)
                negative = may_be_negative(modality, shape) or is_subtracted(self.attributes)
                voi = window_of(item) or (None if table is None else read_lookup(table, signed=negative))
                break
        shown = self.attributes.item(_PRESENTATION_LUT_SEQUENCE)
        return Grey(
            modality=modality,
            voi=voi,
            presentation=None if shown is None else read_lookup(shown, signed=False),
            inverted=self.attributes.text(PRESENTATION_LUT_SHAPE) == "INVERSE",
            span=whole_span(modality, shape),
        )

    def _layers(self, coloured: bool) -> dict[str, int | tuple[int, int, int]]:
        """What each graphic layer is drawn with, in the order the layers are drawn."""
        items = self.attributes.items(_LAYER_SEQUENCE)
        items.sort(key=lambda item: item.integer(_LAYER_ORDER) or 0)
        layers: dict[str, int | tuple[int, int, int]] = {}
        for item in items:
            lab, grey = item.numbers(_LAYER_COLOUR), item.integer(_LAYER_GREY)
            level = 255 if grey is None else min(max(grey, 0), 0xFFFF) >> 8
            layers[item.text(_LAYER)] = lab_to_rgb(lab) if coloured and len(lab) == 3 else level
        return layers

    def _active_overlays(
        self, image: Attributes, layers: dict[str, int | tuple[int, int, int]]
    ) -> list[tuple[Overlay, int | tuple[int, int, int]]]:
        """The overlays in a graphic layer, and what they are drawn with, in the layers' order.

        The bits are the state's own where it has any for the group, else the image's (PS3.3 C.11.7).
        """
        order = list(layers)
        active = [one for one in overlays_of(self.attributes) if one.layer in layers]
        active.sort(key=lambda one: order.index(one.layer))
        return [(one if one.has_data else Overlay(one.group, image), layers[one.layer]) for one in active]

    def _shutter_value(self, coloured: bool) -> int | tuple[int, int, int]:
        lab = self.attributes.numbers(_SHUTTER_COLOUR)
        if coloured and len(lab) == 3:
            return lab_to_rgb(lab)
        return min(max(self.attributes.integer(PRESENTATION_VALUE) or 0, 0), 0xFFFF) >> 8

    def _placement(
        self,
        image: Attributes,
        frame: int,
        rows: int,
        columns: int,
        viewport: Viewport | None,
        *,
        turned: bool,
    ) -> Placement:
        """The displayed area, before the image is turned (PS3.3 C.10.4)."""
        items = self.attributes.items(_DISPLAYED_AREA_SEQUENCE)
        item = next((one for one in items if applies(one, image, frame)), Attributes({}))
        corners = item.numbers(_TOP_LEFT) + item.numbers(_BOTTOM_RIGHT)
        if len(corners) != 4:
            corners = [1, 1, columns, rows]
        # The corners are those of the turned image: either may be the lower one in the image itself.
        left, right = sorted((corners[0], corners[2]))
        upper, lower = sorted((corners[1], corners[3]))
        width = min(right - left + 1, float(LARGEST_SIDE))
        height = min(lower - upper + 1, float(LARGEST_SIDE))
        aspect = _aspect(item)
        bounds = viewport or _natural(item, width, height, aspect, turned)
        if turned:
            bounds = Viewport(bounds.height, bounds.width)
        inside = place(Viewport(bounds.width, bounds.height), int(height), int(width), aspect)
        return replace(inside, x=left - 1, y=upper - 1, width=width, height=height)


def _natural(item: Attributes, width: float, height: float, aspect: float, turned: bool) -> Viewport:
    """The size of the displayed area itself, its pixels made square, magnified where the state says so."""
    factor = item.number(_MAGNIFICATION) if item.text(_SIZE_MODE) == "MAGNIFY" else None
    scale = factor if factor is not None and factor > 0 else 1.0
    across, down = (width, height * aspect) if aspect >= 1 else (width / aspect, height)
    scale = min(scale, LARGEST_SIDE / max(across, down), (LARGEST_AREA / (across * down)) ** 0.5)
    size = max(1, int(across * scale + 0.5)), max(1, int(down * scale + 0.5))
    return Viewport(*(reversed(size) if turned else size))


def _aspect(item: Attributes) -> float:
    """The height of a pixel by its width."""
    for tag in (_SPACING, _ASPECT):
        pair = item.numbers(tag)
        if len(pair) == 2 and pair[0] > 0 and pair[1] > 0:
            return min(max(pair[0] / pair[1], 0.1), 10.0)
    return 1.0


def _cut(image: Image, placement: Placement) -> Image:
    """The displayed area of an image, scaled; what reaches beyond the image is black."""
    rows, columns = image.shape[:2]
    left, top = max(0, int(-placement.x)), max(0, int(-placement.y))
    right = max(0, int(placement.x + placement.width) - columns)
    bottom = max(0, int(placement.y + placement.height) - rows)
    if not any((left, top, right, bottom)):
        return placement.apply(image)
    x, y = max(int(placement.x), 0), max(int(placement.y), 0)
    part = image[y : int(placement.y + placement.height), x : int(placement.x + placement.width)]
    framed = np.zeros((int(placement.height), int(placement.width), *image.shape[2:]), np.uint8)
    if part.size:
        framed[top : top + part.shape[0], left : left + part.shape[1]] = part
    return replace(placement, x=0.0, y=0.0).apply(framed)


def _oriented(image: Image, turn: int, flip: bool) -> Image:
    """`image` turned clockwise by quarters, then flipped left to right (PS3.3 C.10.6)."""
    turned = np.rot90(image, -turn)
    return turned[:, ::-1] if flip else turned
