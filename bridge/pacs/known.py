"""What a PACS has said lately of what it holds, and how much of that is in the cache.

Written on the loop of the associations, read from any thread: every entry is replaced as a whole.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from bridge.pacs.cache import SeriesKey
from service.dicom.resource import InstanceKey, Level, Resource

_UNTOLD = 10  # times as long the word of a PACS is good that cannot list the instances of a series
_MOST = 50_000


@dataclass(frozen=True, slots=True)
class Listing:
    """The instances of a series by the word of the PACS: UIDs and classes; `None` where it lists none.

    `complete` says that all of them are in the cache but for those `lacking` and `unnamed` others, which
    could not be had. `unlisted` are those of `instances` that the PACS has sent and does not list.
    """

    instances: Mapping[str, str] | None
    at: float
    complete: bool = False
    lacking: frozenset[str] = frozenset()
    unnamed: int = 0
    unlisted: frozenset[str] = frozenset()

    @property
    def short(self) -> int:
        """How many could not be had."""
        return len(self.lacking) + self.unnamed

    def repeats(self, instances: Mapping[str, str] | None) -> bool:
        """Whether the PACS lists what it listed before."""
        if instances is None or self.instances is None:
            return instances is self.instances
        return self.instances.keys() - self.unlisted == instances.keys()


class Known:
    """The listings of one PACS."""

    def __init__(self, fresh_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._fresh_s = fresh_s
        self._clock = clock
        self._series: dict[SeriesKey, Listing] = {}
        self._studies: dict[str, tuple[float, frozenset[SeriesKey]]] = {}
        self._arrived: dict[InstanceKey, float] = {}

    def is_fresh(self, resource: Resource, *, part: float = 1.0) -> bool:
        """Whether what the cache has of `resource` is what the PACS had within `part` of its time."""
        if resource.series is None:
            told = self._studies.get(resource.study)
            if told is None or not self._recent(told[0], part):
                return False
            return all(self._is_complete(key, part) for key in told[1])
        key = SeriesKey(resource.study, resource.series)
        if resource.instance is None:
            return self._is_complete(key, part)
        arrived = self._arrived.get(InstanceKey(resource.study, resource.series, resource.instance))
        if arrived is not None and self._recent(arrived, part):
            return True
        listing = self.listing(key, part=part)
        return listing is not None and (listing.instances is None or resource.instance in listing.instances)

    def listing(self, key: SeriesKey, *, part: float = 1.0) -> Listing | None:
        """What the PACS said of a series, as long as it is good."""
        listing = self._series.get(key)
        if listing is None:
            return None
        longer = _UNTOLD if listing.instances is None else 1
        return listing if self._recent(listing.at, part * longer) else None

    def lacking(self, resource: Resource) -> int:
        """How many instances of `resource` could not be had."""
        if resource.level is Level.INSTANCE:
            return 0
        if resource.series is not None:
            keys: Iterable[SeriesKey] = (SeriesKey(resource.study, resource.series),)
        else:
            keys = self._studies.get(resource.study, (0.0, frozenset()))[1]
        return sum(listing.short for key in keys if (listing := self._series.get(key)) is not None)

    def list_series(self, key: SeriesKey, instances: Mapping[str, str] | None) -> Listing:
        """Note what the PACS says of a series; what is in the cache is to be seen.

        What it has sent without listing it stays as long as it lists the same.
        """
        _bounded(self._series)
        recent = self.listing(key) is not None
        before = self._series.get(key)
        listing = Listing(instances, self._clock())
        if before is not None and before.repeats(instances):
            listing = replace(listing, instances=before.instances, unlisted=before.unlisted)
            if recent and before.complete and not before.short:
                listing = replace(listing, complete=True)
        self._series[key] = listing
        return listing

    def list_study(self, study: str, keys: Iterable[SeriesKey]) -> None:
        """Note which series a study has."""
        _bounded(self._studies)
        self._studies[study] = (self._clock(), frozenset(keys))

    def complete(self, key: SeriesKey) -> None:
        """Note that all of a series is in the cache."""
        listing = self._series.get(key)
        if listing is not None:
            self._series[key] = replace(listing, complete=True, lacking=frozenset(), unnamed=0)

    def settle(self, key: SeriesKey, held: Mapping[str, str], *, unnamed: int = 0, broken: bool) -> None:
        """Note that a retrieval has brought `held` of a series, classes by instance.

        `unnamed` instances did not come of which the PACS does not say which they are. A `broken` one may
        bring more when it is asked for again.
        """
        listing = self._series.get(key)
        if listing is None:
            return
        lacking: frozenset[str] = frozenset()
        instances, unlisted = listing.instances, listing.unlisted
        if instances is not None:
            lacking, unnamed = frozenset(instances.keys() - held.keys()), 0
            unlisted |= held.keys() - instances.keys()
            instances = {**held, **instances} if unlisted else instances
        self._series[key] = Listing(
            instances, listing.at, not (broken and (lacking or unnamed)), lacking, unnamed, unlisted
        )

    def arrived(self, keys: Iterable[InstanceKey]) -> None:
        """Note instances that came just now."""
        _bounded(self._arrived)
        at = self._clock()
        for key in keys:
            self._arrived[key] = at

    def forget(self, key: SeriesKey) -> None:
        """Have the PACS asked again for a series, and for the study that it is of."""
        self._series.pop(key, None)
        self._studies.pop(key.study, None)

    def stored(self, instance: InstanceKey) -> None:
        """Have the PACS asked again for what an instance belongs to that was stored into it."""
        self.forget(SeriesKey(instance.study, instance.series))
        self._arrived.pop(instance, None)

    def _is_complete(self, key: SeriesKey, part: float) -> bool:
        listing = self.listing(key, part=part)
        return listing is not None and listing.complete

    def _recent(self, at: float, part: float) -> bool:
        return self._clock() - at < self._fresh_s * part


def _bounded[K, V](entries: dict[K, V]) -> None:
    """Let go of the oldest entries where there are too many."""
    while len(entries) >= _MOST:
        entries.pop(next(iter(entries)), None)
