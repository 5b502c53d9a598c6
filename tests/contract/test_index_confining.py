"""What an index tells, takes and lets go of for somebody who is confined to certain studies or patients."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import orjson
import pytest

from service.dicom.confinement import Confinement
from service.dicom.query import Query
from service.dicom.record import InstanceRecord
from service.dicom.resource import Level, Resource
from service.index.port import FEWEST, Added, Answer, FullIndex, OnDuplicate

type Builder = Callable[..., InstanceRecord]

REFUSE, REPLACE, KEEP = OnDuplicate.REFUSE, OnDuplicate.REPLACE, OnDuplicate.KEEP
UIDS = {Level.STUDY: "0020000D", Level.SERIES: "0020000E", Level.INSTANCE: "00080018"}
NOBODY = Confinement(frozenset(), frozenset())
ANYBODY = Confinement()
# Studies by number; the last two are nobody's.
PATIENTS: dict[int, Any] = {
    1: "A", 2: "B", 3: "A", 4: "C", 5: "a", 6: ["D", "A"], 7: " A ", 8: "A B", 9: None, 10: ""
}  # fmt: skip


def to_patients(*patients: str) -> Confinement:
    return Confinement(patients=frozenset(patients))


def to_studies(*studies: str) -> Confinement:
    return Confinement(studies=frozenset(studies))


def a_study(a_record: Builder, number: int, patient: Any, size: int = 2, **more: Any) -> list[InstanceRecord]:
    study = f"1.{number}"
    day = f"202401{number:02}"
    return [
        a_record(study, f"{study}.{n % 2 + 1}", f"{study}.9.{n}", x00100020=patient, x00080020=day, **more)
        for n in range(size)
    ]


@pytest.fixture
def filled(index: FullIndex, a_record: Builder) -> FullIndex:
    """An index with a study of two series for each of `PATIENTS`."""
    for number, patient in PATIENTS.items():
        index.add(
            a_study(a_record, number, patient, x00100010=f"Doe^{number}", x00104000="note"),
            on_duplicate=REFUSE,
        )
    return index


def asked(level: Level, within: Confinement | None, *params: tuple[str, str], **scope: str) -> Query:
    return replace(Query.from_url(level, params, **scope), confinement=within)  # type: ignore[arg-type]


def uids(answer: Answer, level: Level = Level.STUDY) -> list[str]:
    parsed = [orjson.loads(one.replace(b"\0", b"").replace(b"\1", b"")) for one in answer.matches]
    return [match[UIDS[level]]["Value"][0] for match in parsed]


def numbers(answer: Answer) -> set[int]:
    return {int(uid.removeprefix("1.")) for uid in uids(answer)}


PERMITTED: list[tuple[Confinement | None, set[int]]] = [
    (None, set(PATIENTS)),
    (ANYBODY, set(PATIENTS)),
    (NOBODY, set()),
    (to_patients(), set()),
    (to_studies(), set()),
    (to_patients("A"), {1, 3, 7}),
    (to_patients(" A"), {1, 3, 7}),
    (to_patients("B", "C", "nobody"), {2, 4}),
    (to_patients("a"), {5}),
    (to_patients("D"), {6}),
    (to_patients("D\\A"), set()),
    (to_patients("*"), set()),
    (to_patients("A*", "%", "_", "?"), set()),
    (to_patients("", " ", "\0"), set()),
    (to_patients("A' OR 1=1 --", "\ud800", 'B"]', "B"), {2}),
    (to_studies("1.2", "1.9"), {2, 9}),
    (to_studies("1.2 ", "%", "1.*", "1"), set()),
    (Confinement(frozenset(["1.2"]), frozenset(["A"])), {1, 2, 3, 7}),
    (Confinement(frozenset(["1.10"]), frozenset()), {10}),
    (Confinement(frozenset(), frozenset(["C"])), {4}),
]


def test_a_search_finds_what_is_permitted_and_nothing_else(filled: FullIndex) -> None:
    for within, expected in PERMITTED:
        answer = filled.find(asked(Level.STUDY, within))

        assert numbers(answer) == expected
        assert (answer.total, answer.remaining) == (len(expected), 0)


SEARCHES: list[list[tuple[str, str]]] = [
    [],
    [("PatientName", "*oe*")],
    [("PatientName", "doe"), ("fuzzymatching", "true")],
    [("PatientID", "*")],
    [("PatientID", "A")],
    [("PatientID", "*A*")],
    [("StudyInstanceUID", "1.1,1.2,1.3,1.4")],
    [("StudyDate", "20240101-20240105")],
    [("StudyDate", "20240102-"), ("orderby", "-PatientID")],
    [("includefield", "all")],
    [("StudyInstanceUID", "1.1,1.2,1.3"), ("PatientComments", "note")],
    [("NumberOfStudyRelatedInstances", "2")],
    [("ModalitiesInStudy", '""'), ("emptyvaluematching", "true")],
]


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.INSTANCE])
def test_a_search_finds_of_what_there_is_what_is_permitted(filled: FullIndex, level: Level) -> None:
    fewer = 0
    for params in SEARCHES:
        everything = filled.find(asked(level, None, *params))
        for within in (
            to_patients("A", "C"),
            to_studies("1.2", "1.9"),
            Confinement(frozenset(["1.2"]), frozenset("A")),
        ):
            answer = filled.find(asked(level, within, *params))

            expected = [one for one in everything.matches if _is_permitted(one, within)]
            assert list(answer.matches) == expected, (params, within)
            assert (answer.total, answer.remaining) == (len(expected), 0)
            fewer += 0 < len(expected) < len(everything.matches)
    assert fewer > len(SEARCHES)


def _is_permitted(match: bytes, within: Confinement) -> bool:
    parsed = orjson.loads(match.replace(b"\0", b"").replace(b"\1", b""))
    patients = parsed.get("00100020", {}).get("Value") or [None]
    patient = str(patients[0]).strip() if patients[0] else None
    return within.permits(parsed[UIDS[Level.STUDY]]["Value"][0], patient)


SCOPES: list[tuple[Level, dict[str, str]]] = [
    (Level.SERIES, {"study": "1.2"}),
    (Level.INSTANCE, {"study": "1.2"}),
    (Level.INSTANCE, {"study": "1.2", "series": "1.2.1"}),
    (Level.STUDY, {"study": "1.2"}),
]


def test_a_study_that_is_not_permitted_holds_nothing_for_a_search(filled: FullIndex) -> None:
    for level, scope in SCOPES:
        for within in (to_patients("A"), to_studies("1.1"), NOBODY):
            nothing = filled.find(asked(level, None, study="1.99"))
            assert filled.find(asked(level, within, **scope)) == nothing
        for within in (to_patients("B"), to_studies("1.2"), ANYBODY):
            assert filled.find(asked(level, within, **scope)) == filled.find(asked(level, None, **scope))


@pytest.mark.parametrize("within", [to_patients("A"), Confinement(frozenset(["1.4"]), frozenset(["A"]))])
def test_pages_go_through_what_is_permitted(filled: FullIndex, within: Confinement) -> None:
    whole = uids(filled.find(asked(Level.STUDY, within)))

    for offset in range(len(whole) + 1):
        answer = filled.find(asked(Level.STUDY, within, ("limit", "1"), ("offset", str(offset))))
        assert uids(answer) == whole[offset : offset + 1]
        assert answer.total == len(whole)
        assert answer.remaining == max(len(whole) - offset - 1, 0)


def test_the_end_of_a_page_is_no_ones_but_whose_it_is(filled: FullIndex, a_record: Builder) -> None:
    first, second = ("limit", "1"), ("offset", "1")
    mine, others = to_patients("A"), to_studies("1.1", "1.2", "1.3", "1.4")
    whole = uids(filled.find(asked(Level.STUDY, others)))
    for within in (None, mine, NOBODY, to_patients("A", "B")):
        filled.find(asked(Level.STUDY, within, first))

    assert uids(filled.find(asked(Level.STUDY, others, first, second))) == whole[1:2]

    filled.find(asked(Level.STUDY, others, first))
    filled.add(a_study(a_record, 11, "A"), on_duplicate=REFUSE)
    assert uids(filled.find(asked(Level.STUDY, others, first, second))) == whole[1:2]
    # an equal confinement is the same, however it came about
    again = Confinement(frozenset(reversed(["1.1", "1.2", "1.3", "1.4"])))
    filled.add(a_study(a_record, 12, "A"), on_duplicate=REFUSE)
    assert uids(filled.find(asked(Level.STUDY, again, first, second))) == whole[1:2]


def test_thousands_may_be_permitted(filled: FullIndex) -> None:
    many = frozenset(f"P{number}" for number in range(20_000)) | {"B"}
    studies = frozenset(f"2.{number}" for number in range(20_000)) | {"1.1"}
    within = Confinement(studies, many)

    assert numbers(filled.find(asked(Level.STUDY, within, ("PatientName", "*oe*")))) == {1, 2}
    assert len(filled.locate(Resource("1.2"), within=within)) == 2
    assert filled.locate(Resource("1.3"), within=within) == []


RESOURCES = [Resource("1.2"), Resource("1.2", "1.2.1"), Resource("1.2", "1.2.1", "1.2.9.0")]


@pytest.mark.parametrize("resource", RESOURCES, ids=["study", "series", "instance"])
def test_a_resource_is_there_for_who_may_know_of_it(filled: FullIndex, resource: Resource) -> None:
    there = filled.documents(resource)
    assert there is not None

    for within, expected in (*PERMITTED, (to_studies("1.3", "1.2.1", "1.20"), {3})):
        permitted = 2 in expected
        held = filled.locate(resource, within=within)
        documents = filled.documents(resource, within=within)

        assert held == (filled.locate(resource) if permitted else [])
        assert documents is not None
        assert list(documents) == (list(there) if permitted else [])
        # who names the generation that there is learns no more
        again = filled.documents(resource, unless=there.generation, within=within)
        assert again is None if permitted else again is not None and again.count == 0


@pytest.mark.parametrize("resource", RESOURCES[:2], ids=["study", "series"])
def test_documents_that_are_ready_are_there_for_who_may_know_of_them(
    index: FullIndex, a_record: Builder, resource: Resource
) -> None:
    index.add(a_study(a_record, 2, "B", size=2 * FEWEST), on_duplicate=REFUSE)
    assert index.fold(Resource("1.2")) == 2
    there = index.documents(resource)
    assert there is not None and there.scattered == 0

    for within in (to_patients("A"), to_studies("1.1"), NOBODY):
        for unless in (None, there.generation):
            hidden = index.documents(resource, unless=unless, within=within)
            assert hidden is not None and hidden.count == 0
            assert list(hidden) == list(hidden.blocks()) == []
    for within in (to_patients("B"), to_studies("1.2"), ANYBODY):
        found = index.documents(resource, within=within)
        assert found is not None and found.generation == there.generation
        assert list(found.blocks()) == list(there.blocks())
        assert index.documents(resource, unless=there.generation, within=within) is None


def test_a_study_is_whose_its_first_instance_says_it_is(index: FullIndex, a_record: Builder) -> None:
    first = a_record("1.1", "1.1.1", "1.1.1.1", x00100020="A")
    second = a_record("1.1", "1.1.1", "1.1.1.2", x00100020="B", content=b"second")
    index.add([first], on_duplicate=REFUSE)
    index.add([second], on_duplicate=REFUSE)
    assert len(index.locate(Resource("1.1"), within=to_patients("A"))) == 2
    assert index.locate(Resource("1.1"), within=to_patients("B")) == []

    index.remove(Resource("1.1", "1.1.1", "1.1.1.1"))

    assert index.locate(Resource("1.1"), within=to_patients("A")) == []
    assert len(index.locate(Resource("1.1"), within=to_patients("B"))) == 1
    assert numbers(index.find(asked(Level.STUDY, to_patients("B")))) == {1}


@pytest.mark.parametrize("resource", RESOURCES, ids=["study", "series", "instance"])
def test_what_is_not_permitted_is_not_removed(filled: FullIndex, resource: Resource) -> None:
    everything = filled.locate(Resource("1.2"))

    for within in (to_patients("A"), to_studies("1.1"), NOBODY):
        assert filled.remove(resource, within=within) == []
    assert filled.locate(Resource("1.2")) == everything
    assert filled.doomed(10) == []

    removed = filled.remove(resource, within=to_patients("B"))
    assert removed and len(filled.locate(Resource("1.2"))) == len(everything) - len(removed)


@pytest.mark.parametrize("on_duplicate", OnDuplicate)
def test_a_study_that_may_not_be_known_of_takes_nothing(
    filled: FullIndex, a_record: Builder, on_duplicate: OnDuplicate
) -> None:
    before = filled.locate(Resource("1.2"))
    told = filled.find(asked(Level.STUDY, None, ("StudyInstanceUID", "1.2"), ("includefield", "all")))
    brought = [
        a_record("1.2", "1.2.1", "1.2.9.0", x00100020="A", upload="same"),
        a_record("1.2", "1.2.1", "1.2.9.0", x00100020="A", content=b"other"),
        a_record("1.2", "1.2.1", "1.2.9.7", x00100020="A", content=b"new"),
        a_record("1.2", "1.2.7", "1.2.7.1", x00100020="A", content=b"new series", x00080060="MR"),
    ]

    for within in (to_patients("A"), to_studies("1.1"), NOBODY):
        outcomes = filled.add(brought, on_duplicate=on_duplicate, within=within)
        assert [one.added for one in outcomes] == [Added.FORBIDDEN] * 4
        assert [one.doomed for one in outcomes] == [record.object_key for record in brought]

    assert filled.locate(Resource("1.2")) == before
    assert filled.find(
        asked(Level.STUDY, None, ("StudyInstanceUID", "1.2"), ("includefield", "all"))
    ) == told  # fmt: skip
    assert sorted(filled.doomed(10)) == sorted(record.object_key for record in brought)


def test_each_record_of_a_batch_is_taken_for_itself(filled: FullIndex, a_record: Builder) -> None:
    mine = a_record("1.1", "1.1.1", "1.1.9.7", x00100020="A", content=b"mine")
    there = a_record("1.1", "1.1.1", "1.1.9.0", x00100020="A", upload="again")
    hidden = a_record("1.2", "1.2.1", "1.2.9.0", x00100020="A", content=b"hidden")
    new = [a_record("1.50", "1.50.1", f"1.50.1.{n}", x00100020="A", content=b"%d" % n) for n in range(3)]
    batch = [hidden, mine, new[0], hidden, there, *new[1:]]

    outcomes = filled.add(batch, on_duplicate=REFUSE, within=to_patients("A"))

    forbidden, entered = Added.FORBIDDEN, Added.NEW
    expected = [forbidden, entered, entered, forbidden, Added.SAME, entered, entered]
    assert [one.added for one in outcomes] == expected
    assert len(filled.locate(Resource("1.50"), within=to_patients("A"))) == 3
    assert len(filled.locate(Resource("1.1"))) == 3
    assert len(filled.locate(Resource("1.2"))) == 2


def test_what_is_permitted_is_taken_as_from_anybody(filled: FullIndex, a_record: Builder) -> None:
    other = a_record("1.2", "1.2.1", "1.2.9.0", content=b"other", x00100020="B")

    for within in (to_patients("B"), to_studies("1.2")):
        (kept,) = filled.add([other], on_duplicate=KEEP, within=within)
        assert kept.added is Added.KEPT
    (replaced,) = filled.add([other], on_duplicate=REPLACE, within=to_patients("B"))
    assert replaced.added is Added.REPLACED


def test_who_comes_second_to_a_study_is_turned_away(index: FullIndex, a_record: Builder) -> None:
    """Two at once make one study, for different patients."""
    start = threading.Barrier(2)

    def store(patient: str, turn: int, within: Confinement | None) -> list[Added]:
        series = f"1.{turn}.{ord(patient)}"
        records = [
            a_record(f"1.{turn}", series, f"1.{turn}.9.{n}", x00100020=patient, content=patient.encode())
            for n in range(3)
        ]
        start.wait(60)
        return [one.added for one in index.add(records, on_duplicate=REFUSE, within=within)]

    with ThreadPoolExecutor(2) as threads:
        for turn in range(20):
            one = threads.submit(store, "A", turn, to_patients("A"))
            other = threads.submit(store, "B", turn, to_patients("B"))
            outcomes = [set(one.result(60)), set(other.result(60))]
            assert sorted(outcomes, key=str) == sorted([{Added.NEW}, {Added.FORBIDDEN}], key=str)
            assert len(index.locate(Resource(f"1.{turn}"))) == 3


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_permitted_is_what_is_told(index: FullIndex, a_record: Builder, seed: int) -> None:
    chosen = random.Random(seed)
    patients = ["A", "B", "C", "A B", "ä", None]
    owners = {number: chosen.choice(patients) for number in range(1, 13)}
    for number, patient in owners.items():
        index.add(a_study(a_record, number, patient, size=chosen.randint(1, 4)), on_duplicate=REFUSE)

    for _ in range(25):
        names = [one for one in patients if one is not None and chosen.random() < 0.4]
        studies = [f"1.{number}" for number in owners if chosen.random() < 0.2]
        within = Confinement(
            chosen.choice([None, frozenset(studies)]), chosen.choice([None, frozenset(names)])
        )
        permitted = {n for n, patient in owners.items() if within.permits(f"1.{n}", patient)}
        limit, offset = chosen.randint(1, 5), chosen.randint(0, 6)
        params = [("limit", str(limit)), ("offset", str(offset))]
        newest = sorted(permitted, reverse=True)

        answer = index.find(asked(Level.STUDY, within, *params))

        assert uids(answer) == [f"1.{number}" for number in newest[offset : offset + limit]]
        assert answer.total == len(permitted)
        for number in owners:
            assert bool(index.locate(Resource(f"1.{number}"), within=within)) is (number in permitted)
