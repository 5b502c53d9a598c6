"""Text to bytes in a character set (PS3.3 C.12.1.1.2, PS3.5 6.1.2.5): the reverse of `text`."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from service.dicom.text import MULTI_BYTE, SINGLE_BYTE, TO_G1, character_set

UTF_8 = "192"

_WHOLE = {UTF_8: ("utf_8", "ISO_IR 192"), "GB18030": ("gb18030", "GB18030"), "GBK": ("gbk", "GBK")}
_CODECS = {**SINGLE_BYTE, **MULTI_BYTE}
# PS3.3 Tables C.12-3 and C.12-4: what designates a set to G1 …
_TO_G1 = {
    number: escape
    for number, codec in _CODECS.items()
    for escape, designated in TO_G1.items()
    if designated == codec
}
# … and those of two bytes to G0.
_TO_G0 = {"87": b"\x1b$B", "159": b"\x1b$(D"}
_ASCII, _ROMAJI = b"\x1b(B", b"\x1b(J"
_YEN = frozenset("¥‾")  # in JIS X 0201 the bytes of a backslash, which parts values, and of a tilde

# PS3.5 6.1.2.5.3: designations reach up to these, and the initial ones have to be back before them.
_DELIMITERS = re.compile(r"([\\\t\n\f\r])")
_NAME_DELIMITERS = re.compile(r"([\\\t\n\f\r^=])")


@dataclass(frozen=True, slots=True)
class Repertoire:
    """A character set to write in: `terms` is the value of Specific Character Set that declares it.

    `codec` encodes what has no escape sequences; with `sets`, which are registration numbers, text that
    is not ASCII is written in them, the first that has a character, by code extensions.
    """

    terms: str
    codec: str
    sets: tuple[str, ...] = ()

    def encode(self, text: str, *, name: bool = False) -> bytes:
        """The bytes of `text`, several values joined by backslashes; `name` says that it is a person name.

        `UnicodeEncodeError` if a character is of none of the sets.
        """
        if text.isascii():
            return text.encode("ascii")
        if not self.sets:
            encoded = text.encode(self.codec)
            if self.codec == "shift_jis" and (len(encoded) != len(text) or not _YEN.isdisjoint(text)):
                raise UnicodeEncodeError(self.codec, text, 0, len(text), "not of JIS X 0201")
            return encoded
        pieces = (_NAME_DELIMITERS if name else _DELIMITERS).split(text)
        return b"".join(map(self._piece, pieces))

    def replaced(self, text: str, *, name: bool = False) -> bytes:
        """The bytes of `text` with a question mark for each character that is of none of the sets."""
        try:
            return self.encode(text, name=name)
        except UnicodeEncodeError:
            return self.encode("".join(c if self._has(c) else "?" for c in text), name=name)

    def _has(self, character: str) -> bool:
        try:
            self.encode(character)
        except UnicodeEncodeError:
            return False
        return True

    def _piece(self, piece: str) -> bytes:
        """Text without delimiters, begun and ended with the initial designations."""
        if piece.isascii():
            return piece.encode("ascii")
        first = self.sets[0]
        home = _ROMAJI if first == "13" else _ASCII
        g0, g1 = "", first if first in SINGLE_BYTE else ""
        written = bytearray()
        for character in piece:
            if character.isascii():
                if g0:
                    written += home
                    g0 = ""
                written += character.encode("ascii")
                continue
            number, coded = _found(self.sets, character)
            if number in _TO_G0:
                if g0 != number:
                    written += _TO_G0[number]
                    g0 = number
            elif g1 != number:
                written += _TO_G1[number]
                g1 = number
            written += coded
        return bytes(written + home if g0 else written)


ASCII = Repertoire("", "ascii")
UNICODE = Repertoire("ISO_IR 192", "utf_8")


@functools.lru_cache(maxsize=256)
def repertoire(numbers: Sequence[str]) -> Repertoire:
    """The character set of the registration numbers that `text.CharacterSet` tells."""
    whole = next((number for number in numbers if number in _WHOLE), None)
    if whole is not None:
        codec, term = _WHOLE[whole]
        return Repertoire(term, codec)
    known = [number for number in numbers if number in _TO_G1 or number in _TO_G0]
    if not known:
        return ASCII
    if list(numbers) == known[:1] and known[0] in SINGLE_BYTE:
        return Repertoire(f"ISO_IR {known[0]}", SINGLE_BYTE[known[0]])
    first = numbers[0] if numbers[0] in SINGLE_BYTE else "6"
    sets = tuple(dict.fromkeys(known))
    if first in sets:
        sets = (first, *(number for number in sets if number != first))
        declared = sets
    else:
        declared = ("6", *sets)
    return Repertoire("\\".join(f"ISO 2022 IR {number}" for number in declared), "ascii", sets)


def named(terms: str) -> Repertoire | None:
    """The character set of a value of Specific Character Set in any spelling, `None` if there is none."""
    charset, known = character_set(terms.encode("latin_1", "replace"))
    return repertoire(charset.numbers) if known else None


def _found(sets: Sequence[str], character: str) -> tuple[str, bytes]:
    for number in sets:
        coded = _coded(number, character)
        if coded:
            return number, coded
    raise UnicodeEncodeError("iso2022", character, 0, 1, "not of the character sets")


@functools.lru_cache(maxsize=8192)
def _coded(number: str, character: str) -> bytes:
    """The bytes of a character in a set, none if it is not of it."""
    try:
        if number in _TO_G0:
            coded = character.encode("iso2022_jp_2")
            escape = _TO_G0[number]
            return coded[len(escape) : len(escape) + 2] if coded.startswith(escape) else b""
        coded = character.encode(_CODECS[number])
    except UnicodeEncodeError:
        return b""
    wanted = 1 if number in SINGLE_BYTE else 2
    return coded if len(coded) == wanted and coded[0] & 0x80 else b""
