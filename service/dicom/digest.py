"""The identity of an object's content: SHA-256 of transfer syntax UID, a zero byte and the data set."""

import hashlib
from collections.abc import Buffer

_HELD = 3 << 16  # bytes that may wait


class Digest:
    """Told the bytes as they come, does the work when it has to or when the value is wanted.

    So somebody else may write the same bytes meanwhile: hashing them takes as long as that, and neither
    holds up the other. Used by one thread at a time.
    """

    def __init__(self, syntax: str) -> None:
        self._hash = hashlib.sha256(syntax.encode("ascii") + b"\0")
        self._waiting: list[Buffer] = []
        self._size = 0

    def update(self, block: memoryview) -> None:
        """Add `block`, which must not be changed afterwards."""
        self._waiting.append(block)
        self._size += len(block)
        if self._size > _HELD:
            self._work()

    def value(self) -> bytes:
        """The digest, 32 bytes."""
        self._work()
        return self._hash.digest()

    def _work(self) -> None:
        for block in self._waiting:
            self._hash.update(block)
        self._waiting.clear()
        self._size = 0
