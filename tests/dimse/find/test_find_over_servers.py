"""C-FIND over DICOMweb servers of all kinds: statuses, order, cancels, and peers that go."""

import queue
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import web

from bridge.archive.remote import RemoteArchive
from bridge.journal import AssociationReport
from bridge.scp.echo import Echo
from bridge.scp.find import Find
from bridge.scp.listener import Listener
from bridge.settings import ArchiveSettings, BridgeSettings, Limits
from bridge.upper import pdu
from bridge.upper.command import Operation, decode
from service.dicom.syntaxes import IMPLICIT_LE
from tests.dimse.archives import ERRORS, Server, answering, holding
from tests.dimse.dimse_peers import PATIENCE_S, Ground, RawPeer, a_command, a_context, an_echo, p_data
from tests.dimse.finding import STUDY_ROOT
from tests.identifiers import a_query, encoded

PENDING, CANCELLED = 0xFF00, 0xFE00


@pytest.fixture
def reports() -> "queue.Queue[AssociationReport]":
    return queue.Queue()


@pytest.fixture
def start(
    ground: Ground, server: Server, reports: "queue.Queue[AssociationReport]"
) -> Iterator[Callable[..., int]]:
    """Starts a bridge in front of `server`; the port. Keyword arguments are its limits."""
    running: list[tuple[RemoteArchive, Listener]] = []

    async def begin(settings: BridgeSettings) -> int:
        remote = RemoteArchive(settings.archive)
        listener = Listener(settings, [Echo(), Find(remote, settings)], reports.put)
        running.append((remote, listener))
        return (await listener.start())[1]

    def begun(**limits: Any) -> int:
        archive = ArchiveSettings(url=server.url, answer_s=limits.pop("answer_s", 20.0))
        return ground.run(begin(BridgeSettings(port=0, archive=archive, limits=Limits(**limits))))

    yield begun
    for remote, listener in running:
        ground.begin(listener.drain(0.0)).result(PATIENCE_S)
        ground.run(remote.close())


def a_peer(port: int, **given: Any) -> RawPeer:
    peer = RawPeer(("127.0.0.1", port), **given)
    peer.associate(a_context(1, STUDY_ROOT, IMPLICIT_LE), a_context(3, "1.2.840.10008.1.1", IMPLICIT_LE))
    return peer


def a_find() -> bytes:
    command = a_command(Operation.C_FIND, has_data=True, affected_sop_class=STUDY_ROOT, priority=0)
    identifier = encoded(a_query(PatientID=""))
    return p_data(1, command, command=True) + p_data(1, identifier, command=False)


def a_cancel() -> bytes:
    command = a_command(Operation.C_CANCEL, has_data=False, responded_message_id=1)
    return p_data(1, command, command=True)


def statuses(peer: RawPeer) -> list[int]:
    """The statuses of the responses up to the final one."""
    seen: list[int] = []
    while not seen or seen[-1] == PENDING:
        kind, body = peer.next_pdu()
        assert kind == pdu.Kind.P_DATA
        if body[5] & pdu.COMMAND:
            seen.append(decode(body[6:]).status)
    return seen


@pytest.mark.parametrize(("status", "_", "expected"), ERRORS)
def test_errors_of_the_archive_become_statuses(server, start, status, _, expected):
    server.behave = answering(status)

    with a_peer(start()) as peer:
        peer.send(a_find())
        assert peer.response().status == expected


def test_an_error_behind_the_first_page_ends_the_answers(server, start):
    async def behave(request: web.Request) -> web.StreamResponse:
        return await (holding(10_000) if request.query["offset"] == "0" else answering(500))(request)

    server.behave = behave

    with a_peer(start()) as peer:
        peer.send(a_find())
        assert statuses(peer) == [PENDING] * 500 + [0xA700]


def test_an_archive_that_does_not_answer_is_out_of_resources(server, start):
    server.behave = server.hang

    with a_peer(start(answer_s=0.2)) as peer:
        peer.send(a_find())
        assert peer.response().status == 0xA700
    assert server.left.wait(PATIENCE_S)


def test_a_thousand_answers_come_in_order_and_all(server, start):
    server.behave = holding(1234)

    with a_peer(start()) as peer:
        peer.send(a_find())
        assert statuses(peer) == [PENDING] * 1234 + [0]
    assert server.offsets == [0, 500, 1000]


def test_a_cancel_stops_the_answers_within_a_hundred(server, start):
    server.behave = holding(1_000_000)

    with a_peer(start()) as peer:
        peer.send(a_find() + a_cancel())
        seen = statuses(peer)
        peer.send(an_echo(3))
        assert peer.response().status == 0

    assert seen[-1] == CANCELLED
    assert len(seen) <= 101


def test_a_cancel_amid_the_answers_ends_them(server, start):
    server.behave = holding(1_000_000)

    with a_peer(start()) as peer:
        peer.send(a_find())
        for _ in range(50):
            peer.next_pdu()
        peer.send(a_cancel())
        assert statuses(peer)[-1] == CANCELLED
    asked = len(server.asked)
    assert asked < 100


@pytest.mark.skipif(shutil.which("findscu") is None, reason="DCMTK's findscu is not installed")
def test_dcmtk_cancels(server, start):
    server.behave = holding(1_000_000)

    ran = subprocess.run(
        ["findscu", "-v", "-S", "--cancel", "20", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID",
         "127.0.0.1", str(start())],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert "Received Final Find Response (Cancel" in ran.stderr


def test_a_cancel_while_the_archive_is_waited_for_cuts_the_request(server, start):
    server.behave = server.hang

    with a_peer(start()) as peer:
        peer.send(a_find())
        assert server.arrived.wait(PATIENCE_S)
        peer.send(a_cancel())
        assert peer.response().status == CANCELLED
    assert server.left.wait(PATIENCE_S)


def test_a_peer_that_goes_takes_its_request_with_it(server, start):
    server.behave = server.hang

    with a_peer(start()) as peer:
        peer.send(a_find())
        assert server.arrived.wait(PATIENCE_S)
    assert server.left.wait(PATIENCE_S)


def test_a_peer_that_does_not_read_holds_the_search_up(server, start, reports):
    server.behave = holding(10_000_000)

    with a_peer(start(pdu_s=0.5), receive_bytes=4096) as peer:
        peer.send(a_find())
        assert reports.get(timeout=PATIENCE_S).result == "peer does not read"
    assert len(server.asked) < 100
