"""Values that wait for the object they belong to: in memory while they are few, else in an unnamed file."""

import tempfile
from collections.abc import Iterator

from service.dicom.errors import StoreUnavailable
from service.dicom.frames import Extent

_IN_MEMORY = 1 << 20
_BLOCK = 1 << 20


class Spool:
    """Bytes of one request, appended and read back by their place; used by one thread at a time.

    The file has no name, so it is gone with the process too. Every method may raise `StoreUnavailable`:
    the system's folder for such files may be full.
    """

    def __init__(self, *, in_memory: int = _IN_MEMORY) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=in_memory)  # noqa: SIM115 closed by `close`
        self.size = 0

    def append(self, block: memoryview) -> None:
        """Add `block` at the end."""
        try:
            self._file.seek(self.size)
            self._file.write(block)
        except OSError:
            raise StoreUnavailable("There is no room to keep the bulk data of this request.") from None
        self.size += len(block)

    def read(self, extent: Extent) -> bytes:
        """The bytes of `extent`, fewer where it reaches past the end."""
        try:
            self._file.seek(extent.offset)
            return self._file.read(extent.length)
        except OSError:
            raise StoreUnavailable("The bulk data of this request cannot be read back.") from None

    def blocks(self, extent: Extent) -> Iterator[bytes]:
        """The bytes of `extent` in blocks of at most 1 MiB."""
        position = extent.offset
        while position < extent.end:
            block = self.read(Extent(position, min(_BLOCK, extent.end - position)))
            if not block:
                raise StoreUnavailable("The bulk data of this request cannot be read back.")
            position += len(block)
            yield block

    def clear(self) -> None:
        """Forget everything."""
        try:
            self._file.seek(0)
            self._file.truncate()
        except OSError:
            raise StoreUnavailable("The bulk data of this request cannot be dropped.") from None
        self.size = 0

    def close(self) -> None:
        """Forget everything; no method is called afterwards."""
        self._file.close()
