"""The service and bridges in front of it, on one loop in a thread; destinations come and go."""

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bridge.archive.remote import RemoteArchive
from bridge.journal import AssociationReport
from bridge.peers import Peer, Peers
from bridge.scp.echo import Echo
from bridge.scp.listener import Listener
from bridge.scp.retrieve import Retrieve
from bridge.scp.service import Service
from bridge.scp.store import Store
from bridge.settings import ArchiveSettings, BridgeSettings, Limits, RetrieveSettings
from tests.dimse.dimse_peers import PATIENCE_S, Bridge, Ground
from tests.dimse.retrieve.retrieving import Destination, Served, chosen
from tests.dimse.served import ground, served, service

__all__ = ["ground", "served", "service"]


StartRetrieving = Callable[..., Bridge]


@pytest.fixture
def start(ground: Ground, served: Served) -> Iterator[StartRetrieving]:
    """Starts a bridge that knows the given peers; keyword arguments are settings by field name."""
    running: list[Bridge] = []

    async def begin(settings: BridgeSettings) -> Bridge:
        reports: queue.Queue[AssociationReport] = queue.Queue()
        remote = RemoteArchive(settings.archive)
        services: list[Service] = [Echo(), Store(remote), Retrieve(remote, settings)]
        listener = Listener(settings, services, reports.put)
        _, port = await listener.start()
        return Bridge(ground, listener, remote, port, reports)

    def start_one(*peers: Peer, **given: Any) -> Bridge:
        settings = BridgeSettings(
            port=given.pop("port", 0),
            peers=Peers(peers),
            limits=chosen(Limits, given),
            archive=chosen(ArchiveSettings, given, url=served.url),
            retrieve=chosen(RetrieveSettings, given, busy_delay_s=0.01),
        )
        running.append(ground.run(begin(settings)))
        return running[-1]

    yield start_one
    for bridge in running:
        bridge.drain(0.0).result(PATIENCE_S)
        ground.run(bridge.remote.close())


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
