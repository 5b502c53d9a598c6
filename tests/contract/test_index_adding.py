"""Entering, finding again and forgetting instances: what every index does."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import orjson
import pytest

from service.dicom.errors import NotFound, Superseded
from service.dicom.frames import Extent
from service.dicom.query import Query
from service.dicom.record import InstanceRecord, syntax_and_pixels
from service.dicom.resource import InstanceKey, Level, Resource
from service.index.port import Added, FullIndex, OnDuplicate, Outcome

type Builder = Callable[..., InstanceRecord]

REFUSE, KEEP, REPLACE = OnDuplicate.REFUSE, OnDuplicate.KEEP, OnDuplicate.REPLACE


def add(index: FullIndex, records: Iterable[InstanceRecord], policy: OnDuplicate = REFUSE) -> list[Outcome]:
    return index.add(list(records), on_duplicate=policy)


def count(index: FullIndex, level: Level = Level.STUDY) -> int:
    return len(index.find(Query.from_url(level, [])).matches)


def study(index: FullIndex, uid: str = "1.1") -> dict[str, object]:
    (match,) = index.find(Query.from_url(Level.STUDY, [("StudyInstanceUID", uid), ("00080062", "")])).matches
    parsed: dict[str, dict[str, object]] = orjson.loads(match.replace(b"\x00", b""))
    return {tag: element.get("Value") for tag, element in parsed.items()}


def test_what_was_added_is_located_with_all_its_facts(index: FullIndex, a_record: Builder) -> None:
    record = replace(a_record(frames=[700, 800, 1000], x00200013=7), data_offset=340, head_fits=False)

    outcomes = add(index, [record])

    assert outcomes == [Outcome(Added.NEW)]
    (held,) = index.locate(Resource(record.key.study, record.key.series, record.key.instance))
    assert held.row > 0
    assert (held.key, held.sop_class, held.syntax) == (record.key, record.sop_class, record.syntax)
    assert (held.object_key, held.place, held.size) == (record.object_key, record.place, record.size)
    assert (held.digest, held.shape, held.pixels) == (record.digest, record.shape, record.pixels)
    assert (held.data_offset, held.head_fits) == (340, False)


def test_an_instance_without_pixels_has_neither_shape_nor_place(index: FullIndex, a_record: Builder) -> None:
    record = replace(a_record(), shape=None, pixels=None)
    add(index, [record])

    (held,) = index.locate(Resource("1.1"))

    assert (held.shape, held.pixels) == (None, None)


def test_nothing_is_located_where_nothing_is(index: FullIndex, a_record: Builder) -> None:
    add(index, [a_record("1.1", "1.1.1", "1.1.1.1"), a_record("1.2", "1.2.1", "1.2.1.1")])

    assert index.locate(Resource("1.3")) == []
    assert index.locate(Resource("1.1", "1.2.1")) == []  # a series of another study
    assert index.locate(Resource("1.1", "1.1.1", "1.2.1.1")) == []


def test_instances_come_by_series_number_and_instance_number(index: FullIndex, a_record: Builder) -> None:
    given = [
        ("1.1.9", "1.9.1", None, 1),
        ("1.1.2", "1.2.2", 2, 10),
        ("1.1.2", "1.2.1", 2, 9),
        ("1.1.1", "1.1.3", 10, None),
        ("1.1.1", "1.1.2", 10, "1A"),
        ("1.1.1", "1.1.4", 10, 3),
        ("1.1.3", "1.3.1", 2, 1),
    ]
    add(index, [a_record("1.1", s, i, x00200011=number, x00200013=n) for s, i, number, n in given])

    located = [held.key.instance for held in index.locate(Resource("1.1"))]
    documents = index.documents(Resource("1.1"))

    assert located == ["1.2.1", "1.2.2", "1.3.1", "1.1.4", "1.1.2", "1.1.3", "1.9.1"]
    assert documents is not None
    named = [orjson.loads(json.replace(b"\x00", b"").replace(b"\x01", b"")) for json, _ in documents]
    assert [name["00080018"]["Value"][0] for name in named] == located


def test_the_same_content_again_changes_nothing(index: FullIndex, a_record: Builder) -> None:
    add(index, [a_record(upload="a")])
    row = index.locate(Resource("1.1"))[0].row

    for policy in OnDuplicate:
        again = a_record(upload=f"again-{policy.value}")
        assert add(index, [again], policy) == [Outcome(Added.SAME, again.object_key)]

    assert [held.row for held in index.locate(Resource("1.1"))] == [row]
    assert len(index.doomed(10)) == 3


@pytest.mark.parametrize("policy", [REFUSE, KEEP])
def test_other_content_stays_out(index: FullIndex, a_record: Builder, policy: OnDuplicate) -> None:
    first, second = a_record(content=b"first"), a_record(content=b"second")
    add(index, [first])

    outcomes = add(index, [second], policy)

    assert outcomes == [Outcome(Added.KEPT, second.object_key)]
    assert [held.object_key for held in index.locate(Resource("1.1"))] == [first.object_key]
    assert index.doomed(10) == [second.object_key]


def test_other_content_takes_the_place_if_told_so(index: FullIndex, a_record: Builder) -> None:
    first = a_record(content=b"first", x00100010="Wrong^Name", frames=[1, 2, 3])
    second = a_record(content=b"second", x00100010="Right^Name", syntax="1.2.840.10008.1.2.4.90")
    add(index, [first])
    (before,) = index.locate(Resource("1.1"))

    outcomes = add(index, [second], REPLACE)

    (after,) = index.locate(Resource("1.1"))
    assert outcomes == [Outcome(Added.REPLACED, first.object_key)]
    assert (after.object_key, after.syntax) == (second.object_key, second.syntax)
    assert after.row > before.row
    assert index.doomed(10) == [first.object_key]
    assert study(index)["00100010"] == [{"Alphabetic": "Right^Name"}]
    assert study(index)["00201208"] == [1]
    with pytest.raises(NotFound):
        index.frames(before, [1])


def test_one_batch_may_hold_a_key_twice(index: FullIndex, a_record: Builder) -> None:
    first, same, other = a_record(upload="a"), a_record(upload="b"), a_record(content=b"other")

    outcomes = add(index, [first, same, other])

    assert [outcome.added for outcome in outcomes] == [Added.NEW, Added.SAME, Added.KEPT]
    assert index.holds([first.object_key, same.object_key, other.object_key]) == {first.object_key}
    assert set(index.doomed(10)) == {same.object_key, other.object_key}


def test_one_batch_may_replace_what_it_entered(index: FullIndex, a_record: Builder) -> None:
    contents = [a_record(content=content) for content in (b"a", b"b", b"c")]

    outcomes = add(index, contents, REPLACE)

    assert [outcome.added for outcome in outcomes] == [Added.NEW, Added.REPLACED, Added.REPLACED]
    assert [held.object_key for held in index.locate(Resource("1.1"))] == [contents[2].object_key]
    assert study(index)["00201208"] == [1]


def test_an_object_entered_again_is_not_doomed(index: FullIndex, a_record: Builder) -> None:
    record = a_record()
    add(index, [record])

    assert add(index, [record]) == [Outcome(Added.SAME)]
    assert index.doomed(10) == []

    index.remove(Resource("1.1"))
    assert index.doomed(10) == [record.object_key]
    add(index, [record])
    assert index.doomed(10) == []


def test_counts_follow_what_comes_and_goes(index: FullIndex, a_record: Builder) -> None:
    add(
        index,
        [a_record("1.1", "1.1.1", f"1.1.1.{n}", x00080060="CT") for n in range(3)]
        + [a_record("1.1", "1.1.2", "1.1.2.1", x00080060="SR", sop_class="1.2.3")],
    )
    full = study(index)

    index.remove(Resource("1.1", "1.1.1", "1.1.1.2"))
    less = study(index)
    index.remove(Resource("1.1", "1.1.2"))
    least = study(index)

    tags = ("00201206", "00201208", "00080061", "00080062")
    assert [full[tag] for tag in tags] == [[2], [4], ["CT", "SR"], ["1.2.3", "1.2.840.10008.5.1.4.1.1.2"]]
    assert [less[tag] for tag in tags] == [[2], [3], ["CT", "SR"], ["1.2.3", "1.2.840.10008.5.1.4.1.1.2"]]
    assert [least[tag] for tag in tags] == [[1], [2], ["CT"], ["1.2.840.10008.5.1.4.1.1.2"]]


def test_removal_takes_the_empty_parents_too(index: FullIndex, a_record: Builder) -> None:
    records = [a_record("1.1", "1.1.1", "1.1.1.1"), a_record("1.1", "1.1.2", "1.1.2.1"), a_record("1.2")]
    add(index, records)

    assert index.remove(Resource("1.1", "1.1.1", "1.1.1.1")) == [records[0].object_key]
    assert count(index, Level.SERIES) == 2
    assert index.remove(Resource("1.1")) == [records[1].object_key]
    assert index.remove(Resource("1.1")) == []

    assert (count(index), count(index, Level.SERIES), count(index, Level.INSTANCE)) == (1, 1, 1)
    assert index.doomed(10) == [records[0].object_key, records[1].object_key]


def test_a_study_is_described_by_what_is_left_of_it(index: FullIndex, a_record: Builder) -> None:
    add(
        index,
        [
            a_record("1.1", "1.1.1", "1.1.1.1", x00100010="First^A", x0008103E="one", x00200011=1),
            a_record(
                *("1.1", "1.1.1", "1.1.1.2"),
                x00100010="Second^B",
                x0008103E="two",
                x00200011=2,
                x00400275=[{"00401001": "P2"}],
                x00180050="0.10",
            ),
        ],
    )

    index.remove(Resource("1.1", "1.1.1", "1.1.1.1"))

    def found(level: Level, name: str, value: str) -> int:
        return len(index.find(Query.from_url(level, [(name, value)])).matches)

    assert study(index)["00100010"] == [{"Alphabetic": "Second^B"}]
    assert found(Level.STUDY, "PatientName", "second*") == 1
    assert found(Level.STUDY, "PatientName", "first*") == 0
    assert found(Level.SERIES, "SeriesDescription", "two") == 1
    assert found(Level.SERIES, "RequestAttributesSequence.RequestedProcedureID", "P2") == 1


def test_clearing_strikes_off_the_doomed(index: FullIndex, a_record: Builder) -> None:
    records = [a_record(f"1.{n}") for n in range(1, 5)]
    add(index, records)
    for record in records:
        index.remove(Resource(record.key.study))
    keys = [record.object_key for record in records]

    assert index.doomed(2) == keys[:2]
    index.clear([keys[0], keys[2], "unknown"])

    assert index.doomed(10) == [keys[1], keys[3]]
    assert index.holds(keys) == set()


def test_findings_stay_with_their_instance(index: FullIndex, a_record: Builder) -> None:
    odd = a_record("1.1", findings=("StudyDate is no date.", "Odd length."))
    plain = a_record("1.2")
    add(index, [odd, plain])

    assert index.findings(odd.key) == ("StudyDate is no date.", "Odd length.")
    assert index.findings(plain.key) == ()
    with pytest.raises(NotFound):
        index.findings(InstanceKey("1.1", "1.1.1", "9"))


def test_the_index_says_that_it_is_ready(index: FullIndex) -> None:
    index.ready()


# -- documents --------------------------------------------------------------------------------------


def test_documents_come_back_byte_for_byte(index: FullIndex, a_record: Builder) -> None:
    records = [
        a_record("1.1", f"1.1.{s}", f"1.1.{s}.{n}", x00200011=s, x00200013=n, x00100010="Müller^Ä=山田")
        for s in (1, 2)
        for n in (1, 2, 3)
    ]
    add(index, records)

    for resource, chosen in (
        (Resource("1.1"), records),
        (Resource("1.1", "1.1.2"), records[3:]),
        (Resource("1.1", "1.1.2", "1.1.2.2"), [records[4]]),
        (Resource("1.9"), []),
    ):
        documents = index.documents(resource)
        assert documents is not None
        assert documents.count == len(chosen)
        assert list(documents) == [
            (record.json, syntax_and_pixels(record.syntax, record.shape, record.pixels)) for record in chosen
        ]
        assert list(documents) == list(documents)


def test_documents_outlive_the_first_instance_of_their_series(index: FullIndex, a_record: Builder) -> None:
    records = [a_record("1.1", "1.1.1", f"1.1.1.{n}", x00200013=n) for n in range(1, 4)]
    add(index, records)
    index.remove(Resource("1.1", "1.1.1", "1.1.1.1"))
    add(index, [a_record("1.1", "1.1.1", "1.1.1.1", x00200013=1, x00081030="later")])

    documents = index.documents(Resource("1.1"))

    assert documents is not None
    assert [json for json, _ in documents][1:] == [record.json for record in records[1:]]


def test_another_index_has_other_generations(
    index: FullIndex, other_index: FullIndex, a_record: Builder
) -> None:
    found = []
    for one in (index, other_index):
        add(one, [a_record("1.1", content=b"of " + str(id(one)).encode())])
        found.append(one.documents(Resource("1.1")))

    first, other = found
    assert first is not None and other is not None
    assert first.generation != other.generation


def test_a_generation_changes_with_every_change_of_its_resource(index: FullIndex, a_record: Builder) -> None:
    def generation(resource: Resource) -> str:
        documents = index.documents(resource)
        assert documents is not None
        return documents.generation

    whole, series = Resource("1.1"), Resource("1.1", "1.1.1")
    seen = [generation(whole)]
    add(index, [a_record("1.1", "1.1.1", "1.1.1.1"), a_record("1.1", "1.1.1", "1.1.1.2")])
    seen.append(generation(whole))
    before = generation(series)
    add(index, [a_record("1.1", "1.1.2", "1.1.2.1")])
    seen.append(generation(whole))
    assert generation(series) == before
    index.remove(Resource("1.1", "1.1.1", "1.1.1.2"))
    seen.append(generation(whole))
    add(index, [a_record("1.1", "1.1.1", "1.1.1.2")])
    seen.append(generation(whole))
    add(index, [a_record("1.1", "1.1.1", "1.1.1.2", content=b"other")], REPLACE)
    seen.append(generation(whole))

    assert len(set(seen)) == len(seen)
    assert index.documents(whole, unless=seen[-1]) is None
    assert index.documents(whole, unless=seen[-2]) is not None
    add(index, [a_record("1.1", "1.1.1", "1.1.1.2", content=b"other", upload="again")])
    assert generation(whole) == seen[-1]


# -- frames -----------------------------------------------------------------------------------------


def test_frames_come_in_the_order_asked(index: FullIndex, a_record: Builder) -> None:
    offsets = [1000 + 8 * n * n for n in range(2001)]
    add(index, [a_record("1.1", frames=offsets), a_record("1.2"), a_record("1.3", frames=[5, 9])])
    (held,) = index.locate(Resource("1.1"))

    numbers = [2000, 1, 480, 481, 482, 1, 960, 961]

    assert index.frames(held, numbers) == [
        Extent(offsets[n - 1], offsets[n] - offsets[n - 1]) for n in numbers
    ]
    assert index.frames(index.locate(Resource("1.3"))[0], [1]) == [Extent(5, 4)]
    assert index.frames(held, []) == []


@pytest.mark.parametrize("number", [0, -1, 3, 1 << 40])
def test_a_frame_past_the_end_is_not_found(index: FullIndex, a_record: Builder, number: int) -> None:
    add(index, [a_record(frames=[10, 20, 30])])

    with pytest.raises(NotFound):
        index.frames(index.locate(Resource("1.1"))[0], [1, number])


def test_native_pixels_have_no_frame_table(index: FullIndex, a_record: Builder) -> None:
    add(index, [a_record()])

    assert index.frames(index.locate(Resource("1.1"))[0], [1]) is None


def test_frames_of_a_removed_instance_are_found_to_be_gone(index: FullIndex, a_record: Builder) -> None:
    add(index, [a_record(frames=[10, 20, 30])])
    (held,) = index.locate(Resource("1.1"))
    index.remove(Resource("1.1"))
    add(index, [a_record(frames=[11, 21, 31])])

    with pytest.raises(Superseded):
        index.frames(held, [1])
