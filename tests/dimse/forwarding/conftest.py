"""Bridges with rules in front of the real service, on one loop in a thread, and where they forward to."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.dimse.dimse_peers import Ground
from tests.dimse.forwarding.forwarded import TAKES_CT, Forwarder, begin, settings_of
from tests.dimse.retrieve.retrieving import Destination, Served
from tests.dimse.served import ground, served, service

__all__ = ["ground", "served", "service"]

StartForwarder = Callable[..., Forwarder]


@pytest.fixture
def start(ground: Ground, served: Served, tmp_path: Path) -> Iterator[StartForwarder]:
    """Starts bridges with a peers file; keyword arguments are settings by field name."""
    running: list[Forwarder] = []

    def start_one(peers: str, *, state: str = "state", **given: Any) -> Forwarder:
        settings = settings_of(given.pop("url", served.url), tmp_path / state, peers, **given)
        running.append(ground.run(begin(ground, settings)))
        return running[-1]

    yield start_one
    for one in running:
        one.end()


@pytest.fixture(scope="module")
def closing() -> Iterator[ThreadPoolExecutor]:
    """Where destinations end, which takes half a second each."""
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def destination(closing: ThreadPoolExecutor) -> Iterator[Callable[..., Destination]]:
    """Opens destinations, which take CT images unless something else is said."""
    opened: list[Destination] = []

    def open_one(contexts: Any = TAKES_CT, *arguments: Any, **given: Any) -> Destination:
        opened.append(Destination(contexts, *arguments, **given))
        return opened[-1]

    yield open_one
    for one in opened:
        closing.submit(one.close)
