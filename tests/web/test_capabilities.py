"""Retrieve Capabilities (PS3.18 8.9, annexes G and H), and paths and methods as such (8.5)."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from service.app import FORGETTING, HOUSEKEEPING, RECALLING, ROUTES, SHARING, create_app
from service.settings import Settings
from service.web import capabilities
from service.web.transactions import DESCRIBED
from tests.sites import ROOT

WADL = "application/vnd.sun.wadl+xml"
NAMESPACE = "{http://wadl.dev.java.net/2009/02}"


def ask(site, accept: str | None = None, path: str = "/", **headers: str):
    return site.client.options(ROOT + path, headers={**({"Accept": accept} if accept else {}), **headers})


def methods_in(
    element: ElementTree.Element, path: str = ""
) -> Iterator[tuple[str, str, ElementTree.Element]]:
    """Every method below `element` with the path of its resource."""
    for child in element:
        if child.tag == NAMESPACE + "resource":
            yield from methods_in(child, f"{path}/{child.attrib['path']}")
        elif child.tag == NAMESPACE + "method":
            yield child.attrib["name"], path, child


def plain(path: str) -> str:
    return path.replace(":path}", "}")


@pytest.mark.parametrize(
    ("section", "accept", "media_type"),
    [
        ("8.9.1.3: the Accept header tells the acceptable media types", WADL, WADL),
        ("8.9, spec 14: JSON is the other form", "application/json", "application/json"),
        ("8.7.8: no Accept is any type", None, WADL),
        ("8.7.8: wildcards", "*/*", WADL),
        ("8.7.8: quality decides", f"{WADL};q=0.1, application/json", "application/json"),
    ],
)
def test_capabilities_come_in_the_type_asked_for(site, section, accept, media_type):
    response = ask(site, accept)
    assert response.status_code == 200, section
    assert response.headers["content-type"] == media_type, section


def test_capabilities_in_another_type_are_not_acceptable(site):
    response = ask(site, "image/png")  # PS3.18 8.5: 406
    assert response.status_code == 406
    assert response.json()["available"] == [WADL, "application/json"]


@pytest.mark.parametrize("path", ["", "/"])
def test_the_root_is_the_same_with_and_without_a_slash(site, path):
    assert ask(site, path=path).status_code == 200  # PS3.18 8.9.1.1: the Base URI


def test_capabilities_are_one_application_with_one_resources_element_at_the_base_url(site):
    # PS3.18 annex H: one "application", one "resources" with the base URL
    tree = ElementTree.fromstring(ask(site, WADL, Host="pacs.example:8443").content)
    assert tree.tag == NAMESPACE + "application"
    (resources,) = tree
    assert resources.tag == NAMESPACE + "resources"
    assert resources.attrib["base"] == "http://pacs.example:8443/dicom-web"


def test_capabilities_hold_every_method_of_every_resource_and_no_other(site):
    # PS3.18 annex H: all methods and child resources; Table H-1, note: not this transaction itself
    tree = ElementTree.fromstring(ask(site, WADL).content)
    described = [(method, path) for method, path, _ in methods_in(tree[0])]
    routed = [
        (method, plain(path)) for method, path, _ in ROUTES + FORGETTING + RECALLING if method != "OPTIONS"
    ]
    assert sorted(described) == sorted(routed)


def test_every_method_has_a_name_of_its_own(site):
    tree = ElementTree.fromstring(ask(site, WADL).content)
    names = [element.attrib["id"] for *_, element in methods_in(tree[0])]
    assert len(set(names)) == len(names)
    assert {"SearchForStudies", "StoreInstances", "RetrieveStudy", "RetrieveFrames"} <= set(
        names
    )  # Table H-1


def test_a_search_lists_its_parameters_and_keys(site):
    # spec 14: every parameter; PS3.18 8.3.4 and Tables 10.6.1-5
    tree = ElementTree.fromstring(ask(site, WADL).content)
    found = {(method, path): element for method, path, element in methods_in(tree[0])}
    search = found["GET", "/studies"]
    parameters = {
        element.attrib["name"]: element.attrib["style"] for element in search.iter(NAMESPACE + "param")
    }
    expected = ("limit", "offset", "fuzzymatching", "includefield", "PatientName", "StudyDate")
    assert {name: parameters.get(name) for name in expected} == dict.fromkeys(expected, "query")
    assert "Rows" not in parameters
    rows = found["GET", "/instances"].iter(NAMESPACE + "param")
    assert "Rows" in {element.attrib["name"] for element in rows}


def test_a_method_lists_its_representations_and_statuses(site):
    tree = ElementTree.fromstring(ask(site, WADL).content)
    found = {(method, path): element for method, path, element in methods_in(tree[0])}
    store = found["POST", "/studies"]
    taken = [
        one.attrib["mediaType"] for one in store.findall(f"{NAMESPACE}request/{NAMESPACE}representation")
    ]
    assert 'multipart/related; type="application/dicom"' in taken
    statuses = [one.attrib["status"] for one in store.findall(NAMESPACE + "response")]
    assert statuses[0].split() == ["200", "202"]
    assert "409" in statuses[1].split()


def test_templates_are_parameters_of_their_resources(site):
    tree = ElementTree.fromstring(ask(site, WADL).content)
    templates = [
        element for element in tree.iter(NAMESPACE + "resource") if element.attrib["path"][:1] == "{"
    ]
    assert templates
    for element in templates:
        parameter = element[0]
        assert parameter.attrib["style"] == "template"
        assert "{" + parameter.attrib["name"] + "}" == element.attrib["path"]


def test_json_and_xml_say_the_same(site):
    """PS3.18 annex G: an attribute is a member with an @ before its name, what may repeat is an array."""

    def as_plain(element: ElementTree.Element) -> dict[str, object]:
        found: dict[str, object] = {f"@{name}": value for name, value in element.attrib.items()}
        for child in element:
            name = child.tag.removeprefix(NAMESPACE)
            if name in ("resources", "request"):
                found[name] = as_plain(child)
            else:
                found.setdefault(name, []).append(as_plain(child))  # type: ignore[attr-defined]
        return found

    tree = ElementTree.fromstring(ask(site, WADL).content)
    assert ask(site, "application/json").json() == {"application": as_plain(tree)}


@pytest.mark.parametrize("accept", [WADL, "application/json"])
def test_unchanged_capabilities_are_not_sent_again(site, accept):
    tag = ask(site, accept).headers["etag"]
    for given in (tag, "W/" + tag, f'"other", {tag}', "*"):  # spec 14: If-None-Match → 304
        again = ask(site, accept, **{"If-None-Match": given})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    assert ask(site, accept, **{"If-None-Match": '"other"'}).status_code == 200


def test_the_tag_tells_type_and_base_url_apart(site):
    tags = {
        ask(site, accept, Host=host).headers["etag"]
        for accept in (WADL, "application/json")
        for host in ("one.example", "two.example")
    }
    assert len(tags) == 4


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
@pytest.mark.parametrize("path", ["", "/"])
def test_the_root_offers_capabilities_and_the_uri_service_and_nothing_else(site, method, path):
    response = site.client.request(method, ROOT + path)
    assert response.status_code == 405  # PS3.18 8.5
    assert response.headers["allow"] == "GET, HEAD, OPTIONS" == ask(site).headers["allow"]
    assert site.client.get(ROOT + path).status_code == 400  # PS3.18 9.1: no requestType


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/studies", {"GET", "HEAD", "POST"}),  # spec 1: a peer tests this one
        ("/studies/1", {"GET", "HEAD", "POST", "DELETE"}),
        ("/studies/1/series/2", {"GET", "HEAD", "DELETE"}),
        ("/studies/1/series/2/instances/3", {"GET", "HEAD", "DELETE"}),
        ("/studies/1/metadata", {"GET", "HEAD"}),
        ("/wado", {"GET", "HEAD"}),
    ],
)
def test_another_method_is_answered_with_those_that_there_are(site, path, allowed):
    for method in ("PUT", "PATCH", "OPTIONS"):
        response = site.client.request(method, ROOT + path)
        assert response.status_code == 405  # PS3.18 8.5: with Allow
        assert {name.strip() for name in response.headers["allow"].split(",")} == allowed


def test_a_slash_at_the_end_is_no_other_resource(site):
    for path in ("/studies/", "/series/", "/studies/1.2.3/series/"):
        response = site.client.get(ROOT + path, follow_redirects=False)
        assert response.status_code in (200, 204), path
    assert site.client.get("http://testserver/healthz/").status_code == 200


def test_every_route_is_described_and_every_description_has_its_route():
    routed = {(method, plain(path)) for method, path, _ in ROUTES + FORGETTING + RECALLING + SHARING}
    assert routed - {("OPTIONS", "/")} == set(DESCRIBED)


def test_a_route_without_description_is_listed_all_the_same():
    wadl = capabilities.document((("GET", "/novelty"),), WADL)
    assert b'<resource path="novelty"><method name="GET"/></resource>' in wadl


def test_what_the_archive_cannot_do_is_neither_offered_nor_described(site):
    # given: an archive that has the port's methods only
    class Plain:
        def __getattr__(self, name: str) -> object:
            assert name not in ("forget", "findings")
            return getattr(site.archive, name)

    client = TestClient(create_app(Plain(), Settings()))  # type: ignore[arg-type]
    # when, then
    tree = ElementTree.fromstring(client.options(ROOT + "/").content)
    described = [(method, path) for method, path, _ in methods_in(tree[0])]
    assert ("GET", "/studies/{study}") in described
    assert not [path for method, path in described if method == "DELETE" or path.endswith("/findings")]
    assert client.delete(ROOT + "/studies/1").status_code == 405
    assert client.get(ROOT + "/studies/1/series/1/instances/1/findings").status_code == 404


def test_the_openapi_document_names_the_urls_of_this_client(site):
    response = site.client.get("http://testserver/openapi.json", headers={"Host": "pacs.example"})
    document = response.json()
    assert response.headers["content-type"] == "application/json"
    assert document["openapi"].startswith("3.1")
    assert document["servers"][0]["url"] == "http://pacs.example/dicom-web"
    assert document["paths"]["/healthz"]["servers"][0]["url"] == "http://pacs.example"
    tag = response.headers["etag"]
    headers = {"Host": "pacs.example", "If-None-Match": tag}
    assert site.client.get("http://testserver/openapi.json", headers=headers).status_code == 304


def test_what_stands_beside_the_root_is_reached_there(site):
    for method, path, _ in HOUSEKEEPING:
        place = "http://testserver" + path.replace("{name}", "main.js")
        assert site.client.request(method, place).status_code in (200, 400), path
