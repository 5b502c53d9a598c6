"""The cache filled from the PACS, each thing once however many ask for it.

A study or a series that is asked for is listed by C-FIND, compared with what is in the cache, and what is
missing is retrieved at the level that was asked. An instance that is asked for alone is retrieved alone,
unless more of its series follow: then all of it comes. Who waits for an instance has it as soon as it has
landed, whatever it came with.
"""

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from bridge.pacs.cache import Cache, SeriesKey
from bridge.pacs.cfind import Unanswered
from bridge.pacs.known import Known, Listing
from bridge.pacs.landing import Landing
from bridge.pacs.line import Line
from bridge.pacs.listing import Instances, listed
from bridge.pacs.planning import FEW, planned
from bridge.pacs.runs import Round, Run, count, is_part
from bridge.pacs.transfer import Outcome, Transfer, Wanted, Watch
from bridge.settings import PacsSettings
from service.dicom.errors import (
    ArchiveError,
    NotFound,
    StoreUnavailable,
    UpstreamFailed,
    UpstreamTimeout,
)
from service.dicom.record import Held
from service.dicom.resource import InstanceKey, Level, Resource

log = logging.getLogger("isthmus.pacs")

_MOST_REMEMBERED = 1000  # series of which instances were asked for alone
_ROUNDS = 4  # of a retrieval that breaks off, as long as each brings something
_HOPELESS = (StoreUnavailable, UpstreamTimeout)  # what asking again at once does not mend


class Fetching:
    """All retrievals from one PACS; used on the loop of the associations but for `Known`."""

    def __init__(
        self, line: Line, transfer: Transfer, cache: Cache, known: Known, settings: PacsSettings
    ) -> None:
        self._line = line
        self._transfer = transfer
        self._cache = cache
        self._known = known
        self._settings = settings
        self._runs: dict[Resource, Run] = {}
        self._tasks: dict[tuple[str, Resource], asyncio.Task[Any]] = {}
        self._waiting: dict[InstanceKey, list[asyncio.Future[None]]] = {}
        self._waiting_series: dict[SeriesKey, list[asyncio.Future[None]]] = {}
        self._singles: dict[SeriesKey, deque[float]] = {}
        self._too_large: set[SeriesKey] = set()

    async def ready(self, resource: Resource) -> None:
        """Return when what can be had of `resource` is in the cache.

        Raises `NotFound`, `Busy`, `NotAuthorized`, `DestinationUnknown`, `StoreUnavailable`, `TooMany`,
        `UpstreamFailed` or `UpstreamTimeout`.
        """
        if resource.level is Level.INSTANCE:
            await self._instance(resource)
            return
        while not self._known.is_fresh(resource):
            covering = self._covering(resource)
            if covering is None or covering.resource == resource:
                run = self._run(resource)
                run.hurry()
                await asyncio.shield(run.task)
                return
            if await self._came_along(resource, covering):
                return

    async def landed(self, resource: Resource) -> Sequence[Held] | None:
        """The instances of a study or series when the bytes of all of them are in the store.

        `None` where nothing of it is gained over `ready`. Raises as that does.
        """
        covering = self._covering(resource)
        if covering is not None and covering.resource != resource:
            return None
        run = covering or self._run(resource, patient=True)
        await asyncio.wait((run.task, run.landed), return_when=asyncio.FIRST_COMPLETED)
        if run.landed.done() and not run.landed.cancelled():
            return run.landed.result()
        await asyncio.shield(run.task)
        return None

    def refresh(self, resource: Resource) -> None:
        """Ask the PACS again, with nobody waiting for it."""
        if resource.series is not None:
            resource = Resource(resource.study, resource.series)
        if self._covering(resource) is None and not self._known.is_fresh(resource, part=0.5):
            self._run(resource)

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [run.task for run in self._runs.values()] + list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Studies and series.

    def _covering(self, resource: Resource) -> Run | None:
        """The retrieval under way that `resource` is part of, the narrowest first."""
        places = [resource, Resource(resource.study, resource.series), Resource(resource.study)]
        return next((run for place in places if (run := self._runs.get(place)) is not None), None)

    def _run(self, resource: Resource, *, patient: bool = False) -> Run:
        """Begin to retrieve a study or a series, or join in."""
        run = self._runs.get(resource)
        if run is None:
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._fetch(resource))
            run = self._runs[resource] = Run(resource, task, loop.create_future(), patient)
            task.add_done_callback(lambda done: self._ended(resource, done))
        return run

    def _ended(self, resource: Resource, task: "asyncio.Task[None]") -> None:
        self._runs.pop(resource, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log(resource, error)
        for key in [key for key in self._waiting if key.study == resource.study]:
            _wake(self._waiting.pop(key))
        for series in [key for key in self._waiting_series if key.study == resource.study]:
            _wake(self._waiting_series.pop(series))

    async def _came_along(self, resource: Resource, run: Run) -> bool:
        """Wait for a series that comes with its study: whether it is there; if not, it is to be seen again.

        However long the study takes: the word of the PACS is as old as its retrieval.
        """
        assert resource.series is not None
        key = SeriesKey(resource.study, resource.series)
        run.hurry()
        if key not in run.settled:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting_series.setdefault(key, []).append(waiter)
            await waiter
        if key in run.settled:
            return True
        if run.task.done():
            await run.task  # raises what went wrong
            raise NotFound("The PACS has no such series.")
        return False

    async def _fetch(self, resource: Resource) -> None:
        """Bring what the PACS has of a study or series into the cache, and note what it has."""
        parts = [run.task for run in self._runs.values() if is_part(run.resource, resource)]
        if parts:  # what they bring need not come again
            await asyncio.wait(parts)
        try:
            found: dict[SeriesKey, Instances] | None = await listed(self._line, resource, self._settings)
        except Unanswered:
            found = None
        held = await self._held(resource)
        if found is None:
            await self._fetch_unlisted(resource)
            return
        if resource.series is None:
            self._known.list_study(resource.study, found)
        found = {key: self._known.list_series(key, told).instances for key, told in found.items()}
        for key in held.keys() - found.keys():
            await asyncio.to_thread(self._cache.forget, key.resource)
            self._known.forget(key)
        if not found:
            raise NotFound(f"The PACS has no such {resource.level.name.lower()}.")
        missing = {key: await self._compared(key, found[key], held.get(key, {})) for key in found}
        run = self._runs.get(resource)
        if run is not None:
            run.missing = {key: set(uids) for key, uids in missing.items() if uids}
            run.listed = {
                InstanceKey(key.study, key.series, uid) for key, told in found.items() for uid in told or ()
            }
            run.patient &= None not in missing.values()  # else nobody knows when all is there
        for key, uids in missing.items():
            if uids is not None and not uids:
                self._complete(key)
        await self._retrieve(resource, found, missing, held)

    async def _held(self, resource: Resource) -> dict[SeriesKey, dict[str, str]]:
        """Classes by instance of each series that is in the cache."""
        held: dict[SeriesKey, dict[str, str]] = {}
        for one in await asyncio.to_thread(self._cache.held, resource):
            held.setdefault(SeriesKey(one.key.study, one.key.series), {})[one.key.instance] = one.sop_class
        return held

    async def _compared(
        self, key: SeriesKey, told: Instances, held: Mapping[str, str]
    ) -> Collection[str] | None:
        """What the cache lacks of a series, `None` for all that there may be; what is gone is let go of."""
        if told is None:
            return None
        for instance in held.keys() - told.keys():
            await asyncio.to_thread(self._cache.forget, Resource(key.study, key.series, instance))
        return told.keys() - held.keys()

    async def _retrieve(
        self,
        resource: Resource,
        found: Mapping[SeriesKey, Instances],
        missing: Mapping[SeriesKey, Collection[str] | None],
        held: Mapping[SeriesKey, Mapping[str, str]],
    ) -> None:
        """Retrieve what is missing, and note what could not be had."""
        classes = {each for told in found.values() for each in (told or {}).values() if each}
        have = held
        for _ in range(_ROUNDS):
            came = await self._round(resource, found, missing, classes)
            before, have = have, await self._held(resource)
            missing = {key: _left(told, have.get(key, {})) for key, told in found.items()}
            hopeless = isinstance(came.error, _HOPELESS)
            if not came.broken or hopeless or count(have) <= count(before):
                break
        if came.error is not None and not hopeless:
            have = await self._again(resource, found, have, classes) or have
        if not any(have.values()):
            raise came.error or NotFound("The PACS has sent nothing of what it lists.")
        for key in found:
            got, short = have.get(key, {}), came.short.get(key, 0)
            self._known.settle(key, got, unnamed=short, broken=came.broken)
            self._settled(key)
        lacking = self._known.lacking(resource)
        if lacking:
            log.warning("pacs peer=%s study=%s lacking=%d", self._line.peer.name, resource.study, lacking)

    async def _round(
        self,
        resource: Resource,
        found: Mapping[SeriesKey, Instances],
        missing: Mapping[SeriesKey, Collection[str] | None],
        classes: Collection[str],
    ) -> Round:
        """Ask once for all that is missing."""
        came = Round()
        for wanted, keys in planned(resource, found, missing):
            counts = [missing[key] for key in keys]
            expected = None if None in counts else sum(len(uids) for uids in counts if uids is not None)
            outcome, trouble = await self._transferred(wanted, classes, expected)
            came.error = trouble or (None if outcome.is_success else outcome.error()) or came.error
            came.broken |= trouble is not None
            short = max(outcome.short, 1 if trouble is not None else 0)
            came.short |= {key: short for key in keys if found[key] is None and short}
            if isinstance(trouble, _HOPELESS):
                break
        return came

    async def _again(
        self,
        resource: Resource,
        found: Mapping[SeriesKey, Instances],
        have: Mapping[SeriesKey, Mapping[str, str]],
        known: Collection[str],
    ) -> dict[SeriesKey, dict[str, str]] | None:
        """What is there after another attempt at what did not come for want of its class being known."""
        lacking = {key: set(told or ()) - set(have.get(key, ())) for key, told in found.items()}
        if not any(lacking.values()):
            return None
        try:
            told = await listed(self._line, resource, self._settings, classes=True)
        except ArchiveError:
            return None
        for key, uids in lacking.items():
            classes = {each for uid, each in (told.get(key) or {}).items() if uid in uids and each}
            if uids and classes - set(known):
                for some in itertools.batched(sorted(uids), FEW):
                    await self._transferred(Wanted(key.resource, some), classes, len(some))
        return await self._held(resource)

    async def _fetch_unlisted(self, resource: Resource) -> None:
        """Retrieve what the PACS does not list, by its word on how many there were."""
        outcome, trouble = await self._transferred(Wanted(resource), (), None)
        have = await self._held(resource)
        if not have:
            error = trouble or (None if outcome.is_success else outcome.error())
            raise error or NotFound(f"The PACS has no such {resource.level.name.lower()}.")
        short = max(outcome.short, 1 if trouble is not None else 0)
        for key, got in have.items():  # whichever it is that lacks something
            self._known.list_series(key, None)
            self._known.settle(key, got, unnamed=short, broken=trouble is not None)
            self._settled(key)
        if resource.series is None:
            self._known.list_study(resource.study, have)

    async def _transferred(
        self, wanted: Wanted, classes: Iterable[str], expected: int | None
    ) -> tuple[Outcome, ArchiveError | None]:
        """One retrieval; what went wrong with it, unless something came all the same."""
        watch = Watch(self._line.limits.response_s)
        run = self._covering(wanted.resource)
        landing = Landing(
            self._cache,
            wanted.resource.study,
            self._settings,
            on_landed=self._landed,
            on_life=watch.touch,
            on_placed=partial(self._placed, run) if run is not None and run.patient else None,
        )
        if run is not None:
            run.await_from(landing)
        outcome = Outcome()
        trouble: ArchiveError | None = None
        try:
            outcome = await self._transfer.run(wanted, classes, landing, watch, expected=expected)
        except ArchiveError as error:
            await landing.drained()
            trouble = error
        outcome.landed = landing.landed
        return outcome, landing.trouble or trouble

    async def _placed(self, run: Run, held: Sequence[Held]) -> bool:
        """The bytes of instances have come: tell who waits for that, if it is all; whether it is."""
        entered = await asyncio.to_thread(self._cache.held, run.resource)
        whole = run.whole(entered, held)
        if whole is None or run.landed.done():
            return False
        run.landed.set_result(whole)
        return True

    def _landed(self, keys: Sequence[InstanceKey]) -> None:
        """Instances are in the cache: tell who waits for them."""
        self._known.arrived(keys)
        for key in keys:
            _wake(self._waiting.pop(key, ()))
            series = SeriesKey(key.study, key.series)
            for run in self._runs.values():
                left = run.missing.get(series)
                if left is not None:
                    left.discard(key.instance)
                    if not left:
                        del run.missing[series]
                        self._complete(series)

    def _complete(self, key: SeriesKey) -> None:
        self._known.complete(key)
        self._settled(key)

    def _settled(self, key: SeriesKey) -> None:
        """Let those have a series who wait for it."""
        for run in self._runs.values():
            if run.resource in (key.resource, Resource(key.study)):
                run.settled.add(key)
        _wake(self._waiting_series.pop(key, ()))

    # Instances.

    async def _instance(self, resource: Resource) -> None:
        assert resource.series is not None and resource.instance is not None
        key = InstanceKey(resource.study, resource.series, resource.instance)
        series = SeriesKey(key.study, key.series)
        waited = False
        while True:
            listing = self._known.listing(series)
            run = self._covering(Resource(key.study, key.series))
            if await asyncio.to_thread(self._cache.held, resource):
                if self._known.is_fresh(resource):
                    return
                if listing is None:  # it is here: is it there still?
                    await self._once("list", series.resource, self._relist(series))
                    continue
            if (
                listing is not None
                and listing.instances is not None
                and key.instance not in listing.instances
            ):
                await asyncio.to_thread(self._cache.forget, resource)
                raise NotFound("The PACS has no such instance.")
            if run is not None:
                await self._until_landed(key, run)
                waited = True
                continue
            if waited and listing is not None and key.instance in listing.lacking:
                raise UpstreamFailed("The PACS lists this instance and could not send it.")
            if not waited and await self._is_wanted_whole(series, listing):
                self._run(series.resource)
                continue
            await self._once("single", resource, self._single(key, listing))
            return

    async def _until_landed(self, key: InstanceKey, run: Run) -> None:
        """Wait until an instance has landed or the retrieval that it may come with is over."""
        run.hurry()
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(waiter)
        if run.task.done():
            _wake(self._waiting.pop(key, ()))
        await waiter
        if run.task.done() and not run.task.cancelled() and (error := run.task.exception()) is not None:
            raise error

    async def _relist(self, key: SeriesKey) -> None:
        found = await listed(self._line, key.resource, self._settings)
        self._known.list_series(key, found.get(key, {}))

    async def _is_wanted_whole(self, key: SeriesKey, listing: Listing | None) -> bool:
        """Whether so many of a series were asked for one by one that all of it is fetched."""
        at = time.monotonic()
        if len(self._singles) >= _MOST_REMEMBERED:
            self._singles.pop(next(iter(self._singles)))
        asked = self._singles.setdefault(key, deque(maxlen=self._settings.singles + 1))
        asked.append(at)
        often = len(asked) > self._settings.singles and at - asked[0] < self._settings.single_s
        if not often or key in self._too_large:
            return False
        if listing is None:
            await self._once("list", key.resource, self._relist(key))
            listing = self._known.listing(key)
        held = await asyncio.to_thread(self._cache.held, key.resource)
        if held and listing is not None and listing.instances is not None:
            mean = sum(one.size for one in held) / len(held)
            if mean * len(listing.instances) > self._settings.cache_bytes / 2:
                self._too_large.add(key)
                return False
        return True

    async def _single(self, key: InstanceKey, listing: Listing | None) -> None:
        """Retrieve one instance; a second time with exactly its class if the first does not succeed."""
        resource = Resource(key.study, key.series, key.instance)
        told = (listing.instances or {}).get(key.instance, "") if listing is not None else ""
        outcome, trouble = await self._transferred(Wanted(resource), [told] if told else [], 1)
        if await asyncio.to_thread(self._cache.held, resource):
            return
        if trouble is not None:
            raise trouble
        series = SeriesKey(key.study, key.series)
        if listing is None:
            await self._once("list", series.resource, self._relist(series))
            listing = self._known.listing(series)
        instances = listing.instances if listing is not None else None
        if instances is not None and key.instance not in instances:
            raise NotFound("The PACS has no such instance.")
        if not told and instances is not None:
            classes = (await listed(self._line, series.resource, self._settings, classes=True)).get(series)
            named = [each for each in [(classes or {}).get(key.instance, "")] if each]
            outcome, trouble = await self._transferred(Wanted(resource), named, 1)
            if await asyncio.to_thread(self._cache.held, resource):
                return
        if instances is None and outcome.is_success:
            raise NotFound("The PACS has no such instance.")
        raise trouble or outcome.error()

    async def _once(self, what: str, resource: Resource, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`, or wait for the same that somebody does already."""
        task = self._tasks.get((what, resource))
        if task is not None:
            work.close()
        else:
            task = asyncio.get_running_loop().create_task(work)
            self._tasks[what, resource] = task
            task.add_done_callback(lambda done: self._did(what, resource, done))
        await asyncio.shield(task)

    def _did(self, what: str, resource: Resource, task: "asyncio.Task[Any]") -> None:
        self._tasks.pop((what, resource), None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log(resource, error)


def _left(told: Instances, have: Mapping[str, str]) -> Collection[str] | None:
    return None if told is None else told.keys() - have.keys()


def _wake(waiters: Iterable["asyncio.Future[None]"]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


def _log(resource: Resource, error: BaseException) -> None:
    if isinstance(error, NotFound):
        return
    if isinstance(error, ArchiveError):
        log.warning("pacs resource=%s error=%s %s", resource.path, type(error).__name__, error)
    else:
        log.error("pacs resource=%s fault=%s", resource.path, type(error).__name__)
