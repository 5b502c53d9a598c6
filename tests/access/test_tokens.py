"""Tokens of an OpenID provider: which are taken, which are not, and what they permit."""

import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.access.keys import Keys
from service.access.refusals import NotSignedIn
from service.access.tokens import Expected, Tokens
from service.dicom.confinement import Confinement
from tests.access.conftest import Clock
from tests.access.issuer import AUDIENCE, Issuer, signing_key

EVERYTHING = {"read", "store", "delete", "render", "share"}


def tokens_of(issuer: Issuer, clock=time.time, **expected: Any) -> Tokens:
    tokens = Tokens(Expected(issuer.url, AUDIENCE, **expected), Keys(issuer.url), clock=clock)
    tokens.refresh(issuer.token())
    return tokens


@pytest.fixture
def tokens(issuer):
    return tokens_of(issuer)


def test_a_good_token_says_who_somebody_is_and_what_they_may(issuer, tokens):
    identity = tokens.identify(issuer.token())
    assert (identity.name, identity.scopes, identity.confinement) == ("248289761001", EVERYTHING, None)


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA"])
def test_every_asymmetric_algorithm_is_taken(issuer, algorithm):
    issuer.rotate(signing_key("another", algorithm))
    assert tokens_of(issuer).identify(issuer.token()).scopes == EVERYTHING


@pytest.mark.parametrize(
    ("claims", "because"),
    [
        ({"iss": "http://127.0.0.1:1"}, "another issuer"),
        ({"iss": None}, "no iss"),
        ({"aud": "another"}, "somebody else"),
        ({"aud": ["another", "one more"]}, "somebody else"),
        ({"aud": None}, "no aud"),
        ({"exp": None}, "no exp"),
        ({"exp": time.time() - 3600}, "expired"),
        ({"exp": 0}, "expired"),
        ({"nbf": time.time() + 864_000}, "not come yet"),
        ({"iat": time.time() + 864_000}, "not come yet"),
        ({"exp": True}, "no number"),
        ({"exp": 1e300}, "no number"),
        ({"exp": 10**400}, "no number"),
        ({"sub": 5}, "malformed"),
    ],
)
def test_a_token_that_says_something_else_is_refused(issuer, tokens, claims, because):
    with pytest.raises(NotSignedIn, match=because) as refusal:
        tokens.identify(signed(issuer, claims))
    assert refusal.value.error == "invalid_token"


def signed(issuer: Issuer, claims: dict[str, object]) -> str:
    """A token whose claims may be of types that makers of tokens would not take."""
    key = issuer.keys[0]
    payload = json.dumps(issuer.claims(**claims)).encode()
    return jwt.api_jws.encode(payload, key.private, key.algorithm, headers={"kid": key.kid, "typ": "JWT"})


def test_several_audiences_are_taken(issuer, tokens):
    assert tokens.identify(issuer.token(aud=["another", AUDIENCE])).scopes == EVERYTHING


@pytest.mark.parametrize(("claim", "seconds"), [("exp", -59), ("nbf", 60), ("iat", 60)])
def test_clocks_may_differ_by_a_minute(issuer, claim, seconds):
    clock = Clock(time.time())
    times = {"exp": clock.now + 600, claim: clock.now + seconds}
    assert tokens_of(issuer, clock).identify(issuer.token(**times)).scopes == EVERYTHING
    beyond = {"exp": clock.now + 600, claim: clock.now + seconds + (-2 if seconds < 0 else 2)}
    with pytest.raises(NotSignedIn):
        tokens_of(issuer, clock).identify(issuer.token(**beyond))


def test_the_algorithm_none_is_refused(issuer, tokens):
    for algorithm in ("none", "None", "NONE", "nOnE", ""):
        with pytest.raises(NotSignedIn, match="not signed"):
            tokens.identify(issuer.forged({"alg": algorithm, "typ": "JWT", "kid": "first"}))


def test_a_public_key_is_no_secret_to_sign_with(issuer, tokens):
    public = issuer.keys[0].private.public_key()
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(issuer.keys[0].jwk).encode(),
        b"secret",
    ):
        with pytest.raises(NotSignedIn, match="algorithm"):
            tokens.identify(issuer.forged({"alg": "HS256", "typ": "JWT", "kid": "first"}, secret))


def test_the_algorithm_of_the_key_counts_not_the_tokens(issuer):
    issuer.rotate(signing_key("first"))
    tokens = tokens_of(issuer)
    for algorithm in ("PS256", "RS384", "ES256", "EdDSA"):
        with pytest.raises(NotSignedIn, match="does not have"):
            tokens.identify(issuer.token(key=signing_key("first", algorithm)))


def test_a_key_that_the_token_brings_itself_counts_for_nothing(issuer, tokens):
    stranger = signing_key("first", number=1)
    for header in (
        {"jwk": stranger.jwk},
        {"jku": issuer.url + "/stranger"},
        {"x5u": issuer.url + "/stranger"},
        {"kid": "../../stranger"},
        {"kid": None, "jwk": stranger.jwk},
    ):
        with pytest.raises(NotSignedIn):
            tokens.identify(issuer.token(key=stranger, header=header))
    assert not [path for path in issuer.asked if "stranger" in path]


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "share+jwt"},
        {"typ": "logout+jwt"},
        {"typ": "dpop+jwt"},
        {"crit": ["exp"]},
        {"crit": []},
    ],
)
def test_tokens_for_something_else_are_refused(issuer, tokens, header):
    with pytest.raises(NotSignedIn):
        tokens.identify(issuer.token(header=header))


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", None])
def test_access_tokens_are_taken_by_any_name(issuer, tokens, kind):
    key = issuer.keys[0]
    header = {"kid": key.kid, "typ": kind} if kind else {"kid": key.kid, "typ": None}
    token = jwt.encode(issuer.claims(), key.private, algorithm=key.algorithm, headers=header)
    assert tokens.identify(token).scopes == EVERYTHING


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "eyJ.eyJ.x", "e30.e30.", "W10.e30.AA", "x" * 9000])
def test_what_is_no_token_is_refused(tokens, token):
    with pytest.raises(NotSignedIn) as refusal:
        tokens.identify(token)
    assert refusal.value.error == "invalid_token"
    assert not tokens.lacks_keys(token)


def test_a_signature_that_was_touched_is_refused(issuer, tokens):
    head, payload, signature = issuer.token(scope="read").split(".")
    _, other, _ = issuer.token(scope="delete").split(".")
    for forged in (
        f"{head}.{other}.{signature}",
        f"{head}.{payload}.{signature[::-1]}",
        f"{head}.{payload}.",
    ):
        with pytest.raises(NotSignedIn, match=r"signature|malformed|no JSON"):
            tokens.identify(forged)


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "openid read"}, {"read"}),
        ({"scope": "dicom:read dicom:render"}, {"read", "render"}),
        ({"scope": None, "scp": "store"}, {"store"}),
        ({"scope": None, "scp": ["dicom:store", "delete"]}, {"store", "delete"}),
        ({"scope": None, "roles": ["read", "admin", 7]}, {"read"}),
        ({"scope": "reader unread READ read:all"}, set()),
        ({"scope": {"read": True}}, set()),
        ({"scope": None}, set()),
    ],
)
def test_scopes_are_found_where_providers_put_them(issuer, tokens, claims, scopes):
    assert tokens.identify(issuer.token(**claims)).scopes == scopes


def test_a_prefix_that_is_set_is_the_only_one(issuer):
    tokens = tokens_of(issuer, scope_prefix="isthmus.")
    assert tokens.identify(issuer.token(scope="read dicom:store isthmus.render")).scopes == {"render"}


@pytest.mark.parametrize(
    ("claims", "confinement"),
    [
        ({}, None),
        ({"studies": ["1.2", "1.3"]}, Confinement(studies=frozenset({"1.2", "1.3"}))),
        ({"studies": "1.2"}, Confinement(studies=frozenset({"1.2"}))),
        ({"studies": []}, Confinement(studies=frozenset())),
        ({"patients": ["A b,c"]}, Confinement(patients=frozenset({"A b,c"}))),
        (
            {"studies": [], "patients": "P"},
            Confinement(studies=frozenset(), patients=frozenset({"P"})),
        ),
    ],
)
def test_claims_confine_to_studies_and_patients(issuer, claims, confinement):
    tokens = tokens_of(issuer, studies_claim="studies", patients_claim="patients")
    assert tokens.identify(issuer.token(**claims)).confinement == confinement


@pytest.mark.parametrize("value", [5, True, {"a": 1}, ["1.2", 5], [["1.2"]], "", ["x" * 300]])
def test_a_claim_that_cannot_be_understood_lets_nobody_in(issuer, value):
    tokens = tokens_of(issuer, studies_claim="studies", patients_claim="patients")
    for claim in ("studies", "patients"):
        with pytest.raises(NotSignedIn, match=claim):
            tokens.identify(signed(issuer, {claim: value}))


def test_a_claim_that_is_null_lets_nobody_in(issuer):
    tokens = tokens_of(issuer, studies_claim="studies")
    claims = issuer.claims() | {"studies": None}
    key = issuer.keys[0]
    token = jwt.encode(claims, key.private, algorithm=key.algorithm, headers={"kid": key.kid})
    with pytest.raises(NotSignedIn, match="studies"):
        tokens.identify(token)


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"preferred_username": "alice"}, "alice (248289761001)"),
        ({"preferred_username": "al\nice\x00\u202e"}, "alice (248289761001)"),
        ({"preferred_username": "248289761001"}, "248289761001"),
        ({"sub": None, "client_id": "modality"}, "modality"),
        ({"sub": "x" * 1000}, "x" * 200),
    ],
)
def test_names_are_fit_for_a_log(issuer, tokens, claims, name):
    assert tokens.identify(issuer.token(**claims)).name == name


def test_a_token_is_checked_once_and_remembered_no_longer_than_it_lives(issuer):
    clock = Clock(time.time())
    tokens = tokens_of(issuer, clock)
    token = issuer.token(exp=clock.now + 100)
    assert tokens.known(token) is None

    identity = tokens.identify(token)

    assert tokens.known(token) is identity
    clock.now += 161  # its life, and the leeway
    assert tokens.known(token) is None
    with pytest.raises(NotSignedIn, match="expired"):
        tokens.identify(token)


def test_a_token_that_lives_long_is_checked_again_now_and_then(issuer):
    clock = Clock(time.time())
    tokens = tokens_of(issuer, clock)
    token = issuer.token(exp=clock.now + 86400)
    tokens.identify(token)
    clock.now += 301
    assert tokens.known(token) is None
    assert tokens.identify(token).until == pytest.approx(clock.now - 301 + 86400)
