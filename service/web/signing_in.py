"""How people sign in with a browser: what the page and OHIF are told of it, and who somebody is then."""

from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.access.identity import SCOPES, identity_of
from service.access.settings import BASIC, JWT, AccessSettings


@dataclass(frozen=True, slots=True)
class Issuer:
    """Where a browser signs in (OpenID Connect Core 1.0), and as which client, which has no secret."""

    authority: str
    client_id: str
    scope: str

    @property
    def origin(self) -> str:
        """Its scheme, host and port, as policies name them."""
        parts = urlsplit(self.authority)
        return f"{parts.scheme}://{parts.netloc}"


def issuer_of(access: AccessSettings) -> Issuer | None:
    """Where browsers sign in; `None` where they do not, or where no client is named for them."""
    if JWT not in access.ways or not access.client_id:
        return None
    return Issuer(access.issuer, access.client_id, access.asked_scope)


def told_of(access: AccessSettings) -> dict[str, str]:
    """What the page has to know: the kind of sign-in, and where that is.

    `basic` is done by browsers themselves. With `none` there is nothing to do: nobody signs in, or a proxy
    does it for them.
    """
    issuer = issuer_of(access)
    if issuer is not None:
        return {"kind": "oidc", **asdict(issuer)}
    return {"kind": "basic" if BASIC in access.ways else "none"}


async def identity(request: Request) -> Response:
    """`GET /identity.json`: who the request is of, what they may do, and of which studies they may know.

    `studies` and `patients` are there only for those who may not know of all.
    """
    found = identity_of(request.scope)
    told: dict[str, object] = {
        "name": found.name,
        "scopes": [scope for scope in SCOPES if found.may(scope)],
    }
    if found.confinement is not None:
        within = {"studies": found.confinement.studies, "patients": found.confinement.patients}
        told |= {name: sorted(values) for name, values in within.items() if values is not None}
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(orjson.dumps(told), media_type="application/json", headers=headers)
