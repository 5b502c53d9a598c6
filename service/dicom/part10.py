"""DICOM files (PS3.10): preamble and file meta information, written and read."""

import struct
from dataclasses import dataclass

from service.dicom.errors import NotDicom
from service.dicom.syntaxes import EXPLICIT_LE, IMPLICIT_LE

# Derived from a UUID (PS3.5 B.2); names this implementation in file meta and associations.
IMPLEMENTATION_CLASS_UID = "2.25.213221492163298996917710006049669748324"
IMPLEMENTATION_VERSION_NAME = "ISTHMUS_0_1"

PREAMBLE_LENGTH = 128
PREFIX = b"DICM"

MAX_HEAD = 64 << 10

_LONG = frozenset((b"OB", b"UN"))
# PS3.5 Table 7.1-1: VRs whose length has 32 bits.
_LONG_LENGTH = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_READ_META = frozenset((0x0002, 0x0003, 0x0010))


def _element(group_element: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr in (b"UI", b"OB") else b" "
    head = struct.pack("<HH", group_element >> 16, group_element & 0xFFFF) + vr
    if vr in _LONG:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def file_head(sop_class: str, sop_instance: str, syntax: str, *, source_ae_title: str = "") -> bytes:
    """A zeroed preamble, the prefix and the file meta information of an object (PS3.10 7.1)."""
    elements = [
        _element(0x00020001, b"OB", b"\x00\x01"),
        _element(0x00020002, b"UI", sop_class.encode("ascii")),
        _element(0x00020003, b"UI", sop_instance.encode("ascii")),
        _element(0x00020010, b"UI", syntax.encode("ascii")),
        _element(0x00020012, b"UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
        _element(0x00020013, b"SH", IMPLEMENTATION_VERSION_NAME.encode("ascii")),
    ]
    if source_ae_title:
        elements.append(_element(0x00020016, b"AE", source_ae_title.encode("ascii")))
    body = b"".join(elements)
    return bytes(PREAMBLE_LENGTH) + PREFIX + _element(0x00020000, b"UL", struct.pack("<I", len(body))) + body


@dataclass(frozen=True, slots=True)
class FileHead:
    """What preamble and file meta information say; `data_offset` is where the data set begins.

    The UIDs are as written, without padding, and empty where absent. `complete` says that the head may
    go out as it is: preamble, prefix and all that PS3.10 Table 7.1-1 demands of what we read.
    """

    sop_class: str
    sop_instance: str
    syntax: str
    data_offset: int
    complete: bool


def read_file_head(buffer: bytes) -> FileHead | None:
    """The head of the file that begins with `buffer`; `None` if more than `buffer` is needed.

    The elements of group 0002 are counted by walking them, since group lengths are sometimes absent or
    wrong. A file without a preamble, or without any file meta information, is recognised by its first
    element. `NotDicom` if it is neither, names no transfer syntax, or has more than 64 KiB of head.
    """
    start = PREAMBLE_LENGTH + len(PREFIX)
    if len(buffer) < start + 18:
        return None
    preamble = buffer[PREAMBLE_LENGTH:start] == PREFIX
    if not preamble:
        bare = _bare_data_set(buffer)
        if bare is not None:
            return bare
        start = 0
    values: dict[int, str] = {}
    position = start + _stray_group_length(buffer, start)
    complete = preamble and position == start
    while True:
        if position > MAX_HEAD:
            raise NotDicom("The file meta information is longer than 64 KiB.")
        element = _meta_element(buffer, position)
        if element is None:
            return None
        tag, value, length = element
        if tag == 0:
            break
        if tag in _READ_META:
            values[tag] = buffer[value : value + length].rstrip(b"\0 ").decode("ascii", "replace")
        position = value + length
    if not values.get(0x0010):
        raise NotDicom("The file meta information names no transfer syntax (0002,0010).")
    sop_class, sop_instance = values.get(0x0002, ""), values.get(0x0003, "")
    complete = complete and bool(sop_class) and bool(sop_instance)
    return FileHead(sop_class, sop_instance, values[0x0010], position, complete)


def _meta_element(buffer: bytes, position: int) -> tuple[int, int, int] | None:
    """Element number, place of the value and its length at `position`; number 0 behind group 0002.

    The group length, which has number 0 too, is given as 1 beyond the range of a group.
    """
    head = buffer[position : position + 12]
    if len(head) < 12:
        # A data set of less than twelve bytes cannot be: it names its own class and instance.
        return None
    group, element = struct.unpack_from("<HH", head)
    if group != 0x0002:
        return 0, position, 0
    vr = head[4:6]
    if not (vr.isalpha() and vr.isupper()):
        raise NotDicom("The file meta information is not in Explicit VR Little Endian (PS3.10 7.1).")
    number = element or 0x10000
    if vr in _LONG_LENGTH:
        return number, position + 12, struct.unpack_from("<I", head, 8)[0]
    return number, position + 8, struct.unpack_from("<H", head, 6)[0]


def _stray_group_length(buffer: bytes, position: int) -> int:
    """The size of a group length of another group that stands before group 0002, else 0.

    It is there in either form of length field, and means nothing.
    """
    group, element = struct.unpack_from("<HH", buffer, position)
    if group == 0x0002 or element:
        return 0
    sizes = (size for size in (12, 16) if buffer[position + size : position + size + 2] == b"\x02\x00")
    return next(sizes, 0)


def _bare_data_set(buffer: bytes) -> FileHead | None:
    """The head of a file that is a data set and nothing else, `None` if it begins with group 0002.

    Its transfer syntax is told by how its first element, one of group 0008, is written. Compressed
    pixel data behind it would contradict that, and are refused later.
    """
    group, element, length = struct.unpack_from("<HHI", buffer)
    vr = buffer[4:6]
    explicit = vr.isalpha() and vr.isupper()
    if group == 0x0002 and explicit:
        return None
    if group != 0x0008 or element > 0x0018 or not (explicit or length <= 1024):
        raise NotDicom("There is no DICM prefix behind a preamble of 128 bytes (PS3.10 7.1).")
    return FileHead("", "", EXPLICIT_LE if explicit else IMPLICIT_LE, 0, complete=False)
