"""Studies and series as one ZIP file, for clients that ask for `application/zip` (APPNOTE.TXT 6.3.10).

The objects lie in it as they are stored, uncompressed: pixel data hardly shrink, and the size is known
before the first byte. Beyond 4 GiB or 65,535 files it is a ZIP64.
"""

import struct
from collections.abc import Buffer, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from isal import isal_zlib

from service.archive.port import Lacks
from service.archive.reading import object_blocks, object_size
from service.dicom.errors import NotAcceptable, StoreUnavailable
from service.dicom.media import MediaRange
from service.dicom.record import Held
from service.dicom.resource import Level, Resource
from service.web.bulkdata import Asked
from service.web.collected import gaps
from service.web.conditional import entity_tag
from service.web.request import warning
from service.web.sending import Body

ZIP = "application/zip"

_KEPT = 8 << 20  # bytes of an object that is read once; a larger one is read once more for its checksum
_UTF8_NAMES = 0x0800
_DATE = 0x0021  # 1 January 1980, so that the same content is the same file
_PLAIN, _LARGE = 20, 45  # versions needed to extract
_MADE_BY = 3 << 8 | _LARGE  # on Unix, whose file modes follow
_MODE = 0o100644 << 16
_MOST_32, _MOST_16 = 0xFFFFFFFF, 0xFFFF
_LOCAL = struct.Struct("<4sHHHHHLLLHH")
_CENTRAL = struct.Struct("<4sHHHHHHLLLHHHHHLL")
_END_64 = struct.Struct("<4sQHHLLQQQQ")
_LOCATOR_64 = struct.Struct("<4sLQL")
_END = struct.Struct("<4sHHHHLLH")
_NOTE = """\
{what} from {base}

{count} DICOM files, as they are stored. A file's name is its SOP Instance UID, its folder's the
Series Instance UID.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in the archive: `offset` is where its local header stands, `size` and `crc` are of its bytes."""

    name: bytes
    size: int
    crc: int = 0
    offset: int = 0

    def local(self) -> bytes:
        """The header before its bytes."""
        large = self.size >= _MOST_32  # the largest number says by itself that the true one stands elsewhere
        size = _MOST_32 if large else self.size
        extra = struct.pack("<HHQQ", 1, 16, self.size, self.size) if large else b""
        version = _LARGE if large else _PLAIN
        head = (
            b"PK\3\4",
            version,
            _UTF8_NAMES,
            0,
            0,
            _DATE,
            self.crc,
            size,
            size,
            len(self.name),
            len(extra),
        )
        return _LOCAL.pack(*head) + self.name + extra

    def central(self) -> bytes:
        """Its line in the directory at the end."""
        large = [self.size, self.size] if self.size >= _MOST_32 else []
        large += [self.offset] if self.offset >= _MOST_32 else []
        extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
        size, offset = min(self.size, _MOST_32), min(self.offset, _MOST_32)
        version = _LARGE if large else _PLAIN
        head = (b"PK\1\2", _MADE_BY, version, _UTF8_NAMES, 0, 0, _DATE, self.crc, size, size)
        return _CENTRAL.pack(*head, len(self.name), len(extra), 0, 0, 0, _MODE, offset) + self.name + extra


def is_wanted(ranges: Sequence[MediaRange]) -> bool:
    """Whether ZIP is the first of the most wanted types that are named."""
    named = [one for one in ranges if one.quality > 0 and not one.type.endswith("*")]
    best = max(named, key=lambda one: one.quality, default=None)
    return best is not None and best.type == ZIP and not best.multipart


def zip_body(asked: Asked, resource: Resource) -> Body:
    """The instances of `resource` in a ZIP file.

    Those whose objects are missing are left out, with status 206 and a Warning. `NotAcceptable` where
    other transfer syntaxes than the stored ones are asked for, or nothing is left.
    """
    everything = asked.archive.instances(resource)
    lost = gaps(asked, resource, everything)
    held = [one for one in everything if one.row not in lost]
    syntaxes = {name for one in asked.ranges if one.type == ZIP for name in one.syntaxes}
    if syntaxes and "*" not in syntaxes and not {one.syntax for one in held} <= syntaxes:
        raise NotAcceptable(
            "A ZIP file holds the objects in the transfer syntaxes they are stored in.", (ZIP,)
        )
    if not held:
        raise NotAcceptable("None of the objects can be read.")
    name = resource.series or resource.study
    status, headers = 200, {"Content-Disposition": f'attachment; filename="{name}.zip"'}
    lacking = asked.archive.lacking(resource) if isinstance(asked.archive, Lacks) else 0
    if lost or lacking:
        status = 206  # PS3.18 Table 10.4.3-1
        text = f"{len(lost) + lacking} of {len(everything) + lacking} instances cannot be sent."
        headers["Warning"] = warning(asked.base, text)
    note = _note(asked, resource, len(held))
    size = _size([Entry(b"README.txt", len(note)), *(Entry(_name(one), _length(one)) for one in held)])
    tag = entity_tag(ZIP, note, *(one.digest + one.object_key.encode() for one in held))
    blocks = partial(zip_blocks, asked, held, note)
    return Body(ZIP, blocks, size, tag, status=status, headers=headers, bound=size)


def zip_blocks(asked: Asked, held: Sequence[Held], note: bytes) -> Iterator[Buffer]:
    """The ZIP file: each object once in memory at most, whatever the number of them."""
    entries = [Entry(b"README.txt", len(note), isal_zlib.crc32(note))]
    yield entries[0].local()
    yield note
    offset = len(entries[0].local()) + len(note)
    for one in held:
        crc, blocks = _checked(asked, one)
        entry = Entry(_name(one), _length(one), crc, offset)
        head = entry.local()
        yield head
        yield from blocks
        entries.append(entry)
        offset += len(head) + entry.size
    for entry in entries:
        yield entry.central()
    yield _ending(entries, offset)


def _checked(asked: Asked, held: Held) -> tuple[int, Iterator[Buffer]]:
    """The checksum of an object, which has to stand before it, and its blocks."""
    kept: list[Buffer] = []
    crc = 0
    for block in object_blocks(asked.archive, held, held.syntax, asked.block_size):
        crc = isal_zlib.crc32(block, crc)
        if _length(held) <= _KEPT:
            kept.append(block)
    if kept:
        return crc, iter(kept)
    return crc, _same(object_blocks(asked.archive, held, held.syntax, asked.block_size), crc)


def _same(blocks: Iterator[Buffer], told: int) -> Iterator[Buffer]:
    """`blocks`, an error at their end if their checksum is another than what was told of them."""
    crc = 0
    for block in blocks:
        crc = isal_zlib.crc32(block, crc)
        yield block
    if crc != told:  # others can write to adopted objects
        raise StoreUnavailable("An object changed while it was read.")


def _ending(entries: Sequence[Entry], offset: int) -> bytes:
    """What closes a directory that begins at `offset`."""
    count, size = len(entries), sum(len(entry.central()) for entry in entries)
    large = b""
    if _is_large(count, size, offset):
        large = _END_64.pack(b"PK\6\6", 44, _MADE_BY, _LARGE, 0, 0, count, count, size, offset)
        large += _LOCATOR_64.pack(b"PK\6\7", 0, offset + size, 1)
    told = min(count, _MOST_16)
    return large + _END.pack(b"PK\5\6", 0, 0, told, told, min(size, _MOST_32), min(offset, _MOST_32), 0)


def _size(entries: Sequence[Entry]) -> int:
    """The size of the whole file, by laying it out."""
    offset = directory = 0
    for entry in entries:
        placed = Entry(entry.name, entry.size, 0, offset)
        offset += len(placed.local()) + entry.size
        directory += len(placed.central())
    large = _END_64.size + _LOCATOR_64.size if _is_large(len(entries), directory, offset) else 0
    return offset + directory + large + _END.size


def _is_large(count: int, size: int, offset: int) -> bool:
    """Whether a directory needs more than the numbers of a plain ending."""
    return count >= _MOST_16 or size >= _MOST_32 or offset >= _MOST_32


def _length(held: Held) -> int:
    size = object_size(held, held.syntax)
    assert size is not None  # as stored, it is not written anew
    return size


def _name(held: Held) -> bytes:
    return f"{held.key.series}/{held.key.instance}.dcm".encode("ascii")


def _note(asked: Asked, resource: Resource, count: int) -> bytes:
    what = f"Series {resource.series}" if resource.level is Level.SERIES else f"Study {resource.study}"
    return _NOTE.format(what=what, base=asked.base, count=count).encode("ascii")
