"""Instances that the archive refused after they had been acknowledged: kept until somebody decides."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from pathlib import Path

from bridge.spool.entry import Detained, Entry, detained
from bridge.spool.folder import Folder
from bridge.spool.lanes import Lanes
from bridge.spool.space import Space
from service.dicom.errors import NotFound, StoreUnavailable

log = logging.getLogger("isthmus.spool")


class Quarantine:
    """All of them, by id; used on one loop. What is here counts as kept in the spool's `space`.

    `on_retry` is called when something is to be sent once more.
    """

    def __init__(self, folder: Folder, space: Space, lanes: Lanes, on_retry: Callable[[], None]) -> None:
        self.bytes = 0
        self._folder = folder
        self._space = space
        self._lanes = lanes
        self._on_retry = on_retry
        self._held: dict[str, Detained] = {}
        self._by_instance: dict[str, int] = {}
        self._changes: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Detained]:
        """In the order in which they came here."""
        return iter(self._held.values())

    def load(self, held: Iterable[Detained]) -> None:
        """Take what is in the folder."""
        for one in sorted(held, key=lambda one: (one.at, one.sequence)):
            self._add(one)

    def holds(self, instance: str) -> bool:
        """Whether there is something under a SOP Instance UID."""
        return instance in self._by_instance

    def find(self, name: str) -> Detained:
        """The instance with this id; `NotFound`."""
        held = self._held.get(name)
        if held is None:
            raise NotFound("There is nothing with this id in quarantine.")
        return held

    def file(self, held: Detained) -> Path:
        """Where the Part-10 file of an instance is."""
        return self._folder.path(held)

    async def take(self, entry: Entry, *, http: int, reason: int) -> Detained:
        """Have an instance here rather than in the spool; `OSError` if the disk does not do it."""
        taken = detained(entry, at=int(time.time()), http=http, reason=reason)
        await self._folder.done(self._folder.move, entry, taken)
        self._add(taken)
        self._lanes.remove(entry)
        return taken

    async def retry(self, name: str) -> None:
        """Let an instance wait for the archive once more; `NotFound`, `StoreUnavailable`."""
        await self._whole(self._retry(self.find(name)))

    async def remove(self, name: str) -> None:
        """Forget an instance for good; `NotFound`, `StoreUnavailable`."""
        await self._whole(self._remove(self.find(name)))

    async def _whole(self, change: Coroutine[None, None, None]) -> None:
        """Do `change` to its end, though whoever asked for it may have left."""
        task = asyncio.get_running_loop().create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        await asyncio.shield(task)

    async def _retry(self, held: Detained) -> None:
        entry = held.entry()
        await self._changed(held, self._folder.move, held, entry)
        self._lanes.add(entry)  # at once: at no time it is neither here nor there
        self._on_retry()

    async def _remove(self, held: Detained) -> None:
        await self._changed(held, self._folder.remove, held, durably=True)
        self._space.give(held.size_bytes)
        self._space.count(-1)

    async def _changed[**P](
        self, held: Detained, work: Callable[P, None], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Do `work`, of two who want it one; afterwards the instance is not here.

        As long as it is being done, nobody finds it by its id, but it is held.
        """
        del self._held[held.id]
        try:
            await self._folder.done(work, *args, **kwargs)
        except OSError as cause:
            self._held[held.id] = held
            log.error("instance=%s stays in quarantine: %s", held.instance, cause.strerror)
            raise StoreUnavailable("The disk of the bridge does not do it; see its log.") from cause
        self._forget(held)

    def _add(self, held: Detained) -> None:
        self._held[held.id] = held
        self._by_instance[held.instance] = self._by_instance.get(held.instance, 0) + 1
        self.bytes += held.size_bytes

    def _forget(self, held: Detained) -> None:
        self.bytes -= held.size_bytes
        self._by_instance[held.instance] -= 1
        if not self._by_instance[held.instance]:
            del self._by_instance[held.instance]
