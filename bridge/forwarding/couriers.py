"""How a batch gets to its target: by C-STORE to a peer, by STOW-RS to a DICOMweb server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Protocol

from bridge import scu, statuses
from bridge.archive.listing import listed
from bridge.archive.remote import Body, RemoteArchive
from bridge.archive.retrieving import Arrived, Objects
from bridge.forwarding.outcomes import BatchTally, Outcomes
from bridge.forwarding.servers import Server
from bridge.peers import Peer
from bridge.sending.delivery import Delivery, Manner
from bridge.sending.fetching import Fetching
from bridge.sending.links import DestinationLink
from bridge.sending.routes import AS_STORED, Listed, bundles
from bridge.settings import ArchiveSettings, BridgeSettings, RetrieveSettings
from service.dicom.errors import ArchiveError, UpstreamFailed, UpstreamTimeout
from service.dicom.part10 import file_head
from service.dicom.resource import InstanceKey, Level
from service.dicom.retrieval import Wanted


class Courier(Protocol):
    """Takes instances from the archive to one target."""

    async def carry(
        self,
        keys: Sequence[InstanceKey],
        outcomes: Outcomes,
        *,
        transcode: str | None,
        stopped: Callable[[], bool],
    ) -> None:
        """Send instances of one study, noting in `outcomes` what becomes of each.

        Those of which nothing is noted were not tried. Raises `ArchiveError` if the archive does not tell
        what it has.
        """
        ...

    async def close(self) -> None:
        """Close what is kept open."""
        ...


class PeerCourier:
    """To a DIMSE peer, over as few associations as its contexts allow."""

    def __init__(self, peer: Peer, archive: RemoteArchive, settings: BridgeSettings) -> None:
        self._peer = peer
        self._archive = archive
        self._settings = settings
        self._retrieve = _retrieving(settings)
        self._objects = Objects(archive, self._retrieve)

    async def carry(
        self,
        keys: Sequence[InstanceKey],
        outcomes: Outcomes,
        *,
        transcode: str | None,
        stopped: Callable[[], bool],
    ) -> None:
        """Send instances; each has its own outcome."""
        peer, limits = self._peer, self._settings.limits
        found = await _found(self._archive, keys, outcomes)
        prefer = transcode or peer.prefer_syntax
        delivery = Delivery(
            self._objects,
            self._retrieve,
            BatchTally(outcomes, keys),
            Manner(
                transcode=peer.transcode,
                prefer=prefer,
                insist=transcode is not None,
                response_s=scu.of_peer(limits, peer).response_s,
                whole_series=False,
            ),
            stopped=stopped,
            turn=asyncio.Lock(),
        )
        for bundle in bundles(found, prefer=prefer):
            link = DestinationLink(peer, bundle.proposals, limits, calling=self._settings.ae_title)
            try:
                outcomes.trouble = await delivery.run(bundle.listed, link)
                await link.release()
            finally:
                link.abort()
            if outcomes.trouble or stopped():
                return

    async def close(self) -> None:
        """Nothing is kept open."""


class ServerCourier:
    """To a DICOMweb server, a request for each instance, several at a time."""

    def __init__(self, server: Server, archive: RemoteArchive, settings: BridgeSettings) -> None:
        self._server = server
        self._archive = archive
        self._settings = settings
        self._retrieve = _retrieving(settings)
        self._objects = Objects(archive, self._retrieve)
        told = ArchiveSettings(url=server.url, ca_file=server.ca_file, token_file=server.token_file)
        self._remote = RemoteArchive(told)

    async def carry(
        self,
        keys: Sequence[InstanceKey],
        outcomes: Outcomes,
        *,
        transcode: str | None,
        stopped: Callable[[], bool],
    ) -> None:
        """Send instances; each has its own outcome."""
        found = await _found(self._archive, keys, outcomes)
        syntax = transcode or self._server.transfer_syntax
        wanted = [(one, _asked(one, syntax)) for one in found]
        fetching = Fetching(
            self._objects, wanted, lambda one, arrived_in: True, self._retrieve, whole_series=False
        )
        under_way: set[asyncio.Task[None]] = set()

        def over() -> bool:
            return stopped() or bool(outcomes.trouble)

        try:
            while (ready := await fetching.next(over)) is not None:
                one, arrived = ready
                if isinstance(arrived, ArchiveError):
                    outcomes.fail(one.key, arrived)
                    continue
                under_way.add(asyncio.create_task(self._send(one, arrived, outcomes)))
                if len(under_way) >= self._settings.forwarding.sending:
                    ended, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    for task in ended:
                        task.result()  # raises what nobody expected
            await asyncio.gather(*under_way)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            await fetching.close()

    async def close(self) -> None:
        """Close the kept connections."""
        await self._remote.close()

    async def _send(self, one: Listed, arrived: Arrived, outcomes: Outcomes) -> None:
        """Send one instance, and note what becomes of it."""
        head = file_head(one.sop_class, one.key.instance, arrived.head.syntax, source_ae_title=self._title)
        first = [head] if arrived.whole is None else [head, bytes(arrived.whole)]
        body = _Rest(None if arrived.whole is not None else arrived.blocks())
        try:
            answer = await self._remote.store(first[0], first[1:], body)
            status = statuses.store_status_of_answer(answer.status, answer.body)
            outcomes.answered(one.key, status, answer.status)
            if answer.status in (401, 403, 404, 405):
                outcomes.trouble = outcomes.failed[one.key].reason
        except ArchiveError as error:
            if body.error is not None:
                outcomes.fail(one.key, body.error)
            else:
                outcomes.trouble = _trouble(error)
        finally:
            await arrived.close()

    @property
    def _title(self) -> str:
        return self._settings.ae_title


class _Rest(Body):
    """What is still to come of an object that is read from the archive while it is sent.

    `error` is what the archive failed with.
    """

    def __init__(self, blocks: AsyncIterator[bytes] | None) -> None:
        self._blocks = blocks
        self.error: ArchiveError | None = None

    @property
    def at_end(self) -> bool:
        return self._blocks is None

    async def read(self, at_least: int = 1) -> list[bytes]:
        """The next bytes, nothing at the end."""
        got: list[bytes] = []
        while self._blocks is not None and sum(map(len, got)) < at_least:
            try:
                got.append(await anext(self._blocks))
            except StopAsyncIteration:
                self._blocks = None
            except ArchiveError as error:
                self.error = error
                raise
        return got


async def _found(archive: RemoteArchive, keys: Sequence[InstanceKey], outcomes: Outcomes) -> list[Listed]:
    """What the archive says of instances of one study, in their order; those that it has not are missing."""
    by_series: dict[str, list[InstanceKey]] = {}
    for key in keys:
        by_series.setdefault(key.series, []).append(key)
    found: dict[InstanceKey, Listed] = {}
    for series, members in by_series.items():
        wanted = Wanted(
            Level.INSTANCE,
            studies=(members[0].study,),
            series=(series,),
            instances=tuple(key.instance for key in members),
        )
        found.update((one.key, one) for one in await listed(archive, wanted))
    outcomes.missing.update(key for key in keys if key not in found)
    return [found[key] for key in keys if key in found]


def _asked(one: Listed, syntax: str | None) -> tuple[str, ...]:
    """In which transfer syntaxes the archive is asked for an instance: the wanted one, else the stored."""
    if syntax is None or syntax == one.stored or (one.syntaxes and syntax not in one.syntaxes):
        return (AS_STORED,)
    return (syntax, AS_STORED)


def _trouble(error: ArchiveError) -> str:
    if isinstance(error, UpstreamTimeout):
        return "The server does not answer in time."
    if isinstance(error, UpstreamFailed):
        return "The server cannot be reached, is not trusted (ca), or ends the connection."
    return str(error)


def _retrieving(settings: BridgeSettings) -> RetrieveSettings:
    """How a lane fetches: within memory of its own, so that a slow target holds up no other."""
    chosen = settings.forwarding
    whole = min(settings.retrieve.whole_bytes, chosen.held_bytes)
    return replace(settings.retrieve, held_bytes=chosen.held_bytes, whole_bytes=whole)
