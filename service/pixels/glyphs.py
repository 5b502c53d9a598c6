"""A small bitmap font: the printable characters of ASCII, drawn for this purpose.

A cell is 9 rows of 5 pixels, the last two below the line. A glyph is written as a digit of base 32 for
each row, from the top, the leftmost pixel the highest bit; missing rows are empty.
"""

import functools
import unicodedata
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

CELL_ROWS, CELL_COLUMNS = 9, 6
"""The size of a cell, with a column of space."""

_GLYPHS = (
    "0 4444404 aa aavavaa 4fke5u4 pp248jj cik8lid 44 2488842 8422248 04lel4 044v44 00000cc48 000e "
    "00000cc 01248g ehjlphe 4c4444e eh1248v v2421he 26aiv22 vgu11he 68guhhe v124888 ehhehhe ehhf12c "
    "0cc0cc 0cc00cc48 248g842 00v0v 8421248 eh12404 eh1dlle ehhvhhh uhhuhhu ehggghe sihhhis vgguggv "
    "vgguggg ehgnhhf hhhvhhh e44444e 72222ic hikokih ggggggv hrllhhh hhpljhh ehhhhhe uhhuggg ehhhlid "
    "uhhukih fgge11u v444444 hhhhhhe hhhhha4 hhhllla hha4ahh hhha444 v1248gv e88888e 0g8421 e22222e 4ah "
    "000000v 842 00e1fhf ggmphhu 00egghe 11djhhf 00ehvge 698s888 00fhhhf1e ggmphhh 40c444e 2062222ic "
    "ggikoki c44444e 00qllhh 00mphhh 00ehhhe 00uhhhugg 00fhhhf11 00mpggg 00fge1u 88s8896 00hhhjd "
    "00hhha4 00hhlla 00ha4ah 00hhhhf1e 00v248v 6448446 4444444 c44244c 008l2"
)
_BOX = "vhhhhhv"

# What has no decomposition into ASCII but a usual way to be written in it.
_REPLACED: Mapping[str, str] = {
    "\u00df": "ss", "\u00e6": "ae", "\u00c6": "AE", "\u00f8": "o", "\u00d8": "O", "\u0153": "oe",
    "\u0152": "OE",
    "\u0142": "l", "\u0141": "L", "\u0111": "d", "\u0110": "D", "\u00fe": "th", "\u00de": "Th", "\u00d7": "x",
    "\u2013": "-", "\u2014": "-", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"',
}  # fmt: skip


def drawn(text: str, scale: int) -> NDArray[np.bool_]:
    """A line of text as a mask, each pixel of its glyphs `scale` pixels wide and high.

    Accents are dropped; a character that has no glyph is a box.
    """
    cells = [_cell(character) for character in writable(text)]
    if not cells:
        return np.zeros((CELL_ROWS * scale, 0), np.bool_)
    return np.kron(np.concatenate(cells, axis=1), np.ones((scale, scale), np.bool_))


def writable(text: str) -> str:
    """`text` with each character in the way it is drawn: in ASCII, or as U+FFFD for a box."""
    plain: list[str] = []
    for character in text:
        if " " <= character <= "~":
            plain.append(character)
        elif character in _REPLACED:
            plain.append(_REPLACED[character])
        elif unicodedata.combining(character) == 0:
            base = [one for one in unicodedata.normalize("NFKD", character) if " " <= one <= "~"]
            plain.append("".join(base) or (" " if character.isspace() else "\ufffd"))
    return "".join(plain)


@functools.cache
def _cell(character: str) -> NDArray[np.bool_]:
    place = ord(character) - 0x20
    glyphs = _GLYPHS.split()
    rows = glyphs[place] if 0 <= place < len(glyphs) else _BOX
    cell = np.zeros((CELL_ROWS, CELL_COLUMNS), np.bool_)
    for number, digit in enumerate(rows):
        cell[number, : CELL_COLUMNS - 1] = [int(digit, 32) >> bit & 1 for bit in range(4, -1, -1)]
    return cell
