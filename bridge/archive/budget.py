"""Bytes that may be held in memory at a time, given out in the order in which they are asked for."""

import asyncio
from collections import deque


class Budget:
    """So many bytes for all who use it; who asks for more than there are gets them all."""

    def __init__(self, size_bytes: int) -> None:
        self._size = size_bytes
        self._left = size_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def left(self) -> int:
        """Bytes that nobody holds."""
        return self._left

    def has_room(self, size_bytes: int) -> bool:
        """Whether nobody waits, and so many bytes are left."""
        return not self._waiting and min(size_bytes, self._size) <= self._left

    async def room(self, size_bytes: int) -> "Room":
        """Wait for so many bytes."""
        return Room(self, await self.take(size_bytes))

    async def take(self, size_bytes: int) -> int:
        """Wait for so many bytes; how many they are, to be given back by `give`."""
        size = min(size_bytes, self._size)
        if self.has_room(size_bytes):
            self._left -= size
            return size
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.give(size)
            self._serve()
            raise
        return size

    def give(self, size_bytes: int) -> None:
        """Bytes that are not held any more."""
        self._left += size_bytes
        self._serve()

    def _serve(self) -> None:
        while self._waiting and (self._waiting[0][1].cancelled() or self._waiting[0][0] <= self._left):
            size, turn = self._waiting.popleft()
            if not turn.cancelled():  # whoever was called off may not have had the time to say so
                self._left -= size
                turn.set_result(None)


class Room:
    """Bytes of a budget that are somebody's until they are given back."""

    def __init__(self, budget: Budget, size_bytes: int) -> None:
        self._budget = budget
        self._size = size_bytes

    def narrow(self, size_bytes: int) -> None:
        """Give back what is beyond `size_bytes`."""
        surplus = self._size - size_bytes
        if surplus > 0:
            self._size = size_bytes
            self._budget.give(surplus)

    def close(self) -> None:
        """Give back all that is left."""
        self.narrow(0)
