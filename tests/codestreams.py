"""Frames made here, in every transfer syntax that is decoded: material for the tests of pixels."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.dicom.syntaxes import EXPLICIT_LE, ROOT
from service.pixels.codecs import encode, recompressed
from service.pixels.frame import Frame, FrameShape, Pixels

LOSSLESS = tuple(
    ROOT + tail
    for tail in (
        ".1", ".1.98", ".8.1", ".5", ".4.57", ".4.70", ".4.80", ".4.90", ".4.201", ".4.202", ".4.110",
    )
)  # fmt: skip
LOSSY = tuple(ROOT + tail for tail in (".4.50", ".4.81", ".4.91", ".4.203", ".4.112"))


def grey(
    bits: int, *, signed: bool = False, rows: int = 48, columns: int = 61, allocated: int = 0, seed: int = 7
) -> Pixels:
    """A smooth picture with noise and both ends of its range, MONOCHROME2."""
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    allocated = allocated or (8 if bits <= 8 else 16 if bits <= 16 else 32)
    shape = FrameShape(rows, columns, 1, allocated, bits, bits - 1, signed, "MONOCHROME2")
    return Pixels(_field(rows, columns, low, high, seed).astype(shape.sample_dtype), shape)


def colour(
    bits: int = 8, photometric: str = "RGB", *, rows: int = 48, columns: int = 62, seed: int = 7
) -> Pixels:
    """Three smooth planes with noise."""
    shape = FrameShape(rows, columns, 3, 8 if bits <= 8 else 16, bits, bits - 1, False, photometric)
    planes = [_field(rows, columns, 0, (1 << bits) - 1, seed + plane) for plane in range(3)]
    return Pixels(np.stack(planes, axis=-1).astype(shape.sample_dtype), shape)


def noise(bits: int, *, rows: int, columns: int, signed: bool = False) -> Pixels:
    """The least and the greatest value in no order: what asks most of an encoder."""
    pixels = grey(bits, signed=signed, rows=rows, columns=columns)
    high = np.random.default_rng(bits).random((rows, columns)) < 0.5
    low = pixels.array.min() if rows * columns > 1 else 0
    return Pixels(np.where(high, pixels.array.max(), low).astype(pixels.array.dtype), pixels.shape)


def mask(rows: int = 45, columns: int = 61) -> Pixels:
    """A segmentation of single bits, whose rows do not end at a byte."""
    shape = FrameShape(rows, columns, 1, 1, 1, 0, False, "MONOCHROME2")
    y, x = np.mgrid[:rows, :columns]
    return Pixels(((y - 20) ** 2 + (x - 30) ** 2 < 300).astype(np.uint8), shape)


def native(pixels: Pixels) -> Frame:
    """The pixels in Explicit VR Little Endian."""
    return encode(pixels, EXPLICIT_LE)


def every_codec() -> Iterator[tuple[str, Frame]]:
    """One or more frames for each decoder, by name, small enough to be decoded thousands of times."""
    for syntax in LOSSLESS[2:]:
        yield f"{syntax} grey", encode(grey(12), syntax)
        yield f"{syntax} colour", encode(colour(), syntax)
    for syntax in LOSSY:
        yield f"{syntax} grey", encode(grey(8), syntax, quality=80)
        yield f"{syntax} colour", encode(colour(), syntax, quality=80)
    yield f"{ROOT}.4.111 grey", recompressed(encode(grey(8), ROOT + ".4.50"))
    yield f"{ROOT}.4.111 colour", recompressed(encode(colour(), ROOT + ".4.50"))


def _field(rows: int, columns: int, low: int, high: int, seed: int) -> NDArray[np.int64]:
    noise = np.random.default_rng(seed).normal(0, 0.02, (rows, columns))
    y, x = np.mgrid[:rows, :columns]
    waves = 0.5 + 0.4 * np.sin(x / 9 + seed) * np.cos(y / 7) + noise
    values: NDArray[np.int64] = np.rint(low + np.clip(waves, 0, 1) * (high - low)).astype(np.int64)
    values.reshape(-1)[:2] = (low, high)[: values.size]
    return values
