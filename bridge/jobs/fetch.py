"""One resource that is retrieved from a peer: what is expected of it, what has come, what has not."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bridge import statuses
from bridge.jobs.asking import Expected
from bridge.jobs.job import Failure, Job
from bridge.peers import Peer
from bridge.scp import classes
from bridge.scp.store import Store
from bridge.scu import Progress
from bridge.sending.tally import Outcome, outcome
from bridge.upper.association import Association
from bridge.upper.command import Operation, Tag
from bridge.upper.messages import Message
from service.dicom.resource import Resource

_SOME = frozenset((statuses.SUCCESS, statuses.NOT_ALL_WELL))

# PS3.4 Tables C.4-2 and C.4-3, for those who have to do something about it.
_MEANING: Mapping[int, str] = {
    statuses.NOT_AUTHORIZED: "it does not allow this to the bridge",
    statuses.CLASS_UNSUPPORTED: "it does not do this for these classes",
    statuses.OUT_OF_RESOURCES: "it is out of resources",
    statuses.MATCHES_UNKNOWN: "it cannot tell what there is",
    statuses.NOT_PERFORMED: "it could send none of it",
    statuses.DESTINATION_UNKNOWN: "it does not know the bridge's AE title as a destination",
    statuses.MISMATCH: "it does not understand the request",
}


@dataclass(slots=True)
class Fetch:
    """The retrieval of one resource, and its part in the counts of the job.

    `last` says that no other resource of the job comes after it: only then is known how much remains.
    `known` says that the peer told what it has; only then is it sure that nothing is missing. `status` is
    that of the last final response, `why` what else ended it.
    """

    job: Job
    peer: Peer
    resource: Resource
    last: bool = True
    expected: Expected = field(default_factory=dict)
    known: bool = False
    status: int = statuses.PENDING
    why: str = ""
    _arrived: set[str] = field(default_factory=set)
    _warned: set[str] = field(default_factory=set)
    _refused: dict[str, int] = field(default_factory=dict)
    _failed: list[str] = field(default_factory=list)
    _failures: int = 0
    _instances: frozenset[str] = frozenset()
    _last: Progress | None = None
    _before: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        counts = self.job.counts
        self._before = (counts.completed, counts.warning)

    def expect(self, told: Expected | None) -> None:
        """Take what the peer says it has, `None` if it does not say."""
        self.known = told is not None
        self.expected = told or {}
        self._instances = frozenset(key.instance for key in self.expected)
        self._settle()

    @property
    def classes(self) -> list[str]:
        """The storage classes of what is expected, none where they are not known."""
        told = dict.fromkeys(self.expected.values())
        return [uid for uid in told if uid and classes.is_storage(uid)] if "" not in told else []

    @property
    def missing(self) -> bool:
        """Whether something may still come."""
        return not self.known or len(self._arrived) < len(self._instances)

    @property
    def came(self) -> bool:
        """Whether anything has come, or the peer counts something as sent."""
        last = self._last
        return bool(self._arrived) or (last is not None and last.completed + last.warning > 0)

    @property
    def failed(self) -> frozenset[str]:
        """The instances that the peer could not send, by its last word."""
        return frozenset(self._failed)

    @property
    def went_well(self) -> bool:
        """Whether the peer has ended the retrieval without a failure, or with some."""
        return self.status in _SOME

    def note(self, instance: str, status: int) -> None:
        """An instance came, and was answered with `status`."""
        result = outcome(status)
        if result is Outcome.FAILED:
            self._refused[instance] = status
            return
        self._refused.pop(instance, None)
        self.have((instance,))
        if result is Outcome.WARNING and instance in self._arrived:
            self._warned.add(instance)
        self._settle()

    def have(self, instances: Iterable[str]) -> None:
        """These are in the archive."""
        self._arrived.update(one for one in instances if not self.known or one in self._instances)
        self._settle()

    def told(self, progress: Progress, failed: list[str], *, moving: bool = False) -> None:
        """A response of the peer, with its Failed SOP Instance UID List.

        Its counts are all there is to go by where it is `moving` instances that nobody knows.
        """
        if not progress.pending:
            self.status = progress.status
            self._failed = failed
        self._failures = progress.failed
        if moving:
            self._last = progress
        self._settle(progress.remaining)

    def believe(self) -> None:
        """Take the peer's word, where the archive cannot be asked what it has."""
        if self.known and self.went_well:
            self.have(self._instances - self.failed)

    def end(self) -> None:
        """Nothing more comes: what is missing has failed."""
        if self.known:
            for key in self.expected:
                if key.instance not in self._arrived:
                    self.job.fail(Failure.of(key, self._reason(key.instance)))
            return
        series = self.resource.series or ""
        named = dict.fromkeys((*self._refused, *self._failed))
        for uid in named:
            failure = Failure(self.resource.study, series, uid, self._reason(uid))
            self.job.fail(failure, counted=False)
        self.job.counts.failed += max(0, self._failures - len(named))
        if not named and not (self.came and self.went_well):
            what = self._reason("") if not self.went_well else "The peer had nothing to send."
            self.job.fail(Failure.of(self.resource, what), counted=False)
        self.job.counts.remaining = 0 if self.last else None

    def _reason(self, instance: str) -> str:
        if instance in self._refused:
            return f"The archive did not take it: {self._refused[instance]:04X}H."
        if self.why:
            return self.why
        what = f" ({_MEANING[self.status]})" if self.status in _MEANING else ""
        return f"It did not come; the peer ended the retrieval with {self.status:04X}H{what}."

    def _settle(self, remaining: int | None = None) -> None:
        """Bring the counts of the job up to date."""
        completed, warning = len(self._arrived) - len(self._warned), len(self._warned)
        if self.known:
            remaining = len(self._instances) - len(self._arrived)
        if self._last is not None and not self._arrived:  # what the peer moves is not seen here
            completed, warning = self._last.completed, self._last.warning
            if self.known:
                remaining = max(0, len(self._instances) - completed - warning - self._last.failed)
        counts = self.job.counts
        counts.completed = self._before[0] + completed
        counts.warning = self._before[1] + warning
        counts.remaining = remaining if self.last else None


class Inbox:
    """Takes what the peer sends by C-GET into the archive. Raises `CalledOff` once the job is cancelled."""

    def __init__(self, store: Store, fetch: Fetch) -> None:
        self._store = store
        self._fetch = fetch
        self._called_off = False

    async def __call__(self, message: Message, association: Association) -> None:
        if message.command.field != Operation.C_STORE:
            if message.data is not None:
                await message.data.drop()
            refusal = message.command.answered(statuses.UNRECOGNIZED_OPERATION)
            await association.send(message.context.context_id, refusal)
            return
        instance = message.command.text(Tag.AFFECTED_SOP_INSTANCE)
        self._fetch.note(instance, await self._store.serve(message, association))
        if self._fetch.job.cancelled.is_set() and not self._called_off:
            self._called_off = True  # what is on its way behind it is still served
            raise CalledOff


class CalledOff(Exception):
    """The job was cancelled while instances came."""
