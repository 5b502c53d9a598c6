"""The listening side: who may associate, which service gets a message, and how it all ends."""

import asyncio
import contextlib
import itertools
import logging
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from bridge import statuses, tracing
from bridge.journal import AssociationReport
from bridge.measures import Measures
from bridge.peers import Peer
from bridge.scp import accepting, permission
from bridge.scp.service import Follows, Service
from bridge.settings import BridgeSettings
from bridge.tls import TlsListening
from bridge.upper import negotiation
from bridge.upper.acceptor import AcceptedAssociation
from bridge.upper.associate import AssociateAccept, AssociateReject, AssociateRequest
from bridge.upper.association import RECEIVE_BYTES, Association
from bridge.upper.messages import AssociationLost, Message
from bridge.upper.negotiation import CALLING_AE_UNKNOWN, Context, Offer
from bridge.witness import Witness, rejected
from service.audit.trail import Trail
from service.doorway import Doorway
from service.tracing import Span

log = logging.getLogger("isthmus.dimse")

_BACKLOG = 512
_LAST_WORDS_S = 0.25  # for peers to read the abort that a drain ends with, and to close


class Listener:
    """Takes associations on one address and serves each in a task of its own.

    `report` is told of each association at its end.
    """

    def __init__(
        self,
        settings: BridgeSettings,
        services: Sequence[Service],
        report: Callable[[AssociationReport], None] = AssociationReport.log,
        measures: Measures | None = None,
        trail: Trail | None = None,
    ) -> None:
        self._settings = settings
        self._services = services
        codes = {code for service in services for code in service.operations}
        self._by_operation = {code: [one for one in services if code in one.operations] for code in codes}
        self._following = [service for service in services if isinstance(service, Follows)]
        self._report = report
        self.measures = measures or Measures()
        self._trail = trail
        self._server: asyncio.Server | None = None
        self._doorway: Doorway | None = None
        self._waiting: dict[Association, None] = {}  # connected, nothing asked yet; oldest first
        self._connections: set[Association] = set()
        self._all_closed = asyncio.Event()
        self._tasks: dict[Association, asyncio.Task[None]] = {}
        self._callers: Counter[tuple[str, str]] = Counter()
        self._started: dict[Association, float] = {}
        self._answers: dict[Association, Counter[tuple[int, int]]] = {}
        self._draining = False

    async def start(self) -> tuple[str, int]:
        """Listen; the address. `OSError` if it is taken."""
        loop = asyncio.get_running_loop()
        buffer = bytearray(RECEIVE_BYTES)
        self._server = await loop.create_server(
            lambda: AcceptedAssociation(self, self._settings.limits, buffer),
            self._settings.host,
            self._settings.port,
            backlog=_BACKLOG,
            reuse_address=True,
        )
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    def start_tls(self, tls: TlsListening) -> tuple[str, int]:
        """Take associations over TLS too; the address. `OSError` if it is taken."""
        limits, buffer = self._settings.limits, bytearray(RECEIVE_BYTES)
        family = socket.AF_INET6 if ":" in tls.host else socket.AF_INET
        listener = socket.create_server((tls.host, tls.port), family=family, backlog=_BACKLOG)
        host, port = listener.getsockname()[:2]
        self._doorway = Doorway(
            listener,
            lambda: AcceptedAssociation(self, limits, buffer),
            tls.contexts.current,
            handshake_s=limits.handshake_s,
            most=limits.handshakes,
        )
        return host, port

    @property
    def associations(self) -> int:
        """How many associations there are."""
        return len(self._tasks)

    async def drain(self, timeout_s: float) -> None:
        """Take no more, let the messages in flight be answered, and end everything within `timeout_s`."""
        self._draining = True
        if self._server is not None:
            self._server.close()
        if self._doorway is not None:
            self._doorway.close()
            self._doorway = None
        for association in list(self._connections):
            for service in self._following:
                service.leave(association)
            if association.is_idle:
                association.abort("drained")
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=timeout_s)
        cut_off = list(self._tasks.items())
        for association, task in cut_off:
            association.abort("cut off")
            task.cancel()
        if cut_off:
            await asyncio.wait([task for _, task in cut_off])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._closed_all()
        for association in list(self._connections):
            association.close()

    async def _closed_all(self) -> None:
        if self._connections:
            await self._all_closed.wait()

    # What associations ask.

    def connected(self, association: Association) -> None:
        self._started[association] = asyncio.get_running_loop().time()
        self._waiting[association] = None
        self._connections.add(association)
        if self._draining:
            association.close()
        elif len(self._waiting) > self._settings.limits.connections:
            oldest = next(iter(self._waiting))
            oldest.close()
            self._left(oldest)  # at once: several may connect before the loop says that it is closed

    def answer(
        self, association: Association, request: AssociateRequest
    ) -> tuple[AssociateAccept, Mapping[int, Context]] | AssociateReject:
        settings = self._settings
        checked = settings.check_called_ae and not _same(association.called, settings.inbox_ae_title)
        refused = negotiation.refusal(
            request,
            called_ae=settings.ae_title if checked else None,
            crowded=lambda _: self._crowded(association),
        )
        if refused is not None:
            return refused
        if settings.peers.impostor(association.calling, association.certificate):
            shown = association.certificate or "none"
            log.warning(
                "peer=%s calling=%r certificate=%s rejected: its title has another fingerprint, or none",
                association.peer[0],
                association.calling,
                shown,
            )
            return CALLING_AE_UNKNOWN
        peer = self._known(association)
        longest = settings.limits.pdata_bytes
        if peer is not None and peer.max_pdu is not None:
            longest = min(longest, peer.max_pdu)
        catalogue = accepting.narrowed(self._offer, accepting.accepted_from(peer, settings))
        return negotiation.accept(request, catalogue, max_length=longest)

    def established(self, association: Association) -> None:
        self._waiting.pop(association, None)
        self._callers[self._caller(association)] += 1
        self._answers[association] = Counter()
        self.measures.established(association)
        self._tasks[association] = asyncio.get_running_loop().create_task(self._serve(association))

    def closed(self, association: Association) -> None:
        self._left(association)
        self._connections.discard(association)
        if self._draining and not self._connections:
            self._all_closed.set()

    def _left(self, association: Association) -> None:
        """An association that nothing came of is over."""
        if association in self._waiting:
            del self._waiting[association]
            self._tell(association)

    def _crowded(self, association: Association) -> bool:
        limits = self._settings.limits
        if self._draining or len(self._tasks) >= limits.associations:
            return True
        peer = self._known(association)
        most = peer.max_associations if peer is not None else None
        return self._callers[self._caller(association)] >= (most or limits.associations_per_caller)

    def _known(self, association: Association) -> Peer | None:
        return self._settings.peers.caller(association.calling, association.peer[0], association.certificate)

    def _caller(self, association: Association) -> tuple[str, str]:
        """Whose associations are counted together: a known peer's, else those of one title at one address."""
        peer = self._known(association)
        return (peer.name, "") if peer is not None else (association.calling, association.peer[0])

    def _offer(self, abstract: str, service_class: str) -> Offer | None:
        for service in self._services:
            offer = service.offer(abstract, service_class)
            if offer is not None:
                return offer
        return None

    # One association.

    async def _serve(self, association: Association) -> None:
        trace = tracing.new()
        tracing.enter(trace)
        trail, title = self._trail, self._settings.ae_title
        witness = None if trail is None else Witness(trail, association, trace, title)
        with tracing.association_step(association):
            await self._serve_all(association, trace, witness)

    async def _serve_all(self, association: Association, trace: str, witness: Witness | None) -> None:
        messages = itertools.count(1)
        try:
            while (message := await association.receive()) is not None:
                tracing.enter(f"{trace}.{next(messages)}")
                with tracing.message_step(message) as step:
                    await self._dispatch(message, association, witness, step)
                for service in self._following:
                    if not self._draining:
                        await service.follow(association)
                if self._draining:
                    association.abort("drained")
        except AssociationLost:
            pass
        except Exception:
            log.exception("association peer=%s unexpected error", association.peer[0])
            association.abort("failed")
        finally:
            tracing.enter(trace)
            if witness is not None:
                witness.close()
            for service in self._following:
                service.leave(association)
            del self._tasks[association]
            caller = self._caller(association)
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]
            self._tell(association)

    async def _dispatch(
        self, message: Message, association: Association, witness: Witness | None, step: Span
    ) -> None:
        command = message.command
        if command.is_response:  # nothing was asked; a response is never answered
            if message.data is not None:
                await message.data.drop()
            return
        begun = asyncio.get_running_loop().time()
        status = await self._witnessed(message, association, witness)
        step.set("rpc.response.status_code", f"{status:04X}")
        operation = command.field if command.field in self._by_operation else 0
        self._answers[association][operation, status] += 1
        duration_s = asyncio.get_running_loop().time() - begun
        self.measures.served(association, operation, status, duration_s)

    async def _witnessed(self, message: Message, association: Association, witness: Witness | None) -> int:
        """Serve a message of which the audit trail can be told; the final status."""
        notes = None if witness is None else witness.begin(message)
        if witness is None or notes is None:
            return await self._served(message, association)
        if isinstance(notes, int):
            return await _refuse(message, association, notes, "The audit trail cannot be written.")
        status: int | None = None
        try:
            status = await self._served(message, association)
        finally:
            witness.end(message, notes, status)
        return status

    async def _served(self, message: Message, association: Association) -> int:
        service = self._service(message)
        if service is None:
            return await _refuse(message, association, statuses.UNRECOGNIZED_OPERATION)
        name = permission.service_of(message.command.field, message.context.abstract)
        host, shown = association.peer[0], association.certificate
        if name is None or self._settings.peers.allows(association.calling, host, name, shown):
            return await service.serve(message, association)
        if not self._answers[association][message.command.field, statuses.NOT_AUTHORIZED]:
            log.warning("not allowed service=%s calling=%r peer=%s", name, association.calling, host)
        return await _refuse(message, association, statuses.NOT_AUTHORIZED, permission.comment(name))

    def _service(self, message: Message) -> Service | None:
        """Who serves a request: of several services with this operation, the one that has its class."""
        able = self._by_operation.get(message.command.field, [])
        if len(able) > 1:
            context = message.context
            able = [one for one in able if one.offer(context.abstract, context.service_class)] or able
        return able[0] if able else None

    def _tell(self, association: Association) -> None:
        if self._trail is not None and association.result.startswith("rejected"):
            self._trail.add(rejected(association))
        duration_s = asyncio.get_running_loop().time() - self._started.pop(association)
        answers = self._answers.pop(association, Counter())
        self.measures.ended(association)
        self._report(AssociationReport.of(association, duration_s, answers))


def _same(title: str, other: str) -> bool:
    return title.strip().lower() == other.strip().lower()


async def _refuse(message: Message, association: Association, status: int, comment: str = "") -> int:
    if message.data is not None:
        await message.data.drop()
    await association.send(message.context.context_id, message.command.answered(status, comment=comment))
    return status
