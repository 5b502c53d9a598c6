"""When an instance is sent: after its delay, when its study is quiet, and never twice at a time."""

from bridge.forwarding.entry import Entry, Route
from bridge.forwarding.queue import Queue


def an_entry(number: int, at: float, study: str = "1.1", **route: float) -> Entry:
    way = Route("dest", None, route.get("delay_s", 0.0), route.get("quiet_s", 0.0))
    return Entry(number, study, "1.2", f"1.3.{number}", at, way, kept=True)


def a_queue(*entries: Entry, gather_s: float = 0.0) -> Queue:
    queue = Queue(gather_s)
    for entry in entries:
        queue.add(entry, entry.came_at)
    return queue


def numbers(queue: Queue, now: float, most: int = 100) -> list[int]:
    batch = queue.take(now, most)
    return [] if batch is None else [entry.number for entry in batch.entries]


def test_a_study_is_gathered_for_a_moment():
    queue = a_queue(an_entry(1, 100.0), an_entry(2, 100.9), gather_s=1.0)

    assert queue.next_at() == 101.0
    assert numbers(queue, 100.99) == []
    assert numbers(queue, 101.0) == [1, 2]


def test_each_instance_has_its_delay():
    queue = a_queue(an_entry(1, 100.0, delay_s=10.0), an_entry(2, 105.0, delay_s=10.0))

    assert numbers(queue, 109.0) == []
    assert numbers(queue, 111.0) == [1]
    assert numbers(queue, 111.0) == []
    assert numbers(queue, 115.0) == [2]


def test_a_quiet_study_goes_as_a_whole():
    queue = a_queue(an_entry(1, 100.0, quiet_s=60.0), an_entry(2, 150.0, quiet_s=60.0))
    queue.add(an_entry(3, 205.0, quiet_s=60.0), 205.0)

    assert numbers(queue, 264.0) == []
    assert queue.next_at() == 265.0
    assert numbers(queue, 265.0) == [1, 2, 3]


def test_an_instance_that_comes_again_is_the_same_and_makes_its_study_loud():
    first = an_entry(1, 100.0, quiet_s=60.0)
    queue = a_queue(first)
    again = queue.find(first.route, "1.1", "1.2", "1.3.1")
    assert again is first
    queue.add(first, 130.0)

    assert len(queue) == 1
    assert queue.next_at() == 190.0


def test_studies_go_in_the_order_in_which_they_came():
    queue = a_queue(an_entry(1, 100.0, "1.1"), an_entry(2, 101.0, "2.2"), an_entry(3, 102.0, "1.1"))

    assert [numbers(queue, 200.0, most=1) for _ in range(3)] == [[1], [2], [3]]


def test_what_failed_waits_while_others_go():
    queue = a_queue(an_entry(1, 100.0, "1.1"), an_entry(2, 101.0, "2.2"))
    batch = queue.take(200.0, 10)
    assert batch is not None
    queue.give_back(batch, batch.entries, 300.0)

    assert numbers(queue, 200.0) == [2]
    assert numbers(queue, 299.0) == []
    assert numbers(queue, 300.0) == [1]


def test_what_came_again_while_it_was_sent_is_sent_again():
    first, again = an_entry(1, 100.0), an_entry(2, 110.0)
    again.instance = first.instance
    queue = a_queue(first)
    batch = queue.take(100.0, 10)
    assert batch is not None
    queue.add(again, 110.0)

    assert queue.give_back(batch, [first], 0.0) == [first]
    assert numbers(queue, 200.0) == [2]
    assert len(queue) == 1


def test_what_is_not_on_disk_is_not_sent():
    entry = an_entry(1, 100.0)
    entry.kept = False
    queue = a_queue(entry)

    assert queue.next_at() is None
    assert numbers(queue, 200.0) == []
    entry.kept = True
    queue.add(entry, 100.0)
    assert numbers(queue, 200.0) == [1]


def test_the_same_uid_in_two_series_is_two_instances():
    one, other = an_entry(1, 100.0), an_entry(2, 100.0)
    other.instance, other.series = one.instance, "9.9"

    assert numbers(a_queue(one, other), 200.0) == [1, 2]


def test_what_is_left_again_and_again_keeps_nothing_of_its_study_waiting():
    queue = a_queue(*(an_entry(number, 100.0) for number in (1, 2, 3, 4)))
    batch = queue.take(200.0, 2)
    assert batch is not None
    queue.give_back(batch, batch.entries, 0.0)

    assert numbers(queue, 200.0, most=2) == [3, 4]
    assert numbers(queue, 200.0, most=2) == [1, 2]


def test_a_clock_that_is_set_back_keeps_nothing_waiting_for_the_time_that_was():
    failed, last = an_entry(1, 1000.0), an_entry(2, 1000.0, "2.2", delay_s=10.0)
    queue = a_queue(failed, last)
    batch = queue.take(1000.0, 10)
    assert batch is not None
    queue.give_back(batch, batch.entries, 1005.0)

    assert numbers(queue, 100.0) == []
    assert numbers(queue, 105.0) == [1]
    assert numbers(queue, 110.0) == [2]
