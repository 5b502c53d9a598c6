"""Who a request is: a name, what it may do, and which studies it may know of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.dicom.confinement import Confinement

READ = "read"
STORE = "store"
DELETE = "delete"
RENDER = "render"
SHARE = "share"
SCOPES = (READ, STORE, DELETE, RENDER, SHARE)
"""What may be permitted: to search and retrieve, to store, to delete, to see pictures, to give links away."""

KEY = "isthmus.identity"


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who has signed in, or nobody in particular.

    `name` is what an audit trail calls them, `scopes` are some of `SCOPES`, `confinement` is `None` for
    who may know of everything. `until` is when it ends by itself, in seconds since 1970, if it does.
    """

    name: str
    scopes: frozenset[str]
    confinement: Confinement | None = None
    until: float | None = None

    def may(self, scope: str) -> bool:
        """Whether it is permitted to do this; who may read may see pictures, too."""
        return scope in self.scopes or (scope == RENDER and READ in self.scopes)


NOBODY = Identity("anonymous", frozenset())
"""Whoever has not signed in where that is asked for."""
ANYONE = Identity("anonymous", frozenset(SCOPES))
"""Whoever asks where nobody signs in: they may do everything."""


def identity_of(scope: Mapping[str, Any]) -> Identity:
    """Who the request of an ASGI scope is; `ANYONE` where it has not been through the guard."""
    found = scope.get(KEY, ANYONE)
    assert isinstance(found, Identity)
    return found
