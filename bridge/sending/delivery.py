"""Instances on their way from the archive to a peer: a C-STORE for each, with an outcome of its own."""

import asyncio
import logging
from collections.abc import AsyncIterator, Buffer, Callable, Sequence
from dataclasses import dataclass

from bridge import scu
from bridge.archive.retrieving import ArchiveFailed, Arrived, Objects
from bridge.sending.fetching import Fetching
from bridge.sending.links import Link
from bridge.sending.routes import Accepted, Listed, asks, landing
from bridge.sending.tally import Outcome, Tally, outcome
from bridge.settings import RetrieveSettings
from bridge.upper.messages import AssociationLost
from service.dicom.errors import ArchiveError, Busy, NotAcceptable, UpstreamFailed
from service.dicom.implicit import ImplicitWriter
from service.dicom.resource import InstanceKey

log = logging.getLogger("isthmus.retrieve")

_LOGGED = 20  # failures of one delivery


@dataclass(frozen=True, slots=True)
class Manner:
    """How a peer is sent instances.

    `transcode` and `prefer` are as `Peer` has them; `insist` says that what is preferred comes before
    what is stored. `originator` names the C-MOVE that asked. `response_s` is how long the peer may take
    for an answer, `whole_series` says that nothing of a series is left out.
    """

    transcode: bool = True
    prefer: str | None = None
    insist: bool = False
    originator: tuple[str, int] | None = None
    response_s: float = 60.0
    whole_series: bool = True


class Delivery:
    """Sends instances over a link and counts what becomes of them.

    `stopped` is looked at before each of them; `turn` is held while one is sent, so that nothing else is
    said on its association meanwhile.
    """

    def __init__(
        self,
        objects: Objects,
        settings: RetrieveSettings,
        tally: Tally,
        manner: Manner,
        *,
        stopped: Callable[[], bool],
        turn: asyncio.Lock,
    ) -> None:
        self._objects = objects
        self._settings = settings
        self._tally = tally
        self._manner = manner
        self._stopped = stopped
        self._turn = turn
        self._left: dict[InstanceKey, Listed] = {}
        self._lost = 0
        self._unreached = 0
        self._logged = 0

    async def run(self, listed: Sequence[Listed], link: Link) -> str:
        """Send `listed`, or as many as are wanted before it is `stopped`.

        Raises `AssociationLost` if the link is over for good. If it cannot be opened, or the archive
        cannot be reached, all that are left have failed. Why is returned then, else nothing.
        """
        self._left = {one.key: one for one in listed}
        fetching: Fetching | None = None
        if self._stopped():
            return ""
        try:
            await link.opened()
            wanted = [(one, self._asks(one, link.accepted)) for one in listed]
            for one, asked in wanted:
                if not asked:
                    self._fail(one, NotAcceptable("The peer takes it in no transfer syntax that can be had."))
            routes = {one.key: asked for one, asked in wanted if asked}
            fetching = Fetching(
                self._objects,
                [(one, asked) for one, asked in wanted if asked],
                lambda one, syntax: landing(link.accepted, one.sop_class, syntax) is not None,
                self._settings,
                whole_series=self._manner.whole_series,
            )
            while (ready := await fetching.next(self._stopped)) is not None:
                one, arrived = ready
                await self._one(one, arrived, routes[one.key], link, fetching)
        except UpstreamFailed as error:
            for one in list(self._left.values()):
                self._fail(one, error)
            return str(error)
        finally:
            if fetching is not None:
                await fetching.close()
        return ""

    def _asks(self, one: Listed, accepted: Accepted) -> tuple[str, ...]:
        manner = self._manner
        return asks(one, accepted, transcode=manner.transcode, prefer=manner.prefer, insist=manner.insist)

    async def _one(
        self,
        one: Listed,
        arrived: Arrived | ArchiveError,
        asked: Sequence[str],
        link: Link,
        fetching: Fetching,
    ) -> None:
        if isinstance(arrived, ArchiveError):
            self._fail(one, arrived)
            self._count_unreached(arrived)
            return
        self._unreached = 0
        try:
            result = await self._sent(one, arrived, link)
            if result is None and arrived.whole is not None:
                result = await self._sent(one, arrived, link)
        finally:
            await arrived.close()
        if result is None and arrived.whole is None:
            result = await self._sent_again(one, asked, link, fetching)
        self._lost = self._lost + 1 if result is None else 0
        if isinstance(result, ArchiveError) or result is None:
            self._fail(one, result or UpstreamFailed("The peer ended the association."))
        else:
            self._count(one, result)
        if self._lost >= self._settings.lost_in_a_row:
            raise UpstreamFailed("The peer ends each association.")

    async def _sent_again(
        self, one: Listed, asked: Sequence[str], link: Link, fetching: Fetching
    ) -> int | ArchiveError | None:
        """The second attempt for an instance that had not been held."""
        try:
            arrived = await fetching.again(one, asked)
        except ArchiveError as error:
            return error
        try:
            return await self._sent(one, arrived, link)
        finally:
            await arrived.close()

    async def _sent(self, one: Listed, arrived: Arrived, link: Link) -> int | ArchiveError | None:
        """The status of a C-STORE, why there was none, or `None` if the association was lost in it."""
        association = await link.opened()
        place = landing(link.accepted, one.sop_class, arrived.head.syntax)
        if place is None:
            return NotAcceptable("The peer takes it in no transfer syntax that can be had.")
        try:
            data = _encoded(arrived, implicit=place.implicit)
            async with self._turn:
                return await scu.store(
                    association,
                    place.context_id,
                    one.sop_class,
                    one.key.instance,
                    data,
                    timeout_s=self._manner.response_s,
                    originator=self._manner.originator,
                )
        except AssociationLost:
            if not link.renewable:
                raise
            return None
        except ArchiveError as error:
            return error

    def _count(self, one: Listed, status: int) -> None:
        result = outcome(status)
        del self._left[one.key]
        self._tally.count(one.key, result, f"The peer answered {status:04X}H.", cause=status)
        if result is Outcome.FAILED:
            self._log(one, f"status={status:04X}")

    def _fail(self, one: Listed, error: ArchiveError) -> None:
        del self._left[one.key]
        self._tally.count(one.key, Outcome.FAILED, str(error), cause=error)
        self._log(one, f"error={type(error).__name__} {error}")

    def _log(self, one: Listed, reason: str) -> None:
        self._logged += 1
        if self._logged <= _LOGGED:
            log.warning("not sent instance=%s %s", one.key.instance, reason)

    def _count_unreached(self, error: ArchiveError) -> None:
        """Give up an archive that is not there, instead of waiting for it once for each instance."""
        gone = isinstance(error, UpstreamFailed | Busy) and not isinstance(error, ArchiveFailed)
        self._unreached = self._unreached + 1 if gone else 0
        if self._unreached >= self._settings.failed_in_a_row:
            raise UpstreamFailed("The archive cannot be reached.")


def _encoded(arrived: Arrived, *, implicit: bool) -> Buffer | AsyncIterator[Buffer]:
    if arrived.whole is None:
        return _implicit(arrived.blocks()) if implicit else arrived.blocks()
    if not implicit:
        return arrived.whole
    writer = ImplicitWriter()
    written = b"".join(writer.push(arrived.whole))
    writer.end()
    return written


async def _implicit(blocks: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
    writer = ImplicitWriter()
    async for block in blocks:
        for piece in writer.push(block):
            yield piece
    writer.end()
