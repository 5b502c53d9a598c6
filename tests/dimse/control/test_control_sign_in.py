"""The bridge's HTTP obeys the sign-in of the service: who may ask for what, and what stays open."""

import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from bridge.control.app import ROUTES
from bridge.control.permissions import needed
from bridge.peers import Peer
from service.access.identity import SCOPES
from service.access.settings import AccessSettings
from tests.access.issuer import AUDIENCE, Issuer, running_issuer
from tests.dimse.control.controlled import Answer, Controlled

STUDY = {"study": "1.2.3"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with running_issuer() as running:
        yield running


@pytest.fixture
def access(tmp_path: Path, issuer: Issuer) -> AccessSettings:
    """A user for each scope, everybody's password is `secret`; and tokens of an issuer."""
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    path = tmp_path / "people"
    path.write_text("\n".join(f"{scope}:{hashed}:{scope}" for scope in SCOPES) + "\n")
    return AccessSettings(
        ways=("basic", "jwt"),
        passwords_file=path,
        issuer=issuer.url,
        audience=AUDIENCE,
        studies_claim="studies",
    )


@pytest.fixture
def bridge(start, access) -> Controlled:
    found: Controlled = start(Peer("pacs", "PACS", "127.0.0.1", 9), access=access)
    return found


def ask(bridge: Controlled, method: str, path: str, user: str | None, body: object = None) -> Answer:
    headers = {} if user is None else {"Authorization": basic(user)}
    return bridge.ask(path, method, body, **headers)


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:secret".encode()).decode()


def concrete(path: str) -> str:
    return path.replace("{name}", "nobody").replace("{id}", "no-such").replace("{uid}", "1.2.3")


def test_every_route_takes_what_it_should_and_no_less(bridge):
    found = {}
    for method, path, _ in ROUTES:
        scope = needed(method, path)
        body = b"{}" if method in ("POST", "PUT") else None
        nobody = ask(bridge, method, concrete(path), None, body).status
        lacking = {ask(bridge, method, concrete(path), one, body).status for one in SCOPES if one != scope}
        if scope is None:
            as_expected = nobody not in (401, 403) and not {401, 403} & lacking
        else:
            enough = ask(bridge, method, concrete(path), scope, body).status
            as_expected = (nobody, lacking) == (401, {403}) and enough not in (401, 403)
        if not as_expected:
            found[method, path] = (nobody, lacking)
    assert found == {}


def test_who_may_read_may_send_and_not_fetch(bridge):
    order = {"resources": [STUDY]}
    assert ask(bridge, "POST", "/peers/pacs/store", "read", order).status == 202
    assert ask(bridge, "POST", "/peers/pacs/retrieve", "read", order).status == 403
    assert ask(bridge, "POST", "/peers/pacs/retrieve", "store", order).status == 202


def test_a_job_that_stores_is_ended_by_who_may_store(bridge, access):
    order = {"resources": [STUDY]}
    fetching = ask(bridge, "POST", "/peers/pacs/retrieve", "store", order).headers["Location"]
    assert ask(bridge, "DELETE", fetching, "read").status == 403
    people = access.passwords_file
    line = next(one for one in people.read_text().splitlines() if one.startswith("read:"))
    people.write_text(line.replace("read:", "both:", 1).removesuffix(":read") + ":read,store\n")
    assert_in_the_end(lambda: ask(bridge, "DELETE", fetching, "both").status in (202, 204))


def assert_in_the_end(held) -> None:
    """Files are looked at once a second: the only event is that they were."""
    pause = threading.Event()
    for _ in range(200):
        if held():
            return
        pause.wait(0.05)
    raise AssertionError("never")


def test_whoever_is_confined_has_no_use_of_jobs(bridge, issuer):
    confined = {"Authorization": f"Bearer {issuer.token(studies=['1.2.3'])}"}
    assert bridge.ask("/jobs", **confined).status == 403
    assert bridge.ask("/peers", **confined).status == 403
    assert bridge.ask("/peers/pacs/store", "POST", {"resources": [STUDY]}, **confined).status == 403
    free = {"Authorization": f"Bearer {issuer.token()}"}
    assert bridge.ask("/jobs", **free).status == 200


def test_refusals_are_counted_and_can_be_read_by_pages_that_may_ask(bridge):
    answer = bridge.ask("/jobs", Origin="http://localhost:3000")
    assert answer.status == 401
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert 'route="/jobs",status="401"' in bridge.ask("/metrics").body.decode()


def test_names_of_the_bridge_may_be_any_where_people_sign_in(start, access):
    bridge = start(access=access, any_host=True)
    assert bridge.ask("/jobs", Host="bridge.example.org", Authorization=basic("read")).status == 200
