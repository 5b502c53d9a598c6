"""A bridge beside the files of the archive stores in them itself, as the service would."""

import asyncio
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.archive.own import OwnArchive
from bridge.archive.remote import RemoteArchive
from bridge.scp.listener import Listener
from bridge.scp.store import Store
from bridge.settings import ArchiveSettings, BridgeSettings
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from bridge.state import StateFolder
from bridge.upper.command import Operation
from service.archive.objects import ObjectArchive
from service.archive.open import open_archive
from service.archive.port import Outcome, Stored
from service.dicom.errors import NotFound, UpstreamTimeout
from service.dicom.frames import Extent
from service.dicom.part10 import file_head
from service.dicom.resource import Resource
from service.environment import SettingError
from service.settings import Settings
from tests.dimse.dimse_peers import Ground, Instance, RawPeer, a_command, a_context, a_uid, p_data
from tests.dimse.spool.spooling import of_study, send

_SIZES = [0, 2_000, 527_000, (1 << 20) - 700, (1 << 20) + 2, 5_000_002]


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
        return self.ground.run(
            self.own.store(_head_of(instance), [instance.data], _Ended(), within_s=within_s)
        )

    async def end(self) -> None:
        await self.listener.drain(0.0)
        await self.spool.stop()
        await self.own.close()
        await self.state.close()
        self.service.close()


@pytest.fixture
def beside(ground: Ground, tmp_path: Path) -> Iterator[Beside]:
    beside = ground.run(_begun(ground, tmp_path, spool_bytes=0))
    yield beside
    ground.run(beside.end())


@pytest.fixture
def spooling(ground: Ground, tmp_path: Path) -> Iterator[Beside]:
    """One that keeps what cannot be stored."""
    spooling = ground.run(_begun(ground, tmp_path, spool_bytes=1 << 30))
    yield spooling
    ground.run(spooling.end())


async def _begun(ground: Ground, folder: Path, *, spool_bytes: int) -> Beside:
    files = Settings(store=f"file://{folder}/objects", index=f"sqlite://{folder}/index.db")
    settings = BridgeSettings(
        port=0,
        state=folder / "state",
        own=files,
        archive=ArchiveSettings(url="http://127.0.0.1:9/dicom-web"),  # where nobody is
        spool=SpoolSettings(size_bytes=spool_bytes, reserve_bytes=0, pause_s=0.01, longest_pause_s=0.05),
    )
    state = StateFolder.open(settings.state)
    faults = folder / "faults"
    faults.mkdir()
    faulty = (sys.executable, "-m", "tests.dimse.spool.faulty_porter", str(faults))
    own, remote = OwnArchive(files, program=faulty), RemoteArchive(settings.archive)
    await own.open()
    spool = Spool(settings, remote, own)
    await spool.start()
    listener = Listener(settings, [Store(remote, None, spool)], lambda report: None)
    _, port = await listener.start()
    return Beside(ground, files, settings, state, own, spool, listener, port, open_archive(files), faults)


@pytest.mark.parametrize("size_bytes", _SIZES)
def test_the_service_finds_each_instance_byte_for_byte(beside: Beside, size_bytes: int):
    study = a_uid()
    instance = of_study(study, size_bytes)

    assert beside.send(instance) == [0x0000]

    assert beside.held(study) == [_head_of(instance) + instance.data]


@pytest.mark.parametrize("size_bytes", [2_000, 3_000_000])
def test_the_same_instance_again_is_stored_and_another_under_its_uid_is_not(beside: Beside, size_bytes: int):
    study = a_uid()
    instance = of_study(study, size_bytes)
    other = of_study(study, size_bytes, instance.instance)

    assert beside.send(instance, instance, other) == [0x0000, 0x0000, 0x0111]

    assert [one.endswith(instance.data) for one in beside.held(study)] == [True]
    assert len(beside.files) == 1


@pytest.mark.parametrize("size_bytes", [2_000, 3_000_000])
def test_what_is_no_data_set_is_refused_and_leaves_nothing(beside: Beside, size_bytes: int):
    whole = of_study(a_uid(), size_bytes)
    cut = Instance(whole.sop_class, whole.instance, whole.data[:-20])

    assert beside.send(cut) == [0xC000]

    assert beside.files == []


@pytest.mark.parametrize("sent", [1_000, 900_000, 2_500_000])
def test_an_instance_that_does_not_arrive_whole_leaves_nothing(beside: Beside, sent: int):
    study = a_uid()
    instance = of_study(study, 3_000_000)

    with RawPeer(("127.0.0.1", beside.port)) as peer:
        peer.associate(a_context())
        command = a_command(
            Operation.C_STORE,
            has_data=True,
            AFFECTED_SOP_CLASS=instance.sop_class,
            AFFECTED_SOP_INSTANCE=instance.instance,
        )
        peer.send(p_data(1, command, command=True, last=True))
        for start in range(0, sent, 16_000):
            peer.send(p_data(1, instance.data[start : start + 16_000], command=False, last=False))
    beside.ground.run(_until(lambda: beside.listener.associations == 0 and beside.files == []))

    with pytest.raises(NotFound):
        beside.held(study)
    assert beside.send(instance) == [0x0000]


def test_many_associations_at_once_lose_nothing(beside: Beside):
    study = a_uid()
    shares = [[of_study(study, 60_000) for _ in range(6)] for _ in range(8)]
    answered: list[list[int]] = []
    senders = [
        threading.Thread(target=lambda share=share: answered.append(beside.send(*share))) for share in shares
    ]

    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    assert answered == [[0x0000] * 6] * 8
    assert len(beside.held(study)) == 48


def test_a_store_that_is_gone_is_out_of_resources(beside: Beside):
    study = a_uid()
    folder = Path(beside.settings.store.removeprefix("file://"))
    shutil.rmtree(folder)
    folder.write_bytes(b"")  # no folder can be made here

    assert beside.send(of_study(study)) == [0xA700]

    folder.unlink()
    folder.mkdir()
    (folder / ".incoming").mkdir()
    assert beside.send(of_study(study)) == [0x0000]


def test_what_cannot_be_stored_is_kept_and_stored_later(spooling: Beside):
    study = a_uid()
    folder = Path(spooling.settings.store.removeprefix("file://"))
    shutil.rmtree(folder)
    folder.write_bytes(b"")

    assert spooling.send(of_study(study), of_study(study, 2_000_000)) == [0x0000, 0x0000]
    assert len(spooling.spool.lanes) == 2

    folder.unlink()
    (folder / ".incoming").mkdir(parents=True)
    spooling.ground.run(_until(lambda: not len(spooling.spool.lanes)))
    assert len(spooling.held(study)) == 2


def test_a_disk_that_hangs_is_not_waited_for_without_end(beside: Beside):
    study = a_uid()
    instance = of_study(study)
    hanging = beside.faults / "hang"
    hanging.touch()

    with pytest.raises(UpstreamTimeout):
        beside.store(instance, within_s=0.05)
    # and: nothing is entered before that is done, which could take the place of what comes later
    other = of_study(study, 3_000, instance.instance)
    with pytest.raises(UpstreamTimeout):
        beside.store(other, within_s=0.05)
    hanging.unlink()

    beside.ground.run(_until(lambda: _is_there(beside, study)))
    assert beside.send(other) == [0x0111]
    assert beside.held(study) == [_head_of(instance) + instance.data]


def test_a_fault_of_our_own_is_a_failure_that_leaves_nothing_open(beside: Beside):
    open_files = len(list((beside.porter / "fd").iterdir()))
    study = a_uid()

    (beside.faults / "fail").touch()
    assert beside.send(of_study(study), of_study(study, 3_000_000)) == [0x0110, 0x0110]
    (beside.faults / "fail").unlink()

    assert beside.files == []
    assert len(list((beside.porter / "fd").iterdir())) <= open_files + 4  # those of the index
    assert beside.send(of_study(study)) == [0x0000]


def test_an_instance_larger_than_what_is_shared_goes_in_whole(beside: Beside):
    study = a_uid()
    instance = of_study(study, 5_000_002)

    stored = beside.store(instance)

    assert isinstance(stored, Stored)
    assert beside.held(study) == [_head_of(instance) + instance.data]


def test_what_the_porter_was_at_when_it_died_is_refused_and_another_one_goes_on(beside: Beside):
    study = a_uid()
    first = beside.porter
    dying = beside.faults / "die"
    dying.touch()

    assert beside.send(of_study(study), of_study(study, 3_000_000)) == [0xA700, 0xA700]

    dying.unlink()
    _wait_for(lambda: beside.own.process is not None and beside.porter != first)
    _wait_for(lambda: beside.send(of_study(study)) == [0x0000])  # not before it has opened the archive
    assert _is_there(beside, study)


def test_the_spool_keeps_what_the_porter_was_at_when_it_died(spooling: Beside):
    study = a_uid()
    dying = spooling.faults / "die"
    dying.touch()

    assert spooling.send(of_study(study), of_study(study, 3_000_000)) == [0x0000, 0x0000]

    dying.unlink()
    spooling.ground.run(_until(lambda: not len(spooling.spool.lanes)))
    assert len(spooling.held(study)) == 2


def test_a_porter_that_is_killed_at_rest_is_begun_again(beside: Beside):
    study = a_uid()
    assert beside.own.process is not None
    first = beside.porter

    os.kill(beside.own.process, signal.SIGKILL)

    _wait_for(lambda: beside.own.process is not None and beside.porter != first)
    _wait_for(lambda: beside.send(of_study(study)) == [0x0000])  # not before it has opened the archive
    assert _is_there(beside, study)


def test_a_porter_does_not_outlive_its_bridge(tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", _A_BRIDGE, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as bridge:
        assert bridge.stdout is not None
        porter = Path(f"/proc/{bridge.stdout.readline().strip()}")
        assert b"bridge.porter" in (porter / "cmdline").read_bytes()
        ended = os.pidfd_open(int(porter.name))
        bridge.kill()

        assert select.select([ended], [], [], 60)[0]
        os.close(ended)


def test_a_porter_that_cannot_open_the_archive_says_why(ground: Ground, tmp_path: Path):
    (tmp_path / "objects").write_bytes(b"")
    own = OwnArchive(Settings(store=f"file://{tmp_path}/objects", index=f"sqlite://{tmp_path}/index.db"))

    with pytest.raises(SettingError, match="ISTHMUS_STORE"):
        ground.run(own.open())

    ground.run(own.close())


_A_BRIDGE = """
import asyncio, sys
from bridge.archive.own import OwnArchive
from service.settings import Settings

async def run():
    own = OwnArchive(Settings(store=f"file://{sys.argv[1]}/objects", index=f"sqlite://{sys.argv[1]}/index.db"))
    await own.open()
    print(own.process, flush=True)
    await asyncio.sleep(600)

asyncio.run(run())
"""


def _head_of(instance: Instance) -> bytes:
    return file_head(instance.sop_class, instance.instance, "1.2.840.10008.1.2.1", source_ae_title="RAW-SCU")


class _Ended:
    """A body of which all has come."""

    at_end = True

    async def read(self, at_least: int = 1) -> list[bytes]:
        return []


def _wait_for(reached: Callable[[], object]) -> None:
    """Return when something is so, looked at from outside of the loop."""
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _is_there(beside: Beside, study: str) -> bool:
    try:
        return bool(beside.held(study))
    except NotFound:
        return False


async def _until(reached: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not reached():
            await asyncio.sleep(0.005)
