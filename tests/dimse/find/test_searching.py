"""Searches in DICOMweb servers of all kinds: pages, ends, errors, and searches that are called off."""

import asyncio
import queue
import shutil
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from bridge.journal import AssociationReport
from bridge.remote import RemoteArchive
from bridge.scp.echo import Echo
from bridge.scp.find import Find
from bridge.scp.listener import Listener
from bridge.searching import pages
from bridge.settings import ArchiveSettings, BridgeSettings, Limits
from bridge.upper import pdu
from bridge.upper.command import Operation, decode
from service.dicom.criteria import Filter, Match
from service.dicom.errors import (
    ArchiveError,
    BadRequest,
    Busy,
    NotAuthorized,
    TooMany,
    UpstreamFailed,
    UpstreamTimeout,
)
from service.dicom.query import Query
from service.dicom.resource import Level
from service.dicom.syntaxes import IMPLICIT_LE
from service.dicom.targets import Targets, targets
from tests.dimse.dimse_peers import PATIENCE_S, Ground, RawPeer, a_command, a_context, an_echo, p_data
from tests.dimse.finding import STUDY_ROOT
from tests.identifiers import a_query, encoded

STUDIES = targets(Query(Level.STUDY))
PENDING, CANCELLED = 0xFF00, 0xFE00

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


def a_match(number: int) -> dict[str, Any]:
    return {
        "00100020": {"vr": "LO", "Value": [f"P{number}"]},
        "0020000D": {"vr": "UI", "Value": [f"1.2.{number}"]},
    }


def matches(numbers: range, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response([a_match(number) for number in numbers], headers=headers)


@dataclass
class Server:
    """A DICOMweb server that answers searches as its `behave` says, and remembers what was asked."""

    behave: Behaviour | None = None
    asked: list[str] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs.removeprefix("/dicom-web"))
        self.arrived.set()
        assert self.behave is not None
        return await self.behave(request)

    @property
    def offsets(self) -> list[int]:
        return [int(one.partition("offset=")[2]) for one in self.asked]

    async def hang(self, request: web.Request) -> web.StreamResponse:
        """Never answer; note when the client has gone."""
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()
        raise AssertionError


def holding(total: int) -> Behaviour:
    """A server that holds so many studies and heeds limit and offset."""

    async def behave(request: web.Request) -> web.StreamResponse:
        begin = int(request.query["offset"])
        end = min(total, begin + int(request.query["limit"]))
        return matches(range(begin, end)) if begin < end else web.Response(status=204)

    return behave


def answering(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> Behaviour:
    async def behave(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return behave


@pytest.fixture
def server(ground: Ground) -> Iterator[Server]:
    server = Server()

    async def begin() -> web.AppRunner:
        application = web.Application()
        application.router.add_get("/dicom-web/{rest:.*}", server.handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    runner = ground.run(begin())
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/dicom-web"
    yield server
    ground.run(runner.cleanup())


@pytest.fixture
def search(ground: Ground, server: Server) -> Callable[..., list[str]]:
    """The study UIDs that a search finds, page after page."""

    async def run(asked: Targets, page: int | None) -> list[str]:
        archive = RemoteArchive(ArchiveSettings(url=server.url))
        try:
            return [
                match["0020000D"]["Value"][0]
                async for found in pages(archive, asked, page=page)
                for match in found
            ]
        finally:
            await archive.close()

    return lambda asked=STUDIES, page=10: ground.run(run(asked, page))


def uids(numbers: range) -> list[str]:
    return [f"1.2.{number}" for number in numbers]


# Pages


@pytest.mark.parametrize(("total", "offsets"), [(0, [0]), (7, [0]), (10, [0, 10]), (25, [0, 10, 20])])
def test_pages_follow_one_another_to_the_end(server, search, total, offsets):
    server.behave = holding(total)

    assert search() == uids(range(total))
    assert server.offsets == offsets


def test_a_page_that_the_server_cut_short_goes_on_where_it_ended(server, search):
    async def behave(request: web.Request) -> web.StreamResponse:
        begin = int(request.query["offset"])
        more = {"Warning": '299 host "There are 3 additional results that can be requested"'}
        return matches(range(begin, begin + 3), more if begin < 6 else None)

    server.behave = behave

    assert search() == uids(range(9))
    assert server.offsets == [0, 3, 6]


def test_a_server_that_pays_no_heed_to_pages_is_asked_twice(server, search):
    async def behave(request: web.Request) -> web.StreamResponse:
        return matches(range(30))

    server.behave = behave

    assert search() == uids(range(30))
    assert len(server.asked) == 2


@pytest.mark.parametrize("warning", [None, {"Warning": '299 host "There are additional results"'}])
def test_a_server_that_tells_its_first_page_only_is_no_end(server, search, warning):
    async def behave(request: web.Request) -> web.StreamResponse:
        return matches(range(10 if warning is None else 7), warning)

    server.behave = behave

    with pytest.raises(TooMany, match="no more than a page"):
        search()


def test_pages_of_many_bytes_are_asked_for_again_with_fewer_matches(server, search):
    async def behave(request: web.Request) -> web.StreamResponse:
        begin = int(request.query["offset"])
        end = min(120, begin + int(request.query["limit"]))
        long = {"00081030": {"vr": "LO", "Value": ["x" * 30_000]}}
        return web.json_response([a_match(number) | long for number in range(begin, end)])

    server.behave = behave

    assert search(page=500) == uids(range(120))
    asked = [request.partition("limit=")[2] for request in server.asked]
    assert asked == ["500&offset=0", "62&offset=0", "62&offset=62"]


def test_what_a_new_study_shifts_into_the_next_page_is_not_told_twice(server, search):
    async def behave(request: web.Request) -> web.StreamResponse:
        begin = int(request.query["offset"])
        return matches(range(10)) if not begin else matches(range(begin - 2, 15))

    server.behave = behave

    assert search() == uids(range(15))


def test_several_requests_follow_one_another(server, search):
    server.behave = holding(3)

    assert (
        search(Targets(STUDIES.query, ("/studies?0020000D=1", "/studies?0020000D=2"))) == uids(range(3)) * 2
    )
    assert server.asked == [
        "/studies?0020000D=1&limit=10&offset=0",
        "/studies?0020000D=2&limit=10&offset=0",
    ]


def test_of_many_attributes_fewer_matches_are_asked_at_a_time(server, search):
    server.behave = holding(3)
    many = Query(Level.STUDY, fields=tuple(range(0x00100010, 0x00100010 + 200)))

    search(STUDIES, None)
    search(targets(many), None)

    assert [request.partition("limit=")[2] for request in server.asked] == ["500&offset=0", "100&offset=0"]


def test_what_the_server_was_not_asked_is_filtered(server, search):
    server.behave = holding(25)
    two = Filter((0x00101010,), "AS", Match.ANY, ("002Y",))

    assert search(Targets(STUDIES.query, STUDIES.requests, (two,))) == []
    patient = Filter((0x00100020,), "LO", Match.ANY, ("P?2",))
    assert search(Targets(STUDIES.query, STUDIES.requests, (patient,))) == ["1.2.12", "1.2.22"]


def named(name: str) -> Targets:
    filters = (Filter((0x00100010,), "PN", Match.ANY, (name,)),)
    return targets(Query(Level.STUDY, filters=filters))


def test_a_server_that_decodes_nothing_is_asked_with_wildcards(server, search):
    async def behave(request: web.Request) -> web.StreamResponse:
        if "%" in request.rel_url.raw_query_string:
            return web.Response(status=204)
        names = ("Doe^Jane", "Doelan^Jane")
        held = [{"00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]}} for name in names]
        return web.json_response([a_match(number) | name for number, name in enumerate(held)])

    server.behave = behave

    assert search(named("Doe^Jane")) == ["1.2.0"]
    assert [request.partition("limit=")[0] for request in server.asked] == [
        "/studies?00100020=%2A&", "/studies?", "/studies?00100010=Doe*Jane*&",
    ]  # fmt: skip


def test_whether_a_server_decodes_is_found_out_once(ground, server):
    server.behave = holding(2)

    async def run() -> None:
        archive = RemoteArchive(ArchiveSettings(url=server.url))
        for _ in range(2):
            assert [len(found) async for found in pages(archive, named("Doe^Jane"))] == [2]
        await archive.close()

    ground.run(run())
    asked = [request.partition("&limit=")[0] for request in server.asked]
    assert asked == ["/studies?00100020=%2A", *["/studies?00100010=Doe%5EJane"] * 2]


@pytest.mark.parametrize("status", [204, 404])
def test_a_study_that_is_not_there_has_no_series(server, search, status):
    server.behave = answering(status)

    assert search(targets(Query(Level.SERIES, study="1.2"))) == []


# Errors

ERRORS: list[tuple[int, type[ArchiveError], int]] = [
    (400, BadRequest, 0xA900),
    (401, NotAuthorized, 0x0124),
    (403, NotAuthorized, 0x0124),
    (404, UpstreamFailed, 0xA700),
    (413, TooMany, 0xA700),
    (414, TooMany, 0xA700),
    (500, UpstreamFailed, 0xA700),
    (501, UpstreamFailed, 0xA700),
    (502, UpstreamFailed, 0xA700),
    (504, UpstreamTimeout, 0xA700),
    (302, UpstreamFailed, 0xA700),
]


@pytest.mark.parametrize(("status", "error", "_"), ERRORS)
def test_refusals_of_the_server_are_errors(server, search, status, error, _):
    server.behave = answering(status)

    with pytest.raises(error):
        search()


def test_a_busy_server_is_asked_again(server, search):
    async def behave(request: web.Request) -> web.StreamResponse:
        if len(server.asked) < 3:
            return web.Response(status=503, headers={"Retry-After": "0"})
        return matches(range(2))

    server.behave = behave

    assert search() == uids(range(2))


def test_a_server_that_stays_busy_is_given_up(server, search):
    server.behave = answering(503, headers={"Retry-After": "0"})

    with pytest.raises(Busy):
        search()
    assert len(server.asked) == 3


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'"x"', b"[{", b"\xff\xfe"])
def test_what_is_no_list_of_matches_is_a_failure(server, search, body):
    server.behave = answering(200, body)

    with pytest.raises(UpstreamFailed):
        search()


@pytest.mark.parametrize("body", [b"", b"[]", b"[null, 7, []]"])
def test_an_empty_answer_finds_nothing(server, search, body):
    server.behave = answering(200, body)

    assert search() == []


def test_an_answer_that_breaks_off_is_a_failure(server, search):
    async def behave(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"[{")
        assert request.transport is not None
        request.transport.close()
        return response

    server.behave = behave

    with pytest.raises(UpstreamFailed):
        search()


# Behind a C-FIND


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
