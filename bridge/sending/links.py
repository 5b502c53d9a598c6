"""The associations over which instances are sent: the asker's own, or one to a destination."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from bridge import scu
from bridge.peers import Peer
from bridge.scu import Proposal
from bridge.sending.routes import Accepted, accepted_by
from bridge.settings import Limits
from bridge.upper.association import Association
from bridge.upper.messages import AssociationLost
from bridge.upper.requestor import Rejected, RequestedAssociation

_AGAIN_S = 1.0  # after which a peer is asked again that is busy for now


class Link(Protocol):
    """An association, and where in it instances go."""

    @property
    def accepted(self) -> Accepted:
        """The contexts of the association, or of the last one."""
        ...

    @property
    def renewable(self) -> bool:
        """Whether there may be another association when this one is lost."""
        ...

    async def opened(self) -> Association:
        """The association, open.

        Raises `AssociationLost` if it is over for good, and `UpstreamFailed` if there is none to be had.
        """
        ...


class OwnLink:
    """The association on which a C-GET was asked."""

    renewable = False

    def __init__(self, association: Association) -> None:
        self._association = association
        self.accepted = accepted_by(association.contexts.values())

    async def opened(self) -> Association:
        if not self._association.is_open:
            raise AssociationLost
        return self._association


class DestinationLink:
    """Associations to the destination of a C-MOVE, one after another."""

    renewable = True

    def __init__(self, peer: Peer, proposals: Sequence[Proposal], limits: Limits, *, calling: str) -> None:
        self.accepted: Accepted = {}
        self._peer = peer
        self._proposals = proposals
        self._limits = limits
        self._calling = calling
        self._association: RequestedAssociation | None = None

    async def opened(self) -> Association:
        if self._association is None or not self._association.is_open:
            self.abort()
            self._association = await self._connect()
            self.accepted = accepted_by(self._association.contexts.values())
        return self._association

    async def release(self) -> None:
        """End the association in order."""
        if self._association is not None:
            await self._association.release()

    def abort(self) -> None:
        """End it at once, if it is not over."""
        if self._association is not None:
            self._association.abort("given up")
            self._association.close()

    async def _connect(self) -> RequestedAssociation:
        try:
            return await scu.connect(self._peer, self._proposals, self._limits, calling=self._calling)
        except Rejected as rejected:
            if not rejected.transient:
                raise
        await asyncio.sleep(_AGAIN_S)
        return await scu.connect(self._peer, self._proposals, self._limits, calling=self._calling)
