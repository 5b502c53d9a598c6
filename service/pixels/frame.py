"""One frame of an image: as a payload in some transfer syntax, and as samples."""

from collections.abc import Buffer
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from service.dicom.frames import PixelShape

if TYPE_CHECKING:  # numpy takes a while to load, which the start of the program need not wait for
    import numpy as np
    from numpy.typing import NDArray

type Samples = NDArray[Any]
"""Rows × columns, or rows × columns × samples per pixel where there is more than one."""

_FLOATING = (0x7FE00008, 0x7FE00009)  # Float and Double Float Pixel Data


@dataclass(frozen=True, slots=True)
class FrameShape:
    """What a codec needs to know of a frame (PS3.3 C.7.6.3.1).

    `signed` is Pixel Representation 1. `planar` is Planar Configuration, 0 where it is absent. `floating`
    says that the frame is of Float or Double Float Pixel Data, of 32 or 64 bits.
    """

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: int = 0
    floating: bool = False

    @property
    def pixels(self) -> int:
        return self.rows * self.columns

    @property
    def sample_dtype(self) -> "np.dtype[Any]":
        """The type of one sample in memory; of one bit, an unsigned byte."""
        import numpy as np

        if self.floating:
            return np.dtype(np.float32 if self.bits_allocated == 32 else np.float64)
        width = next((width for width in (1, 2, 4) if self.bits_allocated <= 8 * width), 8)
        return np.dtype(f"{'i' if self.signed else 'u'}{width}")

    @property
    def native_bits(self) -> int:
        """The size of the frame in native form, in bits; it is not padded to bytes (PS3.5 8.1.1)."""
        # Two pixels of YBR_FULL_422 share one Cb and one Cr (PS3.3 C.7.6.3.1.2).
        samples = 2 if self.subsampled else self.samples
        return self.pixels * samples * self.bits_allocated

    @property
    def native_bytes(self) -> int:
        """`native_bits` in whole bytes."""
        return (self.native_bits + 7) // 8

    @property
    def decoded_bytes(self) -> int:
        """The size of the samples in memory, in bytes."""
        return self.pixels * self.samples * self.sample_dtype.itemsize

    @property
    def subsampled(self) -> bool:
        """Whether the native form has one pair of chroma samples for two pixels."""
        return self.photometric == "YBR_FULL_422" and self.samples == 3

    @property
    def array_shape(self) -> tuple[int, ...]:
        one = (self.rows, self.columns)
        return one if self.samples == 1 else (*one, self.samples)

    def becoming(self, **changes: Any) -> "FrameShape":
        """The same shape but for `changes`."""
        return replace(self, **changes)


def frame_shape(shape: PixelShape, pixel_tag: int) -> FrameShape:
    """The shape of the frames of an instance whose pixel data are in `pixel_tag`."""
    default = "RGB" if shape.samples == 3 else "MONOCHROME2"
    return FrameShape(
        rows=shape.rows,
        columns=shape.columns,
        samples=shape.samples,
        bits_allocated=shape.bits_allocated,
        bits_stored=shape.bits_stored,
        high_bit=shape.high_bit,
        signed=shape.signed,
        photometric=shape.photometric or default,
        planar=shape.planar,
        floating=pixel_tag in _FLOATING,
    )


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame in a transfer syntax.

    The payload is what goes out over the web: a codestream without item tags, or native samples. Native
    frames are cut out of the value field: of one bit, the first pixel is in the lowest bit of the first
    byte; in Explicit VR Big Endian samples of more than one byte are big endian and single bytes are in
    the order of the pixels.
    """

    payload: Buffer
    syntax: str
    shape: FrameShape


@dataclass(frozen=True, slots=True)
class Pixels:
    """The samples of one frame, as they are meant.

    `array` has `shape.array_shape` and `shape.sample_dtype`, native byte order: sign-extended from Bits
    Stored where signed, nothing above Bits Stored, chroma at full size, colour by pixel. Single bits are
    bytes 0 and 1. `shape` describes these samples: `photometric` is what they are after decoding,
    `high_bit` is Bits Stored - 1 and `planar` is 0.
    """

    array: Samples
    shape: FrameShape
