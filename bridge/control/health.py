"""Whether the bridge lives, whether it can be used, and its numbers."""

import asyncio
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from bridge.archive.presence import status_of
from bridge.control.house import House, answer, house
from service.dicom.errors import ArchiveError
from service.exposition import CONTENT_TYPE, Family, Sample, exposed


async def alive(request: Request) -> Response:
    """`GET /healthz`: the process answers, and the loop of the associations too."""
    await house(request).dimse.run(asyncio.sleep(0))
    return answer({"status": "alive"})


async def ready(request: Request) -> Response:
    """`GET /readyz`: 200 when associations are taken, and the archive behind the bridge answers."""
    here = house(request)
    because = "" if here.listening() else "The bridge takes no associations."
    because = because or await _unreachable(here)
    if because:
        return answer({"status": "not ready", "because": because}, 503)
    return answer({"status": "ready"})


async def metrics(request: Request) -> Response:
    """`GET /metrics`: numbers in the text format of Prometheus."""
    here = house(request)
    families = [*_http(here), *await here.dimse.run(_jobs(here))]
    return Response(exposed(families) + here.measured(), media_type=CONTENT_TYPE)


async def _unreachable(here: House) -> str:
    """Why the archive cannot be used, empty if it can."""
    timeout_s = here.settings.control.archive_s
    try:
        status = await here.dimse.run(status_of(here.archive), timeout_s=timeout_s)
    except ArchiveError:
        return "The archive behind the bridge (ISTHMUS_ARCHIVE_URL) does not answer."
    if status in (401, 403):
        return "The archive does not know the bridge; ISTHMUS_ARCHIVE_TOKEN_FILE may hold a token."
    if status >= 500 or status in (404, 410):
        return f"The archive behind the bridge (ISTHMUS_ARCHIVE_URL) answers {status}."
    return ""


async def _jobs(here: House) -> Sequence[Family]:
    counted = here.jobs.counted()
    samples = [Sample(count, {"kind": kind, "state": state}) for (kind, state), count in counted.items()]
    return [Family("isthmus_bridge_jobs", "gauge", "Jobs that are kept, by kind and state.", samples)]


def _http(here: House) -> Sequence[Family]:
    samples = [
        Sample(count, {"method": method, "route": route, "status": str(status)})
        for (method, route, status), count in here.answered.items()
    ]
    explained = "Requests to the bridge's HTTP, by route and status."
    return [Family("isthmus_bridge_http_requests_total", "counter", explained, samples)]
