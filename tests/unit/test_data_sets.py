"""A message's data set, read while it arrives."""

import asyncio
import tracemalloc

import pytest

from bridge.upper.messages import DataSet


def a_data_set() -> DataSet:
    return DataSet(lambda: None)


@pytest.mark.parametrize("size", [2, 100_000])
def test_a_data_set_that_comes_in_crumbs_is_kept_without_them(size: int):
    async def gathered() -> bytes | None:
        data = a_data_set()
        whole = asyncio.create_task(data.whole(1 << 20))
        for at in range(0, size, 2):
            await asyncio.sleep(0)
            data.push(memoryview(b"ab"), at + 2 >= size)
        return await whole

    tracemalloc.start()
    try:
        content = asyncio.run(gathered())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert content == b"ab" * (size // 2)
    assert most < 1 << 20


@pytest.mark.parametrize("most_bytes", [9, 10])
def test_a_data_set_that_is_too_long_is_read_to_its_end_and_left(most_bytes: int):
    async def gathered() -> tuple[bytes | None, bool]:
        data = a_data_set()
        whole = asyncio.create_task(data.whole(most_bytes))
        for last in (False, True):
            await asyncio.sleep(0)
            data.push(memoryview(b"12345"), last)
        return await whole, data.at_end

    content, at_end = asyncio.run(gathered())

    assert content == (b"1234512345" if most_bytes == 10 else None)
    assert at_end


def test_what_is_discarded_is_not_kept():
    async def held() -> tuple[int, list[bytes], bool]:
        data = a_data_set()
        data.push(memoryview(b"12"), False)
        data.discard()
        data.push(memoryview(b"34"), True)
        return data.waiting, await data.read(), data.at_end

    assert asyncio.run(held()) == (0, [], True)


def test_what_a_reader_waits_for_does_not_make_the_peer_wait():
    async def waiting() -> tuple[list[int], bytes]:
        settled: list[int] = []
        data = DataSet(lambda: settled.append(data.waiting))
        data.push(memoryview(bytes(600)), False)  # as much as the connection is read ahead
        ahead = data.waiting
        reading = asyncio.create_task(data.read(1000))
        await asyncio.sleep(0)
        data.push(memoryview(bytes(300)), False)
        inside = data.waiting
        data.push(memoryview(bytes(350)), False)  # before the reader comes to it
        beyond = data.waiting
        blocks = await reading
        return [ahead, settled[0], inside, beyond, data.waiting], b"".join(blocks)

    told, content = asyncio.run(waiting())

    assert told == [600, 0, 0, 250, 0]
    assert content == bytes(1250)
