"""Answers from the workshop: work that nobody waits for is let go, what fails later breaks off."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from service.dicom.errors import Busy
from service.pixels.workshop import Workshop
from tests.conformance.picturing import PNG, an_image, ramp
from tests.conformance.retrieving import keep
from tests.reading import parts_of
from tests.sites import ROOT, Site

_WAIT_S = 60


@pytest.fixture
def image(site: Site) -> str:
    return keep(site, an_image(*(ramp(first=number) for number in range(4))))


@pytest.fixture
def workshops(monkeypatch: pytest.MonkeyPatch) -> list[Workshop]:
    """The workshops that jobs were handed to."""
    found: list[Workshop] = []
    real = Workshop.submit

    def submit(workshop: Workshop, *positional: Any, **named: Any) -> Any:
        found.append(workshop)
        return real(workshop, *positional, **named)

    monkeypatch.setattr(Workshop, "submit", submit)
    return found


@pytest.fixture
def busy(site: Site, image: str, workshops: list[Workshop]) -> Iterator[Workshop]:
    """A workshop whose threads are all at work until the test is over."""
    assert site.get(image + "/rendered?viewport=3,3").status_code == 200
    workshop, release = workshops[0], threading.Event()
    begun = threading.Semaphore(0)

    def work() -> bytes:
        begun.release()
        release.wait(_WAIT_S)
        return b""

    threads = len(workshop._threads)
    for number in range(threads):
        workshop.submit(("held", number), work)
    for _ in range(threads):
        assert begun.acquire(timeout=_WAIT_S)
    yield workshop
    release.set()


async def ask(site: Site, path: str, leave: asyncio.Event) -> list[dict[str, Any]]:
    """What the application sends to a client that leaves once `leave` is set."""
    sent: list[dict[str, Any]] = []
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    where, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/dicom-web" + where,
        "raw_path": ("/dicom-web" + where).encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"testserver"), (b"accept", b"image/png")],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("testserver", 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    await site.client.app(scope, receive, send)
    return sent


def test_a_client_that_leaves_lets_go_of_its_work(site, image, busy):
    async def leave_while_waiting() -> list[dict[str, Any]]:
        leave = asyncio.Event()
        asking = asyncio.ensure_future(ask(site, image + "/rendered?viewport=5,5", leave))
        while not busy.load().queued:
            await asyncio.sleep(0)
        leave.set()
        return await asyncio.wait_for(asking, _WAIT_S)

    sent = asyncio.run(leave_while_waiting())
    assert sent[0]["status"] == 499
    assert busy.load().queued == 0


def test_two_clients_wait_for_the_same_work_and_one_may_leave(site, image, busy):
    async def leave_one() -> object:
        leaving, staying = asyncio.Event(), asyncio.Event()
        path = image + "/rendered?viewport=5,5"
        first = asyncio.ensure_future(ask(site, path, leaving))
        second = asyncio.ensure_future(ask(site, path, staying))
        while busy.load().hits < 1 or not busy.load().queued:
            await asyncio.sleep(0)
        leaving.set()
        await asyncio.wait_for(first, _WAIT_S)
        queued = busy.load().queued
        staying.set()
        await asyncio.wait_for(second, _WAIT_S)
        return queued

    assert asyncio.run(leave_one()) == 1


def test_who_waits_while_the_server_closes_may_come_back(site, image, busy):
    async def close_while_waiting() -> list[dict[str, Any]]:
        asking = asyncio.ensure_future(ask(site, image + "/rendered?viewport=5,5", asyncio.Event()))
        while not busy.load().queued:
            await asyncio.sleep(0)
        threading.Thread(target=busy.close, daemon=True).start()
        return await asyncio.wait_for(asking, _WAIT_S)

    assert asyncio.run(close_while_waiting())[0]["status"] == 503


def test_a_full_workshop_refuses_at_once(open_site, workshops):
    site = open_site(pixel_queue=1)
    path = keep(site, an_image(ramp()))
    assert site.get(path + "/rendered?viewport=3,3").status_code == 200
    workshop, release = workshops[0], threading.Event()
    try:
        for number in range(len(workshop._threads) + 1):
            workshop.submit(("held", number), lambda: (release.wait(_WAIT_S), b"")[1])
        with pytest.raises(Busy):
            workshop.submit("one more", lambda: b"")
        response = site.get(path + "/rendered")
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1
    finally:
        release.set()


def test_what_is_broken_later_breaks_the_connection(site, image, monkeypatch):
    from service.archive.showing import stored_pixels as real

    def broken(archive: Any, held: Any, number: int, *rest: Any, **named: Any) -> Any:
        if number == 3:
            raise OSError("The disk is gone.")
        return real(archive, held, number, *rest, **named)

    monkeypatch.setattr("service.web.darkroom.stored_pixels", broken)
    many = {"Accept": f'multipart/related; type="{PNG}"'}
    assert len(parts_of(site.client.get(ROOT + image + "/frames/1,2,4/rendered", headers=many))) == 3
    whole = site.client.get(ROOT + image + "/rendered", headers=many)
    assert not whole.content.endswith(b"--\r\n")
