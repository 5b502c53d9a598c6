"""The query parameters accept and charset, and Accept-Charset (PS3.18 8.7.8.1, 8.8)."""

import pytest

from service.dicom.syntaxes import EXPLICIT_LE
from tests.conformance.agreed import (
    DICOM,
    J2K,
    J2K_ONE,
    JSON,
    NATIVE,
    OCTETS,
    XML,
    keep_images,
    many,
    one,
    told,
)
from tests.conformance.rows import row
from tests.sites import Site


@pytest.fixture
def kept(site: Site) -> Site:
    return keep_images(site)


BY_QUERY = [
    row(
        "PS3.18 8.7.8.1",
        "the parameter comes before the header",
        "/studies",
        f"accept={JSON}",
        "image/png",
        one(JSON),
    ),
    row(
        "PS3.18 8.7.8.1",
        "a plus that form decoding takes away",
        NATIVE + "/metadata",
        "accept=multipart/related;type=application/dicom+xml",
        None,
        many(XML),
    ),
    row(
        "PS3.18 8.7.8.1",
        "an encoded plus",
        NATIVE + "/metadata",
        "accept=multipart/related%3B%20type%3D%22application/dicom%2Bxml%22",
        JSON,
        many(XML),
    ),
    row(
        "spec 2",
        "accept=* (dcm4che wadors) is no preference",
        NATIVE,
        "accept=*",
        None,
        many(DICOM, EXPLICIT_LE),
    ),
    row("spec 2", "accept=*/* is no preference", "/studies", "accept=*/*", None, one(JSON)),
    row(
        "spec 2",
        "an empty accept is none",
        "/studies",
        "accept=",
        f"multipart/related; type={XML}",
        many(XML),
    ),
    row(
        "PS3.18 8.7.8.1",
        "a transfer syntax",
        J2K_ONE,
        f"accept={DICOM};transfer-syntax=*",
        None,
        one(DICOM, J2K),
    ),
    row(
        "PS3.18 8.7.8.1",
        "nothing acceptable, whatever the header says",
        "/studies",
        "accept=image/png",
        JSON,
        406,
    ),
    row("PS3.18 8.7.5", "objects and pictures", NATIVE, f"accept={DICOM},image/jpeg", None, 400),
    row(
        "PS3.18 8.7.5",
        "objects and pictures, repeated",
        NATIVE,
        f"accept={DICOM}&accept=image/png",
        None,
        400,
    ),
    row("PS3.18 8.7.5", "data sets and text", "/studies", f"accept={JSON},text/html", None, 400),
    row("PS3.18 8.7.5", "octets and pictures", NATIVE + "/frames/1", f"accept={OCTETS},image/gif", None, 400),
    row(
        "PS3.18 8.7.5",
        "octets and codestreams are both pixel data",
        NATIVE + "/frames/1",
        f"accept={OCTETS},image/jls",
        None,
        one(OCTETS, EXPLICIT_LE),
    ),
    row(
        "spec 3.1",
        "a header may mix",
        NATIVE,
        "",
        f"{DICOM}, image/jpeg;q=0.9, text/html;q=0.9",
        one(DICOM, EXPLICIT_LE),
    ),
]


@pytest.mark.parametrize(("path", "query", "accept", "expected"), BY_QUERY)
def test_the_accept_parameter_is_for_links(kept, path, query, accept, expected):
    assert told(kept.get(f"{path}?{query}", accept)) == expected


CHARSETS = [
    row("PS3.18 8.8", "utf-8", {"Accept-Charset": "utf-8"}, "", 200),
    row("PS3.18 8.8", "any", {"Accept-Charset": "*"}, "", 200),
    row("PS3.18 8.8", "unsupported ones are ignored", {"Accept-Charset": "iso-8859-5, klingon;q=x"}, "", 200),
    row("PS3.18 8.8", "UTF-8 ruled out", {"Accept-Charset": "iso-8859-1, utf-8;q=0"}, "", 406),
    row("PS3.18 8.8", "all others ruled out", {"Accept-Charset": "iso-8859-1, *;q=0"}, "", 406),
    row(
        "PS3.18 8.8",
        "a list with UTF-8 in it",
        {"Accept-Charset": "iso-8859-1;q=0.9, UTF-8;q=0.1, *;q=0"},
        "",
        200,
    ),
    row("PS3.18 8.8", "the parameter comes first", {"Accept-Charset": "utf-8;q=0"}, "?charset=UTF-8", 200),
    row("PS3.18 8.8", "the parameter with a DICOM defined term", {}, "?charset=ISO_IR%20192", 200),
    row("PS3.18 8.8", "the parameter with unsupported values", {}, "?charset=ISO-8859-1,ISO_IR%20100", 200),
    row("PS3.18 8.8", "the parameter rules UTF-8 out", {}, "?charset=utf-8;q=0", 406),
]


@pytest.mark.parametrize("path", ["/studies", NATIVE + "/metadata"])
@pytest.mark.parametrize(("headers", "query", "status"), CHARSETS)
def test_text_is_utf_8_for_all_who_do_not_rule_it_out(kept, path, headers, query, status):
    response = kept.get(path + query, **headers)
    assert response.status_code == status
    if status == 200:
        # spec 19: the Python client compares the type as text, so no charset parameter is added
        assert response.headers["content-type"] == JSON
    else:
        assert response.json()["available"] == ["UTF-8"]
