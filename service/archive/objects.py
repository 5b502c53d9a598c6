"""The archive that is the service: an object store and an index."""

from collections.abc import Buffer, Sequence
from concurrent.futures import ThreadPoolExecutor

from service.archive.intake import IntakeLimits, ObjectIntake
from service.archive.port import Intake
from service.dicom.errors import NotFound, ObjectMissing
from service.dicom.frames import Extent
from service.dicom.query import Query
from service.dicom.record import Held
from service.dicom.resource import Resource
from service.index.port import Answer, Documents, FullIndex, OnDuplicate
from service.store.port import ObjectStore


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
        write_threads: int = 4,
    ) -> None:
        self._store = store
        self._index = index
        self._limits = limits
        self._on_duplicate = on_duplicate
        self._writers = ThreadPoolExecutor(write_threads, thread_name_prefix="write")

    def find(self, query: Query) -> Answer:
        return self._index.find(query)

    def instances(self, resource: Resource) -> Sequence[Held]:
        held = self._index.locate(resource)
        if not held:
            raise _not_found(resource)
        return held

    def read(self, held: Held, extent: Extent) -> Buffer:
        try:
            return self._store.read(held.object_key, extent)
        except ObjectMissing:
            again = self._index.locate(Resource(held.key.study, held.key.series, held.key.instance))
            for other in again:
                same = (other.digest, other.size) == (held.digest, held.size)
                if other.object_key != held.object_key and same:
                    return self._store.read(other.object_key, extent)
            raise NotFound("The instance was removed or replaced while it was being read.") from None

    def frames(self, held: Held, numbers: Sequence[int]) -> Sequence[Extent] | None:
        return self._index.frames(held, numbers)

    def documents(self, resource: Resource, *, unless: str | None = None) -> Documents | None:
        documents = self._index.documents(resource, unless=unless)
        if documents is not None and documents.count == 0:
            raise _not_found(resource)
        return documents

    def intake(self, study: str | None = None) -> Intake:
        return ObjectIntake(
            self._store,
            self._index,
            self._writers,
            limits=self._limits,
            on_duplicate=self._on_duplicate,
            study=study,
        )

    def findings(self, held: Held) -> tuple[str, ...]:
        """What was odd about an instance when it came in."""
        return self._index.findings(held.key)

    def ready(self) -> None:
        """Return if the index answers; `IndexUnavailable` if not."""
        self._index.ready()

    def close(self) -> None:
        """Finish what is being written and let go of the index."""
        self._writers.shutdown(wait=True)
        self._index.close()


def _not_found(resource: Resource) -> NotFound:
    return NotFound(f"There is no such {resource.level.name.lower()}.")
