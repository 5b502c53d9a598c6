"""How a transaction's report gets to the peer: on an association that is there, or on one of our own."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from bridge import scu
from bridge.commitment.transactions import Transaction
from bridge.peers import Peer
from bridge.scu import Proposal
from bridge.settings import BridgeSettings
from bridge.upper.association import Association
from bridge.upper.messages import AssociationLost
from bridge.upper.negotiation import Context
from bridge.upper.requestor import Rejected, RequestedAssociation
from service.dicom import syntaxes
from service.dicom.errors import UpstreamFailed

log = logging.getLogger("isthmus.commitment")

PUSH_MODEL = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
SYNTAXES = (syntaxes.EXPLICIT_LE, syntaxes.IMPLICIT_LE)

# The peer says that it cannot take the report at this time (PS3.7 annex C); all else is an answer to it.
_LATER = frozenset({0x0110, 0x0124, 0x0213})
# It says that it takes no reports here: those of a peer that ignores the roles, or knows no N-services.
_NOT_HERE = frozenset({0x0122, 0x0211, 0x0212})


_AS_SCP = Proposal(PUSH_MODEL, SYNTAXES, scu=False, scp=True)
_PLAIN = Proposal(PUSH_MODEL, SYNTAXES)


class NotTaken(Exception):
    """The peer does not take the report at this time."""


class NotTakenHere(NotTaken):
    """The peer does not take reports on this association."""


class _TryPlain(Exception):
    """It may be that the peer does not like the exchange of roles."""


class Reports(Protocol):
    """What a lane asks of the whole."""

    async def done(self, transaction: Transaction, where: str) -> None:
        """The report was delivered, or is given up."""
        ...


def context_of(association: Association) -> Context | None:
    """A context for reports."""
    contexts = association.contexts.values()
    return next((each for each in contexts if each.abstract == PUSH_MODEL), None)


async def send(
    transaction: Transaction, association: Association, context: Context, *, title: str, timeout_s: float
) -> None:
    """Send the report and await the answer; `NotTaken`, or `AssociationLost` (`NoResponse` too).

    `title` is where the instances can be had. A peer that is not ours to end keeps its association.
    """
    explicit = context.syntax != syntaxes.IMPLICIT_LE
    event_type, information = transaction.report(retrieve_ae_title=title, explicit=explicit)
    status = await scu.event_report(
        association,
        context.context_id,
        PUSH_MODEL_INSTANCE,
        event_type,
        information,
        timeout_s=timeout_s,
        keep=not isinstance(association, RequestedAssociation),
    )
    if status in _NOT_HERE:
        raise NotTakenHere(f"it answers {status:04X}")
    if status in _LATER:
        raise NotTaken(f"it answers {status:04X}")
    if status:
        log.warning("transaction=%s report answered %04X", transaction.request.transaction, status)


class Lane:
    """The reports for one peer, called until it takes them, with longer and longer pauses."""

    def __init__(
        self, peer: Peer, settings: BridgeSettings, reports: Reports, end: Callable[[Peer], None]
    ) -> None:
        self._peer = peer
        self._settings = settings
        self._reports = reports
        self._end = end
        self._waiting: list[Transaction] = []
        self._arrived = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._run())

    def add(self, transaction: Transaction) -> None:
        """Report this too; a peer that has just asked may be there again, so it is called at once."""
        self._waiting.append(transaction)
        self._arrived.set()

    async def _run(self) -> None:
        chosen = self._settings.commitment
        pause_s = chosen.report_delay_s
        try:
            while True:
                self._arrived.clear()
                why = await self._call()
                await self._give_up_old_ones()
                if not self._left() and not self._arrived.is_set():
                    return
                if why:
                    log.warning("peer=%s reports=%d not taken: %s", self._peer.name, len(self._left()), why)
                try:
                    async with asyncio.timeout(pause_s):
                        await self._arrived.wait()
                    pause_s = chosen.report_delay_s
                except TimeoutError:
                    pause_s = min(2 * pause_s, chosen.report_pause_s)
        finally:
            self._end(self._peer)

    def _left(self) -> list[Transaction]:
        self._waiting = [each for each in self._waiting if not each.delivered]
        return self._waiting

    async def _call(self) -> str:
        """Call the peer and deliver what waits; why something still does.

        A peer that does not take a report on an association with the roles exchanged may take it on a
        plain one, where by the standard the report's sender is no SCP (PS3.7 D.3.3.4).
        """
        why = ""
        for title in {each.called for each in self._left()}:
            try:
                try:
                    why = await self._deliver(title, await self._association(title, _AS_SCP)) or why
                except _TryPlain:
                    why = await self._deliver(title, await self._association(title, _PLAIN)) or why
            except (UpstreamFailed, _TryPlain) as error:
                why = str(error)
            except Exception:
                why = "unexpected error"
                log.exception("peer=%s unexpected error", self._peer.name)
        return why

    async def _association(self, calling: str, proposal: Proposal) -> RequestedAssociation:
        """An association; `_TryPlain` if the peer rejects it for good, or `UpstreamFailed`."""
        try:
            return await scu.connect(self._peer, [proposal], self._settings.limits, calling=calling)
        except Rejected as error:
            if error.transient:
                raise
            raise _TryPlain(str(error)) from error

    async def _deliver(self, title: str, association: RequestedAssociation) -> str:
        """Deliver what was asked for under `title`; why something of it is left, or nothing.

        Raises `_TryPlain` where the association itself may be the reason.
        """
        why = ""
        try:
            context = context_of(association)
            if context is None:
                raise _TryPlain("it accepts no storage commitment")
            for transaction in [each for each in self._left() if each.called == title]:
                try:
                    await self._deliver_one(transaction, association, context)
                except NotTakenHere as error:
                    raise _TryPlain(str(error)) from error
                except NotTaken as error:
                    why = str(error)
                except AssociationLost as error:
                    # Another one goes first the next time, in case that this one is to blame.
                    self._waiting.remove(transaction)
                    self._waiting.append(transaction)
                    lost = f"the association was lost ({type(error).__name__}, {association.result})"
                    raise _TryPlain(lost) from error
        finally:
            await association.release()
            association.close()
        return why

    async def _deliver_one(
        self, transaction: Transaction, association: RequestedAssociation, context: Context
    ) -> None:
        title = self._settings.ae_title
        timeout_s = scu.of_peer(self._settings.limits, self._peer).response_s
        async with transaction.reporting:
            if not transaction.delivered:
                await send(transaction, association, context, title=title, timeout_s=timeout_s)
                await self._reports.done(transaction, "new association")

    async def _give_up_old_ones(self) -> None:
        oldest = time.time() - self._settings.commitment.report_s
        for each in self._left():
            if each.received_at < oldest:
                await self._reports.done(each, "nowhere, given up")
