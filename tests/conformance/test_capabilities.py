"""Retrieve Capabilities (PS3.18 8.9, annexes G and H)."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

import pytest

from service.app import FORGETTING, RECALLING, ROUTES
from tests.conformance.rows import cites, row
from tests.making import a_ct
from tests.sites import ROOT, Site

STUDY = "/studies/1.1"
ONE = STUDY + "/series/1.2/instances/1.3"
WADL, JSON = "application/vnd.sun.wadl+xml", "application/json"
NAMESPACE = "{http://wadl.dev.java.net/2009/02}"


def ask(site: Site, accept: str | None = None, query: str = "", **headers: str):
    return site.client.options(
        ROOT + "/" + query, headers={**({"Accept": accept} if accept else {}), **headers}
    )


@pytest.mark.parametrize(
    ("accept", "query", "expected"),
    [
        row("PS3.18 8.9.1", "WADL", WADL, "", WADL),
        row("PS3.18 8.9.1", "JSON", JSON, "", JSON),
        row("PS3.18 8.7.8", "any", "*/*", "", WADL),
        row("spec 3.1", "nothing said", None, "", WADL),
        row("PS3.18 8.7.8", "the better one", f"{JSON};q=0.9, {WADL};q=0.8", "", JSON),
        row("PS3.18 8.7.8.1", "by the accept parameter", "image/png", "?accept=application/json", JSON),
        row("PS3.18 8.5", "another type", "text/plain", "", 406),
        row("PS3.18 8.3.1", "unsupported parameters are ignored", JSON, "?frobnicate=1&limit=x", JSON),
    ],
)
def test_the_description_comes_in_the_type_asked_for(site, accept, query, expected):
    response = ask(site, accept, query)
    if expected == 406:
        assert response.status_code == 406
        assert response.json()["available"] == [WADL, JSON]
    else:
        assert (response.status_code, response.headers["content-type"]) == (200, expected)


@pytest.mark.parametrize(
    "accept", [row("PS3.18 8.9.1", f"If-None-Match: 304 ({one})", one) for one in (WADL, JSON)]
)
def test_an_unchanged_description_is_not_sent_again(site, accept):
    first = ask(site, accept)
    again = ask(site, accept, **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@cites("spec 14", "a CORS preflight is answered separately, never with the description")
def test_a_preflight_is_no_question_for_capabilities(site):
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "GET"}
    response = ask(site, WADL, **headers)
    assert (response.status_code, response.content) == (204, b"")


def methods_in(
    element: ElementTree.Element, path: str = ""
) -> Iterator[tuple[str, str, ElementTree.Element]]:
    for child in element:
        if child.tag == NAMESPACE + "resource":
            yield from methods_in(child, f"{path}/{child.attrib['path']}")
        elif child.tag == NAMESPACE + "method":
            yield child.attrib["name"], path, child


@cites("PS3.18 H", "application, resources with the base, and every resource and method that is offered")
def test_the_description_covers_everything(site):
    root = ElementTree.fromstring(ask(site, WADL, Host="pacs.example").content)
    assert root.tag == NAMESPACE + "application"
    (resources,) = root
    assert resources.attrib == {"base": "http://pacs.example/dicom-web"}
    described = {(method, path) for method, path, _ in methods_in(resources)}
    routed = {(method, path.replace(":path}", "}")) for method, path, _ in ROUTES + FORGETTING + RECALLING}
    assert described == routed - {("OPTIONS", "/")}


@cites("PS3.18 H", "every method has parameters, representations and statuses where it has any")
def test_each_method_is_described(site):
    root = ElementTree.fromstring(ask(site, WADL).content)
    for method, path, element in methods_in(root[0]):
        assert element.attrib["id"], (method, path)
        statuses = [one.attrib["status"] for one in element.findall(NAMESPACE + "response")]
        assert len(statuses) == 2 and all(statuses), (method, path)
        if method == "GET":
            assert element.findall(f"{NAMESPACE}response/{NAMESPACE}representation"), path
        if method == "POST":
            assert element.findall(f"{NAMESPACE}request/{NAMESPACE}representation"), path


@cites("PS3.18 G", "JSON says the same as WADL, attributes with an @ before their names")
def test_both_forms_say_the_same(site):
    root = ElementTree.fromstring(ask(site, WADL).content)
    document = ask(site, JSON).json()["application"]

    def names(resource: dict[str, object]) -> Iterator[str]:
        for method in resource.get("method", ()):  # type: ignore[attr-defined]
            yield method["@id"]
        for below in resource.get("resource", ()):  # type: ignore[attr-defined]
            yield from names(below)

    assert sorted(names(document["resources"])) == sorted(
        element.attrib["id"] for *_, element in methods_in(root[0])
    )


@cites("spec 14", "/openapi.json beside the root")
def test_there_is_an_openapi_document(site):
    response = site.client.get("http://testserver/openapi.json")
    assert (response.status_code, response.json()["openapi"][:3]) == (200, "3.1")


# Spec 1: what an origin server must have of the studies service, and all of what it may leave out as a whole.
MANDATORY = [
    row("PS3.18 10.2", f"mandatory: {method} {path}", method, path)
    for method, paths in (
        (
            "GET",
            (
                *("/studies", "/series", "/instances"),
                *("/studies/1.1", "/studies/1.1/series", "/studies/1.1/instances", "/studies/1.1/metadata"),
                *("/studies/1.1/series/1.2", "/studies/1.1/series/1.2/instances"),
                *("/studies/1.1/series/1.2/metadata", ONE, ONE + "/metadata", ONE + "/frames/1"),
                ONE + "/bulkdata/7FE00010",
                *("/studies/1.1/rendered", "/studies/1.1/series/1.2/rendered"),
                *(ONE + "/rendered", ONE + "/frames/1/rendered"),
            ),
        ),
        ("POST", ("/studies", "/studies/1.1")),
        ("OPTIONS", ("/", "")),
    )
    for path in paths
] + [
    row(
        "PS3.18 Table 10.4.1-1",
        f"all of {kind} or none: {level or 'a study'}",
        "GET",
        f"{STUDY}{level}/{kind}",
    )
    for kind, levels in (
        ("thumbnail", ("", "/series/1.2", "/series/1.2/instances/1.3", "/series/1.2/instances/1.3/frames/1")),
        ("bulkdata", ("", "/series/1.2", "/series/1.2/instances/1.3")),
        ("pixeldata", ("", "/series/1.2", "/series/1.2/instances/1.3")),
    )
    for level in levels
]


@pytest.mark.parametrize(("method", "path"), MANDATORY)
def test_what_is_mandatory_is_offered(site, method, path):
    file = a_ct(study="1.1", series="1.2", instance="1.3")
    assert site.post(file).status_code == 200
    sent = {"content": file, "headers": {"Content-Type": "application/dicom"}} if method == "POST" else {}
    assert site.client.request(method, ROOT + path, **sent).status_code == 200


@cites("spec 1", "the prefix is configurable, and URLs in answers have it")
def test_the_prefix_is_part_of_urls(open_site):
    site = open_site(prefix="/pacs/rs")
    root = "http://testserver/pacs/rs"
    file = a_ct(study="1.1", series="1.2", instance="1.3")
    headers = {"Content-Type": "application/dicom"}
    stored = site.client.post(f"{root}/studies", content=file, headers=headers).json()
    assert stored["00081190"]["Value"] == [f"{root}/studies/1.1"]
    (found,) = site.client.get(f"{root}/instances").json()
    assert found["00081190"]["Value"] == [root + ONE]
    (metadata,) = site.client.get(f"{root}/studies/1.1/metadata").json()
    assert metadata["7FE00010"]["BulkDataURI"].startswith(root + ONE)
    wadl = site.client.options(f"{root}/").text
    assert f'base="{root}"' in wadl
    assert site.client.get(ROOT + "/studies").status_code == 404
