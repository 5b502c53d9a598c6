"""What a C-FIND, C-MOVE or C-GET request names: its identifier, read from bytes (PS3.4 C.4.1.1.3)."""

import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from service.dicom.criteria import MOST_VALUES
from service.dicom.elements import actual_encoding, encoding_of
from service.dicom.errors import BadRequest, NotDicom
from service.dicom.header import Found, Walker, find_value, read_data_set
from service.dicom.inflate import Inflater
from service.dicom.items import SPECIFIC_CHARACTER_SET
from service.dicom.record import BASE_SLOT
from service.dicom.syntaxes import Syntax

MOST_BYTES = 1 << 20
"""The longest identifier, inflated where it is deflated."""

# Whoever reads an identifier does nothing else meanwhile: these take a tenth of a second at most.
_MOST_ELEMENTS = 4096  # with those inside items; the dictionary has five thousand
_MOST_DELIMITERS = 2 * MOST_VALUES  # of values, components and designations
_DELIMITERS = b"\\^=\x1b"
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_NO_KEYS = frozenset((0x0000, 0x0002))
_DEFAULT = frozenset(("6",))


@dataclass(frozen=True, slots=True)
class Key:
    """One element of an identifier.

    `text` holds the values without padding, joined by backslashes, and is empty where there is none;
    numbers are as they are written in DICOM JSON. A sequence has `items` instead.
    """

    tag: int
    vr: str
    text: str = ""
    items: tuple[tuple["Key", ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Identifier:
    """The keys of a request in the order of their tags, without group lengths and file meta.

    `charset` holds the registration numbers of the character sets that the request declares, or that were
    assumed of it, and is empty for ASCII.
    """

    keys: tuple[Key, ...]
    charset: tuple[str, ...] = ()

    def find(self, tag: int) -> Key | None:
        """The top-level key `tag`."""
        return next((key for key in self.keys if key.tag == tag), None)

    def text(self, tag: int) -> str:
        """The values of a top-level key, empty if it is not there."""
        key = self.find(tag)
        return "" if key is None else key.text


def read_identifier(
    content: bytes, syntax: Syntax, *, fallback: str = "", most_elements: int = _MOST_ELEMENTS
) -> Identifier:
    """The identifier that `content` encodes in `syntax`; `BadRequest` if it cannot be read.

    `fallback` is the Specific Character Set of one that declares none but has bytes beyond ASCII;
    without it these are UTF-8 or else Latin-1. Sequences are read to any depth that data sets may have,
    all in all `most_elements`.
    """
    document, numbers = read_document(content, syntax, fallback=fallback, most_elements=most_elements)
    return Identifier(_keys(document), numbers)


def read_answer(content: bytes, syntax: Syntax, *, fallback: str = "") -> dict[str, Any]:
    """The parsed DICOM JSON of an identifier in a response; read as a request's is."""
    return read_document(content, syntax, fallback=fallback)[0]


def read_document(
    content: bytes, syntax: Syntax, *, fallback: str = "", most_elements: int = _MOST_ELEMENTS
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Parsed DICOM JSON of any data set of a message, and the registration numbers of its character sets.

    It is read as the identifier of a request is.
    """
    if syntax.deflated:
        content = _inflated(content)
    if len(content) > MOST_BYTES:
        raise BadRequest("The data set is too long.")
    if sum(map(content.count, _DELIMITERS)) > _MOST_DELIMITERS:
        raise BadRequest("The data set has too many values.")
    walker = _walked(content, syntax, most_elements)
    if fallback and not content.isascii() and _DEFAULT.issuperset(walker.charset.numbers):
        walker = _walked(_declaring(fallback, content, syntax), syntax, most_elements)
    document = walker.json()
    if BASE_SLOT in document:
        raise BadRequest("An element of the data set is too long.")
    parsed: dict[str, Any] = orjson.loads(document)
    return parsed, walker.charset.numbers


def _inflated(content: bytes) -> bytes:
    plain = bytearray()
    try:
        for block in Inflater(1 << 16).push(content):
            plain += block
            if len(plain) > MOST_BYTES:
                raise BadRequest("The data set is too long.")
    except NotDicom:
        raise BadRequest("The data set cannot be inflated.") from None
    return bytes(plain)


def _walked(content: bytes, syntax: Syntax, most_elements: int) -> Walker:
    try:
        return read_data_set(syntax, content, inline_limit=MOST_BYTES, element_limit=most_elements)
    except NotDicom:
        raise BadRequest(f"The data set is damaged or has more than {most_elements} elements.") from None


def _declaring(terms: str, content: bytes, syntax: Syntax) -> bytes:
    """`content` with an element that declares `terms`, behind the one there if there is one.

    Elements out of order, or there twice, are read all the same, and the last of these counts.
    """
    found = find_value(content, syntax, (SPECIFIC_CHARACTER_SET,), final=True)
    place = found.position + (found.length or 0) if isinstance(found, Found) else 0
    encoding = actual_encoding(content, 0, encoding_of(syntax))
    value = terms.encode("latin_1", "replace")
    value += b" " * (len(value) % 2)
    order = ">" if encoding.big_endian else "<"
    tag = struct.pack(order + "HH", SPECIFIC_CHARACTER_SET >> 16, SPECIFIC_CHARACTER_SET & 0xFFFF)
    length = struct.pack(order + ("I" if encoding.implicit else "H"), len(value))
    declaration = tag + (b"" if encoding.implicit else b"CS") + length + value
    return content[:place] + declaration + content[place:]


def _keys(dataset: Mapping[str, Any]) -> tuple[Key, ...]:
    if len(dataset) > _MOST_ELEMENTS:
        raise BadRequest(f"The identifier has more than {_MOST_ELEMENTS} keys.")
    keys = (_key(int(tag, 16), element) for tag, element in dataset.items())
    return tuple(key for key in keys if key.tag >> 16 not in _NO_KEYS and key.tag & 0xFFFF)


def _key(tag: int, element: Mapping[str, Any]) -> Key:
    vr: str = element["vr"]
    values: list[Any] = element.get("Value", [])
    if vr == "SQ":
        return Key(tag, vr, items=tuple(_keys(item) for item in values))
    if "InlineBinary" in element:
        return Key(tag, vr, _binary(element["InlineBinary"]))
    if tag == SPECIFIC_CHARACTER_SET:
        return Key(tag, vr)  # what it declared is in the texts
    return Key(tag, vr, "\\".join(map(_text, values)).strip("\0 "))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):  # a person name
        return "=".join(str(value.get(group, "")) for group in _GROUPS).rstrip("=")
    return str(value).replace("\0", "").strip()


def _binary(encoded: str) -> str:
    """Bytes that are text after all, as private keys in implicit VR are; else their digits."""
    value = binascii.a2b_base64(encoded).strip(b"\0 ")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return value.hex()
    return text if text.isprintable() else value.hex()
