"""What the tests of storage commitment share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.settings import BridgeSettings
from tests.dimse.committing import Committing, Holder, Start, begin, serve, settings_for
from tests.dimse.dimse_peers import Ground


@pytest.fixture
def holder(ground: Ground) -> Iterator[Holder]:
    holder = Holder()
    holder.open.set()
    runner = ground.run(serve(holder))
    yield holder
    holder.open.set()
    ground.run(runner.cleanup())


@pytest.fixture
def start(ground: Ground, holder: Holder, tmp_path: Path) -> Iterator[Start]:
    """Starts bridges; keyword arguments are settings of commitment and limits, and peers."""
    running: list[Committing] = []

    def begin_one(settings: BridgeSettings | None = None, **given: Any) -> Committing:
        running.append(begin(ground, settings or settings_for(holder, tmp_path / "state", **given)))
        return running[-1]

    yield begin_one
    for bridge in running:
        if not bridge.ended:
            bridge.end()
