"""Searches in DICOMweb servers of all kinds: pages, ends, errors, and searches that are called off."""

from collections.abc import Callable

import pytest
from aiohttp import web

from bridge.archive.remote import RemoteArchive
from bridge.archive.searching import pages
from bridge.settings import ArchiveSettings
from service.dicom.criteria import Filter, Match
from service.dicom.errors import (
    Busy,
    TooMany,
    UpstreamFailed,
)
from service.dicom.query import Query
from service.dicom.resource import Level
from service.dicom.targets import Targets, targets
from tests.dimse.archives import ERRORS, Server, a_match, answering, holding, matches
from tests.dimse.dimse_peers import Ground

STUDIES = targets(Query(Level.STUDY))


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


def test_a_server_that_says_to_come_back_much_later_is_not_asked_again(server, search):
    server.behave = answering(503, headers={"Retry-After": "60"})

    with pytest.raises(Busy):
        search()
    assert len(server.asked) == 1
