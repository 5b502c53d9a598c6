"""What many peers at once, and one that sends crumbs, may cost."""

import asyncio
import contextlib
import select
import socket
import struct
import threading
import time

import pytest
import uvloop

from bridge.scp.identity import Verdict, compare
from bridge.upper.command import Operation
from service.dicom.syntaxes import BY_UID
from tests.dimse.dimse_peers import (
    CT_IMAGE,
    EXPLICIT_LE,
    PATIENCE_S,
    Archive,
    Bridge,
    Ground,
    RawPeer,
    StartBridge,
    a_command,
    a_context,
    p_data,
    still_serves,
)


@pytest.mark.parametrize("ground", [asyncio.new_event_loop, uvloop.new_event_loop], indirect=True)
def test_a_burst_of_bare_connections_is_bounded(start_bridge: StartBridge, ground: Ground):
    bridge = start_bridge(connections=5)
    with contextlib.ExitStack() as stack:
        hold = stack.enter_context(held(ground))
        peers = []
        for _ in range(60):
            peer = socket.socket()
            peer.setblocking(False)
            stack.callback(peer.close)
            with contextlib.suppress(BlockingIOError):
                peer.connect(bridge.address)
            peers.append(peer)
        hold.close()
        until = time.monotonic() + PATIENCE_S
        while open_ones(peers) > 5 and time.monotonic() < until:
            select.select(peers, [], [], 0.05)

        assert open_ones(peers) == 5
        assert [bridge.report().result for _ in range(55)] == ["closed"] * 55
        assert still_serves(bridge)


@contextlib.contextmanager
def held(ground: Ground):
    """The loop stands still until the stack is closed."""
    go_on = threading.Event()
    ground.loop.call_soon_threadsafe(go_on.wait)
    with contextlib.ExitStack() as stack:
        stack.callback(go_on.set)
        yield stack


def open_ones(peers: list[socket.socket]) -> int:
    closed = 0
    for peer in peers:
        try:
            closed += peer.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            pass
        except ConnectionError:
            closed += 1
    return len(peers) - closed


def test_a_data_set_that_comes_in_crumbs_is_looked_at_seldom(
    bridge: Bridge, archive: Archive, ground: Ground
):
    # 4,000 short elements before the UIDs, each of which comes by itself
    crumbs = [struct.pack("<HH2sH", 1, number, b"SH", 0) for number in range(4000)]

    looked_at = spent_on(crumbs, Operation.C_STORE, 0xA900, bridge, ground)
    passed_over = spent_on(crumbs, Operation.N_ACTION, 0x0211, bridge, ground)

    assert looked_at < 10 * passed_over
    whole = b"".join(crumbs)
    assert compare(whole, BY_UID[EXPLICIT_LE], CT_IMAGE, "1.2.3", whole=True) is Verdict.DIFFERENT


def spent_on(crumbs: list[bytes], operation: int, status: int, bridge: Bridge, ground: Ground) -> float:
    """The loop's processor time for a message whose data set comes in `crumbs`, answered by `status`."""
    command = a_command(operation, has_data=True, affected_sop_class=CT_IMAGE, affected_sop_instance="1.2.3")
    begun = ground.run(cpu())
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context())
        peer.send(p_data(1, command, command=True))
        for crumb in crumbs:
            peer.send(p_data(1, crumb, command=False, last=False))
            select.select([], [], [], 0.0002)
        peer.send(p_data(1, b"", command=False))
        assert peer.response().status == status
    return ground.run(cpu()) - begun


async def cpu() -> float:
    """The loop's processor time."""
    return time.thread_time()
