"""The trail between those who do something and the sink that is told."""

import dataclasses
import random
import threading
import time

import pytest

from service.audit import codes
from service.audit.event import MOST_STUDIES, Participant
from service.audit.trail import Trail
from tests.audit_events import PATIENCE_S, Heard, an_event


def test_events_come_out_in_their_order():
    sink = Heard()
    trail = Trail(sink)

    for number in range(1000):
        trail.add(an_event(request=str(number)))

    trail.close(PATIENCE_S)
    assert [one.request for one in sink.events] == [str(number) for number in range(1000)]
    assert sink.closed


def test_a_sink_that_fails_is_tried_again_and_nothing_is_lost():
    sink = Heard(refusing=True)
    trail = Trail(sink)
    trail.add(an_event())
    for _ in range(2):
        assert sink.tried.acquire(timeout=PATIENCE_S)
    assert trail.load.failing

    sink.refusing = False

    trail.close(PATIENCE_S)
    assert len(sink.events) == 1
    assert not trail.load.failing


def test_what_a_failing_sink_does_not_take_before_the_end_is_said_to_be_lost(caplog):
    sink = Heard(refusing=True)
    trail = Trail(sink)
    trail.add(an_event())
    assert sink.tried.acquire(timeout=PATIENCE_S)

    trail.close(PATIENCE_S)

    assert "audit events=1 could not be written before the end" in caplog.text


def test_of_many_small_events_that_are_alike_the_first_is_told_at_once_and_the_others_become_one():
    sink = Heard()
    trail = Trail(sink, join_s=PATIENCE_S)
    one = an_event(joins=True, studies={"1.1": {"1.2.840.10008.5.1.4.1.1.2": 1}})

    for number in range(1, 501):
        trail.add(dataclasses.replace(one, request=f"abc.{number}"))

    trail.close(PATIENCE_S)
    first, others = sink.events
    assert first.studies == {"1.1": {"1.2.840.10008.5.1.4.1.1.2": 1}}
    assert (first.requests, first.request) == (1, "abc.1")
    assert others.studies == {"1.1": {"1.2.840.10008.5.1.4.1.1.2": 499}}
    assert (others.requests, others.request) == (499, "abc")


def test_requests_that_are_of_no_association_become_one_whatever_their_ids():
    sink = Heard()
    trail = Trail(sink, join_s=PATIENCE_S)
    one = an_event(joins=True, studies={"1.1": {}})

    for request in ("7873cbb3f280", "667bbebd3fb3", "a68f3fa2c367"):
        trail.add(dataclasses.replace(one, request=request))

    trail.close(PATIENCE_S)
    first, others = sink.events
    assert (first.requests, first.request) == (1, "7873cbb3f280")
    assert (others.requests, others.request) == (2, "667bbebd3fb3")


def test_who_did_something_is_written_before_others_like_it_are_waited_for():
    sink = Heard()
    trail = Trail(sink, join_s=300)

    trail.add(an_event(joins=True))

    assert sink.tried.acquire(timeout=PATIENCE_S)
    trail.close(PATIENCE_S)
    assert len(sink.events) == 1


def test_what_comes_while_a_sink_fails_does_not_have_it_tried_more_often():
    sink = Heard(refusing=True)
    trail = Trail(sink)
    trail.add(an_event())
    assert sink.tried.acquire(timeout=PATIENCE_S)

    tries = 0
    for _ in range(2_000):
        trail.add(an_event())
        threading.Event().wait(0.0001)
        tries += sink.tried.acquire(blocking=False)

    sink.refusing = False
    trail.close(PATIENCE_S)
    assert tries < 100
    assert len(sink.events) == 2_001


@pytest.mark.parametrize(
    "other",
    [
        {"outcome": codes.MINOR_FAILURE},
        {"participants": (Participant("somebody else", requestor=True),)},
        {"studies": {"1.2": {"": 1}}},
        {"what": codes.INSTANCES_ACCESSED},
        {"patients": ("P2",)},
        {"request": "def.1"},
        {"details": {"Transaction": "RetrieveFrames"}},
        {"joins": False},
    ],
    ids=str,
)
def test_events_that_differ_stay_apart(other):
    sink = Heard()
    trail = Trail(sink, join_s=PATIENCE_S)
    one = an_event(joins=True, studies={"1.1": {"": 1}}, request="abc.1")

    trail.add(one)
    trail.add(dataclasses.replace(one, **other))

    trail.close(PATIENCE_S)
    assert len(sink.events) == 2


def test_joined_events_do_not_wait_for_ever():
    sink = Heard()
    trail = Trail(sink, join_s=0.01)

    for _ in range(3):
        trail.add(an_event(joins=True))

    pause, ends = threading.Event(), time.monotonic() + PATIENCE_S
    while trail.load.waiting:
        assert time.monotonic() < ends
        pause.wait(0.001)
    trail.close(PATIENCE_S)
    assert sum(one.requests for one in sink.events) == 3


def test_joined_events_keep_no_places_of_their_own():
    trail = Trail(Heard(), join_s=PATIENCE_S, limit=10)
    taken = 0
    for number in range(1000):
        while not trail.reserve():
            threading.Event().wait(0.001)
        trail.put(an_event(joins=True, request=f"abc.{number}"))
        taken += 1
    trail.close(PATIENCE_S)
    assert taken == 1000


def test_an_event_about_very_many_studies_becomes_several():
    studies = {f"1.{number}": {"": 1} for number in range(3 * MOST_STUDIES)}
    parts = [*an_event(studies=studies).parts()]
    assert len(parts) == 3
    assert {study for part in parts for study in part.studies} == {*studies}


def test_threads_may_tell_at_once():
    sink = Heard()
    trail = Trail(sink, limit=100_000)

    def tell() -> None:
        for _ in range(500):
            assert trail.reserve()
            trail.put(an_event()) if random.random() < 0.9 else trail.release()

    threads = [threading.Thread(target=tell) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    load = trail.load
    told = load.waiting + load.written
    trail.close(PATIENCE_S)
    assert len(sink.events) == told
    assert trail.load.waiting == 0


def test_patients_are_looked_up_once_and_one_that_cannot_be_found_does_not_matter():
    sink, asked = Heard(), []

    def look(study: str) -> str | None:
        asked.append(study)
        if study == "1.9":
            raise LookupError
        return "P1"

    trail = Trail(sink, patient_of=look)
    for study in ("1.1", "1.1", "1.9"):
        trail.add(an_event(studies={study: {}}))
    trail.close(PATIENCE_S)

    assert [one.patients for one in sink.events] == [("P1",), ("P1",), ()]
    assert asked == ["1.1", "1.9"]


def test_an_event_that_cannot_be_written_at_all_holds_up_no_other(caplog):
    class Picky(Heard):
        def write(self, events):
            if any(one.request == "bad" for one in events):
                raise ValueError("Doe^Jane")
            super().write(events)

    sink = Picky()
    trail = Trail(sink)
    for name in ("1", "bad", "2"):
        trail.add(an_event(request=name))
    trail.close(PATIENCE_S)
    assert [one.request for one in sink.events] == ["1", "2"]


def test_no_event_is_taken_once_the_end_has_begun():
    trail = Trail(Heard())
    trail.close(PATIENCE_S)
    assert not trail.reserve()
