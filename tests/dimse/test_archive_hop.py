"""The way from the bridge to the archive: kept connections, replays, back-pressure, outages."""

import asyncio
import select
import socket
import tracemalloc
from dataclasses import replace

import pytest
import uvloop
from aiohttp import web

from bridge.upper import pdu
from tests.dimse.committing import unused_port
from tests.dimse.dimse_peers import (
    PATIENCE_S,
    VERIFICATION,
    Archive,
    Bridge,
    Ground,
    RawPeer,
    StartBridge,
    a_context,
    a_store,
    an_echo,
    an_instance,
    data_set_of,
    serve_archive,
    stow_answer,
)

SMALL = 100_000
LARGE = 3_000_000


def associated(bridge: Bridge) -> RawPeer:
    peer = RawPeer(bridge.address)
    peer.associate(a_context(1), a_context(3, VERIFICATION))
    return peer


def store(peer: RawPeer, size_bytes: int = SMALL) -> int:
    peer.send(b"".join(a_store(an_instance(size_bytes))))
    return peer.response().status


def test_a_small_instance_goes_out_in_one_piece_and_a_large_one_when_it_is_asked_for(
    bridge: Bridge, archive: Archive
):
    with associated(bridge) as peer:
        assert (store(peer), store(peer, LARGE)) == (0, 0)

    small, large = archive.requests
    assert int(small["Content-Length"]) > SMALL
    assert not {"Expect", "Transfer-Encoding"} & set(small)
    assert (large["Expect"], large["Transfer-Encoding"]) == ("100-continue", "chunked")


def test_nothing_of_a_small_instance_goes_out_before_it_is_whole(bridge: Bridge, archive: Archive):
    *most, _ = a_store(an_instance(SMALL))
    with associated(bridge) as peer:
        peer.send(b"".join(most))
        peer.send(pdu.abort(by_provider=False))
        assert bridge.report().result == "aborted by peer"

    assert archive.requests == []


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Close the connection without a word."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize("size_bytes", [SMALL, LARGE])
def test_an_archive_that_closed_a_kept_connection_gets_the_next_instance(
    bridge: Bridge, archive: Archive, size_bytes: int
):
    with associated(bridge) as peer:
        first = store(peer)
        archive.behaviours = [hang_up]
        second = store(peer, size_bytes)

    assert (first, second) == (0, 0)
    assert len(archive.parts) == 2
    assert len(archive.connections) == 2


def test_an_archive_that_restarted_gets_the_next_instance(ground: Ground, start_bridge: StartBridge):
    before, after = Archive(), Archive()
    runner, url = ground.run(serve_archive(before, unused_port()))
    bridge = start_bridge(url=url)
    with associated(bridge) as peer:
        store(peer)
        ground.run(runner.cleanup())
        runner, _ = ground.run(serve_archive(after, int(url.split(":")[2].split("/")[0])))
        status = store(peer)

    ground.run(runner.cleanup())
    assert status == 0
    assert len(after.parts) == 1


def test_an_archive_that_breaks_twice_is_out_of_resources(bridge: Bridge, archive: Archive):
    with associated(bridge) as peer:
        archive.behaviours = [hang_up, hang_up]

        assert store(peer) == 0xA700
        assert store(peer) == 0x0000
    assert len(archive.requests) == 3


def test_an_archive_that_breaks_inside_a_large_instance_is_out_of_resources(bridge: Bridge, archive: Archive):
    async def read_some(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await request.content.readexactly(2_000_000)
        return await hang_up(request)

    with associated(bridge) as peer:
        archive.behaviours = [read_some]

        assert store(peer, LARGE) == 0xA700
        assert store(peer) == 0x0000
    assert len(archive.requests) == 2


@pytest.mark.parametrize("size_bytes", [SMALL, LARGE])
def test_an_instance_refused_with_503_is_sent_once_more(bridge: Bridge, archive: Archive, size_bytes: int):
    async def busy(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503, headers={"Retry-After": "1"})

    with associated(bridge) as peer:
        archive.behaviours = [busy]
        status = store(peer, size_bytes)

        archive.behaviours = [busy, busy]
        again = store(peer, size_bytes)

    assert (status, again) == (0x0000, 0xA700)
    assert len(archive.requests) == 4


def test_an_archive_that_refuses_early_is_not_sent_the_rest(bridge: Bridge, archive: Archive):
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=413)

    with associated(bridge) as peer:
        archive.behaviours = [refuse]

        assert store(peer, 20_000_000) == 0xA700
        assert store(peer) == 0x0000


def test_an_archive_that_knows_no_expectations_is_asked_without(bridge: Bridge, archive: Archive):
    async def fail(request: web.Request) -> web.StreamResponse:
        return web.Response(status=417)

    with associated(bridge) as peer:
        archive.behaviours = [fail]

        assert store(peer, LARGE) == 0x0000
    assert ["Expect" in headers for headers in archive.requests] == [True, False]


def test_an_archive_that_never_asks_for_the_body_gets_it(start_bridge: StartBridge, archive: Archive):
    async def read_silently(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.json_response(stow_answer())

    bridge = start_bridge(continue_s=0.05)
    with associated(bridge) as peer:
        archive.behaviours = [read_silently]

        assert store(peer, LARGE) == 0x0000


def test_an_answer_that_ends_with_the_connection_is_read(bridge: Bridge, archive: Archive):
    async def old_fashioned(request: web.Request) -> web.StreamResponse:
        await archive.take(request)
        assert request.transport is not None
        request.transport.write(b'HTTP/1.0 409 Conflict\r\n\r\n{"0008119A":{"vr":"SQ","Value":[')
        request.transport.write(b'{"00081197":{"vr":"US","Value":[49152]}}]}}')
        request.transport.close()
        await asyncio.Event().wait()
        return web.Response()

    with associated(bridge) as peer:
        archive.behaviours = [old_fashioned]

        assert store(peer) == 0xC000


def test_an_archive_that_is_down_leaves_the_association_up(start_bridge: StartBridge):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        bridge = start_bridge(url=f"http://127.0.0.1:{nobody.getsockname()[1]}/dicom-web")
        with associated(bridge) as peer:
            statuses = [store(peer, LARGE), store(peer)]
            peer.send(an_echo(3))

            assert peer.response().status == 0x0000
    assert statuses == [0xA700, 0xA700]


def test_an_archive_that_does_not_answer_in_time_is_out_of_resources(
    start_bridge: StartBridge, archive: Archive
):
    async def stall(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    bridge = start_bridge(answer_s=0.1, continue_s=0.05)
    with associated(bridge) as peer:
        archive.behaviours = [stall, stall]

        assert store(peer) == 0xA700
        assert store(peer, LARGE) == 0xA700
        # and: one that answers, however slowly
        bridge.remote._settings = replace(bridge.remote._settings, answer_s=PATIENCE_S)
        assert store(peer) == 0x0000


@pytest.mark.parametrize("ground", [asyncio.new_event_loop, uvloop.new_event_loop], indirect=True)
def test_a_stalled_archive_makes_the_peer_wait(start_bridge: StartBridge, archive: Archive, ground: Ground):
    size_bytes = 64 << 20
    go_on = ground.run(_event())

    async def stall(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.transport.pause_reading()
        await go_on.wait()
        request.transport.resume_reading()
        received = 0
        async for block in request.content.iter_any():
            received += len(block)
        assert received > size_bytes
        return web.json_response(stow_answer())

    bridge = start_bridge()
    archive.behaviours = [stall]
    pdus = a_store(an_instance(size_bytes))
    with associated(bridge) as peer:
        tracemalloc.start()
        peer.socket.setblocking(False)
        stuck_at = _send_until_stuck(peer, pdus)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        ground.loop.call_soon_threadsafe(go_on.set)
        peer.socket.settimeout(PATIENCE_S)
        peer.send(memoryview(b"".join(pdus))[stuck_at:])
        status = peer.response().status

    assert status == 0x0000
    assert stuck_at < size_bytes / 2  # the rest is in socket buffers
    assert held < 4 << 20


async def _event() -> asyncio.Event:
    return asyncio.Event()


def _send_until_stuck(peer: RawPeer, pdus: list[bytes]) -> int:
    """Send what is taken; how much that was when nothing was taken for a while."""
    stream = memoryview(b"".join(pdus))
    sent = 0
    while sent < len(stream) and select.select([], [peer.socket], [], 1.0)[1]:
        sent += peer.socket.send(stream[sent : sent + 65536])
    return sent


def test_the_token_is_read_again_when_it_changes(start_bridge: StartBridge, archive: Archive, tmp_path):
    token = tmp_path / "token"
    token.write_text("first\n")
    bridge = start_bridge(token_file=token)

    with associated(bridge) as peer:
        store(peer)
        token.write_text("second one's longer\n".replace(" ", "-"))
        store(peer)

    assert [headers["Authorization"] for headers in archive.requests] == [
        "Bearer first",
        "Bearer second-one's-longer",
    ]


def test_small_and_large_instances_go_over_parallel_connections(bridge: Bridge, archive: Archive):
    sent = [an_instance(SMALL if n % 2 else LARGE) for n in range(8)]
    peers = [associated(bridge) for _ in sent]
    try:
        for peer, instance in zip(peers, sent, strict=True):
            peer.send(b"".join(a_store(instance)))
        assert [peer.response().status for peer in peers] == [0] * len(sent)
    finally:
        for peer in peers:
            peer.close()
    assert sorted(map(data_set_of, archive.parts)) == sorted(instance.data for instance in sent)


@pytest.mark.parametrize("size_bytes", [SMALL, LARGE])
def test_draining_finishes_the_message_in_flight(
    bridge: Bridge, archive: Archive, ground: Ground, size_bytes: int
):
    go_on = ground.run(_event())

    async def wait(request: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return await archive.store(request)

    archive.behaviours = [wait]
    *most, last = a_store(an_instance(size_bytes))
    with associated(bridge) as busy, associated(bridge) as idle, RawPeer(bridge.address) as silent:
        busy.send(b"".join(most))
        idle.send(an_echo(3))
        assert idle.response().status == 0x0000  # by then what was sent before has been read
        if size_bytes == LARGE:
            archive.wait_for(lambda: archive.requests)

        drained = bridge.drain(PATIENCE_S)

        assert idle.next_pdu()[0] == pdu.Kind.ABORT
        assert silent.next_pdu()[0] == pdu.Kind.ABORT
        with pytest.raises(ConnectionRefusedError):
            RawPeer(bridge.address)
        ground.loop.call_soon_threadsafe(go_on.set)
        busy.send(last)
        assert busy.response().status == 0x0000
        assert busy.next_pdu()[0] == pdu.Kind.ABORT
    drained.result(PATIENCE_S)
    assert len(archive.parts) == 1


def test_draining_ends_in_time(bridge: Bridge, archive: Archive, ground: Ground):
    *most, _ = a_store(an_instance(LARGE))
    with associated(bridge) as peer:
        peer.send(b"".join(most))
        archive.wait_for(lambda: archive.requests)

        bridge.drain(0.1).result(30)

        assert peer.next_pdu()[0] == pdu.Kind.ABORT
    archive.wait_for(lambda: archive.broken)
    assert archive.parts == []


def test_an_archive_that_answers_before_it_has_the_instance_has_not_stored_it(
    bridge: Bridge, archive: Archive
):
    async def agree_to_anything(request: web.Request) -> web.StreamResponse:
        return web.json_response(stow_answer())

    with associated(bridge) as peer:
        archive.behaviours = [agree_to_anything]

        assert store(peer, LARGE) == 0xA700
        assert store(peer) == 0x0000


def test_an_archive_whose_answer_has_no_end_of_headers_is_left(bridge: Bridge, archive: Archive):
    async def talk_on(request: web.Request) -> web.StreamResponse:
        await request.read()
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 200 OK\r\n" + b"X-More: and more\r\n" * 20_000)
        await asyncio.Event().wait()
        return web.Response()

    with associated(bridge) as peer:
        archive.behaviours = [talk_on, talk_on]

        assert store(peer) == 0xA700
        assert store(peer) == 0x0000
