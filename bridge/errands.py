"""What the bridge sends and fetches by itself, told to the audit trail: jobs, and what rules forward."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from bridge.witness import PROGRAM, titles
from service.audit import codes
from service.audit.event import Event, Participant
from service.audit.trail import Trail
from service.dicom.resource import InstanceKey

if TYPE_CHECKING:
    from bridge.forwarding.couriers import Courier
    from bridge.forwarding.outcomes import Outcomes
    from bridge.jobs.job import Job
    from bridge.jobs.jobs import Errand
    from bridge.peers import Peer


class WitnessedErrand:
    """An errand whose every run leaves one event, with the id of its job."""

    def __init__(self, errand: "Errand", trail: Trail, *, fetches: bool) -> None:
        """`fetches` says that instances come from the peer; else they go there."""
        self._errand = errand
        self._trail = trail
        self._fetches = fetches

    async def run(self, job: "Job", peer: "Peer") -> None:
        """Run it, and tell how far it came, whatever ended it."""
        before = job.counts.completed + job.counts.warning
        try:
            await self._errand.run(job, peer)
        finally:
            counts = job.counts
            details = {
                "Job": job.name,
                "Sent": str(counts.completed + counts.warning - before),
                "Failed": str(counts.failed),
            }
            whole = not counts.failed and counts.remaining in (0, None)
            studies: dict[str, Mapping[str, int]] = {one.study: {} for one in job.resources}
            self._trail.add(
                _event(peer.ae_title, peer.host, studies, details, whole=whole, fetched=self._fetches)
            )


class WitnessedCourier:
    """A courier whose every batch leaves an event about its study."""

    def __init__(self, courier: "Courier", target: str, address: str, trail: Trail) -> None:
        self._courier = courier
        self._target = target
        self._address = address
        self._trail = trail

    async def carry(
        self,
        keys: Sequence[InstanceKey],
        outcomes: "Outcomes",
        *,
        transcode: str | None,
        stopped: Callable[[], bool],
    ) -> None:
        """Send instances, and tell which of them were taken, whatever ended it."""
        try:
            await self._courier.carry(keys, outcomes, transcode=transcode, stopped=stopped)
        finally:
            taken = len(outcomes.taken)
            details = {"Sent": str(taken), "Failed": str(len(keys) - taken)}
            studies = _counted(outcomes.taken or keys[:1], known=bool(taken))
            whole = taken == len(keys)
            self._trail.add(_event(self._target, self._address, studies, details, whole=whole, fetched=False))

    async def close(self) -> None:
        """Close what is kept open."""
        await self._courier.close()


def _counted(keys: Iterable[InstanceKey], *, known: bool) -> dict[str, Mapping[str, int]]:
    counts: dict[str, Mapping[str, int]] = {}
    for key in keys:
        counts[key.study] = {"": counts.get(key.study, {}).get("", 0) + 1} if known else {}
    return counts


def _event(
    title: str,
    address: str,
    studies: Mapping[str, Mapping[str, int]],
    details: Mapping[str, str],
    *,
    whole: bool,
    fetched: bool,
) -> Event:
    source, destination = (codes.SOURCE,), (codes.DESTINATION,)
    theirs, ours = (source, destination) if fetched else (destination, source)
    return Event(
        codes.INSTANCES_TRANSFERRED,
        codes.CREATE if fetched else codes.READ,
        (
            Participant(PROGRAM, ours, requestor=True),
            Participant(title, theirs, address=address, alternative=titles(title)),
        ),
        outcome=codes.SUCCESS if whole else codes.MINOR_FAILURE,
        outcome_text="" if whole else "Not all instances were sent.",
        studies=studies,
        details=details,
        lookup=False,
    )
