"""Every route takes what it says, of whoever it may be: with nothing, with too little, and with enough."""

import re
from base64 import b64encode
from dataclasses import replace

import pytest

from service.access.identity import SCOPES
from service.app import FORGETTING, HOUSEKEEPING, PAGE, RECALLING, ROUTES, SHARING
from service.web.permissions import NEEDED
from service.web.transactions import BESIDE, CAPABILITIES, DESCRIBED
from tests.access.conftest import hashed
from tests.sites import Site

SERVER = "http://testserver"
# What anybody may ask for, by path: it holds nothing of patients.
OPEN = {
    "/dicom-web/": ("OPTIONS",),
    "/": ("GET",),
    "/config.json": ("GET",),
    "/page/{name}": ("GET",),
    "/openapi.json": ("GET",),
    "/api": ("GET",),
    "/healthz": ("GET",),
    "/readyz": ("GET",),
    "/metrics": ("GET",),
}
ENOUGH_TO_SIGN_IN = {"/identity.json"}
BELOW = [(method, "/dicom-web" + path) for method, path, _ in (*ROUTES, *FORGETTING, *RECALLING, *SHARING)]
ASIDE = [(method, path) for method, path, _ in (*HOUSEKEEPING, *PAGE)]
EVERY = list(dict.fromkeys([*BELOW, *ASIDE]))
GUARDED = [one for one in EVERY if one[0] not in OPEN.get(one[1], ()) and one[1] not in ENOUGH_TO_SIGN_IN]


def expected(method: str, path: str) -> str:
    """The scope that a route takes, found without the table that is tested."""
    if method == "POST":
        return "read" if path.endswith("/shares") else "store"
    if method == "DELETE":
        return "delete"
    return "render" if path.endswith(("/rendered", "/thumbnail")) else "read"


def ask(site: Site, method: str, path: str, user: str | None) -> int:
    """The status of a request for a resource that is not there."""
    values = {
        "study": "1.2.3",
        "series": "1.2.3.4",
        "instance": "1.2.3.4.5",
        "frames": "1",
        "name": "page.css",
    }
    url = re.sub(r"{(\w+)(?::path)?}", lambda found: values.get(found[1], "x"), path)
    headers = (
        {} if user is None else {"Authorization": "Basic " + b64encode(f"{user}:secret".encode()).decode()}
    )
    return site.client.request(method, SERVER + url, headers=headers, follow_redirects=False).status_code


@pytest.fixture
def people(open_site, access, tmp_path):
    path = tmp_path / "people"
    lines = [f"{scope}:{hashed('secret')}:{scope}" for scope in SCOPES]
    lines += [f"not-{scope}:{hashed('secret')}:{' '.join(set(SCOPES) - {scope})}" for scope in SCOPES]
    path.write_text("\n".join(lines) + "\n")
    return open_site(access=replace(access, passwords_file=path))


def test_every_route_takes_what_it_should_and_no_less(people):
    found = {}
    for method, path in GUARDED:
        for form in {path, path.rstrip("/") + "/"}:
            needed = expected(method, path)
            without = "read" if needed == "render" else needed  # who may read may see pictures, too
            nobody = ask(people, method, form, None)
            lacking = [ask(people, method, form, scope) for scope in SCOPES if scope not in (needed, without)]
            missing = ask(people, method, form, f"not-{needed}") if needed != "render" else 403
            enough = ask(people, method, form, needed)
            if (nobody, {*lacking}, missing) != (401, {403}, 403) or enough in (401, 403, 405):
                found[method, form] = (nobody, lacking, missing, enough)
    assert found == {}


def test_head_takes_what_get_does(people):
    paths = [path for method, path in GUARDED if method == "GET"]
    assert {ask(people, "HEAD", path, None) for path in paths} == {401}
    assert {ask(people, "HEAD", path, "store") for path in paths} == {403}


def test_who_may_read_may_see_pictures_and_not_the_other_way_round(people):
    for _, path in (one for one in GUARDED if expected(*one) == "render"):
        assert ask(people, "GET", path, "read") == 404
    assert ask(people, "GET", "/dicom-web/studies/1.2.3", "render") == 403


def test_what_is_open_is_open(people):
    refused = [
        (method, path)
        for path, methods in OPEN.items()
        for method in methods
        if ask(people, method, path, None) in (401, 403)
    ]
    assert refused == []


def test_nothing_else_is_open(people):
    opened = [one for one in EVERY if one not in GUARDED and one[1] not in ENOUGH_TO_SIGN_IN]
    assert {path for _, path in opened} <= set(OPEN)
    assert ask(people, "GET", "/identity.json", None) == 401
    assert ask(people, "GET", "/identity.json", "delete") == 200


def test_every_transaction_has_its_row():
    named = {*(one.identity for one in DESCRIBED.values()), *BESIDE.values(), CAPABILITIES}
    assert set(NEEDED) == named
    assert {scope for scope in NEEDED.values() if scope} <= {*SCOPES}


def test_methods_that_are_not_offered_and_paths_that_are_none_tell_nothing(people):
    assert ask(people, "PUT", "/dicom-web/studies", None) == 405
    assert ask(people, "GET", "/dicom-web/unheard-of", None) == 404
