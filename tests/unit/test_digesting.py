"""A digest is the same, whoever finds it and in however many pieces."""

import hashlib
import random
import threading
import time
from collections.abc import Callable

import pytest

from service.archive.digesting import Digesting
from service.dicom.digest import Aside, Digest

SYNTAX = "1.2.840.10008.1.2.1"


class Busy:
    """Nobody is free."""

    def begin(self, work: Callable[[], None]) -> Callable[[], None] | None:
        return None


class Late:
    """Does nothing before it is waited for."""

    def __init__(self) -> None:
        self.begun = 0

    def begin(self, work: Callable[[], None]) -> Callable[[], None] | None:
        self.begun += 1
        return work


def digest_of(pieces: list[bytes], aside: Aside | None) -> bytes:
    digest = Digest(SYNTAX, aside)
    for piece in pieces:
        digest.update(memoryview(piece))
    return digest.value()


@pytest.mark.parametrize("seed", range(8))
def test_it_is_that_of_all_pieces_in_their_order(seed: int):
    chance = random.Random(seed)
    pieces = [chance.randbytes(chance.choice([0, 7, 1_000, 70_000, 300_000])) for _ in range(20)]
    wanted = hashlib.sha256(SYNTAX.encode() + b"\0" + b"".join(pieces)).digest()
    working = Digesting()

    found = [digest_of(pieces, aside) for aside in (None, Busy(), Late(), working, working)]

    working.end()
    assert found == [wanted] * 5


def test_what_is_large_is_done_aside():
    late = Late()

    digest_of([bytes(300_000), bytes(300_000), bytes(10)], late)

    assert late.begun == 2


def _waited(gate: threading.Event) -> None:
    assert gate.wait(60)


def test_who_asks_while_it_is_at_work_does_the_work():
    working, gate = Digesting(), threading.Event()
    wait = working.begin(lambda: _waited(gate))

    assert wait is not None
    assert working.begin(lambda: None) is None

    gate.set()
    wait()
    working.end()


def test_it_is_free_again_after_its_work_and_after_a_fault():
    working = Digesting()

    def fail() -> None:
        raise MemoryError

    for work, fault in ((fail, MemoryError), (lambda: None, None)):
        deadline = time.monotonic() + 60
        while (wait := working.begin(work)) is None:  # it is free a moment after who waits is told
            assert time.monotonic() < deadline
        if fault is None:
            wait()
        else:
            with pytest.raises(fault):
                wait()
    working.end()


def test_one_that_has_ended_takes_nothing():
    working = Digesting()
    working.end()

    assert working.begin(lambda: None) is None
