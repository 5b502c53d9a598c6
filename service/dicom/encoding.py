"""Elements of DICOM JSON as bytes in any uncompressed transfer syntax and character set (PS3.5 6 and 7).

Odd values never fail: what cannot be written as its value representation is written empty.
"""

import binascii
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from service.dicom.attributes import CHARACTER_SET, find_tag
from service.dicom.dicomjson import little_endian
from service.dicom.elements import ITEM
from service.dicom.identifier import Key
from service.dicom.privates import PrivateBlock, as_asked, is_creator, is_private
from service.dicom.repertoire import UNICODE, Repertoire
from service.dicom.syntaxes import Syntax
from service.dicom.vr import BINARY, KNOWN, LONG
from service.dicom.writing import padding

_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_NUMBERS = {
    "FL": "f", "FD": "d", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q",
}  # fmt: skip
_TEXT = KNOWN - BINARY - _NUMBERS.keys() - {"AT", "SQ"}
_LONGEST_DECIMAL = 16  # characters of a DS (PS3.5 Table 6.2-1)
_REMEMBERED = 256  # values of one attribute
_SHORT = 64  # characters of a value that is worth remembering
_DEPTH = 64


class Form:
    """The heads of elements in one transfer syntax."""

    def __init__(self, syntax: Syntax) -> None:
        order = ">" if syntax.big_endian else "<"
        self.order = order
        self.big_endian = syntax.big_endian
        self._implicit = syntax.implicit
        self._plain = struct.Struct(order + "HHI")
        self._short = struct.Struct(order + "HH2sH")
        self._long = struct.Struct(order + "HH2sHI")

    def head(self, tag: int, vr: str, length: int) -> bytes:
        """Tag, value representation and length; UN where the length does not fit (PS3.5 6.2.2)."""
        group, element = tag >> 16, tag & 0xFFFF
        if self._implicit or group == 0xFFFE:
            return self._plain.pack(group, element, length)
        if vr not in LONG:
            if length <= 0xFFFF:
                return self._short.pack(group, element, vr.encode("ascii"), length)
            vr = "UN"
        return self._long.pack(group, element, vr.encode("ascii"), 0, length)

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        """A whole element, its value padded to an even length."""
        if len(value) % 2:
            value += padding(vr, len(value))
        return self.head(tag, vr, len(value)) + value


@dataclass(frozen=True, slots=True)
class Column:
    """One element of all answers: where it is in a match, and how it looks without a value.

    `told` is its value where that is the same in all of them. An `optional` one is left out without an
    element in the match. `columns` are those of a sequence's items, none for whatever they hold.
    """

    tag: int
    key: str
    vr: str
    empty: bytes
    told: Mapping[str, Any] | None = None
    optional: bool = False
    columns: tuple["Column", ...] = ()
    blocks: tuple[PrivateBlock, ...] = ()
    is_text: bool = False
    known: dict[str, bytes] = field(default_factory=dict)
    heads: dict[int, bytes] = field(default_factory=dict)  # by the length of the value

    @classmethod
    def of(
        cls,
        form: Form,
        key: Key,
        *,
        told: str | None = None,
        optional: bool = False,
        held: bool = True,
        depth: int = 0,
    ) -> Self:
        """The column of an asked key, without a value in any match unless it is `held`."""
        found = find_tag(f"{key.tag:08X}")
        vr = (found[1] if found is not None else "") or key.vr
        vr = "LO" if is_creator(key.tag) else vr if vr in KNOWN else "UN"
        columns: tuple[Column, ...] = ()
        blocks: tuple[PrivateBlock, ...] = ()
        if vr == "SQ" and key.items and depth < _DEPTH:
            inner = sorted((one for one in key.items[0] if one.tag != CHARACTER_SET), key=lambda one: one.tag)
            creators = [one for one in inner if is_creator(one.tag) and one.text]
            columns = tuple(
                cls.of(form, one, told=one.text if one in creators else None, depth=depth + 1)
                for one in inner
            )
            if any(is_private(one.tag) for one in inner):
                blocks = tuple(PrivateBlock(c.tag >> 16, c.tag & 0xFF, c.text) for c in creators)
        return cls(
            tag=key.tag,
            key=f"{key.tag:08X}" if held else "",
            vr=vr,
            empty=form.head(key.tag, vr, 0),
            told=None if told is None else {"vr": vr, "Value": [told]},
            optional=optional,
            columns=columns,
            blocks=blocks,
            is_text=vr in _TEXT,
        )


def data_set(dataset: Mapping[str, Any], syntax: Syntax, charset: Repertoire) -> bytes:
    """All of a parsed DICOM JSON object as a data set, deflated ones plain.

    Text is in `charset` if that has all its characters, else in UTF-8; what is not ASCII is declared.
    """
    form = Form(syntax)
    try:
        return _whole(dataset, Encoder(form, charset))
    except UnicodeEncodeError:
        return _whole(dataset, Encoder(form, UNICODE))


def _whole(dataset: Mapping[str, Any], encoder: "Encoder") -> bytes:
    written = {tag: encoder.element(tag, element) for tag, element in _elements(dataset)}
    if encoder.beyond_ascii:
        written[CHARACTER_SET] = encoder.declaration()
    return b"".join(written[tag] for tag in sorted(written))


def _elements(dataset: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """The elements that belong into a data set, without the character set, which is that of the writer."""
    return [
        (int(key, 16), dataset[key])
        for key in sorted(dataset)
        if _is_tag(key) and int(key, 16) != CHARACTER_SET and isinstance(dataset[key], Mapping)
    ]


class Encoder:
    """Writes elements in a form and a character set.

    `beyond_ascii` becomes true with the first character that is not ASCII. With `replace`, characters
    that the set lacks become question marks, else they raise `UnicodeEncodeError`.
    """

    def __init__(self, form: Form, charset: Repertoire, *, replace: bool = False) -> None:
        self.beyond_ascii = False
        self.form = form
        self.charset = charset
        self._encode = charset.replaced if replace else charset.encode

    def declaration(self) -> bytes:
        """The element that names the character set, empty for the default repertoire."""
        return self.form.element(CHARACTER_SET, "CS", self.charset.terms.encode("ascii"))

    def elements(self, columns: Sequence[Column], dataset: Mapping[str, Any]) -> list[bytes]:
        """The elements of `columns`, in their order; text in the VR of its column, whatever VR it had."""
        pieces: list[bytes] = []
        for column in columns:
            element = column.told or dataset.get(column.key)
            if type(element) is not dict:
                if not column.optional:
                    pieces.append(column.empty)
                continue
            values = element.get("Value")
            # One text is what nearly every attribute of an answer is.
            if column.is_text and type(values) is list and len(values) == 1:
                first = values[0]
                text = first if type(first) is str else _written(column.vr, first)
                pieces.append(column.known.get(text) or self._text(column, text))
            else:
                pieces.append(self.element(column.tag, element, column))
        return pieces

    def _text(self, column: Column, text: str) -> bytes:
        value = self._encoded(column.vr, text)
        if len(value) % 2:
            value += b"\0" if column.vr == "UI" else b" "
        head = column.heads.get(len(value))
        if head is None:
            head = column.heads[len(value)] = self.form.head(column.tag, column.vr, len(value))
        written = head + value
        if len(written) <= _SHORT and text.isascii():
            if len(column.known) >= _REMEMBERED:
                column.known.clear()
            column.known[text] = written
        return written

    def _encoded(self, vr: str, text: str) -> bytes:
        if text.isascii():
            return text.encode("ascii")
        self.beyond_ascii = True
        return self._encode(text, name=vr == "PN")

    def element(
        self, tag: int, element: Mapping[str, Any], column: Column | None = None, depth: int = 0
    ) -> bytes:
        """One element of DICOM JSON; empty if its value is elsewhere, or none that its VR has."""
        vr = element.get("vr")
        if vr not in KNOWN:
            vr = "UN" if column is None else column.vr
        if vr == "SQ":
            return self._sequence(tag, element, column, depth)
        return self.form.element(tag, vr, self._value(vr, element))

    def _value(self, vr: str, element: Mapping[str, Any]) -> bytes:
        inline, values = element.get("InlineBinary"), element.get("Value")
        try:
            if inline is not None:
                value = binascii.a2b_base64(inline)
                return little_endian(vr, value) if self.form.big_endian else value
            if not isinstance(values, list) or vr in BINARY:
                return b""
            if vr in _NUMBERS:
                return struct.pack(f"{self.form.order}{len(values)}{_NUMBERS[vr]}", *map(_number, values))
            if vr == "AT":
                halves = [int(value[at : at + 4], 16) for value in values for at in (0, 4)]
                return struct.pack(f"{self.form.order}{len(halves)}H", *halves)
        except (ValueError, TypeError, LookupError, OverflowError, struct.error):
            return b""
        return self._encoded(vr, "\\".join([_written(vr, value) for value in values]))

    def _sequence(self, tag: int, element: Mapping[str, Any], column: Column | None, depth: int) -> bytes:
        values = element.get("Value")
        items = values if isinstance(values, list) and depth < _DEPTH else []
        written = b"".join(self._item(item, column, depth + 1) for item in items)
        return self.form.head(tag, "SQ", len(written)) + written

    def _item(self, item: object, column: Column | None, depth: int) -> bytes:
        dataset: Mapping[str, Any] = item if isinstance(item, Mapping) else {}
        if column is not None and column.columns:
            pieces = self.elements(column.columns, as_asked(dataset, column.blocks))
        else:
            pieces = [self.element(tag, element, None, depth) for tag, element in _elements(dataset)]
        written = b"".join(pieces)
        return self.form.head(ITEM, "", len(written)) + written


def _is_tag(key: str) -> bool:
    try:
        tag = int(key, 16)
    except ValueError:
        return False
    return len(key) == 8 and tag & 0xFFFF != 0 and tag >> 16 not in (0, 2, 0xFFFE)


def _number(value: object) -> int | float:
    if isinstance(value, str):
        return float(value) if "." in value or "e" in value.lower() else int(value)
    if isinstance(value, float) and value.is_integer():  # some servers write all numbers with a point
        return int(value)
    if isinstance(value, int | float):
        return value
    raise TypeError


def _person(value: object) -> str:
    if type(value) is dict:
        if len(value) == 1 and type(alphabetic := value.get("Alphabetic")) is str:
            return alphabetic
        return "=".join(str(value.get(group) or "") for group in _GROUPS).rstrip("=")
    return value if isinstance(value, str) else ""


def _written(vr: str, value: object) -> str:
    """One value of text, or a number that is written as text."""
    if vr == "PN":
        return _person(value)
    if type(value) is int:
        return str(value)
    if isinstance(value, float):
        text = str(int(value)) if vr == "IS" and value.is_integer() else repr(value)
        digits = _LONGEST_DECIMAL
        while len(text) > _LONGEST_DECIMAL:
            digits -= 1
            text = f"{value:.{digits}g}"
        return text
    return value if isinstance(value, str) else ""
