"""Whether the bridge lives, whether it can be used, and its numbers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from bridge.archive.presence import status_of
from bridge.control.house import House, answer, house
from bridge.spool.figures import condition, families
from bridge.spool.spool import State
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
    if because:
        return answer({"status": "not ready", "because": because}, 503)
    because = await _unreachable(here)
    kept = await here.dimse.run(_kept(here))
    if because and not kept.takes:
        return answer({"status": "not ready", "because": because}, 503)
    told = " ".join(filter(None, (because, kept.said)))
    return answer({"status": "ready", "because": told} if told else {"status": "ready"})


async def metrics(request: Request) -> Response:
    """`GET /metrics`: numbers in the text format of Prometheus."""
    here = house(request)
    told = [*_http(here), *await here.dimse.run(_jobs(here)), *await here.dimse.run(_spool(here))]
    told += [*await here.dimse.run(_forwarding(here)), *await here.dimse.run(_archive(here)), *_audit(here)]
    return Response(exposed(told) + here.measured(), media_type=CONTENT_TYPE)


async def _unreachable(here: House) -> str:
    """Why the archive cannot be used, empty if it can."""
    if here.own is not None and not here.own.is_open:
        return "The process that enters instances has ended; it is being begun again, see the log."
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


@dataclass(frozen=True, slots=True)
class _Kept:
    """Whether instances are safe without the archive, and what there is to say of the spool."""

    takes: bool
    said: str


async def _kept(here: House) -> _Kept:
    if here.spool is None:
        return _Kept(False, "")
    return _Kept(here.spool.is_on and here.spool.state is not State.FULL, condition(here.spool))


async def _forwarding(here: House) -> Sequence[Family]:
    return () if here.forwarding is None else here.forwarding.families()


async def _spool(here: House) -> Sequence[Family]:
    return () if here.spool is None else families(here.spool)


async def _archive(here: House) -> Sequence[Family]:
    return [*here.archive.waited.families(busy=here.archive.busy, idle=here.archive.idle)]


def _audit(here: House) -> Sequence[Family]:
    """As the service tells it of its own trail."""
    if here.trail is None:
        return ()
    load = here.trail.load
    numbers = (
        ("waiting", "gauge", "Audit events that are not written yet.", load.waiting),
        ("failing", "gauge", "Whether audit events cannot be written.", int(load.failing)),
        ("events_total", "counter", "Audit events written.", load.written),
        ("refused_total", "counter", "Requests refused since nothing could be told of them.", load.refused),
    )
    return [Family(f"isthmus_audit_{name}", kind, said, [Sample(n)]) for name, kind, said, n in numbers]


def _http(here: House) -> Sequence[Family]:
    samples = [
        Sample(count, {"method": method, "route": route, "status": str(status)})
        for (method, route, status), count in here.answered.items()
    ]
    explained = "Requests to the bridge's HTTP, by route and status."
    return [Family("isthmus_bridge_http_requests_total", "counter", explained, samples)]
