"""How much may be kept on the disk and in memory, and how much is."""

import time

_LATELY_S = 60.0


class Memory:
    """Bytes that all instances which arrive may hold together, beside what each of them may."""

    def __init__(self, size_bytes: int) -> None:
        self._left_bytes = size_bytes

    def take(self, size_bytes: int) -> bool:
        """Take so many more; false, and nothing taken, if they are not left."""
        if size_bytes > self._left_bytes:
            return False
        self._left_bytes -= size_bytes
        return True

    def give(self, size_bytes: int) -> None:
        """Bytes that are not held any more."""
        self._left_bytes += size_bytes


class Space:
    """Bytes and instances of spool and quarantine together, against the most that there may be.

    `size_bytes` 0 is a spool that takes nothing.
    """

    def __init__(self, size_bytes: int, instances: int) -> None:
        self.size_bytes = size_bytes
        self.held_bytes = 0
        self._failed_at = float("-inf")
        self._most = instances
        self._instances = 0

    @property
    def has_failed(self) -> bool:
        """Whether the disk has not taken something lately, and nothing since."""
        return time.monotonic() - self._failed_at < _LATELY_S

    def written(self, *, failed: bool) -> None:
        """Note what the disk did with the last bytes."""
        self._failed_at = time.monotonic() if failed else float("-inf")

    def has_room(self, size_bytes: int) -> bool:
        """Whether one more instance of this size may be kept."""
        return self.held_bytes + size_bytes <= self.size_bytes and self._instances < self._most

    def take(self, size_bytes: int) -> bool:
        """Take room for bytes that are about to be written; false, and nothing taken, if there is none."""
        if not self.has_room(size_bytes):
            return False
        self.held_bytes += size_bytes
        return True

    def give(self, size_bytes: int) -> None:
        """Bytes that are not kept any more."""
        self.held_bytes -= size_bytes

    def count(self, difference: int) -> None:
        """So many instances more are kept."""
        self._instances += difference

    def load(self, size_bytes: int) -> None:
        """An instance that was kept before the program started; it has its place, limit or not."""
        self.held_bytes += size_bytes
        self._instances += 1
