"""Rows against objects and objects against rows: what is wrong is said, and nothing is changed."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from service import __main__ as command
from service.archive.open import open_archive
from service.dicom.resource import Resource
from service.index.memory import MemoryIndex
from service.settings import Settings
from service.store.local import LocalStore
from service.store.memory import MemoryStore
from tests.disaster import files_of, interfere, served, wrong
from tests.making import a_ct, a_data_set, a_file, add_pixels, new_uid

UPLOAD = "0192f0c0-1111-7111-8111-123456789abc"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def site(root):
    """Two instances."""
    with served(LocalStore(root)) as made:
        made.post_parts(a_ct(), a_ct())
        for path in files_of(root):
            age(path)
        yield made


def age(path: Path) -> None:
    os.utime(path, (time.time() - 7200,) * 2)


def subject(path: Path) -> str:
    """What a check calls the instance of the object at `path`."""
    study, series, name = path.parts[-3:]
    return f"/studies/{study}/series/{series}/instances/{name.rsplit('.', 2)[0]}"


def test_nothing_is_said_where_all_is_well(site):
    assert wrong(site) == wrong(site, quick=True) == []
    assert len(list(site.archive.check(threads=2))) == 4


@pytest.mark.parametrize("quick", [False, True])
def test_a_missing_object_is_said(site, root, quick):
    path = files_of(root)[0]
    path.unlink()
    assert wrong(site, quick=quick) == [(subject(path), "the object is missing")]


@pytest.mark.parametrize("quick", [False, True])
def test_another_size_is_said(site, root, quick):
    path = files_of(root)[0]
    content = path.read_bytes()
    path.write_bytes(content[:-2])
    size = len(content)
    expected = f"the object has {size - 2} bytes, the row says {size}"
    assert wrong(site, quick=quick) == [(subject(path), expected)]


def test_a_changed_byte_is_said(site, root):
    path = files_of(root)[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert wrong(site, quick=True) == []
    ((_, said),) = wrong(site)
    assert said.startswith("the digest of the object is another one")


@pytest.mark.parametrize("quick", [False, True])
def test_another_kept_digest_is_said(quick):
    store = MemoryStore()
    with served(store) as site:
        site.post(a_ct())
        ((key, _),) = store.keys("")
        body, _ = store._objects[key]
        store.keep(key, body, bytes(32))
        said = [said for _, said in wrong(site, quick=quick)]
        assert said == ["the digest that is kept with the object is another one than the row's"]


def test_a_byte_that_the_kept_digest_does_not_tell_is_said_by_reading():
    store = MemoryStore()
    with served(store) as site:
        site.post(a_ct())
        ((key, _),) = store.keys("")
        body, made = store._objects[key]
        store._objects[key] = (body[:-1] + b"?", made)
        assert wrong(site, quick=True) == []
        assert [said[:24] for _, said in wrong(site)] == ["the digest of the object"]


def test_an_object_that_is_no_dicom_any_more_is_said(site, root):
    path = files_of(root)[0]
    path.write_bytes(bytes(path.stat().st_size))
    ((_, said),) = wrong(site)
    assert said.startswith("the object is damaged: There is no DICM prefix")


def test_an_object_without_a_row_is_said_once_it_is_old(site, root):
    orphan = root / f"studies/1.2/3/4.{UPLOAD}.dcm"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"x")
    assert wrong(site) == []
    age(orphan)
    assert wrong(site) == [(f"studies/1.2/3/4.{UPLOAD}.dcm", "no row names this object")]


def test_an_object_that_is_still_to_be_deleted_is_said(site, root):
    study = files_of(root)[0].parts[-3]
    (key,) = site.archive._index.remove(Resource(study))
    assert wrong(site) == [(key, "its instance was deleted; a sweep deletes it too")]
    site.archive.sweep(older_than_s=3600)
    assert wrong(site) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"syntax": "1.2.840.10008.1.2"}, "transfer syntax"),
        ({"shape": None, "data_offset": 7}, "image pixel attributes, place of the data set"),
        ({"frames": None}, "places of the frames"),
    ],
)
def test_a_row_that_tells_something_else_is_said(root, change, said):
    codestreams = [b"\xff\xd8\xff\xd9", b"\xff\xd8\0\0\xff\xd9"]
    data_set = add_pixels(a_data_set(), codestreams[:1], bits=8)
    data_set.NumberOfFrames = 2
    index = MemoryIndex()
    with served(LocalStore(root), index) as site:
        site.post(a_file(data_set, "1.2.840.10008.1.2.4.50", codestreams=codestreams))
        assert wrong(site) == []
        (row,) = index._rows.values()
        index._rows[row.record.key] = replace(row, record=replace(row.record, **change))
        assert [said for _, said in wrong(site)] == [f"the row differs from the object: {said}"]


def test_a_row_that_names_an_object_of_another_instance_is_said(site):
    index = site.archive._index
    row = next(iter(index._rows.values()))
    key = f"studies/1/2/3.{UPLOAD}.dcm"
    index._rows[row.record.key] = replace(row, record=replace(row.record, object_key=key))
    said = [said for _, said in wrong(site, quick=True)]
    assert said == [f"the row names an object of another instance, {key}", "no row names this object"]


def test_what_is_deleted_while_it_is_looked_at_is_not_wrong(site, root):
    def delete(key: str) -> None:
        site.archive.forget(Resource(key.split("/")[1]))

    interfere(site, delete)
    assert wrong(site) == []


def test_rows_are_read_page_by_page(root):
    index = MemoryIndex()
    pages: list[int] = []
    real = index.walk

    def walk(after: int, limit: int):
        page = real(after, limit)
        pages.append(len(page))
        return page

    index.walk = walk  # type: ignore[method-assign]
    with served(LocalStore(root), index) as site:
        study, series = new_uid(), new_uid()
        site.post_parts(*(a_ct(study=study, series=series) for _ in range(520)))
        assert wrong(site, quick=True) == []
    assert pages == [500, 20, 0]


def test_the_command_says_what_is_wrong_and_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ISTHMUS_STORE", f"file://{tmp_path}/objects")
    monkeypatch.setenv("ISTHMUS_INDEX", f"sqlite://{tmp_path}/index.db")
    archive = open_archive(
        Settings(store=f"file://{tmp_path}/objects", index=f"sqlite://{tmp_path}/index.db")
    )
    intake = archive.intake()
    for _ in range(3):
        intake.begin()
        intake.write(memoryview(a_ct()))
        intake.end()
    intake.finish()
    archive.close()
    assert command.main(["check"]) == 0
    for path in files_of(tmp_path / "objects"):
        age(path)
    path = files_of(tmp_path / "objects")[0]
    path.unlink()
    capsys.readouterr()
    assert command.main(["check", "--quick"]) == 1
    out = capsys.readouterr().out
    assert f"{subject(path)}: the object is missing\n" in out
    assert "4 rows and objects are as they should be, 1 are not." in out
