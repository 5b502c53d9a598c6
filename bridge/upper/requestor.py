"""Associations that we ask a peer for (PS3.8 7.1, the requestor's side)."""

import asyncio
import ssl
from collections.abc import Callable

from bridge.settings import Limits
from bridge.upper import negotiation, pdu
from bridge.upper.associate import AssociateAccept, AssociateReject, AssociateRequest, ae_title
from bridge.upper.association import RECEIVE_BYTES, Association, Over, State, wake
from bridge.upper.pdu import Kind
from service.certificates import reason
from service.dicom.errors import UpstreamFailed, UpstreamTimeout
from service.tls import ServerTrust

UNKNOWN_CERTIFICATE = "certificate not known"


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

    def __init__(
        self, request: AssociateRequest, limits: Limits, buffer: bytearray, tls: ServerTrust | None = None
    ) -> None:
        super().__init__(limits, buffer)
        self._tls = tls
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
        secured = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        if self._tls is not None and not self._tls.takes(secured):
            self._end(UNKNOWN_CERTIFICATE)
            self.close()
            return
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
    host: str,
    port: int,
    request: AssociateRequest,
    limits: Limits,
    *,
    connect_s: float,
    tls: ServerTrust | None = None,
) -> RequestedAssociation:
    """An association with the peer at `host` and `port`, open; `tls` says how it is reached over TLS.

    Raises `Rejected`, `UpstreamTimeout` if the peer is silent, and `UpstreamFailed` if it cannot be reached,
    is not the one, or hangs up. The caller ends it by `release` or `abort`.
    """
    buffer = bytearray(RECEIVE_BYTES)
    association = await _connected(
        lambda: RequestedAssociation(request, limits, buffer, tls), host, port, tls, connect_s
    )
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
    if association.result == UNKNOWN_CERTIFICATE:
        raise UpstreamFailed("The peer's certificate is none that its fingerprint says.")
    if association.result.startswith("lost: "):
        told = association.result.removeprefix("lost: ")
        raise UpstreamFailed(f"The peer ends the TLS connection instead of answering: {told}.")
    if association.result == "no answer in time":
        raise UpstreamTimeout("The peer does not answer the request for an association.")
    raise UpstreamFailed("The peer ended the connection instead of answering.")


async def _connected(
    make: Callable[[], RequestedAssociation], host: str, port: int, tls: ServerTrust | None, connect_s: float
) -> RequestedAssociation:
    """The protocol of a connection, whose handshake is over if there is one."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(connect_s):
            if tls is None:
                _, association = await loop.create_connection(make, host, port)
            else:
                _, association = await loop.create_connection(
                    make, host, port, ssl=tls.context(), server_hostname=tls.server_name(host)
                )
    except TimeoutError as cause:
        raise UpstreamTimeout("The peer takes no connection.") from cause
    except ssl.SSLError as cause:
        raise UpstreamFailed(f"TLS with the peer fails: {reason(cause)}.") from cause
    except (OSError, UnicodeError) as cause:  # the latter for names that cannot be any host's
        raise UpstreamFailed("The peer cannot be reached.") from cause
    return association
