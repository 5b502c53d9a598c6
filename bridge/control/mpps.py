"""Performed procedure steps: told, and passed on again where that was given up."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bridge.control.house import answer, body_of, house, tell
from bridge.mpps.step import PerformedStep, scheduled_of
from bridge.mpps.steps import PerformedSteps
from service.dicom.errors import BadRequest, NotFound
from service.dicom.performed import COMPLETED, DISCONTINUED, IN_PROGRESS, PATIENT_ID, first

_STATUSES = (IN_PROGRESS, COMPLETED, DISCONTINUED)
_LISTED = 100
_MOST_LISTED = 1000


async def steps(request: Request) -> Response:
    """`GET /mpps`: those that changed last first, of one `status`, `study` or `accession` if asked."""
    here, query = house(request), request.query_params
    status = query.get("status")
    if status is not None and status not in _STATUSES:
        raise BadRequest(f"status must be one of {', '.join(_STATUSES)}.")
    wanted = (status, query.get("study"), query.get("accession"))
    limit = _limit(query.get("limit"))
    found = await here.dimse.run(_all(_steps(request)))
    # In a thread: each of thousands of steps may have to be parsed to tell which study it is for.
    return answer(await asyncio.to_thread(_listed, found, wanted, limit))


async def step(request: Request) -> Response:
    """`GET /mpps/{uid}`: one step with all its attributes."""
    told = await house(request).dimse.run(_found(_steps(request), request.path_params["uid"]))
    _tell(request, told, first(told["attributes"], PATIENT_ID))
    return answer(told)


async def forward(request: Request) -> Response:
    """`POST /mpps/{uid}/forward`: pass on to peers what was given up."""
    await body_of(request, needed=False)
    told = await house(request).dimse.run(_forwarded(_steps(request), request.path_params["uid"]))
    _tell(request, told)
    return answer(told, 202)


def _tell(request: Request, step: dict[str, Any], patient: str = "") -> None:
    tell(request, (each["study"] for each in step["scheduled"]), patient)


def _steps(request: Request) -> PerformedSteps:
    procedures = house(request).procedures
    if procedures is None:
        raise NotFound("This bridge keeps no performed procedure steps.")
    return procedures.steps


def _listed(
    found: Sequence[PerformedStep], wanted: tuple[str | None, str | None, str | None], limit: int
) -> list[dict[str, Any]]:
    status, *of_request = wanted
    told: list[dict[str, Any]] = []
    for each in found:
        if status in (None, each.status) and _is_for(each, *of_request):
            told.append(_told(each))
            if len(told) == limit:
                break
    return told


# On the loop of the associations, where the steps live.


async def _all(kept: PerformedSteps) -> Sequence[PerformedStep]:
    return kept.all()


async def _found(kept: PerformedSteps, instance: str) -> dict[str, Any]:
    found = kept.find(instance)
    return {**_told(found), "attributes": found.attributes()}


async def _forwarded(kept: PerformedSteps, instance: str) -> dict[str, Any]:
    return _told(await kept.try_again(instance))


def _is_for(step: PerformedStep, study: str | None, accession: str | None) -> bool:
    if study is None and accession is None:
        return True
    found = scheduled_of(step.attributes())
    return any(study in (None, uid) and accession in (None, number) for uid, number, _ in found)


def _told(step: PerformedStep) -> dict[str, Any]:
    return {
        "instance": step.instance,
        "status": step.status,
        "created": _moment(step.created_at),
        "changed": _moment(step.changed_at),
        "calling": step.calling,
        "called": step.called,
        "host": step.host,
        "scheduled": [
            {"study": study, "accession": accession, "step": identity}
            for study, accession, identity in scheduled_of(step.attributes())
        ],
        "forward": [
            {
                "peer": name,
                "state": "failed" if each.failed else "waiting" if step.owed(name) else "done",
                "waiting": len(step.messages) - each.sent,
                "error": each.failed,
            }
            for name, each in step.deliveries.items()
        ],
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _limit(given: str | None) -> int:
    if given is None:
        return _LISTED
    if not (given.isascii() and given.isdigit() and len(given) < 5 and 1 <= int(given) <= _MOST_LISTED):
        raise BadRequest(f"limit must be from 1 to {_MOST_LISTED}.")
    return int(given)
