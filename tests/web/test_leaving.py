"""Clients that leave before what they asked for is made."""

import asyncio
import threading

import pytest

from tests.conformance.pictured import J2K, picture, stored
from tests.conformance.retrieving import MANY_OCTETS, OCTETS, keep

_WAIT_S = 60


class Gate:
    """Work that begins, and ends when it is let."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self) -> bytes:
        self.begun.set()
        assert self.open.wait(_WAIT_S)
        return b"made"


async def ask_and_leave(site, path: str, accept: str) -> list[dict[str, object]]:
    """Ask, wait until something is queued, leave; what was sent nevertheless."""
    sent: list[dict[str, object]] = []
    asked = False
    left = asyncio.Event()

    async def receive() -> dict[str, object]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/dicom-web" + path,
        "raw_path": ("/dicom-web" + path).encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver"), (b"accept", accept.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
        "state": {},
    }
    answering = asyncio.ensure_future(site.client.app(scope, receive, send))
    while not site.house.workshop.load().queued:
        await asyncio.sleep(0)
    left.set()
    await asyncio.wait_for(answering, _WAIT_S)
    return sent


@pytest.mark.parametrize("below", ["/frames/1", "/frames/1,2", "/pixeldata", ""])
def test_what_nobody_waits_for_any_more_is_not_made(open_site, below):
    # given: a single thread that is busy
    site = open_site(workers=64)
    path = keep(site, stored([picture(number) for number in range(2)], J2K)[0])
    gate = Gate()
    busy = site.house.workshop.submit("busy", gate)
    assert gate.begun.wait(_WAIT_S)

    # when
    accept = OCTETS if below == "/frames/1" else MANY_OCTETS if below else "application/dicom"
    sent = asyncio.run(ask_and_leave(site, path + below, accept))

    # then
    assert site.house.workshop.load().queued == 0
    assert [message.get("status") for message in sent if "status" in message] == [499]
    gate.open.set()
    assert busy.result(_WAIT_S) == b"made"


def test_an_answer_that_has_begun_waits_instead_of_being_refused(open_site):
    site = open_site(workers=64, pixel_queue=1)
    pictures = [picture(number) for number in range(6)]
    path = keep(site, stored(pictures, J2K)[0])
    answer = site.get(f"{path}/frames/1,2,3,4,5,6", MANY_OCTETS)
    assert answer.status_code == 200
    assert all(one.tobytes() in answer.content for one in pictures)
