"""C-MOVE and C-GET when the archive, the destination or the asker fails, or changes its mind."""

import asyncio
import struct
import threading
import time
from typing import Any

import pytest
from pynetdicom import AE, build_role, evt

from bridge.upper.associate import Role, UserInformation
from bridge.upper.command import Command, Operation, Tag, decode
from tests.dimse.dimse_peers import (
    CT_IMAGE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    PATIENCE_S,
    RawPeer,
    a_command,
    a_context,
    a_uid,
    p_data,
)
from tests.dimse.retrieve.retrieving import (
    STUDY_MOVE,
    Cut,
    an_object,
    asked,
    fetched,
    moved,
)

CT = [(CT_IMAGE, [EXPLICIT_LE])]


def a_series(count: int, size_bytes: int = 512, **given):
    """Objects in the order in which the archive lists them."""
    study, series, root = given.pop("study", None) or a_uid(), a_uid(), a_uid()
    return [
        an_object(size_bytes, study=study, series=series, instance=f"{root}.1{number:04}", **given)
        for number in range(count)
    ]


def stored(served, objects):
    served.keep(one.part10 for one in objects)
    return asked(StudyInstanceUID=objects[0].study)


@pytest.mark.parametrize("after", [0, 100, 3000, 20000])
def test_an_answer_that_breaks_off_is_resumed_instance_by_instance(start, served, destination, after):
    objects = a_series(20, 2000)
    identifier = stored(served, objects)
    served.trouble = lambda scope, number: Cut(after) if scope["path"].endswith(objects[0].series) else None
    dest = destination(CT)
    bridge = start(dest.peer())

    answer = moved(bridge.port, identifier)

    assert (answer.status, answer.counts) == (0x0000, (20, 0, 0))
    assert {one.data for one in dest.got} == {one.data for one in objects}
    assert len(dest.got) == 20


def test_an_instance_that_breaks_off_is_asked_for_once_more(start, served, destination):
    objects = a_series(1, 5000)
    identifier = stored(served, objects)
    served.trouble = lambda scope, number: Cut(700) if "instances/" in scope["path"] and number == 1 else None
    dest = destination(CT)
    bridge = start(dest.peer())

    assert moved(bridge.port, identifier).status == 0x0000
    assert dest.got[0].data == objects[0].data


def test_an_instance_that_always_breaks_off_fails_alone_and_nothing_of_it_is_sent(start, served, destination):
    objects = a_series(5, 5000)
    identifier = stored(served, objects)
    bad = objects[2].instance
    series = objects[0].series
    served.trouble = lambda scope, number: Cut(900) if scope["path"].endswith((bad, series)) else None
    dest = destination(CT)
    bridge = start(dest.peer())

    answer = moved(bridge.port, identifier)

    assert (answer.status, answer.counts) == (0xB000, (4, 1, 0))
    assert answer.failures == [bad]
    assert dest.associations == 1


@pytest.mark.parametrize("part", ["/instances", "series", "instances/"])
def test_a_busy_archive_is_waited_for(start, served, destination, part):
    objects = a_series(3)
    identifier = stored(served, objects)

    def trouble(scope, number):
        last = scope["path"].rsplit("/", 2)
        busy = {
            "/instances": scope["path"].endswith("/instances"),
            "series": last[1] == "series",
            "instances/": last[1] == "instances",
        }[part]
        if part == "instances/" and last[1] == "series":
            return 503
        return 503 if busy and number <= 2 else None

    served.trouble = trouble
    dest = destination(CT)
    bridge = start(dest.peer())

    answer = moved(bridge.port, identifier)

    assert (answer.status, answer.counts) == (0x0000, (3, 0, 0))


def test_an_archive_that_stays_busy_is_given_up(start, served, destination):
    objects = a_series(60)
    identifier = stored(served, objects)
    served.trouble = lambda scope, number: None if scope["path"].endswith("/instances") else 503
    dest = destination(CT)
    bridge = start(dest.peer(), busy_s=0.2)

    answer = moved(bridge.port, identifier)

    assert (answer.status, answer.counts) == (0xA702, (0, 60, 0))
    assert len({one["path"] for one in served.gets(of="")}) < 30


@pytest.mark.parametrize(
    ("status", "expected"), [(503, 0xA701), (500, 0xA701), (401, 0x0124), (403, 0x0124), (400, 0xA900)]
)
@pytest.mark.parametrize("way", ["move", "get"])
def test_matches_that_cannot_be_found_are_no_sub_operations(
    start, served, destination, way, status, expected
):
    served.trouble = lambda scope, number: status
    dest = destination(CT)
    bridge = start(dest.peer())
    identifier = asked(StudyInstanceUID="1.2.3")

    answer = moved(bridge.port, identifier) if way == "move" else fetched(bridge.port, identifier, CT)

    assert answer.status == expected
    assert answer.final.ErrorComment
    assert dest.associations == 0


def test_an_archive_that_is_not_there_is_a701(start, served, destination):
    dest = destination(CT)
    bridge = start(dest.peer(), url="http://127.0.0.1:9/dicom-web")

    assert moved(bridge.port, asked(StudyInstanceUID="1.2.3")).status == 0xA701


def test_a_destination_that_dies_once_gets_its_instance_again(start, served, destination):
    objects = a_series(10)
    identifier = stored(served, objects)
    seen: list[str] = []

    def status(dest, instance):
        seen.append(instance)
        if len(seen) == 4:
            dest.assoc.abort()
        return 0

    dest = destination(CT, status=status)
    bridge = start(dest.peer())

    answer = moved(bridge.port, identifier)

    assert (answer.status, answer.counts) == (0x0000, (10, 0, 0))
    assert dest.associations == 2
    assert len(seen) == 11 and seen[3] == seen[4]


def test_an_instance_at_which_the_destination_always_dies_fails_alone(start, served, destination):
    objects = a_series(10)
    identifier = stored(served, objects)
    deadly = objects[4].instance

    def status(dest, instance):
        if instance == deadly:
            dest.assoc.abort()
        return 0

    dest = destination(CT, status=status)
    bridge = start(dest.peer())

    answer = moved(bridge.port, identifier)

    assert (answer.status, answer.counts) == (0xB000, (9, 1, 0))
    assert answer.failures == [deadly]
    assert dest.associations == 3


def test_a_destination_that_dies_at_each_instance_is_given_up(start, served, destination):
    objects = a_series(30)
    identifier = stored(served, objects)

    def status(dest, instance):
        dest.assoc.abort()
        return 0

    dest = destination(CT, status=status)
    bridge = start(dest.peer())

    answer = moved(bridge.port, identifier)

    assert (answer.status, answer.counts) == (0xA702, (0, 30, 0))
    assert dest.associations == 6


def test_a_destination_that_goes_away_fails_what_is_left(start, served, destination):
    objects = a_series(10)
    identifier = stored(served, objects)
    seen: list[str] = []

    def status(dest, instance):
        seen.append(instance)
        if len(seen) == 4:
            dest.close()
            dest.assoc.abort()
        return 0

    dest = destination(CT, status=status)
    bridge = start(dest.peer())

    answer = moved(bridge.port, identifier)

    completed, failed, _ = answer.counts
    assert completed + failed == 10 and completed >= 3 and failed >= 1
    assert answer.status == 0xB000


def test_a_destination_that_does_not_answer_is_given_up_in_time(start, served, destination):
    objects = a_series(1)
    identifier = stored(served, objects)
    answered = threading.Event()

    def status(dest, instance):
        answered.wait(PATIENCE_S)
        return 0

    dest = destination(CT, status=status)
    bridge = start(dest.peer(timeout_s=0.3))

    answer = moved(bridge.port, identifier)
    answered.set()

    assert (answer.status, answer.counts) == (0xA702, (0, 1, 0))


def cancelling(port: int, identifier, *, after: threading.Event, cancelled: threading.Event, way: str):
    """All responses to a retrieval that is cancelled as soon as `after` is set, and then `cancelled`."""
    model = STUDY_MOVE if way == "move" else STUDY_MOVE[:-1] + "3"
    with RawPeer(("127.0.0.1", port)) as peer:
        user = UserInformation(
            max_length=16384, implementation_class="1.2.3", roles=(Role(CT_IMAGE, False, True),)
        )
        peer.associate(a_context(1, model, IMPLICIT_LE), a_context(3, CT_IMAGE, EXPLICIT_LE), user=user)
        told: dict[str, int | str] = {"affected_sop_class": model, "priority": 0}
        if way == "move":
            told["move_destination"] = "DEST"
        operation = Operation.C_MOVE if way == "move" else Operation.C_GET
        peer.send(p_data(1, a_command(operation, has_data=True, **told), command=True))
        peer.send(p_data(1, identifier, command=False))
        return list(_responses(peer, after, cancelled, way))


def _responses(peer, after, cancelled, way):
    cancel = a_command(Operation.C_CANCEL, has_data=False, responded_message_id=1)
    stored_ones = 0
    data = bytearray()
    while True:
        kind, body = peer.next_pdu()
        assert kind == 4
        if not body[5] & 1:
            data += body[6:]
            continue
        command = decode(body[6:])
        if command.field == Operation.C_STORE:
            stored_ones += 1
            if stored_ones == 3:
                after.set()
            if after.is_set() and not cancelled.is_set():
                peer.send(p_data(1, cancel, command=True))
                cancelled.set()
            while True:
                kind, body = peer.next_pdu()
                if body[5] & 2:
                    break
            peer.send(p_data(3, command.answered(0).encode(), command=True))
            continue
        yield command, bytes(data)
        if way == "move" and not cancelled.is_set():
            assert after.wait(PATIENCE_S)
            peer.send(p_data(1, cancel, command=True))
            cancelled.set()
        if command.status != 0xFF00:
            if command.has_data:
                peer.next_pdu()
            return


def implicit(tag: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


@pytest.mark.parametrize("way", ["move", "get"])
def test_a_cancel_is_minded_between_two_instances(start, served, destination, way):
    objects = a_series(50)
    stored(served, objects)
    third, go_on = threading.Event(), threading.Event()
    seen: list[str] = []

    def status(dest, instance):
        seen.append(instance)
        if len(seen) == 3:
            third.set()
            assert go_on.wait(PATIENCE_S)
        return 0

    dest = destination(CT, status=status)
    bridge = start(dest.peer())
    identifier = implicit(0x00080052, b"STUDY ") + implicit(0x0020000D, objects[0].study.encode())

    responses = cancelling(bridge.port, identifier, after=third, cancelled=go_on, way=way)

    final, _ = responses[-1]
    assert isinstance(final, Command) and final.status == 0xFE00
    completed, remaining = final.number(Tag.COMPLETED), final.number(Tag.REMAINING)
    assert 3 <= completed < 50 and completed + remaining == 50
    assert final.number(Tag.FAILED) == 0
    if way == "move":
        assert len(dest.got) == completed


def test_an_asker_that_is_gone_stops_the_retrieval_behind_the_instance_in_flight(start, served, destination):
    objects = a_series(50)
    identifier = stored(served, objects)
    asker = AE(ae_title="ASKER")
    asker.add_requested_context(STUDY_MOVE, [IMPLICIT_LE])
    seen: list[str] = []
    gone = threading.Event()

    def status(dest, instance):
        seen.append(instance)
        if len(seen) == 3:
            association.abort()
            assert gone.wait(PATIENCE_S)
            time.sleep(0.05)  # for the bridge to see the end of the connection
        return 0

    dest = destination(CT, status=status)
    bridge = start(dest.peer())
    handlers: list[Any] = [(evt.EVT_CONN_CLOSE, lambda event: gone.set())]
    association = asker.associate("127.0.0.1", bridge.port, evt_handlers=handlers)
    association.send_c_move(identifier, "DEST", STUDY_MOVE)

    report = bridge.report()

    assert report.objects == 3
    assert len(seen) == 3


def test_a_requestor_of_a_get_that_is_gone_ends_it(start, served):
    objects = a_series(50)
    identifier = stored(served, objects)
    bridge = start()
    asker = AE(ae_title="ASKER")
    asker.dimse_timeout = 1
    asker.add_requested_context("1.2.840.10008.5.1.4.1.2.2.3", [IMPLICIT_LE])
    asker.add_requested_context(CT_IMAGE, [EXPLICIT_LE])
    seen: list[str] = []

    def store(event):
        seen.append(event.request.AffectedSOPInstanceUID)
        if len(seen) == 3:
            event.assoc.abort()
        return 0

    association = asker.associate(
        "127.0.0.1",
        bridge.port,
        ext_neg=[build_role(CT_IMAGE, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    list(association.send_c_get(identifier, "1.2.840.10008.5.1.4.1.2.2.3"))

    assert bridge.report().result == "aborted by peer"
    assert moved(bridge.port, identifier).status == 0xA801


def test_larger_instances_are_streamed_and_resumed_where_they_broke_off(start, served, destination):
    objects = a_series(3, 300_000)
    identifier = stored(served, objects)
    cut = objects[1].instance
    served.trouble = lambda scope, number: (
        Cut(150_000 // number) if scope["path"].endswith(cut) and number <= 2 else None
    )
    dest = destination(CT)
    bridge = start(dest.peer(), whole_bytes=100_000)

    answer = moved(bridge.port, identifier)

    assert (answer.status, answer.counts) == (0x0000, (3, 0, 0))
    assert {one.data for one in dest.got} == {one.data for one in objects}
    assert dest.associations == 1
    ranges = [one.get("range") for one in served.gets(of=cut)]
    assert ranges[0] is None and ranges[1:] == [f"bytes={n}-" for n in (150_000, 225_000)]


def test_a_large_instance_that_cannot_be_resumed_costs_an_association_of_a_move_and_nothing_else(
    start, served, destination
):
    objects = a_series(4, 300_000)
    identifier = stored(served, objects)
    cut = objects[1].instance
    served.trouble = lambda scope, number: Cut(150_000, tagged=False) if scope["path"].endswith(cut) else None
    dest = destination(CT)
    bridge = start(dest.peer(), whole_bytes=100_000)

    answer = moved(bridge.port, identifier)

    assert (answer.status, answer.counts) == (0xB000, (3, 1, 0))
    assert answer.failures == [cut]
    assert dest.associations == 2


def test_a_large_instance_is_sent_again_when_its_association_is_lost(start, served, destination):
    objects = a_series(2, 300_000)
    identifier = stored(served, objects)
    seen: list[str] = []

    def status(dest, instance):
        seen.append(instance)
        if len(seen) == 1:
            dest.assoc.abort()
        return 0

    dest = destination([(CT_IMAGE, [IMPLICIT_LE])], status=status)
    bridge = start(dest.peer(), whole_bytes=100_000)

    answer = moved(bridge.port, identifier)

    assert (answer.status, answer.counts) == (0x0000, (2, 0, 0))
    assert len(seen) == 3


def test_what_was_held_is_given_back_however_a_retrieval_ends(start, served, destination, ground):
    objects = a_series(30, 4000)
    identifier = stored(served, objects)
    bad = objects[7].instance
    served.trouble = lambda scope, number: Cut(900) if scope["path"].endswith(bad) else None
    seen: list[str] = []

    def status(dest, instance):
        seen.append(instance)
        if len(seen) in (3, 9):
            dest.assoc.abort()
        return 0xA700 if len(seen) % 5 == 0 else 0

    dest = destination(CT, status=status)
    bridge = start(dest.peer())
    (retrieve,) = bridge.listener._by_operation[Operation.C_MOVE]

    moved(bridge.port, identifier)
    moved(bridge.port, identifier, to="DEST")

    async def given_back() -> None:
        async with asyncio.timeout(PATIENCE_S):
            while retrieve._objects._budget.left < 256 << 20:
                await asyncio.sleep(0.005)

    ground.run(given_back())
    assert retrieve._objects._budget.left == 256 << 20
