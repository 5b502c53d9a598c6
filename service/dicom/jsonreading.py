"""DICOM JSON read (PS3.18 F.2), numbers kept as they are written: the text of DS and IS is their value."""

import json
from typing import Any

from service.dicom.errors import BadRequest, TooLarge

_MAX_TOKENS = 3_000_000  # brackets, braces and commas: each value in memory takes about a hundred bytes
_NOT_JSON = "The metadata are not well-formed JSON in UTF-8 (RFC 8259)."


class Number(str):
    """The text of a JSON number."""

    __slots__ = ()


def read_json(content: bytes | bytearray) -> Any:
    """The value that `content` holds, its numbers as `Number`. `BadRequest` if it is not JSON.

    The words NaN, Infinity and -Infinity, which some writers use, are read as numbers.
    """
    try:
        return json.loads(
            content.decode("utf-8-sig"), parse_float=Number, parse_int=Number, parse_constant=Number
        )
    except (ValueError, RecursionError):
        # The error's own text may quote values.
        raise BadRequest(_NOT_JSON) from None


def data_sets(content: bytes | bytearray) -> list[Any]:
    """The objects of a metadata part: those of an array, or a single one (PS3.18 10.5.2, F.2.1).

    `BadRequest` if it is neither, `TooLarge` if it has too many values.
    """
    if sum(map(content.count, (b"[", b"{", b","))) > _MAX_TOKENS:
        raise TooLarge("The metadata have too many values for one part; send several requests.")
    value = read_json(content)
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise BadRequest("Metadata in DICOM JSON are an array of objects (PS3.18 F.2.1).")
    return value
