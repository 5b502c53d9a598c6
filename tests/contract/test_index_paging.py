"""Pages: what follows what, in which order, and what they cost, while others store and remove."""

import fcntl
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apsw
import orjson
import pytest

from service.dicom.errors import BadRequest, IndexUnavailable
from service.dicom.query import Query
from service.dicom.record import InstanceRecord
from service.dicom.resource import Level, Resource
from service.index.answers import page as written_page
from service.index.bookmarks import Bookmarks
from service.index.port import FullIndex, OnDuplicate
from service.index.sqlite import SqliteIndex

type Builder = Callable[..., InstanceRecord]

REFUSE = OnDuplicate.REFUSE
UIDS = {Level.STUDY: "0020000D", Level.SERIES: "0020000E", Level.INSTANCE: "00080018"}


def a_study(a_record: Builder, number: int, **more: object) -> InstanceRecord:
    """A study of the day `number`: the higher, the nearer to the front."""
    return a_record(f"1.{number:03}", x00080020=f"2024{1 + number // 28:02}{1 + number % 28:02}", **more)


def uids(index: FullIndex, *params: tuple[str, str], level: Level = Level.STUDY) -> list[str]:
    matches = index.find(Query.from_url(level, params)).matches
    parsed = [orjson.loads(match.replace(b"\0", b"").replace(b"\1", b"")) for match in matches]
    return [match[UIDS[level]]["Value"][0] for match in parsed]


def page(index: FullIndex, offset: int, limit: int = 3) -> list[int]:
    params = (("limit", str(limit)), ("offset", str(offset)))
    return [int(uid.removeprefix("1.")) for uid in uids(index, *params)]


@pytest.fixture
def ten(index: FullIndex, a_record: Builder) -> FullIndex:
    """The studies 1.010 to 1.019, the last of them the newest."""
    index.add([a_study(a_record, number) for number in range(10, 20)], on_duplicate=REFUSE)
    return index


def test_what_is_stored_before_the_next_page_shifts_nothing(ten: FullIndex, a_record: Builder) -> None:
    assert page(ten, 0) == [19, 18, 17]
    ten.add([a_study(a_record, 30), a_study(a_record, 31)], on_duplicate=REFUSE)

    assert page(ten, 3) == [16, 15, 14]
    assert page(ten, 6) == [13, 12, 11]
    assert page(ten, 9) == [10]
    assert page(ten, 10) == []
    assert page(ten, 0) == [31, 30, 19]


def test_what_is_removed_before_the_next_page_hides_nothing(ten: FullIndex) -> None:
    assert page(ten, 0) == [19, 18, 17]
    for number in (19, 17):  # the last of the page too
        ten.remove(Resource(f"1.{number:03}"))

    assert page(ten, 3) == [16, 15, 14]


def test_what_is_left_is_counted_from_where_the_page_is(ten: FullIndex, a_record: Builder) -> None:
    ten.find(Query(level=Level.STUDY, limit=3))
    ten.add([a_study(a_record, number) for number in (1, 30, 31)], on_duplicate=REFUSE)

    answer = ten.find(Query(level=Level.STUDY, limit=3, offset=3))

    assert (answer.remaining, answer.at_least, answer.total) == (5, False, 13)


def test_a_page_whose_predecessor_nobody_asked_for_is_counted_out(ten: FullIndex) -> None:
    assert page(ten, 4) == [15, 14, 13]


def test_a_page_may_leave_some_out_and_is_asked_for_twice(ten: FullIndex) -> None:
    assert page(ten, 0) == [19, 18, 17]
    assert page(ten, 5, 2) == [14, 13]
    assert page(ten, 5, 2) == [14, 13]
    assert page(ten, 4, 2) == [15, 14]


def test_pages_of_another_search_are_no_predecessors(ten: FullIndex, a_record: Builder) -> None:
    assert page(ten, 0) == [19, 18, 17]
    ten.add([a_study(a_record, 30)], on_duplicate=REFUSE)

    assert uids(ten, ("limit", "1"), ("offset", "3"), ("StudyDate", "2024")) == ["1.017"]
    assert uids(ten, ("limit", "1"), ("offset", "3"), ("includefield", "all")) == ["1.016"]


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.INSTANCE])
@pytest.mark.parametrize(
    "order", ["", "PatientName", "-PatientName,StudyDate", "-StudyID", "StudyInstanceUID"]
)
def test_pages_together_are_everything_once(
    index: FullIndex, a_record: Builder, level: Level, order: str
) -> None:
    people = ["Doe^A", None, "Doe^B", "doe^a", None]
    records = [
        a_record(
            f"1.{n % 7}", f"1.{n % 7}.{n % 3}", f"1.{n % 7}.{n % 3}.{n}",
            x00100010=people[n % 5], x00080020=[None, "20240101"][n % 2], x00200011=[1, None, 2][n % 3],
        )
        for n in range(60)
    ]  # fmt: skip
    index.add(records, on_duplicate=REFUSE)
    asked = [("orderby", order)]
    everything = uids(index, *asked, level=level)

    paged: list[str] = []
    while found := uids(index, *asked, ("limit", "4"), ("offset", str(len(paged))), level=level):
        paged += found

    assert paged == everything
    assert len(set(paged)) == len(paged)


def test_a_page_ends_before_it_is_too_large(ten: FullIndex) -> None:
    whole = ten.find(Query(level=Level.STUDY))
    size = len(whole.matches[0])
    query = Query(level=Level.STUDY, most_bytes=3 * size + 1)

    first = ten.find(query)
    second = ten.find(replace(query, offset=len(first.matches)))

    assert list(first.matches) == list(whole.matches[:3])
    assert (first.remaining, first.total) == (7, 10)
    assert list(second.matches) == list(whole.matches[3:6])
    assert len(ten.find(replace(query, most_bytes=1)).matches) == 1


def test_of_very_many_matches_the_least_number_is_told() -> None:
    told = [
        written_page([b"{}"], [], behind, total)
        for behind, total in ((None, None), (10_001, 10_002), (10_000, 10_001), (9_999, 10_000))
    ]

    assert [(a.remaining, a.at_least, a.total) for a in told] == [
        (10_001, True, None), (10_001, True, None), (10_000, False, None), (9_999, False, 10_000),
    ]  # fmt: skip


# -- order ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("PatientName", "bcad"),  # case and accents do not count; without a name last
        ("-PatientName", "acbd"),
        ("SeriesNumber", "cbda"),  # by value, not by text
        ("-SeriesNumber,PatientID", "dbca"),
        ("PatientID,-StudyDate", "acbd"),
        ("-NumberOfSeriesRelatedInstances", "dabc"),
        ("StudyInstanceUID", "abcd"),
        ("-StudyInstanceUID", "dcba"),
        ("+StudyInstanceUID", "abcd"),
        ("", "adbc"),
        ("StudyDate,,-StudyDate", "bcad"),
    ],
)
def test_matches_are_in_the_order_asked_for(
    index: FullIndex, a_record: Builder, order: str, expected: str
) -> None:
    rows = [
        ("1.1", "20240103", "Müller^A", None, "P1"), ("1.2", "20240101", "doe^A", 9, "P2"),
        ("1.3", "20240101", "Doe^B", 2, "P1"), ("1.4", None, None, 10, "P3"),
    ]  # fmt: skip
    records = [
        a_record(uid, x00080020=day, x00100010=name, x00200011=number, x00100020=person)
        for uid, day, name, number, person in rows
    ]
    more = [a_record("1.4", instance=f"1.4.1.{n}", x00200011=10, x00100020="P3") for n in range(2, 4)]
    index.add([*records, *more], on_duplicate=REFUSE)
    if order == "":
        expected = "abcd"

    found = uids(index, ("orderby", order), level=Level.SERIES)

    assert "".join("abcd"[int(uid.split(".")[1]) - 1] for uid in found) == expected


@pytest.mark.parametrize(
    ("level", "order", "told"),
    [
        (Level.STUDY, "nonsense", "nonsense"),
        (Level.STUDY, "PatientName,ModalitiesInStudy", "ModalitiesInStudy"),
        (Level.STUDY, "-SeriesNumber", "SeriesNumber"),
        (Level.SERIES, "InstanceNumber", "InstanceNumber"),
        (Level.INSTANCE, "RequestAttributesSequence.ScheduledProcedureStepID", "ScheduledProcedureStepID"),
        (Level.INSTANCE, "SliceThickness", "SliceThickness"),
        (Level.STUDY, "Geheim^Patient", "something"),
    ],
)
def test_what_cannot_be_ordered_by_is_named(index: FullIndex, level: Level, order: str, told: str) -> None:
    with pytest.raises(BadRequest, match=told) as raised:
        index.find(Query.from_url(level, [("orderby", order)]))

    assert "Geheim" not in str(raised.value)


# -- bookmarks --------------------------------------------------------------------------------------


def test_a_bookmark_is_forgotten_in_time() -> None:
    clock = [0.0]
    bookmarks = Bookmarks(lifetime_s=300, clock=lambda: clock[0])
    query = Query(level=Level.STUDY, limit=10)
    bookmarks.keep(query, 10, ("1.1",))

    clock[0] = 299
    found = bookmarks.before(replace(query, offset=12))
    clock[0] = 301

    assert found is not None
    assert (found.place, found.skip) == (("1.1",), 2)
    assert bookmarks.before(replace(query, offset=12)) is None
    assert bookmarks.before(query) is None


def test_nothing_of_what_is_too_old_stays_in_memory() -> None:
    clock = [0.0]
    bookmarks = Bookmarks(lifetime_s=300, clock=lambda: clock[0])
    mine, yours = Query(level=Level.STUDY, study="1.1"), Query(level=Level.STUDY, study="1.2")
    for offset in (0, 10):
        bookmarks.keep(replace(mine, offset=offset), 10, ("Doe^Jane",))
        clock[0] += 200

    bookmarks.keep(yours, 10, ("Doe^John",))

    kept = [sorted(pages) for pages in bookmarks._searches.values()]
    assert kept == [[20], [10]]
    clock[0] = 1000
    bookmarks.keep(yours, 10, ("Doe^John",))
    assert [sorted(pages) for pages in bookmarks._searches.values()] == [[10]]


def test_bookmarks_are_bounded() -> None:
    bookmarks = Bookmarks()
    for number in range(2000):
        bookmarks.keep(Query(level=Level.STUDY, study=f"1.{number}"), 10, (str(number),))
        bookmarks.keep(Query(level=Level.STUDY, offset=number), 10, (str(number),))

    assert len(bookmarks._searches) <= 512
    assert max(map(len, bookmarks._searches.values())) <= 64
    assert bookmarks.before(Query(level=Level.STUDY, offset=2009)) is not None


# -- the cost of a page, and the turn to write ------------------------------------------------------


def test_a_page_that_follows_another_reads_nothing_of_what_came_before(
    tmp_path: Path, a_record: Builder
) -> None:
    index = SqliteIndex(tmp_path / "index.db")
    index.add([a_study(a_record, n, x00200011=1) for n in range(300)], on_duplicate=REFUSE)
    with index._links.lent() as link:
        connection = link.connection  # the only one, given back for the searches to use

    first = _steps(index, connection, 0)
    far = _steps(index, connection, 280)
    following = _steps(index, connection, 290)
    index.close()

    assert following < 1.5 * first
    assert following < far / 2


def _steps(index: SqliteIndex, connection: apsw.Connection, offset: int) -> int:
    """How many steps SQLite's machine makes for a page of ten series."""
    taken = 0

    def count() -> bool:
        nonlocal taken
        taken += 1
        return False

    connection.set_progress_handler(count, 10)
    index.find(Query(level=Level.SERIES, limit=10, offset=offset))
    connection.set_progress_handler(None)
    return taken


def test_a_writer_that_never_gets_its_turn_says_so(tmp_path: Path, a_record: Builder) -> None:
    path = tmp_path / "index.db"
    index = SqliteIndex(path, turn_wait_s=0.05)
    other = os.open(path.with_name("index.db.lock"), os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    before = {*threading.enumerate()}

    for number in range(3):
        with pytest.raises(IndexUnavailable, match="writing to the index"):
            index.add([a_record(f"1.{number}")], on_duplicate=REFUSE)
    waiting = [one for one in threading.enumerate() if one.name == "write turn" and one not in before]
    fcntl.flock(other, fcntl.LOCK_UN)
    for thread in waiting:
        thread.join(60)

    assert len(waiting) == 1
    assert page(index, 0) == []
    assert index.add([a_record("1.7")], on_duplicate=REFUSE)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody kept it
    os.close(other)
    index.close()


def test_a_writer_waits_for_its_turn(tmp_path: Path, a_record: Builder) -> None:
    path = tmp_path / "index.db"
    index = SqliteIndex(path)
    other = os.open(path.with_name("index.db.lock"), os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    done = threading.Event()

    def write() -> None:
        index.add([a_record("1.1")], on_duplicate=REFUSE)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert not done.wait(0.05)
    os.close(other)  # as when its process dies

    writer.join(60)
    assert done.is_set()
    assert page(index, 0) == [1]
    index.close()
