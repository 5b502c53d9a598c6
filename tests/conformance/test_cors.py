"""Pages of other origins, proxies and caches (spec 7 and 14; the Fetch standard)."""

import ipaddress

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.conformance.rows import cites, row
from tests.making import a_ct
from tests.sites import ROOT, Site

PAGE = "http://localhost:3000"
ONE = "/studies/1.1/series/1.2/instances/1.3"


@pytest.fixture
def kept(site: Site) -> Site:
    assert site.post(a_ct(study="1.1", series="1.2", instance="1.3")).status_code == 200
    return site


def words(value: str) -> set[str]:
    return {word.strip().lower() for word in value.split(",")}


PLACES = [
    row("spec 7", f"answers can be read by pages ({path})", path)
    for path in ("/studies", ONE, ONE + "/metadata", ONE + "/frames/1", "/studies/9", "/nothing", "/wado")
]


@pytest.mark.parametrize("path", PLACES)
def test_pages_may_read_answers_and_refusals(kept, path):
    response = kept.get(path, Origin=PAGE)
    assert response.headers["access-control-allow-origin"] == PAGE
    exposed = words(response.headers["access-control-expose-headers"])
    assert {"content-type", "content-location", "warning", "etag", "content-range"} <= exposed
    assert response.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "origin" in words(",".join(response.headers.get_list("vary")))


@pytest.mark.parametrize("path", PLACES)
def test_a_preflight_needs_no_sign_in(kept, path):
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization,range,if-none-match",
    }
    response = kept.client.options(ROOT + path, headers=asked)
    assert (response.status_code, response.content) == (204, b"")
    allowed = words(response.headers["access-control-allow-headers"])
    assert {"accept", "authorization", "range", "content-type", "if-none-match"} <= allowed
    assert "get" in words(response.headers["access-control-allow-methods"])


@cites("Fetch 3.2", "a page of an origin that is not allowed is told nothing")
def test_strangers_are_granted_nothing(kept):
    response = kept.get("/studies", Origin="https://elsewhere.example")
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        row("RFC 7239", "Forwarded", {"Forwarded": "host=a.example;proto=https"}, "https://a.example"),
        row(
            "spec 7",
            "X-Forwarded-Host and -Proto",
            {"X-Forwarded-Host": "a.example", "X-Forwarded-Proto": "https"},
            "https://a.example",
        ),
        row(
            "spec 7",
            "X-Forwarded-Prefix",
            {"X-Forwarded-Host": "a.example", "X-Forwarded-Prefix": "/pacs"},
            "http://a.example/pacs",
        ),
        row("spec 7", "Host alone", {"Host": "b.example:81"}, "http://b.example:81"),
    ],
)
def test_urls_in_answers_are_those_of_the_client(kept, headers, base):
    settings = Settings(trusted_proxies=(ipaddress.ip_network("10.0.0.0/8"),))
    client = TestClient(create_app(kept.archive, settings), client=("10.1.1.1", 5000))
    site = Site(kept.archive, kept.store, client)
    (study,) = site.get("/studies", **headers).json()
    assert study["00081190"]["Value"] == [f"{base}/dicom-web/studies/1.1"]
    metadata = site.get(ONE + "/metadata", **headers).json()
    assert metadata[0]["7FE00010"]["BulkDataURI"].startswith(f"{base}/dicom-web{ONE}/bulkdata")


CACHED = [
    row("spec 7", f"tags, Cache-Control and Vary ({path})", path, accept)
    for path, accept in (
        (ONE, "application/dicom"),
        ("/studies/1.1", 'multipart/related; type="application/dicom"'),
        (ONE + "/metadata", "application/dicom+json"),
        (ONE + "/frames/1", "application/octet-stream"),
        (ONE + "/bulkdata/7FE00010", "application/octet-stream"),
    )
]


@pytest.mark.parametrize(("path", "accept"), CACHED)
def test_answers_may_be_kept_by_the_client_and_asked_for_anew(kept, path, accept):
    first = kept.get(path, accept)
    assert first.headers["etag"].startswith('"')
    assert "private" in first.headers["cache-control"]
    assert {"accept", "authorization"} <= words(",".join(first.headers.get_list("vary")))
    again = kept.get(path, accept, **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
