"""Native frames, as they lie in Pixel Data and as samples (PS3.5 8.1.1, PS3.3 C.7.6.3.1)."""

import sys
from collections.abc import Buffer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dicom.errors import Undecodable
from service.dicom.syntaxes import EXPLICIT_BE, EXPLICIT_LE
from service.pixels.frame import Frame, FrameShape, Pixels, Samples

_ALLOCATED = frozenset((1, 8, 16, 32, 64))


def unpack(frame: Frame) -> Pixels:
    """The samples of a native frame."""
    shape = frame.shape
    require_allocation(shape)
    data = np.frombuffer(frame.payload, np.uint8)
    if len(data) < shape.native_bytes:
        raise Undecodable(f"The frame has {len(data)} bytes; its shape needs {shape.native_bytes}.")
    data = data[: shape.native_bytes]
    if shape.bits_allocated == 1:
        bits = np.unpackbits(data, count=shape.native_bits, bitorder="little")
        return settle(bits, shape)
    stored: NDArray[Any] = data.view(
        shape.sample_dtype.newbyteorder(">" if frame.syntax == EXPLICIT_BE else "<")
    )
    if not stored.dtype.isnative:
        stored = stored.astype(shape.sample_dtype)
    if shape.subsampled:
        return settle(_full_chroma(stored, shape), shape.becoming(photometric="YBR_FULL"))
    if shape.planar and shape.samples > 1:
        stored = stored.reshape(shape.samples, shape.rows, shape.columns).transpose(1, 2, 0)
    return settle(stored, shape)


def pack(pixels: Pixels, planar: int = 0) -> Frame:
    """The samples as a native frame in Explicit VR Little Endian, by plane where `planar` is 1."""
    array, shape = pixels.array, pixels.shape
    if shape.bits_allocated == 1:
        payload: Buffer = np.packbits(array.reshape(-1), bitorder="little").tobytes()
        return Frame(payload, EXPLICIT_LE, shape)
    if planar and shape.samples > 1:
        array = np.moveaxis(array, -1, 0)
        shape = shape.becoming(planar=1)
    return Frame(_little_endian(array), EXPLICIT_LE, shape)


def rewrap(frame: Frame) -> Frame:
    """A native frame in Explicit VR Little Endian, every bit of it kept; what is behind it is cut off."""
    width, size = frame.shape.bits_allocated // 8, frame.shape.native_bytes
    whole = memoryview(frame.payload).cast("B")[:size]
    if len(whole) < size:
        raise Undecodable(f"The frame has {len(whole)} bytes; its shape needs {size}.")
    payload: Buffer = whole
    if frame.syntax == EXPLICIT_BE and width > 1:
        data = np.frombuffer(whole, np.uint8)
        data = data[: len(data) - len(data) % width]
        payload = data.view(f">u{width}").astype(f"<u{width}").tobytes()
    return Frame(payload, EXPLICIT_LE, frame.shape)


def settle(stored: NDArray[Any], shape: FrameShape) -> Pixels:
    """Stored values as they are meant: moved down from High Bit, cut to Bits Stored, with their sign.

    `stored` has any integer type of at least Bits Stored bits, and as many values as the shape.
    """
    true = shape.becoming(high_bit=shape.bits_stored - 1, planar=0)
    array = stored.reshape(shape.array_shape)
    if shape.floating:
        return Pixels(np.ascontiguousarray(array), true.becoming(high_bit=shape.high_bit))
    if array.dtype.kind not in "iu":
        raise Undecodable("The codestream's samples are not whole numbers.")
    wanted = shape.sample_dtype
    container = 8 * wanted.itemsize
    if array.dtype.itemsize != wanted.itemsize:
        array = array.astype(f"{array.dtype.kind}{wanted.itemsize}")
    down = max(shape.high_bit + 1 - shape.bits_stored, 0)
    above = container - shape.bits_stored - down
    if down or above > 0:
        array = _cut(array, wanted, container, shape.bits_stored, down)
    if array.dtype != wanted:
        array = array.view(wanted)
    return Pixels(np.ascontiguousarray(array), true)


def clipped(stored: NDArray[Any], shape: FrameShape) -> NDArray[Any]:
    """What a codec with loss gives, cut off at the ends of Bits Stored, which its ringing may overstep.

    `settle` would let it wrap around. Where the sign is only in the bits, they are left as they are.
    """
    if stored.dtype.kind != ("i" if shape.signed else "u"):
        return stored
    low = -(1 << shape.bits_stored - 1) if shape.signed else 0
    within: NDArray[Any] = np.clip(stored, low, low + (1 << shape.bits_stored) - 1)
    return within


def narrowed(pixels: Pixels) -> Samples:
    """The samples in the narrowest type that holds Bits Stored."""
    array, bits = pixels.array, pixels.shape.bits_stored
    width = 1 if bits <= 8 else 2 if bits <= 16 else 4
    return array if array.dtype.itemsize == width else array.astype(f"{array.dtype.kind}{width}")


def require_allocation(shape: FrameShape) -> None:
    """`Undecodable` for bits that no array holds."""
    if shape.bits_allocated not in _ALLOCATED or not 1 <= shape.bits_stored <= shape.bits_allocated:
        raise Undecodable(
            f"Samples of {shape.bits_stored} bits in {shape.bits_allocated} are not decoded here."
        )
    if not shape.bits_stored - 1 <= shape.high_bit < shape.bits_allocated:
        raise Undecodable(f"High Bit {shape.high_bit} cannot be with {shape.bits_stored} bits stored.")
    if not shape.rows or not shape.columns or not shape.samples:
        raise Undecodable("The image has no pixels.")
    if shape.subsampled and (shape.columns % 2 or shape.bits_allocated != 8):
        raise Undecodable("YBR_FULL_422 needs an even number of columns, of 8 bits (PS3.3 C.7.6.3.1.2).")


def _cut(array: NDArray[Any], wanted: np.dtype[Any], container: int, stored: int, down: int) -> NDArray[Any]:
    """Only the bits stored: shifted to the top, which drops what is above, and down again with the sign."""
    unsigned = array.view(f"u{array.dtype.itemsize}")
    if wanted.kind == "i":
        shifted: NDArray[Any] = np.left_shift(unsigned, container - stored - down).view(wanted)
        np.right_shift(shifted, container - stored, out=shifted)
        return shifted
    if down:
        unsigned = np.right_shift(unsigned, down)
    cut: NDArray[Any] = np.bitwise_and(unsigned, unsigned.dtype.type((1 << stored) - 1))
    return cut


def _full_chroma(stored: NDArray[Any], shape: FrameShape) -> NDArray[Any]:
    """Y Y Cb Cr for two pixels, as Y Cb Cr for each (PS3.3 C.7.6.3.1.2)."""
    pairs = stored.reshape(-1, 4)
    full = np.empty((len(pairs), 2, 3), stored.dtype)
    full[:, :, 0] = pairs[:, :2]
    full[:, :, 1:] = pairs[:, None, 2:]
    return full


def _little_endian(array: Samples) -> Buffer:
    if sys.byteorder == "big" and array.dtype.itemsize > 1:
        array = array.astype(array.dtype.newbyteorder("<"))
    return array.tobytes()
