"""Objects that lie in the store before anybody has looked what they are, and are entered afterwards."""

from collections.abc import Buffer, Callable, Iterator, Sequence

from service.archive.keys import new_object_key
from service.archive.scanning import Readable
from service.dicom.frames import Extent
from service.dicom.resource import InstanceKey
from service.store.port import ObjectStore

_BLOCK = 1 << 20


def place(store: ObjectStore, key: InstanceKey, blocks: Sequence[Buffer]) -> str:
    """Put an object into `store` that is said to be the instance `key`; the name it has there."""
    object_key = new_object_key(key)
    upload = store.begin()
    try:
        for block in blocks:
            upload.write(block)
    except BaseException:
        upload.abort()
        raise
    upload.commit(object_key)
    return object_key


def blocks_of_object(source: Readable, object_key: str) -> Iterator[Buffer]:
    """All of an object. Errors are those of the store."""
    opening = source.opening(object_key, _BLOCK)
    yield opening.head
    position = memoryview(opening.head).nbytes
    while position < opening.size:
        extent = Extent(position, min(_BLOCK, opening.size - position))
        yield source.read(object_key, extent)
        position = extent.end


class PlacedUpload:
    """The upload of what lies in its place already; where it is not to stay, `on_left` is told of it."""

    def __init__(self, object_key: str, on_left: Callable[[str], None]) -> None:
        self._on_left = on_left
        self._object_key = object_key

    def write(self, block: Buffer) -> None:
        """It is there."""

    def name(self, key: str) -> None:
        """It has one."""

    def ready(self, key: str) -> None:
        """It is written."""

    def commit(self, key: str, digest: Callable[[], bytes] | None = None) -> None:
        """It stays."""

    def abort(self) -> None:
        """It is not to stay."""
        self._on_left(self._object_key)
