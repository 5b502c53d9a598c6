"""The archive that is the service: an object store and an index."""

import contextlib
from collections.abc import Buffer, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from orjson import loads

from service.archive import reasons
from service.archive.adopted import Adopted, OwnObjects
from service.archive.adopting import Adopting
from service.archive.checking import Checked, Checking
from service.archive.intake import IntakeLimits, ObjectIntake
from service.archive.keys import OBJECTS
from service.archive.placed import blocks_of_object, place
from service.archive.port import Intake, Outcome
from service.archive.readying import Readying
from service.archive.reindexing import Pace, Reindexed, Reindexing
from service.archive.sweeping import Swept, drain, sweep
from service.archive.versions import Candidate
from service.dicom.confinement import Confinement
from service.dicom.errors import NotFound, ObjectMissing, StoreUnavailable, Superseded
from service.dicom.frames import Extent
from service.dicom.query import Query
from service.dicom.record import BASE_SLOT, Held
from service.dicom.resource import InstanceKey, Level, Resource
from service.index.port import FEWEST, Answer, Connections, Connects, Documents, FullIndex, OnDuplicate
from service.room import Room
from service.store.port import FileRun, Lends, ObjectStore, Probes, Versions
from service.tracing import carrying

_NO_OBJECT = OBJECTS + "none"
PATIENT_ID = 0x00100020


class ObjectArchive:
    """Instances as objects in a store, found by their rows in an index.

    The object is durable before its row is committed, and the row is gone before its object is: the
    index never points at nothing, and what a crash leaves behind is an object without a row.
    """

    def __init__(
        self,
        store: ObjectStore,
        index: FullIndex,
        *,
        limits: IntakeLimits,
        on_duplicate: OnDuplicate = OnDuplicate.REFUSE,
        write_threads: int = 0,
        nearby: bool = True,
        open_bucket: Callable[[str], Versions] | None = None,
    ) -> None:
        """`open_bucket` opens buckets of which objects were adopted.

        Without `write_threads`, who takes an object in writes it too.
        """
        self._nearby = nearby
        self._store = OwnObjects(store)
        self._adopted = Adopted(open_bucket)
        self._lender = store if isinstance(store, Lends) else None
        self._prober = store if isinstance(store, Probes) else None
        self._index = index
        self._limits = limits
        self._on_duplicate = on_duplicate
        self._budget = Room(limits.headers_together)
        self._readying = Readying(index)
        self._writers = (
            carrying(ThreadPoolExecutor(write_threads, thread_name_prefix="write")) if write_threads else None
        )

    @property
    def nearby(self) -> bool:
        return self._nearby

    def find(self, query: Query) -> Answer:
        return self._index.find(query)

    def instances(self, resource: Resource, *, within: Confinement | None = None) -> Sequence[Held]:
        held = self._index.locate(resource, within=within)
        if not held:
            raise _not_found(resource)
        return held

    def read(self, held: Held, extent: Extent) -> Buffer:
        if held.place:
            return self._adopted.read(held.object_key, extent)
        try:
            return self._store.read(held.object_key, extent)
        except ObjectMissing:
            again = self._index.locate(Resource(held.key.study, held.key.series, held.key.instance))
            for other in again:
                same = (other.digest, other.size) == (held.digest, held.size)
                if other.object_key != held.object_key and same:
                    return self._store.read(other.object_key, extent)
            raise Superseded("The instance was removed or replaced while it was being read.") from None

    def lend(self, held: Held, extent: Extent) -> FileRun | None:
        """A run of an instance's object as one of a file; `None` says to `read` it."""
        if self._lender is None or held.place:  # the kernel does not look whether a file was changed
            return None
        return self._lender.lend(held.object_key, extent)

    def frames(self, held: Held, numbers: Sequence[int]) -> Sequence[Extent] | None:
        return self._index.frames(held, numbers)

    def documents(
        self, resource: Resource, *, unless: str | None = None, within: Confinement | None = None
    ) -> Documents | None:
        documents = self._index.documents(resource, unless=unless, within=within)
        if documents is not None and documents.count == 0:
            raise _not_found(resource)
        if documents is not None and documents.scattered >= FEWEST:
            self._readying.asked(Resource(resource.study, resource.series))
        return documents

    def intake(self, study: str | None = None, *, within: Confinement | None = None) -> Intake:
        return self._intake(study, within)

    def _intake(self, study: str | None, within: Confinement | None = None) -> ObjectIntake:
        return ObjectIntake(
            self._store,
            self._index,
            self._writers,
            limits=self._limits,
            on_duplicate=self._on_duplicate,
            study=study,
            budget=self._budget,
            adopted=self._adopted,
            came=self._readying.came,
            within=within,
        )

    def place(self, key: InstanceKey, blocks: Sequence[Buffer]) -> str:
        """Put an object into the store that is said to be the instance `key`; its name there.

        Nobody finds it before it is `enter`ed, and `sweep` deletes what never is.
        """
        return place(self._store, key, blocks)

    def enter(self, object_keys: Sequence[str], study: str) -> tuple[Sequence[Outcome], list[str]]:
        """Enter objects of one study that were placed; one outcome each, in order.

        And the names of those that are not to stay, which are there still: somebody may be reading them.
        May raise `StoreUnavailable`, `IndexUnavailable`.
        """
        left: list[str] = []
        intake = self._intake(study)
        for object_key in object_keys:
            intake.begin(placed=object_key, on_left=left.append)
            try:
                for block in blocks_of_object(self._store, object_key):
                    intake.write(memoryview(block))
                intake.end()
            except ObjectMissing as error:
                intake.refuse(reasons.failure_reason(error), str(error))
        return intake.finish(), left

    def discard(self, object_keys: Sequence[str]) -> None:
        """Delete objects that were placed and not entered; what cannot be deleted is left to `sweep`."""
        for object_key in object_keys:
            with contextlib.suppress(StoreUnavailable):
                self._store.delete(object_key)

    def findings(self, held: Held) -> tuple[str, ...]:
        """What was odd about an instance when it came in."""
        return self._index.findings(held.key)

    def forget(self, resource: Resource, *, within: Confinement | None = None) -> None:
        """Remove the rows of `resource`, then its objects. `NotFound` if there are none.

        The rows decide: an object that cannot be deleted stays on the index's list until `sweep`.
        """
        doomed = self._index.remove(resource, within=within)
        if not doomed:
            raise _not_found(resource)
        drain(self._store, self._index, doomed)

    def patient_of(self, study: str) -> str | None:
        """The Patient ID of a study, `None` if it has none or is not there."""
        found = self._index.find(Query(Level.STUDY, study=study, fields=(PATIENT_ID,), limit=1)).matches
        if not found:
            return None
        values = loads(found[0].replace(BASE_SLOT, b"")).get(f"{PATIENT_ID:08X}", {}).get("Value")
        return str(values[0]) if values and values[0] else None

    def connections(self) -> Connections:
        """How many connections to its database the index has at the moment; none of one without any."""
        return self._index.connections() if isinstance(self._index, Connects) else Connections(0, 0)

    def sweep(self, *, older_than_s: float, even_most: bool = False) -> Swept:
        """Delete the objects whose rows are gone, and those older than `older_than_s` that never had one."""
        return sweep(self._store, self._index, older_than_s=older_than_s, even_most=even_most)

    def reindex(self, *, threads: int) -> Iterator[Reindexed]:
        """Give each object of the store that has no row its row; the fate of each."""
        with ThreadPoolExecutor(threads, thread_name_prefix="reindex") as readers:
            yield from Reindexing(
                self._store,
                self._index,
                readers,
                pace=self._pace(threads),
                on_duplicate=self._on_duplicate,
                budget=self._budget,
            ).run()

    def check(self, *, threads: int, quick: bool = False) -> Iterator[Checked]:
        """Compare rows with objects, then objects with rows; what was found of each."""
        with ThreadPoolExecutor(threads, thread_name_prefix="check") as readers:
            checking = Checking(
                self._store,
                self._index,
                readers,
                pace=self._pace(threads),
                adopted=self._adopted,
                quick=quick,
            )
            yield from checking.rows()
            yield from checking.objects()

    @property
    def adopted(self) -> Adopted:
        """The objects that lie elsewhere."""
        return self._adopted

    def adopt(
        self, place: str, candidates: Iterable[Candidate], *, threads: int
    ) -> Iterator[tuple[str, Outcome | None]]:
        """Enter `candidates`, all below `place`, where they lie; `None` for one that is known already."""
        with ThreadPoolExecutor(threads, thread_name_prefix="adopt") as readers:
            yield from Adopting(
                place,
                self._adopted,
                self._store,
                self._index,
                readers,
                pace=self._pace(threads),
                on_duplicate=self._on_duplicate,
            ).run(candidates)

    def count_objects(self) -> int:
        """How many objects the store has, orphans among them."""
        return sum(1 for _ in self._store.keys(OBJECTS))

    def _pace(self, threads: int) -> Pace:
        limits = self._limits
        return Pace(threads, limits.batch_instances, limits.batch_bytes, limits.header_limit)

    def ready(self) -> None:
        """Return if index and store answer; `IndexUnavailable`, `StoreUnavailable` if not."""
        self._index.ready()
        if self._prober is not None:
            self._prober.probe()
            return
        with contextlib.suppress(ObjectMissing):  # who says that it is not there can be asked
            self._store.opening(_NO_OBJECT, 1)

    def close(self) -> None:
        """Finish what is being written and let go of the index."""
        if self._writers is not None:
            self._writers.shutdown(wait=True)
        self._readying.end()
        self._index.close()


def _not_found(resource: Resource) -> NotFound:
    return NotFound(f"There is no such {resource.level.name.lower()}.")
