"""An object that is on its way for longer than orphans are spared must not become an instance."""

from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.archive.port import Refused
from service.archive.reasons import FAILURE_REASON
from service.dicom.errors import TooLarge
from service.index.memory import MemoryIndex
from service.store.memory import MemoryStore
from tests.making import a_ct


def test_an_object_that_takes_too_long_to_arrive_is_not_kept():
    store = MemoryStore()
    limits = IntakeLimits(32 << 20, 100, 16 << 20, longest_s=0.0)
    archive = ObjectArchive(store, MemoryIndex(), limits=limits)

    intake = archive.intake()
    intake.begin()
    intake.write(memoryview(a_ct()))
    intake.end()
    (outcome,) = intake.finish()

    archive.close()
    assert isinstance(outcome, Refused)
    assert outcome.reason == FAILURE_REASON[TooLarge]
    assert "too long" in outcome.message
    assert list(store.keys()) == []
