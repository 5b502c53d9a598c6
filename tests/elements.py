"""DICOM files written element by element, so that any bytes may stand in them."""

import struct

from service.dicom.syntaxes import EXPLICIT_LE
from tests.making import CT, new_uid

LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
UNDEFINED = 0xFFFFFFFF
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def element(tag: int, vr: str, value: bytes, *, length: int | None = None) -> bytes:
    """One element in Explicit VR Little Endian; `length` is written in place of the value's own."""
    told = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    return head + (struct.pack("<HI", 0, told) if vr in LONG else struct.pack("<H", told)) + value


def implicit(tag: int, value: bytes) -> bytes:
    """One element in Implicit VR Little Endian."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def item(content: bytes, *, defined: bool = True) -> bytes:
    """An item of a sequence."""
    if defined:
        return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
    return struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED) + content + ITEM_END


def sequence(tag: int, *items: bytes, defined: bool = True, vr: str = "SQ") -> bytes:
    """A sequence of finished items."""
    content = b"".join(items)
    if defined:
        return element(tag, vr, content)
    return element(tag, vr, content + SEQUENCE_END, length=UNDEFINED)


def text(value: str) -> bytes:
    """ASCII of an even length."""
    return value.encode() + b" " * (len(value) % 2)


def uid(value: str) -> bytes:
    return value.encode() + b"\0" * (len(value) % 2)


def identity(**uids: str) -> list[bytes]:
    """The UIDs that an instance must have, new ones unless `study`, `series` or `instance` is given."""
    return [
        element(0x00080016, "UI", uid(CT)),
        element(0x00080018, "UI", uid(uids.get("instance") or new_uid())),
        element(0x0020000D, "UI", uid(uids.get("study") or new_uid())),
        element(0x0020000E, "UI", uid(uids.get("series") or new_uid())),
    ]


def file_of(*elements: bytes, syntax: str = EXPLICIT_LE, ordered: bool = True) -> bytes:
    """A file of these elements and an identity, in ascending order of their tags."""
    some = [*identity(), *elements]
    if ordered:
        some.sort(key=lambda one: struct.unpack_from("<HH", one))
    return file_head(syntax) + b"".join(some)


def file_head(syntax: str) -> bytes:
    """Preamble and file meta information."""
    meta = element(0x00020001, "OB", b"\0\1") + element(0x00020002, "UI", uid(CT))
    meta += element(0x00020010, "UI", uid(syntax))
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(meta))) + meta
