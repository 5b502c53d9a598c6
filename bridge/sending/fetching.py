"""Instances fetched ahead of their sending, in the order in which they are wanted."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing

from bridge.archive.budget import Room
from bridge.archive.retrieving import ArchiveFailed, Arrived, Objects
from bridge.sending.routes import Listed, passes
from bridge.settings import RetrieveSettings
from service.dicom.errors import ArchiveError, NotAcceptable
from service.dicom.resource import Resource

log = logging.getLogger("isthmus.retrieve")

_LOOK_S = 0.1  # between two looks for a cancel while the archive is waited for

type Ready = tuple[Listed, Arrived | ArchiveError]
type Begun = tuple[Listed, asyncio.Task[Arrived], Room]
type Lands = Callable[[Listed, str], bool]
"""Whether an instance can be sent in a transfer syntax."""


class Fetching:
    """Fetches instances in the background, some of them ahead; whoever has it closes it.

    Those of a series that no codec has to touch come in one answer, if the whole series is wanted; the
    others, and what an answer that broke off has left, one by one with several requests under way.
    """

    def __init__(
        self,
        objects: Objects,
        wanted: Sequence[tuple[Listed, tuple[str, ...]]],
        lands: Lands,
        settings: RetrieveSettings,
        *,
        whole_series: bool,
    ) -> None:
        """`wanted` are instances and the transfer syntaxes in which they are asked for, one after another."""
        self._objects = objects
        self._lands = lands
        self._settings = settings
        self._whole_series = whole_series
        self._ready: asyncio.Queue[Ready | None] = asyncio.Queue(settings.ahead)
        self._task = asyncio.create_task(self._run(wanted))

    async def next(self, stopped: Callable[[], bool]) -> Ready | None:
        """The next instance, or why it is not to be had; `None` behind the last one or when `stopped`."""
        while self._ready.empty():
            if stopped():
                return None
            if self._task.done():
                self._task.result()  # raises what nobody expected
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    return await self._ready.get()
        return None if stopped() else self._ready.get_nowait()

    async def close(self) -> None:
        """Stop, and let go of what is not used."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        while not self._ready.empty():
            await _let_go(self._ready.get_nowait())

    async def again(self, listed: Listed, asked: Iterable[str]) -> Arrived:
        """One instance, in the first of the transfer syntaxes in which it can be had and sent."""
        refusal: ArchiveError = NotAcceptable("The archive has it in no transfer syntax that the peer takes.")
        for syntax in asked:
            try:
                arrived = await self._objects.one(listed.key, syntax)
            except (NotAcceptable, ArchiveFailed) as error:  # some call it a failure of theirs
                refusal = error
                continue
            if not arrived.is_instance(listed.sop_class, listed.key.instance):
                refusal = ArchiveFailed("The archive sent another instance than it was asked for.")
            elif self._lands(listed, arrived.head.syntax):
                return arrived
            await arrived.close()
        raise refusal

    async def _run(self, wanted: Sequence[tuple[Listed, tuple[str, ...]]]) -> None:
        series: dict[tuple[str, str], list[tuple[Listed, tuple[str, ...]]]] = {}
        for one, asked in wanted:
            series.setdefault((one.key.study, one.key.series), []).append((one, asked))
        alone: list[tuple[Listed, tuple[str, ...]]] = []
        for (study, uid), members in series.items():
            passing = [one for one, asked in members if passes(one, asked)]
            if not self._whole_series or len(passing) < 2 or len(passing) * 2 < len(members):
                alone += members
                continue
            await self._singly(alone)
            alone = await self._together(Resource(study, uid), members, passing)
        await self._singly(alone)
        await self._ready.put(None)

    async def _together(
        self,
        resource: Resource,
        members: Sequence[tuple[Listed, tuple[str, ...]]],
        passing: Iterable[Listed],
    ) -> list[tuple[Listed, tuple[str, ...]]]:
        """Fetch a series in one answer; what is left of it, to be asked for one by one."""
        awaited = {one.key.instance: one for one in passing}
        had: set[str] = set()
        try:
            async with aclosing(self._objects.many(resource)) as answer:
                async for arrived in answer:
                    one = awaited.pop(arrived.head.sop_instance, None)
                    if (
                        one is None
                        or not arrived.is_instance(one.sop_class, one.key.instance)
                        or not self._lands(one, arrived.head.syntax)
                    ):
                        await arrived.close()
                        continue
                    had.add(one.key.instance)
                    await self._hand_on(one, arrived)
        except ArchiveError as error:
            log.info("series=%s broken_off=%s had=%d", resource.series, type(error).__name__, len(had))
        return [(one, asked) for one, asked in members if one.key.instance not in had]

    async def _singly(self, wanted: Iterable[tuple[Listed, tuple[str, ...]]]) -> None:
        """Fetch instances one by one, several at a time, and hand them on in their order.

        Room for each is taken before it is asked for, so that none waits for what those behind it hold.
        """
        under_way: deque[Begun] = deque()
        try:
            for one, asked in wanted:
                while under_way and (
                    len(under_way) >= self._settings.in_flight or not self._objects.has_room
                ):
                    await self._hand_on(*await _first(under_way))
                    under_way.popleft()
                room = await self._objects.room()
                under_way.append((one, asyncio.create_task(self._into(room, one, asked)), room))
            while under_way:
                await self._hand_on(*await _first(under_way))
                under_way.popleft()
        finally:
            for _, task, room in under_way:
                task.cancel()
                room.close()
            for _, task, _ in under_way:
                results = await asyncio.gather(task, return_exceptions=True)
                if isinstance(results[0], Arrived):
                    await results[0].close()

    async def _into(self, room: Room, listed: Listed, asked: Iterable[str]) -> Arrived:
        arrived = await self.again(listed, asked)
        room.narrow(0 if arrived.whole is None else len(arrived.whole))
        arrived.room = room
        return arrived

    async def _hand_on(self, listed: Listed, arrived: Arrived | ArchiveError) -> None:
        try:
            await self._ready.put((listed, arrived))
        except BaseException:
            await _let_go((listed, arrived))
            raise


async def _first(under_way: deque[Begun]) -> Ready:
    one, task, room = under_way[0]
    try:
        return one, await asyncio.shield(task)
    except ArchiveError as error:
        room.close()
        return one, error


async def _let_go(ready: Ready | None) -> None:
    if ready is not None and isinstance(ready[1], Arrived):
        await ready[1].close()
