"""Links to studies: who may make them, what they open, and when they end."""

import time

import jwt
import pytest

from service.access.files import BadLine
from service.access.refusals import NotSignedIn
from service.access.shares import Shares, is_share, keys_of
from service.dicom.confinement import Confinement
from tests.access.conftest import KEY, Clock
from tests.making import a_ct
from tests.sites import ROOT, Site

ALICE = ("alice", "secret")
READER = ("read", "secret")
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def clock():
    return Clock(time.time())


@pytest.fixture
def shares(share_key_file, clock):
    return Shares(share_key_file, look_s=0, clock=clock)


def stored(site: Site) -> str:
    """The path of a study that is there."""
    sent = site.client.post(
        ROOT + "/studies", content=a_ct(), headers={"Content-Type": "application/dicom"}, auth=ALICE
    )
    url: str = sent.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    return "/".join(url.removeprefix(ROOT).split("/")[:3])


def share(site: Site, study: str, life_s: object, auth=ALICE, **headers: str):
    body = {"expires_in": life_s}
    return site.client.post(f"{ROOT}{study}/shares", json=body, auth=auth, headers=headers)


def test_a_link_opens_its_study_and_nothing_else(guarded):
    study, other = stored(guarded), stored(guarded)

    made = share(guarded, study, 3600)

    assert made.status_code == 201, made.text
    told = made.json()
    assert told["url"] == f"http://testserver/?share={told['token']}"
    bearer = {"Authorization": f"Bearer {told['token']}"}
    assert guarded.get(study + "/metadata", **bearer).status_code == 200
    assert guarded.get(study + "/thumbnail", **bearer).status_code == 200
    assert len(guarded.get("/studies", **bearer).json()) == 1
    assert guarded.get(other + "/metadata", **bearer).status_code == 404
    assert guarded.client.delete(ROOT + study, headers=bearer).status_code == 403
    assert guarded.client.post(ROOT + "/studies", content=b"", headers=bearer).status_code == 403


def test_a_link_works_in_the_query_for_what_cannot_have_headers(guarded):
    study = stored(guarded)
    token = share(guarded, study, 3600).json()["token"]

    assert guarded.get(f"{study}/thumbnail?share={token}").status_code == 200
    assert guarded.get(f"{study}/thumbnail?viewport=32,32&share={token}").status_code == 200
    whole = guarded.get(f"{study}?share={token}&accept=application/zip")
    assert (whole.status_code, whole.headers["content-type"]) == (200, "application/zip")
    assert guarded.get(f"/studies?share={token}&limit=1").status_code == 200
    assert guarded.client.delete(f"{ROOT}{study}?share={token}").status_code == 401


def test_other_tokens_do_not_work_in_the_query(guarded, issuer):
    assert guarded.get(f"/studies?share={issuer.token()}").status_code == 401
    study = stored(guarded)
    token = share(guarded, study, 3600).json()["token"]
    assert guarded.get(f"/studies?share={token}&share={token}").status_code == 400
    twice = guarded.get(f"/studies?share={token}", Authorization=f"Bearer {token}")
    assert twice.status_code == 400


@pytest.mark.parametrize(
    "life_s", [0, -1, 9, 30 * 86400 + 1, 1e9, 60.0, "60", True, None, [60], 10**30, {"a": 1}]
)
def test_a_life_that_is_none_is_refused(guarded, life_s):
    assert share(guarded, stored(guarded), life_s).status_code == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b'{"expires_in": 60, "study": "1.2"}', b"{" * 5000])
def test_a_body_that_says_nothing_of_the_kind_is_refused(guarded, body):
    study = stored(guarded)
    answer = guarded.client.post(f"{ROOT}{study}/shares", content=body, auth=ALICE, headers=JSON)
    assert answer.status_code in (400, 413)
    answer = guarded.client.post(f"{ROOT}{study}/shares", content=body, auth=ALICE)
    assert answer.status_code == 415


def test_giving_links_away_takes_a_permission_of_its_own(guarded):
    study = stored(guarded)
    refused = share(guarded, study, 301, READER)
    assert refused.status_code == 403
    assert "'share'" in refused.json()["detail"]
    assert share(guarded, study, 300, READER).status_code == 201
    assert share(guarded, study, 60, ("render", "secret")).status_code == 403
    assert share(guarded, study, 60, None).status_code == 401


def test_a_link_makes_no_link_that_outlives_it(guarded):
    study = stored(guarded)
    first = share(guarded, study, 30).json()["token"]
    bearer = {"Authorization": f"Bearer {first}"}

    second = share(guarded, study, 300, None, **bearer).json()["token"]

    ends = [jwt.decode(one, options={"verify_signature": False})["exp"] for one in (first, second)]
    assert ends[1] <= ends[0]
    assert share(guarded, study, 301, None, **bearer).status_code == 403


def test_there_are_links_to_what_somebody_may_see_only(guarded, issuer):
    study = stored(guarded)
    blind = issuer.token(studies=["1.2.3"])
    assert share(guarded, study, 3600, None, Authorization=f"Bearer {blind}").status_code == 404
    assert share(guarded, "/studies/1.2.3", 3600).status_code == 404
    assert share(guarded, "/studies/no-uid", 3600).status_code == 400


def test_without_keys_there_are_no_links(open_site, access):
    from dataclasses import replace

    site = open_site(access=replace(access, share_key_file=None))
    study = stored(site)
    assert share(site, study, 60).status_code == 404
    token = jwt.encode({"study": "1"}, KEY, headers={"typ": "share+jwt"})
    assert site.get(study, Authorization=f"Bearer {token}").status_code == 401


def test_a_link_ends_when_it_says(shares, clock):
    made = shares.made("1.2.3", 60)
    identity = shares.identify(made.token)
    assert identity.scopes == {"read", "render"}
    assert identity.confinement == Confinement(studies=frozenset({"1.2.3"}))
    clock.now = made.expires - 1
    assert shares.identify(made.token) == identity
    clock.now = made.expires
    with pytest.raises(NotSignedIn, match="expired"):
        shares.identify(made.token)


def test_keys_are_changed_without_a_restart_and_links_end_with_theirs(shares, share_key_file):
    made = shares.made("1.2.3", 60)
    another = KEY[::-1]
    share_key_file.write_text(f"# the newest first\n{another}\n{KEY}\n")
    assert shares.identify(made.token).name.startswith("share ")
    newer = shares.made("1.2.3", 60)
    share_key_file.write_text(another + "\n")
    assert shares.identify(newer.token).name.startswith("share ")
    with pytest.raises(NotSignedIn, match="not valid any more"):
        shares.identify(made.token)


def test_a_broken_key_file_leaves_the_keys_as_they_were(shares, share_key_file):
    made = shares.made("1.2.3", 60)
    share_key_file.write_text("short\n")
    assert shares.identify(made.token)
    share_key_file.unlink()
    assert shares.identify(made.token)


def test_links_are_forged_in_no_way(shares):
    claims = {"iss": "isthmus", "study": "1.2.3", "exp": time.time() + 60, "jti": "a"}
    kid = next(iter(keys_of(KEY)))
    good = jwt.encode(claims, KEY, headers={"typ": "share+jwt", "kid": kid})
    assert shares.identify(good).name == "share a"
    forged = [
        jwt.encode(claims, "x" * 40, headers={"typ": "share+jwt", "kid": kid}),
        jwt.encode(claims, "", algorithm="none", headers={"typ": "share+jwt", "kid": kid}),
        jwt.encode(claims, KEY, headers={"typ": "share+jwt"}),
        jwt.encode(claims | {"iss": "x"}, KEY, headers={"typ": "share+jwt", "kid": kid}),
        jwt.encode(claims, KEY + KEY, algorithm="HS512", headers={"typ": "share+jwt", "kid": kid}),
        *(
            jwt.encode(
                {name: value for name, value in claims.items() if name != missing},
                KEY,
                headers={"typ": "share+jwt", "kid": kid},
            )
            for missing in claims
        ),
        good[:-2],
        good.split(".")[0] + ".e30." + good.split(".")[2],
    ]
    for token in forged:
        with pytest.raises(NotSignedIn):
            shares.identify(token)
    assert is_share(good)


@pytest.mark.parametrize("text", ["", "# nothing\n", "short", "a" * 64, "\n\n"])
def test_keys_that_could_be_guessed_are_refused(text):
    with pytest.raises(BadLine, match="openssl"):
        keys_of(text)
