"""Store jobs: what the archive has is sent to a peer, as for a C-MOVE that nobody asked (PS3.4 annex B)."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bridge import scu
from bridge.archive.listing import MOST, listed
from bridge.archive.remote import RemoteArchive
from bridge.archive.retrieving import Objects
from bridge.jobs.job import Failure, Job
from bridge.peers import Peer
from bridge.sending.delivery import Delivery, Manner
from bridge.sending.links import DestinationLink
from bridge.sending.routes import Listed, bundles
from bridge.sending.tally import Outcome, Tally
from bridge.settings import BridgeSettings
from service.dicom.errors import ArchiveError, TooMany, UpstreamFailed
from service.dicom.resource import InstanceKey, Level, Resource
from service.dicom.retrieval import Wanted


class Storing:
    """Sends instances of the archive to peers."""

    def __init__(self, archive: RemoteArchive, settings: BridgeSettings) -> None:
        self._archive = archive
        self._settings = settings
        self._retrieve = replace(settings.retrieve, held_bytes=settings.jobs.held_bytes)
        self._objects = Objects(archive, self._retrieve)

    async def run(self, job: Job, peer: Peer) -> None:
        """Send what `job` names and is not sent yet. Raises what searches in the archive raise."""
        found = await self._found(job)
        if job.cancelled.is_set():  # before all of them were known
            return
        confirmed = await asyncio.to_thread(job.confirmed.plan, found)
        job.counts.completed += len(confirmed)
        left = [one for key, one in found.items() if key not in confirmed]
        job.counts.remaining = len(left)
        if not left:
            return
        delivery = Delivery(
            self._objects,
            self._retrieve,
            JobTally(job, len(left)),
            Manner(
                transcode=peer.transcode,
                prefer=peer.prefer_syntax,
                response_s=scu.of_peer(self._settings.limits, peer).response_s,
                whole_series=_mostly_whole(job.resources, left, found),
            ),
            stopped=job.cancelled.is_set,
            turn=asyncio.Lock(),
        )
        for bundle in bundles(left, prefer=peer.prefer_syntax):
            link = DestinationLink(
                peer, bundle.proposals, self._settings.limits, calling=self._settings.ae_title
            )
            try:
                trouble = await delivery.run(bundle.listed, link)
                await link.release()
            finally:
                link.abort()
            if trouble and not job.counts.completed and not job.counts.warning:
                raise UpstreamFailed(trouble)

    async def _found(self, job: Job) -> dict[InstanceKey, Listed]:
        """Every instance once; resources of which the archive has none have failed."""
        found: dict[InstanceKey, Listed] = {}
        for resources, wanted in _wanted(job.resources):
            if job.cancelled.is_set():
                break
            instances = await listed(self._archive, wanted)
            found.update((one.key, one) for one in instances)
            if len(found) > MOST:
                raise TooMany(f"A job may send {MOST} instances at most.")
            had = {one.key.instance for one in instances}
            for one in resources:
                if one.instance not in had if one.instance is not None else not had:
                    name = one.level.name.lower()
                    job.fail(Failure.of(one, f"The archive has no such {name}."), counted=False)
        return found


class JobTally(Tally):
    """The counts of a delivery, as those of a job."""

    def __init__(self, job: Job, instances: int) -> None:
        super().__init__(instances)
        self._job = job

    def count(
        self, key: InstanceKey, result: Outcome, reason: str = "", *, cause: int | ArchiveError = 0
    ) -> None:
        """Note what became of one instance; it is confirmed if it was stored."""
        super().count(key, result, reason, cause=cause)
        if result is Outcome.FAILED:
            self._job.fail(Failure.of(key, reason))
        else:
            self._job.confirmed.add(key)
            self._job.complete(warning=result is Outcome.WARNING)


def _wanted(resources: Sequence[Resource]) -> Iterator[tuple[Sequence[Resource], Wanted]]:
    """What the archive is asked for: instances of one series together."""
    together: dict[tuple[Level, str, str | None], list[Resource]] = {}
    for one in resources:
        together.setdefault((one.level, one.study, one.series), []).append(one)
    for (level, study, series), members in together.items():
        instances = tuple(one.instance for one in members if one.instance is not None)
        named = () if series is None else (series,)
        yield members, Wanted(level, studies=(study,), series=named, instances=instances)


def _mostly_whole(
    resources: Sequence[Resource], left: Sequence[Listed], found: Mapping[InstanceKey, Listed]
) -> bool:
    """Whether little is fetched in vain when series are fetched as a whole."""
    return all(one.level is not Level.INSTANCE for one in resources) and 2 * len(left) >= len(found)
