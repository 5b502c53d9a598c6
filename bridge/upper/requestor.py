"""Associations that we ask a peer for (PS3.8 7.1, the requestor's side)."""

import asyncio

from bridge.settings import Limits
from bridge.upper import negotiation, pdu
from bridge.upper.associate import AssociateAccept, AssociateReject, AssociateRequest, ae_title
from bridge.upper.association import RECEIVE_BYTES, Association, Over, State, wake
from bridge.upper.pdu import Kind
from service.dicom.errors import UpstreamFailed, UpstreamTimeout


class Rejected(UpstreamFailed):
    """The peer turned our request for an association away; the numbers are those of PS3.8 Table 9-21."""

    def __init__(self, answer: AssociateReject) -> None:
        kind = "for now" if answer.result == 2 else "for good"
        reason = _REASONS.get((answer.source, answer.reason), "without a reason that is known")
        super().__init__(f"The peer rejects the association {kind}: {reason}.")
        self.answer = answer

    @property
    def transient(self) -> bool:
        """Whether it may be otherwise later."""
        return self.answer.result == 2


_REASONS = {
    (1, 2): "application context not supported",
    (1, 3): "calling AE title not recognised; it has to be told ours",
    (1, 7): "called AE title not recognised; check the peer's ae_title",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}


class RequestedAssociation(Association):
    """An association on a connection that we have opened."""

    def __init__(self, request: AssociateRequest, limits: Limits, buffer: bytearray) -> None:
        super().__init__(limits, buffer)
        self.calling = ae_title(request.calling) or "?"
        self.called = ae_title(request.called) or "?"
        self.rejection: AssociateReject | None = None
        self._request = request
        self._moved: asyncio.Future[None] | None = None

    async def opened(self) -> None:
        """Return when the peer has answered our request, however that ended."""
        while self._state in (State.UNCONNECTED, State.REQUESTED):
            await self._move()

    async def release(self) -> None:
        """End the association in order (PS3.8 7.2); bounded by the limits, and no error if it is lost."""
        if self._state is not State.OPEN:
            return
        self._enter(State.RELEASING)
        self._resume_reading()
        self._deadline.set(self._limits.linger_s)
        self._outbox.write(pdu.release_rq())
        try:
            while self._releasing:
                await self._move()
        finally:
            self.close()

    @property
    def _releasing(self) -> bool:
        return self._state is State.RELEASING

    async def _move(self) -> None:
        self._moved = asyncio.get_running_loop().create_future()
        try:
            await self._moved
        finally:
            self._moved = None

    def _end(self, result: str) -> None:
        super()._end(result)
        wake(self._moved)

    def _connected(self) -> None:
        self._enter(State.REQUESTED)
        self._deadline.set(self._limits.artim_s)
        self._outbox.write(self._request.encode())

    def _disconnected(self) -> None:
        wake(self._moved)

    def _on_association_pdu(self, kind: Kind, body: bytes) -> None:
        if kind is Kind.ASSOCIATE_RJ:
            self.rejection = AssociateReject.decode(body)
            self._end("rejected")
            self.close()
            raise Over
        accepted = AssociateAccept.decode(body)
        contexts = negotiation.agreed(self._request, accepted)
        self._open(contexts, peer_longest=accepted.user.max_length, our_longest=self._request.user.max_length)
        wake(self._moved)


async def associate(
    host: str, port: int, request: AssociateRequest, limits: Limits, *, connect_s: float
) -> RequestedAssociation:
    """An association with the peer at `host` and `port`, open.

    Raises `Rejected`, `UpstreamTimeout` if the peer is silent, and `UpstreamFailed` if it cannot be reached
    or hangs up. The caller ends it by `release` or `abort`.
    """
    loop = asyncio.get_running_loop()
    buffer = bytearray(RECEIVE_BYTES)
    try:
        async with asyncio.timeout(connect_s):
            _, association = await loop.create_connection(
                lambda: RequestedAssociation(request, limits, buffer), host, port
            )
    except TimeoutError as cause:
        raise UpstreamTimeout("The peer takes no connection.") from cause
    except (OSError, UnicodeError) as cause:  # the latter for names that cannot be any host's
        raise UpstreamFailed("The peer cannot be reached.") from cause
    try:
        await association.opened()
    except BaseException:
        association.close()
        raise
    if association.is_open:
        return association
    association.close()
    if association.rejection is not None:
        raise Rejected(association.rejection)
    if association.result == "no answer in time":
        raise UpstreamTimeout("The peer does not answer the request for an association.")
    raise UpstreamFailed("The peer ended the connection instead of answering.")
