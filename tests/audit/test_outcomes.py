"""What an event says of how it ended, who it was, and what happens where nothing can be told."""

import asyncio
import contextlib
from ipaddress import ip_network

import pytest
from starlette.datastructures import Headers

from service.access.identity import KEY, Identity
from service.audit import codes
from service.audit.event import Event
from service.dicom.resource import Resource
from service.web import searched
from service.web.proxies import client_of
from service.web.witness import Witness
from tests.audit_events import Watched
from tests.making import a_ct
from tests.sites import ROOT

ONE = "/studies/1.1/series/1.2/instances/1.3"


def an_image() -> bytes:
    return a_ct(study="1.1", series="1.2", instance="1.3")


def test_what_is_not_there_is_told_as_a_failure_about_the_study_that_was_named(watch):
    site = watch()

    site.get(ONE)

    (event,) = site.told()
    assert (event.outcome, event.outcome_text) == (codes.MINOR_FAILURE, "Status 404")
    assert [*event.studies] == ["1.1"]


def test_a_path_that_is_no_uid_is_not_repeated(watch):
    site = watch()

    site.get("/studies/Doe%5EJane/metadata")

    (event,) = site.told()
    assert event.outcome == codes.MINOR_FAILURE
    assert "Doe" not in site.sink.text


def test_a_store_request_tells_what_was_kept_what_was_there_and_what_was_refused(watch):
    site = watch()
    site.post(an_image())

    site.post_parts(an_image(), a_ct(study="1.1", series="1.2", instance="1.4"), b"no DICOM")

    _, event = site.told()
    assert event.outcome == codes.MINOR_FAILURE
    assert {study: sum(counts.values()) for study, counts in event.studies.items()} == {"1.1": 2}
    assert (event.details["Already there"], event.details["Refused"]) == ("1", "1")


def test_a_store_request_of_several_studies_is_one_event_about_all_of_them(watch):
    site = watch()

    site.post_parts(*(a_ct(study=f"1.{number}", PatientID=f"P{number}") for number in range(3)))

    (event,) = site.told()
    assert sorted(event.studies) == ["1.0", "1.1", "1.2"]
    assert sorted(event.patients) == ["P0", "P1", "P2"]


def test_a_study_that_cannot_go_out_whole_is_told_so(watch):
    site = watch()
    site.post_parts(an_image(), a_ct(study="1.1", series="1.2", instance="1.4"))
    lost = site.archive.instances(Resource("1.1", "1.2", "1.3"))[0]
    site.store.delete(lost.object_key)

    response = site.get("/studies/1.1", "application/zip")

    assert response.status_code == 206
    assert site.told()[-1].outcome == codes.MINOR_FAILURE


def test_a_range_of_an_object_is_no_failure(watch):
    site = watch()
    site.post(an_image())

    response = site.get(ONE, "application/dicom; transfer-syntax=*", Range="bytes=0-9")

    assert response.status_code == 206
    assert site.told()[-1].outcome == codes.SUCCESS


async def run(app, scope, messages):
    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        messages.append(message)

    await app(scope, receive, send)


def a_scope(**more):
    return {
        "type": "http",
        "method": "GET",
        "path": "/dicom-web/studies/1.1",
        "path_params": {"study": "1.1"},
        "query_string": b"",
        "headers": [],
        "client": ("192.0.2.7", 4711),
        "server": ("127.0.0.1", 8080),
        "route_name": "/dicom-web/studies/{study}",
        **more,
    }


TRANSACTIONS = {
    ("GET", "/dicom-web/studies/{study}"): "RetrieveStudy",
    ("POST", "/dicom-web/studies/{study}/shares"): "ShareStudy",
}


def witnessed(site: Watched, application, scope) -> Event:
    witness = Witness(application, site.trail, TRANSACTIONS, trusted=())
    with contextlib.suppress(ConnectionError):
        asyncio.run(run(witness, scope, []))
    return site.told()[-1]


def test_an_answer_that_breaks_off_is_told_as_one(watch):
    async def breaking(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise ConnectionError

    event = witnessed(watch(), breaking, a_scope())

    assert (event.outcome, event.outcome_text) == (codes.MINOR_FAILURE, "The answer was cut short.")


@pytest.mark.parametrize(
    ("status", "what", "kind"),
    [
        (401, codes.USER_AUTHENTICATION, codes.LOGIN),
        (403, codes.SECURITY_ALERT, codes.RESTRICTED_FUNCTION),
    ],
)
def test_who_is_turned_away_is_told_of_whatever_they_asked_for(watch, status, what, kind):
    async def refusing(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    for route in ("/dicom-web/studies/{study}", "/page/{name}"):
        event = witnessed(watch(), refusing, a_scope(route_name=route))
        assert (event.what, event.types, event.outcome) == (what, (kind,), codes.SERIOUS_FAILURE)
        assert event.studies == {}


@pytest.mark.parametrize("headers", [{"Host": "somebody.example"}, {"Origin": "https://somebody.example"}])
def test_a_page_of_somebody_else_that_is_turned_away_is_told_of(watch, headers):
    site = watch(hosts=("testserver",))

    assert site.client.post(f"{ROOT}/studies", headers=headers).status_code == 403

    (event,) = site.told()
    assert (event.what, event.types) == (codes.SECURITY_ALERT, (codes.RESTRICTED_FUNCTION,))
    assert event.participants[0].user == "anonymous"
    assert "somebody" not in site.sink.text


def test_a_link_to_a_study_is_told_of_as_a_change_of_who_may_see_it(watch):
    async def sharing(scope, receive, send):
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    event = witnessed(
        watch(), sharing, a_scope(method="POST", route_name="/dicom-web/studies/{study}/shares")
    )

    assert (event.what, event.types) == (codes.SECURITY_ALERT, (codes.SECURITY_ATTRIBUTES_CHANGED,))
    assert [*event.studies] == ["1.1"]


def test_who_has_signed_in_is_named(watch):
    async def signing_in(scope, receive, send):
        scope[KEY] = Identity("dr.house", frozenset(("read",)))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    (client, ours) = witnessed(watch(), signing_in, a_scope()).participants

    assert (client.user, client.requestor, client.address) == ("dr.house", True, "192.0.2.7")
    assert (ours.user, ours.requestor, ours.roles) == ("isthmus", False, (codes.SOURCE,))


def test_nothing_is_done_that_could_not_be_told(watch):
    site = watch(limit=2, refusing=True)
    kept = [site.post(an_image()), site.get(ONE)]

    refused = site.client.get(ROOT + ONE, headers={"Origin": "http://localhost:3000"})

    assert [one.status_code for one in kept] == [200, 200]
    assert refused.status_code == 503
    assert "ISTHMUS_AUDIT" in refused.text
    assert refused.headers["Retry-After"]
    assert refused.headers["Access-Control-Allow-Origin"]
    assert site.get("http://testserver/healthz").status_code == 200
    numbers = site.get("http://testserver/metrics").text
    assert "isthmus_audit_refused_total 1" in numbers
    assert "isthmus_audit_waiting 2" in numbers
    site.sink.refusing = False
    assert len(site.told()) == 2


def test_requests_in_flight_have_their_places(watch):
    trail = watch(limit=3).trail

    assert [trail.reserve() for _ in range(4)] == [True, True, True, False]
    trail.release()
    assert trail.reserve()


@pytest.mark.parametrize(
    ("query", "told", "patients"),
    [
        ("PatientName=Doe*&limit=10", "PatientName=...&limit=10", ()),
        ("StudyInstanceUID=1.2,1.3&offset=x", "StudyInstanceUID=1.2,1.3&offset=...", ()),
        ("StudyInstanceUID=Doe", "StudyInstanceUID=...", ()),
        ("00100020=P%201&Doe^Jane=1", "00100020=...", ("P 1",)),
        ("PatientID=P*", "PatientID=...", ()),
        (
            "includefield=PatientName,Doe,all&fuzzymatching=true",
            "includefield=PatientName,...,all&fuzzymatching=true",
            (),
        ),
        (
            "RequestAttributesSequence.RequestedProcedureID=4",
            "RequestAttributesSequence.RequestedProcedureID=...",
            (),
        ),
        ("=&&%zz=%zz", "", ()),
    ],
)
def test_a_search_is_told_by_its_keys(query, told, patients):
    found = searched.keys(query.encode())
    assert (found.text, found.patients) == (told, patients)


def test_a_client_is_known_by_the_proxies_that_are_trusted():
    trusted = (ip_network("10.0.0.0/8"),)
    told = Headers({"x-forwarded-for": "1.2.3.4, 192.0.2.9, 10.0.0.2"})
    assert client_of("10.0.0.1", told, trusted) == "192.0.2.9"
    assert client_of("192.0.2.1", told, trusted) == "192.0.2.1"
    assert client_of("10.0.0.1", Headers({"forwarded": 'for="[2001:db8::1]:4711"'}), trusted) == "2001:db8::1"
    assert client_of("10.0.0.1", Headers({"x-forwarded-for": "Doe^Jane"}), trusted) == "10.0.0.1"
    assert client_of(None, Headers({}), ()) == ""
