"""C-STORE against archives and peers that fail: what was not stored is never said to be, nor half stored."""

import asyncio
import threading
from dataclasses import replace

import pytest
from aiohttp import web

from bridge.upper import pdu
from tests.dimse.dimse_peers import (
    PATIENCE_S,
    VERIFICATION,
    Archive,
    Bridge,
    Ground,
    Instance,
    RawPeer,
    StartBridge,
    a_context,
    a_store,
    an_echo,
    an_instance,
    data_set_of,
    p_data,
    still_serves,
    stow_answer,
)

SMALL = 100_000
PAST_THE_WINDOW = 1_300_000  # more than is kept for a replay
LONGEST = 131072


def associated(bridge: Bridge) -> RawPeer:
    peer = RawPeer(bridge.address)
    peer.associate(a_context(1), a_context(3, VERIFICATION))
    return peer


def store(peer: RawPeer, size_bytes: int = SMALL) -> int:
    peer.send(b"".join(a_store(an_instance(size_bytes))))
    return peer.response().status


def in_long_pdus(instance: Instance) -> list[bytes]:
    """A C-STORE request in PDUs as long as the bridge announces."""
    command, *_ = a_store(instance)
    room = LONGEST - 6
    starts = range(0, len(instance.data), room)
    return [command] + [
        p_data(
            1,
            instance.data[start : start + room],
            command=False,
            last=start + room >= len(instance.data),
            longest=LONGEST,
        )
        for start in starts
    ]


@pytest.mark.parametrize("how", ["closed", "aborted", "stalled"])
def test_a_large_instance_cut_at_any_pdu_is_not_stored(start_bridge: StartBridge, archive: Archive, how: str):
    bridge = start_bridge(pdu_s=0.2 if how == "stalled" else 20.0)
    pdus = in_long_pdus(an_instance(PAST_THE_WINDOW))
    assert len(pdus) > 10

    for count in range(1, len(pdus)):
        with associated(bridge) as peer:
            peer.send(b"".join(pdus[:count]))
            if how == "aborted":
                peer.send(pdu.abort(by_provider=False))
            elif how == "stalled":
                assert peer.next_pdu()[0] == pdu.Kind.ABORT
        expected = {"closed": "lost", "aborted": "aborted by peer", "stalled": "too slow"}
        assert bridge.report().result == expected[how]

    archive.wait_for(lambda: archive.broken == len(archive.requests))
    assert archive.requests
    assert archive.parts == []
    assert still_serves(bridge)


def test_an_instance_whose_sender_left_before_the_answer_is_sent_once(
    bridge: Bridge, archive: Archive, ground: Ground
):
    go_on, arrived = ground.run(_event()), threading.Event()

    async def answer_late(request: web.Request) -> web.StreamResponse:
        await archive.take(request)
        arrived.set()
        await go_on.wait()
        return web.Response(status=503)

    archive.behaviours = [answer_late]
    instance = an_instance(SMALL)
    with associated(bridge) as peer:
        peer.send(b"".join(a_store(instance)))
        assert arrived.wait(PATIENCE_S)
    ground.loop.call_soon_threadsafe(go_on.set)

    assert bridge.report().result == "lost"
    assert still_serves(bridge)
    assert [data_set_of(part) for part in archive.parts] == [instance.data] * len(archive.requests)


async def _event() -> asyncio.Event:
    return asyncio.Event()


def test_an_archive_that_stops_reading_is_given_up(
    start_bridge: StartBridge, archive: Archive, ground: Ground
):
    over = ground.run(_event())

    async def stop_reading(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.transport.pause_reading()
        await over.wait()
        return web.Response()

    bridge = start_bridge(answer_s=0.3)
    archive.behaviours = [stop_reading]
    with associated(bridge) as peer:
        status = store(peer, 32_000_000)
        ground.loop.call_soon_threadsafe(over.set)

        assert status == 0xA700
        # and: one that answers, however slowly
        bridge.remote._settings = replace(bridge.remote._settings, answer_s=PATIENCE_S)
        assert store(peer) == 0x0000
    assert len(archive.requests) == 2


def test_a_slow_archive_that_goes_on_reading_is_waited_for(start_bridge: StartBridge, archive: Archive):
    size_bytes = 32 << 20

    async def read_slowly(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        received = 0
        while not request.content.at_eof():
            received += len(await request.content.read(1 << 18))
            # all of it takes longer than one wait may, the last few megabytes do not
            await asyncio.sleep(0.035)
        assert received > size_bytes
        return web.json_response(stow_answer())

    bridge = start_bridge(answer_s=4.0)
    archive.behaviours = [read_slowly]
    with associated(bridge) as peer:
        assert store(peer, size_bytes) == 0x0000


@pytest.mark.parametrize("after_s", [None, "3600", "Sat, 01 Jan 2050 00:00:00 GMT", "soon", "-1"])
def test_how_long_an_archive_wants_to_be_left_alone_is_bounded(
    bridge: Bridge, archive: Archive, after_s: str | None
):
    headers = {} if after_s is None else {"Retry-After": after_s}
    archive.behaviours = [archive.answering(503, headers)]

    with associated(bridge) as peer:
        assert store(peer) == 0x0000

    assert len(archive.requests) == 2


def test_a_large_instance_refused_at_its_end_is_not_replayed(start_bridge: StartBridge, archive: Archive):
    bridge = start_bridge(replay_window_bytes=64_000)  # which what waits at a slow bridge cannot be in whole
    archive.behaviours = [archive.answering(503)]

    with associated(bridge) as peer:
        assert store(peer, PAST_THE_WINDOW) == 0xA700
        assert len(archive.requests) == 1
        assert store(peer, PAST_THE_WINDOW) == 0x0000


@pytest.mark.parametrize(("size_bytes", "status"), [(40_000, 0x0000), (1_000_000, 0xA700)])
def test_what_fits_the_window_is_replayed(
    start_bridge: StartBridge, archive: Archive, size_bytes: int, status: int
):
    async def hang_up_at_the_end(request: web.Request) -> web.StreamResponse:
        await archive.take(request)
        archive.parts.pop()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    bridge = start_bridge(replay_window_bytes=64_000)
    archive.behaviours = [hang_up_at_the_end]
    instance = an_instance(size_bytes)
    with associated(bridge) as peer:
        peer.send(b"".join(a_store(instance)))

        assert peer.response().status == status
    assert [data_set_of(part) for part in archive.parts] == ([] if status else [instance.data])
    assert len(archive.connections) == (1 if status else 2)


@pytest.mark.parametrize(
    "words",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{",
        b"\0\0\0",
    ],
)
def test_an_answer_that_is_none_is_no_success(bridge: Bridge, archive: Archive, words: bytes):
    async def babble(request: web.Request) -> web.StreamResponse:
        await request.read()
        assert request.transport is not None
        request.transport.write(words)
        request.transport.close()
        return web.Response()

    archive.behaviours = [babble, babble]
    with associated(bridge) as peer:
        assert store(peer) == 0xA700
        assert store(peer) == 0x0000
        peer.send(an_echo(3))
        assert peer.response().status == 0x0000


def test_instances_behind_one_that_fails_are_stored(bridge: Bridge, archive: Archive):
    sent = [an_instance(SMALL) for _ in range(4)]
    archive.behaviours = [archive.store, archive.answering(409, failure=0xC000), archive.store, archive.store]

    with associated(bridge) as peer:
        peer.send(b"".join(b"".join(a_store(instance, message_id=n)) for n, instance in enumerate(sent)))
        statuses = [peer.response().status for _ in sent]

    assert statuses == [0, 0xC000, 0, 0]
    assert [data_set_of(part) for part in archive.parts] == [i.data for i in (sent[0], *sent[2:])]


def test_a_release_inside_a_data_set_ends_it(bridge: Bridge, archive: Archive):
    with associated(bridge) as peer:
        peer.send(b"".join(a_store(an_instance(SMALL))[:3]) + pdu.release_rq())
        assert peer.next_pdu()[0] == pdu.Kind.RELEASE_RP
    archive.wait_for(lambda: archive.broken == len(archive.requests))
    assert archive.parts == []
    assert still_serves(bridge)
