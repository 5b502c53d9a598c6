"""Small pictures that stand for what has no picture: reports, documents, video, waveforms."""

import enum

import numpy as np

from service.pixels.annotation import stamp
from service.pixels.colour import Image
from service.pixels.drawing import area, outline
from service.pixels.geometry import Placement
from service.pixels.glyphs import CELL_COLUMNS, CELL_ROWS, drawn

_SIZE = 128
_PAPER, _LINE, _BACK = 225, 120, 40


class Icon(enum.Enum):
    """What an icon stands for."""

    REPORT = "SR"
    DOCUMENT = "PDF"
    VIDEO = "VIDEO"
    WAVEFORM = "ECG"
    OTHER = "DICOM"


def icon(kind: Icon, columns: int = _SIZE, rows: int = _SIZE) -> Image:
    """A grey picture for `kind`, as large as fits into `columns` × `rows` and is square."""
    picture = _drawn(kind)
    side = max(1, min(columns, rows))
    return picture if side == _SIZE else Placement(0, 0, _SIZE, _SIZE, side, side).apply(picture)


def icon_for(sop_class: str, modality: str = "") -> Icon:
    """The icon for an instance, by its SOP class."""
    root = "1.2.840.10008.5.1.4.1.1."
    if sop_class.startswith(root + "88."):
        return Icon.REPORT
    if sop_class.startswith(root + "104."):
        return Icon.DOCUMENT
    if sop_class.startswith(root + "9.") or modality in ("ECG", "HD", "RESP", "EEG"):
        return Icon.WAVEFORM
    if sop_class in (root + "77.1.1.1", root + "77.1.2.1", root + "77.1.4.1"):
        return Icon.VIDEO
    return Icon.OTHER


def _drawn(kind: Icon) -> Image:
    picture = np.full((_SIZE, _SIZE), _BACK, np.uint8)
    if kind is Icon.VIDEO:
        picture[24:96, 12:116] = _PAPER
        for left in range(18, 112, 14):
            picture[28:35, left : left + 7] = _BACK
            picture[85:92, left : left + 7] = _BACK
        picture[area([(52, 44), (52, 78), (82, 61)], _SIZE, _SIZE)] = _BACK
    elif kind is Icon.WAVEFORM:
        beat = [(8, 60), (30, 60), (36, 52), (42, 60), (50, 60), (55, 68), (62, 20), (69, 86), (75, 60)]
        beat += [(88, 60), (96, 48), (104, 60), (120, 60)]
        picture[outline([(float(x), float(y)) for x, y in beat], _SIZE, _SIZE, 3)] = _PAPER
    else:
        picture[area([(30, 8), (82, 8), (98, 24), (98, 100), (30, 100)], _SIZE, _SIZE)] = _PAPER
        picture[area([(82, 8), (98, 24), (82, 24)], _SIZE, _SIZE)] = _LINE
        for line in range(34, 94, 10):
            picture[line : line + 3, 40 : 88 if line % 20 else 72] = _LINE
    _label(picture, kind.value)
    return picture


def _label(picture: Image, text: str) -> None:
    mask = drawn(text, 2)
    stamp(picture, mask, _SIZE - 2 * CELL_ROWS - 2, (_SIZE - 2 * CELL_COLUMNS * len(text)) // 2, 2)
