"""A bridge beside the files of the archive, with the porter that enters what it receives."""

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bridge.archive.own import OwnArchive
from bridge.archive.remote import RemoteArchive
from bridge.control.app import create_app
from bridge.control.crossing import DimseLoop
from bridge.control.house import House
from bridge.control.server import ControlServer, listening
from bridge.jobs.jobs import Jobs
from bridge.scp.listener import Listener
from bridge.scp.store import Store
from bridge.settings import ArchiveSettings, BridgeSettings, ControlSettings
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from bridge.state import StateFolder
from service.archive.objects import ObjectArchive
from service.archive.open import open_archive
from service.archive.port import Outcome
from service.dicom.errors import NotFound
from service.dicom.frames import Extent
from service.dicom.part10 import file_head
from service.dicom.resource import Resource
from service.settings import Settings
from tests.dimse.dimse_peers import PATIENCE_S, Ground, Instance
from tests.dimse.spool.spooling import send


@dataclass
class Beside:
    """A bridge, the archive that it stores in, and what the service sees of that."""

    ground: Ground
    settings: Settings
    bridge: BridgeSettings
    state: StateFolder
    own: OwnArchive
    spool: Spool
    listener: Listener
    port: int
    service: ObjectArchive
    faults: Path
    control: ControlServer

    def send(self, *instances: Instance) -> list[int]:
        return send(("127.0.0.1", self.port), *instances)

    def held(self, study: str) -> list[bytes]:
        """The objects of a study, as the service reads them."""
        found = self.service.instances(Resource(study))
        return [bytes(self.service.read(one, Extent(0, one.size))) for one in found]

    @property
    def files(self) -> list[Path]:
        """Every file in the store."""
        folder = Path(self.settings.store.removeprefix("file://"))
        return [path for path in folder.rglob("*") if path.is_file()]

    @property
    def porter(self) -> Path:
        """What the kernel tells of the process that enters objects."""
        return Path(f"/proc/{self.own.process}")

    def store(self, instance: Instance, within_s: float = 60.0) -> Outcome:
        """Enter an instance, all of which is here, without an association."""
        return self.ground.run(self.own.store(head_of(instance), [instance.data], Ended(), within_s=within_s))

    async def end(self) -> None:
        await asyncio.to_thread(self.control.stop)
        await self.listener.drain(0.0)
        await self.spool.stop()
        await self.own.close()
        await self.state.close()
        self.service.close()


async def begun(ground: Ground, folder: Path, *, spool_bytes: int) -> Beside:
    files = Settings(store=f"file://{folder}/objects", index=f"sqlite://{folder}/index.db")
    settings = BridgeSettings(
        port=0,
        state=folder / "state",
        own=files,
        control=ControlSettings(port=0),
        archive=ArchiveSettings(url="http://127.0.0.1:9/dicom-web"),  # where nobody is
        spool=SpoolSettings(size_bytes=spool_bytes, reserve_bytes=0, pause_s=0.01, longest_pause_s=0.05),
    )
    state = StateFolder.open(settings.state)
    faults = folder / "faults"
    faults.mkdir()
    faulty = (sys.executable, "-m", "tests.dimse.spool.faulty_porter", str(faults))
    own, remote = OwnArchive(files, folder / "porter.lock", program=faulty), RemoteArchive(settings.archive)
    await own.open()
    spool = Spool(settings, remote, own)
    await spool.start()
    listener = Listener(settings, [Store(remote, None, spool)], lambda report: None)
    _, port = await listener.start()
    jobs = Jobs(settings.jobs, settings.peers, state.shelf("jobs", most=settings.jobs.most), {})
    loop = DimseLoop(asyncio.get_running_loop(), timeout_s=PATIENCE_S)
    house = House(settings, loop, remote, jobs, listening=lambda: True, spool=spool, own=own)
    control = ControlServer(create_app(house), listening(settings.control), settings.control, drain_s=1)
    control.start()
    return Beside(
        ground, files, settings, state, own, spool, listener, port, open_archive(files), faults, control
    )


def head_of(instance: Instance) -> bytes:
    return file_head(instance.sop_class, instance.instance, "1.2.840.10008.1.2.1", source_ae_title="RAW-SCU")


class Ended:
    """A body of which all has come."""

    at_end = True

    async def read(self, at_least: int = 1) -> list[bytes]:
        return []


def waits_for_a_lock(process: int) -> bool:
    """Whether a process stands in the kernel's queue for a lock."""
    waiting = (line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line)
    return any(words[5] == str(process) for words in waiting)


def wait_for(reached: Callable[[], object]) -> None:
    """Return when something is so, looked at from outside of the loop."""
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_there(beside: Beside, study: str) -> bool:
    try:
        return bool(beside.held(study))
    except NotFound:
        return False


async def until(reached: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not reached():
            await asyncio.sleep(0.005)
