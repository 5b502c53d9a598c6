"""Where reports on commitment go when peers are difficult."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from bridge.upper import pdu
from bridge.upper.associate import AssociateReject, AssociateRequest
from bridge.upper.command import Tag
from tests.dimse.asking import RawScp, acceptance
from tests.dimse.committing import (
    PUSH,
    PUSH_INSTANCE,
    Asker,
    Holder,
    Reports,
    Start,
    an_action,
    an_event,
    modality,
    receiver,
)
from tests.dimse.dimse_peers import PATIENCE_S, RawPeer, a_context, a_uid


class Odd:
    """A peer that is called by the bridge, one association after the other; `script` says what it does."""

    def __init__(self) -> None:
        self.requests: list[AssociateRequest] = []
        self.reported: list[int] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(PATIENCE_S)
        self.port = int(self._listening.getsockname()[1])

    def call(self) -> RawScp:
        """The next call, its request read."""
        accepted, _ = self._listening.accept()
        peer = RawScp(accepted)
        self.requests.append(peer.request())
        return peer

    def roles(self) -> list[bool]:
        """Whether each call exchanged roles."""
        return [bool(request.user.roles) for request in self.requests]

    def close(self) -> None:
        self._listening.close()


def take(peer: RawScp, request: AssociateRequest, status: int = 0) -> None:
    """Accept the association, answer one report with `status`, and let the bridge release."""
    peer.send(acceptance(request).encode())
    command = peer.command()
    assert command.text(Tag.AFFECTED_SOP_INSTANCE) == PUSH_INSTANCE
    peer.next_pdu()
    peer.answer(command, status)
    assert peer.next_pdu()[0] == pdu.Kind.RELEASE_RQ
    with contextlib.suppress(OSError):  # the bridge does not wait for this for long
        peer.send(pdu.release_rp())
    peer.close()


@pytest.fixture
def odd() -> Iterator[Odd]:
    odd = Odd()
    yield odd
    odd.close()


def ask(start: Start, holder: Holder, odd: Odd, *, count: int = 1) -> None:
    bridge = start(peers=[modality(odd.port)])
    for _ in range(count):
        asker = Asker(bridge)
        assert asker.ask(holder.holds(1), a_uid()) == 0x0000
        asker.release()


def reject(peer: RawScp) -> None:
    peer.send(AssociateReject(1, 1, 1).encode())
    peer.wait_closed()
    peer.close()


def test_the_role_of_the_scp_is_asked_for_first(start: Start, holder: Holder, odd: Odd):
    ask(start, holder, odd)

    peer = odd.call()
    take(peer, odd.requests[0])

    (role,) = odd.requests[0].user.roles
    assert (role.abstract, role.scu, role.scp) == (PUSH, False, True)
    assert (odd.requests[0].calling.strip(), odd.requests[0].called.strip()) == (b"OURS", b"MODALITY")


@pytest.mark.parametrize("status", [0x0122, 0x0211, 0x0212])
def test_a_peer_that_does_not_take_it_there_gets_it_without_roles(
    start: Start, holder: Holder, odd: Odd, status: int
):
    ask(start, holder, odd)

    take(odd.call(), odd.requests[0], status)
    take(odd.call(), odd.requests[1])

    assert odd.roles() == [True, False]


def test_a_peer_that_rejects_roles_gets_it_without(start: Start, holder: Holder, odd: Odd):
    ask(start, holder, odd)

    reject(odd.call())
    take(odd.call(), odd.requests[1])

    assert odd.roles() == [True, False]


def test_a_peer_that_aborts_at_the_report_gets_it_without_roles(start: Start, holder: Holder, odd: Odd):
    ask(start, holder, odd)

    peer = odd.call()
    peer.send(acceptance(odd.requests[0]).encode())
    peer.command()
    peer.send(pdu.abort(by_provider=False, reason=pdu.Fault.NOT_SPECIFIED))
    peer.wait_closed()
    peer.close()
    take(odd.call(), odd.requests[1])

    assert odd.roles() == [True, False]


def test_a_peer_that_cannot_take_it_now_is_called_with_roles_again(start: Start, holder: Holder, odd: Odd):
    ask(start, holder, odd)

    take(odd.call(), odd.requests[0], 0x0110)
    take(odd.call(), odd.requests[1])

    assert odd.roles() == [True, True]


def test_an_unknown_caller_may_ask_again_where_it_asked(start: Start, holder: Holder):
    bridge, transaction, wanted = start(), a_uid(), holder.holds(1)
    holder.open.clear()
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1, PUSH), calling=b"STRANGER")
        for _ in range(3):
            peer.send(an_action(wanted, transaction))
            assert peer.response().status == 0
        threading.Timer(0.1, holder.open.set).start()

        assert an_event(peer) == 0x0100
    bridge.settle()
    assert len(holder.asked) == 1


def test_a_report_that_is_waited_for_does_not_hold_up_the_end(start: Start, holder: Holder):
    bridge = start()
    holder.open.clear()
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1, PUSH), calling=b"STRANGER")
        peer.send(an_action(holder.holds(1), a_uid()))
        assert peer.response().status == 0
        begun = time.monotonic()

        bridge.ground.run(bridge.listener.drain(50.0))

        assert time.monotonic() - begun < 25
        assert peer.next_pdu()[0] == pdu.Kind.ABORT
    assert len(bridge.kept) == 1


def test_an_archive_that_comes_up_after_the_bridge_is_waited_for_however_old_the_request(
    start: Start, holder: Holder, tmp_path: Path
):
    reports, transaction, wanted = Reports(), a_uid(), holder.holds(2)
    holder.statuses = [503, 503]
    titles = {"calling": "MODALITY", "called": "OURS", "host": "127.0.0.1"}
    record = {"format": 1, "transaction": transaction, "references": wanted, **titles}
    shelf = tmp_path / "state" / "commitments"
    shelf.mkdir(parents=True)
    (shelf / "1a.json").write_bytes(orjson.dumps({**record, "received_at": time.time() - 7200}))

    with receiver(reports) as port:
        bridge = start(peers=[modality(port)])
        report = reports.next()
        bridge.settle()

    assert (report.event_type, report.information.TransactionUID) == (1, transaction)
    assert report.committed == wanted
