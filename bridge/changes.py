"""Changes of what is kept on disk and in memory: one after the other, each to its end."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Changes:
    """Makes changes in turn.

    A change that has begun is made to its end though nobody waits for it any more, so that memory never
    says other than the disk.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def make[T](self, change: Coroutine[Any, Any, T]) -> T:
        """What `change` returns, once it was its turn; raises what it raises."""
        task = asyncio.get_running_loop().create_task(self._in_turn(change))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def end(self) -> None:
        """Wait for the changes that are being made."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _in_turn[T](self, change: Coroutine[Any, Any, T]) -> T:
        async with self._turn:
            return await change

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # who waits has it, and nobody may wait
