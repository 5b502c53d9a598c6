"""Objects that are read to find out what they are, many at a time."""

import itertools
from collections import deque
from collections.abc import Buffer, Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Protocol

from service.dicom.errors import BadExtent
from service.dicom.frames import Extent
from service.dicom.scan import Budget, Scan, Scanned
from service.store.port import Opening

_OPENING = 64 << 10  # holds the header of nearly all objects
_BLOCK = 1 << 20
_WORTH_A_REQUEST = 512 << 10  # what is shorter is read faster than passed over


class Readable(Protocol):
    """What objects are read from, as `ObjectStore` has it."""

    def read(self, key: str, extent: Extent) -> Buffer:
        """Exactly `extent`."""
        ...

    def opening(self, key: str, length: int) -> Opening:
        """The first `length` bytes, and what is known beside."""
        ...


@dataclass(frozen=True, slots=True)
class Examined:
    """What an object is, its size in bytes and its digest.

    `kept` is the digest that was kept with it, `None` where none was. It is the same one where the object was
    not read whole.
    """

    scanned: Scanned
    size: int
    digest: bytes
    kept: bytes | None


def examine(
    source: Readable,
    key: str,
    *,
    header_limit: int,
    budget: Budget | None = None,
    trusting: bool = True,
    worth: int = _WORTH_A_REQUEST,
) -> Examined:
    """Read the object `key`; whole, or if `trusting` what its kept digest leaves to be found out.

    Then pixel data and fragments of `worth` bytes and more are passed over: what they are is known from
    the header and their heads. Errors are those of `Scan` and of the source.
    """
    opening = source.opening(key, _OPENING)
    sparing = trusting and opening.digest is not None
    scan = Scan(header_limit=header_limit, budget=budget)
    whole, block = True, _OPENING if sparing else _BLOCK
    try:
        view = memoryview(opening.head)
        scan.push(view)
        position = len(view)
        while position < opening.size:
            ahead = min(scan.passable, opening.size - position) if sparing else 0
            if ahead >= worth:
                scan.pass_over(ahead)
                position += ahead
                whole, block = False, _OPENING
                continue
            view = memoryview(source.read(key, Extent(position, min(block, opening.size - position))))
            block = min(2 * block, _BLOCK)
            if not len(view):
                raise BadExtent("The object ends before its size says.")
            scan.push(view)
            position += len(view)
        scanned = scan.finish()
    finally:
        scan.close()
    digest = scanned.digest if whole else opening.digest
    assert digest is not None
    return Examined(scanned, opening.size, digest, opening.digest)


def in_order[T, R](
    executor: Executor, work: Callable[[T], R], items: Iterable[T], *, ahead: int
) -> Iterator[R]:
    """What `work` gives for each of `items`, in their order; at most `ahead` of them are under way."""
    left = iter(items)
    waiting: deque[Future[R]] = deque(executor.submit(work, one) for one in itertools.islice(left, ahead))
    try:
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(executor.submit(work, one) for one in itertools.islice(left, 1))
            yield done
    finally:
        for one in waiting:
            one.cancel()
