"""A bridge and a small archive on one loop in a thread of its own; the tests are its peers."""

import dataclasses
import queue
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop

from bridge.archive.remote import RemoteArchive
from bridge.journal import AssociationReport
from bridge.scp.echo import Echo
from bridge.scp.listener import Listener
from bridge.scp.store import Store
from bridge.settings import ArchiveSettings, BridgeSettings, Limits
from tests.dimse.dimse_peers import PATIENCE_S, Archive, Bridge, Ground, StartBridge, serve_archive


@pytest.fixture
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """A loop; indirect parameters choose its kind."""
    ground = Ground(getattr(request, "param", uvloop.new_event_loop))
    yield ground
    ground.end()


@pytest.fixture
def archive(ground: Ground) -> Iterator[Archive]:
    archive = Archive()
    runner, archive.url = ground.run(serve_archive(archive))
    yield archive
    ground.run(runner.cleanup())


@pytest.fixture
def start_bridge(ground: Ground, archive: Archive) -> Iterator[StartBridge]:
    """Starts bridges in front of `archive`; keyword arguments are those of the settings, by field name."""
    running: list[Bridge] = []

    async def begin(settings: BridgeSettings) -> Bridge:
        reports: queue.Queue[AssociationReport] = queue.Queue()
        remote = RemoteArchive(settings.archive)
        listener = Listener(settings, [Echo(), Store(remote)], reports.put)
        _, port = await listener.start()
        return Bridge(ground, listener, remote, port, reports)

    def start(**given: Any) -> Bridge:
        def chosen[S](kind: type[S], **default: Any) -> S:
            names = {each.name for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
            return kind(**{**default, **{k: v for k, v in given.items() if k in names}})

        settings = chosen(
            BridgeSettings,
            port=0,
            limits=chosen(Limits),
            archive=chosen(ArchiveSettings, url=archive.url, replay_delay_s=0.01),
        )
        running.append(ground.run(begin(settings)))
        return running[-1]

    yield start
    for bridge in running:
        bridge.drain(0.0).result(PATIENCE_S)
        ground.run(bridge.remote.close())


@pytest.fixture
def bridge(start_bridge: StartBridge) -> Bridge:
    return start_bridge()
