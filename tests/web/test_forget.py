"""Deletion (outside of PS3.18), and the sweep of objects that no row names."""

import os
import threading
import time

import pytest

from service import __main__ as command
from service.archive.open import open_archive
from service.archive.sweeping import Swept
from service.dicom.errors import IndexUnavailable, StoreUnavailable
from service.dicom.resource import Resource
from service.index.memory import MemoryIndex
from service.settings import Settings
from service.store.memory import MemoryStore
from tests.making import a_ct, new_uid
from tests.sites import ROOT, Site

DAY_S = 24 * 3600.0
UPLOAD = "0192f0c0-1111-7111-8111-123456789abc"


def delete(site: Site, path: str) -> int:
    return site.client.delete(ROOT + path).status_code


def keys(site: Site) -> list[str]:
    return [key for key, _ in site.store.keys("")]


def doomed(site: Site) -> list[str]:
    return site.archive._index.doomed(100)


@pytest.fixture
def study(site):
    """Two series of two instances each; paths of the study, its first series, and that one's instances."""
    study, series = new_uid(), [new_uid(), new_uid()]
    instances = {one: [new_uid(), new_uid()] for one in series}
    site.post_parts(
        *(a_ct(study=study, series=one, instance=each) for one in series for each in instances[one])
    )
    path = f"/studies/{study}"
    first = f"{path}/series/{series[0]}"
    return path, first, [f"{first}/instances/{each}" for each in instances[series[0]]]


@pytest.mark.parametrize(("level", "left"), [("study", 0), ("series", 2), ("instance", 3)])
def test_what_is_deleted_is_gone_with_all_that_is_in_it(site, study, level, left):
    path = {"study": study[0], "series": study[1], "instance": study[2][0]}[level]
    response = site.client.delete(ROOT + path)
    assert (response.status_code, response.content) == (204, b"")  # spec 17
    for below in ("", "/metadata"):
        assert site.get(path + below).status_code == 404  # spec 17: 404 afterwards; 7: not remembered
    assert len(keys(site)) == left
    assert (
        len(site.get("/instances?StudyInstanceUID=" + study[0].split("/")[2]).json() if left else []) == left
    )
    assert doomed(site) == []


def test_the_last_instance_takes_series_and_study_along(site, study):
    path, first, instances = study
    assert [delete(site, one) for one in instances] == [204, 204]
    assert site.get(first + "/metadata").status_code == 404
    assert site.get(path + "/metadata").status_code == 200
    assert delete(site, path) == 204
    assert site.get("/studies").status_code == 204


@pytest.mark.parametrize("level", [0, 1, 2])
def test_what_is_not_there_cannot_be_deleted(site, study, level):
    path = (study[0], study[1], study[2][0])[level]
    assert delete(site, path) == 204
    assert delete(site, path) == 404  # spec 17
    assert delete(site, "/studies/1.2.3/series/4/instances/5") == 404


def test_an_instance_is_not_deleted_under_another_study(site, study):
    other = new_uid()
    site.post(a_ct(study=other))
    assert delete(site, study[2][0].replace(study[0], f"/studies/{other}")) == 404  # spec 1
    assert len(keys(site)) == 5


@pytest.mark.parametrize("uid", ["1.2.a", "9" * 65, "..."])
def test_a_uid_that_is_none_deletes_nothing(site, study, uid):
    assert delete(site, f"/studies/{uid}") == 400
    assert len(keys(site)) == 4


def test_what_was_deleted_can_be_stored_again(site):
    file = a_ct(study="1.2.3", series="1.2.4", instance="1.2.5")
    for _ in range(2):
        assert site.post(file).status_code == 200
        assert delete(site, "/studies/1.2.3") == 204


def test_metadata_kept_from_before_are_not_served_after(site, study):
    path, _, instances = study
    assert len(site.get(path + "/metadata").json()) == 4
    delete(site, instances[0])
    assert len(site.get(path + "/metadata").json()) == 3


def test_an_object_that_cannot_be_deleted_now_waits_for_the_sweep(site, study, monkeypatch):
    # given: a store that does not delete
    def fail(*_):
        raise StoreUnavailable("down")

    with monkeypatch.context() as broken:
        broken.setattr(MemoryStore, "delete", fail)
        assert delete(site, study[0]) == 204  # the row decides
    # then
    assert site.get(study[0]).status_code == 404
    assert len(keys(site)) == 4
    assert sorted(doomed(site)) == sorted(keys(site))
    # when
    assert site.archive.sweep(older_than_s=DAY_S) == Swept(doomed=4)
    # then
    assert keys(site) == doomed(site) == []


def test_an_index_that_fails_after_the_rows_are_gone_changes_nothing(site, study, monkeypatch):
    def fail(*_):
        raise IndexUnavailable("down")

    with monkeypatch.context() as broken:
        broken.setattr(MemoryIndex, "clear", fail)
        assert delete(site, study[0]) == 204
    assert keys(site) == []
    assert site.archive.sweep(older_than_s=DAY_S).doomed == 4  # deleting again is success
    assert doomed(site) == []


def test_an_index_that_is_down_deletes_nothing(site, study, monkeypatch):
    def fail(*_, **__):
        raise IndexUnavailable("down")

    with monkeypatch.context() as broken:
        broken.setattr(MemoryIndex, "remove", fail)
        response = site.client.delete(ROOT + study[0])
    assert response.status_code == 503
    assert "retry-after" in response.headers
    assert len(site.get(study[0] + "/metadata").json()) == 4


def test_of_two_that_delete_one_is_first(site, study):
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(delete(site, study[0])), daemon=True)
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(statuses) == [204, 404, 404, 404]


# Sweeping


def age(site: Site, key: str, age_s: float) -> None:
    body, _ = site.store._objects[key]
    site.store._objects[key] = (body, time.time() - age_s)


def orphan(site: Site, number: int, age_s: float = 2 * DAY_S, name: str = "") -> str:
    key = name or f"studies/1.2/3.4/{number}.{UPLOAD}.dcm"
    site.store.keep(key, b"left behind")
    age(site, key, age_s)
    return key


def test_objects_that_never_had_a_row_are_swept_when_they_are_old(site, study):
    for key in keys(site):
        age(site, key, 2 * DAY_S)
    kept = keys(site)
    orphan(site, 1)
    young = orphan(site, 2, age_s=3600)
    assert site.archive.sweep(older_than_s=DAY_S) == Swept(orphans=1)
    assert sorted(keys(site)) == sorted([*kept, young])
    assert site.archive.sweep(older_than_s=1800) == Swept(orphans=1)
    assert len(site.get(study[0] + "/metadata").json()) == 4


def test_uploads_that_broke_off_are_swept(site):
    orphan(site, 0, name=".incoming/tmp1")
    orphan(site, 0, name=".incoming/tmp2", age_s=60)
    assert site.archive.sweep(older_than_s=DAY_S) == Swept(unfinished=1)
    assert keys(site) == [".incoming/tmp2"]


def test_what_is_none_of_ours_is_left_alone(site):
    names = [
        "studies/1/2/readme.txt",
        "lost+found/x",
        f"studies/1/2.{UPLOAD}.dcm",
        f"other/1/2/3.{UPLOAD}.dcm",
    ]
    for name in names:
        orphan(site, 0, name=name)
    assert site.archive.sweep(older_than_s=DAY_S) == Swept()
    assert keys(site) == names


def test_an_object_that_a_row_names_is_never_deleted(site, study):
    # given: a list of the doomed that contradicts the rows
    named = keys(site)
    for key in named:
        site.archive._index._doomed[key] = None
        age(site, key, 10 * DAY_S)
    # when, then
    assert site.archive.sweep(older_than_s=0) == Swept(failed=4)
    assert keys(site) == named


def test_an_object_that_gets_its_row_during_the_sweep_is_kept(site, study, monkeypatch):
    # given: an index that learns of the object between the first look and the second
    key = orphan(site, 1)
    looks: list[int] = []
    real = MemoryIndex.holds

    def holds(index, object_keys):
        looks.append(len(object_keys))
        return {key} if list(object_keys) == [key] else real(index, object_keys)

    monkeypatch.setattr(MemoryIndex, "holds", holds)
    assert site.archive.sweep(older_than_s=DAY_S).orphans == 0
    assert key in keys(site)
    assert looks[-1] == 1


def test_a_lost_index_does_not_empty_the_store(site):
    # given: many old objects and an index that knows none of them
    for number in range(50):
        orphan(site, number)
    assert site.archive.sweep(older_than_s=DAY_S) == Swept(spared=50)
    assert len(keys(site)) == 50
    assert site.archive.sweep(older_than_s=DAY_S, even_most=True) == Swept(orphans=50)
    assert keys(site) == []


def test_one_object_that_will_not_go_does_not_keep_the_others(site, study, monkeypatch):
    stubborn = orphan(site, 1)
    others = [orphan(site, number) for number in (2, 3)]
    real = MemoryStore.delete

    def some(store, key):
        if key == stubborn:
            raise StoreUnavailable("busy")
        real(store, key)

    monkeypatch.setattr(MemoryStore, "delete", some)
    assert site.archive.sweep(older_than_s=DAY_S) == Swept(orphans=2, failed=1)
    assert not set(others) & set(keys(site))


def test_a_list_longer_than_a_batch_is_drained_to_its_end(site):
    for number in range(1_200):
        site.archive._index._doomed[orphan(site, number)] = None
    assert site.archive.sweep(older_than_s=DAY_S) == Swept(doomed=1_200)
    assert keys(site) == doomed(site) == []


def test_the_command_says_what_it_did(tmp_path, monkeypatch, capsys):
    # given: an archive on files with one instance, one orphan, and one object whose row is gone
    settings = Settings(store=f"file://{tmp_path}/objects", index=f"sqlite://{tmp_path}/index.db")
    monkeypatch.setenv("ISTHMUS_STORE", settings.store)
    monkeypatch.setenv("ISTHMUS_INDEX", settings.index)
    archive = open_archive(settings)
    for study in ("1.1", "1.2"):
        intake = archive.intake()
        intake.begin()
        intake.write(memoryview(a_ct(study=study)))
        intake.end()
        intake.finish()
    gone = archive._index.remove(Resource("1.2"))
    archive.close()
    left_behind = tmp_path / f"objects/studies/1/2/3.{UPLOAD}.dcm"
    left_behind.parent.mkdir(parents=True)
    left_behind.write_bytes(b"x")
    os.utime(left_behind, (time.time() - 2 * DAY_S,) * 2)
    # when
    code = command.main(["sweep"])
    # then
    assert code == 0
    assert "1 deleted objects drained, 1 orphans, 0 unfinished." in capsys.readouterr().out
    assert not (tmp_path / "objects" / gone[0]).exists()
    assert not left_behind.exists()
    assert len(list((tmp_path / "objects/studies").rglob("*.dcm"))) == 1


@pytest.mark.parametrize("hours", ["-1", "x", "nan"])
def test_an_age_that_is_none_is_refused(hours, capsys):
    with pytest.raises(SystemExit):
        command.main(["sweep", "--older-than", hours])
    assert "no number of hours" in capsys.readouterr().err
