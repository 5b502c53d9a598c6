"""Where each frame's bytes lie inside a stored object."""

import array
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of bytes inside one stored object."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class PixelShape:
    """What the Image Pixel module says of an instance's frames (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    frames: int
    photometric: str
    bits_stored: int
    high_bit: int
    signed: bool
    planar: int

    @property
    def frame_bits(self) -> int:
        """The size of one native frame, in bits: frames are not padded to bytes (PS3.5 8.1.1)."""
        return self.rows * self.columns * self.pixel_bits

    @property
    def pixel_bits(self) -> int:
        """The size of one native pixel in bits, all samples together (PS3.3 C.7.6.3.1.2)."""
        # Two pixels of YBR_FULL_422 share one Cb and one Cr: four samples for two pixels.
        samples = 2 if self.photometric == "YBR_FULL_422" and self.samples == 3 else self.samples
        return samples * self.bits_allocated


@dataclass(frozen=True, slots=True)
class PixelPlace:
    """Where the value of an instance's pixel data lies in its stored object.

    `extent` covers the value field; of encapsulated data, from the Basic Offset Table's item tag to the
    end of the sequence delimiter. In a deflated object it counts in the inflated one: file meta as
    stored, then the inflated data set.
    """

    tag: int
    vr: str
    extent: Extent
    encapsulated: bool


@dataclass(frozen=True, slots=True)
class FrameTable:
    """The place of each frame of encapsulated pixel data.

    `offsets` holds, for n frames, n + 1 file offsets: of each frame's first item tag, then of the byte
    behind the last frame's last fragment.
    """

    offsets: Sequence[int]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def extent(self, number: int) -> Extent:
        """The items of frame `number`, counted from 1."""
        first = self.offsets[number - 1]
        return Extent(first, self.offsets[number] - first)

    def to_bytes(self) -> bytes:
        """Little endian unsigned 64-bit integers."""
        table = array.array("Q", self.offsets)
        if array.array("H", [1]).tobytes() != b"\x01\x00":
            table.byteswap()
        return table.tobytes()

    @classmethod
    def from_bytes(cls, packed: bytes) -> "FrameTable":
        table = array.array("Q")
        table.frombytes(packed)
        if array.array("H", [1]).tobytes() != b"\x01\x00":
            table.byteswap()
        return cls(table)


def merge(extents: Sequence[Extent], *, gap: int, limit: int) -> list[Extent]:
    """Fewest reads that cover `extents`, never bridging more than `gap` unwanted bytes."""
    reads: list[Extent] = []
    for extent in sorted(extents, key=lambda e: e.offset):
        if reads:
            last = reads[-1]
            joined = max(last.end, extent.end) - last.offset
            if extent.offset - last.end <= gap and joined <= limit:
                reads[-1] = Extent(last.offset, joined)
                continue
        reads.append(extent)
    return reads
