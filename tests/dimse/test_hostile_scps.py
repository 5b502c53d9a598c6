"""Peers that we call and that stall, break off or answer nonsense: a clear error, soon, and nothing left."""

import asyncio
import contextlib
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from bridge import scu
from bridge.peers import Peer
from bridge.scu import Proposal
from bridge.settings import Limits
from bridge.upper import pdu
from bridge.upper.associate import AnsweredContext, AssociateReject
from bridge.upper.command import Operation
from bridge.upper.messages import AssociationLost, NoResponse
from bridge.upper.requestor import Rejected, RequestedAssociation
from service.dicom.errors import UpstreamFailed, UpstreamTimeout
from tests.dimse.asking import BOTH, PATIENT, QUICK, UNHURRIED, RawScp, acceptance, connected, play, scripted
from tests.dimse.dimse_peers import EXPLICIT_LE, VERIFICATION, a_command, p_data

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
ECHOING = Proposal(VERIFICATION, BOTH)
Script = Callable[[RawScp], object]
SOON_S = 30.0  # far less than to wait without end, and more than a slow machine needs
# Of the deadlines only the one that an error is about is short.
LIMITS = {
    UpstreamTimeout: replace(UNHURRIED, artim_s=QUICK.artim_s),
    UpstreamFailed: UNHURRIED,
    NoResponse: replace(UNHURRIED, response_s=QUICK.response_s),
    AssociationLost: replace(UNHURRIED, pdu_s=QUICK.pdu_s),
}


async def only_connect(port: int, limits: Limits = UNHURRIED) -> RequestedAssociation:
    async with connected(port, ECHOING, limits=limits) as association:
        return association


def dripping(encoded: bytes) -> Script:
    def drip(peer: RawScp) -> None:
        gone = threading.Event()
        with contextlib.suppress(OSError):
            for number in range(len(encoded)):
                peer.send(encoded[number : number + 1])
                if gone.wait(0.05):
                    return

    return drip


def after_request(*encoded: bytes, close: bool = False, drip: bool = False) -> Script:
    """Take the request and say `encoded` instead of the acceptance."""

    def script(peer: RawScp) -> None:
        peer.request()
        if drip:
            dripping(b"".join(encoded))(peer)
        else:
            peer.send(b"".join(encoded))
        if close:
            peer.close()

    return script


ACCEPTANCE = acceptance(scu._request([ECHOING], called="A", calling="B", longest=16384)).encode()
AN_ECHO = p_data(
    1, a_command(Operation.C_ECHO, has_data=False, affected_sop_class=VERIFICATION), command=True
)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param(lambda peer: None, UpstreamTimeout, id="silent after the connection"),
        pytest.param(lambda peer: peer.close(), UpstreamFailed, id="closes at once"),
        pytest.param(lambda peer: peer.reset(), UpstreamFailed, id="resets at once"),
        pytest.param(after_request(), UpstreamTimeout, id="silent after the request"),
        pytest.param(after_request(close=True), UpstreamFailed, id="closes after the request"),
        pytest.param(
            after_request(ACCEPTANCE[:40], close=True), UpstreamFailed, id="closes inside the answer"
        ),
        pytest.param(after_request(ACCEPTANCE[:40]), UpstreamTimeout, id="stops inside the answer"),
        pytest.param(after_request(ACCEPTANCE, drip=True), UpstreamTimeout, id="drips the answer"),
        pytest.param(
            after_request(pdu.abort(by_provider=True, reason=pdu.Fault.NOT_SPECIFIED)),
            UpstreamFailed,
            id="aborts",
        ),
        pytest.param(after_request(pdu.release_rq()), UpstreamFailed, id="asks for a release"),
        pytest.param(after_request(pdu.release_rp()), UpstreamFailed, id="answers a release"),
        pytest.param(after_request(AN_ECHO), UpstreamFailed, id="sends data"),
        pytest.param(after_request(b"\x09\0\0\0\0\0"), UpstreamFailed, id="sends an unknown PDU"),
        pytest.param(after_request(b"HTTP/1.1 400 Bad Request\r\n\r\n"), UpstreamFailed, id="speaks HTTP"),
        pytest.param(after_request(b"\x02\0\xff\xff\xff\xff"), UpstreamFailed, id="sends an endless answer"),
        pytest.param(after_request(b"\x02\0\0\0\0\x04abcd"), UpstreamFailed, id="sends a short acceptance"),
        pytest.param(after_request(b"\x03\0\0\0\0\x01\0"), UpstreamFailed, id="sends a short rejection"),
    ],
)
def test_a_peer_that_does_not_accept_is_an_error(script: Script, error: type[UpstreamFailed]):
    begun = time.monotonic()

    with scripted(script) as port, pytest.raises(UpstreamFailed) as raised:
        play(only_connect(port, LIMITS[error]))

    assert type(raised.value) is error
    assert time.monotonic() - begun < SOON_S


@pytest.mark.parametrize(
    ("answer", "transient", "word"),
    [
        (AssociateReject(1, 1, 7), False, "called AE title"),
        (AssociateReject(1, 1, 3), False, "calling AE title"),
        (AssociateReject(2, 3, 2), True, "local limit"),
        (AssociateReject(2, 3, 1), True, "congestion"),
        (AssociateReject(9, 9, 9), False, "without a reason"),
    ],
)
def test_a_rejection_says_why(answer: AssociateReject, transient: bool, word: str):
    with scripted(after_request(answer.encode())) as port, pytest.raises(Rejected, match="rejects") as raised:
        play(only_connect(port))

    assert raised.value.transient is transient
    assert word in str(raised.value)


def test_nobody_there_is_an_error():
    with scripted(lambda peer: peer.close()) as port, pytest.raises(UpstreamFailed):
        play(only_connect(port))

    with pytest.raises(UpstreamFailed, match="cannot be reached"):
        play(only_connect(port))


def test_a_peer_that_takes_no_connection_is_an_error():
    # Port 9 of a documentation address: packets there are lost, or refused by the network at once.
    async def call() -> None:
        peer = Peer("away", "AWAY", "192.0.2.1", 9, timeout_s=0.2)
        await scu.connect(peer, [ECHOING], QUICK, calling="BRIDGE")

    with pytest.raises(UpstreamFailed):
        play(call())


def test_contexts_that_were_not_proposed_do_not_count():
    def script(peer: RawScp) -> None:
        request = peer.request()
        odd = (
            AnsweredContext(1, 0, "1.2.840.10008.1.2.4.50"),
            AnsweredContext(3, 0, EXPLICIT_LE),
            AnsweredContext(2, 0, EXPLICIT_LE),
            AnsweredContext(1, 3, EXPLICIT_LE),
        )
        peer.send(replace(acceptance(request), contexts=odd).encode())

    async def contexts(port: int) -> dict[int, object]:
        async with connected(port, ECHOING) as association:
            return dict(association.contexts)

    with scripted(script) as port:
        assert play(contexts(port)) == {}


async def echoed(port: int, limits: Limits = UNHURRIED) -> int:
    async with connected(port, ECHOING, limits=limits) as association:
        return await scu.echo(association, 1, timeout_s=limits.response_s)


def on_echo(*encoded: bytes, then: Script = lambda peer: None) -> Script:
    def script(peer: RawScp) -> None:
        peer.accept()
        peer.command()
        with contextlib.suppress(OSError):
            peer.send(b"".join(encoded))
        then(peer)

    return script


def answering(status: int = 0, **changed: int) -> Script:
    def script(peer: RawScp) -> None:
        peer.accept()
        peer.answer(peer.command(), status, None, **changed)

    return script


ANSWER = p_data(1, a_command(0x8030, has_data=False, responded_message_id=1, status=0), command=True)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param(on_echo(), NoResponse, id="silent"),
        pytest.param(on_echo(then=lambda peer: peer.close()), AssociationLost, id="closes"),
        pytest.param(on_echo(then=lambda peer: peer.reset()), AssociationLost, id="resets"),
        pytest.param(
            on_echo(pdu.abort(by_provider=False, reason=pdu.Fault.NOT_SPECIFIED)),
            AssociationLost,
            id="aborts",
        ),
        pytest.param(on_echo(pdu.release_rq()), AssociationLost, id="asks for the release"),
        pytest.param(on_echo(pdu.release_rp()), AssociationLost, id="answers a release"),
        pytest.param(on_echo(ACCEPTANCE), AssociationLost, id="accepts once more"),
        pytest.param(on_echo(ANSWER[:30]), AssociationLost, id="stops inside the answer"),
        pytest.param(on_echo(then=dripping(ANSWER)), AssociationLost, id="drips the answer"),
        pytest.param(on_echo(struct.pack(">BxI", 4, 1 << 30)), AssociationLost, id="PDU too long"),
        pytest.param(on_echo(ANSWER[:10] + b"\x07" + ANSWER[11:]), AssociationLost, id="unknown context"),
        pytest.param(on_echo(b"\x04\0\0\0\0\x06\0\0\0\x09\1\3"), AssociationLost, id="value beyond its PDU"),
        pytest.param(on_echo(p_data(1, b"noise", command=True)), AssociationLost, id="no command set"),
        pytest.param(on_echo(p_data(1, b"data", command=False)), AssociationLost, id="data alone"),
        pytest.param(answering(responded_message_id=99), NoResponse, id="of another message"),
        pytest.param(answering(command_field=0x0030), NoResponse, id="asks instead"),
        pytest.param(on_echo(AN_ECHO * 500), NoResponse, id="asks and asks"),
    ],
)
def test_a_peer_that_does_not_answer_is_an_error(script: Script, error: type[AssociationLost]):
    begun = time.monotonic()

    with scripted(script) as port, pytest.raises(AssociationLost) as raised:
        play(echoed(port, LIMITS[error]))

    assert type(raised.value) is error
    assert time.monotonic() - begun < SOON_S


def test_an_answer_that_comes_before_others_is_found():
    odd = p_data(1, a_command(0x8030, has_data=False, responded_message_id=7, status=0x0110), command=True)

    with scripted(on_echo(odd, AN_ECHO, ANSWER)) as port:
        assert play(echoed(port, PATIENT)) == 0


def test_a_failure_is_a_status():
    with scripted(answering(status=0x0124)) as port:
        assert play(echoed(port, PATIENT)) == 0x0124


# The end of an association.


def at_release(*encoded: bytes, then: Script = lambda peer: None) -> Script:
    def script(peer: RawScp) -> None:
        peer.accept()
        assert peer.next_pdu()[0] == pdu.Kind.RELEASE_RQ
        with contextlib.suppress(OSError):
            peer.send(b"".join(encoded))
        then(peer)

    return script


def collide(peer: RawScp) -> None:
    """Both ask at once: the peer, an acceptor, waits for our answer before it gives its own (Sta10)."""
    with contextlib.suppress(EOFError, OSError):  # it may be too late for us
        assert peer.next_pdu()[0] == pdu.Kind.RELEASE_RP
        peer.send(pdu.release_rp())


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(at_release(pdu.release_rp()), id="answers"),
        pytest.param(at_release(), id="silent"),
        pytest.param(at_release(then=lambda peer: peer.close()), id="closes"),
        pytest.param(at_release(then=lambda peer: peer.reset()), id="resets"),
        pytest.param(at_release(pdu.release_rq(), then=collide), id="asks too"),
        pytest.param(at_release(pdu.abort(by_provider=False, reason=pdu.Fault.NOT_SPECIFIED)), id="aborts"),
        pytest.param(at_release(AN_ECHO * 3, pdu.release_rp()), id="sends data before"),
        pytest.param(at_release(b"\x04\0\0\0\0\x06\0\0\0\x09\1\3"), id="sends nonsense"),
        pytest.param(at_release(then=dripping(pdu.release_rp() * 5)), id="drips"),
        pytest.param(at_release(ACCEPTANCE), id="accepts once more"),
    ],
)
def test_a_release_ends_whatever_the_peer_does(script: Script):
    begun = time.monotonic()

    with scripted(script) as port:
        association = play(only_connect(port))

    assert not association.is_open
    assert time.monotonic() - begun < SOON_S


def test_an_association_that_nobody_uses_ends():
    async def wait(port: int) -> str:
        limits = replace(UNHURRIED, idle_s=0.1)
        async with connected(port, ECHOING, limits=limits) as association:
            assert await association.receive() is None
            return str(association.result)

    with scripted(lambda peer: peer.accept()) as port:
        assert play(wait(port)) == "idle"


def test_who_is_called_off_while_waiting_leaves_nothing():
    async def call_off(port: int) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await echoed(port)

    for script in (lambda peer: None, lambda peer: peer.accept()):
        with scripted(script) as port:
            play(call_off(port))
