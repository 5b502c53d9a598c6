"""What is kept of jobs, and which of their instances are confirmed."""

import json
from typing import Any

import pytest

from bridge.jobs.confirmed import Confirmed
from bridge.jobs.job import MOST_FAILURES, Failure, Job, Kind, State, resources_of
from service.dicom.errors import BadRequest
from service.dicom.resource import InstanceKey, Resource


def keys(count: int) -> list[InstanceKey]:
    return [InstanceKey("1.2", f"1.3.{number % 7}", f"1.4.{number}") for number in range(count)]


def through_a_file(record: Any) -> Any:
    return json.loads(json.dumps(record))


def test_a_job_is_what_its_record_says():
    job = Job(Kind.STORE, "pacs", (Resource("1.2"), Resource("1.2", "1.3", "1.4")))
    job.begin()
    job.counts.remaining = 3
    job.complete()
    job.complete(warning=True)
    job.fail(Failure("1.2", "1.3", "1.5", "It is gone."))
    job.cancelled.set()

    again = Job.of(job.name, through_a_file(job.record()))

    assert again.told() == job.told()
    assert again.told()["remaining"] == 0
    assert again.record() == job.record()


def test_a_job_that_begins_again_counts_anew():
    job = Job(Kind.STORE, "pacs", (Resource("1.2"),))
    for _ in range(2):
        job.begin()
        job.complete()

    assert (job.attempts, job.counts.completed) == (2, 1)


def test_failures_are_counted_beyond_those_that_are_told():
    job = Job(Kind.STORE, "pacs", (Resource("1.2"),))
    for key in keys(MOST_FAILURES + 5):
        job.fail(Failure.of(key, "It is gone."))

    assert job.counts.failed == MOST_FAILURES + 5
    assert len(job.told()["failures"]) == MOST_FAILURES


@pytest.mark.parametrize(
    "damage",
    [
        {"format": 2},
        {"kind": "move"},
        {"state": "happy"},
        {"resources": [{"study": "x"}]},
        {"resources": None},
        {"counts": [1, 2]},
        {"failures": [{"patient": "x"}]},
        {"confirmed": {"of": "x"}},
        {"confirmed": {"of": "x", "bits": "?"}},
        {"created_at": "yesterday"},
    ],
    ids=str,
)
def test_a_damaged_record_is_none(damage: dict[str, Any]):
    record = Job(Kind.RETRIEVE, "pacs", (Resource("1.2"),)).record() | damage

    with pytest.raises(ValueError, match="no record"):
        Job.of("x", record)


@pytest.mark.parametrize("count", [0, 1, 8, 9, 1000])
def test_what_is_confirmed_stays_confirmed_for_the_same_instances(count: int):
    confirmed, every = Confirmed(), keys(count)
    assert confirmed.plan(every) == frozenset()
    done = every[::3]
    for key in done:
        confirmed.add(key)

    again = Confirmed.of(through_a_file(confirmed.record()))

    assert again.plan(reversed(every)) == frozenset(done)


def test_other_instances_than_before_begin_anew():
    confirmed = Confirmed()
    confirmed.plan(keys(10))
    confirmed.add(keys(10)[0])

    assert Confirmed.of(confirmed.record()).plan(keys(11)) == frozenset()


def test_states_that_are_over():
    assert [state for state in State if state.over] == [State.DONE, State.FAILED, State.CANCELLED]


def test_resources_are_read_in_two_forms_each_once():
    given = [{"study": "1.2"}, "/studies/1.2", "studies/1.2/series/1.3/", {"study": "1.2", "series": "1.3"}]

    assert resources_of(given) == (Resource("1.2"), Resource("1.2", "1.3"))
    with pytest.raises(BadRequest, match=r"resources\[1\]"):
        resources_of(["/studies/1.2", "/patients/1"])
