"""Signing in over HTTP: what is asked of whoever has not, and what is answered to what is no good."""

import asyncio
import base64
import json
import threading
from dataclasses import replace
from typing import Any

import bcrypt
import pytest

from service.access.door import Door
from service.access.identity import identity_of
from service.web.guard import Guard
from tests.access.issuer import DISCOVERY, signing_key
from tests.keeping import path_of
from tests.making import a_ct
from tests.sending import HEAD, Sender
from tests.sites import ROOT, Site

ALICE = ("alice", "secret")


def basic(told: bytes | str) -> str:
    return "Basic " + base64.b64encode(told.encode() if isinstance(told, str) else told).decode()


def test_whoever_has_not_signed_in_is_told_how(guarded):
    answer = guarded.get("/studies")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == (
        'Basic realm="Isthmus", charset="UTF-8", Bearer realm="Isthmus"'
    )
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]


def test_only_what_works_is_offered(open_site, access):
    with_passwords = open_site(access=replace(access, ways=("basic",), share_key_file=None))
    assert with_passwords.get("/studies").headers["www-authenticate"].startswith("Basic ")
    assert "Bearer" not in with_passwords.get("/studies").headers["www-authenticate"]
    with_tokens = open_site(access=replace(access, ways=("jwt",), passwords_file=None))
    assert with_tokens.get("/studies").headers["www-authenticate"] == 'Bearer realm="Isthmus"'


def test_a_password_and_a_token_let_in(guarded, issuer):
    assert guarded.client.get(ROOT + "/studies", auth=ALICE).status_code == 204
    assert guarded.get("/studies", Authorization=f"Bearer {issuer.token()}").status_code == 204
    assert guarded.get("/studies", Authorization=f"bearer   {issuer.token()}").status_code == 204


def test_a_way_that_is_not_open_lets_nobody_in(open_site, access, issuer):
    with_passwords = open_site(access=replace(access, ways=("basic",), share_key_file=None))
    token = {"Authorization": f"Bearer {issuer.token()}"}
    assert with_passwords.get("/studies", **token).status_code == 401
    assert issuer.asked == []
    with_tokens = open_site(access=replace(access, ways=("jwt",)))
    assert with_tokens.client.get(ROOT + "/studies", auth=ALICE).status_code == 401


@pytest.mark.parametrize(
    "told",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!!",
        basic("alice"),
        basic("alice:"),
        basic(":secret"),
        basic("alice:Secret"),
        basic("alice:secret\n"),
        basic(b"alice:\xff\xfe"),
        basic(b"\xff:secret"),
        basic("alice:" + "x" * 4000),
        basic("alice:secret") + ", Bearer x",
        "Digest username=alice",
        "Negotiate YII=",
        "alice:secret",
        "Bearer",
        "Bearer ",
        "Bearer a b",
        'Bearer "x"',
        "Bearer x\tx",
        "Bearer " + "x" * 20_000,
        "Bearer null",
        "Bearer undefined",
    ],
)
def test_credentials_that_are_no_good_let_nobody_in(guarded, told):
    answer = guarded.get("/studies", Authorization=told)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"]


def test_a_token_that_is_no_good_is_told_why_and_no_password_is_asked_for(guarded, issuer):
    answer = guarded.get("/studies", Authorization=f"Bearer {issuer.token(aud='another')}")
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="Isthmus", error="invalid_token", '
        'error_description="The token is for somebody else (aud)."'
    )


def test_what_a_token_lacks_is_named(guarded, issuer):
    answer = guarded.get("/studies", Authorization=f"Bearer {issuer.token(scope='store')}")
    assert answer.status_code == 403
    assert "'read'" in answer.json()["detail"]
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="Isthmus", error="insufficient_scope", scope="read"'
    )
    refused = guarded.client.get(ROOT + "/studies", auth=("store", "secret"))
    assert refused.status_code == 403
    assert "www-authenticate" not in refused.headers  # another password would not help


def test_two_credentials_are_one_too_many(guarded, issuer):
    good = f"Bearer {issuer.token()}"
    for pair in ((good, good), (good, "Bearer x"), ("Bearer x", good), (basic("alice:secret"), good)):
        headers = [("Authorization", one) for one in pair]
        assert guarded.client.get(ROOT + "/studies", headers=headers).status_code == 400


def test_refusals_can_be_read_by_pages_that_may_ask(guarded):
    answer = guarded.get("/studies", Origin="http://localhost:3000")
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "WWW-Authenticate" in answer.headers["access-control-expose-headers"]


def test_nobody_signs_in_to_ask_whether_a_request_would_be_allowed(guarded):
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "DELETE"}
    assert guarded.client.options(ROOT + "/studies/1.2", headers=headers).status_code == 204


@pytest.mark.parametrize("accept", ["text/html", "application/xhtml+xml,text/html;q=0.9"])
def test_browsers_get_a_page_and_the_same_headers(guarded, accept):
    answer = guarded.get("/studies", accept)
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["www-authenticate"].startswith("Basic ")


def test_who_somebody_is_stands_in_the_scope(access, issuer):
    guard = Guard(Door(access))

    def asked(*headers: tuple[bytes, bytes]) -> tuple[int, str]:
        scope: dict[str, Any] = {"type": "http", "method": "GET", "headers": list(headers)}
        refusal = asyncio.run(guard.refusal(scope, "read"))
        return refusal.status_code if refusal else 200, identity_of(scope).name

    assert asked((b"authorization", basic("alice:secret").encode())) == (200, "alice")
    assert asked((b"authorization", basic("store:secret").encode())) == (403, "store")
    assert asked((b"authorization", f"Bearer {issuer.token()}".encode())) == (200, "248289761001")
    assert asked((b"authorization", b"Bearer x")) == (401, "anonymous")
    assert asked() == (401, "anonymous")
    guard.close()


def test_whoever_has_not_signed_in_may_do_nothing(access):
    guard = Guard(Door(access))
    scope: dict[str, Any] = {"type": "http", "method": "GET", "headers": []}
    assert asyncio.run(guard.refusal(scope, None)) is None
    assert identity_of(scope).scopes == frozenset()
    guard.close()


def test_the_same_password_of_many_requests_at_once_is_checked_once(access, monkeypatch):
    checked = []
    right = bcrypt.checkpw

    def counting(password: bytes, against: bytes) -> bool:
        checked.append(password)
        return bool(right(password, against))

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    guard = Guard(Door(access))

    async def all_at_once() -> list[Any]:
        scopes = [
            {"type": "http", "method": "GET", "headers": [(b"authorization", basic("alice:secret").encode())]}
            for _ in range(50)
        ]
        return await asyncio.gather(*(guard.refusal(scope, "read") for scope in scopes))

    assert asyncio.run(all_at_once()) == [None] * 50
    assert checked == [b"secret"]
    guard.close()


def test_passwords_that_wait_to_be_checked_do_not_hold_up_who_is_known(access, issuer, monkeypatch):
    token = issuer.token()
    guard = Guard(Door(access))
    began, go_on = threading.Event(), threading.Event()

    def slow(password: bytes, against: bytes) -> bool:
        began.set()
        go_on.wait(30)
        return False

    def scope(told: str) -> dict[str, Any]:
        return {"type": "http", "method": "GET", "headers": [(b"authorization", told.encode())]}

    async def scene() -> tuple[Any, list[int]]:
        assert await guard.refusal(scope(f"Bearer {token}"), "read") is None
        monkeypatch.setattr(bcrypt, "checkpw", slow)
        guesses = [
            asyncio.ensure_future(guard.refusal(scope(basic(f"alice:{guess}")), "read"))
            for guess in range(400)
        ]
        await asyncio.to_thread(began.wait, 30)
        known = await guard.refusal(scope(f"Bearer {token}"), "read")
        go_on.set()
        answers = await asyncio.gather(*guesses)
        return known, sorted(answer.status_code for answer in answers if answer is not None)

    known, statuses = asyncio.run(scene())
    assert known is None
    assert set(statuses) == {401, 503}  # beyond the queue they are told at once to come again
    assert statuses.count(401) == 130
    guard.close()


def test_an_issuer_that_is_down_is_no_fault_of_the_token(guarded, issuer):
    working = issuer.answers[DISCOVERY]
    issuer.fail(DISCOVERY)
    answer = guarded.get("/studies", Authorization=f"Bearer {issuer.token()}")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert guarded.client.get(ROOT + "/studies", auth=ALICE).status_code == 204
    issuer.answers[DISCOVERY] = working


def test_a_key_that_comes_new_is_fetched_while_others_are_answered(guarded, issuer):
    first = {"Authorization": f"Bearer {issuer.token()}"}
    assert guarded.get("/studies", **first).status_code == 204
    stranger = {"Authorization": f"Bearer {issuer.token(key=signing_key('stranger', number=1))}"}
    for _ in range(20):
        assert guarded.get("/studies", **stranger).status_code == 401
    assert guarded.get("/studies", **first).status_code == 204
    assert issuer.fetched == 1


def test_a_body_of_nobody_is_not_taken_in(guarded):
    block = b"x" * (1 << 20)
    sender = Sender(HEAD, *([block] * 200), then="stall", expect=b"100-continue")
    asyncio.run(asyncio.wait_for(sender.post(guarded.client.app), 20))
    assert sender.status == 401
    assert sender.asked == 0


def test_a_client_that_is_still_sending_hears_that_it_has_to_sign_in(guarded):
    sender = Sender(HEAD, b"x" * 1000, then="end")
    asyncio.run(asyncio.wait_for(sender.post(guarded.client.app), 20))
    assert sender.status == 401
    assert json.loads(sender.body)["status"] == 401


def test_without_sign_in_nothing_is_asked(site: Site):
    assert site.get("/studies", Authorization="Bearer x").status_code == 204
    assert site.client.delete(ROOT + "/studies/1.2.3").status_code == 404


def test_answers_are_not_for_caches_that_others_share(guarded):
    guarded.client.auth = ALICE
    path = path_of(guarded, a_ct())
    study = "/".join(path.split("/")[:3])
    for url in (
        "/studies",
        study + "/metadata",
        path,
        path + "/frames/1",
        path + "/rendered",
        study + "/series",
    ):
        caching = guarded.get(url).headers.get("cache-control", "")
        assert "private" in caching or "no-store" in caching, url


def test_a_confinement_reaches_search_metadata_and_frames(guarded, issuer: Any):
    guarded.client.auth = ALICE
    mine, other = path_of(guarded, a_ct()), path_of(guarded, a_ct())
    guarded.client.auth = None
    study = mine.split("/")[2]
    bearer = {"Authorization": f"Bearer {issuer.token(studies=[study])}"}
    assert [one["0020000D"]["Value"] for one in guarded.get("/studies", **bearer).json()] == [[study]]
    for tail in ("/metadata", "/frames/1", "/rendered", "/thumbnail", ""):
        assert guarded.get(mine + tail, **bearer).status_code == 200, tail
        assert guarded.get(other + tail, **bearer).status_code == 404, tail
