"""Frames of stored instances in other transfer syntaxes: what is to be made, named by content."""

import time
from collections.abc import Buffer, Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from service.archive.reading import Content
from service.dicom.errors import NotAcceptable
from service.dicom.frames import PixelShape
from service.dicom.record import Held
from service.dicom.syntaxes import BY_UID, EXPLICIT_LE
from service.pixels.frame import frame_shape

if TYPE_CHECKING:
    from service.pixels.frame import Frame

Steps = MutableMapping[str, float]
"""Seconds by what they were spent on."""

MOST_FRAME_BYTES = 512 << 20
"""The most bytes of samples, or of a codestream, of a frame that is transcoded."""
QUALITY, NEAR = 90, 2
"""Of what is made with loss: 1 to 100, and the greatest error of a sample in JPEG-LS."""


@dataclass(frozen=True, slots=True)
class FrameJob:
    """One frame to be made: `key` names it by content, `size` is about its bytes in memory."""

    key: tuple[object, ...]
    make: Callable[[], "Frame"]
    size: int


def source_syntax(held: Held) -> str:
    """The transfer syntax that an instance's frames are in once they are read.

    Big endian words are turned on the way out of the archive, deflated data sets inflated.
    """
    return held.syntax if BY_UID[held.syntax].encapsulated else EXPLICIT_LE


def frame_bytes(shape: PixelShape) -> int:
    """The size of one frame's samples in memory."""
    return shape.rows * shape.columns * shape.samples * max(shape.bits_allocated, 8) // 8


def frame_jobs(
    held: Held, frames: Iterable[tuple[int, Content]], syntax: str, steps: Steps
) -> Iterator[FrameJob]:
    """A job for each frame, by number and content: it is read and made into `syntax`.

    `steps` is told what the seconds were spent on.
    """
    assert held.shape is not None and held.pixels is not None
    size = frame_bytes(held.shape)
    for number, content in frames:
        key = ("frame", held.digest, number, syntax, QUALITY, NEAR)
        read: Callable[[], Buffer] = partial(_read, content, steps)
        if BY_UID[held.syntax].deflated:
            # Inflating goes forward only, one frame after the other.
            read = partial(_given, read())
        yield FrameJob(key, partial(_made, held, read, syntax, steps), size)


def _given(payload: Buffer) -> Buffer:
    return payload


def _read(content: Content, steps: Steps) -> Buffer:
    begun = time.perf_counter()
    if content.bound is not None and content.bound > MOST_FRAME_BYTES:
        raise NotAcceptable("The frame is larger than any that is transcoded here.")
    blocks = list(content.blocks())
    payload = blocks[0] if len(blocks) == 1 else b"".join(blocks)
    steps["read"] = steps.get("read", 0.0) + time.perf_counter() - begun
    return payload


def _made(held: Held, read: Callable[[], Buffer], syntax: str, steps: Steps) -> "Frame":
    # The codecs take half a second to load, which the start of the program need not wait for.
    from service.pixels.frame import Frame
    from service.pixels.transcode import transcode

    assert held.shape is not None and held.pixels is not None
    frame = Frame(read(), source_syntax(held), frame_shape(held.shape, held.pixels.tag))
    try:
        return transcode(frame, syntax, quality=QUALITY, near=NEAR, steps=steps)
    except MemoryError as cause:
        raise NotAcceptable("The frame takes more memory to transcode than there is.") from cause
