"""Who may ask for what over a real association, and how many associations each may have."""

import contextlib
import logging
import queue
import socket
from collections.abc import Callable, Iterator

import pytest

from bridge import hosts, statuses
from bridge.archive.remote import RemoteArchive
from bridge.journal import AssociationReport
from bridge.peers import SERVICES, Peer, Peers
from bridge.scp.listener import Listener
from bridge.settings import BridgeSettings, Limits
from bridge.upper import pdu
from bridge.upper.association import Association
from bridge.upper.command import Command, Operation, Tag
from bridge.upper.messages import Message
from bridge.upper.negotiation import Offer, choose_for_storage
from tests.dimse.dimse_peers import (
    CT_IMAGE,
    PATIENCE_S,
    VERIFICATION,
    Archive,
    Bridge,
    Ground,
    RawPeer,
    StartBridge,
    a_command,
    a_context,
    a_request,
    a_store,
    an_echo,
    an_instance,
    p_data,
)

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
WORKLIST = "1.2.840.10008.5.1.4.31"
COMMITMENT = "1.2.840.10008.1.20.1"
PROCEDURE_STEP = "1.2.840.10008.3.1.2.3.3"

# What each service is asked by: operation and class.
REQUESTS: dict[str, tuple[int, str]] = {
    "echo": (Operation.C_ECHO, VERIFICATION),
    "store": (Operation.C_STORE, CT_IMAGE),
    "find": (Operation.C_FIND, FIND),
    "move": (Operation.C_MOVE, MOVE),
    "get": (Operation.C_GET, GET),
    "worklist": (Operation.C_FIND, WORKLIST),
    "commitment": (Operation.N_ACTION, COMMITMENT),
    "mpps": (Operation.N_CREATE, PROCEDURE_STEP),
}


class Anything:
    """Serves every class and every operation with success."""

    operations = frozenset({int(operation) for operation in Operation})

    def offer(self, abstract: str, service_class: str) -> Offer | None:
        return Offer(choose_for_storage)

    async def serve(self, message: Message, association: Association) -> int:
        if message.data is not None:
            await message.data.drop()
        await association.send(message.context.context_id, message.command.answered(statuses.SUCCESS))
        return statuses.SUCCESS


@pytest.fixture
def bridge_with(ground: Ground) -> Iterator[Callable[..., Bridge]]:
    """Starts a bridge that serves anything to the peers given, on every address of this machine."""
    running: list[Bridge] = []

    async def begin(settings: BridgeSettings) -> Bridge:
        reports: queue.Queue[AssociationReport] = queue.Queue()
        listener = Listener(settings, [Anything()], reports.put)
        _, port = await listener.start()
        return Bridge(ground, listener, RemoteArchive(settings.archive), port, reports)

    def start(peers: Peers, **limits: int) -> Bridge:
        settings = BridgeSettings(host="0.0.0.0", port=0, peers=peers, limits=Limits(**limits))
        running.append(ground.run(begin(settings)))
        return running[-1]

    yield start
    for bridge in running:
        bridge.drain(0.0).result(PATIENCE_S)
        ground.run(bridge.remote.close())


def known(services: frozenset[str] = frozenset(SERVICES), host: str = "127.0.0.1", **more) -> Peer:
    found = hosts.address(host)
    assert found is not None
    return Peer("ct", "CT1", host, 104, services, callers=hosts.networks_of([found]), **more)


def own_address() -> str:
    """An address of this machine that is none of the loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but the loopback")
        host = str(probe.getsockname()[0])
    if hosts.is_loopback(host):
        pytest.skip("this machine has no address but the loopback")
    return host


def answers(address: tuple[str, int], calling: bytes = b"CT1") -> dict[str, Command]:
    """The response to one request of each service, all on one association."""
    found = {}
    with RawPeer(address) as peer:
        contexts = [a_context(2 * n + 1, abstract) for n, (_, abstract) in enumerate(REQUESTS.values())]
        accepted = peer.associate(*contexts, calling=calling)
        assert [context.result for context in accepted.contexts] == [0] * len(contexts)
        for context, (service, (operation, abstract)) in zip(contexts, REQUESTS.items(), strict=True):
            has_data = operation not in (Operation.C_ECHO,)
            command = a_command(operation, has_data=has_data, affected_sop_class=abstract)
            peer.send(p_data(context.context_id, command, command=True))
            if has_data:
                peer.send(p_data(context.context_id, bytes(70_000), command=False))
            found[service] = peer.response()
        peer.send(pdu.release_rq())
        assert peer.next_pdu()[0] == pdu.Kind.RELEASE_RP
    return found


def allowed(found: dict[str, Command]) -> set[str]:
    assert {response.status for response in found.values()} <= {0x0000, 0x0124}
    return {service for service, response in found.items() if response.status == 0}


@pytest.mark.parametrize("services", [{"echo"}, {"find", "get"}, set(SERVICES), {"worklist"}, set()])
def test_a_known_peer_may_ask_for_its_services(bridge_with, services: set[str]):
    bridge = bridge_with(Peers([known(frozenset(services))]))

    assert allowed(answers(bridge.address, b" ct1 ")) == services


def test_strangers_may_echo_and_store(bridge_with):
    bridge = bridge_with(Peers([known()]))

    assert allowed(answers((own_address(), bridge.port))) == {"echo", "store"}
    assert allowed(answers(bridge.address, b"OTHER")) == set(SERVICES)  # from the machine itself


def test_strangers_may_do_what_the_file_lets_them(bridge_with):
    some = frozenset({"echo", "find"})
    bridge = bridge_with(Peers([], unknown=some, loopback=some))

    assert allowed(answers((own_address(), bridge.port))) == some
    assert allowed(answers(bridge.address)) == some


def test_a_peer_at_its_address_is_known(bridge_with):
    host = own_address()
    bridge = bridge_with(Peers([known(frozenset({"echo", "find"}), host)]))

    assert allowed(answers((host, bridge.port))) == {"echo", "find"}
    assert allowed(answers((host, bridge.port), b"CT2")) == {"echo", "store"}


def ours(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the bridge has logged; a peer of an earlier test may still have something to say."""
    return [record for record in caplog.records if record.name.startswith("isthmus")]


def test_a_refusal_says_where_permissions_are_written(bridge_with, caplog):
    bridge = bridge_with(Peers([known(frozenset({"echo"}))]))
    with caplog.at_level(logging.WARNING):
        found = answers(bridge.address)

    for service, response in found.items():
        if service != "echo":
            comment = response.text(Tag.ERROR_COMMENT)
            assert service in comment
            assert "ISTHMUS_PEERS" in comment
            assert len(comment) <= 64
            assert response.text(Tag.AFFECTED_SOP_CLASS) == REQUESTS[service][1]
    assert len(ours(caplog)) == len({operation for operation, _ in REQUESTS.values()}) - 1


def test_a_refused_peer_may_go_on_and_is_logged_once(bridge_with, caplog):
    bridge = bridge_with(Peers([known(frozenset({"echo"}))]))
    refused = b"".join(a_store(an_instance(50_000)))
    with caplog.at_level(logging.WARNING), RawPeer(bridge.address) as peer:
        peer.associate(a_context(1), a_context(3, VERIFICATION), calling=b"CT1")
        for _ in range(3):
            peer.send(refused + an_echo(3))
            assert (peer.response().status, peer.response().status) == (0x0124, 0x0000)
        peer.send(pdu.release_rq())

        report = bridge.report()

    assert report.answers == {(Operation.C_STORE, 0x0124): 3, (Operation.C_ECHO, 0): 3}
    assert len(ours(caplog)) == 1


def test_a_peer_that_may_not_store_stores_nothing(start_bridge: StartBridge, archive: Archive):
    bridge = start_bridge(peers=Peers([known(frozenset({"echo"}))]))
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(), calling=b"CT1")
        peer.send(b"".join(a_store(an_instance())))

        assert peer.response().status == 0x0124
    assert archive.requests == []


def test_each_peer_has_its_own_number_of_associations(bridge_with):
    bridge = bridge_with(Peers([known(max_associations=2)]), associations_per_caller=3)
    with contextlib.ExitStack() as stack:

        def ask(calling: bytes) -> RawPeer:
            peer = stack.enter_context(RawPeer(bridge.address))
            peer.send(a_request_of(calling))
            return peer

        kinds = [ask(b"CT1").next_pdu()[0] for _ in range(2)]
        refused = ask(b"ct1").rejection()
        strangers = [ask(b"OTHER").next_pdu()[0] for _ in range(3)]
        crowded = ask(b"OTHER").rejection()

    assert kinds + strangers == [pdu.Kind.ASSOCIATE_AC] * 5
    assert (refused.result, refused.source, refused.reason) == (2, 3, 2)
    assert (crowded.result, crowded.source, crowded.reason) == (2, 3, 2)


def test_an_association_that_ends_gives_its_place_back(bridge_with):
    bridge = bridge_with(Peers([known(max_associations=1)]))
    for _ in range(3):
        assert allowed(answers(bridge.address)) == set(SERVICES)
        bridge.report()


def a_request_of(calling: bytes) -> bytes:
    return a_request(a_context(1, VERIFICATION), calling=calling).encode()


def test_a_peer_is_announced_the_longest_pdu_that_it_can_make(bridge_with):
    bridge = bridge_with(Peers([known(max_pdu=16384)]))
    longest = {}
    for calling in (b"CT1", b"OTHER"):
        with RawPeer(bridge.address) as peer:
            longest[calling] = peer.associate(calling=calling).user.max_length

    assert longest == {b"CT1": 16384, b"OTHER": 131072}


def test_a_pdu_longer_than_was_announced_to_its_sender_aborts(bridge_with):
    bridge = bridge_with(Peers([known(max_pdu=16384)]))
    pdus = {
        longest: p_data(1, bytes(longest - 6), command=False, longest=longest) for longest in (16384, 60000)
    }
    command = a_command(Operation.C_STORE, has_data=True, affected_sop_class=CT_IMAGE)
    for calling, longest in ((b"CT1", 16384), (b"OTHER", 60000)):
        with RawPeer(bridge.address) as peer:
            peer.associate(calling=calling)
            peer.send(p_data(1, command, command=True) + pdus[longest])
            assert peer.response().status == 0
    with RawPeer(bridge.address) as peer:
        peer.associate(calling=b"CT1")
        peer.send(p_data(1, command, command=True) + pdus[60000])
        assert peer.abort_reason() == pdu.Fault.INVALID_PARAMETER


def test_the_log_has_numbers_and_titles_and_nothing_of_patients(start_bridge: StartBridge, caplog):
    bridge = start_bridge()
    instance = an_instance()
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1), a_context(3, "1.2.840.10008.9.9"), a_context(5, VERIFICATION))
        peer.send(b"".join(a_store(instance)) + an_echo(5))
        peer.response(), peer.response()
        peer.send(pdu.release_rq())
        report = bridge.report()

    with caplog.at_level(logging.DEBUG):
        report.log()

    line = ours(caplog)[-1].getMessage()
    assert line.startswith(
        f"association peer=127.0.0.1 calling=RAW-SCU called=ANY-SCP contexts={report.contexts} objects=1 "
        f"bytes={len(instance.data)} answers=C-STORE/0000:1,C-ECHO/0000:1 seconds="
    )
    assert line.endswith(" result=released")


def test_an_echo_by_itself_is_logged_for_debugging_only(start_bridge: StartBridge, caplog):
    bridge = start_bridge()
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1, VERIFICATION))
        peer.send(an_echo())
        peer.response()
    report = bridge.report()

    with caplog.at_level(logging.DEBUG):
        report.log()

    assert [record.levelno for record in ours(caplog)] == [logging.DEBUG]
