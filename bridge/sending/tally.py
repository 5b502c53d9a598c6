"""What became of the sub-operations of a retrieval (PS3.7 9.1.3.1.7 to 9.1.3.1.10)."""

import enum
from collections.abc import Mapping

from bridge.upper.command import Tag
from service.dicom.errors import ArchiveError
from service.dicom.resource import InstanceKey

_SUCCESS = 0x0000
_WARNINGS = frozenset((0x0001, 0x0107, 0x0116))  # PS3.7 C.5


class Outcome(enum.Enum):
    """What a status of a C-STORE says of its instance."""

    COMPLETED = "stored"
    WARNING = "stored, but"
    FAILED = "not stored"


def outcome(status: int) -> Outcome:
    """The outcome of a sub-operation that was answered with `status`."""
    if status == _SUCCESS:
        return Outcome.COMPLETED
    return Outcome.WARNING if status >> 12 == 0xB or status in _WARNINGS else Outcome.FAILED


class Tally:
    """The counts of one retrieval; `failures` are the SOP Instance UIDs that were not stored."""

    def __init__(self, instances: int) -> None:
        self.remaining = instances
        self.completed = 0
        self.warning = 0
        self.failures: list[str] = []

    @property
    def failed(self) -> int:
        return len(self.failures)

    def count(
        self, key: InstanceKey, result: Outcome, reason: str = "", *, cause: int | ArchiveError = 0
    ) -> None:
        """Note what became of one instance, and `reason` why it failed.

        `cause` is the status that the peer answered, or what kept the instance from being sent.
        """
        self.remaining -= 1
        if result is Outcome.COMPLETED:
            self.completed += 1
        elif result is Outcome.WARNING:
            self.warning += 1
        else:
            self.failures.append(key.instance)

    def counts(self, *, remaining: bool) -> Mapping[Tag, int]:
        """The elements of a response; the remaining ones stand in pending and cancel ones only."""
        told = {Tag.COMPLETED: self.completed, Tag.FAILED: self.failed, Tag.WARNING: self.warning}
        return {Tag.REMAINING: self.remaining, **told} if remaining else told
