"""Memory that the bridge and its porter both see: bytes get from one to the other without a system call."""

import asyncio
import mmap
import os
from collections import deque
from collections.abc import Buffer

PLACE_BYTES = 2 << 20


class SharedMemory:
    """Places of `PLACE_BYTES` each, lent one at a time; used on one loop.

    The place that was used last is lent first: what lies in the processor's caches is written over.
    """

    def __init__(self, places: int) -> None:
        """`OSError` if the system gives no such memory."""
        self.size = places * PLACE_BYTES
        self.waiting = 0
        """How many wait for a place."""
        self.descriptor = os.memfd_create("isthmus-porter")
        os.ftruncate(self.descriptor, self.size)
        self._bytes = mmap.mmap(self.descriptor, self.size)
        self._free = [place * PLACE_BYTES for place in reversed(range(places))]
        self._room = asyncio.Semaphore(places)

    async def place(self, within_s: float) -> int:
        """Where a free place begins, once there is one; `TimeoutError` if there is none in time."""
        if self._room.locked():
            self.waiting += 1
            try:
                async with asyncio.timeout(within_s):
                    await self._room.acquire()
            finally:
                self.waiting -= 1
        else:
            await self._room.acquire()  # at once
        return self._free.pop()

    def give_back(self, start: int) -> None:
        """Nobody reads any more what is in a place."""
        self._free.append(start)
        self._room.release()

    def fill(self, start: int, blocks: deque[Buffer]) -> int:
        """Put into a place what it has room for; the bytes that it holds. What is left stays in `blocks`."""
        at, end = start, start + PLACE_BYTES
        while blocks and at < end:
            block = blocks.popleft()
            size = memoryview(block).nbytes
            if at + size > end:
                whole = memoryview(block).cast("B")
                blocks.appendleft(whole[end - at :])
                block, size = whole[: end - at], end - at
            self._bytes[at : at + size] = block
            at += size
        return at - start

    def close(self) -> None:
        """Let go of it; a process that has it too keeps it."""
        self._bytes.close()
        os.close(self.descriptor)
