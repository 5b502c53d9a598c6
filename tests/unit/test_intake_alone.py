"""An intake without threads of its own writes each object itself, and fails with none but that one."""

from collections.abc import Buffer, Callable

import pytest

from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.archive.port import Refused, Stored
from service.dicom.errors import StoreUnavailable
from service.index.memory import MemoryIndex
from service.store.memory import MemoryStore
from service.store.port import Upload
from tests.making import a_ct


class Failing(MemoryStore):
    """A store in which the second object cannot be made durable."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.committed = 0

    def begin(self) -> Upload:
        return _Upload(self, super().begin())


class _Upload:
    def __init__(self, store: Failing, upload: Upload) -> None:
        self._store = store
        self._upload = upload
        self.name = upload.name
        self.ready = upload.ready
        self.abort = upload.abort

    def write(self, block: Buffer) -> None:
        self._upload.write(block)

    def commit(self, key: str, digest: Callable[[], bytes] | None = None) -> None:
        self._store.committed += 1
        if self._store.committed == 2:
            raise self._store.error
        self._upload.commit(key, digest)


@pytest.mark.parametrize("error", [StoreUnavailable("The disk is full."), OSError("a fault of our own")])
def test_an_object_that_cannot_be_written_is_refused_alone(error: Exception) -> None:
    limits = IntakeLimits(header_limit=1 << 20, batch_instances=100, batch_bytes=16 << 20)
    archive = ObjectArchive(Failing(error), MemoryIndex(), limits=limits, write_threads=0)
    intake = archive.intake()

    for number in range(3):
        intake.begin()
        intake.write(memoryview(a_ct(instance=f"2.25.7.{number}")))
        intake.end()
    outcomes = intake.finish()
    archive.close()

    assert [type(outcome) for outcome in outcomes] == [Stored, Refused, Stored]
