"""What pictures are made of, kept for the next picture of the same: bounded by bytes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

_LARGEST_SHARE = 4  # what would push out most of the rest is not worth its place


class Shelf:
    """Values by keys that name their content; the least recently used go first. For any number of threads.

    Whoever takes a value shares it with others: it is not to be changed.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._kept_bytes = 0

    @property
    def most_bytes(self) -> int:
        """The size of the largest value that is kept."""
        return self._limit // _LARGEST_SHARE

    @property
    def kept_bytes(self) -> int:
        """What the values take, as far as `keep` was told."""
        return self._kept_bytes

    @property
    def kept(self) -> int:
        """How many values there are."""
        return len(self._kept)

    def find(self, key: Hashable) -> Any:
        """The value that was kept under `key`, `None` if there is none."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def keep(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of about `size` bytes, in place of an earlier one; none above a quarter of all."""
        with self._lock:
            earlier = self._kept.pop(key, None)
            if earlier is not None:
                self._kept_bytes -= earlier[1]
            if size > self.most_bytes:
                return
            self._kept[key] = value, size
            self._kept_bytes += size
            while self._kept_bytes > self._limit:
                _, (_, dropped) = self._kept.popitem(last=False)
                self._kept_bytes -= dropped
