"""The keys of a provider: found, kept, rotated, and used on while it does not answer."""

import json
import threading

import pytest

from service.access.fetching import NotFetched, document, is_safe
from service.access.keys import FRESH_S, STALE_S, Keys, key_of
from service.access.refusals import ProviderUnavailable
from tests.access.conftest import Clock
from tests.access.issuer import DISCOVERY, JWKS, rsa_key, signing_key


@pytest.fixture
def clock():
    return Clock(1000.0)


@pytest.fixture
def keys(issuer, clock):
    return Keys(issuer.url, clock=clock, timeout_s=60.0)


def kids(keys: Keys, kid: str | None = None) -> list[str | None]:
    return [key.kid for key in keys.find(kid, "RS256")]


def test_keys_are_found_by_discovery_and_fetched_once(issuer, keys):
    assert keys.lacks("first")
    keys.refresh("first")
    assert kids(keys, "first") == ["first"]
    assert not keys.lacks("first")
    keys.refresh("first")
    assert issuer.asked == [DISCOVERY, JWKS]


def test_a_key_that_nobody_has_heard_of_has_them_fetched_again(issuer, keys, clock):
    keys.refresh("first")
    issuer.rotate(signing_key("second", number=1))
    clock.now += 31
    assert keys.lacks("second")
    keys.refresh("second")
    assert kids(keys, "second") == ["second"]
    assert kids(keys, "first") == []


def test_whoever_makes_up_names_of_keys_does_not_have_them_fetched_each_time(issuer, keys, clock):
    keys.refresh("first")
    for number in range(100):
        clock.now += 0.29
        keys.refresh(f"made up {number}")
    assert issuer.fetched == 1
    clock.now += 5
    keys.refresh("made up")
    assert issuer.fetched == 2


def test_keys_are_fetched_again_after_a_while_and_withdrawn_ones_are_gone(issuer, keys, clock):
    keys.refresh("first")
    issuer.rotate(signing_key("second", number=1))
    clock.now += FRESH_S + 1
    assert keys.lacks("first")
    keys.refresh("first")
    assert kids(keys) == ["second"]


def test_keys_are_used_on_while_the_issuer_does_not_answer_and_not_for_ever(issuer, keys, clock):
    keys.refresh("first")
    issuer.fail(DISCOVERY)
    clock.now += FRESH_S + 1
    keys.refresh("first")
    assert kids(keys, "first") == ["first"]
    assert not keys.lacks("first")  # nobody waits for the issuer again so soon
    clock.now += STALE_S
    keys.refresh("first")
    with pytest.raises(ProviderUnavailable):
        keys.find("first", "RS256")


def test_an_issuer_that_comes_back_is_found_within_seconds(issuer, keys, clock):
    working = issuer.answers[DISCOVERY]
    issuer.fail(DISCOVERY)
    keys.refresh("first")
    with pytest.raises(ProviderUnavailable):
        keys.find("first", "RS256")
    issuer.answers[DISCOVERY] = working
    keys.refresh("first")
    assert issuer.fetched == 0
    clock.now += 6
    keys.refresh("first")
    assert kids(keys, "first") == ["first"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (DISCOVERY, b"no JSON"),
        (DISCOVERY, b"[]"),
        (DISCOVERY, b"{}"),
        (DISCOVERY, b"[" * 100_000),
        (DISCOVERY, b" " * (2 << 20)),
        (JWKS, b"{}"),
        (JWKS, b'{"keys": {}}'),
        (JWKS, b'{"keys": []}'),
        (JWKS, b'{"keys": [null, 5, [], {}, {"kty": "RSA"}, {"kty": "RSA", "n": 5, "e": []}]}'),
        (JWKS, b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "first", "alg": "HS256"}]}'),
        (JWKS, b"\xff\xfe"),
    ],
)
def test_odd_documents_are_no_keys(issuer, keys, path, body):
    issuer.fail(path, 200, body)
    keys.refresh("first")
    with pytest.raises(ProviderUnavailable):
        keys.find("first", "RS256")


def test_an_issuer_that_calls_itself_otherwise_is_not_believed(issuer, keys):
    issuer.discovery["issuer"] = issuer.url + "/"
    keys.refresh("first")
    assert issuer.fetched == 0
    with pytest.raises(ProviderUnavailable):
        keys.find("first", "RS256")


@pytest.mark.parametrize(
    "where", ["file:///etc/passwd", "http://keys.example.org/jwks", "ftp://x/", 5, None, "//x", "/jwks"]
)
def test_keys_are_not_fetched_from_anywhere(issuer, keys, where):
    issuer.discovery["jwks_uri"] = where
    keys.refresh("first")
    with pytest.raises(ProviderUnavailable):
        keys.find("first", "RS256")


def test_redirections_are_not_followed(issuer):
    issuer.fail(DISCOVERY, 302)
    with pytest.raises(NotFetched, match="302"):
        document(issuer.url + DISCOVERY, ca_file=None, timeout_s=60.0)


def test_an_issuer_that_says_nothing_is_given_up(issuer):
    given_up = threading.Event()

    def late() -> tuple[int, bytes]:
        given_up.wait(30)
        return 200, b"{}"

    issuer.answers[DISCOVERY] = late
    with pytest.raises(NotFetched, match=r"[Tt]ime"):
        document(issuer.url + DISCOVERY, ca_file=None, timeout_s=0.1)
    given_up.set()


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://login.example.org/realms/a", True),
        ("https://login.example.org:8443", True),
        ("http://127.0.0.1:8080", True),
        ("http://[::1]:8080/a", True),
        ("http://localhost:8080", True),
        ("http://login.example.org", False),
        ("http://localhost.example.org", False),
        ("http://127.0.0.1.example.org", False),
        ("https://user:password@login.example.org", False),
        ("https://", False),
        ("https://a b", False),
        ("https://[::1", False),
        ("https://x:99999", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_http_is_for_this_machine_only(url, safe):
    assert is_safe(url) is safe


def test_keys_for_encryption_or_too_short_are_passed_over():
    good = signing_key("a").jwk
    assert key_of(good) is not None
    assert key_of(good | {"use": "enc"}) is None
    assert key_of(good | {"key_ops": ["encrypt"]}) is None
    assert key_of(good | {"alg": "RSA-OAEP"}) is None
    assert key_of(good | {"kid": 5}) is None
    assert key_of(signing_key("a", bits=1024).jwk) is None
    assert rsa_key(0, 1024).key_size == 1024


def test_what_does_not_say_its_algorithm_is_taken_for_those_of_its_type():
    told = signing_key("a", "ES256").jwk
    told.pop("alg")
    key = key_of(json.loads(json.dumps(told)))
    assert key is not None
    assert [name for name in ("ES256", "ES384", "ES512", "RS256", "EdDSA") if key.fits(name)] == ["ES256"]
