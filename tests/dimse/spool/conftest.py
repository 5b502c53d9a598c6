"""What the tests of store and forward share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.audit.trail import Trail
from tests.dimse.dimse_peers import Ground
from tests.dimse.spool.beside import Beside, begun
from tests.dimse.spool.spooling import Site, Spooling, begin, open_site, settings_for

StartSpooling = Callable[..., Spooling]


@pytest.fixture
def site(ground: Ground) -> Iterator[Site]:
    site = open_site(ground)
    yield site
    if site.runner is not None:
        site.leave()


@pytest.fixture
def start(ground: Ground, site: Site, tmp_path: Path) -> Iterator[StartSpooling]:
    """Starts bridges, all on one folder; keyword arguments are settings of spool and limits by field name.

    `trail` is told what is done over HTTP.
    """
    running: list[Spooling] = []

    def begin_one(trail: Trail | None = None, **given: Any) -> Spooling:
        while running:
            running.pop().end()
        running.append(ground.run(begin(ground, settings_for(site, tmp_path / "state", **given), trail)))
        return running[-1]

    yield begin_one
    for one in running:
        one.end()


@pytest.fixture
def beside(ground: Ground, tmp_path: Path) -> Iterator[Beside]:
    beside = ground.run(begun(ground, tmp_path, spool_bytes=0))
    yield beside
    ground.run(beside.end())


@pytest.fixture
def spooling(ground: Ground, tmp_path: Path) -> Iterator[Beside]:
    """One that keeps what cannot be stored."""
    spooling = ground.run(begun(ground, tmp_path, spool_bytes=1 << 30))
    yield spooling
    ground.run(spooling.end())
