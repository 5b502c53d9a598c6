"""The robustness table of the research: one attack a row, against the bridge and against pynetdicom's AE.

An attack raises `Harmed` where it works. Each is run on a fresh process of the bridge, which it must not
harm, and on one of stock pynetdicom with the same deadlines, where the table says whether it does.
"""

import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from bridge.upper import pdu
from tests.dimse.attacked import Barracks, Harmed, Victim, eventually
from tests.dimse.dimse_peers import (
    VERIFICATION,
    Archive,
    RawPeer,
    a_context,
    a_request,
    a_store,
    an_echo,
    an_instance,
)
from tests.dimse.victims import Order

type Attack = Callable[[Victim], None]
type Begin = Callable[..., Victim]

SHORT: dict[str, object] = {"deadline_s": 0.4}
SHORT_ALL_ALONG: dict[str, object] = {"deadline_s": 1.0, "idle_s": 1.0}
PEERS = 12
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST


def crowd(stack: contextlib.ExitStack, victim: Victim, count: int = PEERS) -> list[RawPeer]:
    return [stack.enter_context(RawPeer(victim.address)) for _ in range(count)]


def associated(stack: contextlib.ExitStack, victim: Victim) -> RawPeer:
    """A peer with an association; another one where the first was itself too late for the deadline."""
    for _ in range(50):
        begun = time.monotonic()
        peer = stack.enter_context(RawPeer(victim.address))
        try:
            peer.associate(a_context(1), a_context(3, VERIFICATION), calling=b"CROWD")
        except (EOFError, ConnectionError):
            if time.monotonic() - begun < victim.order.deadline_s:
                raise
        else:
            return peer
    raise AssertionError("never in time")


def all_closed(peers: list[RawPeer], within_s: float) -> bool:
    """Whether the victim ends all connections in time, whatever its last words are."""
    until = time.monotonic() + within_s
    for peer in peers:
        peer.socket.settimeout(max(0.01, until - time.monotonic()))
        try:
            while peer.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
    return True


def must_close(victim: Victim, peers: list[RawPeer], *, stock_s: float = 2.0) -> None:
    """`stock_s` after its deadline stock pynetdicom is believed never to close."""
    if not all_closed(peers, victim.order.deadline_s + (30.0 if victim.order.kind == "bridge" else stock_s)):
        raise Harmed("connections are never closed")


def send_at_least_some(peer: RawPeer, encoded: bytes) -> None:
    """Send to a victim that may have had enough already."""
    with contextlib.suppress(ConnectionError):
        peer.send(encoded)


def abort_mid_transfer(victim: Victim) -> None:
    victim.echo()
    before = victim.vitals()
    pdus = a_store(an_instance(60_000))
    for number in range(60):
        with RawPeer(victim.address) as peer:
            peer.associate(calling=b"ABORTER")
            peer.send(b"".join(pdus[:2]) + pdus[2][:1000])
            if number % 3 == 1:
                peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            elif number % 3 == 2:
                peer.send(pdus[2][1000:] + pdu.abort(by_provider=False))
        if number % 8 == 7:  # not more at a time than there are associations
            victim.echo_when_free()
    # What the archive's connections take is kept for the next instance.
    victim.recovers(replace(before, descriptors=before.descriptors + 12), within_s=30)
    victim.echo()


def send_nothing(victim: Victim) -> None:
    before = victim.vitals()
    with contextlib.ExitStack() as stack:
        must_close(victim, crowd(stack, victim, 8), stock_s=30.0)
    victim.recovers(before, within_s=30)
    victim.echo()


def three_bytes_and_silence(victim: Victim) -> None:
    before = victim.vitals()
    with contextlib.ExitStack() as stack:
        peers = crowd(stack, victim)
        for peer in peers:
            send_at_least_some(peer, b"\x01\x00\x00")
        must_close(victim, peers)
    victim.recovers(before, within_s=30)
    victim.echo()


def _drip(victim: Victim, *, begun: bytes, dripped: bytes) -> None:
    with contextlib.ExitStack() as stack:
        peers = []
        for _ in range(4):
            peers.append(associated(stack, victim) if begun else crowd(stack, victim, 1)[0])
            send_at_least_some(peers[-1], begun)
        spare_s = 30.0 if victim.order.kind == "bridge" else 1.5
        until = time.monotonic() + 2 * victim.order.deadline_s + spare_s
        at = 0
        while time.monotonic() < until:
            for peer in peers:
                send_at_least_some(peer, dripped[at : at + 1])
            at += 1
            if all_closed(peers, 0.05):
                return
    raise Harmed("a peer that drips is never closed")


def drip_a_request(victim: Victim) -> None:
    _drip(victim, begun=b"", dripped=a_request().encode())
    victim.echo()


def drip_data(victim: Victim) -> None:
    command, data, *_ = a_store(an_instance(60_000))
    _drip(victim, begun=command, dripped=data)
    victim.echo()


def stall_inside_data(victim: Victim) -> None:
    before = victim.vitals()
    command, data, *_ = a_store(an_instance(60_000))
    with contextlib.ExitStack() as stack:
        peers = []
        for _ in range(8):
            peers.append(associated(stack, victim))
            send_at_least_some(peers[-1], command + data[:5000])
        must_close(victim, peers)
    victim.recovers(replace(before, descriptors=before.descriptors + 8), within_s=30)
    victim.echo()


def announce_four_gigabytes(victim: Victim) -> None:
    before = victim.vitals()
    with RawPeer(victim.address) as peer:
        peer.send(struct.pack(">BxI", pdu.Kind.ASSOCIATE_RQ, 0xFFFFFFFF))
        swallowed = _pour(peer, 96 << 20)
    if swallowed > 24 << 20:
        raise Harmed(f"{swallowed} bytes of a request are read")
    victim.recovers(before, within_s=30)
    victim.echo()


def data_beyond_the_announced_maximum(victim: Victim) -> None:
    command, *_ = a_store(an_instance())
    with RawPeer(victim.address) as peer:
        announced = peer.associate(calling=b"POURER").user.max_length
        assert announced == 131072
        length = 60 << 20
        peer.send(command + struct.pack(">BxIIBB", pdu.Kind.P_DATA, length, length - 4, 1, 0))
        poured = _pour(peer, length - 6)
    if poured > 24 << 20:
        raise Harmed(f"{poured} bytes of one PDU are read")
    victim.echo()


def _pour(peer: RawPeer, most: int) -> int:
    """Send zeros until the victim has enough; how many it took."""
    block, sent = bytes(1 << 18), 0
    with contextlib.suppress(OSError):
        while sent < most:
            sent += peer.socket.send(block[: most - sent])
    return sent


def propose_128_contexts(victim: Victim) -> None:
    with RawPeer(victim.address) as peer:
        contexts = [a_context(2 * number + 1) for number in range(128)]
        begun = time.monotonic()
        answered = peer.associate(*contexts, calling=b"PROPOSER").contexts
        if len(answered) != 128 or time.monotonic() - begun > 30:
            raise Harmed("128 contexts are not answered")


def propose_300_contexts_again_and_again(victim: Victim) -> None:
    with RawPeer(victim.address) as peer:
        contexts = [a_context(2 * (number % 128) + 1) for number in range(300)]
        if len(peer.associate(*contexts, calling=b"PROPOSER").contexts) != 128:
            raise Harmed("the same contexts are not answered once")


def propose_one_id_for_two(victim: Victim) -> None:
    with RawPeer(victim.address) as peer:
        contexts = [a_context(2 * (number % 128) + 1, f"1.2.3.{number}") for number in range(300)]
        peer.send(a_request(*contexts).encode())
        kind, _ = peer.next_pdu()
    if kind != pdu.Kind.ABORT:
        raise Harmed("nobody knows which of two contexts is meant")
    victim.echo()


def call_by_a_wrong_title(victim: Victim) -> None:
    with RawPeer(victim.address) as peer:
        peer.send(a_request(called=b"SOMEBODY").encode())
        _must_reject(peer, (1, 1, 7))
    victim.echo()


def call_without_a_name(victim: Victim) -> None:
    for calling in (b" " * 16, bytes(16), "RÖNTGEN".encode("latin-1"), b"A\\B", b"A\x07B"):
        with RawPeer(victim.address) as peer:
            peer.send(a_request(calling=calling).encode())
            _must_reject(peer, (1, 1, 3))
    victim.echo()


def call_nobody(victim: Victim) -> None:
    for called in (b" " * 16, "RÖNTGEN".encode("latin-1")):
        with RawPeer(victim.address) as peer:
            peer.send(a_request(called=called).encode())
            _must_reject(peer, (1, 1, 7))
    victim.echo()


def _must_reject(peer: RawPeer, expected: tuple[int, int, int]) -> None:
    try:
        answer = peer.rejection()
    except (AssertionError, EOFError, OSError) as error:
        raise Harmed(f"no A-ASSOCIATE-RJ: {error}") from None
    if (answer.result, answer.source, answer.reason) != expected:
        raise Harmed(f"rejected with {answer}")


def associate_beyond_the_limit(victim: Victim) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            associated(stack, victim)
        for _ in range(3):
            peer = stack.enter_context(RawPeer(victim.address))
            peer.send(a_request().encode())
            _must_reject(peer, (2, 3, 2))
    victim.echo_when_free()


def connect_and_occupy(victim: Victim) -> None:
    with contextlib.ExitStack() as stack:
        crowd(stack, victim, PEERS)
        victim.echo()  # none of them has asked for an association


def store_on_what_was_refused(victim: Victim) -> None:
    with RawPeer(victim.address) as peer:
        printing = "1.2.840.10008.5.1.1.33"
        answered = peer.associate(a_context(1, printing), a_context(3), calling=b"STORER").contexts
        if {context.context_id: context.result for context in answered} != {1: 3, 3: 0}:
            raise Harmed(f"contexts are answered {answered}")
        peer.send(b"".join(a_store(an_instance(), 1)))
        if peer.next_pdu()[0] != pdu.Kind.ABORT:
            raise Harmed("an instance on a refused context is taken")
    victim.echo()


def mutate_pdus(victim: Victim) -> None:
    before = victim.vitals()
    chance = random.Random(4)
    conversation = a_request(a_context(1), a_context(3, VERIFICATION)).encode()
    conversation += b"".join(a_store(an_instance(400))) + an_echo(3) + pdu.release_rq()
    for number in range(many(victim)):
        mutated = bytearray(conversation)
        for _ in range(chance.randint(1, 6)):
            mutated[int(len(mutated) * chance.random() ** 2)] = chance.randrange(256)
        with RawPeer(victim.address) as peer, contextlib.suppress(ConnectionError):
            peer.send(mutated)
        if number % 8 == 7:
            victim.echo_when_free()
    victim.recovers(replace(before, descriptors=before.descriptors + 12), within_s=30)
    victim.echo_when_free()


def associate_in_turn(victim: Victim) -> None:
    victim.echo()
    before = victim.vitals()
    for _ in range(2 * many(victim)):
        victim.echo_when_free()
    victim.recovers(before, within_s=30)


def idle_in_great_number(victim: Victim) -> None:
    before = victim.vitals()
    with contextlib.ExitStack() as stack:
        for _ in range(many(victim)):
            associated(stack, victim)
        if victim.vitals().threads > before.threads + 4:
            raise Harmed(f"each association costs threads: {victim.vitals()}")
        victim.echo()
    victim.recovers(before, within_s=30)


def idle_for_a_while(victim: Victim) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(many(victim)):
            associated(stack, victim)
        before, begun = victim.vitals().cpu_s, time.monotonic()
        eventually(lambda: False, 1.5)
        spent, passed = victim.vitals().cpu_s - before, time.monotonic() - begun
    if spent > 0.02 * passed + 0.01:  # 2 % of a core, and one tick of the clock
        raise Harmed(f"idle associations cost {spent} s of CPU time in {passed} s")


def many(victim: Victim) -> int:
    """As many associations as can be opened within a second or two."""
    return 200 if victim.order.kind == "bridge" else 20


CLOSED = "never closed"
SERVED = "a new peer is not served"

# The table of the research: the attack, what it does to stock pynetdicom (nothing where that is empty), and
# what both are run with. Its rows on TLS belong to the tests of TLS.
ROWS: list[tuple[Attack, str, dict[str, object]]] = [
    (abort_mid_transfer, "", {}),
    (send_nothing, "", SHORT),
    (three_bytes_and_silence, CLOSED, SHORT),
    (drip_a_request, CLOSED, SHORT),
    (drip_data, CLOSED, SHORT_ALL_ALONG),
    (stall_inside_data, CLOSED, SHORT_ALL_ALONG),
    (announce_four_gigabytes, "bytes of a request are read", {}),
    (data_beyond_the_announced_maximum, "bytes of one PDU are read", {}),
    (propose_128_contexts, "", {}),
    (propose_300_contexts_again_and_again, "", {}),
    (propose_one_id_for_two, "which of two contexts", {}),
    (call_by_a_wrong_title, "", {"only_called": "ONLY"}),
    (call_without_a_name, "no A-ASSOCIATE-RJ", {}),
    (call_nobody, "no A-ASSOCIATE-RJ", {}),
    (associate_beyond_the_limit, "", {}),
    (connect_and_occupy, SERVED, {"deadline_s": 8.0}),
    (store_on_what_was_refused, "", {}),
    (mutate_pdus, "", SHORT),
    (associate_in_turn, "", {}),
    (idle_in_great_number, "costs threads", {"associations": 250, "deadline_s": 5.0}),
    (idle_for_a_while, "cost .* of CPU time", {"associations": 250, "deadline_s": 5.0}),
]


@pytest.fixture(scope="module")
def barracks() -> Iterator[Barracks]:
    barracks = Barracks()
    yield barracks
    barracks.close()


@pytest.fixture
def begin(barracks: Barracks, archive: Archive) -> Iterator[Begin]:
    begun: list[Victim] = []

    def start(kind: str, **given: object) -> Victim:
        order = replace(Order(kind, archive.url), **given)  # type: ignore[arg-type]
        begun.append(barracks.start(order))
        return begun[-1]

    yield start
    for victim in begun:
        victim.kill()


def rows(chosen: Callable[[str], bool]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("attack", "harm", "given"),
        [pytest.param(*row, id=row[0].__name__) for row in ROWS if chosen(row[1])],
    )


@rows(lambda harm: True)
def test_the_bridge_stands(begin: Begin, attack: Attack, harm: str, given: dict[str, object]):
    attack(begin("bridge", **given))


@rows(lambda harm: bool(harm))
def test_stock_pynetdicom_falls(begin: Begin, attack: Attack, harm: str, given: dict[str, object]):
    with pytest.raises(Harmed, match=harm):
        attack(begin("stock", **given))


@rows(lambda harm: not harm)
def test_stock_pynetdicom_stands(begin: Begin, attack: Attack, harm: str, given: dict[str, object]):
    attack(begin("stock", **given))


def test_a_bridge_without_descriptors_left_serves_again_when_there_are_some(begin: Begin):
    victim = begin("bridge", descriptors=60, **SHORT)
    before = victim.vitals()
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(victim.address)) for _ in range(120)]
        must_close(victim, peers)
    victim.recovers(before, within_s=30)
    victim.echo_when_free()
