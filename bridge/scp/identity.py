"""SOP class and instance UID in the first bytes of a data set, against those of the command set."""

import enum
import struct

from service.dicom.syntaxes import Syntax

_SOP_CLASS = 0x00080016
_SOP_INSTANCE = 0x00080018
_DELIMITERS = frozenset({0xFFFEE00D, 0xFFFEE0DD})
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_DEEPEST = 16


class Verdict(enum.Enum):
    """What the first bytes of a data set say."""

    SAME = "both UIDs are those of the command set"
    DIFFERENT = "a UID is missing or another one"
    MORE = "more bytes are needed"
    UNKNOWN = "the bytes cannot be followed"


class _CutShort(Exception):
    """The bytes end inside an element."""


class _Garbled(Exception):
    """What is there is no data element."""


def compare(head: bytes, syntax: Syntax, sop_class: str, sop_instance: str, *, whole: bool) -> Verdict:
    """Compare the UIDs in `head`, the first bytes of a data set, or all of it if `whole`.

    A deflated data set is `UNKNOWN`. Padding of either kind does not count (PS3.5 9.1).
    """
    if syntax.deflated:
        return Verdict.UNKNOWN
    wanted = {_SOP_CLASS: sop_class, _SOP_INSTANCE: sop_instance}
    walk = _Walk(head, syntax)
    at, before = 0, -1
    try:
        while wanted:
            if at >= len(head):
                return Verdict.DIFFERENT if whole else Verdict.MORE
            tag, vr, length, start = walk.element(at)
            if tag <= before:
                return Verdict.UNKNOWN
            if tag > max(wanted):
                return Verdict.DIFFERENT
            before = tag
            at = walk.skip_undefined(vr, start, 0) if length == _UNDEFINED else start + length
            if tag in wanted:
                if at > len(head):
                    return Verdict.DIFFERENT if whole else Verdict.MORE
                if head[start:at].strip(b" \0").decode("latin-1") != wanted.pop(tag):
                    return Verdict.DIFFERENT
    except _CutShort:
        return Verdict.UNKNOWN if whole else Verdict.MORE
    except _Garbled:
        return Verdict.UNKNOWN
    return Verdict.SAME


class _Walk:
    """Reads element headers in one of the three ways of PS3.5 section 7.1."""

    def __init__(self, head: bytes, syntax: Syntax) -> None:
        order = ">" if syntax.big_endian else "<"
        self._head = head
        self._implicit = syntax.implicit
        self._tag = struct.Struct(order + "HH")
        self._short = struct.Struct(order + "H")
        self._long = struct.Struct(order + "I")

    def element(self, at: int) -> tuple[int, bytes, int, int]:
        """Tag, VR (empty where there is none), length and the value's place."""
        if at + 8 > len(self._head):
            raise _CutShort
        group, number = self._tag.unpack_from(self._head, at)
        tag = group << 16 | number
        if self._implicit or group == 0xFFFE:
            return tag, b"", self._long.unpack_from(self._head, at + 4)[0], at + 8
        vr = self._head[at + 4 : at + 6]
        if not (vr.isalpha() and vr.isupper()):
            raise _Garbled
        if vr not in _LONG_VRS:
            return tag, vr, self._short.unpack_from(self._head, at + 6)[0], at + 8
        if at + 12 > len(self._head):
            raise _CutShort
        return tag, vr, self._long.unpack_from(self._head, at + 8)[0], at + 12

    def skip_undefined(self, vr: bytes, at: int, depth: int) -> int:
        """The place behind a sequence or item of undefined length that begins at `at`."""
        if depth > _DEEPEST or vr == b"UN":
            raise _Garbled  # UN of undefined length is implicit inside (PS3.5 6.2.2): rare before 0008,0018
        while True:
            tag, inner, length, start = self.element(at)
            if tag in _DELIMITERS:
                return start
            if length == _UNDEFINED:
                at = self.skip_undefined(inner, start, depth + 1)
            else:
                at = start + length
