"""The identity of an object's content: SHA-256 of transfer syntax UID, a zero byte and the data set."""

import hashlib
from collections.abc import Buffer, Callable, Sequence
from functools import partial
from typing import Protocol

_HELD = 3 << 16  # bytes that may wait


class Aside(Protocol):
    """Somebody who works while others go on."""

    def begin(self, work: Callable[[], None]) -> Callable[[], None] | None:
        """Have `work` done: what waits until it is, raising what it raises. `None` where nobody is free."""
        ...


class Digest:
    """Told the bytes as they come, does the work when it has to or when the value is wanted.

    So somebody else may write the same bytes meanwhile: hashing them takes as long as that, and neither
    holds up the other. Used by one thread at a time.
    """

    def __init__(self, syntax: str, aside: Aside | None = None) -> None:
        """What has to be done before the value is wanted is done `aside`, where somebody is free."""
        self._hash = hashlib.sha256(syntax.encode("ascii") + b"\0")
        self._aside = aside
        self._done: Callable[[], None] | None = None  # waits for what is being done aside
        self._waiting: list[Buffer] = []
        self._size = 0

    def update(self, block: memoryview) -> None:
        """Add `block`, which must not be changed afterwards."""
        self._waiting.append(block)
        self._size += len(block)
        if self._size > _HELD:
            self._settle()
            blocks, self._waiting, self._size = self._waiting, [], 0
            work = partial(self._work, blocks)
            self._done = None if self._aside is None else self._aside.begin(work)
            if self._done is None:
                work()

    def value(self) -> bytes:
        """The digest, 32 bytes."""
        self._settle()
        blocks, self._waiting, self._size = self._waiting, [], 0
        self._work(blocks)
        return self._hash.digest()

    def _settle(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            done()

    def _work(self, blocks: Sequence[Buffer]) -> None:
        for block in blocks:
            self._hash.update(block)
