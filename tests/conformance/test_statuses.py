"""Statuses and what comes with them (PS3.18 8.5), paths and methods (8.1, 10.1), Warning and errors."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.app import FORGETTING, RECALLING, ROUTES, create_app
from service.dicom.errors import Busy, IndexUnavailable, NotDicom, StoreUnavailable
from service.dicom.frames import Extent
from service.dicom.syntaxes import DEFLATED
from service.settings import Settings
from service.web.transactions import INSTANCE, SERIES, STUDY
from tests.conformance.rows import cites, row
from tests.making import a_ct, a_data_set, a_file, add_pixels
from tests.sites import ROOT, Site

DICOM = "application/dicom"
SECRET = "Doe^Jane"
ONE = "/studies/1.1/series/1.2/instances/1.3"


@pytest.fixture
def kept(site: Site) -> Site:
    assert site.post(a_ct(study="1.1", series="1.2", instance="1.3", PatientName=SECRET)).status_code == 200
    other = a_ct(study="1.4", series="1.5", instance="1.6", StudyDate="20200101")
    assert site.post(other).status_code == 200
    return site


def a_path(template: str) -> str:
    """A path of a route that leads to what is kept."""
    places = {
        "{study}": "1.1",
        "{series}": "1.2",
        "{instance}": "1.3",
        "{frames}": "1",
        "{path:path}": "7FE00010",
    }
    for name, value in places.items():
        template = template.replace(name, value)
    return template


# Resources and their methods
METHODS: dict[str, set[str]] = {}
for method, path, _ in ROUTES + FORGETTING + RECALLING:
    METHODS.setdefault(path, set()).update({method, "HEAD"} if method == "GET" else {method})


@pytest.mark.parametrize(
    ("path", "offered"),
    [row("PS3.18 8.5", f"405 with Allow ({path})", path, offered) for path, offered in METHODS.items()],
)
def test_a_method_that_a_resource_does_not_offer_is_answered_with_those_it_does(kept, path, offered):
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - offered:
        response = kept.client.request(method, ROOT + a_path(path))
        assert response.status_code == 405, method
        assert set(response.headers["allow"].split(", ")) == offered
        assert response.json()["status"] == 405


GETS = [path for path, offered in METHODS.items() if "GET" in offered and path not in ("/wado", "/")]


@pytest.mark.parametrize(
    "path", [row("spec 1", f"HEAD is GET without a body ({path})", path) for path in GETS]
)
def test_head_is_get_without_a_body(kept, path):
    url = ROOT + a_path(path)
    got, head = kept.client.get(url), kept.client.head(url)
    assert got.status_code == 200
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert head.headers.get("etag") == got.headers.get("etag")


NOT_OF_FRAMES = ("metadata", "bulkdata", "pixeldata", "renderedmpr", "rendered3d")


@pytest.mark.parametrize(
    "path",
    [
        row("PS3.18 8.5", f"an unknown path is 404 ({path})", path)
        for path in (
            "/study",
            "/studies/1.1/series/1.2/instance/1.3",
            "/Studies",
            "/studies/1.1/frames/1",
            "/studies/1.1/series/1.2/frames/1",
            "/studies/1.1/series/1.2/instances/1.3/nothing",
            *(f"/studies/1.1/series/1.2/instances/1.3/frames/1/{name}" for name in NOT_OF_FRAMES),
            *("/studies/1.1/renderedmpr", "/studies/1.1/rendered3d"),
            *("/studies/1.1/series/1.2/renderedmpr", "/studies/1.1/series/1.2/rendered3d"),
            *("/color-palettes", "/hanging-protocols/1.2", "/defined-procedure-protocols", "/inventories"),
            "/no/such/place",
        )
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_an_unknown_path_is_not_found(kept, path, method):
    response = kept.client.request(method, ROOT + path)
    assert response.status_code == 404
    assert "allow" not in response.headers


BELOW = [path for path in METHODS if "{study}" in path]


@pytest.mark.parametrize(
    "path", [row("PS3.5 9.1", f"a malformed UID is 400 ({path})", path) for path in BELOW]
)
def test_a_malformed_uid_is_a_bad_request(kept, path):
    for method in METHODS[path] - {"HEAD"}:
        for wrong in ("abc", "1.2.x", "1" * 65, "%20", "1_2", "..%2e"):
            for name in ("{study}", "{series}", "{instance}"):
                if name in path:
                    url = ROOT + a_path(path.replace(name, wrong))
                    response = kept.client.request(method, url, headers={"Content-Type": DICOM})
                    assert response.status_code == 400, (method, url)
                    assert wrong not in response.json()["detail"] or wrong == "%20"


@pytest.mark.parametrize(
    "path",
    [
        row(
            "spec 1",
            "only characters and length are errors: well-formed and absent is 404",
            f"/studies/{uid}",
        )
        for uid in ("0.0.0.0.0", "1..2", "01.02", ".1", "1.", "9" * 64)
    ]
    + [
        row(
            "spec 1", "an instance that is there under another study", "/studies/1.4/series/1.2/instances/1.3"
        ),
        row(
            "spec 1",
            "an instance that is there under another series",
            "/studies/1.1/series/1.5/instances/1.3",
        ),
        row("spec 1", "a series that is there under another study", "/studies/1.4/series/1.2"),
        row("spec 1", "metadata under another study", "/studies/1.4/series/1.2/instances/1.3/metadata"),
        row("spec 1", "frames under another study", "/studies/1.4/series/1.2/instances/1.3/frames/1"),
        row(
            "spec 1",
            "bulk data under another study",
            "/studies/1.4/series/1.2/instances/1.3/bulkdata/7FE00010",
        ),
    ],
)
def test_what_is_not_there_is_not_found(kept, path):
    response = kept.get(path)
    assert response.status_code == 404
    assert response.json()["title"] == "Not found"


def chunked() -> Iterator[bytes]:
    yield a_ct()


OCTETS = "application/octet-stream"
STATUSES = [
    row("PS3.18 8.5", "200: complete", "GET", ONE, {}, None, 200),
    row("PS3.18 8.5", "204: no matches, no payload", "GET", "/studies?PatientID=nobody", {}, None, 204),
    row("PS3.18 8.5", "206: a range", "GET", ONE, {"Accept": DICOM, "Range": "bytes=0-9"}, None, 206),
    row("PS3.18 8.5", "304: unchanged", "GET", ONE, {"If-None-Match": "*"}, None, 304),
    row(
        "PS3.18 8.3",
        "400: an invalid value of a supported parameter",
        "GET",
        "/studies?limit=x",
        {},
        None,
        400,
    ),
    row(
        "PS3.18 8.3",
        "400: an invalid value of a supported parameter",
        "GET",
        "/studies?offset=-1",
        {},
        None,
        400,
    ),
    row("PS3.18 8.3", "an unsupported parameter is ignored", "GET", "/studies?frobnicate=1", {}, None, 200),
    row("PS3.18 8.3", "an unsupported parameter is ignored", "GET", ONE + "?limit=x", {}, None, 200),
    *(
        row(
            "PS3.18 8.3",
            "an unsupported parameter is ignored",
            method,
            path + "?limit=x&X=",
            {},
            None,
            status,
        )
        for method, path, status in (
            *(("GET", ONE + below, 200) for below in ("/frames/1", "/bulkdata/7FE00010", "/pixeldata")),
            *(("GET", ONE + below, 200) for below in ("/rendered", "/thumbnail", "/metadata", "/bulkdata")),
            ("DELETE", ONE, 204),
        )
    ),
    row("PS3.18 8.3", "names are case sensitive", "GET", "/studies?LIMIT=x", {}, None, 200),
    row("PS3.18 10.1.1", "400: frames that are no numbers", "GET", ONE + "/frames/x", {}, None, 400),
    row("PS3.18 10.1.1", "400: frame 0", "GET", ONE + "/frames/0", {}, None, 400),
    row("spec 7", "404: a frame behind the last", "GET", ONE + "/frames/2", {}, None, 404),
    row("PS3.18 8.5", "406: no acceptable type", "GET", ONE, {"Accept": "image/x-icon"}, None, 406),
    row("PS3.18 8.5", "409: nothing stored", "POST", "/studies/9.9", {"Content-Type": DICOM}, a_ct, 409),
    row(
        "PS3.18 8.5",
        "411 is never said: chunked bodies are stored",
        "POST",
        "/studies",
        {"Content-Type": DICOM},
        chunked,
        200,
    ),
    row("PS3.18 8.5", "400: no body at all", "POST", "/studies", {"Content-Type": DICOM}, None, 400),
    row(
        "PS3.18 8.5",
        "415: a type that is not stored",
        "POST",
        "/studies",
        {"Content-Type": "text/css"},
        a_ct,
        415,
    ),
    row("PS3.18 8.5", "415: no type", "POST", "/studies", {}, a_ct, 415),
    row(
        "PS3.18 8.5",
        "416: a range that is not there",
        "GET",
        ONE,
        {"Accept": DICOM, "Range": "bytes=99999-"},
        None,
        416,
    ),
    row("spec 17", "204: deleted", "DELETE", ONE, {}, None, 204),
    row("spec 17", "404: nothing to delete", "DELETE", "/studies/9.9", {}, None, 404),
]


@pytest.mark.parametrize(("method", "path", "headers", "content", "status"), STATUSES)
def test_each_outcome_has_its_status(kept, method, path, headers, content, status):
    body = content() if content else None
    response = kept.client.request(method, ROOT + path, headers=headers, content=body)
    assert response.status_code == status, response.text
    if status in (204, 304):
        assert response.content == b""
    if status == 416:
        assert response.headers["content-range"].startswith("bytes */")


@cites("spec 17", "deletions are not remembered: 404 afterwards, and 204 only once")
def test_what_is_deleted_is_not_found(kept):
    assert kept.client.delete(ROOT + ONE).status_code == 204
    assert kept.client.delete(ROOT + ONE).status_code == 404
    for path in (ONE, ONE + "/metadata", ONE + "/frames/1", "/studies/1.1", "/studies/1.1/series/1.2"):
        assert kept.get(path).status_code == 404
    assert kept.get("/studies?StudyInstanceUID=1.1").status_code == 204


@pytest.mark.parametrize(
    ("path", "left"),
    [
        row("spec 17", "a study", "/studies/1.1", 1),
        row("spec 17", "a series", "/studies/1.1/series/1.2", 1),
        row("spec 17", "an instance", ONE, 1),
    ],
)
def test_only_what_is_named_is_deleted(kept, path, left):
    response = kept.client.delete(ROOT + path)
    assert (response.status_code, response.content) == (204, b"")
    assert len(kept.get("/instances").json()) == left


# Failures behind the scenes
class Failing:
    """An archive of which each question ends in `error`; what it has beside is the other one's."""

    def __init__(self, archive: Any, error: Exception) -> None:
        self._archive = archive
        self._error = error

    def __getattr__(self, name: str) -> Any:
        if name in ("instances", "find", "documents"):
            return self._fail
        return getattr(self._archive, name)

    def _fail(self, *_: Any, **__: Any) -> Any:
        raise self._error


FAILURES = [
    row("PS3.18 8.5", "503 with Retry-After: too much to do", Busy("Full.", 7), 503, "7"),
    row("PS3.18 8.5", "503 with Retry-After: the store is down", StoreUnavailable("No store."), 503, "5"),
    row("PS3.18 8.5", "503 with Retry-After: the index is down", IndexUnavailable("No index."), 503, "5"),
    row("PS3.18 8.5", "406: what is kept is damaged; 409 is for Store", NotDicom("Damaged."), 406, None),
    row("PS3.18 8.5", "500: a fault of our own", RuntimeError(f"File x.py, line 3: {SECRET}"), 500, None),
]


@pytest.mark.parametrize("path", ["/studies", ONE, ONE + "/metadata", ONE + "/frames/1"])
@pytest.mark.parametrize(("error", "status", "retry"), FAILURES)
def test_what_fails_behind_the_scenes_has_its_status(site, path, error, status, retry):
    app = create_app(Failing(site.archive, error), Settings())
    with TestClient(app, raise_server_exceptions=False) as client:
        response = client.get(ROOT + path)
        page = client.get(ROOT + path, headers={"Accept": "text/html, */*;q=0.1"})
    assert response.status_code == page.status_code == status
    assert response.headers.get("retry-after") == retry
    assert page.headers.get("retry-after") == retry
    for text in (response.text, page.text):
        assert SECRET not in text
        assert "Traceback" not in text
        assert ".py" not in text


@cites("PS3.18 8.5", "an object that is damaged where it is kept: 406, or a body that breaks off, never 409")
def test_a_damaged_object_is_no_conflict(site):
    made = add_pixels(a_data_set(study="1.1", series="1.2", instance="1.3"), [bytes(range(256)) * 64])
    file = a_file(made, DEFLATED)
    assert site.post(file).status_code == 200
    ((key, _),) = site.store.keys()
    held = bytes(site.store.read(key, Extent(0, len(file))))
    site.store.keep(key, held[:-40] + bytes(40))

    for path in (ONE, ONE + "/frames/1", ONE + "/pixeldata", "/studies/1.1"):
        for response in (site.get(path), site.client.head(ROOT + path)):
            assert response.status_code in (200, 406), path
    assert site.get(ONE).status_code == 406


# Bodies of errors
PROBLEM, PAGE = "application/problem+json", "text/html; charset=utf-8"
FORMS = [
    row("RFC 9457", "JSON for whoever says nothing", None, PROBLEM),
    row("RFC 9457", "JSON for any type", "*/*", PROBLEM),
    row("spec 5", "JSON for a client of DICOM JSON", "application/dicom+json", PROBLEM),
    row("spec 5", "JSON where it is as welcome as a page", "text/html, application/json", PROBLEM),
    row("spec 5", "JSON for what cannot be had", "image/jpeg, */*;q=0.1", PROBLEM),
    row("PS3.18 8.5", "a page for browsers", "text/html,application/xhtml+xml,*/*;q=0.8", PAGE),
    row("PS3.18 8.5", "a page where it is preferred", "text/html, application/json;q=0.5", PAGE),
]
WRONG = [("/nothing", 404), (ONE + ".9", 404), ("/studies?limit=x", 400), ("/studies/x/metadata", 400)]


@pytest.mark.parametrize(("path", "status"), WRONG)
@pytest.mark.parametrize(("accept", "media_type"), FORMS)
def test_an_error_is_told_in_a_form_that_suits_the_client(kept, path, status, accept, media_type):
    response = kept.get(path, accept)
    assert response.status_code == status
    assert response.headers["content-type"] == media_type
    assert "Accept" in response.headers["vary"]
    assert int(response.headers["content-length"]) == len(response.content)
    if media_type.startswith("application"):
        problem = response.json()
        assert problem["status"] == status
        assert problem["title"] and problem["detail"]
    else:
        assert response.text.startswith("<!DOCTYPE html>")
        assert f"<h1>{status} " in response.text


@cites("spec 5", "a page escapes what it shows and lists what is available")
def test_a_page_lists_what_is_available(kept):
    response = kept.get(ONE, "text/html")
    assert response.status_code == 406
    assert "<li>application/dicom; transfer-syntax=" in response.text
    assert 'type="' not in response.text  # a quotation mark of a media type is written as an entity


@cites("RFC 7234 5.5", "Warning: a code, the host that warns, and the text in quotes")
def test_a_warning_names_the_server_and_quotes_its_sentence(kept):
    response = kept.get("/studies?limit=1", Host="pacs.example:8443")
    expected = '299 pacs.example:8443 "There are 1 additional results that can be requested"'
    assert response.headers["warning"] == expected


@pytest.mark.parametrize(
    "template",
    [
        row("spec 5", f"no names of patients in errors ({template})", template)
        for template in (STUDY, SERIES, INSTANCE, INSTANCE + "/metadata", INSTANCE + "/frames/{frames}")
    ],
)
def test_errors_tell_nothing_of_patients(kept, template):
    for response in (
        kept.get(a_path(template), "image/x-icon"),
        kept.get(a_path(template.replace("{study}", "1.9"))),
    ):
        assert response.status_code in (404, 406)
        assert "Doe" not in response.text
