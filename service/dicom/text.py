"""Character sets: the bytes of text values to Unicode (PS3.3 C.12.1.1.2, PS3.5 6.1 and annexes H to K)."""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

ESC = b"\x1b"

# Defined terms without code extensions, by registration number (PS3.3 Table C.12-2).
SINGLE_BYTE = {
    "13": "shift_jis",  # JIS X 0201; Shift JIS agrees with it and reads the files that mean Shift JIS
    "100": "latin_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "166": "tis_620",
    "203": "iso8859_15",
}
# Multi-byte sets in G1 (PS3.3 Table C.12-4); those of JIS are in G0 and reached by escape only.
MULTI_BYTE = {"58": "gb2312", "149": "euc_kr"}
_G0_ONLY = {"6", "14", "87", "159"}
# Sets without code extensions that stand for everything (PS3.3 Table C.12-5).
_WHOLE = {"192": "utf_8", "GB18030": "gb18030", "GBK": "gbk"}

# Escape sequences (PS3.3 Tables C.12-3 and C.12-4): what they put into G0 (None: one byte, ASCII) …
_TO_G0: dict[bytes, str | None] = {
    b"\x1b(B": None,
    b"\x1b(J": None,
    b"\x1b$B": "\x1b$B",
    b"\x1b$@": "\x1b$@",
    b"\x1b$(D": "\x1b$(D",
}
# … and into G1.
TO_G1 = {
    b"\x1b)I": "shift_jis",
    b"\x1b-A": "latin_1",
    b"\x1b-B": "iso8859_2",
    b"\x1b-C": "iso8859_3",
    b"\x1b-D": "iso8859_4",
    b"\x1b-F": "iso8859_7",
    b"\x1b-G": "iso8859_6",
    b"\x1b-H": "iso8859_8",
    b"\x1b-L": "iso8859_5",
    b"\x1b-M": "iso8859_9",
    b"\x1b-T": "tis_620",
    b"\x1b-b": "iso8859_15",
    b"\x1b$)C": "euc_kr",
    b"\x1b$)A": "gb2312",
}
_ESCAPES = re.compile(rb"(\x1b(?:\$\([D]|\$\)[AC]|\$[@B]|\([BJ]|\)I|-[A-DF-HLMTb]))")
# What ends the reach of a designation to G1 (PS3.5 6.1.2.5.3).
_RESETS = re.compile(rb"[\\\t\n\f\r]")
_NAME_RESETS = re.compile(rb"[\\\t\n\f\r^=]")
_LOW_OR_HIGH = re.compile(rb"[\x00-\x7f]+|[\x80-\xff]+")

_REGISTERED = re.compile(r"(?:ISO)?(?:2022)?(?:IR)?([0-9]+)")
# Spellings met in the field, without spaces, hyphens and underscores.
_ALIASES = {
    "": "6",
    "ASCII": "6",
    "USASCII": "6",
    "UTF8": "192",
    "ISO2022GBK": "GBK",
    "ISO2022GB18030": "GB18030",
    "LATIN1": "100",
    "ISO88591": "100",
    "ISO885915": "203",
}

UNDECLARED = "holds 8-bit text although no character set is declared"
OUTSIDE = "holds bytes that are not of its character set"


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """What Specific Character Set (0008,0005) declares.

    `numbers` are the registration numbers of its terms. `codec` decodes text without escape sequences;
    it is `None` for the default repertoire, where 8-bit text is read as UTF-8 or else as Latin-1.
    `extended` says that escape sequences may occur.
    """

    numbers: tuple[str, ...]
    codec: str | None
    extended: bool = True

    def decode(self, value: bytes, *, name: bool = False) -> tuple[str, str | None]:
        """The text of `value`, and what is wrong with it (`None`: nothing). Never fails.

        Several values stay joined by backslashes, those among the second bytes of characters taken
        care of. `name` says that the value is a person name, whose delimiters end designations too.
        """
        if value.isascii() and ESC not in value:
            return value.decode("ascii"), None
        if self.extended and ESC in value:
            return self._decode_extended(value, _NAME_RESETS if name else _RESETS)
        return _decode(value, self.codec)

    def _decode_extended(self, value: bytes, resets: re.Pattern[bytes]) -> tuple[str, str | None]:
        g0: str | None = None
        g1 = self.codec
        texts: list[str] = []
        flaw: str | None = None
        for number, piece in enumerate(_ESCAPES.split(value)):
            if number % 2:
                if piece in TO_G1:
                    g1 = TO_G1[piece]
                else:
                    g0 = _TO_G0[piece]
                continue
            if g0 is not None:
                text, wrong = _decode_two_byte(piece, g0, g1)
                texts.append(text)
                flaw = flaw or wrong
                continue
            for part in _by_reset(piece, resets):
                if part[:1] and resets.match(part):
                    g1 = self.codec or g1
                text, wrong = _decode(part, g1)
                texts.append(text)
                flaw = flaw or wrong
        return "".join(texts), flaw


def _by_reset(piece: bytes, resets: re.Pattern[bytes]) -> Iterable[bytes]:
    """`piece` cut in front of each reset."""
    start = 0
    for reset in resets.finditer(piece):
        yield piece[start : reset.start()]
        start = reset.start()
    yield piece[start:]


def _decode(value: bytes, codec: str | None) -> tuple[str, str | None]:
    if value.isascii():
        return value.decode("ascii"), None
    if codec is None:
        try:
            return value.decode("utf_8"), UNDECLARED
        except UnicodeDecodeError:
            return value.decode("latin_1"), UNDECLARED
    try:
        return value.decode(codec), None
    except UnicodeDecodeError:
        return value.decode(codec, "replace"), OUTSIDE


def _decode_two_byte(value: bytes, escape: str, g1: str | None) -> tuple[str, str | None]:
    """Text while G0 holds a two-byte set of JIS; high bytes are of G1 all the same."""
    texts: list[str] = []
    flaw: str | None = None
    for run in _LOW_OR_HIGH.findall(value):
        if run[0] & 0x80:
            text, wrong = _decode(run, g1)
            flaw = flaw or wrong
        else:
            coded = escape.encode("ascii") + run
            try:
                text = coded.decode("iso2022_jp_2")
            except UnicodeDecodeError:
                text, flaw = coded.decode("iso2022_jp_2", "replace"), OUTSIDE
        texts.append(text)
    return "".join(texts), flaw


def registration(term: str) -> str | None:
    """The registration number of a defined term in any of its spellings, or `None` if there is none."""
    plain = re.sub(r"[\s_\-\x00]", "", term).upper()
    if plain in _ALIASES:
        return _ALIASES[plain]
    if plain in _WHOLE:
        return plain
    match = _REGISTERED.fullmatch(plain)
    number = match.group(1) if match else None
    if number in SINGLE_BYTE or number in MULTI_BYTE or number in _G0_ONLY or number in _WHOLE:
        return number
    return None


DEFAULT = CharacterSet(numbers=(), codec=None)
_LONGEST_DECLARATION = 1024


def character_set(value: bytes) -> tuple[CharacterSet, bool]:
    """What the value of Specific Character Set declares, and whether all its terms are known.

    Of a value that is longer than all terms together would be, the beginning counts.
    """
    charset, clean = _character_set(value[:_LONGEST_DECLARATION])
    return charset, clean and len(value) <= _LONGEST_DECLARATION


@functools.lru_cache(maxsize=256)
def _character_set(value: bytes) -> tuple[CharacterSet, bool]:
    terms = value.decode("latin_1").split("\\")
    numbers = [registration(term) for term in terms]
    known = tuple(number for number in numbers if number is not None)
    if not value.strip(b" \0"):
        return DEFAULT, True
    clean = len(known) == len(numbers)
    for number in known:
        if number in _WHOLE:
            return CharacterSet((number,), _WHOLE[number], extended=False), clean
    single = [SINGLE_BYTE.get(number) or MULTI_BYTE.get(number) for number in known]
    # Text of a multi-byte set without its escape sequence occurs: the first set with a G1 reads it.
    codec = next((codec for codec in single if codec), None)
    return CharacterSet(known, codec), clean
