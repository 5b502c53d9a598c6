"""Bundles: the documents of a whole series joined and compressed as one, so that reading them is one read.

A bundle is an answer that waits for its slots to be filled. It says which generation of its series it is of,
and who reads it compares that with the rows: one that is out of date is passed over, and the answer comes
from the rows. It is made beside the writers, by `fold`, and none of them ever waits for it.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson
import zstandard

from service.dicom.resource import Resource
from service.index.port import FEWEST, Bundle, Documents

FORM = 1
"""How contents are written; to be raised with any change of it: pods pass over what they cannot read."""
MOST_BYTES = 64 << 20
"""Of text; longer ones are streamed from the rows."""
_BLOCK = 64 << 10  # bytes: what is filled at once stays in the processor's cache, and in memory used before
_LEVEL = 1  # as small as the default level, and faster
_SUM = struct.Struct("<I")  # the CRC-32 of all that follows
_HEAD = struct.Struct("<4xI")  # behind it the size of the layout, which stands before the text

type Document = tuple[bytes, str]


def in_blocks(documents: Iterable[Document]) -> Iterator[Document]:
    """`documents` with commas between those of a block, as `Documents.blocks` says."""
    for members, told in _gathered(documents):
        yield b",".join(members), told


def pack_bundle(documents: Documents) -> Bundle:
    """The documents of a series as a bundle; one without content where they are too long for that."""
    layout: list[tuple[str, list[int]]] = []
    packing = zstandard.ZstdCompressor(_LEVEL).compressobj()
    packed: list[bytes] = []
    size = 0
    for members, told in _gathered(documents):
        layout.append((told, [len(document) for document in members]))
        text = b",".join(members)
        size += len(text)
        if size > MOST_BYTES:
            return Bundle(documents.generation, b"")
        packed.append(packing.compress(text))
    head = zstandard.ZstdCompressor(_LEVEL).compress(orjson.dumps(layout))
    content = bytearray().join((_HEAD.pack(len(head)), head, *packed, packing.flush()))
    _SUM.pack_into(content, 0, _sum_of(content))
    return Bundle(documents.generation, bytes(content))


def is_whole(content: bytes) -> bool:
    """Whether `content` is that of a bundle as it was made: neither empty nor damaged since."""
    return len(content) > _HEAD.size and _SUM.unpack_from(content) == (_sum_of(content),)


def _sum_of(content: bytes | bytearray) -> int:
    return zlib.crc32(memoryview(content)[_SUM.size :])


def _gathered(documents: Iterable[Document]) -> Iterator[tuple[list[bytes], str]]:
    """Runs of documents that tell the same of their syntaxes, each of about `_BLOCK` bytes."""
    members: list[bytes] = []
    size, current = 0, ""
    for document, told in documents:
        if members and (told != current or size >= _BLOCK):
            yield members, current
            members, size = [], 0
        members.append(document)
        size += len(document)
        current = told
    if members:
        yield members, current


@dataclass(frozen=True, slots=True)
class BundledDocuments:
    """The documents of a series that has a bundle, whose `content` is whole."""

    generation: str
    count: int
    content: bytes

    @property
    def scattered(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Document]:
        for (text, told), (_, sizes) in zip(self.blocks(), self._layout(), strict=True):
            begin = 0
            for size in sizes:
                yield text[begin : begin + size], told
                begin += size + 1

    def blocks(self) -> Iterator[Document]:
        (length,) = _HEAD.unpack_from(self.content)
        text = memoryview(self.content)[_HEAD.size + length :]
        with zstandard.ZstdDecompressor().stream_reader(text) as reader:
            for told, sizes in self._layout():
                yield reader.read(sum(sizes) + len(sizes) - 1), told

    def _layout(self) -> list[tuple[str, list[int]]]:
        """What each block tells of its syntaxes, and the sizes of its documents in bytes."""
        (length,) = _HEAD.unpack_from(self.content)
        packed = memoryview(self.content)[_HEAD.size : _HEAD.size + length]
        layout: list[tuple[str, list[int]]] = orjson.loads(zstandard.ZstdDecompressor().decompress(packed))
        return layout


@dataclass(frozen=True, slots=True)
class JoinedDocuments:
    """The documents of several series, one after the other, all read in one snapshot."""

    generation: str
    pieces: Sequence[Documents]

    @property
    def count(self) -> int:
        return sum(piece.count for piece in self.pieces)

    @property
    def scattered(self) -> int:
        return max((piece.scattered for piece in self.pieces), default=0)

    def __iter__(self) -> Iterator[Document]:
        for piece in self.pieces:
            yield from piece

    def blocks(self) -> Iterator[Document]:
        for piece in self.pieces:
            yield from piece.blocks()


class Unfolded(Protocol):
    """What `fold` needs of an index."""

    def documents(self, resource: Resource, *, unless: str | None = None) -> Documents | None:
        """As `Index.documents`."""
        ...

    def unready(self, resource: Resource) -> list[Resource]:
        """As `Bundles.unready`."""
        ...

    def keep(self, series: Resource, bundle: Bundle) -> bool:
        """As `Bundles.keep`."""
        ...


def fold(index: Unfolded, resource: Resource) -> int:
    """Make the bundles that `resource` lacks, series by series; how many were kept."""
    kept = 0
    for series in index.unready(resource):
        documents = index.documents(series)
        if documents is not None and documents.count >= FEWEST:
            kept += index.keep(series, pack_bundle(documents))
    return kept
