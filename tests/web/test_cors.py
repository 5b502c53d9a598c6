"""Requests of web pages from other origins: the Fetch standard's CORS protocol, by ISTHMUS_CORS."""

import pytest

from service.environment import SettingError
from service.settings import Settings
from service.web import cors
from tests.sites import ROOT

VIEWER = "https://viewer.example.org"
LOOPBACK = ["http://localhost", "http://localhost:3000", "https://localhost:8443", "http://127.0.0.1:5173"]
STRANGERS = [
    "https://evil.example",
    "http://localhost.evil.example",
    "http://localhost:3000.evil.example",
    "http://127.0.0.1.evil.example",
    "http://127.0.0.2",
    "ftp://localhost",
    "http://localhost:",
    "http://localhost/",
    "null",
    "",
    "http://localhost\n",
]


def preflight(site, origin: str | None, method: str = "GET", path: str = "/studies"):
    headers = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "accept"}
    if origin is not None:
        headers["Origin"] = origin
    return site.client.options(ROOT + path, headers=headers)


def listed(value: str) -> set[str]:
    return {item.strip().lower() for item in value.split(",")}


@pytest.mark.parametrize("origin", [*LOOPBACK, "http://[::1]:9000"])
def test_pages_of_this_machine_may_read_out_of_the_box(site, origin):
    response = site.get("/studies", Origin=origin)
    assert response.headers["access-control-allow-origin"] == origin
    assert response.headers["access-control-allow-credentials"] == "true"
    assert response.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "origin" in listed(response.headers["vary"])


@pytest.mark.parametrize("origin", STRANGERS[:-1])
def test_strangers_may_not(site, origin):
    response = site.get("/studies", Origin=origin)
    assert response.status_code == 204
    assert not [name for name in response.headers if name.startswith(("access-control", "cross-origin"))]
    assert "origin" in listed(response.headers["vary"])
    assert preflight(site, origin).status_code == 403


def test_a_loopback_origin_ends_where_it_ends():
    allows = cors.Cors(None, ("loopback",)).allows  # type: ignore[arg-type]
    assert [origin for origin in STRANGERS if allows(origin)] == []


def test_what_scripts_may_read_of_an_answer_is_told(site):
    response = site.get("/studies", Origin=LOOPBACK[0])
    # PS3.18 8.11 leaves CORS to the server; spec 7 and 4 name what viewers read
    told = listed(response.headers["access-control-expose-headers"])
    assert {"content-type", "content-location", "content-length", "content-range", "etag"} <= told
    assert {"warning", "x-total-count", "retry-after", "location", "server-timing"} <= told


@pytest.mark.parametrize("path", ["", "/", "/studies", "/studies/1/metadata", "/wado", "/no/such/place"])
def test_a_preflight_is_answered_everywhere_and_never_with_capabilities(site, path):
    response = preflight(site, LOOPBACK[1], path=path)
    assert (response.status_code, response.content) == (204, b"")  # spec 14: never with WADL
    assert response.headers["access-control-allow-origin"] == LOOPBACK[1]
    assert {"accept", "authorization", "range", "content-type", "if-none-match"} <= listed(
        response.headers["access-control-allow-headers"]
    )
    assert {"get", "head", "post", "delete"} <= listed(response.headers["access-control-allow-methods"])
    assert int(response.headers["access-control-max-age"]) > 0


def test_a_preflight_without_origin_is_refused_and_no_capabilities(site):
    response = preflight(site, None, path="/")
    assert response.status_code == 403
    assert "wadl" not in response.headers["content-type"]


def test_capabilities_are_for_pages_too(site):
    response = site.client.options(ROOT + "/", headers={"Origin": LOOPBACK[0]})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == LOOPBACK[0]


@pytest.mark.parametrize("path", ["/studies/1", "/no/such/place", "/studies?limit=x"])
def test_errors_can_be_read_by_pages_that_may_read(site, path):
    response = site.get(path, Origin=LOOPBACK[0])
    assert response.status_code in (400, 404)
    assert response.headers["access-control-allow-origin"] == LOOPBACK[0]


def test_a_fault_of_ours_can_be_told_from_a_network_that_is_down(site, monkeypatch):
    def fail(*_):
        raise RuntimeError

    monkeypatch.setattr(type(site.archive), "find", fail)
    response = site.get("/studies", Origin=LOOPBACK[0])
    assert response.status_code == 500
    assert response.headers["access-control-allow-origin"] == LOOPBACK[0]


def test_a_list_of_origins_is_exactly_that(open_site):
    site = open_site(cors=(VIEWER,))
    assert site.get("/studies", Origin=VIEWER).headers["access-control-allow-origin"] == VIEWER
    assert preflight(site, VIEWER, "DELETE").status_code == 204
    for other in (LOOPBACK[0], VIEWER + ":8443", VIEWER.replace("https", "http"), VIEWER.upper()):
        assert "access-control-allow-origin" not in site.get("/studies", Origin=other).headers
        assert preflight(site, other).status_code == 403


def test_everybody_may_read_and_nobody_write_under_a_star(open_site):
    site = open_site(cors=("*",))
    for origin in ("https://anybody.example", "null", LOOPBACK[0]):
        response = site.get("/studies", Origin=origin)
        assert response.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in response.headers
        granted = preflight(site, origin)
        assert granted.headers["access-control-allow-origin"] == "*"
        assert listed(granted.headers["access-control-allow-methods"]) == {"get", "head", "options"}
        for method in ("POST", "DELETE", "PUT"):
            assert preflight(site, origin, method).status_code == 403
    posted = site.client.post(ROOT + "/studies", content=b"x", headers={"Origin": "https://anybody.example"})
    assert "access-control-allow-origin" not in posted.headers


def test_an_answer_under_a_star_is_the_same_for_everybody(open_site):
    site = open_site(cors=("*",))
    response = site.get("/studies")  # an image of a page that isolates itself is asked for without Origin
    assert response.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "origin" not in listed(response.headers["vary"])


def test_nobody_may_where_none_is_written(open_site):
    site = open_site(cors=())
    assert "access-control-allow-origin" not in site.get("/studies", Origin=LOOPBACK[0]).headers
    assert preflight(site, LOOPBACK[0]).status_code == 403


def test_a_cache_is_told_that_answers_differ_also_where_no_origin_is_named(site):
    response = site.get("/studies")
    assert "origin" in listed(response.headers["vary"])
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ("loopback",)),
        ("none", ()),
        ("*", ("*",)),
        ("https://a.example, http://b.example:8080", ("https://a.example", "http://b.example:8080")),
        ("loopback https://a.example/", ("loopback", "https://a.example")),
        ("HTTPS://A.Example:443 http://b:80", ("https://a.example", "http://b")),
        ("http://[::1]:3000", ("http://[::1]:3000",)),
    ],
)
def test_the_setting_is_written_as_browsers_write_origins(text, origins):
    assert Settings.from_environment({"ISTHMUS_CORS": text}).cors == origins


@pytest.mark.parametrize(
    "text",
    ["a.example", "https://a.example/path", "*, https://a.example", "none loopback", "https://*.x", "ws://a"],
)
def test_a_setting_that_is_no_origin_is_refused(text):
    with pytest.raises(SettingError, match="ISTHMUS_CORS"):
        Settings.from_environment({"ISTHMUS_CORS": text})
