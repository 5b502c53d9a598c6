"""Overlays in the unused bits of pixels, as old data sets have them (retired: PS3.3-2004 C.9.2.1.2).

Native syntaxes keep these bits. Codecs cannot, so the planes move to Overlay Data of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from service.dicom.errors import Undecodable
from service.dicom.syntaxes import BY_UID, ENCAPSULATED_UNCOMPRESSED, EXPLICIT_BE, ROOT
from service.pixels.attributes import Attributes
from service.pixels.changes import Change, shape_of
from service.pixels.codecs import decode
from service.pixels.frame import Frame, FrameShape
from service.pixels.native import pack

Plane = NDArray[np.bool_]
"""Rows × columns."""

# What packs bytes, and knows nothing of Bits Stored: RLE, Deflated Image Frame.
_KEEP_ALL_BITS = (ROOT + ".5", ROOT + ".8.1", ENCAPSULATED_UNCOMPRESSED)
_GROUPS = range(0x6000, 0x6020, 2)
_FRAMES, _BITS_ALLOCATED, _BIT_POSITION, _DATA = 0x0015, 0x0100, 0x0102, 0x3000


@dataclass(frozen=True, slots=True)
class EmbeddedOverlay:
    """The overlay of a group, in one bit of each stored pixel."""

    group: int
    bit: int

    def plane(self, frame: Frame) -> Plane:
        """The overlay over a frame of one sample a pixel, of 8 to 32 bits, every one of which is kept."""
        shape = frame.shape
        if BY_UID[frame.syntax].encapsulated:
            frame = pack(decode(replace(frame, shape=_whole_words(shape))))
        data = np.frombuffer(frame.payload, np.uint8)
        if shape.bits_allocated not in (8, 16, 32) or len(data) < shape.native_bytes:
            raise Undecodable("The frame is too short for its shape.")
        order = ">" if frame.syntax == EXPLICIT_BE else "<"
        words = data[: shape.native_bytes].view(f"{order}u{shape.bits_allocated // 8}")
        lit: Plane = (words.reshape(shape.rows, shape.columns) >> self.bit & 1).astype(np.bool_)
        return lit


def embedded_overlays(attributes: Attributes) -> tuple[EmbeddedOverlay, ...]:
    """The overlays without data of their own whose bit is one that pixels do not use."""
    shape = shape_of(attributes)
    if shape.samples != 1 or shape.floating:
        return ()
    used = range(shape.high_bit + 1 - shape.bits_stored, shape.high_bit + 1)
    found = []
    for group in _GROUPS:
        bit = attributes.integer(group << 16 | _BIT_POSITION)
        allocated = attributes.integer(group << 16 | _BITS_ALLOCATED)
        if bit is None or allocated != shape.bits_allocated or group << 16 | _DATA in attributes:
            continue
        if bit not in used and 0 <= bit < allocated:
            found.append(EmbeddedOverlay(group, bit))
    return tuple(found)


def keeps_all_bits(syntax: str) -> bool:
    """Whether frames in a transfer syntax hold the bits that pixels do not use."""
    return not BY_UID[syntax].encapsulated or syntax in _KEEP_ALL_BITS


def _whole_words(shape: FrameShape) -> FrameShape:
    """A shape in which every bit allocated is one of the pixel."""
    bits = shape.bits_allocated
    return shape.becoming(bits_stored=bits, high_bit=bits - 1, signed=False, photometric="MONOCHROME2")


def extracted(planes: Mapping[EmbeddedOverlay, Sequence[Plane]]) -> dict[int, Change]:
    """The attributes of overlays with data of their own: a plane for each frame (PS3.3 C.9.2.1)."""
    changed: dict[int, Change] = {}
    for overlay, frames in planes.items():
        element = overlay.group << 16
        packed = np.packbits(np.stack(list(frames)).reshape(-1), bitorder="little").tobytes()
        changed[element | _BITS_ALLOCATED] = ("US", [1])
        changed[element | _BIT_POSITION] = ("US", [0])
        changed[element | _DATA] = ("OW", [packed + b"\0" * (len(packed) % 2)])
        if len(frames) > 1:
            changed[element | _FRAMES] = ("IS", [len(frames)])
    return changed
