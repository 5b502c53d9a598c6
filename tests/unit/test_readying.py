"""When the metadata of series are made ready behind the scenes."""

import threading
from collections.abc import Callable, Iterator
from queue import Queue

import pytest
from zstandard import ZstdError

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
    """An index that tells what is begun with, before `then` is done, and folds what is `found`."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.begun: Queue[Resource] = Queue()
        self.found: list[Resource] = []
        self.folded: list[Resource] = []
        self._then = then

    def unready(self, resource: Resource) -> list[Resource]:
        self.begun.put(resource)
        self._then()
        return self.found

    def fold(self, resource: Resource) -> int:
        self.folded.append(resource)
        self._then()
        return 0

    def next(self) -> Resource:
        return self.begun.get(timeout=WAIT_S)


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
    assert index.begun.empty()


def test_what_grows_is_not_made_ready_although_it_is_asked_for(begin: Begin, index: Noted) -> None:
    readying = begin(0.0, LATER_S)

    readying.came(A, 1)
    readying.asked(A)
    readying.asked(B)

    assert index.next() == B
    assert index.begun.empty()


@pytest.mark.parametrize("error", [IndexUnavailable("It does not answer."), ZstdError("damaged row")])
def test_what_cannot_be_made_ready_ends_nothing(begin: Begin, index: Noted, error: Exception) -> None:
    def fail() -> None:
        index._then = lambda: None
        raise error

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
    others = {*threading.enumerate()}
    readying = begin(0.0, 0.0)
    readying.asked(A)
    assert index.next() == A

    readying.end()
    readying.asked(B)

    assert index.begun.empty()
    assert not [one for one in threading.enumerate() if one.name == "ready metadata" and one not in others]


def test_its_end_waits_for_nothing_that_is_due_later(begin: Begin, index: Noted) -> None:
    readying = begin(LATER_S, LATER_S)
    readying.asked(A)
    readying.came(B, FEWEST)

    readying.end()

    assert index.begun.empty()


def test_what_is_asked_for_and_grows_is_forgotten_from_the_first_too(
    begin: Begin, index: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    readying = begin(LATER_S, LATER_S)

    for number in range(5):
        readying.asked(Resource("1.3", f"1.3.{number}"))
        readying.came(Resource("1.3", f"1.3.{number}"), 1)

    assert len(readying._growing) == 2


def test_the_end_waits_for_one_series_of_a_study_only(begin: Begin, index: Noted) -> None:
    ended = threading.Event()
    ending = threading.Thread(target=lambda: readying.end())

    def end() -> None:
        ending.start()
        while not readying._ended:
            pass
        ended.set()

    index.found = [A, B]
    index._then = lambda: end() if index.folded else None
    readying = begin(0.0, LATER_S)
    readying.asked(Resource("1.1"))
    assert index.next() == Resource("1.1")
    assert ended.wait(WAIT_S)
    ending.join(WAIT_S)

    assert index.folded == [A]
