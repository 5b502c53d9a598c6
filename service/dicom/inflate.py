"""Deflated data sets (PS3.5 A.5), inflated in bounded steps."""

import zlib
from collections.abc import Buffer, Iterator

from service.dicom.errors import NotDicom


class Inflater:
    """Turns the blocks of a deflate stream into blocks of at most `block_size` plain bytes."""

    def __init__(self, block_size: int = 1 << 20, *, gzip: bool = False) -> None:
        """The stream is raw (PS3.5 A.5), or with `gzip` a member of RFC 1952."""
        self._block_size = block_size
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16 if gzip else -zlib.MAX_WBITS)

    @property
    def complete(self) -> bool:
        """Whether the stream has come to its end."""
        return self._stream.eof

    def push(self, block: Buffer) -> Iterator[bytes]:
        """The plain bytes that `block` gives. `NotDicom` if the stream is damaged.

        zlib may hold bytes back when its output is full, even with no input left: only a call that
        gives less than it might says that all is out.
        """
        data = block
        while not self._stream.eof:
            try:
                plain = self._stream.decompress(data, self._block_size)
            except zlib.error as cause:
                raise NotDicom("The deflated data are damaged.") from cause
            if plain:
                yield plain
            data = self._stream.unconsumed_tail
            if not data and len(plain) < self._block_size:
                return
