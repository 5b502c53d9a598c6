"""All that was promised to be sent on: what waits, what has failed for good, and the journal of both."""

import itertools
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bridge.forwarding.entry import UNDECIDED, Entry, Route
from bridge.forwarding.journal import Journal, Record
from bridge.forwarding.queue import Queue
from bridge.forwarding.settings import ForwardingSettings
from bridge.state import StateUnavailable
from service.dicom.errors import Busy, NotFound, StoreUnavailable
from service.dicom.resource import InstanceKey

log = logging.getLogger("isthmus.forwarding")

_UNKNOWN = "The target is not in ISTHMUS_PEERS."
_RING = "It was sent there {} times within the hour: rules of several servers lead in a circle."


class Ledger:
    """The entries by target; used on one loop. What `enter` has returned of is on disk."""

    def __init__(self, folder: Path, targets: Iterable[str], settings: ForwardingSettings) -> None:
        self._settings = settings
        self._journal = Journal(folder, self._snapshot, segment_bytes=settings.segment_bytes)
        self._numbers = itertools.count(1)
        self._highest = 0
        self._failed: dict[int, Entry] = {}
        self._in_flight: dict[int, Entry] = {}
        self._recent = Recent(settings.remembered, settings.round_s, settings.rounds)
        self._warned_at = float("-inf")
        self.queues = {target: Queue(settings.gather_s) for target in targets}
        self.queues[UNDECIDED] = Queue(0.0)
        self.delivered: Counter[str] = Counter()
        """How many instances each target has taken."""

    async def load(self) -> int:
        """Take up what the program left when it ended; how much that is. `StateUnavailable`."""
        entries: dict[int, Entry] = {}
        for record in await self._journal.load():
            try:
                self._replay(record, entries)
            except (ValueError, TypeError, IndexError, KeyError):
                log.error("forwarding record=%s means nothing", record[:2])
        self._numbers = itertools.count(self._highest + 1)
        for entry in entries.values():
            entry.came_at = min(entry.came_at, time.time())  # the clock may have been set back meanwhile
            if entry.failed_at:
                self._failed[entry.number] = entry
            elif entry.route.target not in self.queues:
                self.fail(entry, _UNKNOWN)
            else:
                self.queues[entry.route.target].add(entry, entry.came_at)
        if entries:
            await self._journal.compact()
        return len(entries)

    async def close(self) -> None:
        """Finish what is being written."""
        await self._journal.close()

    def __len__(self) -> int:
        return sum(map(len, self.queues.values())) + len(self._failed)

    def require_room(self, entries: int) -> None:
        """Raise `Busy` where so many more would be too many."""
        held, most = len(self), self._settings.most
        if held + entries > most:
            if time.monotonic() - self._warned_at > self._settings.warn_s:
                self._warned_at = time.monotonic()
                log.error(
                    "forwarding is full waiting=%d failed=%d most=%d: instances are refused (A700) until "
                    "targets take what waits, or GET /forwarding/failed is retried or deleted; "
                    "ISTHMUS_FORWARD_MAX allows more",
                    held - len(self._failed),
                    len(self._failed),
                    most,
                )
            raise Busy("Too much waits to be forwarded.")

    def new_number(self) -> int:
        """A number that no other entry has had."""
        self._highest = next(self._numbers)
        return self._highest

    async def enter(self, entries: Sequence[Entry], replaced: Entry | None = None) -> None:
        """Promise `entries`, in the place of `replaced`; `StoreUnavailable` if the disk does not take them.

        One that waits to go the same way already is the same promise.
        """
        promised: list[Entry] = []
        for entry in entries:
            queue = self.queues[entry.route.target]
            same = queue.find(entry.route, entry.study, entry.series, entry.instance)
            if same is None and self._recent.too_often(entry):
                entry.failed_at = time.time()
                entry.error = _RING.format(self._settings.rounds)
                self._failed[entry.number] = entry
                log.warning("forwarding target=%s goes in a circle: %s", entry.route.target, entry.instance)
            else:
                queue.add(same or entry, entry.came_at)
            promised.append(same or entry)
        records: list[Record] = [entry.record() for entry in promised]
        records += [entry.failure() for entry in promised if entry.failed_at]
        if replaced is not None:
            records.append(["done", replaced.number])
        try:
            await self._journal.append(*records)
        except StateUnavailable as error:
            self._withdraw(promised)
            raise StoreUnavailable(f"What is to be forwarded cannot be kept on disk ({error}).") from error
        except BaseException:  # nobody waits for the promise any more
            self._withdraw(promised)
            raise
        for entry in promised:
            if not entry.kept:
                entry.kept = True
                if not entry.failed_at:  # another who promised the same may have withdrawn it meanwhile
                    self.queues[entry.route.target].add(entry, entry.came_at)

    async def route(self, undecided: Entry, key: InstanceKey, routes: Sequence[Route]) -> None:
        """Promise an instance, of which that was to be found out, to where it goes. `StoreUnavailable`."""
        entries = [
            Entry(self.new_number(), key.study, key.series, key.instance, undecided.came_at, route)
            for route in routes
        ]
        if entries:
            await self.enter(entries, replaced=undecided)
            self.end([undecided])
        else:
            self.done([undecided], delivered=False)

    def begin(self, entries: Iterable[Entry]) -> None:
        """These are being worked on: they belong to no queue for a while."""
        self._in_flight.update((entry.number, entry) for entry in entries)

    def end(self, entries: Iterable[Entry]) -> None:
        """These are not being worked on any more."""
        for entry in entries:
            self._in_flight.pop(entry.number, None)

    def done(self, entries: Sequence[Entry], *, delivered: bool = True) -> None:
        """These are over."""
        self.end(entries)
        for entry in entries:
            if delivered:
                self.delivered[entry.route.target] += 1
                self._recent.note(entry)
        if entries:
            self._journal.note(["done", *(entry.number for entry in entries)])

    def fail(self, entry: Entry, reason: str) -> None:
        """Set an entry aside until somebody looks at it."""
        entry.failed_at, entry.error = time.time(), reason
        self._in_flight.pop(entry.number, None)
        self._failed[entry.number] = entry
        self._journal.note(entry.failure())

    @property
    def failed(self) -> list[Entry]:
        """Those that failed for good, the latest first."""
        return sorted(self._failed.values(), key=lambda entry: entry.failed_at, reverse=True)

    def failed_by_target(self) -> Counter[str]:
        """How many have failed for good on their way to each target."""
        return Counter(entry.route.target for entry in self._failed.values())

    def failed_one(self, name: str) -> Entry:
        """A failed one by its name; `NotFound`."""
        found = self._failed.get(int(name)) if name.isascii() and name.isdigit() and len(name) < 19 else None
        if found is None:
            raise NotFound("Nothing of this name has failed; it may have been retried or deleted.")
        return found

    async def retry(self, entries: Sequence[Entry]) -> int:
        """Try failed ones again, those to targets that are known; how many they are. `StoreUnavailable`."""
        again = [one for one in entries if one.number in self._failed and one.route.target in self.queues]
        now = time.time()
        await self._written([["retry", now, *(entry.number for entry in again)]])
        # Without those that somebody else has taken up, or given up, meanwhile.
        again = [entry for entry in again if self._failed.pop(entry.number, None)]
        for entry in again:
            entry.failed_at, entry.attempts, entry.since, entry.kept = 0.0, 0, now, True
            queue = self.queues[entry.route.target]
            if queue.find(entry.route, entry.study, *entry.key) is None:
                queue.add(entry, 0.0)
            else:
                self.done([entry], delivered=False)
        return len(again)

    async def forget(self, entries: Sequence[Entry]) -> None:
        """Give failed ones up. `StoreUnavailable`."""
        await self._written([["done", *(entry.number for entry in entries)]])
        for entry in entries:
            self._failed.pop(entry.number, None)

    async def _written(self, records: Sequence[Record]) -> None:
        try:
            await self._journal.append(*records)
        except StateUnavailable as error:
            raise StoreUnavailable(f"It cannot be kept on disk ({error}).") from error

    def _withdraw(self, entries: Iterable[Entry]) -> None:
        """Forget what did not get on disk, unless it is a promise of before."""
        for entry in entries:
            if not entry.kept:
                self._failed.pop(entry.number, None)
                self.queues[entry.route.target].remove(entry)

    def _snapshot(self) -> Iterator[Record]:
        """Everything that is promised, gathered at once; the records are made one by one."""
        waiting = [entry for queue in self.queues.values() for entry in queue]
        failed = list(self._failed.values())
        return _records(self._highest, [*waiting, *self._in_flight.values(), *failed], failed)

    def _replay(self, record: Record, entries: dict[int, Entry]) -> None:
        kind = record[0]
        if kind == "due":
            entry = Entry.of(record)
            entries.setdefault(entry.number, entry)
            self._highest = max(self._highest, entry.number)
        elif kind == "number":
            self._highest = max(self._highest, int(record[1]))
        elif kind == "done":
            for number in record[1:]:
                entries.pop(int(number), None)
        elif kind == "failed":
            entry = entries[int(record[1])]
            entry.failed_at, entry.attempts, entry.error = float(record[2]), int(record[3]), str(record[4])
        elif kind == "retry":
            for number in record[2:]:
                if int(number) in entries:
                    entries[int(number)].failed_at, entries[int(number)].since = 0.0, float(record[1])
        else:
            raise ValueError(kind)


def _records(highest: int, entries: Sequence[Entry], failed: Sequence[Entry]) -> Iterator[Record]:
    yield ["number", highest]
    for entry in entries:
        yield entry.record()
    for entry in failed:
        yield entry.failure()


class Recent:
    """How often each instance went to each target of late; the oldest are forgotten."""

    def __init__(self, most: int, within_s: float, rounds: int) -> None:
        self._most = most
        self._within_s = within_s
        self._rounds = rounds
        self._sent: OrderedDict[int, tuple[float, int]] = OrderedDict()

    def note(self, entry: Entry) -> None:
        """An instance was taken by its target."""
        now, name = time.monotonic(), _name(entry)
        begun_at, times = self._sent.pop(name, (now, 0))
        self._sent[name] = (now, 1) if now - begun_at > self._within_s else (begun_at, times + 1)
        if len(self._sent) > self._most:
            self._sent.popitem(last=False)

    def too_often(self, entry: Entry) -> bool:
        """Whether it went there so often that it can only come in a circle."""
        begun_at, times = self._sent.get(_name(entry), (0.0, 0))
        return times >= self._rounds and time.monotonic() - begun_at <= self._within_s


def _name(entry: Entry) -> int:
    return hash((entry.route.target, entry.study, entry.series, entry.instance))
