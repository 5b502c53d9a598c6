"""URLs in answers behind proxies: Forwarded (RFC 7239), X-Forwarded-*, ISTHMUS_PUBLIC_URL."""

import ipaddress

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.environment import SettingError
from service.settings import Settings
from tests.making import a_ct, a_data_set, a_file
from tests.sites import Site

PROXY, INNER, STRANGER = "10.0.0.1", "10.0.0.2", "203.0.113.9"
TRUSTED = (ipaddress.ip_network("10.0.0.0/30"), ipaddress.ip_network("fd00::/8"))


def behind(site: Site, peer: str | None = PROXY, **fields) -> Site:
    """The site as `peer` reaches it."""
    settings = Settings(**{"trusted_proxies": TRUSTED, **fields})
    client = TestClient(create_app(site.archive, settings), client=(peer, 4711) if peer else ("", 0))
    return Site(site.archive, site.store, client)


def base_of(site: Site, **headers: str) -> str:
    """The DICOMweb root as the answer to a Store request names it."""
    response = site.client.post(
        "http://inside:8080/dicom-web/studies",
        content=a_file(a_data_set()),
        headers={"Content-Type": "application/dicom", **headers},
    )
    assert response.status_code == 200, response.text
    url: str = response.json()["00081190"]["Value"][0]
    return url.partition("/studies/")[0]


RULES = [
    ("RFC 7239 5.3, 5.4: host and proto", {"Forwarded": "for=192.0.2.1;host=pacs.example;proto=https"},
     "https://pacs.example/dicom-web"),
    ("RFC 7239 4: names without regard to case, quoted values, spaces",
     {"Forwarded": 'For="[2001:db8::1]:4711"; HOST="pacs.example:8443" ; Proto=HTTPS'},
     "https://pacs.example:8443/dicom-web"),
    ("RFC 7239 5.3: an address in brackets", {"Forwarded": 'host="[2001:db8::7]:81";proto=http'},
     "http://[2001:db8::7]:81/dicom-web"),
    ("RFC 7239 4: the last element is the peer's own, what stands before may be the client's",
     {"Forwarded": "host=evil.example;proto=http, for=203.0.113.9;host=pacs.example;proto=https"},
     "https://pacs.example/dicom-web"),
    ("RFC 7239 4: an element of a trusted proxy before counts",
     {"Forwarded": f"for=203.0.113.9;host=pacs.example;proto=https, for={INNER};host=inner;proto=http"},
     "https://pacs.example/dicom-web"),
    ("RFC 7239 6.3: an obfuscated node is nobody we trust",
     {"Forwarded": "host=evil.example, for=_hidden;host=pacs.example;proto=https"},
     "https://pacs.example/dicom-web"),
    ("a comma inside quotes parts nothing", {"Forwarded": 'for="a,b";host=pacs.example;proto=https'},
     "https://pacs.example/dicom-web"),
    ("Forwarded without host leaves Host", {"Forwarded": "proto=https"}, "https://inside:8080/dicom-web"),
    ("spec 7: X-Forwarded-Host, -Proto", {"X-Forwarded-Host": "pacs.example", "X-Forwarded-Proto": "https"},
     "https://pacs.example/dicom-web"),
    ("X-Forwarded-Port where the host has none",
     {"X-Forwarded-Host": "pacs.example", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "8443"},
     "https://pacs.example:8443/dicom-web"),
    ("X-Forwarded-Port of the scheme itself goes without saying",
     {"X-Forwarded-Host": "pacs.example", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443"},
     "https://pacs.example/dicom-web"),
    ("X-Forwarded-Port never replaces the host's own",
     {"X-Forwarded-Host": "[::1]:1", "X-Forwarded-Proto": "http", "X-Forwarded-Port": "2"},
     "http://[::1]:1/dicom-web"),
    ("spec 7: X-Forwarded-Prefix is what was taken off",
     {"X-Forwarded-Host": "pacs.example", "X-Forwarded-Prefix": "/imaging/a/"},
     "http://pacs.example/imaging/a/dicom-web"),
    ("a prefix alone", {"X-Forwarded-Prefix": "/imaging"}, "http://inside:8080/imaging/dicom-web"),
    ("a prefix beside Forwarded, which has none",
     {"Forwarded": "host=pacs.example;proto=https", "X-Forwarded-Prefix": "/i"},
     "https://pacs.example/i/dicom-web"),
    ("Forwarded comes first", {"Forwarded": "host=one.example", "X-Forwarded-Host": "two.example"},
     "http://one.example/dicom-web"),
    ("of a list the peer's own value counts", {"X-Forwarded-Host": "evil.example, pacs.example"},
     "http://pacs.example/dicom-web"),
    ("with a trusted proxy before the peer, that one's",
     {"X-Forwarded-Host": "evil.example, pacs.example, inner", "X-Forwarded-For": f"203.0.113.9, {INNER}",
      "X-Forwarded-Prefix": "/out, /in"},
     "http://pacs.example/out/in/dicom-web"),
    ("nothing forwarded: the Host header", {}, "http://inside:8080/dicom-web"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "headers", "base"), RULES, ids=[rule for rule, *_ in RULES])
def test_a_trusted_proxy_is_believed(site, rule, headers, base):
    assert base_of(behind(site), **headers) == base


@pytest.mark.parametrize("peer", [STRANGER, "testclient", None, "10.0.0.4", "::ffff:203.0.113.9"])
def test_nobody_else_is(site, peer):
    told = {"Forwarded": "host=evil.example;proto=https", "X-Forwarded-Host": "evil.example",
            "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/evil"}  # fmt: skip
    assert base_of(behind(site, peer), **told) == "http://inside:8080/dicom-web"


def test_nobody_is_believed_by_default(site):
    told = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    assert base_of(behind(site, "127.0.0.1", trusted_proxies=()), **told) == "http://inside:8080/dicom-web"


@pytest.mark.parametrize("peer", ["fd00::17", "::ffff:10.0.0.1"])
def test_proxies_have_addresses_of_either_kind(site, peer):
    assert base_of(behind(site, peer), Forwarded="host=pacs.example") == "http://pacs.example/dicom-web"


@pytest.mark.parametrize(
    "headers",
    [
        {"Forwarded": 'host="a b"'},
        {"Forwarded": 'host="a\\"b"'},
        {"Forwarded": "host=h;proto=javascript"},
        {"X-Forwarded-Host": "<script>"},
        {"X-Forwarded-Host": "user@host"},
        {"X-Forwarded-Host": "h/path"},
        {"X-Forwarded-Proto": "gopher"},
        {"X-Forwarded-Host": "h", "X-Forwarded-Port": "0"},
        {"X-Forwarded-Host": "h", "X-Forwarded-Port": "65536"},
        {"X-Forwarded-Host": "h", "X-Forwarded-Port": "8x"},
        {"X-Forwarded-Prefix": "no-slash"},
        {"X-Forwarded-Prefix": "//evil.example"},
        {"X-Forwarded-Prefix": "/a/../b"},
        {"X-Forwarded-Prefix": '/a"b'},
        {"X-Forwarded-Prefix": "/a<b"},
        {"X-Forwarded-Prefix": "/a&b"},
        {"X-Forwarded-Prefix": "/%zz"},
        {"X-Forwarded-Prefix": "/" + "a" * 600},
    ],
    ids=repr,
)
def test_what_could_not_be_part_of_a_url_is_a_bad_request(site, headers):
    response = behind(site).get("/studies/1.2.3", **headers)
    told = response.status_code
    stored = behind(site).client.post(
        "http://inside/dicom-web/studies",
        content=a_ct(),
        headers={"Content-Type": "application/dicom", **headers},
    )
    assert stored.status_code == 400
    assert told in (400, 404)


def test_two_hosts_are_a_bad_request(site):
    request = site.client.build_request("GET", "/dicom-web/studies", headers=[("Host", "a"), ("Host", "b")])
    assert site.client.send(request).status_code == 400


def test_the_public_url_is_the_root_whatever_the_request_says(site):
    public = "https://pacs.example/images/dicomweb"
    reached = behind(site, STRANGER, public_url=public)
    assert base_of(reached) == public
    assert base_of(reached, Host="other.example") == public
    assert base_of(reached, **{"X-Forwarded-Host": "evil.example"}) == public


def test_a_trusted_proxy_knows_better_than_the_public_url(site):
    # spec 7: forwarded headers of trusted peers, else the configured public URL
    reached = behind(site, public_url="https://pacs.example/images/dicomweb")
    assert base_of(reached, Forwarded="host=pacs2.example;proto=https") == "https://pacs2.example/dicom-web"
    assert base_of(reached, **{"X-Forwarded-Proto": "https"}) == "https://pacs.example/images/dicomweb"


def test_every_kind_of_answer_names_the_same_root(site):
    reached = behind(site)
    told = {"Forwarded": "host=pacs.example;proto=https", "X-Forwarded-Prefix": "/i"}
    base = "https://pacs.example/i/dicom-web"
    stored = site.post(a_ct()).json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    path = stored.removeprefix("http://testserver/dicom-web")
    (document,) = reached.get(path + "/metadata", **told).json()
    assert document["7FE00010"]["BulkDataURI"] == f"{base}{path}/bulkdata/7FE00010"
    (match,) = reached.get("/instances", **told).json()
    assert match["00081190"]["Value"] == [base + path]
    frame = reached.get(path + "/frames/1", **told)
    assert f"Content-Location: {base}{path}/frames/1".encode() in frame.content
    wadl = reached.client.options("http://inside/dicom-web/", headers=told)
    assert f'<resources base="{base}">'.encode() in wadl.content


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://pacs.example/dicom-web", "https://pacs.example/dicom-web"),
        ("http://[::1]:8080/a/b/", "http://[::1]:8080/a/b"),
        ("https://pacs.example", "https://pacs.example"),
        ("", ""),
    ],
)
def test_the_public_url_is_taken_without_its_last_slash(text, url):
    assert Settings.from_environment({"ISTHMUS_PUBLIC_URL": text}).public_url == url


@pytest.mark.parametrize(
    "text", ["pacs.example", "ftp://a", "https://a/?b", 'https://a/"', "https://a b", "https://u@a"]
)
def test_a_public_url_that_is_none_is_refused(text):
    with pytest.raises(SettingError, match="ISTHMUS_PUBLIC_URL"):
        Settings.from_environment({"ISTHMUS_PUBLIC_URL": text})


def test_trusted_proxies_are_addresses_and_networks():
    settings = Settings.from_environment({"ISTHMUS_TRUSTED_PROXIES": "10.0.0.1, 192.168.0.0/16 ::1"})
    assert [str(network) for network in settings.trusted_proxies] == [
        "10.0.0.1/32",
        "192.168.0.0/16",
        "::1/128",
    ]
    assert Settings.from_environment({}).trusted_proxies == ()


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.0/33", "10.0.0.1/8", "*"])
def test_what_is_no_network_is_refused(text):
    with pytest.raises(SettingError, match="ISTHMUS_TRUSTED_PROXIES"):
        Settings.from_environment({"ISTHMUS_TRUSTED_PROXIES": text})
