"""Finished answers kept in memory, bounded by bytes."""

import threading
from collections import OrderedDict
from dataclasses import dataclass

Key = tuple[str, ...]
_OVERHEAD = 1024  # bytes of a key and of what holds an answer


@dataclass(frozen=True, slots=True)
class Kept:
    """What is held, in bytes, and how often something was or was not."""

    held_bytes: int
    hits: int
    misses: int


class FinishedAnswers:
    """The least recently used go first; an answer larger than an eighth of the bound is not kept."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held = 0
        self._hits = 0
        self._misses = 0
        self._answers: OrderedDict[Key, tuple[str, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> tuple[str, bytes] | None:
        """The generation and the body of the answer under `key`."""
        with self._lock:
            found = self._answers.get(key)
            if found is not None:
                self._answers.move_to_end(key)
                self._hits += 1
            else:
                self._misses += 1
            return found

    def load(self) -> Kept:
        """How full the memory is at this moment, and what it has saved."""
        with self._lock:
            return Kept(self._held, self._hits, self._misses)

    def keep(self, key: Key, generation: str, body: bytes) -> None:
        """Hold `body`, in place of an earlier generation of it."""
        held = len(body) + _OVERHEAD
        with self._lock:
            earlier = self._answers.pop(key, None)
            if earlier is not None:
                self._held -= len(earlier[1]) + _OVERHEAD
            if len(body) > self._limit // 8:
                return
            self._answers[key] = (generation, body)
            self._held += held
            while self._held > self._limit:
                _, (_, dropped) = self._answers.popitem(last=False)
                self._held -= len(dropped) + _OVERHEAD
