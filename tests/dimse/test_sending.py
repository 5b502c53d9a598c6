"""What we send as requestor: for long, to slow readers, in tiny fragments; and answers that nobody wants."""

import asyncio
import threading
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest

from bridge import scu
from bridge.scu import Proposal
from bridge.settings import Limits
from bridge.upper import pdu
from bridge.upper.association import Association
from bridge.upper.command import decode
from bridge.upper.messages import AssociationLost, Message
from tests.dimse.asking import QUICK, UNHURRIED, RawScp, acceptance, connected, ours, play, scripted
from tests.dimse.dimse_peers import CT_IMAGE, EXPLICIT_LE, PATIENCE_S

CT = Proposal(CT_IMAGE, (EXPLICIT_LE,))
PATIENT = Limits(response_s=PATIENCE_S, linger_s=2.0)
_pause = threading.Event()


def stored(
    port: int, data: bytes | AsyncIterator[bytes], limits: Limits = PATIENT, *, times: int = 1
) -> list[int]:
    """The statuses of C-STOREs on one association."""

    async def ask() -> list[int]:
        async with connected(port, CT, limits=limits) as association:
            context_id = ours(association, CT_IMAGE)
            return [
                await scu.store(association, context_id, CT_IMAGE, "1.2.3", data, timeout_s=limits.response_s)
                for _ in range(times)
            ]

    return play(ask())


class Taker:
    """A peer that keeps what it is sent, `pace_s` after each `step` bytes, in PDUs of `max_length`."""

    def __init__(self, *, max_length: int = 16384, pace_s: float = 0.0, step: int = 1 << 18) -> None:
        self.max_length = max_length
        self.pace_s = pace_s
        self.step = step
        self.data = bytearray()
        self.longest = 0

    def __call__(self, peer: RawScp) -> None:
        peer.send(acceptance(peer.request(), max_length=self.max_length).encode())
        command = bytearray()
        unpaced = 0
        while True:
            kind, body = peer.next_pdu()
            assert kind == pdu.Kind.P_DATA, kind
            self.longest = max(self.longest, len(body))
            if body[5] & pdu.COMMAND:
                command += body[6:]
            else:
                self.data += body[6:]
            unpaced += len(body)
            if unpaced >= self.step:
                unpaced = 0
                _pause.wait(self.pace_s)
            if body[5] == pdu.LAST:
                break
        peer.answer(decode(bytes(command)))


def test_an_association_that_sends_is_not_idle():
    taker = Taker()
    blocks = [bytes([n]) * 1000 for n in range(4)]

    async def slowly() -> AsyncIterator[bytes]:
        for block in blocks:
            await asyncio.sleep(0.15)  # as an archive does that makes them
            yield block

    with scripted(taker) as port:
        assert stored(port, slowly(), replace(PATIENT, idle_s=0.2)) == [0]
    assert taker.data == b"".join(blocks)


def test_an_association_that_has_sent_is_idle_again():
    async def ask(port: int) -> str:
        async with connected(port, CT, limits=replace(PATIENT, idle_s=0.1)) as association:
            await scu.store(association, 1, CT_IMAGE, "1.2.3", b"ab", timeout_s=PATIENCE_S)
            assert await association.receive() is None
            return association.result

    with scripted(Taker()) as port:
        assert play(ask(port)) == "idle"


def test_a_peer_that_reads_slowly_is_waited_for():
    taker = Taker(pace_s=0.15, step=1 << 20)  # for all of it, longer than for a PDU is waited
    data = bytes(20 << 20)

    with scripted(taker) as port:
        assert stored(port, data, replace(PATIENT, pdu_s=2.0)) == [0]
    assert len(taker.data) == len(data)


@pytest.mark.parametrize("max_length", [1, 7, 12, 20])
def test_a_peer_of_tiny_fragments_gets_everything_without_a_copy_in_pieces(max_length: int):
    taker = Taker(max_length=max_length)
    data = bytes(range(256)) * 1024

    tracemalloc.start()
    try:
        with scripted(taker) as port:
            assert stored(port, data) == [0]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert taker.data == data
    assert taker.longest <= 22
    assert most < 6 << 20


def test_no_fragment_is_sent_for_a_block_of_one_byte():
    pieces: list[bytes] = []

    def script(peer: RawScp) -> None:
        peer.accept()
        command = peer.command()
        while True:
            _, body = peer.next_pdu()
            pieces.append(body[6:])
            if body[5] == pdu.LAST:
                break
        peer.answer(command)

    async def crumbs() -> AsyncIterator[bytes]:
        for block in (b"a", b"", b"b", b"cde", b"f"):
            yield block

    with scripted(script) as port:
        assert stored(port, crumbs()) == [0]
    assert b"".join(pieces) == b"abcdef"
    assert all(pieces)


def test_an_answer_with_a_data_set_that_nobody_reads_keeps_nothing_up():
    def script(peer: RawScp) -> None:
        peer.accept()
        for _ in range(3):
            peer.answer(peer.command(), data=bytes(600_000))

    with scripted(script) as port:
        assert stored(port, b"ab", times=3) == [0, 0, 0]


def test_answers_that_come_twice_keep_nothing_up():
    def script(peer: RawScp) -> None:
        peer.accept()
        for _ in range(3):
            command = peer.command()
            for _ in range(8):
                peer.answer(command)

    with scripted(script) as port:
        assert stored(port, b"ab", times=3) == [0, 0, 0]


def test_a_peer_that_takes_a_little_and_no_more_is_given_up():
    gone = threading.Event()

    def script(peer: RawScp) -> None:
        peer.accept()
        peer.socket.recv(100_000)
        _pause.wait(QUICK.pdu_s)
        peer.socket.recv(3000)
        assert gone.wait(PATIENCE_S)

    def store(port: int) -> None:
        try:
            stored(port, bytes(20 << 20), replace(UNHURRIED, pdu_s=QUICK.pdu_s))
        finally:
            gone.set()

    with scripted(script) as port, pytest.raises(AssociationLost):
        store(port)


@pytest.mark.parametrize("way", ["find", "get"])
def test_a_peer_that_answers_on_and_on_behind_a_cancel_is_left(way: str):
    def endless(peer: RawScp) -> None:
        peer.accept()
        command = peer.command()
        peer.next_pdu()  # the identifier
        try:
            while True:
                peer.answer(command, 0xFF00, data=b"ab")
                _pause.wait(0.01)
        except OSError:
            pass

    async def nothing(message: Message, association: Association) -> None:
        raise AssertionError("no instance was sent")

    limits = replace(UNHURRIED, response_s=2.0)

    async def ask(port: int) -> str:
        async with connected(port, CT, limits=limits) as association:
            answers: AsyncGenerator[object] = (
                scu.find(association, 1, b"ab", limits)
                if way == "find"
                else scu.get(association, 1, b"ab", limits, on_store=nothing)
            )
            async with aclosing(answers):
                await anext(answers)
            return association.result

    with scripted(endless) as port:
        assert play(ask(port)) == "cancel not heeded"


@pytest.mark.parametrize(("size_bytes", "result"), [(20 << 20, "called off inside a message"), (10, "")])
def test_who_is_called_off_leaves_no_half_of_a_message(size_bytes: int, result: str):
    gone = threading.Event()

    def script(peer: RawScp) -> None:
        peer.accept()
        assert gone.wait(PATIENCE_S)

    async def ask(port: int) -> str:
        async with connected(port, CT, limits=PATIENT) as association:
            sending = asyncio.create_task(
                scu.store(association, 1, CT_IMAGE, "1.2.3", bytes(size_bytes), timeout_s=PATIENCE_S)
            )
            await asyncio.wait((sending,), timeout=0.2)
            sending.cancel()
            await asyncio.wait((sending,))
            gone.set()
            return association.result

    with scripted(script) as port:
        assert play(ask(port)) == result
