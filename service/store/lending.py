"""Runs of files that are lent to whoever sends them, so that their bytes need no copy."""

import os

from service.dicom.frames import Extent

_AT_ONCE = getattr(os, "RWF_NOWAIT", 0)  # Linux: read what is in memory, wait for nothing


class LocalRun:
    """A `FileRun` that closes its file when nobody holds it any more."""

    __slots__ = ("_descriptor", "extent")

    def __init__(self, descriptor: int, extent: Extent) -> None:
        self._descriptor = descriptor
        self.extent = extent

    @property
    def descriptor(self) -> int:
        return self._descriptor

    def is_at_hand(self) -> bool:
        """Whether the ends of the run are in the kernel's cache, so that sending it waits for no disk."""
        return self._has(self.extent.offset) and self._has(self.extent.end - 1)

    def _has(self, position: int) -> bool:
        if not _AT_ONCE:
            return False
        try:
            return os.preadv(self._descriptor, [bytearray(1)], position, _AT_ONCE) == 1
        except OSError:  # not in memory, or a file system that cannot tell
            return False

    def read(self) -> bytes:
        block = os.pread(self._descriptor, self.extent.length, self.extent.offset)
        if len(block) < self.extent.length:
            raise OSError("The file ends before the run does.")
        return block

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()
