"""The spool and its quarantine: told, exported, tried again, forgotten."""

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from bridge.control.house import answer, body_of, house, tell
from bridge.spool.entry import Detained
from bridge.spool.spool import Spool
from service.dicom.errors import BadRequest, NotFound

_LISTED = 100
_MOST_LISTED = 1000


async def spool(request: Request) -> Response:
    """`GET /spool`: how much waits for the archive, since when, and why."""
    return answer(await house(request).dimse.run(_told(_spool(request))))


async def quarantine(request: Request) -> Response:
    """`GET /quarantine`: what the archive refused after it was acknowledged, the oldest refusal first."""
    limit = _limit(request.query_params.get("limit"))
    return answer(await house(request).dimse.run(_listed(_spool(request), limit)))


async def detained(request: Request) -> Response:
    """`GET /quarantine/{id}`: the Part-10 file."""
    here, kept = house(request), _spool(request)
    held = await here.dimse.run(_found(kept, request.path_params["id"]))
    tell(request, (held.study,))
    file = kept.quarantine.file(held)
    if not file.is_file():
        raise NotFound(
            "The file was removed from quarantine by somebody else; DELETE makes the bridge forget it."
        )
    return FileResponse(
        file,
        headers={"Cache-Control": "no-store"},
        media_type="application/dicom",
        filename=f"{held.instance}.dcm",
    )


async def retry(request: Request) -> Response:
    """`POST /quarantine/{id}/retry`: let the instance wait for the archive once more."""
    await body_of(request, needed=False)
    held = await house(request).dimse.run(_retried(_spool(request), request.path_params["id"]))
    tell(request, (held.study,))
    return Response(status_code=202)


async def forget(request: Request) -> Response:
    """`DELETE /quarantine/{id}`: delete the instance for good."""
    held = await house(request).dimse.run(_removed(_spool(request), request.path_params["id"]))
    tell(request, (held.study,))
    return Response(status_code=204)


def _spool(request: Request) -> Spool:
    kept = house(request).spool
    if kept is None:
        raise NotFound("This bridge keeps no instances.")
    return kept


# On the loop of the associations, where the spool lives.


async def _told(kept: Spool) -> dict[str, Any]:
    oldest = kept.lanes.oldest
    return {
        "enabled": kept.is_on,
        "state": kept.state,
        "because": kept.reach.because,
        "instances": len(kept.lanes),
        "studies": kept.lanes.studies,
        "bytes": kept.lanes.bytes,
        "oldest": None if oldest is None else _moment(oldest.received_at),
        "limit_bytes": kept.space.size_bytes,
        "held_bytes": kept.space.held_bytes,
        "quarantine": {"instances": len(kept.quarantine), "bytes": kept.quarantine.bytes},
    }


async def _listed(kept: Spool, limit: int) -> list[dict[str, Any]]:
    return [_described(held) for held, _ in zip(kept.quarantine, range(limit), strict=False)]


async def _found(kept: Spool, name: str) -> Detained:
    return kept.quarantine.find(name)


async def _retried(kept: Spool, name: str) -> Detained:
    held = kept.quarantine.find(name)
    await kept.quarantine.retry(name)
    return held


async def _removed(kept: Spool, name: str) -> Detained:
    held = kept.quarantine.find(name)
    await kept.quarantine.remove(name)
    return held


def _described(held: Detained) -> dict[str, Any]:
    return {
        "id": held.id,
        "study": held.study or None,
        "instance": held.instance,
        "bytes": held.size_bytes,
        "received": _moment(held.entry().received_at),
        "refused": _moment(held.at),
        "http": held.http or None,
        "status": f"{held.reason:04X}",
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _limit(given: str | None) -> int:
    if given is None:
        return _LISTED
    if not (given.isascii() and given.isdigit() and len(given) < 5 and 1 <= int(given) <= _MOST_LISTED):
        raise BadRequest(f"limit must be from 1 to {_MOST_LISTED}.")
    return int(given)
