"""Tiles of a large slide, each of another place, by viewers at once: against Debian's Orthanc with DICOMweb.

They are asked for as dicom-microscopy-viewer asks, for the bytes that are stored: Orthanc would otherwise
make the whole object anew for each of them.
"""

import itertools
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from tests.bench import orthanc
from tests.bench.client import Connection
from tests.bench.figures import MILLISECONDS, PER_SECOND, Figure, Skipped, in_turn
from tests.bench.retrieve import post_plain
from tests.bench.rig import Failed, Rig, seconds_of
from tests.bench.stow import post_all
from tests.slides import Level, Slide

NAME = "wsi"
_PIXELS = {"a slide of 20,959 tiles": 32_000, "a slide of 1,365 tiles": 8_000}
_TEXTURE = 4.0  # tiles of 14 kB, as scanners make them
_CLIENTS = 6  # as many connections as a browser opens to one server
_TIMES, _THEIR_TIMES = 300, 3
_ACCEPT = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'


def run(rig: Rig, rounds: int) -> Iterator[Figure | Skipped]:
    """Durations by one client and tiles per second by six, of slides of two sizes."""
    if not orthanc.installed():
        yield Skipped(NAME, orthanc.NAME, "orthanc and orthanc-dicomweb are not installed")
        return
    for what, pixels in _PIXELS.items():
        slide = Slide(pixels, texture=_TEXTURE)
        with rig.service() as site, orthanc.orthanc(rig) as other:
            for level in slide.levels:
                file = level.file()
                post_all(site.port, 1, [file])
                post_plain(other.port, [file])
            ours = _Viewers(site.port, slide.levels[0], _TIMES)
            theirs = _Viewers(other.port, slide.levels[0], _THEIR_TIMES)
            values = in_turn(
                rounds,
                {
                    "ours ×1": ours.median_ms,
                    "theirs ×1": theirs.median_ms,
                    "ours ×6": ours.rate,
                    "theirs ×6": theirs.rate,
                },
            )
        one, six = f"{what}, 1 client", f"{what}, {_CLIENTS} clients"
        yield Figure(NAME, one, MILLISECONDS, values["ours ×1"], orthanc.NAME, values["theirs ×1"])
        yield Figure(NAME, six, PER_SECOND, values["ours ×6"], orthanc.NAME, values["theirs ×6"])


class _Viewers:
    """Viewers of one level of a slide; each asks for `times` tiles, one after the other, none twice."""

    def __init__(self, port: int, level: Level, times: int) -> None:
        self._port = port
        self._level = level
        self._times = times
        slide = level.slide
        series = f"/dicom-web/studies/{slide.study}/series/{slide.series}"
        self._frames = f"{series}/instances/{level.instance}/frames/"
        numbers = list(range(1, level.across**2 + 1))
        random.Random(level.pixels).shuffle(numbers)
        self._numbers = itertools.cycle(numbers)

    def median_ms(self) -> float:
        """The median duration of a request on one kept connection."""
        durations: list[float] = []
        with Connection(self._port) as connection:
            for _ in range(self._times):
                begun = time.perf_counter()
                self._ask(connection)
                durations.append(1000 * (time.perf_counter() - begun))
        return statistics.median(durations)

    def rate(self) -> float:
        """Tiles per second by all clients."""
        with ExitStack() as stack:
            connections = [stack.enter_context(Connection(self._port)) for _ in range(_CLIENTS)]
            taken = seconds_of(*(partial(self._ask_often, connection) for connection in connections))
        return _CLIENTS * self._times / taken

    def _ask_often(self, connection: Connection) -> None:
        for _ in range(self._times):
            self._ask(connection)

    def _ask(self, connection: Connection) -> None:
        number = next(self._numbers)
        answer = connection.get(f"{self._frames}{number}", _ACCEPT)
        if answer.status != 200 or self._level.codestream(number) not in bytes(answer.body):
            raise Failed(f"Tile {number} was answered {answer.status} with {len(answer.body)} bytes.")
