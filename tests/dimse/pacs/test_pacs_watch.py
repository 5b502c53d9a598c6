"""A retrieval that is given up only where nothing moves: neither bytes nor what is told of it."""

import asyncio
from typing import cast

import pytest

from bridge.pacs.transfer import Watch
from bridge.upper.association import Association

STILL_S = 0.1


class Line:
    """An association as the watch sees it: bytes that have come, and an end."""

    def __init__(self) -> None:
        self.received_bytes = 0
        self.ended = asyncio.Event()
        self.result = ""

    def abort(self, result: str) -> None:
        self.result = result
        self.ended.set()


async def watched(line: Line) -> Watch:
    watch = Watch(STILL_S)
    watch.start(cast(Association, line))
    return watch


def test_a_silent_pacs_is_given_up():
    async def given_up() -> tuple[bool, str]:
        line = Line()
        watch = await watched(line)
        await asyncio.wait_for(line.ended.wait(), 10)
        return watch.expired, line.result

    assert asyncio.run(given_up()) == (True, "stalled")


@pytest.mark.parametrize("sign", ["bytes", "touch"])
def test_a_pacs_that_lives_is_given_up_only_when_it_falls_silent(sign: str):
    async def lived_s() -> tuple[float, bool]:
        line = Line()
        watch = await watched(line)
        loop = asyncio.get_running_loop()
        begun, last = loop.time(), loop.time()
        while loop.time() - begun < 3 * STILL_S and not line.ended.is_set():
            if sign == "bytes":
                line.received_bytes += 1
            else:
                watch.touch()
            last = loop.time()
            await asyncio.sleep(0)
        early = line.ended.is_set() and loop.time() - last < STILL_S / 2
        await asyncio.wait_for(line.ended.wait(), 10)
        return loop.time() - begun, early

    lived, early = asyncio.run(lived_s())

    assert not early
    assert lived >= STILL_S
