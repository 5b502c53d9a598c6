"""Conditional and range requests (RFC 9110; PS3.18 8.6, dicomweb practice)."""

import pytest

from service.dicom.frames import Extent
from service.dicom.syntaxes import DEFLATED, OCTETS
from service.store.memory import MemoryStore
from tests.making import a_ct, a_data_set, a_file, add_pixels
from tests.reading import parts_of

AS_STORED = "application/dicom; transfer-syntax=*"


def keep(site, file: bytes) -> str:
    url = site.post(file).json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    return str(url).removeprefix("http://testserver/dicom-web")


RESOURCES = [
    ("", AS_STORED),
    ("", 'multipart/related; type="application/dicom"; transfer-syntax=*'),
    ("/frames/1", OCTETS),
    ("/frames/1,2", "*/*"),
    ("/bulkdata/7FE00010", OCTETS),
    ("/bulkdata/7FE00010", "*/*"),
]


@pytest.mark.parametrize(("path", "accept"), RESOURCES)
def test_what_the_client_has_is_not_sent_again(site, path, accept):
    instance = keep(site, a_ct([bytes(32), bytes(32)]))
    first = site.get(instance + path, accept)
    tag = first.headers["etag"]
    assert site.get(instance + path, accept).content == first.content
    for given in (tag, f'"other", W/{tag}', "*"):
        again = site.get(instance + path, accept, **{"If-None-Match": given})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    assert site.get(instance + path, accept, **{"If-None-Match": '"other"'}).status_code == 200


def test_each_representation_has_a_tag_of_its_own(site):
    instance = keep(site, a_ct([bytes(32), bytes(32)]))
    tags = [site.get(instance + path, accept).headers["etag"] for path, accept in RESOURCES]
    assert len(set(tags)) == len(tags)


def test_a_multipart_comes_out_the_same_each_time(site):
    instance = keep(site, a_ct())
    assert site.get(instance).content == site.get(instance).content


RANGES = [
    ("bytes=0-9", Extent(0, 10)),
    ("bytes=10-", Extent(10, -1)),
    ("bytes=-7", Extent(-7, 7)),
    ("bytes=-99999999", Extent(0, -1)),
    ("bytes=5-99999999", Extent(5, -1)),
    ("bytes = 5 - 5", Extent(5, 1)),
]


@pytest.mark.parametrize(("path", "accept"), [RESOURCES[0], RESOURCES[2], RESOURCES[4]])
@pytest.mark.parametrize(("header", "expected"), RANGES)
def test_a_run_of_a_single_part_can_be_asked_for(site, path, accept, header, expected):
    instance = keep(site, a_ct([bytes(range(32)), bytes(range(32))]))
    whole = site.get(instance + path, accept)
    assert whole.headers["accept-ranges"] == "bytes"
    size = len(whole.content)
    first = expected.offset if expected.offset >= 0 else size + expected.offset
    last = size - 1 if expected.length < 0 else first + expected.length - 1
    got = site.get(instance + path, accept, Range=header)
    assert got.status_code == 206
    assert got.content == whole.content[first : last + 1]
    assert got.headers["content-range"] == f"bytes {first}-{last}/{size}"
    assert got.headers["content-length"] == str(len(got.content))


@pytest.mark.parametrize("header", ["bytes=999999-", "bytes=999999-1000000", "bytes=-0"])
def test_a_run_outside_is_not_satisfiable(site, header):
    instance = keep(site, a_ct())
    size = len(site.get(instance, AS_STORED).content)
    got = site.get(instance, AS_STORED, Range=header)
    assert got.status_code == 416
    assert got.headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize("header", ["bytes=5-2", "bytes=-", "bytes=0-1,4-5", "items=0-1", "bytes=a-b", "?"])
def test_ranges_that_we_do_not_serve_mean_everything(site, header):
    instance = keep(site, a_ct())
    got = site.get(instance, AS_STORED, Range=header)
    assert got.status_code == 200
    assert "content-range" not in got.headers


def test_a_range_is_served_only_of_the_body_that_it_was_meant_for(site):
    instance = keep(site, a_ct())
    tag = site.get(instance, AS_STORED).headers["etag"]
    assert site.get(instance, AS_STORED, Range="bytes=0-1", **{"If-Range": tag}).status_code == 206
    assert site.get(instance, AS_STORED, Range="bytes=0-1", **{"If-Range": '"old"'}).status_code == 200


def test_a_run_of_a_stored_object_reads_nothing_else(site, monkeypatch):
    instance = keep(site, a_ct([bytes(32)] * 1000))
    reads: list[Extent] = []
    real = MemoryStore.read

    def read(store: MemoryStore, key: str, extent: Extent):
        reads.append(extent)
        return real(store, key, extent)

    monkeypatch.setattr(MemoryStore, "read", read)
    assert len(site.get(instance, AS_STORED, Range="bytes=20000-20009").content) == 10
    assert reads == [Extent(20000, 10)]


def test_what_is_written_anew_can_be_read_in_runs_only_where_its_size_is_known(site):
    made = add_pixels(a_data_set(), [bytes(range(32))])
    instance = keep(site, a_file(made, DEFLATED))
    assert site.get(instance, AS_STORED, Range="bytes=0-9").status_code == 200
    got = site.get(instance + "/frames/1", OCTETS, Range="bytes=4-7")
    assert got.content == bytes(range(4, 8))


def test_a_range_of_a_multipart_means_everything(site):
    instance = keep(site, a_ct())
    got = site.get(instance, "*/*", Range="bytes=0-9")
    assert got.status_code == 200
    assert len(parts_of(got)) == 1


@pytest.mark.parametrize(("path", "accept"), RESOURCES)
def test_head_tells_what_get_would(site, path, accept):
    instance = keep(site, a_ct([bytes(32), bytes(32)]))
    url = f"http://testserver/dicom-web{instance}{path}"
    head = site.client.head(url, headers={"Accept": accept})
    got = site.client.get(url, headers={"Accept": accept})
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "etag"):
        assert head.headers[name] == got.headers[name]
    # What it would be is told where it is known without making the body.
    assert head.headers.get("content-length") in (None, got.headers["content-length"])


def test_a_range_means_nothing_to_head(site):
    instance = keep(site, a_ct())
    headers = {"Accept": AS_STORED, "Range": "bytes=0-9"}
    head = site.client.head(f"http://testserver/dicom-web{instance}", headers=headers)
    assert head.status_code == 200
    assert head.headers["content-length"] == str(len(site.get(instance, AS_STORED).content))
