"""An instance while it arrives: its bytes are kept until it is known whether the archive takes it."""

import asyncio
from collections.abc import Sequence

from bridge.archive.remote import Body
from bridge.spool.entry import Entry
from bridge.spool.folder import Folder, NoRoom, Part
from bridge.spool.lanes import Lanes
from bridge.spool.space import Memory, Space

_BLOCK = 1 << 20
_AT_LEAST = 128 << 10  # bytes that make it worth being woken


class Draft:
    """What has arrived of an instance: in memory while it is small, then in a file that promises nothing.

    `own_bytes` it may hold in any case, and more as long as the memory of all of them lasts.
    It is dropped, or becomes a promise. A draft for which there is no room any more lets go of all that it
    has, and is `lost`.
    """

    def __init__(self, folder: Folder, space: Space, memory: Memory, *, own_bytes: int) -> None:
        self.size_bytes = 0
        self.lost = False
        self.beginning: list[bytes] = []
        """The first blocks: `own_bytes` of them, where there are so many."""
        self._folder = folder
        self._space = space
        self._memory = memory
        self._own_bytes = own_bytes
        self._lent_bytes = 0
        self._in_file = False
        self._unwritten: list[bytes] = []
        self._unwritten_bytes = 0
        self._taken_bytes = 0
        self._part: Part | None = None
        self._writing: asyncio.Task[None] | None = None
        self._promising = False

    async def add(self, blocks: Sequence[bytes]) -> None:
        """Keep what has arrived; waits for the disk when that is more than one block behind."""
        if self.lost:
            return
        size = sum(map(len, blocks))
        if self.size_bytes < self._own_bytes:
            self.beginning += blocks
        self.size_bytes += size
        self._unwritten += blocks
        self._unwritten_bytes += size
        if self._unwritten_bytes >= _BLOCK and not self._fits_in_memory():
            try:
                await self._written()
                self._write()
            except NoRoom:
                self.lost = True
                await self.drop()

    async def promise(self, entry: Entry, lanes: Lanes) -> None:
        """Have it durable as `entry`, and among `lanes`; `NoRoom`, and it is dropped.

        What is kept already, word for word, is not kept twice.
        """
        if self.lost:
            raise NoRoom
        self._promising = True
        entry.size_bytes = self.size_bytes
        try:
            await self._written()
            self._write()
            await self._written()
            assert self._part is not None
            if await self._is_kept(self._part, lanes.of(entry.instance)):
                return
            try:
                await self._folder.done(self._folder.promise, self._part, entry)
            except NoRoom:
                self._space.written(failed=True)
                raise
            self._part, self._taken_bytes = None, 0
            self._space.count(1)
            lanes.add(entry)
        finally:
            self._promising = False
            await self.drop()

    async def drop(self) -> None:
        """Forget it; no effect on what was promised, and none while it is being promised."""
        if self._promising:
            return
        if self._writing is not None:
            await asyncio.wait([self._writing])
            if not self._writing.cancelled():
                self._writing.exception()  # it makes no difference any more
            self._writing = None
        part, self._part = self._part, None
        taken, self._taken_bytes = self._taken_bytes, 0
        self.beginning, self._unwritten = [], []
        self._unwritten_bytes = 0
        self._return_memory()
        self._space.give(taken)
        if part is not None:
            await self._folder.done(self._folder.drop, part)

    async def _is_kept(self, part: Part, twins: Sequence[Entry]) -> bool:
        """Whether one of `twins` is the same, word for word."""
        for twin in twins:
            same = twin.size_bytes == self.size_bytes
            if same and await self._folder.done(self._folder.same, part, twin):
                return True
        return False

    def _fits_in_memory(self) -> bool:
        """Whether it may stay in memory, all of it; more of that is taken if need be."""
        if self._in_file:
            return False
        more = self.size_bytes - self._own_bytes - self._lent_bytes
        if more > 0:
            if not self._memory.take(more):
                return False
            self._lent_bytes += more
        return True

    def _return_memory(self) -> None:
        lent, self._lent_bytes = self._lent_bytes, 0
        self._memory.give(lent)

    def _write(self) -> None:
        """Begin to write what is not written; `NoRoom`."""
        if not self._space.take(self._unwritten_bytes):
            raise NoRoom
        self._taken_bytes += self._unwritten_bytes
        blocks, self._unwritten, self._unwritten_bytes = self._unwritten, [], 0
        self._in_file = True
        self._return_memory()
        self._writing = asyncio.get_running_loop().create_task(self._add_to_file(blocks))

    async def _written(self) -> None:
        """Return when what was begun is done; `NoRoom`."""
        writing = self._writing
        if writing is not None:
            await asyncio.shield(writing)
            self._writing = None

    async def _add_to_file(self, blocks: list[bytes]) -> None:
        folder = self._folder
        try:
            if self._part is None:
                self._part = await folder.done(folder.begin)
            await folder.done(folder.write, self._part, blocks)
        except NoRoom:
            self._space.written(failed=True)
            raise
        self._space.written(failed=False)


class Tee:
    """A body that leaves what is read of it in a draft."""

    def __init__(self, source: Body, draft: Draft) -> None:
        self._source = source
        self._draft = draft

    @property
    def at_end(self) -> bool:
        """Whether `read` has returned everything."""
        return self._source.at_end

    async def read(self, at_least: int = 1) -> list[bytes]:
        """What has arrived since the last call; raises what the source raises."""
        blocks = await self._source.read(at_least)
        await self._draft.add(blocks)
        return blocks

    async def rest(self) -> None:
        """Read to the end, for the draft alone."""
        while not self.at_end:
            await self.read(_AT_LEAST)
