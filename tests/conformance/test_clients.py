"""What each client sends, literally, and what it needs of the answer (spec 19)."""

from urllib.parse import quote

import pytest

from service.dicom.syntaxes import EXPLICIT_LE, IMPLICIT_LE
from service.dicom.syntaxes import ROOT as UIDS
from tests.conformance.rows import cites
from tests.making import a_ct, a_data_set, a_file, add_pixels
from tests.reading import data_set, parts_of
from tests.sites import ROOT, Site

J2K = UIDS + ".4.90"
CODESTREAM = b"\xff\x4f" + bytes(range(250)) + b"\xff\xd9"
FRAMES = [bytes(range(32)), bytes(range(32, 64))]
STUDY, SERIES = "1.1", "1.2"
NATIVE = f"/studies/{STUDY}/series/{SERIES}/instances/1.3"
PACKED = f"/studies/{STUDY}/series/{SERIES}/instances/1.4"


@pytest.fixture
def kept(site: Site) -> Site:
    """A native and a JPEG 2000 image of one series, and another study."""
    names = {"study": STUDY, "series": SERIES, "PatientName": "Doe^Jane", "StudyDescription": "CT Thorax"}
    packed = add_pixels(a_data_set(**names, instance="1.4"), [bytes(32)])
    other = a_ct(study="1.5", PatientName="Roe^Richard", StudyDate="20230101", Modality="MR")
    answer = site.post_parts(
        a_ct(FRAMES, **names, instance="1.3"), a_file(packed, J2K, codestreams=[CODESTREAM]), other
    )
    assert answer.status_code == 200
    return site


def uids(site: Site, path: str, tag: str = "0020000D", **headers: str) -> set[str]:
    response = site.get(path, **headers)
    assert response.status_code in (200, 204), response.text
    return {match[tag]["Value"][0] for match in response.json()} if response.content else set()


# OHIF 3

OHIF_FIELDS = "includefield=00081030%2C00080060%2C00080090"
OHIF_METADATA = "application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*"
OHIF_FRAMES = 'multipart/related; type="application/octet-stream"; transfer-syntax="*"'
OHIF_PREFERRING = (
    f"multipart/related; type=application/octet-stream; transfer-syntax={J2K}; transfer-syntax=*"
)


@cites("OHIF", "the work list: limit, offset, an empty-handed fuzzymatching, wildcards around names")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        (f"limit=101&offset=0&fuzzymatching=false&{OHIF_FIELDS}", {"1.1", "1.5"}),
        (f"PatientName=*doe*&limit=101&offset=0&fuzzymatching=false&{OHIF_FIELDS}", {"1.1"}),
        (f"00100020=*P1*&limit=101&offset=0&fuzzymatching=false&{OHIF_FIELDS}", {"1.1", "1.5"}),
        (f"AccessionNumber=*A1*&limit=101&offset=0&fuzzymatching=false&{OHIF_FIELDS}", {"1.1", "1.5"}),
        (f"StudyDescription=*Thorax*&limit=101&offset=0&fuzzymatching=false&{OHIF_FIELDS}", {"1.1"}),
        (f"StudyDate=20240101-20241231&limit=101&offset=0&fuzzymatching=false&{OHIF_FIELDS}", {"1.1"}),
        (f"ModalitiesInStudy=CT%2CMR&limit=101&offset=0&{OHIF_FIELDS}", {"1.1", "1.5"}),
        (f"ModalitiesInStudy=MR&limit=101&offset=0&{OHIF_FIELDS}", {"1.5"}),
        (f"StudyInstanceUID=1.1%5C%5C1.5&limit=101&offset=0&{OHIF_FIELDS}", {"1.1", "1.5"}),
    ],
)
def test_ohif_finds_studies_for_its_work_list(kept, query, found):
    assert uids(kept, f"/studies?{query}", Accept="application/dicom+json") == found


@cites("OHIF", "the series of a study have its Study Instance UID, the numbers and the modality")
def test_ohif_finds_the_series_of_a_study(kept):
    path = f"/studies/{STUDY}/series?includefield=0008103E%2C00080021%2C00080031%2C00080060"
    (series,) = kept.get(path, "application/dicom+json").json()
    assert series["0020000D"]["Value"] == [STUDY]
    assert series["0020000E"]["Value"] == [SERIES]
    assert series["00201209"]["Value"] == [2]
    assert series["00080060"]["Value"] == ["CT"]


@cites("OHIF", "metadata of a series: one list of types, the attributes of display inline, pixels by URI")
def test_ohif_reads_metadata(kept):
    response = kept.get(f"/studies/{STUDY}/series/{SERIES}/metadata", OHIF_METADATA)
    assert response.headers["content-type"] == "application/dicom+json"
    documents = {one["00080018"]["Value"][0]: one for one in response.json()}
    native = documents["1.3"]
    for tag in ("00080016", "00280008", "00280010", "00280011", "00280100", "00200013"):
        assert native[tag]["Value"], tag
    assert native["7FE00010"]["BulkDataURI"].startswith("http://")
    assert "Value" not in native["7FE00010"] and "InlineBinary" not in native["7FE00010"]
    assert documents["1.4"]["00083002"]["Value"][0] == J2K  # AvailableTransferSyntaxUID


@cites("OHIF", "frames: quotes around the star, or two transfer-syntax parameters")
@pytest.mark.parametrize("accept", [OHIF_FRAMES, OHIF_PREFERRING])
def test_ohif_reads_frames_as_they_are_stored(kept, accept):
    (packed,) = parts_of(kept.get(PACKED + "/frames/1", accept))
    assert (packed.content, packed.headers["Content-Type"]) == (
        CODESTREAM,
        f"image/jp2; transfer-syntax={J2K}",
    )
    (native,) = parts_of(kept.get(NATIVE + "/frames/2", accept))
    if accept == OHIF_PREFERRING:  # what is named is made
        assert native.headers["Content-Type"] == f"image/jp2; transfer-syntax={J2K}"
        return
    assert native.content == FRAMES[1]
    assert native.headers["Content-Type"] == f"application/octet-stream; transfer-syntax={EXPLICIT_LE}"


@cites("OHIF", "singlepart: a frame without a multipart around it")
@pytest.mark.parametrize(
    "accept", ["application/octet-stream; transfer-syntax=*", f"image/jp2; transfer-syntax={J2K}"]
)
def test_ohif_reads_a_frame_as_a_single_part(kept, accept):
    response = kept.get(PACKED + "/frames/1", accept)
    assert response.content == CODESTREAM
    assert response.headers["content-type"] == f"image/jp2; transfer-syntax={J2K}"


# cornerstone3D

CORNERSTONE = "multipart/related; type=application/octet-stream; transfer-syntax=*"


@cites("cornerstone3D", "the part names its type in this case, at the start of a line, with the syntax")
def test_cornerstone_reads_the_type_of_a_part(kept):
    head, _, _ = kept.get(PACKED + "/frames/1", CORNERSTONE).content.partition(b"\r\n\r\n")
    assert f"\r\nContent-Type: image/jp2; transfer-syntax={J2K}\r\n".encode() in head + b"\r\n"


@cites("cornerstone3D", "progressive loading: runs of a frame, the whole size in Content-Range")
def test_cornerstone_loads_a_frame_in_steps(kept):
    whole, step = b"", 100
    accept = f"image/jp2; transfer-syntax={J2K}"
    while True:
        first = len(whole)
        response = kept.get(PACKED + "/frames/1", accept, Range=f"bytes={first}-{first + step - 1}")
        assert response.status_code == 206
        unit, _, total = response.headers["content-range"].partition("/")
        assert unit == f"bytes {first}-{first + len(response.content) - 1}"
        whole += response.content
        if len(whole) == int(total):
            break
    assert whole == CODESTREAM
    assert kept.get(PACKED + "/frames/1", accept, Range=f"bytes={len(whole)}-").status_code == 416


@cites("cornerstone3D", "progressive loading asks for a multipart, too: a true run of it, or all of it")
def test_cornerstone_may_ask_for_a_run_of_a_multipart(kept):
    whole = kept.get(PACKED + "/frames/1", CORNERSTONE)
    response = kept.get(PACKED + "/frames/1", CORNERSTONE, Range="bytes=0-127")
    if response.status_code == 206:
        assert response.content == whole.content[:128]
        assert response.headers["content-range"] == f"bytes 0-127/{len(whole.content)}"
    else:
        assert (response.status_code, response.content) == (200, whole.content)


@cites("cornerstone3D", "a page of another origin may read what the loader reads")
def test_cornerstone_may_read_the_headers_it_needs(kept):
    origin = "http://localhost:3000"
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "accept,range"}
    preflight = kept.client.options(ROOT + PACKED + "/frames/1", headers={"Origin": origin, **asked})
    assert preflight.status_code in (200, 204)
    assert {"accept", "range"} <= words(preflight.headers["access-control-allow-headers"])
    response = kept.get(PACKED + "/frames/1", CORNERSTONE, Origin=origin)
    exposed = words(response.headers["access-control-expose-headers"])
    assert {"content-type", "content-range", "content-location", "etag", "warning"} <= exposed


def words(value: str) -> set[str]:
    return {word.strip().lower() for word in value.split(",")}


# dicomweb-client, Python


@cites("dicomweb-client (python)", "metadata in either name of JSON; the type compared as text")
def test_the_python_client_compares_the_type_as_text(kept):
    for path in ("/studies", NATIVE + "/metadata"):
        response = kept.get(path, "application/dicom+json, application/json")
        assert response.headers["content-type"] == "application/dicom+json"
        assert isinstance(response.json(), list)


@cites("dicomweb-client (python)", "store: a fixed boundary, a line end before the first, an answer in JSON")
def test_the_python_client_stores(site):
    boundary = b"0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1"
    file = a_ct(study="1.1")
    body = b"\r\n--" + boundary + b"\r\nContent-Type: application/dicom\r\n\r\n" + file
    response = site.client.post(
        ROOT + "/studies",
        content=body + b"\r\n--" + boundary + b"--",
        headers={
            "Content-Type": f'multipart/related; type="application/dicom"; boundary="{boundary.decode()}"',
            "Accept": "application/dicom+json",
        },
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json"
    assert isinstance(response.json(), dict)


@cites("dicomweb-client (python)", "pages until an empty one: 204 ends it; booleans as Python writes them")
def test_the_python_client_pages_until_nothing_is_left(kept):
    found: list[str] = []
    for offset in range(5):
        response = kept.get(
            f"/instances?limit=1&offset={offset}&fuzzymatching=true", "application/dicom+json"
        )
        if response.status_code == 204:
            break
        found += [one["00080018"]["Value"][0] for one in response.json()]
    assert (len(found), len(set(found)), offset) == (3, 3, 3)


@cites("dicomweb-client (python)", "any type of object, any syntax")
def test_the_python_client_asks_for_anything(kept):
    for accept in (
        'multipart/related; type="*/*"',
        'multipart/related; type="application/dicom"; transfer-syntax=*',
    ):
        assert len(parts_of(kept.get(f"/studies/{STUDY}", accept))) == 2


@cites("dicomweb-client (python)", "DELETE is answered, not with 405")
def test_the_python_client_deletes(kept):
    response = kept.client.delete(ROOT + NATIVE)
    assert response.status_code == 204


# dicomweb-client, JavaScript (its programs run in tests/e2e)


@cites("dicomweb-client (js)", "WADO-URI on the root or on a prefix, transferSyntax=*")
@pytest.mark.parametrize("prefix", ["", "/wado"])
def test_the_javascript_client_builds_urls_of_the_uri_service(kept, prefix):
    query = f"requestType=WADO&studyUID={STUDY}&seriesUID={SERIES}&objectUID=1.4"
    response = kept.get(f"{prefix}?{query}&contentType=application/dicom&transferSyntax=*")
    assert response.status_code == 200
    assert response.headers["content-type"] == f"application/dicom; transfer-syntax={J2K}"
    assert data_set(response.content).SOPInstanceUID == "1.4"


@cites("dicomweb-client (js)", "store without Accept; 200, 202, 204 and 206 are successes, 201 is not")
def test_the_javascript_client_stores(site):
    boundary = "4c2ab12f-1e12-8bd1-3f3d-5d1d2f1c3b4a"
    content = f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + a_ct()
    kind = f'multipart/related; type="application/dicom"; boundary="{boundary}"'
    response = site.post(content + f"\r\n--{boundary}--".encode(), kind)
    assert response.status_code == 200


# dcm4che

DCM4CHE_XML = "application/dicom+xml"


@cites("dcm4che stowrs", "boundary myboundary, a syntax on the part, a line end first, the answer in XML")
def test_stowrs_stores(site):
    file = a_ct(study="1.1", syntax=IMPLICIT_LE)
    part = (
        f"\r\n--myboundary\r\nContent-Type: application/dicom; transfer-syntax={IMPLICIT_LE}\r\n\r\n".encode()
    )
    response = site.client.post(
        ROOT + "/studies",
        content=part + file + b"\r\n--myboundary--",
        headers={
            "Content-Type": "multipart/related; type=application/dicom; boundary=myboundary",
            "Accept": DCM4CHE_XML,
        },
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == DCM4CHE_XML
    assert b"NativeDicomModel" in response.content


@cites("dcm4che wadors", "accept=* as a query, and Java's own list as the header")
@pytest.mark.parametrize("path", [f"/studies/{STUDY}", NATIVE, PACKED, PACKED + "/frames/1"])
@pytest.mark.parametrize("accept", ["text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "*; q=.2"])
def test_wadors_retrieves(kept, path, accept):
    if "frames" in path:
        accept = accept.replace("image/jpeg, ", "")
    for query in ("?accept=*", ""):
        response = kept.get(path + query, accept)
        assert response.status_code == 200
        assert parts_of(response)


@cites("dcm4che wadors", "the type as a query, its plus and its parameters encoded")
def test_wadors_names_types_in_its_query(kept):
    kind = quote('multipart/related;type="application/dicom";transfer-syntax=*', safe="")
    assert len(parts_of(kept.get(f"/studies/{STUDY}?accept={kind}"))) == 2
    response = kept.get(f"{NATIVE}/metadata?accept={quote('application/dicom+json', safe='')}")
    assert response.headers["content-type"] == "application/dicom+json"


# Weasis

WEASIS_OBJECTS = 'multipart/related;type="application/dicom";transfer-syntax=*'


@cites("Weasis", "search: fields as a list or one by one, an empty first parameter")
@pytest.mark.parametrize(
    "query",
    [
        "&includefield=00080020,00080030,00081030,00080061",
        "&includefield=00080020&includefield=00080030",
        "PatientID=P1&limit=10",
    ],
)
def test_weasis_finds_studies(kept, query):
    assert STUDY in uids(kept, f"/studies?{query}", Accept="application/dicom+json")


@cites("Weasis", "it retrieves from the RetrieveURL, with gzip accepted, all in one multipart")
def test_weasis_retrieves_from_the_url_that_it_found(kept):
    (series,) = kept.get(f"/studies/{STUDY}/series", "application/dicom+json").json()
    (url,) = series["00081190"]["Value"]
    response = kept.get(url, WEASIS_OBJECTS, **{"Accept-Encoding": "gzip"})
    assert response.status_code == 200
    assert {data_set(part.content).SOPInstanceUID for part in parts_of(response)} == {"1.3", "1.4"}
    for part in parts_of(response):
        syntax = data_set(part.content).file_meta.TransferSyntaxUID
        assert part.headers["Content-Type"] == f"application/dicom; transfer-syntax={syntax}"


@cites("Weasis", "thumbnails, asked for as image/jpeg")
def test_weasis_shows_thumbnails(kept):
    response = kept.get(f"{NATIVE}/thumbnail", "image/jpeg", **{"Accept-Encoding": "gzip"})
    assert (response.status_code, response.headers["content-type"]) == (200, "image/jpeg")
    assert response.content.startswith(b"\xff\xd8")


@cites("Weasis", "the URI service where it is configured so")
def test_weasis_falls_back_to_the_uri_service(kept):
    query = f"requestType=WADO&studyUID={STUDY}&seriesUID={SERIES}&objectUID=1.3"
    response = kept.get(f"/wado?{query}&contentType=application%2Fdicom&transferSyntax=*", "*/*")
    assert data_set(response.content).SOPInstanceUID == "1.3"


@cites("Weasis", "store with the answer in XML")
def test_weasis_stores(site):
    body = b"--weasis\r\nContent-Type: application/dicom\r\n\r\n" + a_ct() + b"\r\n--weasis--\r\n"
    headers = {
        "Content-Type": 'multipart/related;type="application/dicom";boundary=weasis',
        "Accept": DCM4CHE_XML,
    }
    response = site.client.post(ROOT + "/studies", content=body, headers=headers)
    assert (response.status_code, response.headers["content-type"]) == (200, DCM4CHE_XML)


# Java and browsers

ODD_LISTS = [
    "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",  # Java HttpURLConnection
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",  # Firefox
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7",  # Chromium
    "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",  # an <img>
    "*/*",  # curl, fetch
]


@cites("Java HttpURLConnection, browsers", "odd lists of types are answered by what there is, never by 400")
@pytest.mark.parametrize("accept", ODD_LISTS)
@pytest.mark.parametrize(
    "path", ["/studies", f"/studies/{STUDY}", NATIVE, NATIVE + "/metadata", NATIVE + "/frames/1"]
)
def test_odd_lists_of_types_are_answered(kept, path, accept):
    response = kept.get(path, accept)
    assert response.status_code == 200
    assert response.content
