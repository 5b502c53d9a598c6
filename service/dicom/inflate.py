"""Deflated data sets (PS3.5 A.5), inflated in bounded steps."""

import zlib
from collections.abc import Buffer, Iterator

from service.dicom.errors import NotDicom

_MOST_MEMBERS = 1000


class Inflater:
    """Turns the blocks of a deflate stream into blocks of at most `block_size` plain bytes."""

    def __init__(self, block_size: int = 1 << 20, *, gzip: bool = False) -> None:
        """The stream is raw (PS3.5 A.5), or with `gzip` a member of RFC 1952."""
        self._block_size = block_size
        self._window = zlib.MAX_WBITS | 16 if gzip else -zlib.MAX_WBITS
        self._stream = zlib.decompressobj(self._window)
        self._members = 1
        self._most_members = _MOST_MEMBERS if gzip else 1

    @property
    def complete(self) -> bool:
        """Whether the stream has come to its end."""
        return self._stream.eof

    def push(self, block: Buffer) -> Iterator[bytes]:
        """The plain bytes that `block` gives. `NotDicom` if the stream is damaged.

        zlib may hold bytes back when its output is full, even with no input left: only a call that
        gives less than it might says that all is out. Behind a gzip member another one may follow
        (RFC 1952 2.2); behind a raw stream only padding.
        """
        data = block
        while True:
            if self._stream.eof:
                if self._most_members == 1 or not memoryview(data).nbytes:
                    return
                self._begin_member()
            try:
                plain = self._stream.decompress(data, self._block_size)
            except zlib.error as cause:
                raise NotDicom("The deflated data are damaged.") from cause
            if plain:
                yield plain
            if self._stream.eof:
                data = self._stream.unused_data
                continue
            data = self._stream.unconsumed_tail
            if not data and len(plain) < self._block_size:
                return

    def _begin_member(self) -> None:
        self._members += 1
        if self._members > self._most_members:
            raise NotDicom(f"The body has more than {self._most_members} gzip members.")
        self._stream = zlib.decompressobj(self._window)
