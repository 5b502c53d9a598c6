"""What waits for one target: studies in the order in which they came, each with its own time to be tried."""

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bridge.forwarding.entry import Entry, Route

type Key = tuple[Route, str]


@dataclass(slots=True, eq=False)
class Group:
    """The instances of one study that go the same way; `last_came_at` counts all that ever joined it.

    `looked_for_at` is when it is to be looked at in its queue, if ever.
    """

    route: Route
    study: str
    waiting: dict[tuple[str, str], Entry] = field(default_factory=dict)
    in_flight: int = 0
    last_came_at: float = 0.0
    failures: int = 0
    not_before: float = 0.0
    looked_for_at: float | None = None

    @property
    def first(self) -> Entry | None:
        """The one that came first, of those that are promises."""
        return next((entry for entry in self.waiting.values() if entry.kept), None)

    def ready_at(self, gather_s: float) -> float | None:
        """When it may be sent: it has gathered for a moment, waited, and is quiet, as far as asked for."""
        first, waits = self.first, max(gather_s, self.route.delay_s)
        if first is None:
            return None
        quiet_at = self.last_came_at + self.route.quiet_s if self.route.quiet_s else 0.0
        return max(self.not_before, first.came_at + waits, quiet_at)


@dataclass(slots=True)
class Batch:
    """Instances of one study that go together."""

    group: Group
    entries: tuple[Entry, ...]


class Queue:
    """The studies that wait for one target.

    Adding and taking cost next to nothing, however many studies wait: on its loop everybody else is served.
    """

    def __init__(self, gather_s: float) -> None:
        self._gather_s = gather_s
        self._groups: dict[Key, Group] = {}
        self._waiting = 0
        self._in_flight = 0
        self._looked_at = float("-inf")
        self._agenda: list[tuple[float, int, Group]] = []  # a heap: when to look at which
        self._ties = itertools.count()
        self.error = ""
        """Why the last batch did not go well, empty if it did."""

    def __len__(self) -> int:
        return self._waiting + self._in_flight

    def __iter__(self) -> Iterator[Entry]:
        """Those that are not being sent at the moment."""
        for group in self._groups.values():
            yield from group.waiting.values()

    @property
    def oldest_came_at(self) -> float | None:
        """When the oldest came of those that wait."""
        firsts = (group.first for group in self._groups.values())
        return min((first.came_at for first in firsts if first is not None), default=None)

    def find(self, route: Route, study: str, series: str, instance: str) -> Entry | None:
        """One that waits already to go the same way."""
        group = self._groups.get((route, study))
        return group.waiting.get((series, instance)) if group is not None else None

    def add(self, entry: Entry, came_at: float) -> None:
        """Let an instance wait; count one that waits as having come again, or as promised from here on."""
        key = (entry.route, entry.study)
        group = self._groups.setdefault(key, Group(entry.route, entry.study))
        group.last_came_at = max(group.last_came_at, came_at)
        if entry.key not in group.waiting:
            self._waiting += 1
            group.waiting[entry.key] = entry
        self._plan(group)

    def next_at(self) -> float | None:
        """When there is something to be taken; `None` if nothing waits."""
        return None if self._next() is None else self._agenda[0][0]

    def take(self, now: float, most: int) -> Batch | None:
        """The study whose time came first, of those whose time has come; at most so many instances of it.

        Those that were left least often come first, so that what is refused again and again keeps nothing
        of its study from being sent.
        """
        if now < self._looked_at:
            self._set_back(now)
        self._looked_at = now
        group = self._next()
        if group is None or self._agenda[0][0] > now:
            return None
        delay_s = group.route.delay_s
        taken = [one for one in group.waiting.values() if one.kept and one.came_at + delay_s <= now]
        if len(taken) > most:
            taken = sorted(taken, key=lambda one: one.rounds)[:most]
        for entry in taken:
            del group.waiting[entry.key]
        self._waiting -= len(taken)
        self._in_flight += len(taken)
        group.in_flight += len(taken)
        self._plan(group)
        return Batch(group, tuple(taken))

    def give_back(self, batch: Batch, entries: Sequence[Entry], not_before: float) -> list[Entry]:
        """End a batch: `entries` of it wait again; those are returned that came again meanwhile."""
        group = batch.group
        group.in_flight -= len(batch.entries)
        self._in_flight -= len(batch.entries)
        group.not_before = not_before
        surplus: list[Entry] = []
        again: dict[tuple[str, str], Entry] = {}
        for entry in entries:
            entry.rounds += 1
            entry.came_at = min(entry.came_at, self._looked_at)
            if entry.key in group.waiting:
                surplus.append(entry)
            else:
                again[entry.key] = entry
        self._waiting += len(again)
        if again:
            group.waiting = {**again, **group.waiting}
        self._plan(group)
        self._tidy(group)
        return surplus

    def remove(self, entry: Entry) -> None:
        """Forget one that waits."""
        group = self._groups.get((entry.route, entry.study))
        if group is not None and group.waiting.get(entry.key) is entry:
            del group.waiting[entry.key]
            self._waiting -= 1
            self._tidy(group)

    def hurry(self) -> None:
        """Try everything at once that waits for another attempt."""
        for group in self._groups.values():
            group.not_before = 0.0
        self._plan_anew()

    def _set_back(self, now: float) -> None:
        """The clock was set back to `now`: nothing waits for a time that was, or that is far away by that."""
        for group in self._groups.values():
            group.not_before -= self._looked_at - now
            group.last_came_at = min(group.last_came_at, now)
            for entry in group.waiting.values():
                entry.came_at = min(entry.came_at, now)
        self._plan_anew()

    def _plan(self, group: Group) -> None:
        """Look at a group when it may be ready, or before."""
        ready_at = group.ready_at(self._gather_s)
        if ready_at is not None and (group.looked_for_at is None or ready_at < group.looked_for_at):
            group.looked_for_at = ready_at
            heapq.heappush(self._agenda, (ready_at, next(self._ties), group))

    def _plan_anew(self) -> None:
        self._agenda = []
        for group in self._groups.values():
            group.looked_for_at = None
            self._plan(group)

    def _next(self) -> Group | None:
        """The group that is ready first, which is the first of the agenda then."""
        while self._agenda:
            at, _, group = self._agenda[0]
            is_planned = at == group.looked_for_at
            if is_planned and group.ready_at(self._gather_s) == at:
                return group
            heapq.heappop(self._agenda)
            if is_planned:  # it is later by what has come or failed since, or nothing of it waits
                group.looked_for_at = None
                self._plan(group)
        return None

    def _tidy(self, group: Group) -> None:
        if not group.waiting and not group.in_flight:
            self._groups.pop((group.route, group.study), None)
