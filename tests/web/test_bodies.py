"""Bodies that stall or are cut, spoken to the application itself: no socket could be so exact."""

import asyncio
import json

from service.app import create_app
from service.settings import Settings
from tests.making import a_ct
from tests.sending import HEAD, Sender


def test_a_body_that_stalls_is_timed_out(site):
    sender = Sender(HEAD + a_ct()[:100], then="stall").send_to(site, body_stall_s=0.05)
    assert sender.status == 408
    assert sender.headers[b"connection"] == b"close"
    assert "of the body came for 0.05 seconds" in json.loads(sender.body)["detail"]
    assert list(site.store.keys()) == []


def test_a_stalled_body_keeps_its_complete_parts(site):
    sender = Sender(HEAD + a_ct() + b"\r\n" + HEAD + b"x", then="stall").send_to(site, body_stall_s=0.05)
    assert sender.status == 202
    assert len(json.loads(sender.body)["00081199"]["Value"]) == 1
    assert len(site.get("/instances").json()) == 1


def test_a_connection_cut_inside_a_part_keeps_the_complete_ones_only(site):
    whole, cut = a_ct(), a_ct()
    Sender(HEAD + whole + b"\r\n" + HEAD, cut[:-1], then="cut").send_to(site)
    assert len(site.get("/instances").json()) == 1
    assert len(list(site.store.keys())) == 1


def test_a_single_part_body_that_is_cut_is_not_stored_even_if_it_could_be_read(site):
    Sender(a_ct(), then="cut", media_type=b"application/dicom").send_to(site)
    assert site.get("/instances").status_code == 204
    assert list(site.store.keys()) == []


def test_a_body_may_come_byte_by_byte(site):
    body = b"\r\n" + HEAD + a_ct() + b"\r\n--bnd--"
    sender = Sender(*(body[at : at + 1] for at in range(len(body))), then="end").send_to(site)
    assert sender.status == 200


def test_waiting_for_bodies_takes_no_thread(site):
    """More bodies than there are threads stall, and another client is served meanwhile."""

    async def stalled_and_served() -> list[int]:
        app = create_app(site.archive, Settings(body_stall_s=600.0, store_threads=2))
        stalled = [
            asyncio.ensure_future(Sender(HEAD + a_ct()[:200], then="stall").post(app)) for _ in range(150)
        ]
        served = [Sender(HEAD + a_ct() + b"\r\n--bnd--", then="end") for _ in range(3)]
        for sender in served:
            await asyncio.wait_for(sender.post(app), 60)
        for task in stalled:
            task.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)
        return [sender.status for sender in served]

    assert asyncio.run(stalled_and_served()) == [200, 200, 200]


def test_more_uploads_than_allowed_are_told_to_come_back(site):
    async def one_too_many() -> Sender:
        app = create_app(site.archive, Settings(uploads=3))
        stalled = [asyncio.ensure_future(Sender(HEAD, then="stall").post(app)) for _ in range(3)]
        await asyncio.sleep(0)
        late = Sender(HEAD + a_ct() + b"\r\n--bnd--", then="end")
        await late.post(app)
        for task in stalled:
            task.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)
        return late

    late = asyncio.run(one_too_many())
    assert late.status == 503
    assert int(late.headers[b"retry-after"]) > 0


def test_a_request_that_is_ended_from_outside_stores_no_part_of_a_body(site):
    """As a server does that stops: the body's beginning alone could be read as a whole object."""
    whole = a_ct()
    padded = whole + b"\xfc\xff\xfc\xffOB\0\0\x04\0\0\0\0\0\0\0"

    async def cancelled() -> Sender:
        app = create_app(site.archive, Settings())
        sender = Sender(whole, then="stall", media_type=b"application/dicom")
        task = asyncio.ensure_future(sender.post(app))
        while not sender.waits:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return sender

    sender = asyncio.run(cancelled())
    assert sender.status == 503
    assert list(site.store.keys()) == []
    # and: the whole of it is not refused for a part that was kept
    assert site.post(padded).status_code == 200
