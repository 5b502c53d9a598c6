"""Whether the service lives and whether it may be sent requests."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.dicom.errors import ArchiveError
from service.web.request import archive_of, house

_PROBE_S = 1.0


async def alive(request: Request) -> Response:
    """`GET /healthz`: the process answers, and says how late its event loop is."""
    lag = house(request).lag.read()
    late = {"p50": lag.p50, "p99": lag.p99, "max": lag.most}
    told = {name: round(1000 * seconds, 2) for name, seconds in late.items()}
    return JSONResponse({"status": "alive", "loop_lag_ms": told}, headers={"Cache-Control": "no-store"})


async def ready(request: Request) -> Response:
    """`GET /readyz`: 200 when index and store answer and, under `isthmus up`, the bridge listens too."""
    here = house(request)
    try:
        await here.reads.run(archive_of(request).ready)
    except ArchiveError as error:
        return JSONResponse({"status": "not ready", "because": str(error)}, 503)
    if here.beside is not None and not await _listens(*here.beside):
        return JSONResponse({"status": "not ready", "because": "The bridge does not listen yet."}, 503)
    return JSONResponse({"status": "ready"})


async def _listens(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_PROBE_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
