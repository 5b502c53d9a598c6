"""Pictures and pages developed from instances: the work that is done in the workshop (PS3.18 8.3.5).

It loads numpy and the codecs, which takes half a second: nothing that the start of the program needs
imports it.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from service.archive.port import Archive
from service.archive.showing import StoredStack, attributes_of, each_pixels, stored_pixels
from service.archive.transcoding import Steps
from service.dicom.errors import NotAcceptable, TooLarge
from service.dicom.record import Held
from service.pixels.asking import Asked
from service.pixels.attributes import Attributes
from service.pixels.codecs import encode_display
from service.pixels.codecs.display import CARRIES_PROFILE
from service.pixels.colour import is_supplemental
from service.pixels.frame import Pixels
from service.pixels.geometry import Viewport, pixel_aspect, place
from service.pixels.icons import Icon, icon, icon_for
from service.pixels.presentation import State
from service.pixels.profiles import with_profile
from service.pixels.render import Picture, render, span_of
from service.pixels.report import report_html, report_text, report_xml
from service.pixels.shelf import Shelf
from service.pixels.workshop import require_wanted
from service.web.renderable import ANIMATED, Kind, kind_of

MOST_ANIMATED_PIXELS = 32 << 20
"""The most pixels that the pictures of an animation have together."""
MOST_DECODED_PIXELS = 512 << 20
"""The most pixels that the frames of an animation have together before they are scaled."""
THUMBNAIL = Viewport(200, 200)
_THUMBNAIL_QUALITY = 80
_QUALITY = 90
_DELAY_MS = 100.0
_SLOWEST_RATE = 1e-3  # frames a second; slower ones are not meant
_FRAME_TIME, _FRAME_TIME_VECTOR = 0x00181063, 0x00181065
_DISPLAY_RATE, _CINE_RATE = 0x00082144, 0x00180040


@dataclass(frozen=True, slots=True)
class View:
    """What is to be shown: frames of an instance, as `asked`, in a media type.

    `state` is the presentation state to apply. `thumbnail` says that the frame may come in less
    resolution than it has, and that nothing is to be written into it. `among_others` says that it is one of
    many in an answer: what those are made of would push out what is asked for again.
    """

    held: Held
    frames: tuple[int, ...]
    media_type: str
    asked: Asked
    state: Held | None = None
    thumbnail: bool = False
    among_others: bool = False
    steps: Steps = field(default_factory=dict, compare=False)

    @property
    def key(self) -> tuple[object, ...]:
        """What the view shows, by content."""
        state = self.state.digest if self.state is not None else b""
        return ("view", self.held.digest, self.frames, self.media_type, self.asked, state, self.thumbnail)


def developed(archive: Archive, view: View, block_size: int, shelf: Shelf | None = None) -> bytes:
    """The file of a view: a picture, an animation, or an icon. `NotAcceptable` if there is none.

    What pictures of the same are made of lies on the `shelf`.
    """
    if view.thumbnail and kind_of(view.held) is not Kind.IMAGE:
        return _icon(view)
    attributes = attributes_of(archive, view.held, block_size, shelf)
    state = None
    if view.state is not None:
        stack = StoredStack(archive, view.held, block_size, view.steps)
        state = State(attributes_of(archive, view.state, block_size, shelf), stack)
    if len(view.frames) > 1:
        pictures = _animated(archive, view, attributes, block_size)
        return _encoded(view, pictures, _delay_ms(attributes))
    (number,) = view.frames
    reduced = _halvings(view, attributes) if view.thumbnail else 0
    # Thumbnails are asked for once, and states draw into the samples.
    samples = None if view.thumbnail or view.among_others or state is not None else shelf
    pixels = stored_pixels(archive, view.held, number, block_size, view.steps, reduced=reduced, shelf=samples)
    return _encoded(view, [_rendered(view, pixels, attributes, number, state=state)])


_WRITERS = {"text/html": report_html, "text/plain": report_text, "text/xml": report_xml}


def written(archive: Archive, held: Held, media_type: str, block_size: int, steps: Steps) -> bytes:
    """A structured report as a page, as XHTML or as plain text, in UTF-8."""
    begun = time.perf_counter()
    attributes = attributes_of(archive, held, block_size)
    read = time.perf_counter()
    page = _WRITERS[media_type](attributes).encode("utf-8", "replace")
    steps["read"], steps["render"] = read - begun, time.perf_counter() - read
    return page


def _icon(view: View) -> bytes:
    viewport = view.asked.viewport or THUMBNAIL
    kind = Icon.VIDEO if kind_of(view.held) is Kind.VIDEO else icon_for(view.held.sop_class)
    drawn = icon(kind, viewport.width or 1, viewport.height or 1)
    return encode_display(drawn, view.media_type, quality=_THUMBNAIL_QUALITY)


def _rendered(
    view: View,
    pixels: Pixels,
    attributes: Attributes,
    number: int,
    *,
    state: State | None = None,
    span: tuple[float, float] | None = None,
) -> Picture:
    begun = time.perf_counter()
    asked = view.asked
    if view.thumbnail and asked.viewport is None:
        asked = replace(asked, viewport=THUMBNAIL)
    picture = render(pixels, attributes, asked, frame=number, state=state, span=span)
    if picture.profile is not None and view.media_type not in CARRIES_PROFILE:
        picture = _plain(picture)
    view.steps["render"] = view.steps.get("render", 0.0) + time.perf_counter() - begun
    return picture


def _plain(picture: Picture) -> Picture:
    """The picture in the colours that a file without a profile is taken to have, where they are to be had."""
    try:
        image, _ = with_profile(picture.image, picture.profile, "srgb")
    except NotAcceptable:
        return Picture(picture.image)
    return Picture(image)


def _encoded(view: View, pictures: Sequence[Picture], delay_ms: float = _DELAY_MS) -> bytes:
    begun = time.perf_counter()
    file = encode_display(
        [picture.image for picture in pictures],
        view.media_type,
        quality=view.asked.quality or (_THUMBNAIL_QUALITY if view.thumbnail else _QUALITY),
        icc=pictures[0].profile,
        delay_ms=round(delay_ms),
    )
    view.steps["encode"] = time.perf_counter() - begun
    return file


def _halvings(view: View, attributes: Attributes) -> int:
    """How often rows and columns can be halved and still fill the viewport of a thumbnail.

    Of numbers of colours there is no average.
    """
    shape, viewport = view.held.shape, view.asked.viewport or THUMBNAIL
    assert shape is not None
    if shape.photometric == "PALETTE COLOR" or is_supplemental(attributes):
        return 0
    across = shape.columns / (viewport.width or shape.columns)
    down = shape.rows / (viewport.height or shape.rows)
    return max(int(max(across, down, 1.0)).bit_length() - 1, 0)


def _animated(archive: Archive, view: View, attributes: Attributes, block_size: int) -> list[Picture]:
    """The pictures of an animation, all of them shown over one range of values."""
    if view.media_type != ANIMATED:
        raise NotAcceptable(f"{view.media_type} holds one picture.", (ANIMATED,))
    _require_room(view, attributes)
    span: tuple[float, float] | None = None
    for number, pixels in zip(view.frames, _samples(archive, view, block_size), strict=True):
        own = span_of(pixels, attributes, number)
        if own is None:  # the image says itself how it is shown
            break
        span = own if span is None else (min(span[0], own[0]), max(span[1], own[1]))
    pictures: list[Picture] = []
    for number, pixels in zip(view.frames, _samples(archive, view, block_size), strict=True):
        pictures.append(_rendered(view, pixels, attributes, number, span=span))
    return pictures


def _samples(archive: Archive, view: View, block_size: int) -> Iterator[Pixels]:
    """The samples of all frames, as long as anybody waits for them."""
    for pixels in each_pixels(archive, view.held, view.frames, block_size, view.steps):
        require_wanted()
        yield pixels


def _require_room(view: View, attributes: Attributes) -> None:
    """`TooLarge` for an animation that would take more memory than one request may."""
    shape, count = view.held.shape, len(view.frames)
    assert shape is not None
    rows, columns = shape.rows, shape.columns
    if view.asked.viewport is not None:
        placed = place(view.asked.viewport, rows, columns, pixel_aspect(attributes, view.frames[0]))
        rows, columns = placed.rows, placed.columns
    decoded = count * shape.rows * shape.columns
    if count * rows * columns > MOST_ANIMATED_PIXELS or decoded > MOST_DECODED_PIXELS:
        raise TooLarge(
            f"An animation of {count} frames of {rows} × {columns} pixels is larger than the "
            f"{MOST_ANIMATED_PIXELS >> 20} million pixels that one may have: list fewer frames, or ask for a "
            "smaller viewport."
        )


def _delay_ms(attributes: Attributes) -> float:
    """How long each frame is shown (PS3.3 C.7.6.5): by its time, else by a rate."""
    time_ms = attributes.number(_FRAME_TIME)
    if time_ms is not None and time_ms > 0:
        return time_ms
    steps = [step for step in attributes.numbers(_FRAME_TIME_VECTOR)[1:] if step > 0]
    if steps:
        return sum(steps) / len(steps)
    for tag in (_DISPLAY_RATE, _CINE_RATE):
        rate = attributes.number(tag)
        if rate is not None and rate >= _SLOWEST_RATE:
            return 1000 / rate
    return _DELAY_MS
