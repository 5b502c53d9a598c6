"""Names that somebody puts into a request: they reach nobody else, by no cache."""

import ipaddress

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.attacks.wire import Wire
from tests.conformance.retrieving import keep
from tests.making import a_ct

PROXY = "10.0.0.1"
EVIL = "evil.example"
LIES = [
    {"Host": EVIL},
    {"Forwarded": f"host={EVIL};proto=https"},
    {"X-Forwarded-Host": EVIL, "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/evil"},
    {"X-Forwarded-Host": f"{EVIL}, pacs.example.org"},
    {"X-Original-Host": EVIL, "X-Host": EVIL, "X-Forwarded-Server": EVIL, "Via": EVIL},
]
RESOURCES = ["/studies", "{path}/metadata", "{path}", "{study}", "{study}/metadata", "{study}/bulkdata", "/"]


def clients_of(site, *peers: str) -> list[TestClient]:
    """Clients of one service, which keeps what it has made, each from an address of its own."""
    app = create_app(site.archive, Settings(trusted_proxies=(ipaddress.ip_network(PROXY),), hosts=None))
    return [TestClient(app, base_url="http://pacs.example.org", client=(peer, 4711)) for peer in peers]


def urls(site, resource: str) -> tuple[str, str]:
    path = keep(site, a_ct(study="2.25.11", series="2.25.12", instance="2.25.13"))
    method = "OPTIONS" if resource == "/" else "GET"
    return method, "/dicom-web" + resource.format(path=path, study="/studies/2.25.11")


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("peer", [PROXY, "10.0.0.2"])
def test_what_one_client_calls_the_server_is_told_to_no_other(site, resource, lie, peer):
    method, url = urls(site, resource)
    liar, other = clients_of(site, peer, "10.0.0.3")

    for _ in range(2):  # what is kept is kept by the first time, and used by the second
        poisoned = liar.request(method, url, headers=lie)
    after = other.request(method, url)
    before = clients_of(site, "10.0.0.3")[0].request(method, url)  # of a service that was told no lies

    assert (after.status_code, after.content) == (before.status_code, before.content)
    assert EVIL.encode() not in after.content
    if EVIL.encode() in poisoned.content:  # to who said so themselves, under a tag of its own
        again = {"If-None-Match": poisoned.headers.get("etag", '"none"')}
        assert other.request(method, url, headers=again).status_code == after.status_code == 200


@pytest.mark.parametrize("resource", RESOURCES)
def test_no_cache_that_others_share_keeps_what_is_of_patients(site, resource):
    method, url = urls(site, resource)

    control = clients_of(site, PROXY)[0].request(method, url).headers.get("cache-control", "")

    assert resource == "/" or "private" in control or "no-store" in control, control


def test_a_whole_url_names_the_host(target):
    port = target.program.port
    with Wire(port) as wire:
        here = wire.ask(b"GET", b"http://127.0.0.1:%d/api" % port, [b"Host: evil.example"])
        there = wire.ask(b"GET", b"http://elsewhere.example/api", [b"Host: 127.0.0.1"])

    assert here.status == 200 and b"evil.example" not in here.body
    assert there.status == 200 and b"http://elsewhere.example/dicom-web" in there.body
