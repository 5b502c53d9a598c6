"""The reference page: everything that is offered, offline, under a strict policy and any prefix."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
import yaml

from openapi.__main__ import SOURCE
from service.web.transactions import DESCRIBED

PAGE = "http://testserver/api"


class Read(HTMLParser):
    """The tags of a page, each open one closed, with what would be fetched or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        elif tag in ("script", "link", "img", "iframe") or {"src", "style", "onclick"} & given.keys():
            self.outside.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(site) -> Read:
    response = site.client.get(PAGE)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    read = Read()
    read.feed(response.text)
    read.close()
    return read


def test_the_page_names_everything_that_is_offered(page):
    assert {one.identity for one in DESCRIBED.values()} <= {*page.ids}
    assert len(set(page.ids)) == len(page.ids)
    tags = len(yaml.safe_load(SOURCE.read_text())["tags"])
    assert SOURCE.read_text().count("operationId:") == len(page.ids) - tags


def test_the_page_is_whole_and_needs_nothing_else(page):
    assert page.open == []
    assert page.outside == []
    assert [link for link in page.links if link.removeprefix("#") not in page.ids] == []


def test_the_policy_allows_the_style_of_the_page_and_nothing_more(site):
    response = site.client.get(PAGE)
    policy = response.headers["content-security-policy"]
    (style,) = re.findall("<style>(.*?)</style>", response.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{digest}'" in policy


def test_the_page_has_the_urls_that_its_reader_uses(open_site):
    site = open_site(prefix="/pacs/web", public_url="https://pacs.example.org/ward/pacs/web")
    text = site.client.get(PAGE).text
    assert "https://pacs.example.org/ward/pacs/web/studies" in text
    assert "https://pacs.example.org/ward/metrics" in text
    assert "testserver" not in text


def test_a_host_that_would_be_markup_is_refused(site):
    response = site.client.get(PAGE, headers={"Host": "<script>alert(1)</script>"})
    assert response.status_code == 400


def test_the_page_is_sent_once(site):
    tag = site.client.get(PAGE).headers["etag"]
    assert site.client.get(PAGE, headers={"If-None-Match": tag}).status_code == 304
