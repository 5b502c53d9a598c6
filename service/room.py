"""A limit on the bytes that many hold together."""

import threading


class Room:
    """Memory that is shared, in bytes; any thread may call."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Whether `size` bytes were to be had; if so they are taken."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give(self, size: int) -> None:
        """Give `size` bytes back."""
        with self._lock:
            self._left += size
