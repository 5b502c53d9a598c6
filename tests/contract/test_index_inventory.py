"""What `reindex` and `check` ask: every index walks its rows, and knows what lost its row."""

from collections.abc import Callable

from service.dicom.record import InstanceRecord
from service.dicom.resource import Resource
from service.index.port import FullIndex, OnDuplicate

type Builder = Callable[..., InstanceRecord]


def entered(index: FullIndex, a_record: Builder, size: int) -> list[InstanceRecord]:
    records = [a_record(f"1.{number % 3 + 1}", instance=f"9.{number}") for number in range(size)]
    index.add(records, on_duplicate=OnDuplicate.REFUSE)
    return records


def test_all_rows_are_walked_page_by_page_in_their_order(index: FullIndex, a_record: Builder) -> None:
    records = entered(index, a_record, 10)

    after, walked = 0, []
    while page := index.walk(after, 4):
        assert len(page) <= 4
        after = page[-1].row
        walked += page

    assert sorted(held.row for held in walked) == [held.row for held in walked]
    assert {held.key for held in walked} == {record.key for record in records}
    located = [held for number in (1, 2, 3) for held in index.locate(Resource(f"1.{number}"))]
    assert sorted(located, key=lambda held: held.row) == walked


def test_an_empty_index_has_nothing_to_walk(index: FullIndex) -> None:
    assert index.walk(0, 100) == []


def test_rows_that_are_gone_are_passed_over(index: FullIndex, a_record: Builder) -> None:
    entered(index, a_record, 6)
    first = index.walk(0, 2)
    index.remove(Resource("1.1"))

    rest = index.walk(first[-1].row, 100)

    assert {held.key.study for held in rest} == {"1.2", "1.3"}


def test_what_lost_its_row_is_struck_until_it_is_cleared(index: FullIndex, a_record: Builder) -> None:
    records = entered(index, a_record, 6)
    keys = [record.object_key for record in records]

    gone = index.remove(Resource("1.1"))

    assert index.struck([*keys, "another"]) == set(gone)
    assert index.struck(gone[:1]) == set(gone[:1])
    assert index.struck([]) == set()
    index.clear(gone[:1])
    assert index.struck(keys) == set(gone[1:])
