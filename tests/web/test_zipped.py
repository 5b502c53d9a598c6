"""Studies and series as ZIP files."""

import io
import zipfile
from collections.abc import Iterator

import pytest
from isal import isal_zlib

from service.dicom.errors import NotFound, StoreUnavailable
from service.dicom.resource import Resource
from service.dicom.syntaxes import EXPLICIT_LE, IMPLICIT_LE
from service.pixels.workshop import Workshop
from service.web import zipped
from service.web.bulkdata import Asked
from service.web.making import Making
from service.web.zipped import Entry
from tests.making import a_ct, new_uid

ZIP = {"Accept": "application/zip"}


def unpacked(response) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def asked(site) -> Iterator[Asked]:
    """What a request for a ZIP file brings along."""
    workshop = Workshop(threads=1, queue=0, cache_bytes=0)
    making = Making(workshop, ahead=1, steps={})
    yield Asked(site.archive, (), "http://testserver/dicom-web", 1 << 16, True, making)
    workshop.close()


@pytest.fixture
def study(site) -> tuple[str, dict[str, bytes]]:
    """A study of two series, one file of them Implicit VR; its path, and the files by their names."""
    uid = new_uid()
    files: dict[str, bytes] = {}
    for series, syntax in (("1.2.1", IMPLICIT_LE), ("1.2.2", EXPLICIT_LE), ("1.2.2", EXPLICIT_LE)):
        instance = new_uid()
        file = a_ct(syntax=syntax, study=uid, series=series, instance=instance)
        files[f"{series}/{instance}.dcm"] = file
        sent = site.client.post(
            "/dicom-web/studies", content=file, headers={"Content-Type": "application/dicom"}
        )
        assert sent.status_code == 200
    return f"/dicom-web/studies/{uid}", files


def test_a_study_is_a_zip_file_of_its_objects_as_they_are_stored(site, study):
    path, files = study

    response = site.client.get(path, headers=ZIP)

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/zip"
    assert response.headers["content-disposition"] == f'attachment; filename="{path.split("/")[-1]}.zip"'
    assert int(response.headers["content-length"]) == len(response.content)
    found = unpacked(response)
    assert b"3 DICOM files" in found.pop("README.txt")
    assert found == files


def test_a_series_has_a_zip_file_too(site, study):
    path, files = study

    found = unpacked(site.client.get(f"{path}/series/1.2.2", headers=ZIP))

    assert {name for name in found if name != "README.txt"} == {n for n in files if n.startswith("1.2.2/")}


def test_links_ask_for_it_by_parameter(site, study):
    path, files = study

    response = site.client.get(f"{path}?accept=application/zip", headers={"Accept": "text/html"})

    assert len(unpacked(response)) == len(files) + 1


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/zip, */*;q=0.1", "application/zip"),
        ("application/zip; transfer-syntax=*", "application/zip"),
        ("*/*", "multipart/related"),
        ('application/zip;q=0.5, multipart/related; type="application/dicom"', "multipart/related"),
        ('multipart/related; type="application/dicom", application/zip', "multipart/related"),
    ],
)
def test_it_goes_to_who_wants_it_most(site, study, accept, kind):
    response = site.client.get(study[0], headers={"Accept": accept})

    assert response.headers["content-type"].split(";")[0] == kind


def test_another_transfer_syntax_than_the_stored_ones_is_refused(site, study):
    accept = "application/zip; transfer-syntax=1.2.840.10008.1.2.4.90"

    assert site.client.get(study[0], headers={"Accept": accept}).status_code == 406


def test_who_has_it_is_not_sent_it_again(site, study):
    first = site.client.get(study[0], headers=ZIP)

    again = site.client.get(study[0], headers={**ZIP, "If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")


def test_the_same_study_is_the_same_file(site, study):
    assert site.client.get(study[0], headers=ZIP).content == site.client.get(study[0], headers=ZIP).content


def test_nothing_there_is_404(site):
    assert site.client.get("/dicom-web/studies/1.2.3", headers=ZIP).status_code == 404


def test_objects_that_are_missing_are_left_out_and_counted(site, study):
    path, files = study
    missing = [key for key, _ in site.store.keys("") if "/1.2.1/" in key]
    for key in missing:
        site.store.delete(key)

    response = site.client.get(path, headers=ZIP)

    assert (len(missing), response.status_code) == (1, 206)
    assert "1 of 3 instances cannot be sent." in response.headers["warning"]
    assert len(unpacked(response)) == len(files)


def test_large_objects_are_read_twice_and_not_kept(site, study, monkeypatch):
    monkeypatch.setattr(zipped, "_KEPT", 0)
    path, files = study

    found = unpacked(site.client.get(path, headers=ZIP))

    assert {name: file for name, file in found.items() if name != "README.txt"} == files


def test_an_object_that_vanishes_midway_breaks_the_file_off(site, study, asked):
    path, _ = study
    held = site.archive.instances(Resource(path.split("/")[-1]))
    blocks = zipped.zip_blocks(asked, held, b"note")
    begun = [bytes(next(blocks)) for _ in range(3)]
    for key, _ in list(site.store.keys("")):
        site.store.delete(key)

    with pytest.raises(NotFound):
        begun.extend(map(bytes, blocks))

    assert not any(block.startswith((b"PK\1\2", b"PK\5\6")) for block in begun)


def test_a_large_object_that_changes_between_its_readings_breaks_the_file_off():
    with pytest.raises(StoreUnavailable):
        list(zipped._same(iter([b"an obj", b"ect"]), isal_zlib.crc32(b"an object that was another")))

    assert list(zipped._same(iter([b"an obj", b"ect"]), isal_zlib.crc32(b"an object"))) == [b"an obj", b"ect"]


@pytest.mark.parametrize(
    ("entries", "offset"),
    [([Entry(b"%d" % number, 0) for number in range(0xFFFF)], 0), ([Entry(b"a", 1)], 0xFFFFFFFF)],
    ids=["count", "offset"],
)
def test_a_number_that_says_that_the_true_one_stands_elsewhere_is_never_meant_itself(entries, offset):
    assert zipped._ending(entries, offset).startswith(b"PK\6\6")
    assert Entry(b"a", 0xFFFFFFFF).local().endswith(b"a\1\0\x10\0" + 2 * b"\xff\xff\xff\xff\0\0\0\0")


class Laid(io.RawIOBase):
    """A file of which only the beginning and the end are there; between them are gigabytes of nothing."""

    def __init__(self, local: bytes, size: int, ending: bytes) -> None:
        self._local, self._ending = local, ending
        self._size = len(local) + size + len(ending)
        self._at = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + {0: 0, 1: self._at, 2: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        begins = self._size - len(self._ending)
        if self._at >= begins:
            found = self._ending[self._at - begins : end - begins]
        else:
            found = self._local[self._at : end]
        self._at += len(found)
        return found


def test_beyond_four_gigabytes_it_is_a_zip64():
    size = 5 << 30
    large, small = (
        Entry(b"large.dcm", size),
        Entry(b"small.dcm", 10, 0, len(Entry(b"large.dcm", size).local()) + size),
    )
    offset = small.offset + len(small.local()) + small.size
    ending = small.local() + bytes(10) + large.central() + small.central()
    ending += zipped._ending([large, small], offset)

    with zipfile.ZipFile(Laid(large.local(), size, ending)) as archive:
        found = [(one.filename, one.file_size, one.header_offset) for one in archive.infolist()]

    assert found == [("large.dcm", size, 0), ("small.dcm", 10, small.offset)]
    assert zipped._size([large, Entry(b"small.dcm", 10)]) == len(large.local()) + size + len(ending)


def test_beyond_what_sixteen_bits_count_it_is_a_zip64():
    entries = [Entry(b"%d" % number, 0, 0, number * 31) for number in range(70_000)]

    ending = zipped._ending(entries, 0)

    assert ending.startswith(b"PK\6\6")
    assert int.from_bytes(ending[32:40], "little") == 70_000
