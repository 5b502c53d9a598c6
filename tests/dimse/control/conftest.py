"""Bridges with their HTTP, in front of the real service, on one loop in a thread."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bridge.control.house import Faces
from bridge.peers import Peer
from tests.dimse.control.controlled import Controlled, begin, bridge_settings, end
from tests.dimse.dimse_peers import Ground
from tests.dimse.retrieve.retrieving import Destination, Served
from tests.dimse.served import ground, served, service

__all__ = ["ground", "served", "service"]

StartControlled = Callable[..., Controlled]


@pytest.fixture
def start(ground: Ground, served: Served, tmp_path: Path) -> Iterator[StartControlled]:
    """Starts bridges that know the given peers; keyword arguments are settings by field name."""
    running: list[Controlled] = []

    def start_one(*peers: Peer, faces: Faces | None = None, **given: Any) -> Controlled:
        settings = bridge_settings(served, tmp_path / f"state{len(running)}", *peers, **given)
        running.append(ground.run(begin(ground, settings, faces)))
        return running[-1]

    yield start_one
    for one in running:
        end(one)


@pytest.fixture(scope="module")
def closing() -> Iterator[ThreadPoolExecutor]:
    """Where destinations end, which takes half a second each."""
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def destination(closing: ThreadPoolExecutor) -> Iterator[Callable[..., Destination]]:
    """Opens destinations."""
    opened: list[Destination] = []

    def open_one(*arguments: Any, **given: Any) -> Destination:
        opened.append(Destination(*arguments, **given))
        return opened[-1]

    yield open_one
    for one in opened:
        closing.submit(one.close)


@pytest.fixture(scope="module")
def one_bridge(
    ground: Ground, service: Served, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Controlled]:
    """A bridge for all tests of a module that need nothing special."""
    peer = Peer("pacs", "PACS", "127.0.0.1", 104)
    settings = bridge_settings(service, tmp_path_factory.mktemp("bridge") / "state", peer)
    bridge = ground.run(begin(ground, settings))
    yield bridge
    end(bridge)
