"""When the metadata of series are made ready behind the scenes."""

import threading
from collections.abc import Callable, Iterator
from queue import Queue

import pytest

from service.archive import readying as module
from service.archive.readying import Readying
from service.dicom.errors import IndexUnavailable
from service.dicom.resource import Resource
from service.index.memory import MemoryIndex
from service.index.port import FEWEST

WAIT_S = 30.0
LATER_S = 3600.0
A, B = Resource("1.1", "1.1.1"), Resource("1.2", "1.2.1")


class Noted(MemoryIndex):
    """An index that tells what is folded, before `then` is done."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.folded: Queue[Resource] = Queue()
        self._then = then

    def fold(self, resource: Resource) -> int:
        self.folded.put(resource)
        self._then()
        return super().fold(resource)

    def next(self) -> Resource:
        return self.folded.get(timeout=WAIT_S)


@pytest.fixture
def index() -> Noted:
    return Noted()


@pytest.fixture
def begin(index: Noted) -> Iterator[Callable[[float, float], Readying]]:
    """Begins to make ready what is in `index`."""
    begun: list[Readying] = []

    def begin(asked_s: float, still_s: float) -> Readying:
        begun.append(Readying(index, asked_s=asked_s, still_s=still_s))
        return begun[-1]

    yield begin
    for one in begun:
        one.end()


type Begin = Callable[[float, float], Readying]


def test_what_is_asked_for_is_made_ready(begin: Begin, index: Noted) -> None:
    readying = begin(0.0, LATER_S)

    readying.asked(A)
    assert index.next() == A

    readying.asked(Resource("1.2"))
    assert index.next() == Resource("1.2")


def test_a_series_is_made_ready_when_nothing_comes_to_it_any_more(begin: Begin, index: Noted) -> None:
    readying = begin(LATER_S, 0.0)

    readying.came(A, FEWEST)

    assert index.next() == A


def test_a_series_to_which_few_instances_came_is_left_alone(begin: Begin, index: Noted) -> None:
    readying = begin(LATER_S, 0.0)

    readying.came(A, FEWEST - 1)
    readying.came(B, FEWEST)

    assert index.next() == B
    assert index.folded.empty()


def test_what_grows_is_not_made_ready_although_it_is_asked_for(begin: Begin, index: Noted) -> None:
    readying = begin(0.0, LATER_S)

    readying.came(A, 1)
    readying.asked(A)
    readying.asked(B)

    assert index.next() == B
    assert index.folded.empty()


def test_an_index_that_does_not_answer_ends_nothing(begin: Begin, index: Noted) -> None:
    def fail() -> None:
        index._then = lambda: None
        raise IndexUnavailable("It does not answer.")

    index._then = fail
    readying = begin(0.0, LATER_S)

    readying.asked(A)
    assert index.next() == A
    readying.asked(A)
    assert index.next() == A


def test_more_than_can_wait_is_forgotten_from_the_first(
    begin: Begin, index: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    busy, free = threading.Event(), threading.Event()

    def hold() -> None:
        busy.set()
        free.wait(WAIT_S)

    index._then = hold
    readying = begin(0.0, LATER_S)
    readying.asked(Resource("1.9"))
    assert busy.wait(WAIT_S)

    for resource in (Resource("1.3"), A, B):
        readying.asked(resource)
    index._then = lambda: None
    free.set()

    assert [index.next() for _ in range(3)] == [Resource("1.9"), A, B]


def test_nothing_is_made_ready_after_the_end(begin: Begin, index: Noted) -> None:
    readying = begin(0.0, 0.0)
    readying.asked(A)
    assert index.next() == A

    readying.end()
    readying.asked(B)

    assert index.folded.empty()
    assert not any(thread.name == "ready metadata" for thread in threading.enumerate())


def test_its_end_waits_for_nothing_that_is_due_later(begin: Begin, index: Noted) -> None:
    readying = begin(LATER_S, LATER_S)
    readying.asked(A)
    readying.came(B, FEWEST)

    readying.end()

    assert index.folded.empty()
