"""All jobs of a bridge: taken durably, worked off a few at a time, told, ended, forgotten."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from bridge.jobs.job import Job, Kind, State
from bridge.peers import Peer, Peers
from bridge.settings import JobSettings
from bridge.state import Shelf, ShelfFull, StateUnavailable
from service.dicom.errors import ArchiveError, Busy, NotFound, StoreUnavailable
from service.dicom.resource import Resource

log = logging.getLogger("isthmus.jobs")


class Errand(Protocol):
    """What a kind of job does."""

    async def run(self, job: Job, peer: Peer) -> None:
        """Do it, noting in `job` what becomes of each instance.

        Returns early once `job.cancelled` is set, between two instances. `ArchiveError` if nothing, or
        nothing more, could be done.
        """
        ...


class Jobs:
    """Jobs in the order in which they came; they outlast the program in `shelf`. Used on one loop."""

    def __init__(
        self,
        settings: JobSettings,
        peers: Peers,
        shelf: Shelf,
        errands: Mapping[Kind, Errand],
        *,
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """What is left of an earlier run goes on once `ready` returns: the archive may start beside us."""
        self._settings = settings
        self._peers = peers
        self._shelf = shelf
        self._errands = errands
        self._jobs: dict[str, Job] = {}
        self._ready = ready
        self._open = False
        self._waiting: asyncio.Task[None] | None = None
        self._unkept: set[str] = set()  # no promise yet: on their way to the disk
        self._running: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Go on with what was not over when the program ended. Raises `StateUnavailable`."""
        for name, record in sorted((await self._shelf.load()).items()):
            try:
                self._jobs[name] = Job.of(name, record)
            except ValueError:
                await self._shelf.set_aside(name)
        left = [job for job in self._jobs.values() if not job.state.over]
        if left:
            log.info("jobs=%d go on", len(left))
        for job in left:
            job.state = State.QUEUED
        await self._forget_old_ones()
        if left and self._ready is not None:
            self._waiting = asyncio.create_task(self._begin_when(self._ready))
        else:
            self._open = True
            self._begin_next()

    async def stop(self) -> None:
        """Stop working; what is not over goes on when the program is started again."""
        self._open = False
        tasks, self._running = list(self._running.values()), {}
        tasks += [self._waiting] if self._waiting is not None else []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def submit(self, kind: Kind, peer: Peer, resources: Sequence[Resource]) -> Job:
        """A job, on disk when this returns; `Busy` if too many wait, `StoreUnavailable` if the disk fails."""
        if len([job for job in self._jobs.values() if job.state is State.QUEUED]) >= self._settings.queued:
            raise Busy(f"{self._settings.queued} jobs wait already.", self._settings.retry_after_s)
        job = Job(kind, peer.name, tuple(resources))
        self._jobs[job.name] = job  # at once, so that others are counted with it
        self._unkept.add(job.name)
        try:
            await self._shelf.put(job.name, job.record())
        except ShelfFull:
            self._jobs.pop(job.name, None)
            raise Busy("There is no room for more jobs.", self._settings.retry_after_s) from None
        except StateUnavailable as error:
            self._jobs.pop(job.name, None)
            log.error("job=%s not kept: %s", job.name, error)
            raise StoreUnavailable("The job cannot be kept on disk (ISTHMUS_BRIDGE_STATE).") from error
        finally:  # also of a job for which nobody waits any more, which comes to the disk all the same
            self._unkept.discard(job.name)
            self._begin_next()
        log.info("job=%s kind=%s peer=%s resources=%d", job.name, kind, peer.name, len(resources))
        return job

    def all(self) -> list[Job]:
        """Every job, the newest first."""
        return sorted(self._jobs.values(), key=lambda job: job.created_at, reverse=True)

    def find(self, name: str) -> Job:
        """The job of this name; `NotFound`."""
        if name not in self._jobs:
            raise NotFound("There is no job of this name; those that are over are forgotten after a while.")
        return self._jobs[name]

    async def remove(self, name: str) -> Job | None:
        """End a job, or forget one that is over.

        The one that is being ended is returned, `None` says that it is forgotten. `NotFound`, or
        `StoreUnavailable` if the disk does not take it.
        """
        job = self.find(name)
        if job.state.over:
            if job.name in self._running:  # its end is being written down, and would come after this one
                await asyncio.wait([self._running[job.name]])
            await self._forget(job)
            return None
        if not job.cancelled.is_set():
            job.cancelled.set()
            log.info("job=%s cancelled", job.name)
            if job.name not in self._running:
                job.end(State.CANCELLED)
            if not await self._keep(job):
                raise StoreUnavailable("The end of the job cannot be kept on disk (ISTHMUS_BRIDGE_STATE).")
        return job

    def counted(self) -> Mapping[tuple[Kind, State], int]:
        """How many jobs there are of each kind in each state."""
        return Counter((job.kind, job.state) for job in self._jobs.values())

    # Work.

    async def _begin_when(self, ready: Callable[[], Awaitable[None]]) -> None:
        await ready()
        self._open = True
        self._begin_next()

    def _begin_next(self) -> None:
        """Begin what waits, as far as there is room for it, first come first served."""
        if not self._open:
            return
        at_peer = Counter(self._jobs[name].peer for name in self._running)
        for job in self._jobs.values():
            if len(self._running) >= self._settings.running:
                return
            taken = job.name in self._running or job.name in self._unkept
            if job.state is State.QUEUED and not taken and at_peer[job.peer] < self._most_at(job.peer):
                at_peer[job.peer] += 1
                self._running[job.name] = asyncio.create_task(self._work(job))

    def _most_at(self, name: str) -> int:
        """How many jobs of a peer may run: each has an association with it."""
        peer = self._peers.by_name(name)
        most = self._settings.running_per_peer
        return most if peer is None or peer.max_associations is None else min(most, peer.max_associations)

    async def _work(self, job: Job) -> None:
        try:
            await self._run(job)
        finally:
            if self._running.pop(job.name, None) is not None:  # else all work is being stopped
                await self._forget_old_ones()
                self._begin_next()

    async def _run(self, job: Job) -> None:
        job.begin()
        peer = self._peers.by_name(job.peer)
        keeping = asyncio.create_task(self._keep_progress(job))
        try:
            if job.cancelled.is_set():
                job.end(State.CANCELLED)
            elif peer is None:
                job.end(State.FAILED, "The peer is not known any more, see ISTHMUS_PEERS.")
            else:
                await self._errands[job.kind].run(job, peer)
                self._end(job)
        except ArchiveError as error:
            job.end(State.CANCELLED if job.cancelled.is_set() else State.FAILED, str(error))
        except Exception:
            log.exception("job=%s unexpected error", job.name)
            job.end(State.FAILED, "An unexpected error; the log tells more.")
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._keep(job)
        counts = job.counts
        log.info(
            "job=%s kind=%s peer=%s state=%s completed=%d warnings=%d failed=%d seconds=%.1f",
            job.name,
            job.kind,
            job.peer,
            job.state,
            counts.completed,
            counts.warning,
            counts.failed,
            time.time() - (job.started_at or 0.0),
        )

    def _end(self, job: Job) -> None:
        """The state of a job whose errand has come to its end."""
        if job.counts.failed:
            stored = job.counts.completed + job.counts.warning
            told = f"{job.counts.failed} failed, {stored} were stored; failures tell which and why."
            job.end(State.CANCELLED if job.cancelled.is_set() else State.FAILED, told)
        elif job.cancelled.is_set() and job.counts.remaining != 0:
            job.end(State.CANCELLED)
        else:
            job.end(State.DONE)

    async def _keep_progress(self, job: Job) -> None:
        """Have on disk, from time to time, how far the job is."""
        kept: Mapping[str, Any] | None = None
        while True:
            record = job.record()
            if record != kept and await self._keep(job):
                kept = record
            await asyncio.sleep(self._settings.keep_s)

    async def _keep(self, job: Job) -> bool:
        try:
            await self._shelf.put(job.name, job.record())
        except (StateUnavailable, ShelfFull) as error:  # the one before stays: it is done once more at worst
            log.error("job=%s not kept: %s", job.name, error)
            return False
        return True

    async def _forget_old_ones(self) -> None:
        """Forget what was over long ago, and the oldest of too many."""
        over = sorted(
            (job for job in self._jobs.values() if job.state.over), key=lambda job: job.ended_at or 0.0
        )
        oldest = time.time() - self._settings.kept_s
        surplus = len(over) - self._settings.kept
        for place, job in enumerate(over):
            if place < surplus or (job.ended_at or 0.0) < oldest:
                with contextlib.suppress(StoreUnavailable):
                    await self._forget(job)

    async def _forget(self, job: Job) -> None:
        try:
            await self._shelf.remove(job.name)
        except StateUnavailable as error:
            log.error("job=%s not forgotten: %s", job.name, error)
            raise StoreUnavailable("The job cannot be forgotten on disk (ISTHMUS_BRIDGE_STATE).") from error
        self._jobs.pop(job.name, None)
