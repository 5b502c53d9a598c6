"""Messages about performed procedure steps on their way to peers: in order, until they are taken."""

import asyncio
import logging
import time
from collections.abc import Callable

import orjson

from bridge import scu
from bridge.mpps.step import CREATE, PerformedStep, StepMessage
from bridge.mpps.steps import PerformedSteps
from bridge.peers import Peer
from bridge.scu import Outcome, Proposal
from bridge.settings import BridgeSettings
from bridge.state import StateUnavailable
from bridge.upper.messages import AssociationLost
from bridge.upper.negotiation import Context
from bridge.upper.requestor import RequestedAssociation
from service.dicom import syntaxes
from service.dicom.encoding import data_set
from service.dicom.errors import ArchiveError, UpstreamFailed
from service.dicom.repertoire import ASCII, named

log = logging.getLogger("isthmus.mpps")

PERFORMED = "1.2.840.10008.3.1.2.3.3"
SYNTAXES = (syntaxes.EXPLICIT_LE, syntaxes.IMPLICIT_LE)

_DUPLICATE = 0x0111
_NO_LONGER_UPDATED = 0xA710  # error id (PS3.4 Table F.7.2-2)
# The peer cannot take it at this time (PS3.7 annex C); any other failure is its word on the message.
_LATER = frozenset({0x0110, 0x0124, 0x0213})
_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})


class _NotTaken(Exception):
    """The peer does not take a message at this time."""


class Forwarding:
    """Passes on what waits, to each peer by a lane of its own."""

    def __init__(self, steps: PerformedSteps, settings: BridgeSettings) -> None:
        self._steps = steps
        self._settings = settings
        self._lanes: dict[str, _Lane] = {}

    def start(self) -> None:
        """Go on with what was left when the program ended."""
        for step in self._steps.all():
            self.due(step)
        self._steps.forwards = self

    def due(self, step: PerformedStep) -> None:
        """A step has a message that waits; a peer that is being left alone for a while is called at once."""
        for name in step.deliveries:
            if step.owed(name):
                lane = self._lanes.get(name)
                if lane is None:
                    lane = self._lanes[name] = _Lane(name, self._steps, self._settings, self._ended)
                lane.arrived.set()

    async def stop(self) -> None:
        """Stop working; what waits stays on disk."""
        self._steps.forwards = None
        tasks = [lane.task for lane in self._lanes.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, name: str) -> None:
        self._lanes.pop(name, None)


class _Lane:
    """What one peer is owed. It is called until it has taken all, with longer and longer pauses."""

    def __init__(
        self, name: str, steps: PerformedSteps, settings: BridgeSettings, end: Callable[[str], None]
    ) -> None:
        self.arrived = asyncio.Event()
        self._name = name
        self._peer = settings.peers.by_name(name)
        self._steps = steps
        self._settings = settings
        self._end = end
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        chosen = self._settings.mpps
        pause_s = chosen.forward_delay_s
        try:
            while True:
                self.arrived.clear()
                why = await self._call()
                if not self._owed() and not self.arrived.is_set():
                    return
                if why:
                    log.warning("peer=%s mpps=%d not taken: %s", self._name, len(self._owed()), why)
                try:
                    async with asyncio.timeout(pause_s):
                        await self.arrived.wait()
                    pause_s = chosen.forward_delay_s
                except TimeoutError:
                    pause_s = min(2 * pause_s, chosen.forward_pause_s)
        finally:
            self._end(self._name)

    def _owed(self) -> list[PerformedStep]:
        """The steps with a message for the peer, the oldest first."""
        owed = (step for step in self._steps.all() if step.owed(self._name))
        return sorted(owed, key=lambda step: step.created_at)

    async def _call(self) -> str:
        """Call the peer and deliver what waits; why something still does."""
        try:
            await self._give_up_old_ones()
            if not self._owed():
                return ""
            peer = self._peer
            if peer is None:
                return await self._give_up("it is no longer in ISTHMUS_PEERS")
            return await self._deliver(peer)
        except (UpstreamFailed, _NotTaken) as error:
            return str(error)
        except AssociationLost as error:
            return f"the association was lost ({type(error).__name__})"
        except StateUnavailable as error:
            return f"it cannot be noted: {error}"
        except ArchiveError as error:
            return str(error)
        except Exception:
            log.exception("peer=%s unexpected error", self._name)
            return "unexpected error"

    async def _deliver(self, peer: Peer) -> str:
        proposal = Proposal(PERFORMED, SYNTAXES)
        limits = self._settings.limits
        association = await scu.connect(peer, [proposal], limits, calling=self._settings.ae_title)
        why = ""
        try:
            context = scu.context_for(association, PERFORMED)
            if context is None:
                raise _NotTaken("it accepts no Modality Performed Procedure Steps")
            for step in self._owed():
                try:
                    await self._deliver_step(step.instance, peer, association, context)
                except _NotTaken as error:  # this one waits, with all that is to follow it
                    why = str(error)
        finally:
            await association.release()
            association.close()
        return why

    async def _deliver_step(
        self, instance: str, peer: Peer, association: RequestedAssociation, context: Context
    ) -> None:
        """Send the messages about one step, each noted before the next one."""
        while True:
            step = self._steps.find(instance)
            if not step.owed(peer.name):
                return
            message = step.messages[step.deliveries[peer.name].sent]
            outcome = await self._sent(step, message, peer, association, context)
            if _taken(message, outcome):
                await self._steps.note_delivery(instance, peer.name, message)
                log.info("mpps=%s %s taken by peer=%s", instance, message.operation, peer.name)
                continue
            if outcome.status in _LATER or outcome.status >> 12 == 0xA:
                raise _NotTaken(f"it answers {outcome.status:04X}")
            why = f"it answers {outcome.status:04X}"
            await self._fail(step, message, why)
            return

    async def _sent(
        self,
        step: PerformedStep,
        message: StepMessage,
        peer: Peer,
        association: RequestedAssociation,
        context: Context,
    ) -> Outcome:
        charset = named(peer.charset or message.charset) or ASCII
        content = data_set(orjson.loads(message.document), syntaxes.BY_UID[context.syntax], charset)
        timeout_s = scu.of_peer(self._settings.limits, peer).response_s
        if message.operation == CREATE:
            return await scu.create(
                association, context.context_id, step.instance, content, timeout_s=timeout_s
            )
        return await scu.update(association, context.context_id, step.instance, content, timeout_s=timeout_s)

    async def _give_up_old_ones(self) -> None:
        oldest = time.time() - self._settings.mpps.forward_s
        for step in self._owed():
            message = step.messages[step.deliveries[self._name].sent]
            if message.at < oldest:
                await self._fail(step, message, "it did not take it in time")

    async def _give_up(self, why: str) -> str:
        for step in self._owed():
            await self._fail(step, step.messages[step.deliveries[self._name].sent], why)
        return ""

    async def _fail(self, step: PerformedStep, message: StepMessage, why: str) -> None:
        """Send nothing more about a step: what follows would mean nothing without this."""
        await self._steps.note_delivery(step.instance, self._name, message, failed=why)
        log.error("mpps=%s not passed on to peer=%s: %s", step.instance, self._name, why)


def _taken(message: StepMessage, outcome: Outcome) -> bool:
    """Whether the peer has the message, be it from an earlier attempt whose answer was lost."""
    if outcome.status in _WARNINGS or outcome.status == 0 or outcome.status >> 12 == 0xB:
        return True
    if message.operation == CREATE:
        return outcome.status == _DUPLICATE
    return outcome.error_id == _NO_LONGER_UPDATED
