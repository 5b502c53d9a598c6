"""Frames in items, with the tables that find them."""

import pytest
from pydicom.encaps import generate_frames, parse_basic_offsets

from service.pixels.encapsulate import (
    basic_offsets,
    encapsulated,
    encapsulated_size,
    extended_offsets,
)

FRAMES = [b"abc", b"defg", b"", b"hij"]
LENGTHS = [len(frame) for frame in FRAMES]


@pytest.mark.parametrize("lengths", [LENGTHS, None])
def test_another_reader_finds_the_frames(lengths):
    value = b"".join(bytes(block) for block in encapsulated(FRAMES, lengths))

    found = list(generate_frames(value, number_of_frames=4))

    assert found == [b"abc\0", b"defg", b"", b"hij\0"]
    assert value.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")


def test_the_basic_offset_table_counts_from_the_first_frames_item():
    value = b"".join(bytes(block) for block in encapsulated(FRAMES, LENGTHS))

    assert parse_basic_offsets(value) == [0, 12, 24, 32]
    assert len(value) == encapsulated_size(LENGTHS)


def test_beyond_32_bits_the_extended_table_takes_over():
    lengths = [3 << 30, 1 << 30, 5]

    tables = extended_offsets(lengths)

    assert basic_offsets(lengths) == b""
    assert tables is not None
    assert int.from_bytes(tables[0][16:24], "little") == (4 << 30) + 16
    assert int.from_bytes(tables[1][16:24], "little") == 5
    assert extended_offsets(LENGTHS) is None
