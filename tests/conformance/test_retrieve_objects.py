"""Retrieve of studies, series and instances as objects (PS3.18 10.4)."""

import asyncio
from collections.abc import Buffer
from typing import Any

import pytest
from pydicom.uid import UID

from service.dicom.frames import Extent
from service.dicom.syntaxes import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from service.store.memory import MemoryStore
from tests.conformance.retrieving import (
    AS_STORED,
    DICOM,
    J2K,
    JPEG,
    MANY_ANY,
    MANY_AS_STORED,
    MANY_OCTETS,
    OCTETS,
    encapsulated,
    keep,
    series_of,
    study_of,
)
from tests.conformance.rows import cites, row
from tests.making import a_ct, a_data_set, a_file, add_pixels, new_uid
from tests.reading import data_set, differences, parts_of
from tests.sites import ROOT, Site

MANY = f'multipart/related; type="{DICOM}"'
LEAST = (IMPLICIT_LE, EXPLICIT_BE, DEFLATED)


@pytest.mark.parametrize(
    ("level", "accept"),
    [
        row("PS3.18 10.4.1.1.1", "a study is all its instances", study_of, MANY_AS_STORED),
        row("PS3.18 10.4.1.1.1", "a series is all its instances", series_of, MANY_AS_STORED),
        row("PS3.18 10.4.1.1.1", "an instance is itself", str, MANY_AS_STORED),
        row("PS3.18 Table 10.4.4-1", "the default is a multipart of objects", study_of, None),
        row("PS3.18 Table 10.4.4-1", "also where no type is named", study_of, "multipart/related"),
        row("PS3.18 8.7.7", "*/* means the default", series_of, "*/*"),
        row("spec 3.1", "what Java sends", study_of, "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"),
    ],
)
def test_objects_come_as_files_one_a_part(site, level, accept):
    series: dict[str, Any] = {"study": new_uid(), "series": new_uid()}
    files = [a_ct(**series, InstanceNumber=number) for number in (1, 2)]
    paths = [keep(site, file) for file in files]
    if level is str:
        files, paths = files[:1], paths[:1]
    response = site.get(level(paths[0]), accept)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(f'multipart/related; type="{DICOM}"; boundary=')
    parts = parts_of(response)
    assert [part.content for part in parts] == files
    assert [part.headers for part in parts] == [
        {
            "Content-Type": f"{DICOM}; transfer-syntax={EXPLICIT_LE}",
            "Content-Location": ROOT + path,
            "Content-Length": str(len(file)),
        }
        for path, file in zip(paths, files, strict=True)
    ]
    assert int(response.headers["content-length"]) == len(response.content)


@cites("spec 7", "a stored file with consistent meta leaves untouched, preamble included")
def test_what_was_stored_leaves_byte_for_byte(site):
    file = bytes(range(128)) + a_ct()[128:]
    response = site.get(keep(site, file), AS_STORED)
    assert response.content == file
    assert response.headers["content-type"] == f"{DICOM}; transfer-syntax={EXPLICIT_LE}"


@cites("PS3.18 8.7.3.5.2", "file meta names the class and instance that the data set names")
def test_file_meta_that_names_another_instance_does_not_leave(site):
    made = add_pixels(a_data_set(), [bytes(32)])
    file = a_file(made)
    wrong = file.replace(made.SOPInstanceUID.encode(), made.SOPInstanceUID[::-1].encode(), 1)
    assert wrong != file
    sent = data_set(site.get(keep(site, wrong), AS_STORED).content)
    assert sent.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID
    assert differences(made, sent, big_endian=False) == []


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize(
    "syntax",
    [
        row("PS3.18 8.7.3.5.2", "Implicit VR Little Endian is never sent", IMPLICIT_LE),
        row("PS3.18 8.7.3.5.2", "Explicit VR Big Endian is never sent", EXPLICIT_BE),
        row("spec 3.3", "what is deflated is inflated", DEFLATED),
    ],
)
def test_some_syntaxes_never_leave_as_they_are(site, syntax, single):
    made = add_pixels(a_data_set(), [bytes(range(32))])
    file = b"\1" * 128 + a_file(made, syntax)[128:]
    path = keep(site, file)
    if single:
        response = site.get(path, AS_STORED)
        label, content = response.headers["content-type"], response.content
    else:
        (part,) = parts_of(site.get(study_of(path), MANY_AS_STORED))
        label, content = part.headers["Content-Type"], part.content
    assert label == f"{DICOM}; transfer-syntax={EXPLICIT_LE}"
    sent = data_set(content)
    assert sent.file_meta.TransferSyntaxUID == EXPLICIT_LE
    assert sent.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID
    assert sent.file_meta.MediaStorageSOPClassUID == made.SOPClassUID
    assert content[:128] == bytes(128)
    assert differences(data_set(file), sent, big_endian=syntax == EXPLICIT_BE) == []


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        *[row("PS3.18 8.7.3.5.2", f"{UID(one).name} is not to be had by name", one, one) for one in LEAST],
        row("spec 3.3", "a UID that nobody knows is dropped: 406", EXPLICIT_LE, "1.2.3.4"),
        row("spec 3.3", "a word in place of a UID is dropped: 406", EXPLICIT_LE, "explicit"),
        row("spec 3.3", "what cannot be made is dropped: 406", J2K, UID(JPEG)),
        row("PS3.18 8.7.3.5.2", "without a name Explicit VR Little Endian is meant", J2K, ""),
    ],
)
def test_a_syntax_that_cannot_be_sent_is_not_acceptable(site, stored, wanted):
    file = encapsulated([b"\xff\x4f\xff\xd9"]) if stored == J2K else a_ct(syntax=stored)
    path = keep(site, file)
    parameter = f"; transfer-syntax={wanted}" if wanted else ""
    for accept, place in ((DICOM + parameter, path), (MANY + parameter, study_of(path))):
        response = site.get(place, accept)
        assert response.status_code == 406
        assert response.json()["available"]
    # Another range that can be met still is.
    assert site.get(path, f"{DICOM + parameter}, {AS_STORED}; q=0.1").status_code == 200


@cites("PS3.18 8.7.3.5.2", "pixel data that exist only in a lossy form may go as they are stored")
def test_what_exists_only_in_a_lossy_form_leaves_so(site):
    path = keep(site, encapsulated([b"\xff\xd8\xff\xd9"], JPEG, LossyImageCompression="01"))
    response = site.get(path, DICOM)
    assert response.headers["content-type"] == f"{DICOM}; transfer-syntax={JPEG}"
    assert data_set(response.content).LossyImageCompression == "01"


@cites("PS3.5 6.2.2 note", "a value too long for its VR in explicit form becomes UN with a 32-bit length")
def test_a_value_that_is_too_long_for_its_vr_becomes_un(site):
    made = a_data_set(sop_class="1.2.840.10008.5.1.4.1.1.481.3", Modality="RTSTRUCT")
    made.ContourData = ["1.5"] * 20_000
    sent = site.get(keep(site, a_file(made, IMPLICIT_LE)), AS_STORED).content
    size = len("1.5") * 20_000 + 19_999
    assert b"\x06\x30\x50\x00UN\0\0" + (size + size % 2).to_bytes(4, "little") in sent


@cites("PS3.18 Table 10.4.3-1", "206 if some instances could be sent and others could not")
def test_a_study_of_which_a_part_is_acceptable_is_partial(site):
    study = new_uid()
    plain = a_ct(study=study)
    site.post_parts(plain, encapsulated([b"\xff\x4f\xff\xd9"], study=study))
    response = site.get(f"/studies/{study}", MANY)
    assert response.status_code == 206
    assert response.headers["warning"].startswith('299 testserver "1 of 2 instances')
    assert [part.content for part in parts_of(response)] == [plain]


@cites("spec 7", "a gap in the object store: 206 and a Warning, never a truncated 200")
@pytest.mark.parametrize("missing", [0, 1, 2])
@pytest.mark.parametrize("accept", [MANY_AS_STORED, MANY_OCTETS])
def test_instances_whose_objects_are_missing_are_told(site, missing, accept):
    study = new_uid()
    files = [a_ct([bytes([number]) * 32], study=study, SeriesNumber=number) for number in (1, 2, 3)]
    paths = [keep(site, file) for file in files]
    gone = paths[missing].rpartition("/")[2]
    (key,) = (key for key, _ in list(site.store.keys()) if f"/{gone}." in key)
    site.store.delete(key)
    response = site.get(f"/studies/{study}", accept)
    assert response.status_code == 206
    assert "1 of 3" in response.headers["warning"]
    sent = [part.headers["Content-Location"].partition("/bulkdata")[0] for part in parts_of(response)]
    assert sent == [ROOT + path for number, path in enumerate(paths) if number != missing]


@cites("spec 7", "an object that is missing is not found")
def test_a_study_without_any_object_is_not_found(site):
    path = keep(site, a_ct())
    for key, _ in list(site.store.keys()):
        site.store.delete(key)
    for place in (path, series_of(path), study_of(path), path + "/bulkdata", study_of(path) + "/pixeldata"):
        assert site.get(place).status_code == 404


@pytest.mark.parametrize(
    "accept",
    [
        row("PS3.18 Table 10.4.4-1", "octets of a study are its bulk data", MANY_OCTETS),
        row("PS3.18 Table 10.4.4-1", "in any transfer syntax", MANY_ANY),
        row("PS3.18 8.7.7", "where they are wanted more", f"{MANY_OCTETS}, {MANY}; q=0.5"),
        row(
            "PS3.18 8.7.7",
            "where objects are not acceptable so",
            f"{MANY}; transfer-syntax=1.2.3, {MANY_OCTETS}",
        ),
    ],
)
@pytest.mark.parametrize("level", [study_of, series_of, str])
def test_octets_of_a_resource_are_its_bulk_data(site, level, accept):
    path = keep(site, a_ct())
    response = site.get(level(path), accept)
    assert response.status_code == 200
    same = site.get(level(path) + "/bulkdata", accept)
    assert [part.content for part in parts_of(response)] == [bytes(range(32))]
    assert parts_of(response) == parts_of(same)
    assert response.headers["content-type"].startswith(f'multipart/related; type="{OCTETS}"; boundary=')


@pytest.mark.parametrize(
    "accept",
    [
        row("PS3.18 8.7.7", "objects that are wanted as much come first", f"{MANY_OCTETS}, {MANY}"),
        row("PS3.18 8.7.7", "objects that are wanted more", f"{MANY_OCTETS}; q=0.5, {MANY}"),
        row("PS3.18 8.7.7", "q=0 excludes octets", f"{MANY_OCTETS}; q=0, {MANY}"),
        row("spec 3.1", "any transfer syntax is no lesser wish", f"{MANY_AS_STORED}, {MANY_OCTETS}"),
        row("spec 3.1", "a wildcard that is wanted as much", f"{MANY_OCTETS}, */*"),
    ],
)
def test_objects_come_before_octets(site, accept):
    file = a_ct()
    path = keep(site, file)
    for place in (path, study_of(path)):
        assert [part.content for part in parts_of(site.get(place, accept))] == [file]


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        row("PS3.18 Table 10.4.4-1 note", "a single part is for one item", DICOM, 406),
        row("PS3.18 Table 10.4.4-1 note", "also of octets", OCTETS, 406),
        row("PS3.18 Table 10.4.4-1 note", "it is ignored beside others", f"{DICOM}, {MANY}; q=0.1", 200),
        row("PS3.18 8.7.7", "no other type", 'multipart/related; type="image/png"', 406),
        row("PS3.18 8.7.7", "nor a picture", "image/jpeg", 406),
        row("PS3.18 8.7.7", "nor text", "text/plain", 406),
    ],
)
def test_a_study_goes_in_a_multipart_only(site, accept, status):
    path = keep(site, a_ct())
    for place in (study_of(path), series_of(path)):
        response = site.get(place, accept)
        assert response.status_code == status
        if status == 406:
            assert f"{MANY}; transfer-syntax={EXPLICIT_LE}" in response.json()["available"]


@cites("PS3.18 8.7.7", "406 tells what is available, where the resource has no bulk data either")
def test_octets_of_what_has_no_bulk_data_are_not_acceptable(site):
    path = keep(site, a_file(a_data_set()))
    response = site.get(path, MANY_OCTETS)
    assert response.status_code == 406
    assert f"{DICOM}; transfer-syntax={EXPLICIT_LE}" in response.json()["available"]


@cites("PS3.18 8.7.7", "406 tells what is available: of objects, and of bulk data where those were meant")
def test_a_refusal_of_pictures_tells_of_both(site):
    path = keep(site, a_ct())
    response = site.get(study_of(path), 'multipart/related; type="image/png"')
    assert response.status_code == 406
    available = response.json()["available"]
    assert f"{MANY}; transfer-syntax={EXPLICIT_LE}" in available
    assert f"{MANY_OCTETS}; transfer-syntax={EXPLICIT_LE}" in available


@pytest.mark.parametrize(
    ("below", "status"),
    [
        row("PS3.18 10.4.3", "a study that is not there", "/studies/1.2.3", 404),
        row("Orthanc", "also one that is well formed but odd", "/studies/0.0.0.0.0", 404),
        row("spec 1", "letters in a UID", "/studies/1.2.x", 400),
        row("spec 1", "a UID of more than 64 characters", f"/studies/{'1' * 65}", 400),
        row("PS3.18 10.4.3", "a series that is not there", "{study}/series/1.2", 404),
        row("PS3.18 10.4.3", "an instance that is not there", "{series}/instances/1.2", 404),
        row("spec 1", "a series of another study", "/studies/1.2/series/{series_uid}", 404),
        row("PS3.18 8.5", "no such resource", "{study}/nothing", 404),
    ],
)
def test_what_is_not_there_is_not_found(site, below, status):
    path = keep(site, a_ct())
    study, series = study_of(path), series_of(path)
    names = {"study": study, "series": series, "series_uid": series.rpartition("/")[2]}
    assert site.get(below.format(**names)).status_code == status


@cites("spec 1", "an instance that exists under another study is not found")
def test_the_three_uids_belong_together(site):
    one, other = keep(site, a_ct()), keep(site, a_ct())
    tail = one.partition("/series/")[2]
    for below in ("", "/frames/1", "/bulkdata", "/pixeldata", "/bulkdata/7FE00010", "/frames"):
        assert site.get(f"{study_of(other)}/series/{tail}{below}").status_code == 404


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH"])
@pytest.mark.parametrize(
    "below",
    [
        row("PS3.18 8.5", "405 names what an instance offers", ""),
        row("PS3.18 8.5", "405 names what frames offer", "/frames/1"),
        row("PS3.18 8.5", "405 names what bulk data offer", "/bulkdata"),
        row("PS3.18 8.5", "405 names what one value offers", "/bulkdata/7FE00010"),
        row("PS3.18 8.5", "405 names what pixel data offer", "/pixeldata"),
    ],
)
def test_other_methods_are_not_allowed(site, below, method):
    response = site.client.request(method, ROOT + keep(site, a_ct()) + below, content=b"")
    assert response.status_code == 405
    assert "GET" in response.headers["allow"]


RESOURCES = [
    row("RFC 9110 9.3.2", "an instance", "", AS_STORED),
    row("RFC 9110 9.3.2", "an instance in a multipart", "", MANY_AS_STORED),
    row("RFC 9110 9.3.2", "a frame", "/frames/1", OCTETS),
    row("RFC 9110 9.3.2", "frames", "/frames/1,2", "*/*"),
    row("RFC 9110 9.3.2", "a value", "/bulkdata/7FE00010", OCTETS),
    row("RFC 9110 9.3.2", "bulk data", "/bulkdata", "*/*"),
    row("RFC 9110 9.3.2", "pixel data", "/pixeldata", OCTETS),
    row("RFC 9110 9.3.2", "frames without a list", "/frames", MANY_OCTETS),
]


@pytest.mark.parametrize(("below", "accept"), RESOURCES)
def test_head_tells_what_get_does(site, below, accept):
    url = ROOT + keep(site, a_ct([bytes(32)] * 2)) + below
    head, got = (site.client.request(name, url, headers={"Accept": accept}) for name in ("HEAD", "GET"))
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "etag", "vary", "cache-control"):
        assert head.headers[name] == got.headers[name]
    assert head.headers.get("content-length") in (None, got.headers["content-length"])


@pytest.mark.parametrize(("below", "accept"), RESOURCES)
def test_what_a_client_has_is_not_sent_again(site, below, accept):
    path = keep(site, a_ct([bytes(32)] * 2)) + below
    tag = site.get(path, accept).headers["etag"]
    assert tag.startswith('"')
    again = site.get(path, accept, **{"If-None-Match": f'"x", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert "private" in again.headers["cache-control"]
    vary = {one.strip() for one in again.headers["vary"].split(",")}
    assert {"Accept", "Accept-Charset", "Authorization"} <= vary


@cites("RFC 9110 8.8.3", "a study has another tag when an instance came")
@pytest.mark.parametrize("below", ["", "/bulkdata", "/pixeldata"])
def test_a_study_that_changed_is_sent_again(site, below):
    study = new_uid()
    keep(site, a_ct(study=study))
    tag = site.get(f"/studies/{study}{below}").headers["etag"]
    keep(site, a_ct(study=study))
    again = site.get(f"/studies/{study}{below}", **{"If-None-Match": tag})
    assert again.status_code == 200
    assert len(parts_of(again)) == 2


@pytest.mark.parametrize(
    ("asked", "status", "run"),
    [
        row("RFC 9110 14.2", "a run from the start", "bytes=0-9", 206, slice(0, 10)),
        row("RFC 9110 14.2", "a run to the end", "bytes=100-", 206, slice(100, None)),
        row("RFC 9110 14.2", "the last bytes", "bytes=-8", 206, slice(-8, None)),
        row("RFC 9110 14.2", "several runs are answered by everything", "bytes=0-1,4-5", 200, slice(None)),
        row("RFC 9110 14.2", "another unit is no range", "frames=1-2", 200, slice(None)),
        row("RFC 9110 15.5.17", "a run behind the end", "bytes=999999-", 416, None),
    ],
)
def test_a_run_of_an_object_may_be_asked_for(site, asked, status, run):
    file = a_ct()
    response = site.get(keep(site, file), AS_STORED, Range=asked)
    assert response.status_code == status
    if run is None:
        assert response.headers["content-range"] == f"bytes */{len(file)}"
    else:
        assert response.content == file[run]
    if status == 206:
        first, last, _ = run.indices(len(file))
        assert response.headers["content-range"] == f"bytes {first}-{last - 1}/{len(file)}"


async def _streamed(site: Site, path: str, accept: str, sent: list[int]) -> int:
    """GET by the ASGI interface itself: the status; `sent` counts the body's bytes as they leave."""
    status = 0

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)
        sent[0] += len(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/dicom-web" + path,
        "raw_path": ("/dicom-web" + path).encode(),
        "query_string": b"",
        "headers": [(b"host", b"testserver"), (b"accept", accept.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
        "app": None,
    }
    await site.client.app(scope, receive, send)
    return status


@pytest.mark.parametrize(
    ("below", "accept"),
    [
        row("spec 9", "a study is streamed, never held", "", MANY_AS_STORED),
        row("spec 9", "so are its bulk data", "/bulkdata", MANY_ANY),
        row("spec 9", "so are its pixel data", "/pixeldata", MANY_ANY),
    ],
)
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, EXPLICIT_BE, J2K])
def test_large_studies_are_streamed(open_site, monkeypatch, below, accept, syntax):
    # given: instances that are much larger, together, than what may be read ahead
    site, study = open_site(read_block=16 << 10), new_uid()
    frame = bytes(256 * 256 * 2)
    for _ in range(16):
        if syntax == J2K:
            keep(site, encapsulated([b"\xff\x4f" + frame], study=study))
        else:
            keep(site, a_file(add_pixels(a_data_set(study=study), [frame], rows=256, columns=256), syntax))
    sent, read, most = [0], 0, 0
    real = MemoryStore.read

    def counting(store: MemoryStore, key: str, extent: Extent) -> Buffer:
        nonlocal read, most
        read += extent.length
        most = max(most, read - sent[0])
        return real(store, key, extent)

    monkeypatch.setattr(MemoryStore, "read", counting)
    # when
    status = asyncio.run(_streamed(site, f"/studies/{study}{below}", accept, sent))
    # then
    assert status == 200
    assert sent[0] > 16 * len(frame)
    # What is written anew is looked at in windows, some bytes of which are read twice.
    assert most < 3 * len(frame)
