"""A frame in one transfer syntax, made into the same frame in another."""

import time
from collections.abc import MutableMapping

import numpy as np

from service.dicom.errors import NotAcceptable
from service.dicom.syntaxes import ENCAPSULATED_UNCOMPRESSED, EXPLICIT_LE, ROOT
from service.pixels import native
from service.pixels.codecs import decode, deflated, encode, inflated, recompressed, restored
from service.pixels.colour import to_rgb
from service.pixels.frame import Frame, FrameShape, Pixels, Samples
from service.pixels.plan import Act, plan

_RLE = ROOT + ".5"
_DEFLATED_FRAME = ROOT + ".8.1"
_JPEG_BASELINE, _JPEG_XL_RECOMPRESSION = ROOT + ".4.50", ROOT + ".4.111"
_CARRIERS = frozenset((EXPLICIT_LE, ENCAPSULATED_UNCOMPRESSED, _DEFLATED_FRAME))
# Whose samples leave as RGB, colour by pixel, whatever the stored Planar Configuration says.
_BECOME_RGB = frozenset(("YBR_FULL_422", "YBR_RCT", "YBR_ICT", "YBR_PARTIAL_420", "XYB"))


def transcode(
    frame: Frame,
    syntax: str,
    *,
    quality: int = 90,
    near: int = 2,
    steps: MutableMapping[str, float] | None = None,
) -> Frame:
    """`frame` in the transfer syntax, whose shape says what became of colours, planes and bits.

    Decoded frames are in the colours that a viewer expects who knows the stored metadata and the part's
    transfer syntax: YBR_FULL and the stored Planar Configuration stay, subsampled and transformed
    colours become RGB by pixel. `steps` is given the seconds spent under "decode" and "encode".
    `NotAcceptable` where the plan refuses, `Undecodable` if the payload is damaged.
    """
    decision = plan(frame.syntax, frame.shape, syntax)
    match decision.act:
        case Act.PASS:
            return frame
        case Act.REFUSE:
            raise NotAcceptable(decision.reason)
        case Act.REWRAP:
            return _rewrapped(frame, syntax)
    started = time.perf_counter()
    pixels = decode(frame)
    decoded = time.perf_counter()
    made = _encoded(pixels, frame.shape, syntax, quality, near)
    if steps is not None:
        steps["decode"] = steps.get("decode", 0.0) + decoded - started
        steps["encode"] = steps.get("encode", 0.0) + time.perf_counter() - decoded
    return made


def _rewrapped(frame: Frame, syntax: str) -> Frame:
    """The same samples, of which every bit is kept."""
    if (frame.syntax, syntax) == (_JPEG_BASELINE, _JPEG_XL_RECOMPRESSION):
        return recompressed(frame)
    if (frame.syntax, syntax) == (_JPEG_XL_RECOMPRESSION, _JPEG_BASELINE):
        return restored(frame)
    carried = frame
    if frame.syntax == _DEFLATED_FRAME:
        carried = inflated(frame)
    elif syntax in _CARRIERS:
        carried = native.rewrap(frame)
    if syntax == _DEFLATED_FRAME:
        return deflated(carried)
    # Of its own: the stored one may be a part of what was read at once, all of which it would keep.
    return Frame(bytes(carried.payload), syntax, carried.shape)


def _encoded(pixels: Pixels, stored: FrameShape, syntax: str, quality: int, near: int) -> Frame:
    if syntax in _CARRIERS:
        pixels = _as_announced(pixels, stored.photometric)
    keeps_planes = syntax in _CARRIERS or syntax == _RLE
    planar = stored.planar if keeps_planes and stored.photometric not in _BECOME_RGB else 0
    return encode(pixels, syntax, quality=quality, near=near, planar=planar)


def _as_announced(pixels: Pixels, stored: str) -> Pixels:
    """The colours that a viewer takes native samples for who knows the stored metadata.

    Decoders settle nearly all of it; what is left are codestreams that contradict the data set.
    """
    photometric = pixels.shape.photometric
    if pixels.shape.samples != 3 or pixels.array.dtype != np.uint8:
        return pixels
    if stored in _BECOME_RGB and photometric == "YBR_FULL":
        return Pixels(to_rgb(pixels), pixels.shape.becoming(photometric="RGB"))
    if stored == "YBR_FULL" and photometric == "RGB":
        return Pixels(_luma_and_chroma(pixels.array), pixels.shape.becoming(photometric="YBR_FULL"))
    return pixels


def _luma_and_chroma(array: Samples) -> Samples:
    """RGB as YBR_FULL (PS3.3 C.7.6.3.1.2)."""
    red, green, blue = (array[..., channel].astype(np.float32) for channel in range(3))
    made = np.stack(
        (
            0.299 * red + 0.587 * green + 0.114 * blue,
            128 - 0.168736 * red - 0.331264 * green + 0.5 * blue,
            128 + 0.5 * red - 0.418688 * green - 0.081312 * blue,
        ),
        axis=-1,
    )
    return np.clip(np.rint(made), 0, 255).astype(np.uint8)
