"""Processor time by the measure of the machine at hand, so that a bound on it holds on a slow one too."""

import time
from collections.abc import Callable

_ROUNDS = 100_000
_ORDINARY_S = 0.008  # what the rounds take on an ordinary machine
_TRIES = 4


def slowness() -> float:
    """How many times longer than an ordinary machine this one takes at the moment; at least 1."""
    begun = time.thread_time()
    total = 0
    for number in range(_ROUNDS):
        total += number ^ total & 0xFF
    return max((time.thread_time() - begun) / _ORDINARY_S, 1.0)


def spent_s(
    work: Callable[[], object], at_most_s: float, clock: Callable[[], float] = time.thread_time
) -> float:
    """The time of an ordinary machine's processor that `work` takes, in seconds.

    It is done again where it takes longer than `at_most_s`, since another program may have been in the way,
    and the shortest time counts.
    """
    least = float("inf")
    for _ in range(_TRIES):
        begun = clock()
        work()
        taken = clock() - begun
        least = min(least, taken if taken <= at_most_s else taken / slowness())
        if least <= at_most_s:
            break
    return least
