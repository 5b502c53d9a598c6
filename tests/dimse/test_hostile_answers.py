"""Queries, retrievals and stores whose peer stalls, breaks off or answers nonsense."""

import asyncio
import contextlib
import random
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from bridge import scu
from bridge.scu import Proposal
from bridge.settings import Limits
from bridge.upper import pdu
from bridge.upper.command import Operation
from bridge.upper.messages import AssociationLost, NoResponse
from service.dicom.errors import UpstreamFailed
from tests.dimse.asking import (
    BOTH,
    PATIENT,
    QUICK,
    UNHURRIED,
    RawScp,
    acceptance,
    connected,
    ours,
    play,
    scripted,
)
from tests.dimse.dimse_peers import CT_IMAGE, PATIENCE_S, VERIFICATION, a_command, p_data

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
ECHOING = Proposal(VERIFICATION, BOTH)
ANSWER = p_data(1, a_command(0x8030, has_data=False, responded_message_id=1, status=0), command=True)
Script = Callable[[RawScp], object]


async def found(port: int, most: int = 1000, limits: Limits = UNHURRIED) -> list[scu.Found]:
    answers = []
    async with (
        connected(port, Proposal(FIND, BOTH), limits=limits) as association,
        contextlib.aclosing(scu.find(association, ours(association, FIND), b"", limits)) as asked,
    ):
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

    if kind is NoResponse:
        limits = replace(UNHURRIED, response_s=QUICK.response_s)
    else:
        limits = replace(UNHURRIED, pdu_s=QUICK.pdu_s)
    with scripted(script) as port, pytest.raises(AssociationLost) as raised:
        play(found(port, limits=limits))

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
        with contextlib.suppress(OSError):  # it may be too late for us
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
        assert len(play(found(port, most=1, limits=replace(UNHURRIED, response_s=2.0)))) == 1


def test_an_identifier_that_is_too_long_is_left_out():
    def script(peer: RawScp) -> None:
        peer.accept()
        asked = peer.command()
        peer.next_pdu()
        peer.answer(asked, 0xFF00, bytes(200_000))
        peer.answer(asked, 0x0000)

    async def ask(port: int) -> list[int]:
        limits = replace(PATIENT, identifier_bytes=1000)
        async with connected(port, Proposal(FIND, BOTH), limits=limits) as association:
            return [len(each.identifier) async for each in scu.find(association, 1, b"12", limits)]

    with scripted(script) as port:
        assert play(ask(port)) == [0, 0]


def storing(port: int, size: int, limits: Limits = UNHURRIED, block: int = 1 << 16) -> int:
    async def store() -> int:
        async def blocks() -> AsyncIterator[bytes]:
            for _ in range(0, size, block):
                yield bytes(block)
                await asyncio.sleep(0)

        async with connected(port, Proposal(CT_IMAGE, BOTH), limits=limits) as association:
            return await scu.store(association, 1, CT_IMAGE, "1.2.3", blocks(), timeout_s=limits.response_s)

    return play(store())


def test_a_peer_that_does_not_read_what_is_stored_is_an_error():
    gone = threading.Event()

    def script(peer: RawScp) -> None:
        peer.accept()
        assert gone.wait(PATIENCE_S)

    def store(port: int) -> None:
        try:
            storing(port, 64 << 20, replace(UNHURRIED, pdu_s=QUICK.pdu_s))
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
        assert storing(port, 1 << 20, PATIENT) == 0xA700


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
