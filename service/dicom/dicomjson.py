"""Values as members of a DICOM JSON object (PS3.18 annex F): bytes of an element in, JSON bytes out.

The output is UTF-8 and holds no control characters but the slots of `record`.
"""

import array
import binascii
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import orjson

from service.dicom import text
from service.dicom.record import BASE_SLOT
from service.dicom.vr import LUT_DESCRIPTORS, WORD

CHARACTER_SET_MEMBER = b'"00080005":{"vr":"CS","Value":["ISO_IR 192"]}'

_PADDING = " \0"
# RFC 8259 section 6, and the spellings beyond it that PS3.5 6.2 allows for DS and IS.
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_DICOM_NUMBER = re.compile(r"([+-]?)(?=\.?[0-9])0*([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?")
_EXACT = 1 << 53  # whole numbers below it survive a double (PS3.18 F.2.2, RFC 8259 section 6)
_LONGEST = 16  # characters of a DS (PS3.5 Table 6.2-1)
_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")

NOT_A_NUMBER = "holds text that is not a number"
LONG_NUMBER = "holds a number of more than 16 characters"
CUT_WORD = "has a length that does not fit its value representation"
MORE_GROUPS = "has more than three component groups"


@dataclass(slots=True)
class Reading:
    """How values are to be read, and what was odd about those read so far."""

    charset: text.CharacterSet = text.DEFAULT
    big_endian: bool = False
    odd: list[str] = field(default_factory=list)


Writer = Callable[[int, str, bytes, Reading], bytes | None]


def value_member(tag: int, vr: str, value: bytes, reading: Reading) -> bytes | None:
    """The member `"GGGGEEEE":{…}` of one element that is not a sequence.

    `None` if the value has no representation in JSON (a number that is not finite) and needs a
    BulkDataURI. What is odd about the value is added to `reading.odd`, in words that follow "the
    attribute". Never fails, whatever the bytes.
    """
    tail = _WRITERS[vr](tag, vr, value, reading) if value else b""
    if tail is None:
        return None
    return b'"%08X":{"vr":"%s"%s}' % (tag, vr.encode("ascii"), tail)


def bulk_member(tag: int, vr: str, path: str) -> bytes:
    """A member whose value is to be had at `path` below the instance's bulk data (PS3.18 F.2.2)."""
    place = path.encode("ascii")
    return b'"%08X":{"vr":"%s","BulkDataURI":"%s/bulkdata/%s"}' % (tag, vr.encode("ascii"), BASE_SLOT, place)


def sequence_member(tag: int, items: list[bytes]) -> bytes:
    """A sequence of finished items."""
    if not items:
        return b'"%08X":{"vr":"SQ"}' % tag
    return b'"%08X":{"vr":"SQ","Value":[%s]}' % (tag, b",".join(items))


def little_endian(vr: str, value: bytes) -> bytes:
    """`value`, read in big endian, in little endian (PS3.5 7.3). Bytes behind the last whole word stay."""
    width = WORD.get(vr, 1)
    if width == 1:
        return value
    whole = len(value) - len(value) % width
    words = array.array({2: "H", 4: "I", 8: "Q"}[width], value[:whole])
    words.byteswap()
    return words.tobytes() + value[whole:]


def _values(items: list[object]) -> bytes:
    return b',"Value":' + orjson.dumps(items)


def _decoded(value: bytes, reading: Reading, *, name: bool = False) -> str:
    decoded, flaw = reading.charset.decode(value, name=name)
    if flaw is not None:
        reading.odd.append(flaw)
    return decoded


def _strings(tag: int, vr: str, value: bytes, reading: Reading) -> bytes:
    """AE AS CS DA DT LO SH TM UI: several values, spaces around them without meaning (PS3.5 6.2)."""
    decoded = _decoded(value, reading).rstrip(_PADDING)
    if "\\" in decoded:
        return _values([part.strip(_PADDING) or None for part in decoded.split("\\")])
    decoded = decoded.lstrip(_PADDING)
    return b',"Value":[%s]' % orjson.dumps(decoded) if decoded else b""


def _unlimited(tag: int, vr: str, value: bytes, reading: Reading) -> bytes:
    """UC: several values, leading spaces belong to them."""
    decoded = _decoded(value, reading).rstrip(_PADDING)
    return _values([part.rstrip(_PADDING) or None for part in decoded.split("\\")]) if decoded else b""


def _text(tag: int, vr: str, value: bytes, reading: Reading) -> bytes:
    """LT ST UT UR: one value, in which a backslash is a character."""
    decoded = _decoded(value, reading).rstrip(_PADDING)
    return b',"Value":[%s]' % orjson.dumps(decoded) if decoded else b""


def _names(tag: int, vr: str, value: bytes, reading: Reading) -> bytes:
    decoded = _decoded(value, reading, name=True).strip(_PADDING)
    if not decoded:
        return b""
    return _values([_name(part, reading) for part in decoded.split("\\")])


def _name(decoded: str, reading: Reading) -> dict[str, str] | None:
    """The component groups of one person name (PS3.5 6.2.1), the empty ones left out."""
    groups = [group.strip(_PADDING) for group in decoded.split("=")]
    if len(groups) > len(_NAME_GROUPS):
        reading.odd.append(MORE_GROUPS)
    return {key: group for key, group in zip(_NAME_GROUPS, groups, strict=False) if group} or None


def _decimals(tag: int, vr: str, value: bytes, reading: Reading) -> bytes:
    """DS and IS: the digits as they are written where JSON can, a string where it cannot."""
    decoded = _decoded(value, reading).strip(_PADDING)
    if not decoded:
        return b""
    return b',"Value":[%s]' % b",".join(
        [_decimal(part.strip(_PADDING), reading) for part in decoded.split("\\")]
    )


def _decimal(written: str, reading: Reading) -> bytes:
    if not written:
        return b"null"
    if len(written) > _LONGEST:
        reading.odd.append(LONG_NUMBER)
    if _JSON_NUMBER.fullmatch(written):
        if len(written) <= 15 and "e" not in written and "E" not in written:
            return written.encode("ascii")
        number = written
    else:
        match = _DICOM_NUMBER.fullmatch(written) if len(written) <= 64 else None
        if match is None:
            reading.odd.append(NOT_A_NUMBER)
            return orjson.dumps(written)
        sign, whole, fraction, exponent = match.groups()
        number = ("-" if sign == "-" else "") + (whole or "0")
        number += ("." + fraction if fraction else "") + ("e" + exponent if exponent else "")
    if abs(float(number)) < _EXACT:
        return number.encode("ascii")
    return orjson.dumps(written)


def _numbers(tag: int, vr: str, value: bytes, reading: Reading) -> bytes | None:
    """FL FD SL SS SV UL US UV: one JSON number each, or a string beyond what a double holds exactly."""
    code, width = _FORMATS[vr]
    count, rest = divmod(len(value), width)
    if rest:
        reading.odd.append(CUT_WORD)
    if not count:
        return b""
    order = ">" if reading.big_endian else "<"
    numbers: list[object] = list(struct.unpack_from(f"{order}{count}{code}", value))
    if tag in LUT_DESCRIPTORS and vr == "SS" and count == 3:
        numbers[0::2] = struct.unpack_from(f"{order}H2xH", value)
    if width == 8 and code != "d":
        numbers = [n if isinstance(n, int) and -_EXACT < n < _EXACT else str(n) for n in numbers]
    written = orjson.dumps(numbers)
    if code in "fd" and b"null" in written:  # how orjson writes what is not finite
        return None
    return b',"Value":' + written


_FORMATS = {
    "FL": ("f", 4), "FD": ("d", 8), "SL": ("i", 4), "SS": ("h", 2),
    "SV": ("q", 8), "UL": ("I", 4), "US": ("H", 2), "UV": ("Q", 8),
}  # fmt: skip


def _tags(tag: int, vr: str, value: bytes, reading: Reading) -> bytes:
    count, rest = divmod(len(value), 4)
    if rest:
        reading.odd.append(CUT_WORD)
    if not count:
        return b""
    halves = struct.unpack_from(f"{'>' if reading.big_endian else '<'}{count * 2}H", value)
    return _values([f"{halves[i]:04X}{halves[i + 1]:04X}" for i in range(0, count * 2, 2)])


def _binary(tag: int, vr: str, value: bytes, reading: Reading) -> bytes:
    if reading.big_endian:
        value = little_endian(vr, value)
    return b',"InlineBinary":"%s"' % binascii.b2a_base64(value, newline=False)


_WRITERS: Mapping[str, Writer] = {
    **dict.fromkeys(["AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UI"], _strings),
    **dict.fromkeys(["LT", "ST", "UT", "UR"], _text),
    **dict.fromkeys(["DS", "IS"], _decimals),
    **dict.fromkeys(_FORMATS, _numbers),
    **dict.fromkeys(["OB", "OD", "OF", "OL", "OV", "OW", "UN"], _binary),
    "AT": _tags,
    "PN": _names,
    "UC": _unlimited,
}  # fmt: skip
