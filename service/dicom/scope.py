"""What the elements of one data set share: encoding, character set, private creators, signedness, place."""

from __future__ import annotations

from service.dicom.elements import Encoding
from service.dicom.memo import Heads, Members
from service.dicom.text import DEFAULT, CharacterSet
from service.dicom.vr import (
    block_of,
    depends_on_sign,
    dictionary_entry,
    is_private_creator,
    private_entry,
    settle,
)


class Scope:
    """A data set or an item on the way through it; an item inherits from the data set around it.

    Character set and Pixel Representation are inherited (PS3.3 C.12.1.1.2, C.7.6.3.1), private creators
    are not (PS3.5 7.8.1).
    """

    __slots__ = (
        "_creators",
        "_number",
        "charset",
        "depth",
        "encoding",
        "heads",
        "members",
        "ordered",
        "outer",
        "signed",
        "tag",
    )

    heads: Heads
    members: Members

    def __init__(self, encoding: Encoding, outer: Scope | None = None, tag: int = 0, number: int = 0) -> None:
        self.encoding = encoding
        self.outer = outer
        self.charset: CharacterSet = DEFAULT
        self.signed: bool | None = None
        self.depth = 0
        self.ordered = True
        self.tag = tag
        self._number = number
        self._creators: dict[int, str] | None = None
        if outer is not None:
            self.charset = outer.charset
            self.signed = outer.signed
            self.depth = outer.depth + 1

    def path(self, tag: int) -> str:
        """The place of `tag` in here as a bulk data path, `60031010/1/60031011`: items count from 1."""
        steps = [f"{tag:08X}"]
        scope = self
        while scope.outer is not None:
            steps.append(f"{scope.tag:08X}/{scope._number}")
            scope = scope.outer
        return "/".join(reversed(steps))

    def reserve(self, tag: int, creator: str) -> None:
        """Note that the block of private creator `tag` belongs to `creator`."""
        if self._creators is None:
            self._creators = {}
        self._creators[tag] = creator

    def vr_of(self, tag: int, length: int) -> tuple[str, bool]:
        """The value representation of an element that does not tell it itself.

        The second is whether it is the same for this tag in every data set.
        """
        if tag & 0x10000:
            return self._private_vr(tag, length), False
        entry = dictionary_entry(tag)
        if entry is None:
            return "UN", True
        return self._settled(entry, length), len(entry) == 2

    def waits_for_sign(self, tag: int) -> bool:
        """Whether `tag` comes before the Pixel Representation that its value representation depends on."""
        return self.signed is None and depends_on_sign(dictionary_entry(tag) or "")

    def _private_vr(self, tag: int, length: int) -> str:
        if is_private_creator(tag):
            return "LO"
        if tag & 0xFFFF == 0:
            return "UL"
        creator = (self._creators or {}).get(block_of(tag))
        return self._settled(private_entry(creator, tag), length) if creator else "UN"

    def _settled(self, entry: str | None, length: int) -> str:
        return settle(entry, signed=bool(self.signed), words=length // 2)
