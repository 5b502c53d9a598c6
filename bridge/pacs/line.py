"""Associations with one PACS: no more at a time than it takes, one always left for whoever is quick."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bridge import scu
from bridge.peers import Peer
from bridge.scu import Proposal
from bridge.settings import Limits
from bridge.upper.messages import AssociationLost, NoResponse
from bridge.upper.requestor import Rejected, RequestedAssociation
from service.dicom.errors import Busy, UpstreamFailed, UpstreamTimeout

log = logging.getLogger("isthmus.pacs")

_MOST_WAITING = 256
_AGAIN_S = (0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0)  # a PACS that has no room for us is asked again


class Line:
    """The associations of ours with `peer`, used on one loop.

    Two kinds share them: long ones, which move data, and short ones, for which one place stays free as
    long as there is more than one. A PACS that turns us away while we have others open shows how many it
    takes: that becomes the limit.
    """

    def __init__(self, peer: Peer, limits: Limits, *, calling: str, most: int) -> None:
        self.peer = peer
        self.limits = scu.of_peer(limits, peer)
        self.calling = calling
        self._limits = limits
        self._most = min(most, peer.max_associations or most)
        self._open = 0
        self._long = 0
        self._waiting: deque[tuple[bool, asyncio.Future[None]]] = deque()
        self._leaving: set[asyncio.Task[None]] = set()
        self._associations: set[RequestedAssociation] = set()
        self._closed = False

    @property
    def most(self) -> int:
        """How many associations may be open at once."""
        return self._most

    @asynccontextmanager
    async def association(
        self, proposals: Sequence[Proposal], *, long: bool = False
    ) -> AsyncIterator[RequestedAssociation]:
        """An association, released behind the caller's back.

        Raises `Busy` where too many wait for one, `Rejected`, `UpstreamFailed` or `UpstreamTimeout`; the last
        two also for what goes wrong on it.
        """
        await self._enter(long)
        try:
            association = await self._connect(proposals, long)
        except BaseException:
            self._leave(long)
            raise
        self._associations.add(association)
        try:
            yield association
        except NoResponse as silent:
            raise UpstreamTimeout("The PACS does not answer in time.") from silent
        except AssociationLost as lost:
            if association.result in ("too slow", "no response"):
                raise UpstreamTimeout("The PACS stopped in the middle of an answer.") from lost
            raise UpstreamFailed("The PACS ended the association.") from lost
        finally:
            self._associations.discard(association)
            task = asyncio.get_running_loop().create_task(self._end(association, long))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def close(self) -> None:
        """End all of them, whatever is under way: a PACS that hangs would not heed a C-CANCEL either."""
        self._closed = True
        for _, turn in self._waiting:
            if not turn.done():
                turn.set_exception(_stopping())
        self._waiting.clear()
        for association in list(self._associations):
            association.abort("stopping")

    async def closed(self) -> None:
        """Return when what was left is released."""
        if self._leaving:
            await asyncio.wait(list(self._leaving))

    async def _connect(self, proposals: Sequence[Proposal], long: bool) -> RequestedAssociation:
        for pause_s in (*_AGAIN_S, None):
            try:
                return await scu.connect(self.peer, proposals, self._limits, calling=self.calling)
            except UpstreamFailed as refusal:
                transient = isinstance(refusal, Rejected) and refusal.transient
                others = self._open - 1
                if pause_s is None or not (transient or others):
                    raise
                if others and others < self._most:
                    self._most = others
                    log.info("pacs peer=%s takes associations=%d", self.peer.name, others)
            if others:
                self._leave(long)
                await self._enter(long)
            else:
                await asyncio.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    async def _end(self, association: RequestedAssociation, long: bool) -> None:
        try:
            await association.release()
        finally:
            association.close()
            self._leave(long)

    async def _enter(self, long: bool) -> None:
        """Wait for a place."""
        if self._closed:
            raise _stopping()
        if self._has_room(long) and not self._waiting:
            self._take(long)
            return
        if len(self._waiting) >= _MOST_WAITING:
            raise Busy("Too many requests wait for the PACS; try again shortly.")
        turn = asyncio.get_running_loop().create_future()
        entry = (long, turn)
        self._waiting.append(entry)
        self._let_in()
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave(long)
            elif entry in self._waiting:
                self._waiting.remove(entry)
            raise

    def _has_room(self, long: bool) -> bool:
        return self._open < self._most and not (long and self._long >= max(1, self._most - 1))

    def _take(self, long: bool) -> None:
        self._open += 1
        self._long += long

    def _leave(self, long: bool) -> None:
        self._open -= 1
        self._long -= long
        self._let_in()

    def _let_in(self) -> None:
        """Give the free places to who waits, in their order; long ones do not hold up short ones."""
        for entry in list(self._waiting):
            long, turn = entry
            if self._has_room(long):
                self._waiting.remove(entry)
                if not turn.done():
                    self._take(long)
                    turn.set_result(None)


def _stopping() -> Busy:
    return Busy("The bridge is stopping.")
