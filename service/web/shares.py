"""`POST /studies/{study}/shares`: a link by which whoever has it sees one study, until it expires."""

import time
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.access.identity import SHARE, identity_of
from service.access.shares import LEAST_S, LONGEST_S, PASSING_S, permitted_life
from service.dicom.errors import BadRequest, NotAuthorized, NotFound, UnsupportedMedia
from service.dicom.query import Query
from service.dicom.resource import Level
from service.web.arriving import gathered
from service.web.request import archive_of, base_url, house, resource_of

_MOST_BYTES = 4096
_STALL_S = 10.0


async def share(request: Request) -> Response:
    """The link to the study that the path names, as token and as URL.

    A link of more than five minutes takes the scope `share`; a shorter one is nobody's to give away,
    but a way to what whoever asks may read, and ends when their sign-in does. `NotFound`, `BadRequest`,
    `NotAuthorized`.
    """
    shares = house(request).shares
    assert shares is not None  # else there would be no such route
    identity = identity_of(request.scope)
    study = resource_of(request).study
    life_s = _life(await _body(request))
    if life_s > PASSING_S and not identity.may(SHARE):
        raise NotAuthorized(
            f"A link that lives longer than {PASSING_S} seconds takes the permission 'share', which your "
            "sign-in does not have."
        )
    await _require_there(request, study)
    made = shares.made(study, permitted_life(identity, life_s, time.time()))
    told = {
        "token": made.token,
        "url": f"{base_url(request).rpartition('/')[0]}/?share={made.token}",
        "expires": datetime.fromtimestamp(made.expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return Response(orjson.dumps(told), 201, {"Cache-Control": "no-store"}, "application/json")


async def _require_there(request: Request, study: str) -> None:
    """`NotFound` where there is no such study, for whoever asks."""
    any_of_it = Query.from_url(Level.INSTANCE, (), study=study, max_results=1)
    found = await house(request).reads.run(archive_of(request).find, any_of_it)
    if not found.matches:
        raise NotFound("There is no such study.")


async def _body(request: Request) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # which no page of another origin can have a browser send unasked
        raise UnsupportedMedia("The body must be JSON: Content-Type: application/json.")
    content = bytearray()
    async for blocks in gathered(request, block_size=_MOST_BYTES, stall_s=_STALL_S, most_bytes=_MOST_BYTES):
        content += b"".join(blocks)
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        raise BadRequest("The body is no JSON.") from None


def _life(body: Any) -> int:
    life_s = body.get("expires_in") if isinstance(body, dict) and set(body) == {"expires_in"} else None
    if type(life_s) is not int or not LEAST_S <= life_s <= LONGEST_S:
        raise BadRequest(
            f'The body must be {{"expires_in": SECONDS}}, a whole number from {LEAST_S} to {LONGEST_S}.'
        )
    return life_s
