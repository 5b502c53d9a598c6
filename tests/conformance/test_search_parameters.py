"""How a search is written: PS3.18 8.3.1 to 8.3.4, and what clients make of it."""

import json

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.index.sqlite import SqliteIndex
from service.settings import Settings
from service.store.memory import MemoryStore
from tests.conformance.rows import cites, row
from tests.conformance.searching import BY_DATE, GUSEVA, MUELLER, YAMADA, fill, found, params, search
from tests.making import a_ct
from tests.sites import Site


@pytest.fixture
def library(site):
    return fill(site)


def raw(site, query: bytes, path: str = "/dicom-web/studies") -> tuple[int, bytes]:
    """Status and body of a GET whose query goes out byte by byte, as no well-behaved client sends it."""
    told: dict[str, int] = {}
    body = bytearray()

    async def ask() -> None:
        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            if message["type"] == "http.response.start":
                told["status"] = message["status"]
            else:
                body.extend(message.get("body", b""))

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
            "query_string": query, "headers": [(b"host", b"testserver")],
            "client": ("testclient", 1), "server": ("testserver", 80), "state": {},
        }  # fmt: skip
        await site.client.app(scope, receive, send)

    site.client.portal.call(ask)
    return told["status"], bytes(body)


@pytest.mark.parametrize(
    ("query", "uids"),
    [
        row("Weasis", "a question mark alone", b"", ["1.1", "1.2", "1.3", "1.4"]),
        row("Weasis", "an ampersand first", b"&PatientID=P1", ["1.1"]),
        row("Weasis", "ampersands everywhere", b"&&PatientID=P1&&limit=5&", ["1.1"]),
        row("PS3.18 8.3.1", "percent-encoded UTF-8", b"PatientName=M%C3%BCller%5EJ%C3%BCrgen", ["1.1"]),
        row("PS3.18 8.3.1", "lower-case percent-encoding", b"PatientName=m%c3%bcller*", ["1.1"]),
        row("a client's practice", "UTF-8 as it is", "PatientName=Müller^Jürgen".encode(), ["1.1"]),
        row("a client's practice", "UTF-8 beyond Latin as it is", "PatientName=山田*".encode(), ["1.2"]),
        row("a client's practice", "Latin-1 as it is", "PatientName=Müller*".encode("latin-1"), ["1.1"]),
        row("a client's practice", "Latin-1, percent-encoded", b"PatientName=M%FCller*", ["1.1"]),
        row("browsers", "a plus sign is a space", b"StudyDescription=Thorax,+Abdomen", ["1.1"]),
        row("PS3.18 8.3.1", "%20 is a space", b"StudyDescription=Thorax%2C%20Abdomen", ["1.1"]),
        row("PS3.18 8.3.1", "%2B is a plus sign", b"StudyDate=20240101&00080201=%2B0100", ["1.4"]),
        row("browsers", "a plus sign of a zone", b"StudyDate=20240101&00080201=+0100", ["1.4"]),
        row("PS3.18 8.3.1", "an encoded name", b"%50atientID=P1", ["1.1"]),
        row("PS3.18 8.3.1", "an equals sign in a value", b"PatientName=Yamada*=*", ["1.2"]),
        row(
            "a client's practice",
            "a name without equals sign",
            b"PatientID&StudyDate",
            ["1.1", "1.2", "1.3", "1.4"],
        ),
        row("PS3.18 8.3.1", "hexadecimal digits of either case", b"0020000d=1.1", ["1.1"]),
    ],
)
def test_a_query_is_read(library, query, uids):
    status, body = raw(library, query)

    assert status == 200, body
    assert [uid for uid in ("1.1", "1.2", "1.3", "1.4") if b'["%s"]' % uid.encode() in body] == uids


@cites("PS3.18 8.3.1", "delimiters that are percent-encoded are characters of the value")
def test_encoded_delimiters(site):
    for study, description in (("1.1", "#A[B]&C=D,E+F"), ("1.2", "#A[B]")):
        assert site.post(a_ct(study=study, StudyDescription=description)).status_code == 200

    status, body = raw(site, b"StudyDescription=%23A%5BB%5D%26C%3DD%2CE%2BF&includefield=StudyDescription")

    assert status == 200, body
    assert [match["0020000D"]["Value"] for match in json.loads(body)] == [["1.1"]]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        row("PS3.18 8.3.1", "unsupported parameters are ignored", "foo=bar; Patient=x; _=1", BY_DATE),
        row("PS3.18 8.3.1", "names are case sensitive", "patientid=P1; LIMIT=1", BY_DATE),
        row("PS3.18 8.3.1", "keyword", "PatientID=P1", [MUELLER]),
        row("PS3.18 8.3.1", "tag", "00100020=P1", [MUELLER]),
        row(
            "PS3.18 8.3.3",
            "accept and charset are no keys",
            "accept=application/dicom%2Bjson; charset=utf-8",
            BY_DATE,
        ),
        row("PS3.18 8.8", "unsupported character sets are ignored", "charset=iso-8859-1,utf-8", BY_DATE),
        row(
            "dicomweb-client (Python)",
            "booleans in other cases",
            "PatientName=mul; fuzzymatching=True",
            [MUELLER],
        ),
        row("OHIF", "an empty boolean", "fuzzymatching=; includefield=", BY_DATE),
        row(
            "OHIF",
            "its list of studies",
            "limit=101; offset=0; fuzzymatching=false; includefield=00081030,00080060",
            BY_DATE,
        ),
        row(
            "PS3.4 C.2.2.2",
            "attributes about the request",
            "SpecificCharacterSet=ISO_IR 192; QueryRetrieveLevel=STUDY",
            BY_DATE,
        ),
    ],
)
def test_a_parameter_is_understood_or_ignored(library, asked, expected):
    assert found(search(library, "/studies", *params(asked.replace("%2B", "+")))) == expected


BAD = [
    row("PS3.18 8.3.4.4", "a negative limit", "/studies", "limit=-1", "limit"),
    row("PS3.18 8.3.4.4", "a limit that is no number", "/studies", "limit=ten", "limit"),
    row("PS3.18 8.3.4.4", "a fractional offset", "/studies", "offset=1.5", "offset"),
    row("PS3.18 8.3.4.4", "a negative offset", "/studies", "offset=-5", "offset"),
    row("PS3.18 8.3.1", "two different limits", "/studies", "limit=1; limit=2", "limit"),
    row("PS3.18 8.3.4", "fuzzymatching is true or false", "/studies", "fuzzymatching=1", "fuzzymatching"),
    row(
        "PS3.18 8.3.4",
        "emptyvaluematching is true or false",
        "/studies",
        "emptyvaluematching=yes",
        "emptyvaluematching",
    ),
    row(
        "PS3.18 8.3.4",
        "multiplevaluematching is true or false",
        "/studies",
        "multiplevaluematching=x",
        "multiplevaluematching",
    ),
    row(
        "PS3.18 8.3.1",
        "an attribute is named once",
        "/studies",
        "PatientID=secret; PatientID=secret",
        "PatientID",
    ),
    row("PS3.18 8.3.1", "by keyword or by tag", "/studies", "PatientID=secret; 00100020=secret", "PatientID"),
    row("PS3.4 C.2.2.2.4", "no wildcards in dates", "/studies", "StudyDate=2024*", "StudyDate"),
    row("PS3.4 C.2.2.2.4", "no wildcards in times", "/studies", "StudyTime=10?", "StudyTime"),
    row("PS3.4 C.2.2.2.4", "no wildcards in UIDs", "/studies", "StudyInstanceUID=1.*", "StudyInstanceUID"),
    row("PS3.4 C.2.2.2.4", "no wildcards in numbers", "/series", "SeriesNumber=1*", "SeriesNumber"),
    row("PS3.4 C.2.2.2.5", "a range has an end", "/studies", "StudyDate=-", "StudyDate"),
    row("PS3.4 C.2.2.2.5", "dates have months", "/studies", "StudyDate=20241301", "StudyDate"),
    row("PS3.4 C.2.2.2.5", "days have 24 hours", "/studies", "StudyTime=2500", "StudyTime"),
    row("PS3.5 9.1", "UIDs have digits", "/studies", "StudyInstanceUID=secret", "StudyInstanceUID"),
    row(
        "PS3.18 8.3.4.3",
        "no wildcards among several values",
        "/studies",
        "PatientID=secret*,b; multiplevaluematching=true",
        "PatientID",
    ),
    row(
        "PS3.18 8.3.4",
        "a time zone is an offset",
        "/studies",
        "TimezoneOffsetFromUTC=secret",
        "TimezoneOffsetFromUTC",
    ),
    row("PS3.18 10.6.1.2.1", "a series key on studies", "/studies", "Modality=secret", "Modality"),
    row("PS3.18 10.6.1.2.1", "an instance key on series", "/series", "InstanceNumber=7", "InstanceNumber"),
    row(
        "PS3.18 10.6.1.2.1", "an instance key on studies", "/studies", "SOPInstanceUID=1.2", "SOPInstanceUID"
    ),
    row(
        "decision: unknown keys",
        "an attribute that is not indexed",
        "/studies",
        "PatientComments=secret",
        "00104000",
    ),
    row(
        "decision: unknown keys",
        "a private attribute",
        "/instances",
        "00090010=secret; 00091001=secret",
        "00091001",
    ),
    row(
        "PS3.18 8.3.1",
        "only sequences lead further",
        "/studies/1.1/series",
        "PatientID.00400009=secret",
        "PatientID",
    ),
    row(
        "PS3.18 10.6.1.2",
        "a sequence has no value",
        "/series",
        "RequestAttributesSequence=secret",
        "RequestAttributesSequence",
    ),
]


@pytest.mark.parametrize(("path", "asked", "named"), BAD)
def test_an_invalid_value_is_400_and_named_but_not_told(library, path, asked, named):
    response = search(library, path, *params(asked))

    assert response.status_code == 400, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert named in response.json()["detail"]
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        row("PS3.18 10.6.1", "malformed UIDs in the path", "/studies/abc/series", 400),
        row("PS3.18 10.6.1", "UIDs of 65 characters", f"/studies/{'1' * 65}/series", 400),
        row("Orthanc", "absent studies have no series", "/studies/0.0.0.0.0/series", 204),
        row("PS3.18 10.6.3", "absent series have no instances", "/studies/1.1/series/9/instances", 204),
    ],
)
def test_a_path_that_leads_nowhere(library, path, status):
    assert library.get(path).status_code == status


@pytest.mark.parametrize(
    ("accept", "status", "kind"),
    [
        row("PS3.18 Table 8.7.2-1", "JSON by default", "*/*", 200, "application/dicom+json"),
        row("PS3.18 Table 8.7.2-1", "JSON", "application/dicom+json", 200, "application/dicom+json"),
        row("OHIF", "JSON by its old name", "application/json", 200, "application/dicom+json"),
        row(
            "PS3.18 Table 8.7.2-1",
            "XML",
            'multipart/related; type="application/dicom+xml"',
            200,
            "multipart/related",
        ),
        row("PS3.18 8.7.7", "nothing else", "text/csv", 406, "application/problem+json"),
    ],
)
def test_matches_come_in_the_type_asked_for(library, accept, status, kind):
    response = library.get("/studies", accept)

    assert response.status_code == status
    assert response.headers["Content-Type"].split(";")[0] == kind
    if kind == "application/dicom+json":
        assert response.headers["Content-Type"] == kind  # clients compare the whole


@cites("PS3.18 10.6.3", "matches as XML are a document each")
def test_matches_as_xml(library):
    response = library.get("/studies?PatientID=P1", 'multipart/related; type="application/dicom+xml"')

    assert response.content.count(b"<NativeDicomModel") == 1
    assert "Müller".encode() in response.content


@cites("PS3.18 8.5", "HEAD is answered as GET without a body")
def test_a_head_of_a_search(library):
    response = library.client.head("/dicom-web/studies?limit=1")

    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["X-Total-Count"] == "4"


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        row("PS3.18 8.5", "the methods of studies", "/studies", {"GET", "HEAD", "POST"}),
        row("PS3.18 8.5", "the methods of series", "/series", {"GET", "HEAD"}),
    ],
)
def test_another_method_is_405(library, path, methods):
    response = library.client.put("/dicom-web" + path)

    assert response.status_code == 405
    assert {method.strip() for method in response.headers["Allow"].split(",")} == methods


@cites("PS3.18 10.6.1.1", "a list of UIDs may be long")
def test_thousands_of_uids(library):
    uids = ",".join(["1.2", *(f"1.9.{n}" for n in range(5000)), "1.4"])

    status, body = raw(library, f"StudyInstanceUID={uids}".encode())

    assert status == 200
    assert (b'["1.2"]' in body, b'["1.4"]' in body, b'["1.1"]' in body) == (True, True, False)


@cites("PS3.18 8.3.4.2", "matches of a search are those of all parameters together")
def test_everything_at_once(library):
    asked = (
        "PatientName=гус; fuzzymatching=true; ModalitiesInStudy=CT,PT; multiplevaluematching=true;"
        ' PatientSex=""; emptyvaluematching=true; StudyDate=20231201-20240131; 00080201=+0000; limit=10;'
        " orderby=-StudyDate; includefield=StudyDescription"
    )

    assert found(search(library, "/studies", *params(asked.replace(";  ", "; ")))) == [GUSEVA]
    assert found(search(library, "/studies", ("PatientName", "yam"), ("fuzzymatching", "true"))) == [YAMADA]


@cites("PS3.18 Table 8.5-1", "503 for a search that takes too much, with advice")
def test_a_search_that_takes_too_long_is_503(tmp_path):
    index = SqliteIndex(tmp_path / "index.db")
    archive = ObjectArchive(MemoryStore(), index, limits=IntakeLimits(1 << 20, 100, 1 << 20))
    with TestClient(create_app(archive, Settings())) as client:
        library = fill(Site(archive, MemoryStore(), client))
        index._limit_s = 0.0
        response = search(library, "/studies/1.1/instances", ("SliceThickness", "2.5"))
    archive.close()

    assert response.status_code == 503
    assert response.headers["retry-after"] == "60"
    assert "Narrow it" in response.json()["detail"]
