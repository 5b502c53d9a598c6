"""The workshop: bounded, never making the same thing twice at once, letting go of what nobody waits for."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from functools import partial

import numpy as np
import pytest

from service.dicom.errors import Busy, Undecodable
from service.dicom.syntaxes import ENCAPSULATED_UNCOMPRESSED, EXPLICIT_LE
from service.pixels.frame import Frame
from service.pixels.transcode import transcode
from service.pixels.workshop import Workshop, require_wanted
from tests.codestreams import grey, native

PATIENCE_S = 60


def frame(size: int = 10) -> Frame:
    return Frame(bytes(size), EXPLICIT_LE, grey(8).shape)


class Gate:
    """Work that says that it has begun and waits to be let through."""

    def __init__(self, made: Frame | None = None) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()
        self.count = 0
        self._made = made or frame()

    def __call__(self) -> Frame:
        self.count += 1
        self.begun.set()
        assert self.open.wait(PATIENCE_S)
        return self._made


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    made = Workshop(threads=1, queue=1, cache_bytes=1000)
    yield made
    made.close()


def test_what_was_made_is_kept(workshop):
    gate = Gate()
    gate.open.set()

    first = workshop.make("key", gate, timeout_s=PATIENCE_S)
    second = workshop.make("key", gate, timeout_s=PATIENCE_S)

    assert first is second
    assert gate.count == 1
    assert (workshop.load().hits, workshop.load().misses, workshop.load().kept_bytes) == (1, 1, 10)


def test_who_would_not_wait_has_what_is_kept_or_nothing(workshop):
    assert workshop.kept("key") is None
    made = workshop.make("key", frame, timeout_s=PATIENCE_S)

    assert workshop.kept("key") is made
    assert (workshop.load().hits, workshop.load().misses) == (1, 1)


def test_what_lies_on_the_shelf_is_counted():
    workshop = Workshop(threads=1, queue=0, cache_bytes=1000, shelf_bytes=100)
    workshop.make("key", frame, timeout_s=PATIENCE_S)

    workshop.shelf.keep("another", "value", 20)

    assert (workshop.load().kept, workshop.load().kept_bytes) == (2, 30)
    workshop.close()


def test_threads_that_wait_are_all_let_through():
    workshop = Workshop(threads=3, queue=0, cache_bytes=0)
    for _ in range(50):  # by then each of them has waited
        gates = [Gate(), Gate(), Gate()]
        futures = [workshop.submit(number, gate) for number, gate in enumerate(gates)]
        assert all(gate.begun.wait(PATIENCE_S) for gate in gates)
        for gate in gates:
            gate.open.set()
        assert all(future.result(PATIENCE_S) for future in futures)
    workshop.close()


def test_those_who_ask_for_the_same_at_once_share_one_making(workshop):
    gate = Gate()
    futures = [workshop.submit("key", gate) for _ in range(20)]
    assert gate.begun.wait(PATIENCE_S)
    futures += [workshop.submit("key", gate) for _ in range(20)]

    gate.open.set()

    assert len({id(future.result(PATIENCE_S)) for future in futures}) == 1
    assert gate.count == 1


def test_a_full_queue_says_busy_at_once(workshop):
    running, queued = Gate(), Gate()
    first = workshop.submit("running", running)
    assert running.begun.wait(PATIENCE_S)
    second = workshop.submit("queued", queued)

    with pytest.raises(Busy):
        workshop.submit("one too many", frame)

    joined = workshop.submit("queued", queued)  # which takes no place of its own
    running.open.set()
    queued.open.set()
    assert first.result(PATIENCE_S) and second.result(PATIENCE_S) is joined.result(PATIENCE_S)


def test_without_a_queue_there_are_as_many_jobs_as_threads():
    workshop = Workshop(threads=2, queue=0, cache_bytes=0)
    gates = [Gate(), Gate()]
    futures = [workshop.submit(number, gate) for number, gate in enumerate(gates)]

    with pytest.raises(Busy):
        workshop.submit("another", frame)

    for gate in gates:
        gate.open.set()
    assert all(future.result(PATIENCE_S) for future in futures)
    workshop.close()


def test_what_nobody_waits_for_any_more_is_not_begun(workshop):
    running, abandoned = Gate(), Gate()
    first = workshop.submit("running", running)
    assert running.begun.wait(PATIENCE_S)
    waiting = [workshop.submit("abandoned", abandoned) for _ in range(2)]

    for future in waiting:
        assert future.cancel()

    assert workshop.load().queued == 0
    after = workshop.submit("after", frame)  # its place in the queue is free
    running.open.set()
    assert first.result(PATIENCE_S) and after.result(PATIENCE_S)
    assert abandoned.count == 0


def test_one_who_leaves_takes_nothing_from_those_who_stay(workshop):
    gate = Gate()
    leaving, staying = workshop.submit("key", gate), workshop.submit("key", gate)
    assert gate.begun.wait(PATIENCE_S)

    assert leaving.cancel()
    gate.open.set()

    assert staying.result(PATIENCE_S) == frame()
    with pytest.raises(CancelledError):
        leaving.result(0)


class Long:
    """Work in steps, of which there is no end while somebody waits for it."""

    def __init__(self) -> None:
        self.step = threading.Event()
        self.over = threading.Event()

    def __call__(self) -> Frame:
        try:
            while True:
                require_wanted()
                self.step.set()
        finally:
            self.over.set()


def test_long_work_stops_once_the_last_one_who_waited_has_left(workshop):
    long = Long()
    first, second = workshop.submit("key", long), workshop.submit("key", long)
    assert long.step.wait(PATIENCE_S)

    first.cancel()
    long.step.clear()
    assert long.step.wait(PATIENCE_S)
    second.cancel()

    assert long.over.wait(PATIENCE_S)
    assert workshop.make("key", frame, timeout_s=PATIENCE_S) == frame()


def test_long_work_stops_when_the_workshop_closes():
    workshop, long = Workshop(threads=1, queue=1, cache_bytes=0), Long()
    future = workshop.submit("key", long)
    assert long.step.wait(PATIENCE_S)

    workshop.close()

    with pytest.raises(Busy):
        future.result(0)


def test_work_outside_of_a_workshop_is_always_wanted():
    require_wanted()


def test_a_failure_is_everybodys_and_is_not_kept(workshop):
    calls: list[int] = []

    def fail() -> Frame:
        calls.append(1)
        raise Undecodable("The frame is damaged.")

    for _ in range(2):
        with pytest.raises(Undecodable):
            workshop.make("key", fail, timeout_s=PATIENCE_S)
    assert len(calls) == 2


def test_the_cache_forgets_what_was_not_used_for_longest():
    workshop = Workshop(threads=1, queue=8, cache_bytes=400)
    for key in "abcd":
        workshop.make(key, lambda: frame(100), timeout_s=PATIENCE_S)
    workshop.make("a", frame, timeout_s=PATIENCE_S)
    workshop.make("e", lambda: frame(100), timeout_s=PATIENCE_S)
    hits = workshop.load().hits

    workshop.make("a", frame, timeout_s=PATIENCE_S)
    assert workshop.load().hits == hits + 1
    workshop.make("b", lambda: frame(100), timeout_s=PATIENCE_S)
    assert workshop.load().hits == hits + 1
    assert workshop.load().kept_bytes <= 400
    workshop.close()


def test_what_would_push_out_the_rest_is_not_kept(workshop):
    workshop.make("large", lambda: frame(900), timeout_s=PATIENCE_S)

    assert workshop.load().kept == 0


def test_pictures_are_kept_as_well_as_frames(workshop):
    assert workshop.make("thumbnail", lambda: b"picture", timeout_s=PATIENCE_S) == b"picture"
    assert workshop.load().kept_bytes == 7


def test_closing_cancels_what_is_queued_and_waits_for_the_rest():
    workshop = Workshop(threads=1, queue=1, cache_bytes=0)
    running = Gate()
    first = workshop.submit("running", running)
    assert running.begun.wait(PATIENCE_S)
    second = workshop.submit("queued", frame)
    running.open.set()

    workshop.close()

    assert first.result(0) == frame()
    assert second.cancelled() or second.result(0)
    with pytest.raises(Busy):
        workshop.submit("late", frame)


def test_a_waiter_may_give_up(workshop):
    gate = Gate()

    with pytest.raises(TimeoutError):
        workshop.make("key", gate, timeout_s=0.01)

    gate.open.set()


def test_an_event_loop_awaits_and_cancels(workshop):
    gate, abandoned = Gate(), Gate()

    async def ask() -> Frame:
        first = asyncio.wrap_future(workshop.submit("key", gate))
        second = asyncio.wrap_future(workshop.submit("abandoned", abandoned))
        second.cancel()
        await asyncio.wait([second])  # the loop has passed it on by then
        gate.open.set()
        return await asyncio.wait_for(first, PATIENCE_S)

    assert asyncio.run(ask()) == frame()
    assert workshop.load().queued == 0 and abandoned.count == 0


def test_many_threads_asking_for_many_frames_all_get_the_right_one():
    workshop = Workshop(threads=2, queue=1000, cache_bytes=100_000)
    frames = [native(grey(12, seed=seed)) for seed in range(8)]
    wrong: list[int] = []

    def ask(offset: int) -> None:
        for step in range(40):
            number = (offset + step * 7) % len(frames)
            made = workshop.make(number, partial(transcode, frames[number], ENCAPSULATED_UNCOMPRESSED))
            if not np.array_equal(
                np.frombuffer(made.payload, "u1"), np.frombuffer(frames[number].payload, "u1")
            ):
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(offset,)) for offset in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    workshop.close()
    assert wrong == []
    assert workshop.load().misses == len(frames)
