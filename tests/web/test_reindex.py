"""The index lost and made anew from the objects: every answer is as it was."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from service.archive.reindexing import Fate
from service.dicom.resource import Resource
from service.dicom.syntaxes import EXPLICIT_BE, IMPLICIT_LE
from service.index.port import OnDuplicate
from service.index.sqlite import SqliteIndex
from service.store.local import LocalStore
from service.store.memory import MemoryStore
from tests.disaster import answers, differing, fates, files_of, interfere, served, without_boundaries, wrong
from tests.making import a_ct, a_data_set, a_file, add_pixels, new_uid

JPEG_BASELINE, DEFLATED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.1.99"


def synthetic() -> list[bytes]:
    """Objects of several kinds; two studies have instances that differ in what they say of the study."""
    study, series = new_uid(), new_uid()
    codestreams = [b"\xff\xd8" + bytes([number]) * (100 + number) + b"\xff\xd9\0" for number in range(7)]
    encapsulated = add_pixels(a_data_set(), codestreams[:1], rows=8, columns=8, bits=8)
    encapsulated.NumberOfFrames = len(codestreams)
    large = [bytes([number]) * (2 << 20) for number in (1, 2)]
    wide = add_pixels(a_data_set(), large, rows=1024, columns=1024)
    return [
        a_ct(study=study, series=series, StudyDescription="first", SeriesDescription="one"),
        a_ct(study=study, series=series, StudyDescription="second", SeriesDescription="two"),
        a_ct(study=study, StudyDescription="third", PatientID="P3"),
        a_ct(syntax=IMPLICIT_LE),
        a_ct(syntax=EXPLICIT_BE),
        a_ct(syntax=DEFLATED),
        a_ct(frames=[bytes([number]) * 32 for number in range(5)]),
        a_file(encapsulated, JPEG_BASELINE, codestreams=codestreams),
        a_file(wide),
        a_file(a_data_set(TextValue="no picture")),
    ]


def filled(site, files) -> None:
    for number in range(0, len(files), 20):
        site.post_parts(*files[number : number + 20])


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "objects")


def test_every_answer_is_as_before(tmp_path, local):
    with served(local, SqliteIndex(tmp_path / "before.db")) as site:
        filled(site, synthetic())
        before = without_boundaries(answers(site))
    with served(local, SqliteIndex(tmp_path / "after.db")) as site:
        assert fates(site) == {Fate.ENTERED: 10}
        assert differing(before, without_boundaries(answers(site))) == []
        assert wrong(site) == []
    assert len(before) > 40


@pytest.mark.filterwarnings("ignore")  # pydicom's, about the files
def test_every_answer_about_the_real_files_is_as_before(tmp_path, local, real_data, manifest):
    index = SqliteIndex(tmp_path / "before.db")
    with served(local, index) as site:
        filled(site, [(real_data / row["path"]).read_bytes() for row in manifest])
        before = without_boundaries(answers(site))
    stored = len(files_of(tmp_path / "objects"))
    with served(local, SqliteIndex(tmp_path / "after.db")) as site:
        assert fates(site) == {Fate.ENTERED: stored}
        assert differing(before, without_boundaries(answers(site))) == []
        assert wrong(site) == []
    assert stored > 300


def test_doing_it_again_changes_nothing(local):
    with served(local) as site:
        filled(site, synthetic())
        tag = site.get("/studies?limit=1").headers.get("etag")
        before = without_boundaries(answers(site))
        assert fates(site) == {Fate.KNOWN: 10}
        assert without_boundaries(answers(site)) == before
        assert site.get("/studies?limit=1").headers.get("etag") == tag


def test_a_run_that_ended_early_is_gone_on_with(local):
    with served(local) as site:
        filled(site, synthetic())
        before = without_boundaries(answers(site))
    with served(local) as site:
        site.archive._limits = type(site.archive._limits)(32 << 20, 2, 16 << 20)
        list(itertools.islice(site.archive.reindex(threads=1), 5))
        entered = len(site.get("/instances").json())
        assert 0 < entered < 10
        assert fates(site) == {Fate.KNOWN: entered, Fate.ENTERED: 10 - entered}
        assert differing(before, without_boundaries(answers(site))) == []


@pytest.mark.parametrize(
    ("policy", "stays"), [(OnDuplicate.REFUSE, 0), (OnDuplicate.KEEP, 0), (OnDuplicate.REPLACE, 2)]
)
@pytest.mark.parametrize("backwards", [False, True])
def test_of_several_objects_of_one_instance_the_age_decides(local, monkeypatch, policy, stays, backwards):
    # given: three objects of one instance, the later ones left over by crashes
    uids: dict[str, Any] = {"study": new_uid(), "series": new_uid(), "instance": new_uid()}
    files = [a_ct(**uids, StudyDescription=text) for text in ("first", "second", "third")]
    for file in files:
        with served(local) as site:
            site.post(file)
    # when
    with served(local, on_duplicate=policy) as site:
        if backwards:  # whatever order the store lists them in
            real = local.keys
            monkeypatch.setattr(local, "keys", lambda prefix="": reversed(list(real(prefix))))
        counted = fates(site)
        path = f"/studies/{uids['study']}/series/{uids['series']}/instances/{uids['instance']}"
        # then
        assert site.get(path, "application/dicom; transfer-syntax=*").content == files[stays]
        assert len(site.archive._index.doomed(10)) == 2
        assert counted == (
            {Fate.ENTERED: 1, Fate.SECOND: 2} if policy is not OnDuplicate.REPLACE else {Fate.ENTERED: 3}
        )
        assert fates(site) == {Fate.KNOWN: 1, Fate.DELETED: 2}


@pytest.mark.parametrize("policy", list(OnDuplicate))
def test_a_young_object_that_may_be_about_to_get_its_row_is_left_alone(local, policy):
    uids: dict[str, Any] = {"study": new_uid(), "series": new_uid(), "instance": new_uid()}
    with served(local) as site:
        site.post(a_ct(**uids, StudyDescription="first"))
    with served(local, on_duplicate=policy) as site:
        site.post(a_ct(**uids, StudyDescription="second"))  # has the row, and is the later one
        assert fates(site) == {Fate.KNOWN: 1, Fate.SECOND: 1}
        assert site.archive._index.doomed(10) == []


def test_what_cannot_be_entered_is_said_and_the_rest_is(local, tmp_path):
    with served(local) as site:
        filled(site, synthetic()[:3])
    first, second, _ = files_of(tmp_path / "objects/studies")
    first.write_bytes(first.read_bytes()[:-9])
    other = tmp_path / "objects/studies/1.2/3/4.0192f0c0-1111-7111-8111-123456789abc.dcm"
    other.parent.mkdir(parents=True)
    other.write_bytes(second.read_bytes())
    (tmp_path / "objects/studies/readme.txt").write_text("x")
    with served(local) as site:
        told = {
            one.fate: one.reason for one in site.archive.reindex(threads=2) if one.fate.value != "entered"
        }
        assert told[Fate.FOREIGN] == ""
        assert (
            "another one than its name says" in told[Fate.UNREADABLE]
            or "ends inside" in told[Fate.UNREADABLE]
        )
        assert len(site.get("/instances").json()) == 2


def test_what_was_deleted_and_lies_there_still_does_not_come_back(local):
    with served(local) as site:
        filled(site, synthetic()[3:5])
        study = site.get("/studies").json()[0]["0020000D"]["Value"][0]
        site.archive._index.remove(Resource(study))  # a pod that was killed before it deleted the object
        assert fates(site) == {Fate.KNOWN: 1, Fate.DELETED: 1}
        assert site.get(f"/studies/{study}").status_code == 404


def test_what_is_deleted_while_it_is_read_does_not_come_back(local):
    """An object gets its row from its sender, is deleted, and is entered by us a moment later."""
    with served(local) as site:
        site.post(a_ct())
    with served(local) as site:
        interfere(site, local.delete, time=2)
        assert fates(site) == {Fate.GONE: 1}
        assert site.get("/studies").status_code == 204
        assert site.archive._index.doomed(10) == []


def test_an_object_whose_row_comes_while_it_is_read_keeps_it(local):
    with served(local) as site:
        site.post(a_ct())
    with served(local) as site, served(local, site.archive._index) as other:
        interfere(site, lambda _: fates(other))
        assert fates(site) == {Fate.KNOWN: 1}
        assert site.archive._index.doomed(10) == []
        assert len(site.get("/instances").json()) == 1


class Counting(MemoryStore):
    """Counts the bytes that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def read(self, key, extent):
        self.bytes += extent.length
        return super().read(key, extent)

    def opening(self, key, length):
        opening = super().opening(key, length)
        self.bytes += len(memoryview(opening.head))
        return opening


def test_of_an_object_whose_digest_was_kept_the_header_is_read():
    store = Counting()
    frames = [b"\xff\xd8" + bytes([number]) * (1 << 20) + b"\xff\xd9" for number in range(4)]
    encapsulated = add_pixels(a_data_set(), frames[:1], rows=8, columns=8, bits=8)
    encapsulated.NumberOfFrames = 4
    native = add_pixels(a_data_set(), [bytes(4 << 20)], rows=2048, columns=1024)
    native.add_new(0xFFFCFFFC, "OB", bytes(100))
    files = [a_file(native), a_file(encapsulated, JPEG_BASELINE, codestreams=frames)]
    with served(store) as site:
        filled(site, files)
        before = without_boundaries(answers(site))
        held = {one.digest for one in site.archive._index.walk(0, 10)}
    with served(store) as site:
        store.bytes = 0
        assert fates(site) == {Fate.ENTERED: 2}
        assert store.bytes < sum(map(len, files)) / 8
        assert {one.digest for one in site.archive._index.walk(0, 10)} == held
        assert differing(before, without_boundaries(answers(site))) == []
