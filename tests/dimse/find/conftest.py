"""A bridge in front of a service that holds four studies, and a peer that asks."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import cast

import pytest
import uvloop
from aiohttp import web

from bridge.archive.remote import RemoteArchive
from bridge.peers import Peer, Peers
from bridge.scp.echo import Echo
from bridge.scp.find import Find
from bridge.scp.listener import Listener
from bridge.settings import ArchiveSettings, BridgeSettings
from tests.conformance.searching import fill
from tests.dimse.archives import Server
from tests.dimse.dimse_peers import PATIENCE_S, Ground
from tests.dimse.finding import Asker, Library
from tests.sites import Site

LOOPBACK = (ip_network("127.0.0.0/8"),)
PEERS = Peers(
    [
        Peer("latin", "LATIN", "127.0.0.1", 104, charset="ISO_IR 100", callers=LOOPBACK),
        Peer("strict", "STRICT", "127.0.0.1", 104, strict=True, callers=LOOPBACK),
    ]
)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a bridge in front of a service that holds four studies."""
    ground = Ground(uvloop.new_event_loop)
    library = Library(ground)
    fill(cast(Site, library))
    settings = BridgeSettings(port=0, peers=PEERS, archive=ArchiveSettings(url=library.url))

    async def begin() -> tuple[RemoteArchive, Listener, int]:
        remote = RemoteArchive(settings.archive)
        listener = Listener(settings, [Echo(), Find(remote, settings)], lambda report: None)
        return remote, listener, (await listener.start())[1]

    remote, listener, chosen = ground.run(begin())
    yield chosen
    ground.begin(listener.drain(0.0)).result(PATIENCE_S)
    ground.run(remote.close())
    library.close()
    ground.end()


@pytest.fixture
def ask(ground: Ground, port: int) -> Asker:
    return Asker(ground, port)


@pytest.fixture
def server(ground: Ground) -> Iterator[Server]:
    server = Server()

    async def begin() -> web.AppRunner:
        application = web.Application()
        application.router.add_get("/dicom-web/{rest:.*}", server.handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    runner = ground.run(begin())
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/dicom-web"
    yield server
    ground.run(runner.cleanup())
