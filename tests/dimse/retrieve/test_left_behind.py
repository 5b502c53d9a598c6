"""What many retrievals at a time, cut off at every moment, leave behind: nothing."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.archive.budget import Budget
from bridge.peers import Peer
from bridge.upper.command import Operation
from tests.dimse.committing import unused_port
from tests.dimse.dimse_peers import CT_IMAGE, EXPLICIT_LE, PATIENCE_S, RawPeer
from tests.dimse.retrieve.retrieving import STUDY_GET, STUDY_MOVE, asked, fetched, moved
from tests.dimse.retrieve.test_drained_retrieves import asking
from tests.dimse.retrieve.test_troubles import a_series, stored

CT = [(CT_IMAGE, [EXPLICIT_LE])]


@pytest.mark.parametrize("whole_bytes", [8 << 20, 10_000])
def test_askers_that_vanish_leave_no_task_no_room_and_no_descriptor(
    start, served, destination, ground, whole_bytes: int
):
    objects = a_series(20, 50_000)
    stored(served, objects)
    dest = destination(CT)
    bridge = start(dest.peer(), whole_bytes=whole_bytes, held_bytes=1 << 20)
    (retrieve,) = bridge.listener._by_operation[Operation.C_MOVE]

    def vanish(number: int) -> None:
        with RawPeer(bridge.address) as peer:
            asking(peer, STUDY_MOVE if number % 2 else STUDY_GET, objects[0].study)
            for _ in range(min(1, number // 2 % 4) if number % 2 else number // 2 % 6):
                peer.next_pdu()

    async def settled(tasks: int) -> bool:
        for _ in range(int(PATIENCE_S / 0.01)):
            if not bridge.listener.associations and len(asyncio.all_tasks()) <= tasks:
                return True
            await asyncio.sleep(0.01)
        return False

    before, descriptors = ground.run(_tasks()), len(list(Path("/proc/self/fd").iterdir()))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(vanish, range(48)))

    assert ground.run(settled(before + 1))
    assert retrieve._objects._budget.left == 1 << 20
    assert len(list(Path("/proc/self/fd").iterdir())) < descriptors + 100


async def _tasks() -> int:
    return len(asyncio.all_tasks())


def test_many_at_once_share_what_may_be_held(start, served, destination):
    objects = a_series(12, 50_000)
    identifier = stored(served, objects)
    instances = asked("IMAGE", SOPInstanceUID=[one.instance for one in objects])
    dest = destination(CT)
    bridge = start(dest.peer(), whole_bytes=60_000, held_bytes=120_000)

    with ThreadPoolExecutor(10) as pool:
        gets = [pool.submit(fetched, bridge.port, instances, CT) for _ in range(6)]
        moves = [pool.submit(moved, bridge.port, identifier) for _ in range(4)]
        answers = [each.result() for each in (*gets, *moves)]

    assert {(answer.status, answer.counts) for answer in answers} == {(0x0000, (12, 0, 0))}
    assert all({one.data for one in answer.got} == {one.data for one in objects} for answer in answers[:6])
    assert len(dest.got) == 48


def test_a_move_to_ourselves_ends(start, served):
    objects = a_series(3)
    identifier = stored(served, objects)
    bridge = start(Peer("self", "ISTHMUS", "127.0.0.1", port := unused_port()), port=port)

    answer = moved(bridge.port, identifier, to="ISTHMUS")

    assert (answer.status, answer.counts) == (0x0000, (3, 0, 0))


def test_room_is_not_given_to_who_has_just_been_called_off():
    async def take() -> int:
        budget = Budget(10)
        held = await budget.room(10)
        waiting = [asyncio.create_task(budget.room(5)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()  # and has not run since
        held.close()
        for room in await asyncio.gather(*waiting[1:]):
            room.close()
        await asyncio.wait(waiting)
        return budget.left

    assert asyncio.run(take()) == 10
