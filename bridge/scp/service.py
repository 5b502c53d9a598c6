"""What the listener knows of a DIMSE service."""

from typing import Protocol, runtime_checkable

from bridge.upper.association import Association
from bridge.upper.messages import Message
from bridge.upper.negotiation import Offer


class Service(Protocol):
    """One DIMSE service as provider: which contexts it takes, and how it serves a request."""

    @property
    def operations(self) -> frozenset[int]:
        """The Command Fields (PS3.7 E.1) of the requests that it serves."""
        ...

    def offer(self, abstract: str, service_class: str) -> Offer | None:
        """How a context of this abstract syntax is taken, `None` if it is not of this service."""
        ...

    async def serve(self, message: Message, association: Association) -> int:
        """Answer one request, its data set read to the end or dropped; the final status sent.

        Raises `AssociationLost` if the association ended meanwhile.
        """
        ...


@runtime_checkable
class Follows(Protocol):
    """A service that has something to say of itself on the peer's association."""

    async def follow(self, association: Association) -> None:
        """After a message was answered: say what is due. May raise `AssociationLost`."""
        ...

    def leave(self, association: Association) -> None:
        """The association is over."""
        ...
