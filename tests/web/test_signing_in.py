"""What a browser is told of signing in: by the page, by OHIF, and who it is then."""

import secrets
from collections.abc import Callable
from pathlib import Path

import bcrypt
import orjson
import pytest

from service.access.settings import AccessSettings
from service.access.shares import Shares
from service.environment import SettingError
from service.settings import Settings
from tests.sites import Site

HERE = "http://testserver"
ISSUER = "https://login.example.org:8443/realms/hospital"
ORIGIN = "https://login.example.org:8443"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A file with a key for links."""
    path = tmp_path / "keys"
    path.write_text(secrets.token_urlsafe(32))
    return path


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    """A file with one who may only read."""
    path = tmp_path / "passwords"
    path.write_text(f"reader:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}:read\n")
    return path


def oidc(**more: object) -> AccessSettings:
    """Sign-in at an issuer that is never asked, since nobody signs in."""
    told = {"ways": ("jwt",), "issuer": ISSUER, "audience": "isthmus", "client_id": "page", **more}
    return AccessSettings(**told)  # type: ignore[arg-type]


def rules(site: Site, path: str) -> dict[str, str]:
    """The policy of a page, by what it is about."""
    policy = site.client.get(HERE + path).headers["content-security-policy"]
    return dict(rule.split(" ", 1) for rule in policy.split("; "))


def test_the_page_is_told_where_people_sign_in(open_site: Callable[..., Site]):
    told = open_site(access=oidc()).client.get(HERE + "/config.json").json()

    assert told["auth"] == {
        "kind": "oidc",
        "authority": ISSUER,
        "client_id": "page",
        "scope": "openid profile",
    }
    assert told["shares"] is False


def test_without_a_client_the_page_can_sign_nobody_in(open_site: Callable[..., Site]):
    told = open_site(access=oidc(client_id="")).client.get(HERE + "/config.json").json()

    assert told["auth"] == {"kind": "none"}


def test_passwords_are_asked_for_by_browsers_themselves(open_site: Callable[..., Site], passwords: Path):
    site = open_site(access=AccessSettings(ways=("basic",), passwords_file=passwords))

    assert site.client.get(HERE + "/config.json").json()["auth"] == {"kind": "basic"}
    refused = site.client.get(HERE + "/identity.json")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic ")


def test_the_page_may_ask_the_issuer_and_show_what_it_fetched(open_site: Callable[..., Site]):
    found = rules(open_site(access=oidc()), "/")

    assert found["connect-src"] == f"'self' {ORIGIN}"
    assert found["img-src"] == found["media-src"] == "'self' blob:"
    assert found["script-src"] == found["style-src"] == "'self'"
    assert found["default-src"] == found["form-action"] == found["frame-ancestors"] == "'none'"


def test_where_nobody_signs_in_the_page_may_no_more_than_ever(open_site: Callable[..., Site]):
    found = rules(open_site(), "/")

    assert found["connect-src"] == found["img-src"] == found["media-src"] == "'self'"


def test_ohif_is_told_where_people_sign_in(open_site: Callable[..., Site], tmp_path: Path):
    for name in ("index.html", "app-config.js"):
        (tmp_path / name).write_bytes(b"-")
    site = open_site(access=oidc(asked_scope="openid dicom"), ohif=str(tmp_path))

    told = site.client.get(HERE + "/ohif/app-config.js").content
    found = rules(site, "/ohif/")

    (oidc_settings,) = orjson.loads(told.removeprefix(b"window.config = ").removesuffix(b";\n"))["oidc"]
    assert oidc_settings["authority"] == ISSUER
    assert (oidc_settings["client_id"], oidc_settings["scope"]) == ("page", "openid dicom")
    assert (oidc_settings["response_type"], oidc_settings["redirect_uri"]) == ("code", "/callback")
    assert found["connect-src"] == f"'self' data: blob: {ORIGIN}"
    assert found["frame-src"] == f"'self' blob: {ORIGIN}"


def test_ohif_signs_nobody_in_where_nobody_has_to(open_site: Callable[..., Site], tmp_path: Path):
    for name in ("index.html", "app-config.js"):
        (tmp_path / name).write_bytes(b"-")
    site = open_site(ohif=str(tmp_path))

    assert b"oidc" not in site.client.get(HERE + "/ohif/app-config.js").content
    assert rules(site, "/ohif/")["frame-src"] == "'self' blob:"


def test_whoever_has_signed_in_learns_what_they_may_do(open_site: Callable[..., Site], passwords: Path):
    site = open_site(access=AccessSettings(ways=("basic",), passwords_file=passwords))

    answer = site.client.get(HERE + "/identity.json", auth=("reader", "secret"))

    assert answer.json() == {"name": "reader", "scopes": ["read", "render"]}
    assert answer.headers["cache-control"] == "no-store"


def test_where_nobody_signs_in_everything_is_permitted(open_site: Callable[..., Site]):
    told = open_site().client.get(HERE + "/identity.json").json()

    assert told["scopes"] == ["read", "store", "delete", "render", "share"]


def test_who_came_by_a_link_knows_of_its_study(open_site: Callable[..., Site], keys: Path):
    site = open_site(access=oidc(share_key_file=keys))
    link = Shares(keys).made("1.2.3", 600).token

    told = site.client.get(f"{HERE}/identity.json?share={link}").json()

    assert (told["scopes"], told["studies"]) == (["read", "render"], ["1.2.3"])
    assert "patients" not in told


@pytest.mark.parametrize("scope", ["profile email", 'openid "quoted"', "openid\u00e9", "openid \x07"])
def test_scopes_that_no_issuer_could_be_asked_for_are_refused_at_start(scope: str):
    with pytest.raises(SettingError, match="ISTHMUS_OIDC_SCOPE"):
        Settings.from_environment(
            {
                "ISTHMUS_AUTH": "jwt",
                "ISTHMUS_OIDC_ISSUER": ISSUER,
                "ISTHMUS_OIDC_AUDIENCE": "isthmus",
                "ISTHMUS_OIDC_SCOPE": scope,
            }
        )
