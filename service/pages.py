"""Memory in which the processes of the service count: a page of numbers for each, read by all."""

import math
import mmap
import os
import tempfile
from collections.abc import Sequence

_SIZE = 8  # bytes of a number


class Pages:
    """As many pages as there are processes, of `length` numbers each.

    A page is written by one thread of one process; who reads others sees each number whole. What a process
    counted stays when it ends, and the one that takes its place counts on.
    """

    def __init__(self, length: int, *, descriptor: int | None = None, place: int = 0) -> None:
        """`descriptor` is that of shared memory by `shared`, `place` the own page in it, counted from 0.

        Without one there is a single page, of this process alone. `ValueError` if the page is not there.
        """
        self._length = length
        self._place = place
        self._view = memoryview(mmap.mmap(-1 if descriptor is None else descriptor, self._bytes(descriptor)))
        numbers = self._view.cast("d")
        self.own = numbers[place * length : (place + 1) * length]
        self._numbers = numbers
        if len(self.own) != length:
            raise ValueError("There is no such page.")

    @property
    def processes(self) -> int:
        """How many pages there are."""
        return len(self._numbers) // self._length

    def least_elsewhere(self, at: int) -> float:
        """The smallest of the numbers at a place of the other pages; infinite where there are none."""
        first = self._place * self._length + at
        others = (place for place in range(at, len(self._numbers), self._length) if place != first)
        return min((self._numbers[place] for place in others), default=math.inf)

    def all(self) -> Sequence[list[float]]:
        """Every page, as it is at the moment."""
        numbers: list[float] = list(self._numbers)
        return [numbers[at : at + self._length] for at in range(0, len(numbers), self._length)]

    def _bytes(self, descriptor: int | None) -> int:
        return self._length * _SIZE if descriptor is None else os.fstat(descriptor).st_size


def shared(length: int, processes: int) -> int:
    """The descriptor of memory with a page of `length` numbers, all 0, for each of the processes."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("isthmus-counters")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, processes * length * _SIZE)
    return descriptor
