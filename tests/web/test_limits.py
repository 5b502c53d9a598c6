"""How much may come in, go out and be on its way at once, and what is said beyond that."""

import asyncio
import gzip
import json

import pytest
from starlette.types import Message

from service.app import create_app
from service.archive.intake import IntakeLimits
from service.dicom.errors import TooLarge
from service.environment import SettingError
from service.index.open import open_index
from service.settings import Settings
from service.web.limits import bounded, places
from tests.composing import OCTETS, Bulk, a_body, metadata, post_body
from tests.making import a_ct
from tests.sending import HEAD, Sender
from tests.sites import ROOT

SMALL = 1 << 10
END = b"\r\n--bnd--"


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(site):
    sender = Sender(then="stall", content_length=b"4000", expect=b"100-continue")
    sender.send_to(site, max_body=3999)
    assert (sender.status, sender.asked) == (413, 0)
    assert "ISTHMUS_MAX_BODY" in sender.answer["detail"]


def test_a_body_that_turns_out_too_large_keeps_its_complete_parts(site):
    whole = HEAD + a_ct() + b"\r\n"
    large = HEAD + a_ct() + bytes(1 << 20)
    sender = Sender(whole, large, then="stall").send_to(site, max_body=len(whole) + 100)
    assert sender.status == 413
    assert "ISTHMUS_MAX_BODY" in sender.answer["detail"]
    assert "1 instances before that are stored" in sender.answer["detail"]
    assert len(site.get("/instances").json()) == 1


def test_a_body_is_measured_when_it_is_unzipped_too(open_site):
    site = open_site(max_body=1 << 20)
    bomb = gzip.compress(HEAD + a_ct() + bytes(2 << 20))
    response = site.client.post(
        f"{ROOT}/studies",
        content=bomb,
        headers={
            "Content-Type": 'multipart/related; type="application/dicom"; boundary=bnd',
            "Content-Encoding": "gzip",
        },
    )
    assert response.status_code == 413
    assert "1 MiB when unzipped" in response.json()["detail"]


def test_one_instance_that_is_too_large_is_refused_and_the_others_are_stored(open_site):
    small, large = a_ct(), a_ct([bytes(32)] * 500)
    site = open_site(max_instance=(len(small) + len(large)) // 2)
    response = site.post_parts(small, large, a_ct())
    assert response.status_code == 202
    answer = response.json()
    assert len(answer["00081199"]["Value"]) == 2
    (failed,) = answer["00081198"]["Value"]
    assert failed["00081197"]["Value"] == [0xA700]
    assert "ISTHMUS_MAX_INSTANCE" in failed["00000902"]["Value"][0]
    # and: nothing is left of it
    assert len(list(site.store.keys())) == 2


def test_an_instance_that_is_too_large_is_413_where_it_is_alone(open_site):
    site = open_site(max_instance=SMALL)
    assert site.post(a_ct([bytes(32)] * 200)).status_code == 413
    assert list(site.store.keys()) == []


def test_bulk_data_that_are_too_large_refuse_their_instance(open_site):
    site = open_site(max_instance=8 << 10)
    document = metadata()
    document["00420011"] = {"vr": "OB", "BulkDataURI": "bulk/1"}
    bulk = Bulk("bulk/1", bytes(16 << 10), OCTETS)
    response = post_body(site, a_body([json.dumps([document]).encode()], [bulk]))
    assert response.status_code == 413
    assert list(site.store.keys()) == []


@pytest.mark.parametrize("accept", ["application/dicom; transfer-syntax=*", "*/*"])
def test_an_answer_that_would_be_too_large_is_refused(open_site, accept):
    site = open_site(max_response=SMALL)
    site.post(a_ct(study="1.1", series="1.2", instance="1.3", frames=[bytes(32)] * 200))
    path = "/studies/1.1/series/1.2/instances/1.3"
    refused = site.get(path, accept)
    assert refused.status_code == 413
    assert "ISTHMUS_MAX_RESPONSE" in refused.json()["detail"]
    # and: the part of it that is small enough can be had, and its head
    assert site.client.head(ROOT + path, headers={"Accept": accept}).status_code == 200
    some = site.get(path, "application/dicom; transfer-syntax=*", Range="bytes=0-999")
    assert (some.status_code, len(some.content)) == (206, 1000)


def test_an_answer_of_unknown_size_is_broken_off():
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def answer() -> None:
        within = bounded(send, 1000)
        await within({"type": "http.response.start", "status": 200, "headers": []})
        await within({"type": "http.response.body", "body": bytes(900), "more_body": True})
        with pytest.raises(TooLarge, match="ISTHMUS_MAX_RESPONSE"):
            await within({"type": "http.response.body", "body": bytes(200), "more_body": False})

    asyncio.run(answer())
    assert len(sent) == 2


def test_more_requests_than_allowed_are_told_to_come_back_at_once(site):
    async def one_too_many() -> Sender:
        app = create_app(site.archive, Settings(max_requests=4, uploads=100))
        stalled = [asyncio.ensure_future(Sender(HEAD, then="stall").post(app)) for _ in range(2)]
        await asyncio.sleep(0)
        late = Sender(then="stall")
        await late.post(app)
        for task in stalled:
            task.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)
        return late

    late = asyncio.run(one_too_many())
    assert late.status == 503
    assert int(late.headers[b"retry-after"]) > 0
    assert late.asked == 0 or late.waits


def test_uploads_take_half_of_the_places_at_most():
    assert [places(1024, 512), places(100, 512), places(2, 512)] == [512, 50, 1]


def test_a_body_that_drips_is_given_up(site):
    """Byte by byte, for ever, each of them in time."""

    async def dripped() -> Sender:
        app = create_app(site.archive, Settings(body_stall_s=0.2))
        sender = _Dripping(then="stall")
        await asyncio.wait_for(sender.post(app), 20)
        return sender

    sender = asyncio.run(dripped())
    assert sender.status == 408
    assert "Hardly anything of the body came" in sender.answer["detail"]


class _Dripping(Sender):
    """A sender whose body comes a byte at a time, the first one at once, and never ends."""

    async def _receive(self):
        self.asked += 1
        if self.asked > 1:
            await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"-", "more_body": True}


def test_settings_of_limits_are_read_and_checked():
    environ = {
        "ISTHMUS_MAX_BODY": "2GiB",
        "ISTHMUS_MAX_INSTANCE": "1GiB",
        "ISTHMUS_MAX_REQUESTS": "64",
        "ISTHMUS_MAX_RESPONSE": "512MiB",
        "ISTHMUS_STATEMENT_S": "5",
    }
    settings = Settings.from_environment(environ)
    assert (settings.max_body, settings.max_instance) == (2 << 30, 1 << 30)
    assert (settings.max_requests, settings.max_response, settings.statement_s) == (64, 512 << 20, 5)
    for name in environ:
        with pytest.raises(SettingError, match=name):
            Settings.from_environment({name: "-1"})


def test_what_is_larger_than_a_default_is_no_instance_that_anybody_makes():
    default = Settings()
    assert IntakeLimits(1, 1, 1).largest_bytes == default.max_instance
    assert default.max_instance < default.max_body


def test_the_statement_limit_reaches_the_index(tmp_path):
    index = open_index(f"sqlite://{tmp_path}/index.db", statement_limit_s=7)
    assert index._limit_s == 7  # type: ignore[attr-defined]
    index.close()
