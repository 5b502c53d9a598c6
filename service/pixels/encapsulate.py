"""Frames as items of encapsulated Pixel Data (PS3.5 A.4): offsets, fragments, padding."""

import struct
from collections.abc import Buffer, Iterable, Iterator, Sequence

_ITEM = struct.Struct("<HHI")
_SEQUENCE_ENDS = _ITEM.pack(0xFFFE, 0xE0DD, 0)
_LIMIT = 1 << 32


def encapsulated(frames: Iterable[Buffer], lengths: Sequence[int] | None = None) -> Iterator[Buffer]:
    """The value of Pixel Data: an offset table, one fragment for each frame, the delimiter.

    With the lengths of all payloads known beforehand the Basic Offset Table is filled, unless it cannot
    count so far; without them it is empty, so that the first frame can go before the last is made.
    """
    table = basic_offsets(lengths) if lengths is not None else b""
    yield _ITEM.pack(0xFFFE, 0xE000, len(table)) + table
    for frame in frames:
        payload = memoryview(frame).cast("B")
        padding = len(payload) % 2
        yield _ITEM.pack(0xFFFE, 0xE000, len(payload) + padding)
        yield payload
        if padding:
            yield b"\0"
    yield _SEQUENCE_ENDS


def encapsulated_size(lengths: Sequence[int]) -> int:
    """How many bytes `encapsulated` gives for payloads of these lengths."""
    return 16 + len(basic_offsets(lengths)) + sum(8 + length + length % 2 for length in lengths)


def basic_offsets(lengths: Sequence[int]) -> bytes:
    """The entries of the Basic Offset Table, none where 32 bits do not count so far."""
    offsets = _offsets(lengths)
    if offsets and offsets[-1] >= _LIMIT:
        return b""
    return struct.pack(f"<{len(offsets)}I", *offsets)


def extended_offsets(lengths: Sequence[int]) -> tuple[bytes, bytes] | None:
    """Extended Offset Table (7FE0,0001) and its Lengths (7FE0,0002), where the basic table must be empty."""
    offsets = _offsets(lengths)
    if not offsets or offsets[-1] < _LIMIT:
        return None
    return struct.pack(f"<{len(offsets)}Q", *offsets), struct.pack(f"<{len(lengths)}Q", *lengths)


def _offsets(lengths: Sequence[int]) -> list[int]:
    """Where each frame's item begins, counted from the first one."""
    offsets: list[int] = []
    position = 0
    for length in lengths:
        offsets.append(position)
        position += 8 + length + length % 2
    return offsets
