"""When jobs begin and what is kept of them, whatever the disk, the asker and the archive do meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from bridge.archive.remote import RemoteArchive
from bridge.jobs.confirmed import Confirmed
from bridge.jobs.fetch import Fetch
from bridge.jobs.job import Job, Kind, State
from bridge.jobs.jobs import Jobs
from bridge.jobs.storing import JobTally, Storing
from bridge.peers import Peer, Peers
from bridge.scu import Progress
from bridge.sending.tally import Outcome
from bridge.settings import BridgeSettings, JobSettings
from bridge.state import Shelf, StateFolder, StateUnavailable
from service.dicom.errors import StoreUnavailable
from service.dicom.resource import InstanceKey, Resource
from tests.dimse.dimse_peers import PATIENCE_S

PEER = Peer("it", "IT", "127.0.0.1", 104)
STUDY = Resource("1.2")


class SlowShelf:
    """A shelf whose disk holds back the records that `holds` says, and then takes them, or fails."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.holds: Callable[[dict[str, Any]], bool] = lambda record: False
        self.fails = False
        self.held = asyncio.Event()
        self.go_on = asyncio.Event()
        self.load, self.remove, self.set_aside = shelf.load, shelf.remove, shelf.set_aside

    async def put(self, name: str, record: dict[str, Any]) -> None:
        if self.holds(record):
            self.held.set()
            await self.go_on.wait()
            if self.fails:
                raise StateUnavailable("full")
        await self._shelf.put(name, record)


class Noted:
    """An errand that is done as soon as it is begun, and says which were."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[str] = asyncio.Queue()

    async def run(self, job: Job, peer: Peer) -> None:
        job.counts.remaining = 0
        self.begun.put_nowait(job.name)


class Desk:
    """Jobs on a slow shelf."""

    def __init__(self, state: StateFolder, ready: Callable[[], Awaitable[None]] | None = None) -> None:
        self.shelf = SlowShelf(state.shelf("jobs", most=50))
        self.errand = Noted()
        errands = {Kind.STORE: self.errand}
        shelf: Any = self.shelf
        self.jobs = Jobs(JobSettings(running=1), Peers((PEER,)), shelf, errands, ready=ready)

    async def submit(self) -> Job:
        return await self.jobs.submit(Kind.STORE, PEER, (STUDY,))


def live(folder: Path, scenario: Callable[[StateFolder], Coroutine[Any, Any, None]]) -> None:
    """Run `scenario` on a loop of its own, with a state folder."""

    async def within() -> None:
        state = StateFolder.open(folder)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await scenario(state)
        finally:
            await state.close()

    asyncio.run(within())


def test_a_job_that_the_disk_does_not_take_is_never_begun(tmp_path):
    async def scenario(state: StateFolder) -> None:
        desk = Desk(state)
        await desk.jobs.start()
        desk.shelf.holds, desk.shelf.fails = (lambda record: not desk.shelf.held.is_set()), True
        first = asyncio.create_task(desk.submit())
        await desk.shelf.held.wait()
        second = await desk.submit()  # its end makes room for the first, which is on its way to the disk
        assert await desk.errand.begun.get() == second.name
        while not second.state.over or desk.jobs._running:
            await asyncio.sleep(0)
        desk.shelf.go_on.set()
        with pytest.raises(StoreUnavailable):
            await first
        assert desk.errand.begun.empty()
        assert [job.name for job in desk.jobs.all()] == [second.name]
        await desk.jobs.stop()

    live(tmp_path / "state", scenario)


def test_a_job_for_which_nobody_waits_any_more_is_done_all_the_same(tmp_path):
    async def scenario(state: StateFolder) -> None:
        desk = Desk(state)
        await desk.jobs.start()
        desk.shelf.holds = lambda record: not desk.shelf.held.is_set()
        asking = asyncio.create_task(desk.submit())
        await desk.shelf.held.wait()
        asking.cancel()
        (job,) = desk.jobs.all()
        assert await desk.errand.begun.get() == job.name
        await desk.jobs.stop()

    live(tmp_path / "state", scenario)


def test_nothing_is_begun_once_work_is_stopped(tmp_path):
    async def scenario(state: StateFolder) -> None:
        desk = Desk(state)
        await desk.jobs.start()
        await desk.jobs.stop()
        job = await desk.submit()
        assert (job.state, desk.jobs._running) == (State.QUEUED, {})
        again = Desk(state)
        await again.jobs.start()
        assert await again.errand.begun.get() == job.name
        await again.jobs.stop()

    live(tmp_path / "state", scenario)


def test_what_is_forgotten_while_its_end_is_written_down_stays_forgotten(tmp_path):
    async def scenario(state: StateFolder) -> None:
        desk = Desk(state)
        await desk.jobs.start()
        desk.shelf.holds = lambda record: record["state"] == "done"
        job = await desk.submit()
        await desk.shelf.held.wait()
        forgetting = asyncio.create_task(desk.jobs.remove(job.name))
        for _ in range(20):
            await asyncio.sleep(0)
        desk.shelf.go_on.set()
        assert await forgetting is None
        await desk.jobs.stop()
        assert await state.shelf("jobs", most=50).load() == {}

    live(tmp_path / "state", scenario)


def test_what_was_left_waits_for_the_archive(tmp_path):
    async def scenario(state: StateFolder) -> None:
        before = Desk(state)
        await before.jobs.start()
        await before.jobs.stop()
        left = await before.submit()
        there = asyncio.Event()

        async def ready() -> None:
            await there.wait()

        desk = Desk(state, ready)
        await desk.jobs.start()
        later = await desk.submit()
        for _ in range(20):
            await asyncio.sleep(0)
        assert desk.errand.begun.empty()
        there.set()
        assert [await desk.errand.begun.get() for _ in range(2)] == [left.name, later.name]
        await desk.jobs.stop()

    live(tmp_path / "state", scenario)


def test_a_bridge_ends_though_the_archive_has_not_come(tmp_path):
    async def scenario(state: StateFolder) -> None:
        before = Desk(state)
        await before.jobs.start()
        await before.jobs.stop()
        await before.submit()

        async def never() -> None:
            await asyncio.Event().wait()

        desk = Desk(state, never)
        await desk.jobs.start()
        await desk.jobs.stop()
        assert desk.errand.begun.empty()

    live(tmp_path / "state", scenario)


def test_a_store_job_that_ends_before_it_knows_its_instances_says_so():
    job = Job(Kind.STORE, "it", (STUDY,))
    job.begin()
    job.cancelled.set()
    settings = BridgeSettings()

    asyncio.run(Storing(RemoteArchive(settings.archive), settings).run(job, PEER))

    assert job.counts.remaining is None


def test_the_same_instance_in_two_studies_has_two_outcomes():
    job = Job(Kind.STORE, "it", (STUDY,))
    one, other = InstanceKey("1.2", "1.3", "1.9"), InstanceKey("1.4", "1.5", "1.9")
    job.confirmed.plan((one, other))
    tally = JobTally(job, 2)

    tally.count(one, Outcome.FAILED, "No.")
    tally.count(other, Outcome.COMPLETED)

    assert [failure.study for failure in job.failures] == ["1.2"]
    assert job.confirmed.plan((one, other)) == {other}


def test_what_a_peer_counts_as_failed_has_failed_though_it_names_none():
    job = Job(Kind.RETRIEVE, "it", (STUDY,))
    job.begin()
    fetch = Fetch(job, PEER, STUDY)
    fetch.expect(None)
    fetch.note("1.9", 0x0000)

    fetch.told(Progress(0xB000, completed=1, failed=2), [])
    fetch.end()

    assert (job.counts.completed, job.counts.failed, job.counts.remaining) == (1, 2, 0)


def test_what_remains_is_known_of_the_last_resource_only():
    job = Job(Kind.RETRIEVE, "it", (STUDY, Resource("1.3")))
    job.begin()
    first = Fetch(job, PEER, STUDY, last=False)
    first.expect({InstanceKey("1.2", "1.3", "1.4"): ""})
    first.have(["1.4"])
    assert job.counts.remaining is None

    second = Fetch(job, PEER, Resource("1.3"))
    second.expect({InstanceKey("1.3", "1.3", "1.5"): ""})
    assert job.counts.remaining == 1


class Watched(Confirmed):
    """Keeps what a record would say after each change, as one that is made on another thread may."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if {"_digest", "_bits"} <= vars(self).keys():
            vars(self).setdefault("records", []).append(self.record())


def test_a_record_that_is_made_while_instances_are_listed_confirms_none_of_them():
    before = [InstanceKey("1.2", "1.3", f"1.4.{number}") for number in range(8)]
    after = [InstanceKey("1.2", "1.3", f"1.5.{number}") for number in range(8)]
    confirmed = Watched()
    confirmed.plan(before)
    for key in before:
        confirmed.add(key)
    records = vars(confirmed)["records"]
    records.clear()

    confirmed.plan(after)

    assert records
    assert [Confirmed.of(record).plan(after) for record in records] == [frozenset()] * len(records)
