"""Where the page lies: headers, entity tags, prefixes that proxies strip or keep, and no other host."""

import contextlib
import functools
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2 as httpx
import pytest

from tests.e2e.page.conftest import PATIENCE_S
from tests.making import a_ct

_PASSED_ON = ("Accept", "Content-Type", "Content-Length", "If-None-Match")
_HOP = ("connection", "transfer-encoding", "keep-alive")

get = functools.partial(httpx.get, timeout=PATIENCE_S)


class Stripping(BaseHTTPRequestHandler):
    """A proxy that takes `/pacs` off each path."""

    port = 0

    def do_GET(self) -> None:
        path = self.path.removeprefix("/pacs") or "/"
        headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request(self.command, path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in (*_HOP, "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the tab may have been closed meanwhile
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stripping(program) -> Iterator[str]:
    """The address of the page behind a proxy that strips a prefix."""
    handler = type("Handler", (Stripping,), {"port": program.port})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/pacs/"
        server.shutdown()
        thread.join()


def test_the_page_says_strictly_what_it_may_load(page):
    answer = get(page.address)

    rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_the_bridge_is_the_one_other_place_that_may_be_asked(page_elsewhere):
    policy = get(page_elsewhere.address).headers["content-security-policy"]

    assert "connect-src 'self' https://bridge.example.org:8443;" in policy
    told = get(page_elsewhere.address + "config.json").json()
    assert told["bridge"] == "https://bridge.example.org:8443/isthmus"


@pytest.mark.parametrize(
    "name", ["", "page/main.js", "page/base.css", "page/icon.svg", "page/dictionary.json"]
)
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_files_are_not_sent_again_to_who_has_them(page, name, coding):
    first = get(page.address + name, headers={"Accept-Encoding": coding})

    again = get(
        page.address + name, headers={"Accept-Encoding": coding, "If-None-Match": first.headers["etag"]}
    )

    assert first.headers.get("content-encoding", "identity") == coding
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


@pytest.mark.parametrize(
    "name", ["page/..%2Fpage.py", "page/nothing.js", "page/", "page/.hidden", "page/a/b.js"]
)
def test_nothing_else_is_handed_out(page, name):
    assert get(page.address + name).status_code == 404


def test_below_the_dicomweb_root_nothing_is_a_page(page):
    answer = page.get("/")

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_page_works_where_a_proxy_strips_a_prefix(page, stripping):
    page.store(a_ct(PatientName="Stripped^S"))
    page.tabs.append(tab := page.browser.open(stripping + "#/?name=stripped"))

    tab.wait_for("document.querySelectorAll('tbody tr').length === 1")

    assert {url.removeprefix(stripping).partition("/")[0] for url in tab.requests} >= {"page", "dicom-web"}
    assert [url for url in tab.requests if not url.startswith(stripping)] == []
    page.tabs.remove(tab)
    tab.close()  # before the proxy goes, of which what it still loads would complain
    assert tab.complaints == []


def test_the_page_works_where_a_proxy_keeps_the_prefix(page_elsewhere):
    page = page_elsewhere
    address = f"{page.address}pacs/"

    assert get(address.rstrip("/")).headers["location"] == "pacs/"
    for place in (address, page.address):
        page.tabs.append(tab := page.browser.open(place + "#/?id=nobody"))
        tab.wait_for("document.querySelector('.message')")
        assert "No study matches" in tab.text("#main")
        asked = f"{page.address}pacs/dicom-web/studies?PatientID=nobody*&limit=50&offset=0"
        assert asked in [url.replace("%2A", "*") for url in tab.requests]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_light_or_dark_as_people_prefer(page, scheme):
    tab = page.open()
    tab.prefer(scheme)

    red = tab.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")

    assert (int(red) > 128) == (scheme == "light")


def test_it_can_be_made_light_or_dark_by_hand(page):
    tab = page.open()
    tab.prefer("light")
    tab.click("#nav button[aria-label='Light or dark']")
    assert tab.run("document.documentElement.dataset.theme") == "dark"

    tab.go(page.address + "?again")

    assert tab.run("document.documentElement.dataset.theme") == "dark"
