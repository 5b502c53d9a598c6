"""What is sent on by rules: how much waits for each target, what has failed, trying and deleting that."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bridge.control.house import answer, body_of, house
from bridge.forwarding.forwarding import Forwarding
from service.dicom.errors import BadRequest, NotFound

_LISTED = 100
_MOST_LISTED = 10_000


async def targets(request: Request) -> Response:
    """`GET /forwarding`: each target, what waits for it and since when, what has failed and why."""
    return answer(await house(request).dimse.run(_told(_forwarding(request))))


async def failed(request: Request) -> Response:
    """`GET /forwarding/failed`: the latest first, of one `target` if the query says so."""
    limit = _limit(request.query_params.get("limit"))
    target = _target(request)
    return answer(await house(request).dimse.run(_failed(_forwarding(request), target, limit)))


async def failed_one(request: Request) -> Response:
    """`GET /forwarding/failed/{id}`: one of them."""
    name = request.path_params["id"]
    return answer(await house(request).dimse.run(_failed_one(_forwarding(request), name)))


async def retry(request: Request) -> Response:
    """`POST /forwarding/failed/{id}/retry`: try one again."""
    await body_of(request, needed=False)
    await house(request).dimse.run(_forwarding(request).retry_one(request.path_params["id"]))
    return Response(status_code=204)


async def retry_all(request: Request) -> Response:
    """`POST /forwarding/failed/retry`: try all again, those of one `target` if the query says so."""
    await body_of(request, needed=False)
    taken = await house(request).dimse.run(_retried(_forwarding(request), _target(request)))
    return answer({"retried": taken})


async def forget(request: Request) -> Response:
    """`DELETE /forwarding/failed/{id}`: give one up."""
    name = request.path_params["id"]
    await house(request).dimse.run(_forgotten(_forwarding(request), name))
    return Response(status_code=204)


async def forget_all(request: Request) -> Response:
    """`DELETE /forwarding/failed`: give all up that go to one `target`, which has to be named."""
    target = _target(request)
    if target is None:
        raise BadRequest("The query must name a target: ?target=NAME.")
    given_up = await house(request).dimse.run(_all_forgotten(_forwarding(request), target))
    return answer({"deleted": given_up})


def _forwarding(request: Request) -> Forwarding:
    found = house(request).forwarding
    if found is None:
        raise NotFound("Nothing is forwarded here.")
    return found


def _target(request: Request) -> str | None:
    return request.query_params.get("target")


def _limit(given: str | None) -> int:
    if given is None:
        return _LISTED
    if not (given.isascii() and given.isdigit() and len(given) < 6 and 1 <= int(given) <= _MOST_LISTED):
        raise BadRequest(f"limit must be from 1 to {_MOST_LISTED}.")
    return int(given)


# On the loop of the associations.


async def _told(forwarding: Forwarding) -> Sequence[dict[str, Any]]:
    return forwarding.told()


async def _failed(forwarding: Forwarding, target: str | None, limit: int) -> list[dict[str, Any]]:
    return [one.told() for one in forwarding.failed(target)[:limit]]


async def _failed_one(forwarding: Forwarding, name: str) -> dict[str, Any]:
    return forwarding.failed_one(name).told()


async def _retried(forwarding: Forwarding, target: str | None) -> int:
    return await forwarding.retry(forwarding.failed(target))


async def _forgotten(forwarding: Forwarding, name: str) -> None:
    await forwarding.forget([forwarding.failed_one(name)])


async def _all_forgotten(forwarding: Forwarding, target: str) -> int:
    found = forwarding.failed(target)
    await forwarding.forget(found)
    return len(found)
