"""What every object store does."""

import errno
import os
import threading
from pathlib import Path

import pytest

from service.dicom.errors import BadExtent, ObjectMissing, StoreUnavailable
from service.dicom.frames import Extent
from service.environment import SettingError
from service.store.local import LocalStore
from service.store.memory import MemoryStore
from service.store.open import open_store
from service.store.port import ObjectStore

KEY = "studies/1/2/3.a.dcm"


def keep(store: ObjectStore, key: str, *blocks: bytes) -> None:
    upload = store.begin()
    for block in blocks:
        upload.write(block)
    upload.commit(key)


class StoreContract:
    """Run for each store by a subclass with a `store` fixture."""

    def test_what_is_committed_can_be_read(self, store):
        keep(store, KEY, b"abc", b"", b"def")
        assert bytes(store.read(KEY, Extent(0, 6))) == b"abcdef"

    def test_a_read_is_exactly_the_extent(self, store):
        keep(store, KEY, b"abcdef")
        assert bytes(store.read(KEY, Extent(2, 3))) == b"cde"

    def test_nothing_is_there_before_the_commit(self, store):
        upload = store.begin()
        upload.write(b"abc")
        with pytest.raises(ObjectMissing):
            store.read(KEY, Extent(0, 3))
        upload.abort()

    def test_an_aborted_body_leaves_no_object(self, store):
        upload = store.begin()
        upload.write(b"abc")
        upload.abort()
        assert list(store.keys()) == []

    def test_abort_after_commit_keeps_the_object(self, store):
        upload = store.begin()
        upload.write(b"abc")
        upload.commit(KEY)
        upload.abort()
        assert bytes(store.read(KEY, Extent(0, 3))) == b"abc"

    def test_reading_past_the_end_is_refused(self, store):
        keep(store, KEY, b"abcdef")
        with pytest.raises(BadExtent):
            store.read(KEY, Extent(4, 9))

    def test_reading_what_is_not_there_is_refused(self, store):
        with pytest.raises(ObjectMissing):
            store.read(KEY, Extent(0, 1))

    def test_a_deleted_object_is_gone_and_may_be_deleted_again(self, store):
        keep(store, KEY, b"abc")
        store.delete(KEY)
        store.delete(KEY)
        with pytest.raises(ObjectMissing):
            store.read(KEY, Extent(0, 1))

    def test_keys_are_listed_by_prefix(self, store):
        for key in ("studies/1/2/a.dcm", "studies/1/3/b.dcm", "studies/11/2/c.dcm"):
            keep(store, key, b"x")
        assert sorted(key for key, _ in store.keys("studies/1/")) == [
            "studies/1/2/a.dcm",
            "studies/1/3/b.dcm",
        ]
        assert all(0 <= age < 60 for _, age in store.keys("studies"))

    def test_a_large_body_is_kept_whole(self, store):
        blocks = [bytes([number]) * (1 << 20) for number in range(12)]
        keep(store, KEY, *blocks)
        assert bytes(store.read(KEY, Extent(0, 1))) == b"\0"
        assert bytes(store.read(KEY, Extent((11 << 20) + 7, 3))) == b"\x0b\x0b\x0b"
        with pytest.raises(BadExtent):
            store.read(KEY, Extent(12 << 20, 1))

    def test_an_empty_body_is_an_object(self, store):
        keep(store, KEY)
        assert bytes(store.read(KEY, Extent(0, 0))) == b""

    def test_an_opening_tells_how_an_object_begins_and_how_long_it_is(self, store):
        keep(store, KEY, b"abcdef")
        for length, head in ((2, b"ab"), (6, b"abcdef"), (100, b"abcdef")):
            opening = store.opening(KEY, length)
            assert (bytes(opening.head), opening.size) == (head, 6)

    def test_an_opening_of_an_empty_object_is_empty(self, store):
        keep(store, KEY)
        opening = store.opening(KEY, 10)
        assert (bytes(opening.head), opening.size) == (b"", 0)

    def test_an_opening_of_what_is_not_there_is_refused(self, store):
        with pytest.raises(ObjectMissing):
            store.opening(KEY, 1)

    def test_a_digest_is_kept_whole_or_not_at_all(self, store):
        upload = store.begin()
        upload.write(b"abc")
        upload.commit(KEY, lambda: bytes(range(32)))
        assert store.opening(KEY, 1).digest in (None, bytes(range(32)))

    def test_nothing_is_under_a_name_before_the_commit(self, store):
        upload = store.begin()
        upload.name(KEY)
        for number in range(20):
            upload.write(bytes([number]) * (1 << 20))
        assert KEY not in [key for key, _ in store.keys("studies/")]
        with pytest.raises(ObjectMissing):
            store.read(KEY, Extent(0, 1))
        upload.commit(KEY)
        assert bytes(store.read(KEY, Extent(19 << 20, 2))) == b"\x13\x13"
        assert store.opening(KEY, 1).size == 20 << 20

    def test_a_named_body_may_be_dropped(self, store):
        upload = store.begin()
        upload.name(KEY)
        for _ in range(20):
            upload.write(bytes(1 << 20))
        upload.abort()
        assert list(store.keys()) == []

    @pytest.mark.parametrize("blocks", [0, 1, 20])
    def test_a_body_that_is_ready_is_committed_whole(self, store, blocks):
        upload = store.begin()
        for number in range(blocks):
            upload.write(bytes([number]) * (1 << 20))
        upload.ready(KEY)
        upload.commit(KEY)
        upload.abort()  # which does nothing any more
        opening = store.opening(KEY, 1)
        assert opening.size == blocks << 20
        for number in range(blocks):
            assert bytes(store.read(KEY, Extent((number << 20) + 5, 2))) == bytes([number]) * 2

    @pytest.mark.parametrize("blocks", [0, 1, 20])
    def test_a_body_that_is_ready_may_be_dropped(self, store, blocks):
        upload = store.begin()
        for _ in range(blocks):
            upload.write(bytes(1 << 20))
        upload.ready(KEY)
        upload.abort()
        assert list(store.keys()) == []

    def test_many_threads_may_write_at_once(self, store):
        keys = [f"studies/1/2/{number}.dcm" for number in range(32)]
        threads = [threading.Thread(target=keep, args=(store, key, key.encode())) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [bytes(store.read(key, Extent(0, len(key)))) for key in keys] == [key.encode() for key in keys]


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> ObjectStore:
        return MemoryStore()


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path) -> ObjectStore:
        return LocalStore(tmp_path / "objects")

    def test_objects_are_still_there_for_the_next_process(self, store, tmp_path):
        keep(store, KEY, b"abc")
        assert bytes(LocalStore(tmp_path / "objects").read(KEY, Extent(0, 3))) == b"abc"

    def test_a_folder_removed_behind_its_back_is_made_again(self, store, tmp_path):
        keep(store, KEY, b"abc")
        (tmp_path / "objects" / KEY).unlink()
        (tmp_path / "objects" / KEY).parent.rmdir()
        keep(store, "studies/1/2/4.b.dcm", b"def")
        assert bytes(store.read("studies/1/2/4.b.dcm", Extent(0, 3))) == b"def"

    def test_a_large_body_waits_outside_the_studies_and_leaves_nothing_when_dropped(self, store, tmp_path):
        upload = store.begin()
        upload.write(bytes(9 << 20))
        assert [path.parent.name for path in tmp_path.rglob("*") if path.is_file()] == [".incoming"]
        upload.abort()
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_bodies_together_keep_within_a_bound(self, tmp_path):
        store = LocalStore(tmp_path / "objects", keep_together=1000)
        uploads = [store.begin() for _ in range(4)]
        for upload in uploads:
            upload.write(bytes(400))
        waiting = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert len(waiting) == 2
        for number, upload in enumerate(uploads):
            upload.commit(f"studies/1/2/{number}.dcm")
        another = store.begin()
        another.write(bytes(900))
        assert len([path for path in tmp_path.rglob("*") if path.parent.name == ".incoming"]) == 0
        another.abort()

    def test_objects_are_for_their_owner_only(self, store, tmp_path):
        keep(store, KEY, b"abc")
        assert (tmp_path / "objects" / KEY).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("url", ["", "nonsense", "file://", "ftp://x"])
def test_an_unknown_store_names_the_setting(url):
    with pytest.raises(SettingError, match="ISTHMUS_STORE"):
        open_store(url)


def test_a_store_is_opened_by_its_url(tmp_path):
    assert isinstance(open_store("memory://"), MemoryStore)
    assert isinstance(open_store(f"file://{tmp_path}"), LocalStore)
    assert (tmp_path / ".incoming").is_dir()
    assert Path(tmp_path).is_dir()


@pytest.mark.parametrize("blocks", [1, 20])
def test_a_file_whose_closing_fails_is_closed_once_and_not_there(tmp_path, monkeypatch, blocks):
    store = LocalStore(tmp_path)
    upload = store.begin()
    for _ in range(blocks):
        upload.write(bytes(1 << 20))
    upload.ready(KEY)
    closed: list[int] = []
    close = os.close

    def failing(descriptor: int) -> None:
        close(descriptor)  # as Linux does, whatever it says
        closed.append(descriptor)
        if len(closed) == 1:
            raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "close", failing)
        with pytest.raises(StoreUnavailable):
            upload.commit(KEY)

    assert len(closed) == 1
    assert list(store.keys()) == []
