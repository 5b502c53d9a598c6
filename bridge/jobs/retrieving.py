"""Retrieve jobs: what a peer has comes into the archive, by C-GET or by C-MOVE to ourselves (PS3.4 C.4)."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

from bridge import scu, statuses
from bridge.archive.listing import listed
from bridge.archive.remote import RemoteArchive
from bridge.jobs.asking import Expected, failed_instances, held, retrieval
from bridge.jobs.fetch import CalledOff, Fetch, Inbox
from bridge.jobs.job import Failure, Job
from bridge.pacs import contexts
from bridge.peers import Peer
from bridge.scp.store import Store
from bridge.scu import Proposal
from bridge.settings import BridgeSettings
from bridge.upper.messages import AssociationLost, NoResponse
from bridge.upper.requestor import Rejected, RequestedAssociation
from service.dicom.errors import ArchiveError, UpstreamFailed
from service.dicom.resource import Resource
from service.dicom.retrieval import Wanted

log = logging.getLogger("isthmus.jobs")


class _NotOffered(Exception):
    """The peer accepts no context of the operation."""


class _Refused(UpstreamFailed):
    """The peer does not do it, however often it is asked."""


class _Lost(UpstreamFailed):
    """The association was lost again and again."""


class Retrieving:
    """Fetches instances from peers into the archive.

    `store` passes on what comes by C-GET, streamed, with the status that the peer gets.
    """

    def __init__(self, archive: RemoteArchive, store: Store, settings: BridgeSettings) -> None:
        self._archive = archive
        self._store = store
        self._settings = settings

    async def run(self, job: Job, peer: Peer) -> None:
        """Fetch what `job` names, one resource after the other.

        Raises `UpstreamFailed` or `UpstreamTimeout` if the peer cannot be reached or offers no retrieval.
        """
        for resource in job.resources:
            if job.cancelled.is_set():
                return
            await self._fetch(Fetch(job, peer, resource, last=resource is job.resources[-1]))

    async def _fetch(self, fetch: Fetch) -> None:
        """One resource; again where the association was lost. What has not come in the end has failed."""
        try:
            fetch.expect(await self._again(fetch, self._held))
            if fetch.known and not fetch.expected:
                name = fetch.resource.level.name.lower()
                failure = Failure.of(fetch.resource, f"The peer has no such {name}.")
                fetch.job.fail(failure, counted=False)
                return
            if fetch.job.attempts > 1 and fetch.known:  # it was begun before, and may have been over
                fetch.have(await self._in_archive(fetch.resource))
            if fetch.missing:
                await self._again(fetch, self._retrieve)
        except _Lost as error:
            fetch.why = str(error)
        if not fetch.job.cancelled.is_set():
            fetch.end()

    async def _again[T](self, fetch: Fetch, attempt: Callable[[Fetch], Awaitable[T]]) -> T | None:
        """What `attempt` returns; it is made again where the peer cannot be reached, or is lost."""
        chosen = self._settings.jobs
        for left in reversed(range(chosen.tries)):
            if fetch.job.cancelled.is_set():
                return None
            try:
                return await attempt(fetch)
            except (AssociationLost, UpstreamFailed) as error:
                if fetch.job.cancelled.is_set():
                    return None
                if _for_good(error) or (not left and isinstance(error, UpstreamFailed)):
                    raise
                why = "does not answer" if isinstance(error, NoResponse) else "ends the association"
                if not left:
                    raise _Lost(f"The peer {why}, {chosen.tries} times in a row.") from error
                log.info("job=%s is tried again: %s", fetch.job.name, type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(chosen.try_again_s):
                    await fetch.job.cancelled.wait()
                    return None
        return None

    async def _held(self, fetch: Fetch) -> Expected | None:
        """What the peer has of the resource, `None` if it does not answer queries."""
        limits = scu.of_peer(self._settings.limits, fetch.peer)
        async with self._association(fetch, contexts.finding()) as association:
            context = scu.context_for(association, contexts.FIND)
            if context is None:
                return None
            try:
                return await held(association, context, fetch.resource, limits)
            except UpstreamFailed as error:
                log.info("job=%s not told what there is: %s", fetch.job.name, error)
                return None

    async def _retrieve(self, fetch: Fetch) -> None:
        how = fetch.peer.retrieve
        try:
            if how != "move":
                await self._get(fetch)
                if how == "get" or fetch.came or fetch.went_well or fetch.job.cancelled.is_set():
                    return
        except _NotOffered:
            if how == "get":
                raise _Refused("The peer does not accept C-GET of these classes.") from None
        try:
            await self._move(fetch)
        except _NotOffered:
            if fetch.status != statuses.PENDING:
                return  # it was asked by C-GET, and has said why not
            raise _Refused("The peer accepts neither C-GET nor C-MOVE.") from None

    async def _get(self, fetch: Fetch) -> None:
        limits = scu.of_peer(self._settings.limits, fetch.peer)
        async with self._association(fetch, contexts.getting(fetch.classes)) as association:
            context = scu.context_for(association, contexts.GET)
            if context is None or not any(each.we_serve for each in association.contexts.values()):
                raise _NotOffered
            asked = scu.get(
                association,
                context.context_id,
                retrieval(fetch.resource, context),
                limits,
                on_store=Inbox(self._store, fetch),
            )
            async with aclosing(asked):
                try:
                    async for progress in asked:
                        fetch.told(progress, failed_instances(progress.identifier, context))
                        if fetch.job.cancelled.is_set():
                            return
                except CalledOff:
                    return

    async def _move(self, fetch: Fetch) -> None:
        limits = scu.of_peer(self._settings.limits, fetch.peer)
        title = self._settings.ae_title
        async with self._association(fetch, contexts.moving()) as association:
            context = scu.context_for(association, contexts.MOVE)
            if context is None:
                raise _NotOffered
            identifier = retrieval(fetch.resource, context)
            asked = scu.move(association, context.context_id, identifier, limits, destination=title)
            async with aclosing(asked):
                async for progress in asked:
                    fetch.told(progress, failed_instances(progress.identifier, context), moving=True)
                    if fetch.job.cancelled.is_set():
                        break
        # Whatever the peer counts as sent, what counts here is what the archive has; but what the archive
        # did not take from the peer may be there all the same, with other content (0111).
        if not fetch.known:
            return
        try:
            fetch.have((await self._in_archive(fetch.resource)) - fetch.failed)
        except ArchiveError as error:
            log.info("job=%s not verified: %s", fetch.job.name, error)
            fetch.believe()

    async def _in_archive(self, resource: Resource) -> set[str]:
        wanted = Wanted(
            resource.level,
            studies=(resource.study,),
            series=() if resource.series is None else (resource.series,),
            instances=() if resource.instance is None else (resource.instance,),
        )
        return {one.key.instance for one in await listed(self._archive, wanted)}

    @asynccontextmanager
    async def _association(
        self, fetch: Fetch, proposals: Sequence[Proposal]
    ) -> AsyncGenerator[RequestedAssociation]:
        """An association with the peer, which is ended soon after the job is cancelled, come what may."""
        settings = self._settings
        association = await scu.connect(fetch.peer, proposals, settings.limits, calling=settings.ae_title)

        async def cut_off() -> None:
            await fetch.job.cancelled.wait()
            await asyncio.sleep(settings.jobs.cancel_s)
            association.abort("cancelled")

        cutting = asyncio.create_task(cut_off())
        try:
            yield association
            await association.release()
        finally:
            cutting.cancel()
            association.abort("given up")
            association.close()


def _for_good(error: Exception) -> bool:
    """Whether it would be the same if the peer were asked again."""
    return isinstance(error, _Refused) or (isinstance(error, Rejected) and not error.transient)
