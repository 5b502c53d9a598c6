"""A data set in the DICOM JSON model, read by tag (PS3.18 annex F)."""

import base64
import binascii
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Fetch = Callable[[str], bytes]
"""The bytes, little endian, behind a BulkDataURI as it stands in the metadata."""

_PACKED: Mapping[str, str] = {
    "FD": "<f8", "FL": "<f4", "OD": "<f8", "OF": "<f4", "SL": "<i4", "SS": "<i2", "SV": "<i8",
    "UL": "<u4", "US": "<u2", "UV": "<u8",
}  # fmt: skip


class Attributes:
    """One level of a data set: the top one, or an item of a sequence.

    Odd content is no error here: what is not there, empty, or not of the kind asked for is absent.
    """

    __slots__ = ("_fetch", "_members")

    def __init__(self, members: Mapping[str, Any], fetch: Fetch | None = None) -> None:
        self._members = members
        self._fetch = fetch

    def __contains__(self, tag: int) -> bool:
        """Whether the attribute is there with a value."""
        member = self._member(tag)
        return bool(member.get("Value")) or "InlineBinary" in member or "BulkDataURI" in member

    @property
    def tags(self) -> list[int]:
        """The tags of all members, in the order they stand."""
        return [int(key, 16) for key in self._members if len(key) == 8]

    def values(self, tag: int) -> list[Any]:
        """The values of the attribute as they stand in JSON."""
        return list(self._values(tag))

    def numbers(self, tag: int) -> list[float]:
        """The values as numbers; empty if one of them is none."""
        found: list[float] = []
        for value in self.values(tag):
            number = _number(value)
            if number is None:
                return []
            found.append(number)
        return found

    def number(self, tag: int) -> float | None:
        """The first value as a finite number."""
        values = self._values(tag)
        return _number(values[0]) if values else None

    def integer(self, tag: int) -> int | None:
        """The first value as a whole number."""
        number = self.number(tag)
        return None if number is None else int(number)

    def texts(self, tag: int) -> list[str]:
        """The values as text; of a person name, the first group that there is."""
        return [_text(value) for value in self.values(tag)]

    def text(self, tag: int) -> str:
        """The first value as text, without padding; empty if there is none."""
        values = self._values(tag)
        return _text(values[0]).strip() if values else ""

    def items(self, tag: int) -> "list[Attributes]":
        """The items of a sequence."""
        return [Attributes(item, self._fetch) for item in self.values(tag) if isinstance(item, dict)]

    def item(self, tag: int, number: int | None = None) -> "Attributes | None":
        """The first item of a sequence; with `number`, which counts from 1, the one that stands there."""
        values = self._values(tag)
        if number is None:
            found = next((value for value in values if isinstance(value, dict)), None)
        else:
            found = values[number - 1] if 0 < number <= len(values) else None
        return Attributes(found, self._fetch) if isinstance(found, dict) else None

    def octets(self, tag: int) -> bytes:
        """The value as little endian bytes, wherever it is kept; empty if there is none."""
        member = self._member(tag)
        inline = member.get("InlineBinary")
        if isinstance(inline, str):
            try:
                return base64.b64decode(inline)
            except binascii.Error:
                return b""
        place = member.get("BulkDataURI")
        if isinstance(place, str):
            return self._fetch(place) if self._fetch is not None else b""
        packed = np.dtype(_PACKED.get(str(member.get("vr")), "<u2"))
        numbers = self.numbers(tag)
        if packed.kind == "f":
            return np.asarray(numbers, packed).tobytes()
        # The same bits, whichever sign they were read with.
        wrapped = np.remainder(np.trunc(np.asarray(numbers, np.float64)), 2.0 ** (8 * packed.itemsize))
        return wrapped.astype(np.uint64).astype(packed).tobytes()

    def words(self, tag: int) -> "np.ndarray[Any, np.dtype[np.uint16]]":
        """The value as unsigned 16-bit words."""
        content = self.octets(tag)
        return np.frombuffer(content, "<u2", count=len(content) // 2).astype(np.uint16, copy=False)

    def _values(self, tag: int) -> Sequence[Any]:
        values = self._member(tag).get("Value")
        if isinstance(values, list):
            return values
        return values if isinstance(values, Sequence) and not isinstance(values, str) else ()

    def _member(self, tag: int) -> Mapping[str, Any]:
        member = self._members.get(f"{tag:08X}")
        return member if isinstance(member, dict) else {}


def functional_group(attributes: Attributes, frame: int, tag: int) -> Attributes | None:
    """The functional group macro `tag` of a frame, counted from 1: its own, else the shared (C.7.6.16)."""
    groups = attributes.item(0x52009230, frame)
    own = None if groups is None else groups.item(tag)
    if own is not None:
        return own
    shared = attributes.item(0x52009229)
    return None if shared is None else shared.item(tag)


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return next((str(group) for group in value.values() if group), "")
    return "" if value is None else str(value)
