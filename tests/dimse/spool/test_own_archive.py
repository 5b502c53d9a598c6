"""A bridge beside the files of the archive stores in them itself, as the service would."""

import shutil
import threading
from pathlib import Path

import pytest

from bridge.upper.command import Operation
from service.archive.port import Stored
from service.dicom.errors import NotFound
from tests.dimse.dimse_peers import Instance, RawPeer, a_command, a_context, a_uid, p_data
from tests.dimse.spool.beside import Beside, head_of, until, wait_for
from tests.dimse.spool.spooling import of_study

_SIZES = [0, 2_000, 527_000, (1 << 20) - 700, (1 << 20) + 2, 5_000_002]


@pytest.mark.parametrize("size_bytes", _SIZES)
def test_the_service_finds_each_instance_byte_for_byte(beside: Beside, size_bytes: int):
    study = a_uid()
    instance = of_study(study, size_bytes)

    assert beside.send(instance) == [0x0000]

    assert beside.held(study) == [head_of(instance) + instance.data]


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
    beside.ground.run(until(lambda: beside.listener.associations == 0 and beside.files == []))

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
    spooling.ground.run(until(lambda: not len(spooling.spool.lanes)))
    assert len(spooling.held(study)) == 2


def test_a_fault_of_our_own_is_a_failure_that_leaves_nothing_open(beside: Beside):
    open_files = len(list((beside.porter / "fd").iterdir()))
    study = a_uid()

    (beside.faults / "fail").touch()
    assert beside.send(of_study(study), of_study(study, 3_000_000)) == [0x0110, 0x0110]
    (beside.faults / "fail").unlink()

    assert beside.files == []
    # but for those of the index
    wait_for(lambda: len(list((beside.porter / "fd").iterdir())) <= open_files + 4)
    assert beside.send(of_study(study)) == [0x0000]


def test_an_instance_larger_than_what_is_shared_goes_in_whole(beside: Beside):
    study = a_uid()
    instance = of_study(study, 5_000_002)

    stored = beside.store(instance)

    assert isinstance(stored, Stored)
    assert beside.held(study) == [head_of(instance) + instance.data]
