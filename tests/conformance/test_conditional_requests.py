"""Requests with conditions (RFC 9110 13): a body that the client knows, or has already."""

import pytest

from tests.conformance.retrieving import encapsulated, keep
from tests.conformance.rows import cites, row
from tests.making import a_ct
from tests.sites import ROOT, Site

OBJECTS = 'multipart/related; type="application/dicom"'
ONE = "/studies/1.1/series/1.2/instances/1.3"
TAGGED = (
    *("/studies/1.1", "/studies/1.1/series/1.2", ONE, "/studies/1.1/metadata", ONE + "/metadata"),
    *(ONE + "/frames/1", ONE + "/bulkdata", ONE + "/bulkdata/7FE00010", ONE + "/pixeldata"),
    *(ONE + "/rendered", ONE + "/frames/1/rendered", "/studies/1.1/rendered", ONE + "/thumbnail"),
    "/wado?requestType=WADO&objectUID=1.3",
)


@pytest.fixture
def kept(site: Site) -> Site:
    assert site.post(a_ct(study="1.1", series="1.2", instance="1.3")).status_code == 200
    return site


MATCHES = [
    row("RFC 9110 13.1.1", "the tag that there is", "{tag}", 200),
    row("RFC 9110 13.1.1", "one of several", '"other", {tag}', 200),
    row("RFC 9110 13.1.1", "any", "*", 200),
    row("RFC 9110 13.1.1", "another tag: 412", '"other"', 412),
    row("RFC 9110 13.1.1", "a weak tag matches nothing", "W/{tag}", 412),
    row("RFC 9110 13.1.1", "what is no tag matches nothing", "tag", 412),
]


@pytest.mark.parametrize("path", TAGGED)
@pytest.mark.parametrize(("given", "status"), MATCHES)
def test_a_client_may_want_only_what_it_knows(kept, path, given, status):
    first = kept.get(path)
    response = kept.get(path, **{"If-Match": given.replace("{tag}", first.headers["etag"])})
    assert response.status_code == status
    if status == 200:
        assert response.content == first.content
    else:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["detail"]


@cites("RFC 9110 13.2.2", "If-Match comes before If-None-Match, and both before Range")
@pytest.mark.parametrize("path", [ONE, ONE + "/frames/1"])
def test_the_order_of_conditions(kept, path):
    accept = "application/octet-stream" if "frames" in path else "application/dicom"
    tag = kept.get(path, accept).headers["etag"]
    run = {"Range": "bytes=0-9"}
    assert kept.get(path, accept, **{"If-Match": tag}, **run).status_code == 206
    assert kept.get(path, accept, **{"If-Match": '"x"'}, **run).status_code == 412
    assert kept.get(path, accept, **{"If-Match": tag, "If-None-Match": tag}, **run).status_code == 304
    assert kept.get(path, accept, **{"If-Match": '"x"', "If-None-Match": tag}).status_code == 412


@cites("RFC 9110 13.2.1", "a condition changes nothing of an answer that is none of success")
def test_a_condition_on_what_is_not_there(kept):
    assert kept.get("/studies/9", **{"If-Match": '"x"'}).status_code == 404
    assert kept.get(ONE + "/frames/0", **{"If-Match": '"x"'}).status_code == 400
    assert kept.get(ONE, "text/css", **{"If-Match": '"x"'}).status_code == 406


@cites("RFC 9110 13.1.1", "what came to a study since makes another body of it")
def test_a_study_that_grew(kept):
    tag = kept.get("/studies/1.1/metadata").headers["etag"]
    assert kept.post(a_ct(study="1.1", series="1.2", instance="1.4")).status_code == 200
    assert kept.get("/studies/1.1/metadata", **{"If-Match": tag}).status_code == 412


@cites("RFC 9110 13.1.1", "a partial answer, and one to HEAD, have conditions too")
def test_conditions_on_other_answers(kept):
    keep(kept, encapsulated([b"\xff\x4f\xff\xd9"], study="1.1"))
    partial = kept.get("/studies/1.1", OBJECTS)
    assert partial.status_code == 206
    assert kept.get("/studies/1.1", OBJECTS, **{"If-Match": partial.headers["etag"]}).status_code == 206
    assert kept.get("/studies/1.1", OBJECTS, **{"If-Match": '"x"'}).status_code == 412
    assert kept.client.head(ROOT + ONE, headers={"If-Match": '"x"'}).status_code == 412


@pytest.mark.parametrize(
    ("method", "path"),
    [
        row("RFC 9110 13.1.1", "the description in WADL", "OPTIONS", ROOT + "/"),
        row("RFC 9110 13.1.1", "the description in OpenAPI", "GET", "http://testserver/openapi.json"),
    ],
)
def test_descriptions_have_tags_too(kept, method, path):
    tag = kept.client.request(method, path).headers["etag"]
    assert kept.client.request(method, path, headers={"If-Match": tag}).status_code == 200
    assert kept.client.request(method, path, headers={"If-Match": '"x"'}).status_code == 412
