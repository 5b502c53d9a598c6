"""The way to one target: one batch after the other, pauses where it fails, for as long as it takes."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Collection

from bridge.forwarding.couriers import Courier
from bridge.forwarding.entry import Entry
from bridge.forwarding.ledger import Ledger
from bridge.forwarding.outcomes import Outcomes
from bridge.forwarding.queue import Batch
from bridge.forwarding.settings import ForwardingSettings
from service.dicom.errors import ArchiveError
from service.dicom.resource import InstanceKey

log = logging.getLogger("isthmus.forwarding")

_LONGEST_SLEEP_S = 3600.0
_UNEXPECTED = "An unexpected error; the log tells more."
_MISSING = "The archive does not have it."
_AWAITED = "The archive does not have it yet; it waits in the spool."


class Lane:
    """Sends what waits for one target."""

    def __init__(
        self,
        target: str,
        courier: Courier,
        ledger: Ledger,
        settings: ForwardingSettings,
        awaited: Callable[[str], bool],
    ) -> None:
        self._awaited = awaited
        self._target = target
        self._courier = courier
        self._ledger = ledger
        self._queue = ledger.queues[target]
        self._settings = settings
        self._wake = asyncio.Event()
        self._stopping = False
        self._pause_s = 0.0
        self._not_before_s = 0.0  # of the monotonic clock, which nobody sets back
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop between two instances, or in the middle of one that takes long."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=self._settings.stop_s)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._courier.close()

    def wake(self) -> None:
        """Something has come."""
        self._wake.set()

    def hurry(self) -> None:
        """Try at once what waits for another attempt."""
        self._not_before_s = self._pause_s = 0.0
        self._queue.hurry()
        self._wake.set()

    @property
    def next_at(self) -> float | None:
        """When something is tried; `None` if nothing waits."""
        ready_at = self._queue.next_at()
        return None if ready_at is None else max(ready_at, time.time() + self._left_alone_s)

    @property
    def _left_alone_s(self) -> float:
        """How long the target is left alone from this moment on."""
        return self._not_before_s - time.monotonic()

    async def _run(self) -> None:
        while not self._stopping:
            now = time.time()
            batch = self._queue.take(now, self._settings.batch) if self._left_alone_s <= 0 else None
            if batch is None:
                await self._sleep(now)
            else:
                await self._carry(batch)

    async def _sleep(self, now: float) -> None:
        """Until something is due, or has come."""
        next_at = self.next_at
        self._wake.clear()
        wait_s = None if next_at is None else min(max(next_at - now, 0.001), _LONGEST_SLEEP_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wake.wait()

    async def _carry(self, batch: Batch) -> None:
        begun, route = time.monotonic(), batch.group.route
        by_key = {InstanceKey(one.study, one.series, one.instance): one for one in batch.entries}
        # Asked before the archive is, too: it may get in between what it did not have when it was asked.
        awaited = {one.instance for one in batch.entries if self._awaited(one.instance)}
        outcomes = Outcomes()
        self._ledger.begin(batch.entries)
        try:
            await self._courier.carry(
                list(by_key), outcomes, transcode=route.transcode, stopped=lambda: self._stopping
            )
        except ArchiveError as error:
            outcomes.trouble = str(error)
        except Exception:
            log.exception("forwarding target=%s unexpected error", self._target)
            outcomes.trouble = _UNEXPECTED
        finally:
            left = self._settle(batch, by_key, outcomes, awaited)
        log.log(
            logging.WARNING if left or outcomes.failed else logging.INFO,
            "forwarded target=%s study=%s taken=%d refused=%d left=%d waiting=%d seconds=%.2f%s",
            self._target,
            batch.group.study,
            len(outcomes.taken),
            len(batch.entries) - len(outcomes.taken) - left,
            left,
            len(self._queue),
            time.monotonic() - begun,
            f" because={self._queue.error!r}" if self._queue.error else "",
        )

    def _settle(
        self, batch: Batch, by_key: dict[InstanceKey, Entry], outcomes: Outcomes, awaited: Collection[str]
    ) -> int:
        """Note what became of each instance of a batch; how many are left to be tried again."""
        left: list[Entry] = []
        worst = ""
        for key, entry in by_key.items():
            if key in outcomes.taken:
                continue
            for_good = self._judge(key, entry, outcomes, awaited)
            worst = entry.error or worst
            if for_good:
                self._ledger.fail(entry, entry.error)
            else:
                left.append(entry)
        taken = [entry for key, entry in by_key.items() if key in outcomes.taken]
        self._ledger.done(taken)
        group = batch.group
        group.failures = group.failures + 1 if left and not self._stopping else 0
        pause_s = self._backoff(group.failures) if left else 0.0
        surplus = self._queue.give_back(batch, left, time.time() + pause_s)
        self._ledger.end(left)
        self._ledger.done(surplus, delivered=False)
        self._queue.error = outcomes.trouble or worst
        # A target that takes nothing at all is left alone for a while, whatever waits for it.
        useless = bool(left) and not taken
        self._pause_s = (
            min(max(2 * self._pause_s, self._settings.retry_delay_s), self._longest) if useless else 0
        )
        self._not_before_s = time.monotonic() + self._pause_s * random.uniform(0.5, 1.0)
        return len(left)

    def _judge(self, key: InstanceKey, entry: Entry, outcomes: Outcomes, awaited: Collection[str]) -> bool:
        """Note why an instance was not taken, and whether that is for good."""
        failed = outcomes.failed.get(key)
        missing = key in outcomes.missing
        if missing and (entry.instance in awaited or self._awaited(entry.instance)):
            entry.error = _AWAITED
            return False
        if failed is None and not missing:
            entry.error = outcomes.trouble or entry.error
        else:
            entry.attempts += 1
            entry.error = failed.reason if failed is not None else _MISSING
        if time.time() - entry.since > self._settings.give_up_s:
            entry.error = f"It was tried for too long (ISTHMUS_FORWARD_DAYS): {entry.error}"
            return True
        if missing:
            return entry.attempts >= self._settings.missing_tries
        return failed is not None and failed.for_good

    def _backoff(self, failures: int) -> float:
        pause_s = min(self._settings.retry_delay_s * 2.0 ** min(failures - 1, 30), self._longest)
        return pause_s * random.uniform(0.5, 1.0)  # not all studies at once

    @property
    def _longest(self) -> float:
        return self._settings.retry_pause_s
