"""Ready-made documents of series: the same as from the rows, never of other instances than there are."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from urllib.parse import quote

import apsw
import psycopg
import pytest

from service.dicom.errors import IndexUnavailable
from service.dicom.record import InstanceRecord
from service.dicom.resource import Resource
from service.index import bundles, memory, snapshots
from service.index.port import FEWEST, Bundle, Documents, FullIndex, OnDuplicate
from service.index.postgres import PostgresIndex
from service.index.sqlite import SqliteIndex
from tests.databases import asked

type Builder = Callable[..., InstanceRecord]

REFUSE, REPLACE = OnDuplicate.REFUSE, OnDuplicate.REPLACE
SERIES = Resource("1.1", "1.1.1")
RLE = "1.2.840.10008.1.2.5"


def a_series(
    a_record: Builder, series: str = "1.1.1", size: int = FEWEST, **given: str
) -> list[InstanceRecord]:
    return [a_record("1.1", series, f"{series}.{n}", x00200013=size - n, **given) for n in range(size)]


def documents_of(index: FullIndex, resource: Resource = SERIES) -> Documents:
    documents = index.documents(resource)
    assert documents is not None
    return documents


def filled(index: FullIndex, a_record: Builder) -> FullIndex:
    index.add(a_series(a_record), on_duplicate=REFUSE)
    return index


@pytest.fixture
def ready(index: FullIndex, a_record: Builder) -> FullIndex:
    """An index with one series, of which there is a bundle."""
    filled(index, a_record)
    assert index.fold(SERIES) == 1
    return index


def bundle_of(index: FullIndex) -> Bundle:
    bundle = index.read(SERIES)
    assert bundle is not None
    return bundle


def is_ready(index: FullIndex, resource: Resource = SERIES) -> bool:
    return documents_of(index, resource).scattered == 0


def in_blocks(documents: Documents) -> bytes:
    return b",".join(text.replace(b"\1", told.encode()) for text, told in documents.blocks())


def one_by_one(documents: Documents) -> bytes:
    return b",".join(document.replace(b"\1", told.encode()) for document, told in documents)


@pytest.mark.parametrize("block", [1, 1500, 1 << 20])
def test_ready_made_documents_are_those_of_the_rows(
    index: FullIndex, a_record: Builder, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "_BLOCK", block)
    records = a_series(a_record, x00100010="Müller^Ä=山田")
    records += [a_record("1.1", "1.1.1", f"1.1.1.9{n}", syntax=RLE, x00200013=n) for n in range(7)]
    index.add(records, on_duplicate=REFUSE)
    rows = documents_of(index)

    assert index.fold(SERIES) == 1

    made = documents_of(index)
    assert (rows.scattered, made.scattered) == (len(records), 0)
    assert (made.generation, made.count) == (rows.generation, rows.count)
    assert list(made) == list(made) == list(rows)
    assert in_blocks(made) == in_blocks(rows) == one_by_one(rows) == in_blocks(made)
    assert len({told for _, told in made}) == 2


def test_a_study_takes_of_each_series_what_is_ready_in_their_order(
    index: FullIndex, a_record: Builder
) -> None:
    sizes = (("1.1.1", 3, FEWEST), ("1.1.2", 1, 2), ("1.1.3", 2, FEWEST + 1), ("1.1.4", 4, 1))
    for series, number, size in sizes:
        index.add(
            [a_record("1.1", series, f"{series}.{n}", x00200011=number, x00200013=n) for n in range(size)],
            on_duplicate=REFUSE,
        )
    rows = documents_of(index, Resource("1.1"))

    assert index.fold(Resource("1.1")) == 2

    made = documents_of(index, Resource("1.1"))
    assert (rows.scattered, made.scattered) == (FEWEST + 1, 2)
    assert (made.generation, made.count) == (rows.generation, rows.count)
    assert list(made) == list(rows)
    assert list(made.blocks()) == list(rows.blocks())
    assert in_blocks(made) == one_by_one(rows)
    assert index.documents(Resource("1.1"), unless=rows.generation) is None


def test_one_instance_is_read_from_its_row(ready: FullIndex) -> None:
    assert documents_of(ready, Resource("1.1", "1.1.1", "1.1.1.3")).count == 1


def test_few_instances_are_not_worth_it(index: FullIndex, a_record: Builder) -> None:
    index.add(a_series(a_record, size=FEWEST - 1), on_duplicate=REFUSE)

    assert index.fold(Resource("1.1")) == 0
    assert index.fold(Resource("1.9")) == 0
    assert index.read(SERIES) is None


def test_what_is_ready_is_not_made_again(ready: FullIndex) -> None:
    assert ready.fold(SERIES) == ready.fold(Resource("1.1")) == 0


def test_who_has_the_generation_is_sent_nothing(ready: FullIndex) -> None:
    assert ready.documents(SERIES, unless=documents_of(ready).generation) is None


def test_another_instance_puts_it_out_of_date_at_once(ready: FullIndex, a_record: Builder) -> None:
    ready.add([a_record("1.1", "1.1.1", "1.1.1.100")], on_duplicate=REFUSE)

    documents = documents_of(ready)
    assert (documents.count, documents.scattered) == (FEWEST + 1, FEWEST + 1)
    assert (ready.fold(SERIES), is_ready(ready)) == (1, True)
    assert list(documents_of(ready)) == list(documents)


def test_what_is_removed_stands_in_no_bundle(ready: FullIndex) -> None:
    ready.remove(Resource("1.1", "1.1.1", "1.1.1.3"))

    assert ready.read(SERIES) is None
    assert documents_of(ready).count == FEWEST - 1


def test_what_is_replaced_stands_in_no_bundle(ready: FullIndex, a_record: Builder) -> None:
    other = a_record("1.1", "1.1.1", "1.1.1.3", content=b"other", x00081030="corrected")
    ready.add([other], on_duplicate=REPLACE)

    assert ready.read(SERIES) is None
    assert other.json in [document for document, _ in documents_of(ready)]


def test_a_series_that_is_stored_again_has_none(ready: FullIndex, a_record: Builder) -> None:
    before = ready.read(SERIES)
    ready.remove(Resource("1.1"))
    filled(ready, a_record)

    assert before is not None
    assert ready.read(SERIES) is None
    assert ready.keep(SERIES, before) is False


def test_a_bundle_of_instances_that_changed_meanwhile_is_not_kept(
    index: FullIndex, a_record: Builder
) -> None:
    made = bundles.pack_bundle(documents_of(filled(index, a_record)))
    index.add([a_record("1.1", "1.1.1", "1.1.1.100")], on_duplicate=REFUSE)

    assert index.keep(SERIES, made) is False
    assert index.keep(Resource("1.9", "1.9.1"), made) is False
    assert index.read(SERIES) is None


def test_a_kept_bundle_is_read_as_it_is(index: FullIndex, a_record: Builder) -> None:
    made = bundles.pack_bundle(documents_of(filled(index, a_record)))

    assert index.keep(SERIES, made) is True
    assert index.read(SERIES) == made
    assert index.keep(SERIES, made) is True


def test_very_long_documents_stay_with_their_rows(
    index: FullIndex, a_record: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "MOST_BYTES", 3000)
    filled(index, a_record)

    index.fold(SERIES)

    assert index.read(SERIES) == Bundle(documents_of(index).generation, b"")
    assert index.fold(SERIES) == 0
    assert documents_of(index).scattered == FEWEST


def test_documents_that_are_too_long_as_they_are_kept_are_not_read(
    index: FullIndex, a_record: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "MOST_BYTES", 3000)
    monkeypatch.setattr(snapshots, "_WORTH_IT", snapshots._WORTH_IT.replace(str(64 << 20), "3000"))
    noise = [random.Random(n).randbytes(400).hex() for n in range(FEWEST)]
    index.add(
        [a_record("1.1", "1.1.1", f"1.1.1.{n}", x00104000=noise[n]) for n in range(FEWEST)],
        on_duplicate=REFUSE,
    )

    assert index.unready(SERIES) == []
    assert index.fold(Resource("1.1")) == 0
    assert index.read(SERIES) is None


def test_answers_are_never_of_other_instances_than_their_generation_tells(
    index: FullIndex, a_record: Builder
) -> None:
    start = Barrier(4)
    seen: dict[str, bytes] = {}

    def change(number: int) -> None:
        chance = random.Random(number)
        start.wait(60)
        for turn in range(12):
            own = f"1.1.1.{number}.{chance.randrange(4)}"
            record = a_record("1.1", "1.1.1", own, content=f"{number} {turn}".encode(), x00081030=f"{turn}")
            if chance.random() < 0.7:
                index.add([record], on_duplicate=REPLACE)
            else:
                index.remove(Resource("1.1", "1.1.1", own))

    def fold(_: int) -> None:
        start.wait(60)
        for _ in range(30):
            index.fold(Resource("1.1"))
            for resource in (SERIES, Resource("1.1")):
                documents = documents_of(index, resource)
                assert documents.count == int(documents.generation.split("-")[0]) == len(list(documents))
                assert seen.setdefault(documents.generation, in_blocks(documents)) == in_blocks(documents)

    filled(index, a_record)
    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(change, 1), threads.submit(change, 2), threads.submit(fold, 3)]
        running.append(threads.submit(fold, 4))
        for one in running:
            one.result(200)

    rows = [record for record, _ in documents_of(index)]
    index.fold(SERIES)
    assert is_ready(index)
    assert [record for record, _ in documents_of(index)] == rows


# -- of databases -------------------------------------------------------------------------------------


def test_pods_share_what_one_of_them_made_ready(pods: list[PostgresIndex], a_record: Builder) -> None:
    filled(pods[0], a_record)
    pods[1].fold(SERIES)

    assert is_ready(pods[0])
    assert pods[0].fold(SERIES) == 0


def test_a_bundle_in_a_form_that_is_not_known_is_passed_over(
    pod: PostgresIndex, postgres_url: str, tmp_path: Path, a_record: Builder
) -> None:
    local = SqliteIndex(tmp_path / "index.db")
    change = "UPDATE bundle SET form = 99 WHERE series > 0 RETURNING 1"
    for index in (pod, local):
        filled(index, a_record).fold(SERIES)
    asked(postgres_url, change)
    apsw.Connection(str(tmp_path / "index.db")).execute(change).fetchall()

    for index in (pod, local):
        for resource in (SERIES, Resource("1.1")):
            assert documents_of(index, resource).scattered == FEWEST
        assert (index.fold(SERIES), is_ready(index)) == (1, True)
    local.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-20],
        lambda content: content[:3],
        lambda content: content[:40] + b"\xff" + content[41:],
        lambda content: content[:-5] + b"\0" + content[-4:],
        lambda content: bytes(len(content)),
    ],
)
def test_a_damaged_bundle_is_passed_over_and_made_anew(
    pod: PostgresIndex,
    postgres_url: str,
    tmp_path: Path,
    a_record: Builder,
    damage: Callable[[bytes], bytes],
) -> None:
    local = SqliteIndex(tmp_path / "index.db")
    for index in (pod, local):
        filled(index, a_record).fold(SERIES)
    made = bundle_of(local).content
    with psycopg.connect(postgres_url) as other:
        other.execute("UPDATE bundle SET content = %s", (damage(made),))
    apsw.Connection(str(tmp_path / "index.db")).execute("UPDATE bundle SET content = ?", (damage(made),))

    for index in (pod, local):
        for resource in (SERIES, Resource("1.1")):
            documents = documents_of(index, resource)
            assert (documents.scattered, len(list(documents))) == (FEWEST, FEWEST)
            assert index.unready(resource) == [SERIES]
        assert (index.fold(SERIES), is_ready(index)) == (1, True)
    local.close()


def test_programs_that_know_no_bundles_drop_them_with_instances(
    pod: PostgresIndex, postgres_url: str, tmp_path: Path, a_record: Builder
) -> None:
    local = SqliteIndex(tmp_path / "index.db")
    for index in (pod, local):
        filled(index, a_record).fold(SERIES)

    delete = "DELETE FROM instance WHERE instance_uid = '1.1.1.3' RETURNING 1"
    asked(postgres_url, delete)
    apsw.Connection(str(tmp_path / "index.db")).execute(delete).fetchall()

    for index in (pod, local):
        assert index.read(SERIES) is None
        assert documents_of(index).count == FEWEST - 1
    local.close()


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
def test_nothing_is_kept_behind_the_back_of_one_who_removes(
    postgres_url: str, a_record: Builder, isolation: str
) -> None:
    """Also where the database does not isolate transactions as it usually does."""
    option = quote(f" -c default_transaction_isolation={isolation.replace(' ', chr(92) + ' ')}")
    pod = PostgresIndex(postgres_url + option)
    made = bundles.pack_bundle(documents_of(filled(pod, a_record)))
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%KEY SHARE OF e%'"

    def keep() -> bool:
        try:
            return pod.keep(SERIES, made)
        except IndexUnavailable:  # it does not wait for long
            return False

    with ThreadPoolExecutor(1) as threads, psycopg.connect(postgres_url) as other:
        other.execute("SELECT id FROM series FOR UPDATE")
        other.execute("DELETE FROM instance WHERE instance_uid = '1.1.1.3'")
        keeping = threads.submit(keep)
        while not keeping.done() and not asked(postgres_url, waits):
            pass
        other.commit()

        assert keeping.result(30) is False
    assert pod.read(SERIES) is None
    pod.close()


def test_who_adds_does_not_wait_for_one_who_keeps(
    pod: PostgresIndex, postgres_url: str, a_record: Builder
) -> None:
    filled(pod, a_record).fold(SERIES)
    with psycopg.connect(postgres_url) as keeping:
        keeping.execute("SELECT id FROM series FOR KEY SHARE")
        keeping.execute("UPDATE bundle SET form = form")

        pod.add([a_record("1.1", "1.1.1", "1.1.1.100")], on_duplicate=REFUSE)

        assert documents_of(pod).count == FEWEST + 1
