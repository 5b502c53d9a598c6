"""The way from stored pixels to a picture: grey or RGB of 8 bits (PS3.18 8.3.5, PS3.3 C.11, PS3.4 N.2).

Modality, value of interest, inversion; or palette; or YBR to RGB. Then cut and scaled; then annotated.
"""

from dataclasses import dataclass, replace

from service.dicom.errors import NotAcceptable
from service.pixels.annotation import Corner, burn
from service.pixels.asking import Asked
from service.pixels.attributes import Attributes
from service.pixels.captions import patient_lines, technique_lines
from service.pixels.colour import Image, is_supplemental, palette_of, supplemented, to_rgb
from service.pixels.frame import FrameShape, Pixels
from service.pixels.geometry import Placement, Region, Viewport, pixel_aspect, place
from service.pixels.presentation import State
from service.pixels.profiles import profile_of, with_profile
from service.pixels.voi import Function, Grey, Window, grey_of, occurring, to_grey

SEGMENTATION, LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"

_ROWS, _COLUMNS = 0x00280010, 0x00280011
_SEGMENTATION_TYPE, _MAXIMUM_FRACTIONAL_VALUE = 0x00620001, 0x0062000E
_SEGMENT_SEQUENCE, _SEGMENT_NUMBER = 0x00620002, 0x00620004
_COLOURS = frozenset(
    ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")
)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A rendered frame: rows × columns of grey, or rows × columns × 3, of 8 bits; its ICC profile, if any."""

    image: Image
    profile: bytes | None = None


def render(
    pixels: Pixels,
    attributes: Attributes,
    asked: Asked | None = None,
    *,
    frame: int = 1,
    state: State | None = None,
    span: tuple[float, float] | None = None,
) -> Picture:
    """The picture that is asked for of a frame, counted from 1.

    `state` is the presentation state to apply. `span` is the range of modality values to show where the
    image has no window, for frames that are shown together (`span_of`). The pixels may come in a reduced
    resolution where there is no state. `BadRequest` for a region outside of the image, `NotAcceptable`
    for pixels that have no picture.
    """
    asked = asked or Asked()
    if state is not None:
        image = _presented(state, pixels, attributes, frame, asked.viewport)
    else:
        image = picture_of(pixels, attributes, frame, asked.window, span)
        if asked.viewport is not None:
            image = _placed(image, attributes, frame, asked.viewport)
    profile = None
    if image.ndim == 3 and asked.profile != "no":
        profile = (profile_of(state.attributes) if state is not None else None) or profile_of(attributes)
    image, profile = with_profile(image, profile, asked.profile)
    lines = [
        (Corner.TOP_LEFT, patient_lines(attributes) if "patient" in asked.annotation else []),
        (Corner.BOTTOM_LEFT, technique_lines(attributes, frame) if "technique" in asked.annotation else []),
    ]
    for corner, text in lines:
        if text:
            image = burn(image, text, corner)
    return Picture(image, profile)


def picture_of(
    pixels: Pixels,
    attributes: Attributes,
    frame: int = 1,
    window: Window | None = None,
    span: tuple[float, float] | None = None,
) -> Image:
    """A frame in its own size as the image's attributes want it shown; `window` comes before theirs."""
    array, shape = pixels.array, pixels.shape
    if array.ndim == 3:
        if shape.photometric not in _COLOURS or array.shape[2] < 3:
            raise NotAcceptable("There is no picture of pixels of this photometric interpretation.")
        return to_rgb(pixels)
    if shape.photometric == "PALETTE COLOR":
        palette = palette_of(attributes, signed=shape.signed)
        if palette is not None:
            return palette.apply(array)
    grey = grey_for(attributes, shape, frame, window)
    levels = to_grey(array, grey if span is None or grey.span is not None else replace(grey, span=span))
    return supplemented(pixels, attributes, levels) if is_supplemental(attributes) else levels


def grey_for(attributes: Attributes, shape: FrameShape, frame: int, window: Window | None = None) -> Grey:
    """How a monochrome frame is shown; segments are white, or by their number, on black."""
    grey = grey_of(attributes, shape, frame, window)
    own = grey.voi if window is None and shape.floating else None
    if isinstance(own, Window) and own.function is Function.LINEAR:
        # LINEAR counts in whole numbers, for values between 0 and 1 it would be a threshold: writers of
        # floating point images mean LINEAR_EXACT.
        grey = replace(grey, voi=replace(own, function=Function.LINEAR_EXACT))
    if window is not None or attributes.text(0x00080016) not in (SEGMENTATION, LABEL_MAP):
        return grey
    top = 1.0
    if attributes.text(_SEGMENTATION_TYPE) == "FRACTIONAL":
        top = attributes.number(_MAXIMUM_FRACTIONAL_VALUE) or 255.0
    elif attributes.text(_SEGMENTATION_TYPE) == "LABELMAP":
        top = max(
            [item.number(_SEGMENT_NUMBER) or 0.0 for item in attributes.items(_SEGMENT_SEQUENCE)] + [1.0]
        )
    return Grey(span=(0.0, top), padding=grey.padding)


def span_of(pixels: Pixels, attributes: Attributes, frame: int = 1) -> tuple[float, float] | None:
    """The modality values in a frame that has no window; `None` where they do not decide how it is shown."""
    if pixels.array.ndim == 3 or pixels.shape.photometric == "PALETTE COLOR":
        return None
    grey = grey_for(attributes, pixels.shape, frame)
    return occurring(pixels.array, grey) if grey.voi is None and grey.span is None else None


def _presented(
    state: State, pixels: Pixels, attributes: Attributes, frame: int, viewport: Viewport | None
) -> Image:
    """A frame as a presentation state wants it; a region is one of the displayed area."""
    if viewport is None or viewport.region == Region():
        return state.picture(pixels, attributes, frame, viewport)
    image = state.picture(pixels, attributes, frame, None)
    return place(viewport, image.shape[0], image.shape[1]).apply(image)


def _placed(image: Image, attributes: Attributes, frame: int, viewport: Viewport) -> Image:
    rows, columns = image.shape[:2]
    own = (attributes.integer(_ROWS) or rows, attributes.integer(_COLUMNS) or columns)
    placement: Placement = place(viewport, *own, pixel_aspect(attributes, frame))
    return placement.within(rows, columns, of=own).apply(image)
