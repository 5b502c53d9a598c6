"""What waits for the archive: in the order of arrival within each study, the studies in turn."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence

from bridge.spool.entry import Entry


class Lanes:
    """The instances in the spool, one lane for each study; used on one loop."""

    def __init__(self) -> None:
        self.bytes = 0
        self._lanes: OrderedDict[str, deque[Entry]] = OrderedDict()
        self._busy: set[str] = set()
        self._by_instance: dict[str, list[Entry]] = {}
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._last = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def studies(self) -> int:
        """Studies of which something waits."""
        return len(self._lanes)

    @property
    def under_way(self) -> int:
        """Studies of which something is being sent."""
        return len(self._busy)

    @property
    def oldest(self) -> Entry | None:
        """The instance that has waited longest."""
        heads = (lane[0] for lane in self._lanes.values())
        return min(heads, key=lambda entry: entry.sequence, default=None)

    def load(self, entries: Iterable[Entry]) -> None:
        """Take what is in the folder, in the order of arrival."""
        for entry in entries:
            self.add(entry)

    def sequence(self) -> int:
        """The next number: the time in nanoseconds, later than any other's whatever the clock does."""
        self._last = max(time.time_ns(), self._last + 1)
        return self._last

    def add(self, entry: Entry) -> None:
        """Let an instance wait, behind those of its study that came before it."""
        lane = self._lanes.setdefault(entry.study, deque())
        if lane and entry.sequence < lane[0].sequence:
            lane.appendleft(entry)  # it was away, in quarantine
        else:
            lane.append(entry)
        self._last = max(self._last, entry.sequence)
        self._by_instance.setdefault(entry.instance, []).append(entry)
        self._size += 1
        self.bytes += entry.size_bytes

    def remove(self, entry: Entry) -> None:
        """It waits no longer; whoever waits for its instance to be gone is told."""
        lane = self._lanes[entry.study]
        if lane[0] is entry:
            lane.popleft()
        else:
            lane.remove(entry)
        if not lane:
            del self._lanes[entry.study]
        same = self._by_instance[entry.instance]
        same.remove(entry)
        self._size -= 1
        self.bytes -= entry.size_bytes
        if not same:
            del self._by_instance[entry.instance]
            for waiter in self._waiters.pop(entry.instance, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def put_off(self, entry: Entry) -> None:
        """Let the others of its study go before it."""
        lane = self._lanes[entry.study]
        lane.remove(entry)
        lane.append(entry)

    def of(self, instance: str) -> Sequence[Entry]:
        """What waits under a SOP Instance UID."""
        return tuple(self._by_instance.get(instance, ()))

    def has_study(self, study: str) -> bool:
        """Whether something of a study waits."""
        return study in self._lanes

    async def gone(self, instance: str) -> None:
        """Return when nothing waits under a SOP Instance UID."""
        while instance in self._by_instance:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(instance, []).append(waiter)
            await waiter

    def next(self) -> Entry | None:
        """The next to be sent, whose study is busy until it is `free`; `None` if there is none."""
        study = next(self._idle(), None)
        if study is None:
            return None
        self._lanes.move_to_end(study)
        self._busy.add(study)
        return self._lanes[study][0]

    def free(self, study: str) -> None:
        """Nothing of a study is being sent."""
        self._busy.discard(study)

    def _idle(self) -> Iterator[str]:
        return (study for study in self._lanes if study not in self._busy)
