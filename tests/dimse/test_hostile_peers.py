"""Peers that stall, drip, lie about lengths or send noise cost a deadline, never the service."""

import contextlib
import random
import struct
import threading
import time

import pytest

from bridge.upper import pdu
from tests.dimse.dimse_peers import (
    PATIENCE_S,
    VERIFICATION,
    Archive,
    Bridge,
    RawPeer,
    StartBridge,
    a_context,
    a_request,
    a_store,
    an_echo,
    an_instance,
    still_serves,
)

PEERS = 12


def late_before_served(bridge: Bridge) -> int:
    """How often a peer that means well was itself too late with its request, before it was served."""
    for late in range(100):
        with contextlib.suppress(EOFError, ConnectionError):
            assert still_serves(bridge)
            return late
    raise AssertionError("it is never served")


def test_peers_that_send_three_bytes_and_wait_are_closed(start_bridge: StartBridge):
    bridge = start_bridge(artim_s=0.2, associations=4)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(bridge.address)) for _ in range(PEERS)]
        for peer in peers:
            with contextlib.suppress(ConnectionError):
                peer.send(b"\x01\x00\x00")

        late = late_before_served(bridge)  # they take no association's place
        for peer in peers:
            peer.wait_closed()
        results = sorted(bridge.report().result for _ in range(PEERS + late + 1))

    assert results == ["no request in time"] * (PEERS + late) + ["released"]


def test_peers_that_drip_a_request_are_closed(start_bridge: StartBridge):
    bridge = start_bridge(artim_s=0.3)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(bridge.address)) for _ in range(PEERS - 1)]
        begun = time.monotonic()
        peers.append(stack.enter_context(RawPeer(bridge.address)))
        request = a_request().encode()

        assert dripped(peers, request, pause_s=0.02, begun=begun, atleast_s=0.3) < len(request)
        late_before_served(bridge)


def test_peers_that_drip_data_are_aborted(start_bridge: StartBridge):
    bridge = start_bridge(pdu_s=0.3)
    command, data, *_ = a_store(an_instance(10_000))
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(bridge.address)) for _ in range(PEERS)]
        for peer in peers:
            peer.associate(a_context())
            begun = time.monotonic()
            peer.send(command)

        assert dripped(peers, data, pause_s=0.02, begun=begun, atleast_s=0.3) < len(data)
        assert {bridge.report().result for _ in peers} == {"too slow"}


def dripped(peers: list[RawPeer], encoded: bytes, *, pause_s: float, begun: float, atleast_s: float) -> int:
    """Send single bytes until every peer is cut off, the last one not too soon; how many each could send."""
    gone = threading.Event()
    for number in range(len(encoded)):
        with contextlib.suppress(OSError):
            for peer in peers:
                peer.socket.send(encoded[number : number + 1])
        if all(closed(peer) for peer in peers):
            assert time.monotonic() - begun > atleast_s * 0.9
            return number
        gone.wait(pause_s)
    return len(encoded)


def closed(peer: RawPeer) -> bool:
    peer.socket.setblocking(False)
    try:
        return not peer.socket.recv(1) or peer.socket.recv(65536) is not None
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        peer.socket.settimeout(PATIENCE_S)


@pytest.mark.parametrize("sent_pdus", [1, 2, 2.5, 3])
def test_associations_stalled_inside_a_message_are_aborted(
    start_bridge: StartBridge, archive: Archive, sent_pdus: float
):
    bridge = start_bridge(pdu_s=0.2)
    pdus = a_store(an_instance(100_000))
    stream = b"".join(pdus[: int(sent_pdus)])
    if sent_pdus % 1:
        stream += pdus[int(sent_pdus)][:4000]
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(bridge.address)) for _ in range(PEERS)]
        for peer in peers:
            peer.associate(a_context())
            peer.send(stream)

        assert [peer.next_pdu()[0] for peer in peers] == [pdu.Kind.ABORT] * PEERS
        assert {bridge.report().result for _ in peers} == {"too slow"}
    assert still_serves(bridge)
    assert archive.parts == []


def test_an_idle_association_is_aborted_and_a_busy_one_is_not(start_bridge: StartBridge):
    bridge = start_bridge(idle_s=2.0)
    with RawPeer(bridge.address) as idle, RawPeer(bridge.address) as busy:
        idle.associate(a_context(1, VERIFICATION))
        busy.associate(a_context(1, VERIFICATION))
        aborted = threading.Event()

        def watch() -> None:
            idle.next_pdu()
            aborted.set()

        threading.Thread(target=watch).start()
        while not aborted.wait(0.05):
            busy.send(an_echo())
            assert busy.response().status == 0
    assert bridge.report().result == "idle"


@pytest.mark.parametrize("kind", [1, 2, 4, 5, 7, 0x47])
@pytest.mark.parametrize("length", [0xFFFFFFFF, (1 << 20) + 1])
def test_a_pdu_longer_than_allowed_is_cut_at_its_header(bridge: Bridge, kind: int, length: int):
    with RawPeer(bridge.address) as before, RawPeer(bridge.address) as after:
        after.associate(a_context())
        for peer in (before, after):
            peer.send(struct.pack(">BxI", kind, length))
            assert peer.next_pdu()[0] == pdu.Kind.ABORT
    assert all(bridge.report().result.startswith("aborted: ") for _ in range(2))


def test_a_peer_that_goes_on_sending_after_an_abort_is_cut_off(bridge: Bridge):
    with RawPeer(bridge.address) as peer:
        peer.send(struct.pack(">BxI", pdu.Kind.ASSOCIATE_RQ, 0xFFFFFFFF))
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 300 << 20:
                sent += peer.socket.send(bytes(1 << 16))

    assert sent < 20 << 20


def test_p_data_beyond_the_announced_length_aborts(bridge: Bridge):
    command, *_ = a_store(an_instance())
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context())
        peer.send(command + struct.pack(">BxI", pdu.Kind.P_DATA, 60 << 20))

        assert peer.abort_reason() == pdu.Fault.INVALID_PARAMETER


@pytest.mark.parametrize(
    "values",
    [
        b"\0\0\0\1\1",
        b"\0\0\0\1\1\2",
        b"\0\0\0\x09\1\2\0\0\0\0",
        b"\xff\xff\xff\xff\1\2\0\0",
        b"\0\0\0\2\1\2\0\0\0\0",
    ],
)
def test_values_that_do_not_fit_their_pdu_abort(bridge: Bridge, values: bytes):
    command, *_ = a_store(an_instance())
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context())
        peer.send(command + struct.pack(">BxI", pdu.Kind.P_DATA, len(values)) + values)

        assert peer.abort_reason() == pdu.Fault.INVALID_PARAMETER


def test_a_command_set_without_end_aborts(bridge: Bridge):
    piece = b"".join(pdu.packets(1, bytes(16000), command=True, last=False, longest=16384))
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context())
        with contextlib.suppress(ConnectionError):
            for _ in range(10):
                peer.send(piece)

        assert peer.next_pdu()[0] == pdu.Kind.ABORT


@pytest.mark.parametrize(
    "command",
    [
        b"",
        b"\0\0",
        b"\0\0\0\1\2\0\0\0",
        b"\0\0\0\1\xff\xff\xff\xff\0\0",
        b"\x08\0\0\0\2\0\0\0\1\0",
        b"\0\0\x10\1\2\0\0\0\1\0",
    ],
)
def test_a_command_set_that_cannot_be_read_aborts(bridge: Bridge, command: bytes):
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context())
        peer.send(b"".join(pdu.packets(1, command, command=True, last=True, longest=16384)))

        assert peer.next_pdu()[0] == pdu.Kind.ABORT


def test_mutated_conversations_do_no_harm(bridge: Bridge, archive: Archive):
    chance = random.Random(4711)
    conversation = a_request(a_context(1), a_context(3, VERIFICATION)).encode()
    conversation += b"".join(a_store(an_instance(400))) + an_echo(3) + pdu.release_rq()
    for _ in range(300):
        mutated = bytearray(conversation)
        for _ in range(chance.randint(1, 6)):
            mutated[int(len(mutated) * chance.random() ** 2)] = chance.randrange(256)
        with RawPeer(bridge.address) as peer, contextlib.suppress(ConnectionError):
            peer.send(mutated[: chance.randint(1, len(mutated))])

    for _ in range(300):
        assert bridge.report().result not in ("", "failed")
    assert still_serves(bridge)
    assert bridge.report().calling == "WATCHER"
    assert bridge.listener.associations == 0


def test_many_idle_associations_cost_nobody_anything(start_bridge: StartBridge):
    bridge = start_bridge(associations_per_caller=200)
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(RawPeer(bridge.address)).associate(a_context())
        before = time.process_time()
        begun = time.monotonic()
        echoes = [still_serves(bridge) for _ in range(20)]
        spent = time.process_time() - before

    assert all(echoes)
    assert time.monotonic() - begun < 30
    assert spent < 2


def test_bare_connections_are_bounded(start_bridge: StartBridge):
    bridge = start_bridge(connections=10)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(RawPeer(bridge.address))
        for _ in range(10):
            stack.enter_context(RawPeer(bridge.address))

        first.wait_closed()
        assert still_serves(bridge)


def test_a_peer_that_does_not_read_its_answers_is_aborted(start_bridge: StartBridge):
    bridge = start_bridge(pdu_s=2.0)
    with RawPeer(bridge.address, receive_bytes=2048) as peer:
        peer.associate(a_context(1, VERIFICATION))
        with contextlib.suppress(OSError):
            while True:
                peer.send(an_echo() * 1000)

    assert bridge.report().result == "peer does not read"
    assert still_serves(bridge)
