"""The process that enters objects for the bridge: what becomes of them when it, or the disk, fails."""

import asyncio
import fcntl
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.archive.own import OwnArchive
from service.archive.port import Outcome
from service.dicom.errors import ArchiveError, StoreUnavailable, UpstreamFailed, UpstreamTimeout
from service.environment import SettingError
from service.settings import Settings
from tests.dimse.control.controlled import asked
from tests.dimse.dimse_peers import Ground, a_uid
from tests.dimse.spool.beside import (
    Beside,
    Ended,
    begun,
    head_of,
    is_there,
    until,
    wait_for,
    waits_for_a_lock,
)
from tests.dimse.spool.spooling import of_study


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

    beside.ground.run(until(lambda: is_there(beside, study)))
    assert beside.send(other) == [0x0111]
    assert beside.held(study) == [head_of(instance) + instance.data]


def test_who_waits_for_a_hanging_disk_behind_others_is_told_as_well(beside: Beside):
    hanging = beside.faults / "hang"
    hanging.touch()

    async def store_many() -> list[Outcome | BaseException]:
        stores = [
            beside.own.store(head_of(one), [one.data], Ended(), within_s=0.2)
            for one in (of_study(a_uid()) for _ in range(30))  # more than there is room for in the porter
        ]
        return await asyncio.gather(*stores, return_exceptions=True)

    told = beside.ground.run(store_many())
    hanging.unlink()

    assert {type(one) for one in told} == {UpstreamTimeout}
    wait_for(lambda: beside.send(of_study(a_uid())) == [0x0000])


def test_a_bridge_ends_although_the_disk_hangs(ground: Ground, tmp_path: Path):
    beside = ground.run(begun(ground, tmp_path, spool_bytes=0))
    (beside.faults / "hang").touch()
    with pytest.raises(UpstreamTimeout):
        beside.store(of_study(a_uid()), within_s=0.05)
    ended = os.pidfd_open(int(beside.porter.name))

    ground.run(beside.end())

    assert select.select([ended], [], [], 60)[0]
    os.close(ended)


def test_a_porter_waits_for_one_that_an_earlier_bridge_has_left(ground: Ground, tmp_path: Path):
    files = Settings(store=f"file://{tmp_path}/objects", index=f"sqlite://{tmp_path}/index.db")
    own = OwnArchive(files, tmp_path / "porter.lock")
    with (tmp_path / "porter.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        opening = ground.begin(own.open())
        wait_for(lambda: own.process is not None and waits_for_a_lock(own.process))
        assert not opening.done()

    opening.result(60)
    ground.run(own.close())


def test_a_bridge_that_waits_for_that_can_be_told_to_end(tmp_path: Path):
    state = tmp_path / "state"
    state.mkdir()
    environ = {
        **os.environ,
        "ISTHMUS_BRIDGE_STORES_BY": "itself",
        "ISTHMUS_STORE": f"file://{tmp_path}/objects",
        "ISTHMUS_INDEX": f"sqlite://{tmp_path}/index.db",
        "ISTHMUS_BRIDGE_STATE": str(state),
        "ISTHMUS_DIMSE_PORT": "0",
        "ISTHMUS_BRIDGE_PORT": "0",
    }
    with (state / "porter.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with subprocess.Popen([sys.executable, "-m", "bridge"], env=environ) as bridge:
            children = Path(f"/proc/{bridge.pid}/task/{bridge.pid}/children")
            wait_for(lambda: any(map(waits_for_a_lock, map(int, children.read_text().split()))))
            (porter,) = map(int, children.read_text().split())
            ended = os.pidfd_open(porter)

            bridge.terminate()

            assert bridge.wait(60) == 0
            assert select.select([ended], [], [], 60)[0]
            os.close(ended)


def test_an_object_that_one_porter_has_begun_is_not_gone_on_with_by_the_next(beside: Beside):
    instance = of_study(a_uid(), 3_000_000)
    middle = 1_500_000
    first = beside.own.process or 0

    class Interrupted(Ended):
        at_end = False

        async def read(self, at_least: int = 1) -> list[bytes]:
            if self.at_end:
                return []
            os.kill(first, signal.SIGKILL)
            await until(lambda: beside.own.process not in (None, first) and beside.own.is_open)
            self.at_end = True
            return [instance.data[middle:]]

    with pytest.raises(ArchiveError) as told:
        beside.ground.run(
            beside.own.store(head_of(instance), [instance.data[:middle]], Interrupted(), within_s=60.0)
        )

    assert isinstance(told.value, UpstreamFailed | StoreUnavailable)
    assert beside.send(instance) == [0x0000]


def test_a_porter_that_cannot_answer_ends_so_that_nobody_waits_for_it(beside: Beside):
    mute = beside.faults / "mute"
    mute.touch()

    assert beside.send(of_study(a_uid())) == [0xA700]

    mute.unlink()
    wait_for(lambda: beside.send(of_study(a_uid())) == [0x0000])


def test_a_porter_is_our_own_code_whatever_the_working_folder_holds(tmp_path: Path):
    (tmp_path / "bridge").mkdir()
    (tmp_path / "bridge" / "__init__.py").write_text("raise SystemExit(3)")
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-c",
            f"import sys; sys.path.insert(0, {str(root)!r}){_A_BRIDGE}",
            str(tmp_path),
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as bridge:
        assert bridge.stdout is not None
        assert bridge.stdout.readline().strip().isdigit()
        bridge.kill()


def test_what_the_porter_was_at_when_it_died_is_refused_and_another_one_goes_on(beside: Beside):
    study = a_uid()
    first = beside.porter
    dying = beside.faults / "die"
    dying.touch()

    assert beside.send(of_study(study), of_study(study, 3_000_000)) == [0xA700, 0xA700]

    dying.unlink()
    wait_for(lambda: beside.own.process is not None and beside.porter != first)
    wait_for(lambda: beside.send(of_study(study)) == [0x0000])  # not before it has opened the archive
    assert is_there(beside, study)


def test_the_spool_keeps_what_the_porter_was_at_when_it_died(spooling: Beside):
    study = a_uid()
    dying = spooling.faults / "die"
    dying.touch()

    assert spooling.send(of_study(study), of_study(study, 3_000_000)) == [0x0000, 0x0000]

    dying.unlink()
    spooling.ground.run(until(lambda: not len(spooling.spool.lanes)))
    assert len(spooling.held(study)) == 2


def test_a_porter_that_is_killed_at_rest_is_begun_again(beside: Beside):
    study = a_uid()
    assert beside.own.process is not None
    first = beside.porter

    os.kill(beside.own.process, signal.SIGKILL)

    wait_for(lambda: beside.own.process is not None and beside.porter != first)
    wait_for(lambda: beside.send(of_study(study)) == [0x0000])  # not before it has opened the archive
    assert is_there(beside, study)


def test_a_bridge_is_not_ready_while_nothing_can_be_entered(beside: Beside):
    before = asked(f"http://127.0.0.1:{beside.control.address[1]}/readyz").json["because"]
    beside.ground.run(beside.own.close())

    told = asked(f"http://127.0.0.1:{beside.control.address[1]}/readyz")

    assert "enters" not in before  # there is no service in these tests
    assert told.status == 503
    assert "enters" in told.json["because"]


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
    nowhere = Settings(store=f"file://{tmp_path}/objects", index=f"sqlite://{tmp_path}/index.db")
    own = OwnArchive(nowhere, tmp_path / "porter.lock")

    with pytest.raises(SettingError, match="ISTHMUS_STORE"):
        ground.run(own.open())

    ground.run(own.close())


_A_BRIDGE = """
import asyncio, pathlib, sys
from bridge.archive.own import OwnArchive
from service.settings import Settings

async def run():
    settings = Settings(store=f"file://{sys.argv[1]}/objects", index=f"sqlite://{sys.argv[1]}/index.db")
    own = OwnArchive(settings, pathlib.Path(sys.argv[1], "porter.lock"))
    await own.open()
    print(own.process, flush=True)
    await asyncio.sleep(600)

asyncio.run(run())
"""
