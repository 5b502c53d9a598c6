"""Bytes of a body that wait for being sent: in memory as far as there is room, behind that in a file."""

import tempfile
from collections import deque
from collections.abc import Buffer
from io import FileIO

from service.dicom.errors import StoreUnavailable
from service.room import Room


class Waiting:
    """A queue of bytes; used by one thread at a time. The file has no name and ends with the process."""

    def __init__(self, room: Room, in_memory: int) -> None:
        """`in_memory` is how much of it may wait in memory, in bytes."""
        self._room = room
        self._in_memory = in_memory
        self._blocks: deque[memoryview] = deque()
        self._kept = 0
        self._file: FileIO | None = None
        self._begin = self._end = 0  # of what waits in the file

    @property
    def size(self) -> int:
        """How many bytes wait."""
        return self._kept + self._end - self._begin

    def append(self, block: Buffer) -> None:
        """Add `block` at the end. `StoreUnavailable` if there is no room for it anywhere."""
        view = memoryview(block).cast("B")
        size = len(view)
        if self._begin == self._end and self._kept + size <= self._in_memory and self._room.take(size):
            self._blocks.append(view)
            self._kept += size
            return
        try:
            if self._file is None:
                self._file = _unnamed_file()
            self._file.seek(self._end)
            while len(view):
                view = view[self._file.write(view) :]
        except OSError as error:
            raise StoreUnavailable("There is no room to keep what is on its way to the store.") from error
        self._end += size

    def take(self, most: int) -> bytes:
        """The first bytes that wait, `most` of them or all there are; they wait no longer."""
        taken = self.pieces(most)
        return bytes(taken[0]) if len(taken) == 1 else b"".join(taken)

    def pieces(self, most: int) -> list[memoryview]:
        """The same, without a copy of what is in memory."""
        taken: list[memoryview] = []
        missing = most
        while missing and self._blocks:
            block = self._blocks.popleft()
            if len(block) > missing:
                self._blocks.appendleft(block[missing:])
                block = block[:missing]
            taken.append(block)
            missing -= len(block)
            self._kept -= len(block)
            self._room.give(len(block))
        if missing and self._begin < self._end:
            taken.append(memoryview(self._read(min(missing, self._end - self._begin))))
        return taken

    def _read(self, length: int) -> bytearray:
        assert self._file is not None
        found = bytearray(length)
        view = memoryview(found)
        try:
            self._file.seek(self._begin)
            while len(view):
                read = self._file.readinto(view)
                if not read:
                    raise OSError("The file ends too early.")
                view = view[read:]
            self._begin += length
            if self._begin == self._end:
                self._begin = self._end = 0
                self._file.truncate(0)
        except OSError as error:
            raise StoreUnavailable("What is on its way to the store cannot be read back.") from error
        return found

    def clear(self) -> None:
        """Nothing waits any more."""
        self._blocks.clear()
        self._room.give(self._kept)
        self._kept = self._begin = self._end = 0
        if self._file is not None:
            self._file.close()
            self._file = None


def _unnamed_file() -> FileIO:
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 closed by `clear`
    assert isinstance(file, FileIO)
    return file
