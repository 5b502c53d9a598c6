"""Bridges with a worklist, each on a state folder of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from bridge.settings import BridgeSettings
from bridge.worklist.locations import read_locations
from bridge.worklist.settings import WorklistSettings
from tests.dimse.dimse_peers import Ground
from tests.dimse.worklist.scheduling import ITEMS, Scheduling, begin

StartScheduling = Callable[..., Scheduling]


@pytest.fixture
def start(ground: Ground, tmp_path: Path) -> Iterator[StartScheduling]:
    """Starts bridges on one state folder; `sources` is as in the setting, `given` are settings by field."""
    running: list[Scheduling] = []

    def start_one(sources: str = "pushed", *, state: str = "state", **given: Any) -> Scheduling:
        names = set(WorklistSettings.__dataclass_fields__)
        chosen = {name: given.pop(name) for name in list(given) if name in names}
        worklist = WorklistSettings(sources=read_locations(sources), **{"refresh_s": 0.0, **chosen})
        settings = BridgeSettings(port=0, state=tmp_path / state, worklist=worklist, **given)
        running.append(begin(ground, settings))
        return running[-1]

    yield start_one
    for one in running:
        if not one.ended:
            one.end()


@pytest.fixture(scope="module")
def scheduled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduling]:
    """A bridge with the five steps, for all tests of a module that change nothing."""
    ground = Ground(uvloop.new_event_loop)
    bridge = begin(ground, BridgeSettings(port=0, state=tmp_path_factory.mktemp("bridge") / "state"))
    bridge.push(ITEMS)
    yield bridge
    bridge.end()
    ground.end()
