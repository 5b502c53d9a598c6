"""What was found out lately about credentials, under digests of them."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from service.access.identity import Identity


class Remembered:
    """Identities by digest: at most `most`, each until a time of its own; the least used go first."""

    def __init__(self, most: int, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970."""
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._found: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, digest: bytes) -> Identity | None:
        """Who had these credentials, if that is still known."""
        with self._lock:
            found = self._found.get(digest)
            if found is None:
                return None
            until, identity = found
            if self._clock() >= until:
                del self._found[digest]
                return None
            self._found.move_to_end(digest)
            return identity

    def keep(self, digest: bytes, identity: Identity, until: float) -> None:
        """Remember it until a time, in seconds since 1970."""
        with self._lock:
            self._found[digest] = (until, identity)
            self._found.move_to_end(digest)
            while len(self._found) > self._most:
                self._found.popitem(last=False)
