"""What became of the instances of a batch: taken, refused for good, or to be tried again."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bridge import statuses
from bridge.sending.tally import Outcome, Tally
from service.dicom.errors import ArchiveError, NotAcceptable
from service.dicom.resource import InstanceKey

# C-STORE statuses that will be the same however often it is sent (PS3.4 Table B.2-1, PS3.7 annex C).
_FOR_GOOD = frozenset(
    (
        statuses.DUPLICATE_INSTANCE,
        statuses.INVALID_INSTANCE,
        statuses.NO_SUCH_CLASS,
        statuses.CLASS_UNSUPPORTED,
    )
)
# HTTP statuses that refuse what was sent, not the moment or the sender.
_REFUSALS = frozenset((400, 406, 409, 413, 415, 422))
_MEANING = {
    statuses.DUPLICATE_INSTANCE: ": it has other content under this UID",
    statuses.CLASS_UNSUPPORTED: ": it does not take this class",
    statuses.NOT_AUTHORIZED: ": it does not allow this to the bridge",
    statuses.OUT_OF_RESOURCES: ": it is out of resources",
}


@dataclass(frozen=True, slots=True)
class Failed:
    """Why an instance was not taken; `for_good` says that it would be the same another time."""

    reason: str
    for_good: bool


@dataclass(slots=True)
class Outcomes:
    """What is known so far of a batch; `trouble` is why the target could not be used at all.

    `missing` are instances that the archive does not have.
    """

    taken: set[InstanceKey] = field(default_factory=set)
    failed: dict[InstanceKey, Failed] = field(default_factory=dict)
    missing: set[InstanceKey] = field(default_factory=set)
    trouble: str = ""

    def answered(self, key: InstanceKey, status: int, http_status: int = 0) -> None:
        """The target has answered with a status of a C-STORE, or what an HTTP answer means as one."""
        if status == statuses.SUCCESS or status >> 12 == 0xB:
            self.taken.add(key)
            return
        told = f"{status:04X}H" if not http_status else f"{http_status} ({status:04X}H)"
        meaning = _MEANING.get(status, "")
        self.failed[key] = Failed(f"The target answered {told}{meaning}.", _refuses(status, http_status))

    def fail(self, key: InstanceKey, error: ArchiveError) -> None:
        """Something kept it from being sent."""
        self.failed[key] = Failed(str(error), isinstance(error, NotAcceptable))


class BatchTally(Tally):
    """The counts of a delivery, as the outcomes of a batch."""

    def __init__(self, outcomes: Outcomes, keys: Iterable[InstanceKey]) -> None:
        super().__init__(len(list(keys)))
        self._outcomes = outcomes

    def count(
        self, key: InstanceKey, result: Outcome, reason: str = "", *, cause: int | ArchiveError = 0
    ) -> None:
        """Note what became of one instance."""
        super().count(key, result, reason, cause=cause)
        if result is not Outcome.FAILED:
            self._outcomes.taken.add(key)
        elif isinstance(cause, ArchiveError):
            self._outcomes.fail(key, cause)
        else:
            self._outcomes.answered(key, cause)


def _refuses(status: int, http_status: int) -> bool:
    if status >> 8 == 0xA7:  # out of resources, for now
        return False
    return status >> 8 == 0xA9 or status >> 12 == 0xC or status in _FOR_GOOD or http_status in _REFUSALS
