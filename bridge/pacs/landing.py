"""C-STORE requests of a retrieval of ours, on their way into the cache.

Instances wait in memory for being written, those that came meanwhile together: one that comes alone can be
read at once, many cost little each. A peer that sends faster than they are written has to wait.

Where somebody waits for all of them, and wants no more than their bytes, these are put into files as they
come. What they are is found out when whoever waits has them: that takes longer than all the rest.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from bridge import statuses
from bridge.pacs.arrived import Arrived
from bridge.pacs.cache import WRITERS, Cache
from bridge.scp import store
from bridge.settings import PacsSettings
from bridge.upper.association import Association
from bridge.upper.command import Tag
from bridge.upper.messages import DataSet, Message
from service.archive.port import Outcome, Refused, Stored
from service.dicom.errors import ArchiveError, StoreUnavailable
from service.dicom.part10 import file_head
from service.dicom.record import Held
from service.dicom.resource import InstanceKey

log = logging.getLogger("isthmus.pacs")

_BLOCK = 1 << 20
_CHUNK = 1 << 17  # to be woken seldom, and often enough to tell that the peer is sending
_TOGETHER_BYTES = 16 << 20
_TOGETHER = 64  # instances
_MOST_PLACED_BYTES = 512 << 20
# How long nothing is read before it begins, and when it is over; and how long it takes at most.
_BEGINS_WITHIN_S, _STILL_S, _LONGEST_REST_S = 0.25, 0.05, 2.0


class Landing:
    """Takes the instances of one study.

    `on_landed` is told of those that can be read, `on_life` of each sign that the peer is sending, and
    `on_placed`, where there is no hurry, of those whose bytes are there, once they all are; it says whether
    somebody is being answered with them.
    """

    def __init__(
        self,
        cache: Cache,
        study: str,
        settings: PacsSettings,
        *,
        on_landed: Callable[[Sequence[InstanceKey]], None],
        on_life: Callable[[], None] = lambda: None,
        on_placed: Callable[[Sequence[Held]], Awaitable[bool]] | None = None,
    ) -> None:
        self.landed = 0
        self.refused: list[Refused] = []
        self.trouble: ArchiveError | None = None
        self._cache = cache
        self._study = study
        self._settings = settings
        self._on_landed = on_landed
        self._on_life = on_life
        self._on_placed = on_placed
        self._hurried = asyncio.Event()
        self._placed: list[Held] = []
        self._placed_bytes = 0
        self._waiting: deque[Arrived] = deque()
        self._held_bytes = 0
        self._at_work = 0
        self._writing: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._moved = asyncio.Event()

    async def serve(self, message: Message, association: Association) -> int:
        """Serve a C-STORE request that came on the association of a C-GET, the response included."""
        status = store.refusal(message.context, message.command)
        if status is None and message.data is not None:
            first, status = await store.checked_head(message, message.data)
            if status is None:
                # Whoever watches the association sees that it is sending, so that it is waited for whole.
                whole = self._settings.whole_bytes
                status = await self.take(message, first, message.data, association.calling, at_once=whole)
        elif status is None:
            status = statuses.MISTYPED_ARGUMENT
        if message.data is not None and not message.data.at_end:
            await message.data.drop()
        await association.send(message.context.context_id, message.command.answered(status))
        return status

    async def take(
        self, message: Message, first: list[bytes], data: DataSet, source: str, *, at_once: int = _CHUNK
    ) -> int:
        """Take an instance whose first bytes are `first`; the status for the peer.

        It is a sign of life each time that `at_once` bytes have come.

        Success is said of what is here, before it is written: the peer keeps it in any case.
        """
        self._alive()
        command = message.command
        sop_class, sop_instance = (
            command.text(Tag.AFFECTED_SOP_CLASS),
            command.text(Tag.AFFECTED_SOP_INSTANCE),
        )
        head = file_head(sop_class, sop_instance, message.context.syntax, source_ae_title=source)
        blocks, size = [head, *first], len(head) + sum(map(len, first))
        while not data.at_end and size <= self._settings.whole_bytes:
            more = await data.read(at_once)
            blocks += more
            size += sum(map(len, more))
            self._alive()
        if self.trouble is not None:
            return statuses.store_status(self.trouble)
        if not data.at_end:
            return await self._stream(blocks, data)
        await self._queue(Arrived(blocks, size, sop_class, sop_instance, message.context.syntax))
        return statuses.SUCCESS

    def hurry(self) -> None:
        """Have each instance entered as soon as it is there, from here on: somebody waits for one."""
        if not self._hurried.is_set():
            self._hurried.set()
            if self._placed:
                self._begin(self._enter_placed())

    async def drained(self) -> None:
        """Return when all that came can be read."""
        await self._written_out()
        if self._placed and self._on_placed is not None and await self._on_placed(tuple(self._placed)):
            await self._rest()
        self._hurried.set()  # what comes yet is entered as it comes
        await self._enter_placed()
        await self._written_out()

    async def progress(self, within_s: float) -> bool:
        """Return when something has landed or been refused; false if nothing even arrives in time."""
        seen = (self.landed, len(self.refused))
        try:
            async with asyncio.timeout(within_s) as deadline:
                while (self.landed, len(self.refused)) == seen:
                    self._moved.clear()
                    await self._moved.wait()
                    deadline.reschedule(asyncio.get_running_loop().time() + within_s)
        except TimeoutError:
            return False
        return True

    @property
    def _may_place(self) -> bool:
        no_hurry = self._on_placed is not None and not self._hurried.is_set()
        return no_hurry and self._placed_bytes < _MOST_PLACED_BYTES

    async def _written_out(self) -> None:
        while self._writing:
            done, _ = await asyncio.wait(self._writing)
            for task in done:
                task.result()

    async def _rest(self) -> None:
        """Leave the processor to whoever is being answered: until nothing is read, for a moment at most."""
        begun = time.monotonic()
        while (now := time.monotonic()) - begun < _LONGEST_REST_S:
            read_at = self._cache.read_at
            ends_at = read_at + _STILL_S if read_at > begun else begun + _BEGINS_WITHIN_S
            if now >= ends_at or self._hurried.is_set():
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ends_at - now):
                    await self._hurried.wait()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _queue(self, arrived: Arrived) -> None:
        while self._held_bytes > self._settings.unwritten_bytes:
            self._room.clear()
            await self._room.wait()
        self._waiting.append(arrived)
        self._held_bytes += arrived.size_bytes
        if self._at_work < WRITERS:
            self._at_work += 1  # until it has seen that nothing waits: nothing is left lying
            self._begin(self._write())

    async def _write(self) -> None:
        """Write what waits; one batch is digested while rows are made of the other's."""
        try:
            while self._waiting:
                batch = self._batch()
                try:
                    left = await self._place(batch) if self._may_place else batch
                    if left:
                        blocks = [arrived.blocks for arrived in left]
                        self._note(await self._in_writer(self._cache.put, blocks, self._study))
                except ArchiveError as error:
                    self.trouble = error
                finally:
                    self._held_bytes -= sum(arrived.size_bytes for arrived in batch)
                    self._room.set()
        finally:
            self._at_work -= 1

    async def _place(self, batch: Sequence[Arrived]) -> Sequence[Arrived]:
        """Write the bytes of instances; those that have to be looked at more closely are left."""
        placed, left = await self._in_writer(self._cache.place, batch, self._study)
        self._placed += placed
        self._placed_bytes += sum(one.size for one in placed)
        if self._hurried.is_set():
            await self._enter_placed()
        return left

    async def _enter_placed(self) -> None:
        """Find out what those are whose bytes are there, a few at a time."""
        while self._placed:
            self._placed.sort(key=lambda one: -one.row)  # of what came twice the first one stays
            some, self._placed = self._placed[:_TOGETHER], self._placed[_TOGETHER:]
            try:
                self._note(await self._in_writer(self._cache.enter, some, self._study))
            except ArchiveError as error:
                self.trouble = error
                self._cache.leave(one.object_key for one in some)

    async def _in_writer[**P, R](self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._cache.writers, partial(work, *args, **kwargs))

    def _batch(self) -> list[Arrived]:
        batch = [self._waiting.popleft()]
        size = batch[0].size_bytes
        while self._waiting and len(batch) < _TOGETHER and size < _TOGETHER_BYTES:
            batch.append(self._waiting.popleft())
            size += batch[-1].size_bytes
        return batch

    async def _stream(self, begun: list[bytes], data: DataSet) -> int:
        """Write a large instance as it comes; the status."""
        try:
            outcomes, size = await self._streamed(begun, data)
        except ArchiveError as error:
            self.trouble = error
            return statuses.store_status(error)
        for outcome in outcomes:
            self._cache.count(outcome, size)
        self._note(outcomes)
        refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
        return refused[0].reason if refused else statuses.SUCCESS

    async def _streamed(self, begun: list[bytes], data: DataSet) -> tuple[Sequence[Outcome], int]:
        """What became of a large instance, and its size."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._cache.writers, self._cache.make_room, self._study)
        intake = self._cache.archive.intake(self._study)
        intake.begin()
        size = 0
        blocks = begun
        try:
            while blocks:
                size += sum(map(len, blocks))
                block = memoryview(b"".join(blocks))
                await self._written(partial(intake.write, block))
                self._alive()
                blocks = [] if data.at_end else await data.read(1)
                while blocks and not data.at_end and sum(map(len, blocks)) < _BLOCK:
                    blocks += await data.read(1)
            await self._written(intake.end)
        except BaseException:
            intake.refuse(statuses.CANNOT_UNDERSTAND, "The instance did not arrive whole.")
            raise
        finally:
            outcomes = await loop.run_in_executor(self._cache.writers, intake.finish)
        return outcomes, size

    async def _written(self, work: Callable[[], None]) -> None:
        """Do `work` in a writer, to its end even if who waits is called off: what follows needs its file."""
        writing = asyncio.get_running_loop().run_in_executor(self._cache.writers, work)
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise

    def _alive(self) -> None:
        self._moved.set()
        self._on_life()

    def _note(self, outcomes: Sequence[Outcome]) -> None:
        keys = [outcome.key for outcome in outcomes if isinstance(outcome, Stored)]
        for outcome in outcomes:
            if isinstance(outcome, Refused):
                self.refused.append(outcome)
                log.warning(
                    "pacs sent what cannot be kept instance=%s reason=%04X",
                    outcome.sop_instance or "?",
                    outcome.reason,
                )
                if outcome.transient:
                    self.trouble = StoreUnavailable(outcome.message)
        self.landed += len(keys)
        self._moved.set()
        if keys:
            self._on_landed(keys)
