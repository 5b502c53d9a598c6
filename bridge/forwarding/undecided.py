"""Instances whose targets are still to be found out, by what the archive tells of them and by hooks."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from bridge.archive.listing import listed
from bridge.archive.remote import RemoteArchive
from bridge.forwarding.deciding import Titles, Undecided, all_routes
from bridge.forwarding.entry import UNDECIDED, Entry, Route
from bridge.forwarding.hook import Hook
from bridge.forwarding.ledger import Ledger
from bridge.forwarding.queue import Batch
from bridge.forwarding.rules import Caller, Rule
from bridge.forwarding.settings import ForwardingSettings
from service.dicom.errors import ArchiveError, NotFound, UpstreamFailed
from service.dicom.resource import InstanceKey, Level
from service.dicom.retrieval import Wanted

log = logging.getLogger("isthmus.forwarding")

_ACCEPT = {"Accept": "application/dicom+json"}
_BATCH = 50


class Deciding:
    """Works off what is undecided, a few instances at a time; `decided` is told where each goes."""

    def __init__(
        self,
        rules: Sequence[Rule],
        titles: Titles,
        ledger: Ledger,
        archive: RemoteArchive,
        settings: ForwardingSettings,
        *,
        awaited: Callable[[str], bool],
        decided: Callable[[Sequence[Route]], None],
    ) -> None:
        self._awaited = awaited
        self._decided_on = decided
        self._rules = rules
        self._titles = titles
        self._ledger = ledger
        self._archive = archive
        self._settings = settings
        self._queue = ledger.queues[UNDECIDED]
        self._hooks = {rule.hook: Hook(rule.hook, settings) for rule in rules if rule.hook}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Have all hooks imported; `SettingError` if one cannot be."""
        for hook in self._hooks.values():
            await hook.start()

    def start(self) -> None:
        """Begin to work."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop at once: what is not decided stays so."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for hook in self._hooks.values():
            await hook.close()

    def wake(self) -> None:
        """Something has come."""
        self._wake.set()

    def hurry(self) -> None:
        """Try at once what waits for another attempt."""
        self._queue.hurry()
        self._wake.set()

    async def _run(self) -> None:
        while True:
            under_way: list[Batch] = []
            while len(under_way) < self._settings.deciding and (
                batch := self._queue.take(time.time(), _BATCH)
            ):
                under_way.append(batch)
            if under_way:
                await asyncio.gather(*map(self._decide_all, under_way))
                continue
            next_at = self._queue.next_at()
            self._wake.clear()
            wait_s = None if next_at is None else max(next_at - time.time(), 0.001)
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _decide_all(self, batch: Batch) -> None:
        """Decide on instances of one study."""
        self._ledger.begin(batch.entries)
        left = list(batch.entries)
        try:
            for entry in batch.entries:
                if await self._decided(entry):
                    left.remove(entry)
        finally:
            failures = max((entry.attempts for entry in left), default=0)
            pause_s = min(
                self._settings.retry_delay_s * 2 ** min(max(failures - 1, 0), 30),
                self._settings.retry_pause_s,
            )
            not_before = time.time() + pause_s * random.uniform(0.5, 1.0) if left else 0.0
            surplus = self._queue.give_back(batch, left, not_before)
            self._ledger.end(left)
            self._ledger.done(surplus, delivered=False)

    async def _decided(self, entry: Entry) -> bool:
        """Decide on an instance; whether it is not undecided any more."""
        waits = self._awaited(entry.instance)  # before the archive is asked, which may get it in between
        try:
            key, routes = await self._routes(entry)
            await self._ledger.route(entry, key, routes)
            self._decided_on(routes)
        except NotFound as error:
            waits = waits or self._awaited(entry.instance)
            entry.attempts += not waits
            entry.error = str(error)
            last = not waits and entry.attempts >= self._settings.missing_tries
        except (Undecided, ArchiveError) as error:
            entry.attempts += 1
            entry.error = str(error)
            last = False
        except Exception:
            log.exception("forwarding instance=%s unexpected error", entry.instance)
            entry.attempts += 1
            entry.error = "An unexpected error; the log tells more."
            last = False
        else:
            return True
        self._queue.error = entry.error
        if last or time.time() - entry.since > self._settings.give_up_s:
            self._ledger.fail(entry, entry.error)
            return True
        return False

    async def _routes(self, entry: Entry) -> tuple[InstanceKey, list[Route]]:
        """Which instance it is, and where it goes beside where it goes already."""
        key = await self._key(entry)
        attributes = await self._metadata(key)
        found = await all_routes(
            self._rules,
            entry.caller or Caller(""),
            datetime.fromtimestamp(entry.came_at),
            attributes,
            self._titles,
            targets=[target for target in self._ledger.queues if target != UNDECIDED],
            ask=self._ask,
        )
        return key, [route for route in found if route.target not in entry.routed]

    async def _ask(self, rule: Rule, told: Mapping[str, Any]) -> tuple[str, ...] | None:
        return await self._hooks[rule.hook].ask(told)

    async def _key(self, entry: Entry) -> InstanceKey:
        if entry.study and entry.series:
            return InstanceKey(entry.study, entry.series, entry.instance)
        for one in await listed(self._archive, Wanted(Level.INSTANCE, instances=(entry.instance,))):
            return one.key
        raise NotFound("The archive does not have it.")

    async def _metadata(self, key: InstanceKey) -> dict[str, Any]:
        """The attributes of an instance, in DICOM JSON (PS3.18 10.4.1.1.2)."""
        answer = await self._archive.open(f"{key.path}/metadata", _ACCEPT)
        try:
            body = bytearray()
            while answer.status == 200 and (blocks := await answer.read()):
                body += b"".join(blocks)
                if len(body) > self._settings.metadata_bytes:
                    raise UpstreamFailed("The archive's metadata of it are longer than is read.")
        finally:
            answer.close()
        if answer.status in (404, 410):
            raise NotFound("The archive does not have it.")
        if answer.status != 200:
            raise UpstreamFailed(f"The archive answers {answer.status} to a request for its metadata.")
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError as cause:
            raise UpstreamFailed("The archive's metadata of it are no JSON.") from cause
        if not isinstance(found, list) or not found or not isinstance(found[0], dict):
            raise UpstreamFailed("The archive's metadata of it are no list of data sets.")
        first: dict[str, Any] = found[0]
        return first
