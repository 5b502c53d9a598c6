"""Pieces far smaller than what it costs to keep each by itself."""

import asyncio

from bridge.upper.messages import DataSet


def test_small_pieces_of_a_data_set_are_kept_as_one():
    data = DataSet(lambda: None)
    for number in range(10_000):
        data.push(memoryview(bytes([number % 256, 0])), complete=number == 9_999)

    blocks = asyncio.run(data.read())

    assert len(blocks) <= 3
    assert b"".join(blocks) == b"".join(bytes([number % 256, 0]) for number in range(10_000))
