"""A bridge that stores and forwards, with its HTTP, in front of an archive that comes and goes."""

import asyncio
import dataclasses
import re
import secrets
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from bridge.archive.remote import RemoteArchive
from bridge.control.app import create_app
from bridge.control.crossing import DimseLoop
from bridge.control.house import House
from bridge.control.server import ControlServer, listening
from bridge.jobs.jobs import Jobs
from bridge.scp.echo import Echo
from bridge.scp.listener import Listener
from bridge.scp.store import Store
from bridge.settings import ArchiveSettings, BridgeSettings, ControlSettings, Limits
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from bridge.state import StateFolder
from service.audit.trail import Trail
from tests.dimse.committing import unused_port
from tests.dimse.control.controlled import Answer, asked
from tests.dimse.dimse_peers import (
    CT_IMAGE,
    PATIENCE_S,
    Archive,
    Ground,
    Instance,
    RawPeer,
    a_context,
    a_store,
    a_uid,
    data_set_of,
    serve_archive,
)

STUDY = re.compile(rb"\x20\x00\x0d\x00UI..([0-9.]+)", re.DOTALL)


def of_study(study: str, size_bytes: int = 2000, instance: str | None = None) -> Instance:
    """A CT image of a study, in Explicit VR Little Endian."""
    instance = instance or a_uid()

    def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        if vr == b"OW":
            return struct.pack("<HH2sHI", group, number, vr, 0, len(value)) + value
        return struct.pack("<HH2sH", group, number, vr, len(value)) + value

    data = b"".join(
        (
            element(0x0008, 0x0016, b"UI", CT_IMAGE.encode()),
            element(0x0008, 0x0018, b"UI", instance.encode()),
            element(0x0020, 0x000D, b"UI", study.encode()),
            element(0x0020, 0x000E, b"UI", b"2.25.7"),
            element(0x7FE0, 0x0010, b"OW", secrets.token_bytes(size_bytes)),
        )
    )
    return Instance(CT_IMAGE, instance, data)


@dataclass
class Site:
    """An archive that may be away."""

    ground: Ground
    archive: Archive
    port: int
    runner: web.AppRunner | None

    def leave(self) -> None:
        """End the archive: connections are refused from here on."""
        assert self.runner is not None
        self.ground.run(self.runner.cleanup())
        self.runner = None

    def come(self) -> None:
        """Start it again, at the same address."""
        self.runner, _ = self.ground.run(serve_archive(self.archive, self.port))

    @property
    def stored(self) -> list[bytes]:
        """The data sets that came, in their order."""
        return [data_set_of(part) for part in self.archive.parts]


def open_site(ground: Ground) -> Site:
    archive = Archive()
    runner, archive.url = ground.run(serve_archive(archive, unused_port()))
    return Site(ground, archive, urlsplit(archive.url).port or 0, runner)


@dataclass
class Spooling:
    """A running bridge."""

    ground: Ground
    settings: BridgeSettings
    state: StateFolder
    remote: RemoteArchive
    spool: Spool
    listener: Listener
    jobs: Jobs
    server: ControlServer
    port: int

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def files(self) -> list[str]:
        """The names in the spool."""
        return sorted(path.name for path in (self.settings.state / "spool").iterdir())

    @property
    def detained(self) -> list[str]:
        """The names in the quarantine."""
        return sorted(path.name for path in (self.settings.state / "quarantine").iterdir())

    def send(self, *instances: Instance) -> list[int]:
        """Store instances on one association; their statuses."""
        return send(self.address, *instances)

    def until(self, reached: Callable[[], object]) -> None:
        """Wait until something is so, looked at on the loop of the bridge."""

        async def wait() -> None:
            async with asyncio.timeout(PATIENCE_S):
                while not reached():
                    await asyncio.sleep(0.005)

        self.ground.run(wait())

    def between_trials(self, change: Callable[[], object]) -> None:
        """Change something on the disk at a moment when nothing is being forwarded: no file is open."""

        async def at_rest() -> None:
            async with asyncio.timeout(PATIENCE_S):
                while self.spool.lanes.under_way:
                    await asyncio.sleep(0.001)
                change()  # nothing else runs on the loop before it is done

        self.ground.run(at_rest())

    def until_forwarded(self) -> None:
        self.until(lambda: not len(self.spool.lanes))

    def ask(self, path: str, method: str = "GET") -> Answer:
        return asked(f"http://127.0.0.1:{self.server.address[1]}{path}", method)

    def end(self) -> None:
        self.server.stop()
        self.ground.run(self._end())

    async def _end(self) -> None:
        await self.jobs.stop()
        await self.listener.drain(0.0)
        await self.spool.stop()
        await self.remote.close()
        await self.state.close()


def send(address: tuple[str, int], *instances: Instance) -> list[int]:
    """Store instances on one association, one after the other; their statuses."""
    statuses = []
    with RawPeer(address) as peer:
        peer.associate(a_context())
        for instance in instances:
            for packet in a_store(instance):
                peer.send(packet)
            statuses.append(peer.response().status)
    return statuses


def settings_for(site: Site, state: Path, **given: Any) -> BridgeSettings:
    def chosen[S](kind: type[S], **default: Any) -> S:
        names = {each.name for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
        return kind(**{**default, **{k: v for k, v in given.items() if k in names}})

    quick = {
        "size_bytes": 1 << 30,
        "held_bytes": 2 << 20,
        "reserve_bytes": 0,
        "pause_s": 0.01,
        "longest_pause_s": 0.05,
    }
    return BridgeSettings(
        port=0,
        state=state,
        limits=chosen(Limits),
        archive=ArchiveSettings(url=site.archive.url, replay_delay_s=0.01),
        control=ControlSettings(port=0),
        spool=chosen(SpoolSettings, **quick),
    )


async def begin(ground: Ground, settings: BridgeSettings, trail: Trail | None = None) -> Spooling:
    state = StateFolder.open(settings.state)
    remote = RemoteArchive(settings.archive)
    spool = Spool(settings, remote)
    await spool.start()
    listener = Listener(settings, [Echo(), Store(remote, None, spool)], lambda report: None)
    _, port = await listener.start()
    jobs = Jobs(settings.jobs, settings.peers, state.shelf("jobs", most=settings.jobs.most), {})
    await jobs.start()
    loop = DimseLoop(asyncio.get_running_loop(), timeout_s=PATIENCE_S)
    house = House(settings, loop, remote, jobs, listening=lambda: True, spool=spool, trail=trail)
    server = ControlServer(create_app(house), listening(settings.control), settings.control, drain_s=1)
    server.start()
    return Spooling(ground, settings, state, remote, spool, listener, jobs, server, port)


def studies_of(data_sets: Sequence[bytes]) -> list[str]:
    """Their Study Instance UIDs."""
    found = [STUDY.search(one) for one in data_sets]
    return [one[1].decode() for one in found if one is not None]
