"""Requests of other people's web pages: by a name that leads here, or from another origin."""

import ipaddress

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from service.web.hosts import is_this_machine
from tests.making import a_ct

TRUSTED = (ipaddress.ip_network("10.0.0.1"),)


def web(site, peer: str = "127.0.0.1", **fields) -> TestClient:
    settings = Settings(**{"hosts": (), **fields})
    return TestClient(create_app(site.archive, settings), base_url="http://localhost", client=(peer, 4711))


def test_a_host_that_an_operator_did_not_name_is_refused_where_nobody_signs_in():
    assert Settings.from_environment({}).hosts == ()
    assert Settings.from_environment({"ISTHMUS_AUTH": "none!"}).hosts is None
    public = {"ISTHMUS_PUBLIC_URL": "https://Pacs.example.org:8443/dicom-web"}
    assert Settings.from_environment(public).hosts == ("pacs.example.org",)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("LOCALHOST:8080", True),
        ("127.0.0.1", True),
        ("127.0.0.1:8080", True),
        ("192.168.1.7:8080", True),
        ("[::1]:8080", True),
        ("pacs.example.org", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil@127.0.0.1", False),
        ("localhost:80:80", False),
        ("[::1].evil.example", False),
        ("localhost.", False),
        ("localhost/", False),
    ],
)
@pytest.mark.parametrize("path", ["/dicom-web/studies", "/", "/config.json", "/metrics", "/nothing"])
def test_only_this_machine_may_be_asked_for(site, host, here, path):
    answer = web(site, hosts=("pacs.example.org",)).get(path, headers={"Host": host})

    assert (answer.status_code != 403) is here
    if not here:
        assert "ISTHMUS_PUBLIC_URL" in answer.text
        assert "X-Request-ID" in answer.headers


def test_no_host_is_no_other_host():
    assert is_this_machine("")


@pytest.mark.parametrize(("peer", "status"), [("10.0.0.1", 204), ("10.0.0.2", 403)])
def test_a_trusted_proxy_may_be_asked_by_any_name(site, peer, status):
    client = web(site, peer, trusted_proxies=TRUSTED)

    assert client.get("/dicom-web/studies", headers={"Host": "pacs.example.org"}).status_code == status


def test_two_hosts_are_a_bad_request_wherever_they_lead(site):
    answer = web(site).get("/dicom-web/studies", headers=[("Host", "localhost"), ("Host", "localhost")])

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("origin", "stored"),
    [
        (None, True),
        ("http://localhost", True),
        ("http://localhost:3000", True),
        ("https://viewer.example.org", True),
        ("https://pacs.example.org", True),
        ("http://evil.example", False),
        ("http://localhost.evil.example", False),
        ("null", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("content_type", ["application/dicom", "text/plain"])
def test_pages_of_other_origins_change_nothing(site, origin, stored, content_type):
    client = web(
        site,
        cors=("loopback", "https://viewer.example.org"),
        public_url="https://pacs.example.org/dicom-web",
    )
    headers = {"Content-Type": content_type} | ({} if origin is None else {"Origin": origin})

    answer = client.post("/dicom-web/studies", content=a_ct(), headers=headers)

    assert (answer.status_code != 403) is stored
    if content_type == "application/dicom":
        assert client.get("/dicom-web/studies").status_code == (200 if stored else 204)


@pytest.mark.parametrize("method", ["DELETE", "PUT", "POST", "PATCH"])
def test_neither_do_they_with_other_methods(site, method):
    answer = web(site, hosts=None).request(
        method, "/dicom-web/studies/1.2.3", headers={"Origin": "https://evil.example"}
    )

    assert answer.status_code == 403


def test_reading_is_left_to_the_browser(site):
    answer = web(site).get("/dicom-web/studies", headers={"Origin": "https://evil.example"})

    assert answer.status_code == 204
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_where_everybody_may_read_nobody_else_may_store(site):
    answer = web(site, cors=("*",)).post(
        "/dicom-web/studies", content=b"", headers={"Origin": "https://evil.example"}
    )

    assert answer.status_code == 403


@pytest.mark.parametrize(("peer", "status"), [("10.0.0.1", 404), ("10.0.0.2", 403)])
def test_a_page_of_our_own_behind_a_proxy_may(site, peer, status):
    client = web(site, peer, hosts=None, trusted_proxies=TRUSTED)
    headers = {"Origin": "https://pacs.example.org", "X-Forwarded-Host": "pacs.example.org"}

    assert client.delete("/dicom-web/studies/1.2.3", headers=headers).status_code == status
