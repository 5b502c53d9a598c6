"""What the bridge sends and fetches by itself, and who asked for it, in the audit trail."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from bridge.control.app import ROUTES
from bridge.control.audited import AUDITED, KINDS, SILENT
from bridge.errands import WitnessedCourier, WitnessedErrand
from bridge.forwarding.outcomes import Outcomes
from bridge.jobs.job import Job, Kind
from bridge.peers import Peer
from service.audit import codes
from service.audit.trail import Trail
from service.dicom.errors import UpstreamFailed
from service.dicom.resource import InstanceKey, Resource
from tests.audit_events import PATIENCE_S, Heard

PEER = Peer("reading", "READING1", "192.0.2.20", 104)


class Counting:
    """An errand that stores two instances and fails, if it is to."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails

    async def run(self, job: Job, peer: Peer) -> None:
        job.counts.completed, job.counts.remaining = 2, 0
        if self.fails:
            job.counts.failed, job.counts.remaining = 1, 5
            raise UpstreamFailed("The peer is gone.")


class Carrying:
    """A courier whose target takes the first so many instances."""

    def __init__(self, takes: int) -> None:
        self.takes = takes

    async def carry(
        self,
        keys: Sequence[InstanceKey],
        outcomes: Outcomes,
        *,
        transcode: str | None,
        stopped: Callable[[], bool],
    ) -> None:
        outcomes.taken |= set(keys[: self.takes])

    async def close(self) -> None: ...


@pytest.fixture
def heard():
    sink = Heard()
    trail = Trail(sink)
    yield trail, sink
    trail.close(PATIENCE_S)


@pytest.mark.parametrize("fetches", [False, True])
def test_a_job_is_told_at_its_end_with_its_name_and_counts(heard, fetches: bool):
    trail, sink = heard
    job = Job(Kind.RETRIEVE if fetches else Kind.STORE, PEER.name, (Resource("1.1"), Resource("1.2", "1.3")))

    asyncio.run(WitnessedErrand(Counting(fails=False), trail, fetches=fetches).run(job, PEER))
    trail.close(PATIENCE_S)

    (event,) = sink.events
    assert event.what is codes.INSTANCES_TRANSFERRED
    assert event.action == (codes.CREATE if fetches else codes.READ)
    assert [*event.studies] == ["1.1", "1.2"]
    assert (event.details["Job"], event.details["Sent"]) == (job.name, "2")
    _, theirs = event.participants
    assert theirs.roles == ((codes.SOURCE if fetches else codes.DESTINATION),)
    assert (theirs.user, theirs.address) == ("READING1", "192.0.2.20")


def test_a_job_that_fails_is_told_all_the_same(heard):
    trail, sink = heard
    job = Job(Kind.STORE, PEER.name, (Resource("1.1"),))

    with pytest.raises(UpstreamFailed):
        asyncio.run(WitnessedErrand(Counting(fails=True), trail, fetches=False).run(job, PEER))
    trail.close(PATIENCE_S)

    (event,) = sink.events
    assert (event.outcome, event.details["Failed"]) == (codes.MINOR_FAILURE, "1")


@pytest.mark.parametrize(
    ("takes", "outcome"), [(3, codes.SUCCESS), (1, codes.MINOR_FAILURE), (0, codes.MINOR_FAILURE)]
)
def test_what_is_forwarded_is_told_by_what_was_taken(heard, takes: int, outcome: int):
    trail, sink = heard
    keys = [InstanceKey("1.1", "1.2", f"1.3.{number}") for number in range(3)]
    courier = WitnessedCourier(Carrying(takes), "READING1", "192.0.2.20", trail)

    asyncio.run(courier.carry(keys, Outcomes(), transcode=None, stopped=lambda: False))
    trail.close(PATIENCE_S)

    (event,) = sink.events
    assert event.outcome == outcome
    assert event.studies == {"1.1": {"": takes} if takes else {}}


def test_every_route_of_the_bridge_is_told_of_or_is_known_to_tell_nobody_anything():
    assert {*AUDITED} | SILENT == {(method, path) for method, path, _ in ROUTES}
    assert not {*AUDITED} & SILENT
    assert {*AUDITED.values()} == {*KINDS}
