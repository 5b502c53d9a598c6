"""The index made anew from the objects: each object that has no row gets one.

Run again it goes on where it was, since what has a row is passed over. Objects of a study are entered in the
order in which they came, told by their names, so that the same one stands for the study, and so that of
several objects of one instance the one stays that stayed before.
"""

import enum
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from service.archive.keys import OBJECT_KEY, OBJECTS, is_of, upload_of
from service.archive.records import record_of
from service.archive.scanning import Examined, examine, in_order
from service.archive.sweeping import drain
from service.dicom.errors import ArchiveError, Busy, ObjectMissing, StoreUnavailable
from service.dicom.record import InstanceRecord
from service.dicom.resource import Resource
from service.dicom.scan import Budget
from service.index.port import Added, FullIndex, OnDuplicate
from service.store.port import ObjectStore

_ASKED = 500  # objects of which the index is asked at once
_SORTED = 200_000  # objects of one study that are put in order together
_MOST_FAILURES = 100
# Longer than any request: nobody else enters an object of that age.
_SETTLED_AFTER_S = 24 * 3600.0


class Fate(enum.Enum):
    """What became of one object."""

    ENTERED = "entered"
    KNOWN = "had a row"
    SECOND = "another object of the same instance has the row"
    DELETED = "its instance was deleted"
    GONE = "deleted meanwhile"
    FOREIGN = "not named as objects are here"
    UNREADABLE = "cannot be entered"


@dataclass(frozen=True, slots=True)
class Reindexed:
    """One object and its fate; `reason` says more of one that cannot be entered."""

    object_key: str
    fate: Fate
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is done at once: reading threads, rows and bytes of metadata that are entered together."""

    threads: int
    rows: int
    row_bytes: int
    header_limit: int


type _Aged = tuple[str, float]  # an object key, and its age in seconds


@dataclass(frozen=True, slots=True)
class _Found:
    """An object that was read, and its row."""

    record: InstanceRecord
    is_young: bool


class Reindexing:
    """One run over the objects of a store."""

    def __init__(
        self,
        store: ObjectStore,
        index: FullIndex,
        readers: Executor,
        *,
        pace: Pace,
        on_duplicate: OnDuplicate,
        budget: Budget | None = None,
    ) -> None:
        """`readers` are as many threads as `pace` says."""
        self._store = store
        self._index = index
        self._readers = readers
        self._pace = pace
        self._on_duplicate = on_duplicate
        self._budget = budget
        self._alone = threading.Lock()
        self._told: list[Reindexed] = []
        self._failures = 0

    def run(self) -> Iterator[Reindexed]:
        """Enter what has no row; the fate of every object.

        May raise `IndexUnavailable`, and `StoreUnavailable` where that is no matter of single objects. What
        was entered until then stays.
        """
        batch: list[_Found] = []
        size = 0
        found = in_order(self._readers, self._read, self._without_rows(), ahead=2 * self._pace.threads)
        for one in found:
            if isinstance(one, Reindexed):
                self._told.append(one)
            else:
                batch.append(one)
                size += len(one.record.json)
            if len(batch) >= self._pace.rows or size >= self._pace.row_bytes:
                self._enter(batch)
                batch, size = [], 0
            yield from self._tell()
        self._enter(batch)
        yield from self._tell()

    def _tell(self) -> list[Reindexed]:
        told, self._told = self._told, []
        return told

    # -- what there is ----------------------------------------------------------------------------

    def _without_rows(self) -> Iterator[_Aged]:
        """The objects that have no row and did not lose one, each study's in the order they came."""
        for batch in itertools.batched(self._in_order_of_coming(), _ASKED):
            keys = [key for key, _ in batch]
            known = self._index.holds(keys)
            # Asked behind the rows: whoever removes one puts it on this list until the object is deleted.
            struck = self._index.struck([key for key in keys if key not in known])
            self._told += [Reindexed(key, Fate.KNOWN) for key in keys if key in known]
            self._told += [Reindexed(key, Fate.DELETED) for key in keys if key in struck]
            yield from (one for one in batch if one[0] not in known and one[0] not in struck)

    def _in_order_of_coming(self) -> Iterator[_Aged]:
        # A listing gives the objects of a study one behind the other.
        for _, objects in itertools.groupby(self._named(), key=lambda one: one[0].split("/", 2)[1]):
            while some := sorted(itertools.islice(objects, _SORTED), key=lambda one: upload_of(one[0])):
                yield from some

    def _named(self) -> Iterator[_Aged]:
        for key, age_s in self._store.keys(OBJECTS):
            if OBJECT_KEY.fullmatch(key):
                yield key, age_s
            else:
                self._told.append(Reindexed(key, Fate.FOREIGN))

    # -- reading ----------------------------------------------------------------------------------

    def _read(self, one: _Aged) -> _Found | Reindexed:
        """The row of an object; called by the readers."""
        key, age_s = one
        try:
            found = self._examine(key)
            if not is_of(key, found.scanned.key):
                return Reindexed(key, Fate.UNREADABLE, "The object is another one than its name says.")
            return _Found(
                record_of(found.scanned, found.size, key, digest=found.digest), age_s < _SETTLED_AFTER_S
            )
        except ObjectMissing:
            return Reindexed(key, Fate.GONE)
        except StoreUnavailable as error:
            self._failures += 1
            if self._failures > _MOST_FAILURES:
                raise StoreUnavailable(
                    f"{self._failures} objects could not be read; it ends here."
                ) from error
            return Reindexed(key, Fate.UNREADABLE, str(error))
        except ArchiveError as error:
            return Reindexed(key, Fate.UNREADABLE, str(error))

    def _examine(self, key: str) -> Examined:
        limit = self._pace.header_limit
        try:
            return examine(self._store, key, header_limit=limit, budget=self._budget)
        except Busy:  # too many large headers at once
            with self._alone:
                return examine(self._store, key, header_limit=limit)

    # -- entering ---------------------------------------------------------------------------------

    def _enter(self, batch: Sequence[_Found]) -> None:
        """Make the rows of a batch, and take those back whose objects went meanwhile."""
        for on_duplicate, found in itertools.groupby(batch, key=self._policy):
            some = list(found)
            if on_duplicate is None:
                self._told += [Reindexed(one.record.object_key, Fate.SECOND) for one in some]
                continue
            outcomes = self._index.add([one.record for one in some], on_duplicate=on_duplicate)
            entered: list[_Found] = []
            for one, outcome in zip(some, outcomes, strict=True):
                key = one.record.object_key
                if outcome.added in (Added.NEW, Added.REPLACED):
                    entered.append(one)
                    continue
                same = outcome.added is Added.SAME and outcome.doomed is None  # entered by somebody else
                self._told.append(Reindexed(key, Fate.KNOWN if same else Fate.SECOND))
            missing = self._missing(one.record for one in entered if one.is_young)
            for one in entered:
                gone = one.record.object_key in missing
                self._told.append(Reindexed(one.record.object_key, Fate.GONE if gone else Fate.ENTERED))

    def _policy(self, one: _Found) -> OnDuplicate | None:
        """How an object is entered: a row that is there stays, unless `replace` and its object is the older.

        An instance that has a row was acknowledged, so that no other policy lets another object have it.
        `None` for one that is to be left alone: whoever is storing it may be about to let it have the row.
        """
        replaces = self._on_duplicate is OnDuplicate.REPLACE
        if not (replaces or one.is_young):
            return OnDuplicate.KEEP
        key, object_key = one.record.key, one.record.object_key
        held = self._index.locate(Resource(key.study, key.series, key.instance))
        if not held or held[0].object_key == object_key:
            return OnDuplicate.REPLACE if replaces else OnDuplicate.KEEP
        if replaces and not held[0].place and upload_of(held[0].object_key) < upload_of(object_key):
            return OnDuplicate.REPLACE
        return None if one.is_young else OnDuplicate.KEEP

    def _missing(self, records: Iterable[InstanceRecord]) -> set[str]:
        """The keys of objects that are gone: they got a row, were deleted, and have one again by us."""
        missing: set[str] = set()
        checks = in_order(self._readers, self._is_missing, records, ahead=2 * self._pace.threads)
        for record in checks:
            if record is not None:
                missing.add(record.object_key)
                self._take_back(record)
        return missing

    def _is_missing(self, record: InstanceRecord) -> InstanceRecord | None:
        try:
            self._store.opening(record.object_key, 1)
        except ObjectMissing:
            return record
        except StoreUnavailable:  # not known: `check` will tell
            return None
        return None

    def _take_back(self, record: InstanceRecord) -> None:
        resource = Resource(record.key.study, record.key.series, record.key.instance)
        held = self._index.locate(resource)
        if held and held[0].object_key == record.object_key:
            drain(self._store, self._index, self._index.remove(resource))
