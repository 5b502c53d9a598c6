"""Which transfer syntaxes a peer may store in: what is refused here, its sender has to convert."""

import dataclasses
from collections.abc import Sequence

from bridge.peers import Peer
from bridge.scp import classes
from bridge.settings import BridgeSettings
from bridge.upper.negotiation import Catalogue, Offer


def accepted_from(peer: Peer | None, settings: BridgeSettings) -> frozenset[str] | None:
    """The transfer syntaxes that are stored: of the peer's own list, else the general one; `None` for all."""
    if peer is not None and peer.accept_syntaxes is not None:
        return peer.accept_syntaxes
    return settings.accept_syntaxes


def narrowed(catalogue: Catalogue, accepted: frozenset[str] | None) -> Catalogue:
    """`catalogue` with storage contexts taken in `accepted` only, in the order of their own.

    Contexts in which the peer is the SCP keep their choice: there it receives, and says itself what it reads.
    """
    if accepted is None:
        return catalogue

    def offered(abstract: str, service_class: str) -> Offer | None:
        offer = catalogue(abstract, service_class)
        if offer is None or not classes.is_storage(abstract, service_class):
            return offer
        return _within(offer, accepted)

    return offered


def _within(offer: Offer, accepted: frozenset[str]) -> Offer:
    def choose(proposed: Sequence[str], peer_serves: bool) -> str | None:
        left = proposed if peer_serves else [uid for uid in proposed if uid in accepted]
        return offer.choose(left, peer_serves)

    return dataclasses.replace(offer, choose=choose)
