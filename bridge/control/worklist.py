"""Worklist items that are sent by HTTP: the whole list, or one by one."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bridge.control.house import JSON, answer, body_of, house, tell
from bridge.procedures import Procedures
from bridge.worklist.item import Step
from bridge.worklist.pushed import Pushed, named, pushed_step, require_id
from service.dicom import performed
from service.dicom.errors import ArchiveError, BadRequest, NotFound, TooMany

_KINDS = (JSON, "application/dicom+json")
_LISTED = 100
_MOST_LISTED = 1000


async def worklist(request: Request) -> Response:
    """`GET /worklist`: the items that were sent, `limit` of them from `offset` on."""
    here, query = house(request), request.query_params
    limit = _number(query.get("limit"), "limit", _LISTED, _MOST_LISTED)
    offset = _number(query.get("offset"), "offset", 0, 10**9)
    procedures, pushed = _procedures(request), _pushed(request)
    items, total = await here.dimse.run(_listed(procedures, pushed, limit, offset))
    return answer(items, headers={"X-Total-Count": str(total)})


async def replace(request: Request) -> Response:
    """`PUT /worklist`: an array of items in DICOM JSON, which becomes the whole list."""
    here, pushed = house(request), _pushed(request)
    limits = here.settings.worklist
    body = await body_of(request, needed=True, most_bytes=limits.body_bytes, kinds=_KINDS)
    if not isinstance(body, list):
        raise BadRequest("The body must be an array of worklist items in DICOM JSON.")
    if len(body) > limits.items:
        raise TooMany(f"The worklist may have {limits.items} items.")
    await here.dimse.run(pushed.replace(await asyncio.to_thread(_items, body)))
    return Response(status_code=204)


async def item(request: Request) -> Response:
    """`GET /worklist/{id}`: one item."""
    here, identity = house(request), request.path_params["id"]
    told = await here.dimse.run(_found(_procedures(request), _pushed(request), identity))
    _tell(request, told["item"])
    return answer(told)


async def put(request: Request) -> Response:
    """`PUT /worklist/{id}`: add an item (201), or put it in the place of what has this id (204)."""
    here, pushed = house(request), _pushed(request)
    identity = require_id(request.path_params["id"])
    step = pushed_step(await body_of(request, needed=True, kinds=_KINDS))
    added = await here.dimse.run(pushed.put(identity, step))
    _tell(request, step.dataset())
    return Response(status_code=201 if added else 204)


async def remove(request: Request) -> Response:
    """`DELETE /worklist/{id}`: forget an item."""
    step = await house(request).dimse.run(_removed(_pushed(request), request.path_params["id"]))
    _tell(request, step.dataset())
    return Response(status_code=204)


def _items(body: list[Any]) -> list[tuple[str, Step]]:
    """The items of a list; the error says which one is no good."""
    items = []
    for number, document in enumerate(body, 1):
        try:
            items.append(named(document))
        except ArchiveError as error:
            raise BadRequest(f"Item {number}: {error}") from None
    return items


def _tell(request: Request, item: dict[str, Any]) -> None:
    tell(request, (performed.first(item, performed.STUDY),), performed.first(item, performed.PATIENT_ID))


def _procedures(request: Request) -> Procedures:
    procedures = house(request).procedures
    if procedures is None:
        raise NotFound("This bridge has no worklist.")
    return procedures


def _pushed(request: Request) -> Pushed:
    pushed = _procedures(request).pushed
    if pushed is None:
        raise NotFound("Worklist items are not taken by HTTP: ISTHMUS_WORKLIST does not have 'pushed'.")
    return pushed


# On the loop of the associations, where the list lives.


async def _listed(
    procedures: Procedures, pushed: Pushed, limit: int, offset: int
) -> tuple[list[dict[str, Any]], int]:
    items = pushed.all()
    page = items[offset : offset + limit]
    return [_told(procedures, identity, step) for identity, step in page], len(items)


async def _found(procedures: Procedures, pushed: Pushed, identity: str) -> dict[str, Any]:
    return _told(procedures, identity, pushed.find(identity))


async def _removed(pushed: Pushed, identity: str) -> Step:
    step = pushed.find(identity)
    await pushed.remove(identity)
    return step


def _told(procedures: Procedures, identity: str, step: Step) -> dict[str, Any]:
    return {"id": identity, "performed": procedures.steps.performed(step), "item": step.dataset()}


def _number(given: str | None, name: str, default: int, most: int) -> int:
    if given is None:
        return default
    least = min(1, default)
    if not (given.isascii() and given.isdigit() and len(given) < 11 and least <= int(given) <= most):
        raise BadRequest(f"{name} must be a whole number from {least} to {most}.")
    return int(given)
