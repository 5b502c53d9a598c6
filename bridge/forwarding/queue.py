"""What waits for one target: studies in the order in which they came, each with its own time to be tried."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bridge.forwarding.entry import Entry, Route

type Key = tuple[Route, str]


@dataclass(slots=True, eq=False)
class Group:
    """The instances of one study that go the same way; `last_came_at` counts all that ever joined it."""

    route: Route
    study: str
    waiting: dict[tuple[str, str], Entry] = field(default_factory=dict)
    in_flight: int = 0
    last_came_at: float = 0.0
    failures: int = 0
    not_before: float = 0.0

    @property
    def first(self) -> Entry | None:
        """The one that came first, of those that are promises."""
        return next((entry for entry in self.waiting.values() if entry.kept), None)

    def ready_at(self, first: Entry, gather_s: float) -> float:
        """When it may be sent: it has gathered for a moment, waited, and is quiet, as far as asked for."""
        waits = max(gather_s, self.route.delay_s)
        return max(self.not_before, first.came_at + waits, self.last_came_at + self.route.quiet_s)


@dataclass(slots=True)
class Batch:
    """Instances of one study that go together."""

    group: Group
    entries: tuple[Entry, ...]


class Queue:
    """The studies that wait for one target."""

    def __init__(self, gather_s: float) -> None:
        self._gather_s = gather_s
        self._groups: dict[Key, Group] = {}
        self._waiting = 0
        self._in_flight = 0
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
        return min((first.came_at for _, first in self._ready()), default=None)

    def find(self, route: Route, study: str, series: str, instance: str) -> Entry | None:
        """One that waits already to go the same way."""
        group = self._groups.get((route, study))
        return group.waiting.get((series, instance)) if group is not None else None

    def add(self, entry: Entry, came_at: float) -> None:
        """Let an instance wait, or count one that waits as having come again."""
        key = (entry.route, entry.study)
        group = self._groups.setdefault(key, Group(entry.route, entry.study))
        group.last_came_at = max(group.last_came_at, came_at)
        if entry.key not in group.waiting:
            self._waiting += 1
            group.waiting[entry.key] = entry

    def next_at(self) -> float | None:
        """When there is something to be taken; `None` if nothing waits."""
        return min((group.ready_at(first, self._gather_s) for group, first in self._ready()), default=None)

    def take(self, now: float, most: int) -> Batch | None:
        """The study that came first of those whose time has come, at most so many instances of it."""
        due = [each for each in self._ready() if each[0].ready_at(each[1], self._gather_s) <= now]
        if not due:
            return None
        group, _ = min(due, key=lambda each: (each[0].not_before, each[1].came_at))
        taken: list[Entry] = []
        for entry in list(group.waiting.values()):
            if len(taken) < most and entry.kept and entry.came_at + group.route.delay_s <= now:
                taken.append(group.waiting.pop(entry.key))
        self._waiting -= len(taken)
        self._in_flight += len(taken)
        group.in_flight += len(taken)
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
            if entry.key in group.waiting:
                surplus.append(entry)
            else:
                again[entry.key] = entry
        self._waiting += len(again)
        if again:
            group.waiting = {**again, **group.waiting}
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

    def _ready(self) -> Iterator[tuple[Group, Entry]]:
        for group in self._groups.values():
            first = group.first
            if first is not None:
                yield group, first

    def _tidy(self, group: Group) -> None:
        if not group.waiting and not group.in_flight:
            self._groups.pop((group.route, group.study), None)
