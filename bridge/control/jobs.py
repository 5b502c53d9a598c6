"""Store and retrieve jobs: asked for, told, ended, forgotten."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bridge.control.house import answer, body_of, house, peer_of
from bridge.jobs.job import Job, Kind, State, resources_of
from bridge.jobs.jobs import Jobs
from bridge.peers import Peer
from service.access.identity import STORE, identity_of
from service.dicom.errors import BadRequest, NotAuthorized
from service.dicom.resource import Resource
from service.web.noted import notes_of

_LISTED = 100
_MOST_LISTED = 1000


async def store(request: Request) -> Response:
    """`POST /peers/{name}/store`: send resources of the archive to the peer."""
    return await _submit(request, Kind.STORE)


async def retrieve(request: Request) -> Response:
    """`POST /peers/{name}/retrieve`: fetch resources of the peer into the archive."""
    return await _submit(request, Kind.RETRIEVE)


async def jobs(request: Request) -> Response:
    """`GET /jobs`: the newest first, of one `state`, `kind` and `peer` if the query says so."""
    here, query = house(request), request.query_params
    wanted = {
        "state": _one_of(query.get("state"), "state", State),
        "kind": _one_of(query.get("kind"), "kind", Kind),
        "peer": query.get("peer"),
    }
    limit = _limit(query.get("limit"))
    return answer(await here.dimse.run(_listed(here.jobs, wanted, limit)))


async def job(request: Request) -> Response:
    """`GET /jobs/{id}`: one job, with what it is about and what failed."""
    here = house(request)
    return answer(await here.dimse.run(_found(here.jobs, request.path_params["id"])))


async def end(request: Request) -> Response:
    """`DELETE /jobs/{id}`: end a job (202), or forget one that is over (204)."""
    here = house(request)
    if not identity_of(request.scope).may(STORE):
        found = await here.dimse.run(_found(here.jobs, request.path_params["id"]))
        if found["kind"] != Kind.STORE:
            raise NotAuthorized("Ending what stores into the archive takes the permission 'store'.")
    ended = await here.dimse.run(_removed(here.jobs, request.path_params["id"]))
    return Response(status_code=204) if ended is None else answer(ended, 202)


async def _submit(request: Request, kind: Kind) -> Response:
    here, peer = house(request), peer_of(request)
    body = await body_of(request, needed=True)
    if not isinstance(body, dict) or not isinstance(body.get("resources"), list):
        raise BadRequest('The body must be an object such as {"resources": [{"study": UID}]}.')
    unknown = next((key for key in body if key != "resources"), None)
    if unknown is not None:
        raise BadRequest("The body may have resources, and nothing else.")
    most = here.settings.jobs.resources
    if not 1 <= len(body["resources"]) <= most:
        raise BadRequest(f"A job is about 1 to {most} resources.")
    resources = resources_of(body["resources"])
    told = await here.dimse.run(_submitted(here.jobs, kind, peer, resources))
    if (notes := notes_of(request.scope)) is not None:
        notes.studies = {one.study: {} for one in resources}
        notes.details |= {"Job": str(told["id"]), "Peer": peer.ae_title}
    return answer(told, 202, {"Location": f"/jobs/{told['id']}"})


# On the loop of the associations, where jobs live.


async def _submitted(all_jobs: Jobs, kind: Kind, peer: Peer, resources: Sequence[Resource]) -> dict[str, Any]:
    return (await all_jobs.submit(kind, peer, resources)).told()


async def _listed(all_jobs: Jobs, wanted: dict[str, str | None], limit: int) -> list[dict[str, Any]]:
    found: list[Job] = [
        one
        for one in all_jobs.all()
        if all(value in (None, str(getattr(one, name))) for name, value in wanted.items())
    ]
    return [one.told(whole=False) for one in found[:limit]]


async def _found(all_jobs: Jobs, name: str) -> dict[str, Any]:
    return all_jobs.find(name).told()


async def _removed(all_jobs: Jobs, name: str) -> dict[str, Any] | None:
    ended = await all_jobs.remove(name)
    return None if ended is None else ended.told()


def _one_of(given: str | None, name: str, choices: type[State] | type[Kind]) -> str | None:
    values = [str(one) for one in choices]
    if given is not None and given not in values:
        raise BadRequest(f"{name} must be one of {', '.join(values)}.")
    return given


def _limit(given: str | None) -> int:
    if given is None:
        return _LISTED
    if not (given.isascii() and given.isdigit() and len(given) < 5 and 1 <= int(given) <= _MOST_LISTED):
        raise BadRequest(f"limit must be from 1 to {_MOST_LISTED}.")
    return int(given)
