"""Stored DICOM JSON cut into members and items by their places, without reading what they hold.

The documents are those that `header` makes: without white space, `vr` first, tags in capital digits and in
ascending order. Their slots (`record`) stand inside of strings, or in place of the values of an array.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_TEXT = rb'[^{}"]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FLAT = rb"(?:" + _TEXT + rb")*+"
# An attribute that is no sequence holds no other objects than the component groups of person names.
_PLAIN = re.compile(rb"\{" + _FLAT + rb"(?:\{" + _FLAT + rb"\}" + _FLAT + rb")*+\}", re.DOTALL)
# The next brace that does not belong to an object without others in it.
_BRACE = re.compile(rb"(?:" + _TEXT + rb"|\{" + _FLAT + rb"\})*+([{}])", re.DOTALL)
# Where an attribute begins. No text can hold this: quotation marks in it are escaped.
_ATTRIBUTE = b':{"vr":"'
_SEQUENCE = b'SQ","Value":['
_BROKEN = "This is no stored document."


class Member(NamedTuple):
    """The member `"GGGGEEEE":{…}` from `start` up to `end`; `items` is where a sequence's first item begins.

    `items` is 0 for what is no sequence, or one without items.
    """

    tag: int
    start: int
    end: int
    items: int


@dataclass(frozen=True, slots=True)
class Sought:
    """The members that are of interest: some `tags`, and all of some `groups`, up to the tag `last`."""

    tags: frozenset[bytes]
    groups: frozenset[bytes]
    last: bytes

    @classmethod
    def of(cls, tags: list[int]) -> "Sought":
        """These, and all members of the private groups among them: creators, and whatever they reserve."""
        groups = {f"{tag:08X}"[:4] for tag in tags if tag & 0x10000}
        last = max(f"{tag | 0xFFFF if tag & 0x10000 else tag:08X}" for tag in tags)
        coded = [
            frozenset(one.encode("ascii") for one in some) for some in ({f"{t:08X}" for t in tags}, groups)
        ]
        return cls(coded[0], coded[1], last.encode("ascii"))


def members(
    document: bytes, start: int = 0, end: int | None = None, sought: Sought | None = None
) -> Iterator[Member]:
    """The members of the object from `start` to `end`, in order: all, or those that are `sought`."""
    position = start
    stop = len(document) if end is None else end
    while (colon := document.find(_ATTRIBUTE, position, stop)) >= 0:
        tag = document[colon - 9 : colon - 1]
        nested = document.startswith(_SEQUENCE, colon + 8)
        if sought is not None:
            if tag > sought.last:
                return
            if tag not in sought.tags and tag[:4] not in sought.groups:
                position = _behind(document, colon + 1) if nested else colon + 8
                continue
        if nested:
            position = _behind(document, colon + 1)
        elif (plain := _PLAIN.match(document, colon + 1)) is not None:
            position = plain.end()
        else:
            raise ValueError(_BROKEN)
        yield Member(int(tag, 16), colon - 10, position, colon + 8 + len(_SEQUENCE) if nested else 0)


def items(document: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Where each item of a sequence lies whose first one begins at `start`."""
    position = start
    while document[position : position + 1] == b"{":
        end = _behind(document, position)
        yield position, end
        position = end + 1


def _behind(document: bytes, position: int) -> int:
    """The position behind the object that begins at `position`."""
    depth = 1
    position += 1
    while depth:
        brace = _BRACE.match(document, position)
        if brace is None:
            raise ValueError(_BROKEN)
        position = brace.end()
        depth += 1 if brace[1] == b"{" else -1
    return position
