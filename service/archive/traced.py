"""Store and index whose calls are steps of traces; as they are where nothing is traced."""

from service import tracing
from service.index.port import FullIndex
from service.store.port import ObjectStore, Upload


def traced_store(store: ObjectStore) -> ObjectStore:
    """`store`, whose reads and deletions, and the commits of its uploads, are steps."""
    if tracing.is_on():
        begin = store.begin

        def begun() -> Upload:
            return tracing.watched(begin(), "store", "commit")

        vars(store)["begin"] = begun
    return tracing.watched(store, "store", "read", "opening", "lend", "delete")


def traced_index(index: FullIndex) -> FullIndex:
    """`index`, whose searches, look-ups and changes are steps."""
    return tracing.watched(index, "index", "find", "locate", "documents", "frames", "add", "remove")
