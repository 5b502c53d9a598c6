"""The service with more work on pixels than it takes: its event loops stay quick, and no core is idle.

More clients than the threads and the queue for pixels hold ask all the time; who is answered 503 asks again a
little later. The event loops are as late as they say themselves.
"""

import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from service.dicom.syntaxes import ROOT
from tests.bench.client import Connection
from tests.bench.figures import MILLISECONDS, Figure
from tests.bench.rendered import CENTER, phantom
from tests.bench.rig import Failed, Rig, Site, idle_s, processor_s
from tests.bench.slices import FRAME_BYTES, a_series, study_and_series
from tests.bench.stow import post_all

NAME = "busy"
_SLICES = 20
_QUEUE = 4
_CLIENTS = 20
_WARMING_S, _MEASURED_S = 1.5, 10.5  # the service looks back on 10 s
_PAUSE_S = 0.03
_PROBES = 8
_LIMIT_MS, _SHARE = 20.0, 0.9  # of the cores that other programs leave
_J2K = f"image/jp2; transfer-syntax={ROOT}.4.90"

_Ask = Callable[[Connection], int]


def run(rig: Rig, rounds: int) -> Iterator[Figure]:
    """For one process and for as many as there are cores: lag and cores of transcoding, then of rendering."""
    cores = len(os.sched_getaffinity(0))
    for workers in dict.fromkeys((1, min(cores, 4))):
        # The same frames are asked for again and again, and are to be made each time; no window comes twice.
        for what, asking, cache in (("transcoding", _transcoding, "0"), ("rendering", _rendering, "128MiB")):
            loads = _loads(rig, rounds, workers, asking, cache)
            told = f"{what}, {workers} process{'es' if workers > 1 else ''}"
            lags, limits = [load.lag_ms for load in loads], [_LIMIT_MS] * rounds
            yield Figure(NAME, f"loop lag p99, {told}", MILLISECONDS, lags, "limit", limits)
            busy, wanted = (
                [load.busy for load in loads],
                [_SHARE * (load.busy + load.idle) for load in loads],
            )
            yield Figure(NAME, f"cores busy, {told}", "", busy, "limit", wanted)


def _loads(rig: Rig, rounds: int, workers: int, asking: Callable[[int], _Ask], cache: str) -> list["_Load"]:
    """What is seen in some stretches of load on a service of `workers` processes."""
    processes, queue = str(workers), str(_QUEUE)
    with rig.service(ISTHMUS_WORKERS=processes, ISTHMUS_PIXEL_QUEUE=queue, ISTHMUS_PIXEL_CACHE=cache) as site:
        number = rig.next_series()
        post_all(site.port, 1, _files(number))
        ask = asking(number)
        return [_measured(site, ask) for _ in range(rounds)]


@dataclass(frozen=True, slots=True)
class _Load:
    """What was seen while the service was busy."""

    lag_ms: float
    busy: float
    """Cores that service and clients kept busy."""
    idle: float
    """Cores that nobody did."""


@dataclass(slots=True)
class _Tally:
    """What clients were answered, and when to stop."""

    over: threading.Event = field(default_factory=threading.Event)
    seen: set[int] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)


def _measured(site: Site, ask: _Ask) -> _Load:
    """The lag and the cores of one stretch of load. `Failed` if the queue for pixels was never full."""
    tally = _Tally()
    clients = [threading.Thread(target=_client, args=(site.port, ask, tally)) for _ in range(_CLIENTS)]
    for client in clients:
        client.start()
    try:
        time.sleep(_WARMING_S)
        begun, idle, before = time.monotonic(), idle_s(), _taken_s(site)
        time.sleep(_MEASURED_S)
        lag_ms = max(_lag_ms(site.port) for _ in range(_PROBES))
        elapsed = time.monotonic() - begun
        load = _Load(lag_ms, (_taken_s(site) - before) / elapsed, (idle_s() - idle) / elapsed)
    finally:
        tally.over.set()
        for client in clients:
            client.join()
    if tally.broken:
        raise Failed(f"A client of {NAME} was answered {tally.broken[0]}.")
    if tally.seen != {200, 503}:
        raise Failed("The queue for pixels was never full: nothing was measured.")
    return load


def _taken_s(site: Site) -> float:
    """The seconds of processor time that the service and its clients have taken."""
    return processor_s(site.process) + time.process_time()


def _client(port: int, ask: _Ask, tally: _Tally) -> None:
    """Ask until it is over."""
    try:
        with Connection(port) as connection:
            while not tally.over.is_set():
                status = ask(connection)
                tally.seen.add(status)
                if status == 503:
                    tally.over.wait(_PAUSE_S)
                elif status != 200:
                    tally.broken.append(str(status))
                    return
    except OSError as error:
        tally.broken.append(repr(error))


def _lag_ms(port: int) -> float:
    """What the process that takes this connection says of its loop."""
    with Connection(port) as connection:
        told = json.loads(bytes(connection.get("/healthz").body))
    return float(told["loop_lag_ms"]["p99"])


def _transcoding(number: int) -> _Ask:
    """Slices in JPEG 2000, one after the other."""
    paths = itertools.cycle([f"{_path(number, place)}/frames/1" for place in range(_SLICES)])
    return lambda connection: connection.get(next(paths), _J2K).status


def _rendering(number: int) -> _Ask:
    """Slices as JPEG, each time with a window that none had before."""
    paths = itertools.cycle([f"{_path(number, place)}/rendered" for place in range(_SLICES)])
    widths = itertools.count(400)

    def ask(connection: Connection) -> int:
        return connection.get(f"{next(paths)}?window={CENTER},{next(widths)},linear", "image/jpeg").status

    return ask


def _files(number: int) -> list[bytes]:
    return [file[:-FRAME_BYTES] + phantom(place) for place, file in enumerate(a_series(number)[:_SLICES])]


def _path(number: int, place: int) -> str:
    study, series = study_and_series(number)
    return f"/dicom-web/studies/{study}/series/{series}/instances/2.25.77{number:08}{place + 1:04}"
