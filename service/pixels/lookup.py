"""Lookup tables as DICOM writes them: a descriptor and the entries (PS3.3 C.11.1.1, C.7.6.3.1.5)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.pixels.attributes import Attributes

LUT_DESCRIPTOR = 0x00283002
LUT_DATA = 0x00283006


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """Entries for the input values from `first` on; beyond either end the last entry there holds.

    `bits` is the width of an entry: the output range is 0 to `top`.
    """

    first: int
    entries: NDArray[np.uint16]
    bits: int

    @property
    def top(self) -> int:
        return (1 << self.bits) - 1

    def apply(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """The entries of `values`, which are rounded to whole numbers."""
        wide = np.floor(np.nan_to_num(values) + 0.5) if values.dtype.kind == "f" else values.astype(np.int64)
        places = np.clip(wide - self.first, 0, len(self.entries) - 1)
        found: NDArray[np.uint16] = self.entries.take(places.astype(np.intp))
        return found


def read_lookup(item: Attributes, *, signed: bool) -> Lookup | None:
    """The table of an item of a LUT sequence; `None` if it has none that can be used.

    `signed` says that its input may be negative: the first value mapped is then read with a sign.
    """
    return lookup_of(item.numbers(LUT_DESCRIPTOR), item.octets(LUT_DATA), signed=signed)


def lookup_of(descriptor: list[float], content: bytes, *, signed: bool) -> Lookup | None:
    """The table of a descriptor and its data; `None` if they do not make one."""
    if len(descriptor) < 3:
        return None
    count, first, bits = entry_count(descriptor), int(descriptor[1]), int(descriptor[2])
    if signed and first > 0x7FFF:
        first -= 0x10000
    elif not signed and first < 0:
        first += 0x10000
    entries = _entries(content, count)
    if not len(entries) or not 1 <= bits <= 16:
        return None
    # Entries that do not fit their declared width are taken at their own: the data rule.
    bits = max(bits, int(entries.max()).bit_length())
    return Lookup(first, entries, bits)


def entry_count(descriptor: list[float]) -> int:
    """The number of entries that a descriptor tells; 0 stands for 65,536."""
    return (int(descriptor[0]) & 0xFFFF) or 0x10000


def _entries(content: bytes, count: int) -> NDArray[np.uint16]:
    """The entries, which are words, or bytes where there are not enough for words."""
    if len(content) >= 2 * count:
        return np.frombuffer(content, "<u2", count=count).astype(np.uint16, copy=False)
    if len(content) >= count:
        return np.frombuffer(content, np.uint8, count=count).astype(np.uint16)
    # A table that is cut off holds as far as it goes.
    return np.frombuffer(content, "<u2", count=len(content) // 2).astype(np.uint16, copy=False)
