"""Peers that we call and that stall, break off or answer nonsense: a clear error, soon, and nothing left."""

import asyncio
import contextlib
import random
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from bridge import scu
from bridge.peers import Peer
from bridge.scu import Proposal
from bridge.upper import pdu
from bridge.upper.associate import AnsweredContext, AssociateReject
from bridge.upper.command import Operation
from bridge.upper.messages import AssociationLost, NoResponse
from bridge.upper.requestor import Rejected, RequestedAssociation
from service.dicom.errors import UpstreamFailed, UpstreamTimeout
from tests.dimse.asking import BOTH, QUICK, RawScp, acceptance, connected, ours, play, scripted
from tests.dimse.dimse_peers import CT_IMAGE, EXPLICIT_LE, VERIFICATION, a_command, p_data

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
ECHOING = Proposal(VERIFICATION, BOTH)
Script = Callable[[RawScp], object]


async def only_connect(port: int) -> RequestedAssociation:
    async with connected(port, ECHOING) as association:
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
        play(only_connect(port))

    assert type(raised.value) is error
    assert time.monotonic() - begun < 5


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


async def echoed(port: int) -> int:
    async with connected(port, ECHOING) as association:
        try:
            return await scu.echo(association, 1, timeout_s=QUICK.response_s)
        finally:
            assert not association.is_open or association.result == ""


def on_echo(*encoded: bytes, then: Callable[[RawScp], None] = lambda peer: None) -> Script:
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
        play(echoed(port))

    assert type(raised.value) is error
    assert time.monotonic() - begun < 5


def test_an_answer_that_comes_before_others_is_found():
    odd = p_data(1, a_command(0x8030, has_data=False, responded_message_id=7, status=0x0110), command=True)

    with scripted(on_echo(odd, AN_ECHO, ANSWER)) as port:
        assert play(echoed(port)) == 0


def test_a_failure_is_a_status():
    with scripted(answering(status=0x0124)) as port:
        assert play(echoed(port)) == 0x0124


# The end of an association.


def at_release(*encoded: bytes, then: Callable[[RawScp], None] = lambda peer: None) -> Script:
    def script(peer: RawScp) -> None:
        peer.accept()
        assert peer.next_pdu()[0] == pdu.Kind.RELEASE_RQ
        with contextlib.suppress(OSError):
            peer.send(b"".join(encoded))
        then(peer)

    return script


def collide(peer: RawScp) -> None:
    """Both ask at once: the peer, an acceptor, waits for our answer before it gives its own (Sta10)."""
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
    assert time.monotonic() - begun < 5


def test_an_association_that_nobody_uses_ends():
    async def wait(port: int) -> str:
        limits = replace(QUICK, idle_s=0.1)
        async with connected(port, ECHOING, limits=limits) as association:
            assert await association.receive() is None
            return str(association.result)

    with scripted(lambda peer: peer.accept()) as port:
        assert play(wait(port)) == "idle"


# Queries and stores.


async def found(port: int, most: int = 1000) -> list[scu.Found]:
    answers = []
    async with connected(port, Proposal(FIND, BOTH)) as association:
        async with contextlib.aclosing(scu.find(association, ours(association, FIND), b"", QUICK)) as asked:
            async for answer in asked:
                answers.append(answer)
                if len(answers) == most:
                    break
    return answers


@pytest.mark.parametrize(
    ("rest", "kind"),
    [
        pytest.param(b"", NoResponse, id="nothing"),
        pytest.param(
            p_data(1, a_command(0x8020, has_data=True, responded_message_id=1, status=0xFF00), command=True),
            AssociationLost,
            id="a command set whose identifier never comes",
        ),
        pytest.param(
            p_data(1, a_command(0x8020, has_data=True, responded_message_id=1, status=0xFF00), command=True)
            + p_data(1, b"12", command=False, last=False),
            AssociationLost,
            id="half of an identifier",
        ),
    ],
)
def test_a_query_that_is_not_answered_to_its_end_is_an_error(rest: bytes, kind: type[AssociationLost]):
    def script(peer: RawScp) -> None:
        peer.accept()
        asked = peer.command()
        peer.next_pdu()
        peer.answer(asked, 0xFF00, b"1234")
        peer.send(rest)

    with scripted(script) as port, pytest.raises(AssociationLost) as raised:
        play(found(port))

    assert type(raised.value) is kind


def test_answers_without_end_are_called_off():
    def script(peer: RawScp) -> None:
        peer.accept()
        asked = peer.command()
        peer.next_pdu()
        cancelled = threading.Event()

        def listen() -> None:
            assert peer.command().field == Operation.C_CANCEL
            cancelled.set()

        listener = threading.Thread(target=listen)
        listener.start()
        while not cancelled.is_set():
            peer.answer(asked, 0xFF00, b"1234")
        listener.join()
        peer.answer(asked, 0xFE00)
        assert peer.next_pdu()[0] == pdu.Kind.RELEASE_RQ
        peer.send(pdu.release_rp())

    with scripted(script) as port:
        answers = play(found(port, most=20))

    assert [answer.identifier for answer in answers] == [b"1234"] * 20


def test_a_peer_that_does_not_heed_a_cancel_is_left():
    def script(peer: RawScp) -> None:
        peer.accept()
        asked = peer.command()
        peer.next_pdu()
        peer.answer(asked, 0xFF00, b"1234")
        assert peer.command().field == Operation.C_CANCEL

    with scripted(script) as port:
        assert len(play(found(port, most=1))) == 1


def test_an_identifier_that_is_too_long_is_left_out():
    def script(peer: RawScp) -> None:
        peer.accept()
        asked = peer.command()
        peer.next_pdu()
        peer.answer(asked, 0xFF00, bytes(200_000))
        peer.answer(asked, 0x0000)

    async def ask(port: int) -> list[int]:
        limits = replace(QUICK, identifier_bytes=1000)
        async with connected(port, Proposal(FIND, BOTH), limits=limits) as association:
            return [len(each.identifier) async for each in scu.find(association, 1, b"12", limits)]

    with scripted(script) as port:
        assert play(ask(port)) == [0, 0]


def storing(port: int, size: int, block: int = 1 << 16) -> int:
    async def store() -> int:
        async def blocks() -> AsyncIterator[bytes]:
            for _ in range(0, size, block):
                yield bytes(block)
                await asyncio.sleep(0)

        async with connected(port, Proposal(CT_IMAGE, BOTH)) as association:
            return await scu.store(association, 1, CT_IMAGE, "1.2.3", blocks(), timeout_s=QUICK.response_s)

    return play(store())


def test_a_peer_that_does_not_read_what_is_stored_is_an_error():
    gone = threading.Event()

    def script(peer: RawScp) -> None:
        peer.accept()
        assert gone.wait(20)

    def store(port: int) -> None:
        try:
            storing(port, 64 << 20)
        finally:
            gone.set()

    with scripted(script) as port, pytest.raises(AssociationLost):
        store(port)


@pytest.mark.parametrize("end", [lambda peer: peer.close(), lambda peer: peer.reset()])
def test_a_peer_that_goes_while_it_is_sent_an_instance_is_an_error(end: Script):
    def script(peer: RawScp) -> None:
        peer.accept()
        for _ in range(5):
            peer.next_pdu()
        end(peer)

    with scripted(script) as port, pytest.raises(AssociationLost):
        storing(port, 64 << 20)


def test_a_status_that_comes_before_the_end_of_the_instance_counts():
    def script(peer: RawScp) -> None:
        peer.accept()
        peer.answer(peer.command(), 0xA700)

    with scripted(script) as port:
        assert storing(port, 1 << 20) == 0xA700


def test_what_is_not_to_be_had_leaves_an_association_or_ends_it():
    async def store(port: int, before: int) -> tuple[bool, str]:
        async def blocks() -> AsyncIterator[bytes]:
            for _ in range(before):
                yield bytes(100)
            raise UpstreamFailed("gone")

        async with connected(port, Proposal(CT_IMAGE, BOTH)) as association:
            with pytest.raises(UpstreamFailed):
                await scu.store(association, 1, CT_IMAGE, "1.2.3", blocks(), timeout_s=1)
            return association.is_open, association.result

    with scripted(lambda peer: peer.accept()) as port:
        assert play(store(port, 0)) == (True, "")
    with scripted(lambda peer: peer.accept()) as port:
        assert play(store(port, 3)) == (False, "data set not to be had")


def test_who_is_called_off_while_waiting_leaves_nothing():
    async def call_off(port: int) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await echoed(port)

    for script in (lambda peer: None, lambda peer: peer.accept()):
        with scripted(script) as port:
            play(call_off(port))


def test_mutated_answers_do_no_harm():
    chance = random.Random(4711)
    whole = acceptance(scu._request([ECHOING], called="A", calling="B", longest=16384)).encode()
    pending = a_command(0x8020, has_data=True, responded_message_id=2, status=0xFF00)
    final = a_command(0x8020, has_data=False, responded_message_id=2, status=0)
    whole += ANSWER + p_data(1, pending, command=True) + p_data(1, bytes(40), command=False)
    whole += p_data(1, final, command=True) + pdu.release_rp()
    outcomes: dict[str, int] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mutated = bytearray(whole)
        for _ in range(chance.randint(1, 5)):
            mutated[int(len(mutated) * chance.random() ** 2)] = chance.randrange(256)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readexactly(200)
            writer.write(mutated[: chance.randint(1, len(mutated))])
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    async def converse(port: int) -> str:
        try:
            async with connected(port, ECHOING) as association:
                await scu.echo(association, 1, timeout_s=1)
                answers = [each async for each in scu.find(association, 1, b"1234", QUICK)]
                return f"{len(answers)} answers"
        except (UpstreamFailed, AssociationLost, KeyError) as error:
            return type(error).__name__

    async def all_of_them() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for _ in range(1000):
            outcome = await converse(port)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        server.close()
        await server.wait_closed()

    play(all_of_them())

    assert sum(outcomes.values()) == 1000
    assert outcomes.keys() >= {"UpstreamFailed", "AssociationLost", "2 answers"}
