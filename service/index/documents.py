"""The DICOM JSON of instances at rest: compressed against the first instance of their series.

Instances of a series differ in little but positions, UIDs and times, so that the first one, given to
zstandard as a dictionary, leaves a few hundred bytes of each.
"""

import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import orjson
import zstandard

from service.dicom.describing import describe
from service.dicom.record import BASE_SLOT, SYNTAXES_SLOT, Description
from service.index.bundles import in_blocks

_LEVEL = 3
_DICTIONARY_BYTES = 128 * 1024  # of the first instance; beyond it a document repeats itself
_KEPT = 64  # dictionaries of recent series, per connection

# Stands for the base URL while a document is parsed: nobody could put it into a text beforehand.
_BASE_STAND_IN = f"\ufdd0{secrets.token_hex(8)}"


def new_dictionary(document: bytes) -> bytes:
    """What is kept with a series whose first instance is `document`."""
    return zstandard.ZstdCompressor(level=_LEVEL).compress(document[:_DICTIONARY_BYTES])


class Dictionaries:
    """Dictionaries ready for use, by series row; one thread at a time."""

    def __init__(self) -> None:
        self._ready: OrderedDict[int, zstandard.ZstdCompressionDict] = OrderedDict()

    def get(self, series: int, read: Callable[[], bytes]) -> zstandard.ZstdCompressionDict:
        """The dictionary of `series`, which `read` returns as it is stored."""
        found = self._ready.get(series)
        if found is None:
            content = zstandard.ZstdDecompressor().decompress(read())
            found = zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
            found.precompute_compress(level=_LEVEL)
            self._ready[series] = found
            while len(self._ready) > _KEPT:
                self._ready.popitem(last=False)
        else:
            self._ready.move_to_end(series)
        return found

    def forget(self) -> None:
        """Drop all: a transaction that made series was undone, and their numbers may be given again."""
        self._ready.clear()


def pack(document: bytes, dictionary: zstandard.ZstdCompressionDict) -> bytes:
    """`document`, compressed."""
    return zstandard.ZstdCompressor(level=_LEVEL, dict_data=dictionary).compress(document)


def unpack(packed: bytes, dictionary: zstandard.ZstdCompressionDict) -> bytes:
    """The document that `pack` was given."""
    return zstandard.ZstdDecompressor(dict_data=dictionary).decompress(packed)


@dataclass(frozen=True, slots=True)
class PackedDocuments:
    """The documents of a resource, read in one snapshot and unpacked one at a time.

    `rows` holds (series row, packed JSON, syntax and pixels); `dictionaries` is by series row, as stored.
    """

    generation: str
    rows: Sequence[tuple[int, bytes, str]]
    dictionaries: Mapping[int, bytes]

    @property
    def count(self) -> int:
        return len(self.rows)

    @property
    def scattered(self) -> int:
        return max(Counter(series for series, *_ in self.rows).values(), default=0)

    def blocks(self) -> Iterator[tuple[bytes, str]]:
        # Each series for itself, as its bundle has it: what a coding makes of blocks depends on their ends.
        for _, rows in groupby(self.rows, itemgetter(0)):
            yield from in_blocks(PackedDocuments(self.generation, list(rows), self.dictionaries))

    def __iter__(self) -> Iterator[tuple[bytes, str]]:
        current, reader = -1, zstandard.ZstdDecompressor()
        for series, packed, syntax in self.rows:
            if series != current:
                content = zstandard.ZstdDecompressor().decompress(self.dictionaries[series])
                dictionary = zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
                current, reader = series, zstandard.ZstdDecompressor(dict_data=dictionary)
            yield reader.decompress(packed), syntax


def generation(era: int, count: int, last: int | None, total: int | None) -> str:
    """The tag of a resource that has `count` rows, of which `last` is the highest and `total` the sum.

    `era` tells the index from another one whose rows have the same numbers.
    """
    return f"{count}-{last or 0}-{total or 0}-{era:x}"


def new_era() -> int:
    """A number that no other index has, but by chance: from 1 up to 31 bits."""
    return secrets.randbelow(0x7FFFFFFF) + 1


def parse(document: bytes) -> dict[str, object]:
    """A stored document as a data set; where the base URL goes, a stand-in that `member` turns back."""
    filled = document.replace(BASE_SLOT, _BASE_STAND_IN.encode()).replace(SYNTAXES_SLOT, b"")
    parsed = orjson.loads(filled)
    return parsed if isinstance(parsed, dict) else {}


def member(tag: str, element: object) -> bytes:
    """A member of a parsed document as stored JSON, with its slots."""
    return (b'"%s":' % tag.encode() + orjson.dumps(element)).replace(_BASE_STAND_IN.encode(), BASE_SLOT)


def describe_document(document: bytes) -> Description:
    """What the index keeps of the instance that `document` is of."""
    return describe({int(tag, 16): member(tag, element) for tag, element in parse(document).items()})
