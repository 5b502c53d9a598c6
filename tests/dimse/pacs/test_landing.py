"""Instances on their way into a cache, without a PACS: none is left lying, and no more held than may be."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Buffer, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bridge.pacs import landing
from bridge.pacs.arrived import Arrived, held_as
from bridge.pacs.cache import WRITERS, Cache
from bridge.pacs.landing import Landing
from bridge.settings import PacsSettings
from bridge.statuses import SUCCESS, store_status
from bridge.upper.command import Tag
from bridge.upper.messages import DataSet, Message
from service.archive.port import Outcome, Refused, Stored
from service.dicom.errors import ArchiveError, StoreUnavailable
from service.dicom.record import Held
from service.dicom.resource import InstanceKey
from service.dicom.syntaxes import EXPLICIT_LE
from tests.dimse.dimse_peers import CT_IMAGE, PATIENCE_S

STUDY, SERIES = "1.2.3", "1.2.3.4"
FULL = StoreUnavailable("The disk is full.")
SIZE = 1000  # of a data set


class AtOnce(Executor):
    """Writers that are done as soon as they begin."""

    def submit[**P, R](self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        done: Future[R] = Future()
        try:
            done.set_result(work(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


@dataclass
class Kept:
    """A cache that notes what it is given, and fails as it is told; `odd` ones cannot be placed."""

    writers: Executor = field(default_factory=AtOnce)
    failing: set[str] = field(default_factory=set)
    refusing: set[str] = field(default_factory=set)
    odd: set[str] = field(default_factory=set)
    opened: threading.Event = field(default_factory=threading.Event)
    placed: list[str] = field(default_factory=list)
    put_there: list[str] = field(default_factory=list)
    entered: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    together: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.opened.set()

    @property
    def read_at(self) -> float:
        return 0.0

    def place(self, objects: Iterable[Arrived], study: str) -> tuple[list[Held], list[Arrived]]:
        self._await("place")
        come = list(objects)
        self.together.append(len(come))
        fit = [one for one in come if one.instance not in self.odd]
        self.placed += [one.instance for one in fit]
        held = [held_as(one, InstanceKey(study, SERIES, one.instance), f"o/{one.instance}") for one in fit]
        return held, [one for one in come if one.instance in self.odd]

    def put(self, objects: Iterable[Sequence[Buffer]], study: str) -> list[Outcome]:
        self._await("put")
        names = [bytes(blocks[1]).rstrip(b"\0").decode() for blocks in objects]
        self.together.append(len(names))
        self.put_there += names
        return [self._outcome(name) for name in names]

    def enter(self, placed: Sequence[Held], study: str) -> Sequence[Outcome]:
        self._await("enter")
        self.together.append(len(placed))
        self.entered += [one.key.instance for one in placed]
        return [self._outcome(one.key.instance) for one in placed]

    def leave(self, object_keys: Iterable[str]) -> None:
        self.left += object_keys

    def _await(self, what: str) -> None:
        assert self.opened.wait(PATIENCE_S)
        if what in self.failing:
            raise FULL

    def _outcome(self, name: str) -> Outcome:
        if name in self.refusing:
            return Refused(0xC000, "It is damaged.", CT_IMAGE, name)
        return Stored(InstanceKey(STUDY, SERIES, name), CT_IMAGE)


@dataclass
class Told:
    """What a landing has told of."""

    landed: list[str] = field(default_factory=list)
    placed: list[list[str]] = field(default_factory=list)

    def on_landed(self, keys: Sequence[InstanceKey]) -> None:
        self.landed += [key.instance for key in keys]

    async def on_placed(self, held: Sequence[Held]) -> bool:
        self.placed.append([one.key.instance for one in held])
        return True


def a_landing(kept: Kept, told: Told, *, patient: bool = False, **settings: Any) -> Landing:
    return Landing(
        cast(Cache, kept),
        STUDY,
        PacsSettings(**settings),
        on_landed=told.on_landed,
        on_placed=told.on_placed if patient else None,
    )


async def take(lands: Landing, number: int, size: int = SIZE) -> int:
    """An instance whose data set is its name, and zeros up to its size."""
    name = name_of(number)
    texts = {Tag.AFFECTED_SOP_CLASS: CT_IMAGE, Tag.AFFECTED_SOP_INSTANCE: name}
    message = SimpleNamespace(
        command=SimpleNamespace(text=texts.__getitem__), context=SimpleNamespace(syntax=EXPLICIT_LE)
    )
    block = name.encode().ljust(size, b"\0")
    at_end = SimpleNamespace(at_end=True)
    return await lands.take(cast(Message, message), [block], cast(DataSet, at_end), "PACS")


def name_of(number: int) -> str:
    return f"{SERIES}.{number}"


def names(count: int) -> list[str]:
    return [name_of(number) for number in range(count)]


def run[T](work: Coroutine[Any, Any, T]) -> T:
    async def in_time() -> T:
        async with asyncio.timeout(PATIENCE_S):
            return await work

    return asyncio.run(in_time())


@pytest.fixture(autouse=True)
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a reader that never comes."""
    monkeypatch.setattr(landing, "_BEGINS_WITHIN_S", 0.0)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("patient", [False, True], ids=["entered", "placed"])
@pytest.mark.parametrize("pause", range(12))
def test_none_of_thousands_is_left_lying_whenever_it_comes(pause: int, patient: bool) -> None:
    kept, told = Kept(), Told()

    async def land() -> Landing:
        lands = a_landing(kept, told, patient=patient)
        for number in range(1000):
            assert await take(lands, number) == SUCCESS
            await turns(pause if pause < 10 else number % pause)
        await lands.drained()
        return lands

    lands = run(land())

    assert Counter(told.landed) == Counter(names(1000))
    assert (lands.landed, lands.refused, lands.trouble) == (1000, [], None)


@pytest.mark.parametrize("apart", range(5))
@pytest.mark.parametrize("pause", range(12))
def test_one_that_comes_when_the_others_are_written_is_written_too(
    monkeypatch: pytest.MonkeyPatch, apart: int, pause: int
) -> None:
    monkeypatch.setattr(landing, "_TOGETHER", 1)  # so that each writer has one

    async def land() -> int:
        lands = a_landing(Kept(), Told())
        for number in range(WRITERS):
            await take(lands, number)
            await turns(apart)
        await turns(pause)
        await take(lands, WRITERS)
        await lands.drained()
        return lands.landed

    assert run(land()) == WRITERS + 1


def test_thousands_land_from_threads() -> None:
    told = Told()
    with ThreadPoolExecutor(WRITERS) as threads:
        kept = Kept(writers=threads)

        async def land() -> None:
            lands = a_landing(kept, told)
            for number in range(3000):
                await take(lands, number)
            await lands.drained()

        run(land())

    assert Counter(told.landed) == Counter(names(3000))
    assert max(kept.together) <= 64


def test_where_nobody_is_in_a_hurry_all_are_placed_and_told_of_before_they_are_entered() -> None:
    kept, told = Kept(), Told()
    before: list[list[str]] = []

    async def on_placed(held: Sequence[Held]) -> bool:
        before.append(list(kept.entered))
        return await told.on_placed(held)

    async def land() -> None:
        lands = Landing(
            cast(Cache, kept), STUDY, PacsSettings(), on_landed=told.on_landed, on_placed=on_placed
        )
        for number in range(200):
            await take(lands, number)
        await lands.drained()

    run(land())

    assert before == [[]]
    assert [sorted(one) for one in told.placed] == [sorted(names(200))]
    assert sorted(kept.entered) == sorted(told.landed) == sorted(names(200))
    assert kept.put_there == []


def test_where_nobody_waits_for_all_nothing_is_placed() -> None:
    kept, told = Kept(), Told()

    async def land() -> None:
        lands = a_landing(kept, told)
        await take(lands, 0)
        await lands.drained()

    run(land())

    assert (kept.placed, kept.put_there) == ([], names(1))


@pytest.mark.parametrize("at", [0, 1, 50, 99])
@pytest.mark.parametrize("pause", [0, 1, 3, 7])
def test_whoever_hurries_has_what_came_entered_before_the_rest_comes(at: int, pause: int) -> None:
    kept, told = Kept(), Told()
    early: list[int] = []

    async def land() -> None:
        lands = a_landing(kept, told, patient=True)
        for number in range(100):
            await take(lands, number)
            await turns(pause)
            if number == at:
                lands.hurry()
                lands.hurry()
                while lands.landed <= at:
                    assert await lands.progress(PATIENCE_S)
                early.append(lands.landed)
        await lands.drained()

    run(land())

    assert early == [at + 1]
    assert Counter(told.landed) == Counter(names(100))
    assert told.placed == []


def test_what_cannot_be_placed_by_a_look_is_entered_at_once() -> None:
    odd = {name_of(3), name_of(7)}
    kept, told = Kept(odd=odd), Told()

    async def land() -> None:
        lands = a_landing(kept, told, patient=True)
        for number in range(10):
            await take(lands, number)
        await lands.drained()

    run(land())

    assert set(kept.put_there) == odd
    assert set(told.placed[0]) == set(names(10)) - odd
    assert Counter(told.landed) == Counter(names(10))


def test_what_is_refused_when_it_is_entered_is_told() -> None:
    kept, told = Kept(refusing={name_of(3)}), Told()

    async def land() -> Landing:
        lands = a_landing(kept, told, patient=True)
        for number in range(10):
            await take(lands, number)
        await lands.drained()
        return lands

    lands = run(land())

    assert [one.sop_instance for one in lands.refused] == [name_of(3)]
    assert (lands.landed, lands.trouble) == (9, None)


@pytest.mark.parametrize("failing", ["place", "put", "enter"])
def test_a_cache_that_fails_is_told_to_the_pacs_and_leaves_nothing_waiting(failing: str) -> None:
    kept, told = Kept(failing={failing}), Told()

    async def land() -> tuple[ArchiveError | None, int]:
        lands = a_landing(kept, told, patient=failing != "put")
        for number in range(10):
            await take(lands, number)
        await lands.drained()
        return lands.trouble, await take(lands, 10)

    assert run(land()) == (FULL, store_status(FULL))
    assert told.landed == []
    assert sorted(kept.left) == (sorted(f"o/{name}" for name in names(10)) if failing == "enter" else [])


def test_a_cache_that_fails_lets_those_go_on_that_wait_for_room() -> None:
    with ThreadPoolExecutor(WRITERS) as threads:
        kept = Kept(writers=threads, failing={"place"})
        kept.opened.clear()

        async def land() -> list[int]:
            lands = a_landing(kept, Told(), patient=True, unwritten_bytes=2 * SIZE)
            taking = [asyncio.ensure_future(take(lands, number)) for number in range(10)]
            await turns(20)
            kept.opened.set()
            statuses = await asyncio.gather(*taking)
            await lands.drained()
            return statuses

        assert set(run(land())) <= {SUCCESS, store_status(FULL)}


@pytest.mark.parametrize("patient", [False, True], ids=["entered", "placed"])
def test_a_pacs_waits_while_too_much_is_unwritten(patient: bool) -> None:
    most = 5
    with ThreadPoolExecutor(WRITERS) as threads:
        kept, told = Kept(writers=threads), Told()
        kept.opened.clear()

        async def land() -> int:
            lands = a_landing(kept, told, patient=patient, unwritten_bytes=most * SIZE)
            taken = 0

            async def send() -> None:
                nonlocal taken
                for number in range(50):
                    await take(lands, number)
                    taken += 1

            sending = asyncio.ensure_future(send())
            await turns(200)
            held_up = taken
            kept.opened.set()
            await sending
            await lands.drained()
            return held_up

        held_up = run(land())

    assert 0 < held_up <= most + 1
    assert Counter(told.landed) == Counter(names(50))


def test_no_more_is_placed_than_may_wait_for_being_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 20
    monkeypatch.setattr(landing, "_MOST_PLACED_BYTES", most * SIZE)
    kept, told = Kept(), Told()

    async def land() -> None:
        lands = a_landing(kept, told, patient=True)
        for number in range(200):
            await take(lands, number)
            await turns(10)  # so that each is a batch of its own
        await lands.drained()

    run(land())

    assert most / 2 < len(kept.placed) <= most + WRITERS
    assert Counter(kept.placed + kept.put_there) == Counter(names(200))
    assert Counter(told.landed) == Counter(names(200))


def test_what_is_placed_rests_until_somebody_hurries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_BEGINS_WITHIN_S", "_STILL_S", "_LONGEST_REST_S"):
        monkeypatch.setattr(landing, name, 10 * PATIENCE_S)
    kept, told = Kept(), Told()

    async def land() -> list[str]:
        lands = a_landing(kept, told, patient=True)
        for number in range(10):
            await take(lands, number)
        drained = asyncio.ensure_future(lands.drained())
        await turns(200)
        before = list(kept.entered)
        lands.hurry()
        await drained
        return before

    assert run(land()) == []
    assert told.placed == [names(10)]
    assert Counter(told.landed) == Counter(names(10))


class Read(Kept):
    """A cache of which somebody reads all the time."""

    @property
    def read_at(self) -> float:
        return time.monotonic()


@pytest.mark.parametrize("longest_s", [0.0, 0.01])
def test_it_rests_no_longer_than_so_however_much_is_read(
    monkeypatch: pytest.MonkeyPatch, longest_s: float
) -> None:
    monkeypatch.setattr(landing, "_LONGEST_REST_S", longest_s)
    monkeypatch.setattr(landing, "_STILL_S", 0.0001)
    kept, told = Read(), Told()

    async def land() -> None:
        lands = a_landing(kept, told, patient=True)
        await take(lands, 0)
        await lands.drained()

    run(land())

    assert told.landed == names(1)


def test_what_comes_when_all_seemed_to_be_there_is_entered_as_it_comes() -> None:
    kept, told = Kept(), Told()

    async def land() -> int:
        lands = a_landing(kept, told, patient=True)
        await take(lands, 0)
        await lands.drained()
        await take(lands, 1)
        while lands.landed < 2:
            assert await lands.progress(PATIENCE_S)
        await lands.drained()
        return lands.landed

    assert run(land()) == 2
    assert (kept.placed, kept.put_there) == ([name_of(0)], [name_of(1)])
