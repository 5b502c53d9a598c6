"""The memory of the service while ten instances of a gigabyte come in at once, and leave as a study.

It writes ten gigabytes for each store and round, so that it runs only when it is asked for by name.
"""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.bench.figures import Figure
from tests.bench.rig import Failed, Rig, Site, descendants
from tests.large import FRAME, Large, peak, received, store
from tests.s3_program import a_bucket

NAME = "memory"
_TOGETHER = 10
_FRAMES = (1 << 30) // FRAME
_STUDY_INSTANCES = 5
_LIMIT_MB = 600.0
_MB = "MB"


def run(rig: Rig, rounds: int) -> Iterator[Figure]:
    """Peaks of resident memory of all processes of the service together, on files and on a bucket."""
    for name in ("files", "bucket"):
        seen = [_measured(rig, name, number) for number in range(rounds)]
        limits = [_LIMIT_MB] * rounds
        stored = f"{_TOGETHER} stores of 1 GiB at once, {name}"
        yield Figure(NAME, stored, _MB, [one for one, _ in seen], "limit", limits)
        told = f"then a study of {_STUDY_INSTANCES} GiB read, {name}"
        yield Figure(
            NAME, told, _MB, [after for _, after in seen], "the peak before", [one for one, _ in seen]
        )


def _measured(rig: Rig, where: str, number: int) -> tuple[float, float]:
    """The peak after storing, and after retrieving, in 10⁶ bytes."""
    with contextlib.ExitStack() as stack:
        settings: dict[str, str] = {}
        if where == "bucket":
            settings = stack.enter_context(a_bucket(rig.new_folder("s3") / "bucket")).settings
        site = stack.enter_context(rig.service(None, **settings))
        small, large = f"2.25.95.{number}.1", f"2.25.95.{number}.2"
        with ThreadPoolExecutor(_TOGETHER) as clients:
            instances = [
                Large(large if place < _STUDY_INSTANCES else small, place, _FRAMES)
                for place in range(_TOGETHER)
            ]
            sent = [clients.submit(store, site.port, one.blocks(), one.size) for one in instances]
            statuses = [one.result() for one in sent]
        if set(statuses) != {200}:
            raise Failed(f"The stores were answered {statuses}.")
        stored = _peak_mb(site)
        status, size = received(site.port, f"/studies/{large}")
        if status != 200 or size < _STUDY_INSTANCES * _FRAMES * FRAME:
            raise Failed(f"The study came with status {status} and {size} bytes.")
        return stored, _peak_mb(site)


def _peak_mb(site: Site) -> float:
    return peak(descendants(site.process)) / 1e6
