"""How full the service is, looked at from time to time: queues, caches, memory, lateness of the loop."""

import asyncio
import mmap
from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from service.archive.port import Connects
from service.exposition import CONTENT_TYPE
from service.web.request import House, house

_EVERY_S = 1.0
_STATM = Path("/proc/self/statm")


async def metrics(request: Request) -> Response:
    """`GET /metrics`: the numbers of all processes of this server, in the text format of Prometheus.

    Those of how full the other processes are may be a second old.
    """
    here = house(request)
    sample(here)
    return Response(here.meters.text(), headers={"Cache-Control": "no-store", "Content-Type": CONTENT_TYPE})


def sample(house: House) -> None:
    """Put down how full this process is."""
    meters = house.meters
    load, kept = house.workshop.load(), house.finished.load()
    for name, value in {
        "uploads": house.uploads.inside,
        "reads": house.reads.inside,
        "stores": house.stores.inside,
        "pixels": house.waits.inside,
        "jobs_running": load.running,
        "jobs_queued": load.queued,
        "pixels_bytes": load.kept_bytes,
        "pixels_hits": load.hits,
        "pixels_misses": load.misses,
        "metadata_bytes": kept.held_bytes,
        "metadata_hits": kept.hits,
        "metadata_misses": kept.misses,
        "lag": house.lag.read().p99,
        "resident": _resident_bytes(),
    }.items():
        meters.put(name, value)
    if isinstance(house.archive, Connects):
        index = house.archive.connections()
        meters.put("index_lent", index.lent)
        meters.put("index_idle", index.idle)
    if house.trail is not None:
        told = house.trail.load
        meters.put("audit_waiting", told.waiting)
        meters.put("audit_failing", told.failing)
        meters.put("audit_written", told.written)
        meters.put("audit_refused", told.refused)


def _resident_bytes() -> int:
    """What the process has in memory; 0 where the system does not tell."""
    try:
        return int(_STATM.read_bytes().split()[1]) * mmap.PAGESIZE
    except (OSError, IndexError, ValueError):
        return 0


class Sampling:
    """A timer on the running loop that calls `look` once a second."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look now, and from then on."""
        self._look()
        self._timer = asyncio.get_running_loop().call_later(_EVERY_S, self.start)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
