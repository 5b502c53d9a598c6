"""Codings, tags and 304 of metadata and search answers."""

import gzip
import json

import pytest
import zstandard

from service.index import bundles
from service.web import metadata
from tests.making import a_ct, new_uid

METADATA = "application/dicom+json"


@pytest.fixture
def series(site) -> str:
    study, series = new_uid(), new_uid()
    site.post_parts(*(a_ct(study=study, series=series, InstanceNumber=number) for number in range(1, 8)))
    return f"/studies/{study}/series/{series}"


def raw(site, path: str, accept_encoding: str, **headers: str):
    """Status, headers and the body as it came, not decoded."""
    given = {"Accept": METADATA, "Accept-Encoding": accept_encoding, **headers}
    with site.client.stream("GET", "http://testserver/dicom-web" + path, headers=given) as response:
        return response.status_code, response.headers, b"".join(response.iter_raw())


CODINGS = [
    ("gzip, deflate, br, zstd", "zstd"),
    ("gzip, deflate", "gzip"),
    ("zstd;q=0.1, gzip;q=0.9", "gzip"),
    ("*", "zstd"),
    ("zstd;q=0, *;q=0.5", "gzip"),
    ("identity", None),
    ("gzip;q=0", None),
    ("br", None),
    ("", None),
]


@pytest.mark.parametrize(("accepted", "expected"), CODINGS)
@pytest.mark.parametrize("what", ["/metadata", "/instances"])
def test_answers_come_in_the_coding_that_the_client_wants_most(site, series, what, accepted, expected):
    plain = json.loads(raw(site, series + what, "identity")[2])
    status, headers, body = raw(site, series + what, accepted)
    assert status == 200
    assert headers.get("content-encoding") == expected
    assert "Accept-Encoding" in headers["vary"]
    assert headers["content-type"] == METADATA
    if expected == "zstd":
        body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
    elif expected == "gzip":
        body = gzip.decompress(body)
    assert json.loads(body) == plain


def test_large_metadata_are_coded_as_they_are_streamed(site, series, monkeypatch):
    monkeypatch.setattr(metadata, "_AT_ONCE", 10)
    monkeypatch.setattr(bundles, "_BLOCK", 2000)
    zipped = raw(site, series + "/metadata", "gzip")[2]
    packed = raw(site, series + "/metadata", "zstd")[2]
    unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    assert json.loads(gzip.decompress(zipped)) == json.loads(unpacked)
    assert len(json.loads(unpacked)) == 7


@pytest.mark.parametrize("accepted", ["identity", "gzip", "zstd"])
def test_metadata_that_the_client_has_are_not_sent_again(site, series, accepted):
    _, headers, _ = raw(site, series + "/metadata", accepted)
    tag = headers["etag"]
    status, again, body = raw(site, series + "/metadata", accepted, **{"If-None-Match": tag})
    assert (status, body, again["etag"]) == (304, b"", tag)


def test_a_change_of_the_series_changes_its_tag_at_once(site, series):
    _, study, uid = series.split("/")[1], series.split("/")[2], series.split("/")[4]
    tags = [raw(site, series + "/metadata", "identity")[1]["etag"]]
    for number in (20, 21):
        site.post(a_ct(study=study, series=uid, InstanceNumber=number))
        status, headers, _ = raw(site, series + "/metadata", "identity", **{"If-None-Match": tags[-1]})
        assert status == 200
        tags.append(headers["etag"])
    assert len(set(tags)) == 3


def test_each_coding_and_each_root_has_a_tag_of_its_own(site, series):
    tags = {raw(site, series + "/metadata", coding)[1]["etag"] for coding in ("identity", "gzip", "zstd")}
    tags.add(raw(site, series + "/metadata", "identity", Host="other.example")[1]["etag"])
    assert len(tags) == 4


def test_xml_has_a_weak_tag(site, series):
    accept = 'multipart/related; type="application/dicom+xml"'
    got = site.get(series + "/metadata", accept)
    assert got.headers["etag"].startswith('W/"')
    again = site.get(series + "/metadata", accept, **{"If-None-Match": got.headers["etag"]})
    assert again.status_code == 304
