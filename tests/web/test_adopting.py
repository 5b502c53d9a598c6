"""Files that are served from where they lie: never changed, never deleted, never mistaken."""

import os
from pathlib import Path
from typing import Any

import pytest

from service import __main__ as command
from service.archive.adopted_files import files_as_they_are, place_of
from service.archive.port import Refused, Stored
from service.archive.sweeping import Swept
from service.dicom.resource import Resource
from service.importing import files_below
from service.index.port import OnDuplicate
from service.index.sqlite import SqliteIndex
from service.settings import Settings
from service.store.local import LocalStore
from tests.disaster import answers, differing, fates, files_of, served, without_boundaries, wrong
from tests.making import a_ct, a_data_set, a_file, add_pixels, new_uid

OBJECT = "application/dicom; transfer-syntax=*"
OCTETS = "application/octet-stream"
GONE = "is gone or was changed since it was adopted"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "döner kebab#1"
    (made / "deep").mkdir(parents=True)
    return made


@pytest.fixture
def site(tmp_path):
    with served(LocalStore(tmp_path / "objects"), SqliteIndex(tmp_path / "index.db")) as made:
        yield made


def adopt(site, folder: Path):
    return list(outcomes_of(site, folder).values())


def outcomes_of(site, folder: Path):
    """What becomes of each file, by its name."""
    candidates = files_as_they_are(folder, files_below([folder]))
    told = site.archive.adopt(place_of(str(folder)), candidates, threads=2)
    return {Path(name).name: outcome for name, outcome in told}


def one_file(folder: Path, name: str = "deep/1 %41.dcm", **attributes) -> tuple[Path, str]:
    """A file in the folder, and the path of its instance."""
    uids: dict[str, Any] = {
        key: attributes.pop(key, None) or new_uid() for key in ("study", "series", "instance")
    }
    path = folder / name
    path.write_bytes(a_ct(**uids, **attributes))
    return path, "/studies/{study}/series/{series}/instances/{instance}".format(**uids)


def change(path: Path, content: bytes) -> None:
    """Other content, and a later time even where clocks are coarse."""
    before = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(before, before + 1))


def test_what_is_adopted_is_answered_as_if_it_were_stored(site, folder, tmp_path):
    # given: the same files, stored by one and adopted by the other
    codestreams = [b"\xff\xd8" + bytes(100) + b"\xff\xd9", b"\xff\xd8\0\0\xff\xd9"]
    encapsulated = add_pixels(a_data_set(), codestreams[:1], bits=8)
    encapsulated.NumberOfFrames = 2
    files = [a_ct(), a_ct(), a_file(encapsulated, "1.2.840.10008.1.2.4.50", codestreams=codestreams)]
    for number, file in enumerate(files):
        (folder / f"{number}").write_bytes(file)
    with served(LocalStore(tmp_path / "other")) as other:
        other.post_parts(*files)
        expected = without_boundaries(answers(other))
    # when
    outcomes = adopt(site, folder)
    # then
    assert all(isinstance(one, Stored) and not one.already for one in outcomes)
    assert differing(expected, without_boundaries(answers(site))) == []
    assert files_of(tmp_path / "objects") == []
    assert wrong(site) == []


def test_adopting_again_reads_nothing_again(site, folder):
    one_file(folder)
    assert len(adopt(site, folder)) == 1
    assert adopt(site, folder) == [None]


def test_what_is_adopted_is_forgotten_and_stays(site, folder):
    path, url = one_file(folder)
    adopt(site, folder)
    assert site.client.delete("http://testserver/dicom-web" + url).status_code == 204
    assert site.get(url).status_code == 404
    assert path.exists()
    assert site.archive._index.doomed(10) == []


def test_a_sweep_never_deletes_it(site, folder):
    path, _ = one_file(folder)
    adopt(site, folder)
    held = site.archive._index.walk(0, 1)[0]
    site.archive._index.remove(Resource(held.key.study))
    assert site.archive._index.doomed(10) == [held.object_key]
    assert site.archive.sweep(older_than_s=0, even_most=True) == Swept(doomed=1)
    assert path.exists()


def test_one_that_loses_its_row_to_another_stays(tmp_path, folder):
    with served(LocalStore(tmp_path / "objects"), on_duplicate=OnDuplicate.REPLACE) as site:
        path, url = one_file(folder)
        adopt(site, folder)
        study, series, instance = url.split("/")[2::2]
        file = a_ct(study=study, series=series, instance=instance, PatientID="other")
        assert site.post(file).status_code == 200
        assert site.get(url, OBJECT).content == file
        assert path.exists()
        assert site.archive._index.doomed(10) == []


@pytest.mark.parametrize("below", ["", "/frames/1", "/rendered", "/bulkdata"])
def test_a_changed_file_is_never_read_for_what_it_was(site, folder, below):
    path, url = one_file(folder)
    adopt(site, folder)
    content = path.read_bytes()
    assert site.get(url + "/frames/1", OCTETS).status_code == 200
    change(path, content[:-1] + bytes([content[-1] ^ 1]))
    answer = site.get(url + below, None if below else OBJECT)
    assert answer.status_code in (404, 206)
    assert GONE in answer.text or answer.status_code == 404
    assert content[-32:-1] not in answer.content
    assert len(wrong(site, quick=True)) == 1


@pytest.mark.parametrize("how", ["removed", "moved", "a folder", "shorter", "a link"])
def test_a_file_that_is_not_there_as_it_was_is_404(site, folder, tmp_path, how):
    path, url = one_file(folder)
    adopt(site, folder)
    elsewhere = tmp_path / "elsewhere"
    stamp = path.stat()
    if how == "shorter":
        path.write_bytes(path.read_bytes()[:-2])
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    else:
        path.rename(elsewhere)
    if how == "a folder":
        path.mkdir()
    if how == "a link":  # to the very same bytes, but whoever made it may lead it anywhere
        path.symlink_to(elsewhere)
    answer = site.get(url + "/frames/1", OCTETS)
    assert answer.status_code == 404
    assert GONE in answer.json()["detail"]
    assert next(said for _, said in wrong(site, quick=True)).endswith(
        "Adopt it again, or delete the instance."
    )


def test_what_is_gone_of_a_study_does_not_keep_the_rest_from_being_had(site, folder):
    study, other = new_uid(), a_ct()
    path, _ = one_file(folder, "1", study=study)
    stays, _ = one_file(folder, "2", study=study)
    (folder / "3").write_bytes(other)
    adopt(site, folder)
    path.unlink()
    answer = site.get(f"/studies/{study}", 'multipart/related; type="application/dicom"; transfer-syntax=*')
    assert answer.status_code == 206
    assert stays.read_bytes() in answer.content
    assert len(site.get(f"/studies/{study}/metadata").json()) == 2


def test_a_folder_on_the_way_that_became_a_link_is_not_followed(site, folder, tmp_path):
    path, url = one_file(folder)
    adopt(site, folder)
    path.parent.rename(tmp_path / "moved")
    path.parent.symlink_to(tmp_path / "moved")
    assert site.get(url + "/frames/1", OCTETS).status_code == 404


def test_links_are_not_adopted(site, folder, tmp_path):
    path, _ = one_file(folder)
    outside = tmp_path / "outside"
    outside.mkdir()
    secret, _ = one_file(outside, "secret")
    (folder / "link").symlink_to(secret)
    (folder / "inside").symlink_to(path)
    (folder / "more").symlink_to(outside)
    outcomes = outcomes_of(site, folder)
    assert isinstance(outcomes["1 %41.dcm"], Stored)
    assert {name for name, outcome in outcomes.items() if isinstance(outcome, Refused)} == {"link", "inside"}
    assert len(site.get("/instances").json()) == 1


def test_a_changed_file_is_adopted_again(site, folder):
    path, url = one_file(folder)
    adopt(site, folder)
    study, series, instance = url.split("/")[2::2]
    other = a_ct([bytes(32)], study=study, series=series, instance=instance)
    change(path, other)
    (outcome,) = adopt(site, folder)
    assert isinstance(outcome, Stored)
    assert not outcome.already
    assert site.get(url, OBJECT).content == other
    os.utime(path)  # touched
    adopt(site, folder)
    assert site.get(url, OBJECT).content == other


def test_a_file_that_moved_is_adopted_at_its_new_place(site, folder):
    path, url = one_file(folder)
    adopt(site, folder)
    content = path.read_bytes()
    path.rename(folder / "elsewhere")
    (outcome,) = adopt(site, folder)
    assert isinstance(outcome, Stored)
    assert site.get(url, OBJECT).content == content


def test_what_is_gone_does_not_keep_its_instance_from_being_stored(site, folder):
    path, url = one_file(folder)
    adopt(site, folder)
    content = path.read_bytes()
    path.unlink()
    assert site.post(content).status_code == 200
    assert site.get(url, OBJECT).content == content


def test_the_policy_for_duplicates_holds(site, folder, tmp_path):
    study, series, instance = new_uid(), new_uid(), new_uid()
    site.post(a_ct(study=study, series=series, instance=instance))
    one_file(folder, study=study, series=series, instance=instance, PatientID="other")
    (folder / "notes.txt").write_text("no DICOM")
    outcomes = adopt(site, folder)
    assert sorted(one.reason for one in outcomes) == [0x0111, 0xC000]
    assert len(files_of(tmp_path / "objects")) == 1


def test_reindex_leaves_adopted_rows_alone(site, folder):
    one_file(folder)
    adopt(site, folder)
    site.post(a_ct())
    before = answers(site, objects=False)
    fates(site)
    assert answers(site, objects=False) == before


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("ISTHMUS_STORE", f"file://{tmp_path}/objects")
    monkeypatch.setenv("ISTHMUS_INDEX", f"sqlite://{tmp_path}/index.db")
    return Settings.from_environment(os.environ)


def test_the_command_says_what_it_did(settings, folder, capsys):
    one_file(folder)
    (folder / "notes.txt").write_text("no DICOM")
    assert command.main(["import", "--adopt", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "1 adopted, 0 already there, 1 refused." in out
    assert "notes.txt: " in out
    (folder / "notes.txt").unlink()
    assert command.main(["import", "--adopt", str(folder)]) == 0
    assert "0 adopted, 1 already there, 0 refused." in capsys.readouterr().out


@pytest.mark.parametrize("within", ["objects", "objects/studies", "", "link"])
def test_the_store_itself_is_not_adopted(settings, tmp_path, capsys, within):
    (tmp_path / "objects/studies").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "objects")
    assert command.main(["import", "--adopt", str(tmp_path / within)]) == 2
    assert "one inside the other" in capsys.readouterr().err


def test_a_file_is_no_folder(settings, folder, capsys):
    path, _ = one_file(folder)
    assert command.main(["import", "--adopt", str(path)]) == 2
    assert "is no folder" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["s3://bucket/archive/", "s3://bucket", "s3://bucket/archive/studies"])
def test_the_bucket_of_the_store_is_not_adopted(monkeypatch, capsys, place):
    monkeypatch.setenv("ISTHMUS_STORE", "s3://bucket/archive")
    assert command.main(["import", "--adopt", place]) == 2
    assert "one inside the other" in capsys.readouterr().err
