"""Objects in memory: for tests and for trying things out; nothing survives the process."""

import threading
import time
from collections.abc import Buffer, Callable, Iterator

from service.dicom.errors import BadExtent, ObjectMissing
from service.dicom.frames import Extent
from service.store.port import Opening, Upload


class MemoryStore:
    """An object store that keeps its blobs in a dict."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._digests: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def begin(self) -> Upload:
        return _MemoryUpload(self)

    def read(self, key: str, extent: Extent) -> Buffer:
        with self._lock:
            held = self._objects.get(key)
        if held is None:
            raise ObjectMissing("The object is missing from the store.")
        if extent.end > len(held[0]):
            raise BadExtent("The extent reaches past the end of the object.")
        return memoryview(held[0])[extent.offset : extent.end]

    def opening(self, key: str, length: int) -> Opening:
        with self._lock:
            held, digest = self._objects.get(key), self._digests.get(key)
        if held is None:
            raise ObjectMissing("The object is missing from the store.")
        return Opening(memoryview(held[0])[:length], len(held[0]), digest)

    def delete(self, key: str) -> None:
        with self._lock:
            self._objects.pop(key, None)
            self._digests.pop(key, None)

    def keys(self, prefix: str = "") -> Iterator[tuple[str, float]]:
        with self._lock:
            found = [(key, made) for key, (_, made) in self._objects.items() if key.startswith(prefix)]
        now = time.time()
        for key, made in found:
            yield key, now - made

    def keep(self, key: str, body: bytes, digest: bytes = b"") -> None:
        """Hold `body` under `key`, and `digest` unless it is empty."""
        with self._lock:
            self._objects[key] = (body, time.time())
            if digest:
                self._digests[key] = digest


class _MemoryUpload:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._blocks: list[Buffer] = []

    def write(self, block: Buffer) -> None:
        self._blocks.append(block)

    def name(self, key: str) -> None:
        """It makes no difference here."""

    def ready(self, key: str) -> None:
        """It makes no difference here."""

    def commit(self, key: str, digest: Callable[[], bytes] | None = None) -> None:
        self._store.keep(key, b"".join(self._blocks), b"" if digest is None else digest())
        self._blocks.clear()

    def abort(self) -> None:
        self._blocks.clear()
