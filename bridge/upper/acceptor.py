"""Associations that a peer asks us for (PS3.8 7.1, the acceptor's side)."""

from collections.abc import Mapping
from typing import Protocol

from bridge.settings import Limits
from bridge.upper.associate import AssociateAccept, AssociateReject, AssociateRequest, ae_title
from bridge.upper.association import Association, Over, State
from bridge.upper.negotiation import Context
from bridge.upper.pdu import Kind


class Acceptor(Protocol):
    """Who answers the associations of a listening socket; all of it happens on the loop, at once."""

    def connected(self, association: Association) -> None:
        """A peer has connected and not asked for anything yet."""
        ...

    def answer(
        self, association: Association, request: AssociateRequest
    ) -> tuple[AssociateAccept, Mapping[int, Context]] | AssociateReject:
        """The answer to a request; may raise `ProtocolFault`."""
        ...

    def established(self, association: Association) -> None:
        """The association may be used."""
        ...

    def closed(self, association: Association) -> None:
        """The connection is closed, whatever came before."""
        ...


class AcceptedAssociation(Association):
    """An association on a connection that a peer has opened."""

    def __init__(self, acceptor: Acceptor, limits: Limits, buffer: bytearray) -> None:
        super().__init__(limits, buffer)
        self._acceptor = acceptor

    def _connected(self) -> None:
        self._enter(State.CONNECTED)
        self._deadline.set(self._limits.artim_s)
        self._acceptor.connected(self)

    def _disconnected(self) -> None:
        self._acceptor.closed(self)

    def _on_association_pdu(self, kind: Kind, body: bytes) -> None:
        request = AssociateRequest.decode(body)
        # A request that is turned away is logged by these, so they hold what may be shown.
        self.calling = ae_title(request.calling) or "?"
        self.called = ae_title(request.called) or "?"
        answer = self._acceptor.answer(self, request)
        if isinstance(answer, AssociateReject):
            self._finish(f"rejected {answer.result}/{answer.source}/{answer.reason}", answer.encode())
            raise Over
        accepted, contexts = answer
        self._outbox.write(accepted.encode())
        self._open(contexts, peer_longest=request.user.max_length, our_longest=accepted.user.max_length)
        self._acceptor.established(self)
