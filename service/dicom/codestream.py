"""What codestreams say of themselves: their transfer syntax and the picture in them.

JPEG (ITU-T T.81), JPEG-LS (T.87) and the JPEG 2000 family (T.800, T.814) by their headers, JPEG XL and
video by what `containers` reads of them; nothing is decoded.
"""

import struct
from dataclasses import dataclass

from service.dicom.containers import Peek, boxes, jxl_header, video_size
from service.dicom.errors import NotDicom
from service.dicom.frames import Extent
from service.dicom.syntaxes import ROOT

_MAX_MARKERS = 4096
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_CODESTREAM_BOX = b"jp2c"

# Start of frame markers (T.81 Table B.1) by the transfer syntax of their process; others are not stored.
_JPEG_SYNTAX = {0xC0: ROOT + ".4.50", 0xC1: ROOT + ".4.51", 0xC3: ROOT + ".4.57"}
_LOSSLESS_FIRST_ORDER = ROOT + ".4.70"
_STARTS_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame as its codestream describes it.

    `syntax` is the transfer syntax that it is of, empty for a video, which does not tell.
    """

    syntax: str
    rows: int
    columns: int
    samples: int
    bits_stored: int
    signed: bool
    photometric: str

    @property
    def bits_allocated(self) -> int:
        """The least that PS3.5 8.1.1 allows for these bits: whole bytes, one, two or four of them."""
        return next((bits for bits in (8, 16, 32) if self.bits_stored <= bits), 64)


def picture(media_type: str, peek: Peek, size: int) -> Picture | None:
    """What the codestream of `size` bytes in `peek` says, `None` if it is of a kind not read here.

    `NotDicom` if it is not what `media_type` says, or of a process that has no transfer syntax.
    """
    if media_type in ("image/jpeg", "image/jls"):
        return _jpeg(media_type, peek)
    if media_type in ("image/jp2", "image/jpx", "image/jph", "image/jphc"):
        return _jpeg_2000(media_type, peek)
    if media_type == "image/jxl":
        return _jxl(peek, size)
    if media_type.startswith("video/"):
        sides = video_size(peek, size)
        return Picture("", *sides, 3, 8, False, "YBR_PARTIAL_420") if sides else None  # PS3.5 8.2.5
    return None


def _jxl(peek: Peek, size: int) -> Picture | None:
    """Lossless unless in the colour space of lossy pictures: JPEG XL Lossless is what the type means."""
    header = jxl_header(peek, size)
    if header is None:
        return None
    syntax = ROOT + (".4.112" if header.xyb else ".4.110")
    photometric = "MONOCHROME2" if header.grey else "XYB" if header.xyb else "RGB"
    samples = 1 if header.grey else 3
    return Picture(syntax, header.rows, header.columns, samples, header.bits, False, photometric)


def unboxed(peek: Peek, size: int) -> Extent:
    """Where the codestream lies in a JPEG 2000 part of `size` bytes: in a file's box, or everywhere.

    DICOM encapsulates the codestream without the file format around it (PS3.5 A.4.4).
    """
    if peek(0, len(_JP2_SIGNATURE)) != _JP2_SIGNATURE:
        return Extent(0, size)
    for box in boxes(peek, 0, size):
        if box.kind == _CODESTREAM_BOX:
            return Extent(box.start, box.end - box.start)
    raise NotDicom("The JPEG 2000 file holds no whole codestream (ITU-T T.800 annex I).")


def _jpeg(media_type: str, peek: Peek) -> Picture:
    """Marker segments up to the first scan, whose header tells the predictor and the near value."""
    marker, position = _jpeg_marker(peek, 0)
    if marker != 0xD8:
        raise NotDicom(f"The part is not {media_type}.")
    kind, frame, transform = 0, b"", -1
    for _ in range(_MAX_MARKERS):
        marker, position = _jpeg_marker(peek, position)
        if marker in _WITHOUT_LENGTH:
            continue
        (length,) = struct.unpack(">H", _whole(peek(position, 2), 2))
        if marker in _STARTS_OF_FRAME:
            kind, frame = marker, _whole(peek(position + 2, length - 2), 6)
        elif marker == 0xEE and peek(position + 2, 5) == b"Adobe":
            transform = (peek(position + 2, 12) + b"\0" * 12)[11]
        elif marker == 0xDA:
            scan = peek(position + 2, length - 2)
            return _jpeg_picture(media_type, kind, frame, scan, transform)
        position += length
    raise NotDicom(f"The {media_type} codestream has no scan.")


def _jpeg_marker(peek: Peek, position: int) -> tuple[int, int]:
    """The next marker and the position behind it; fill bytes before it are passed over (T.81 B.1.1.2)."""
    written = peek(position, 32)
    if written[:1] != b"\xff":
        raise NotDicom("The JPEG codestream is damaged.")
    behind = written.lstrip(b"\xff")
    if not behind:
        raise NotDicom("The JPEG codestream is damaged.")
    return behind[0], position + len(written) - len(behind) + 1


def _jpeg_picture(media_type: str, kind: int, frame: bytes, scan: bytes, transform: int) -> Picture:
    if not frame:
        raise NotDicom(f"The {media_type} codestream has no start of frame.")
    precision, rows, columns, samples = struct.unpack_from(">BHHB", frame)
    # Behind the scan's components: predictor or near value, end of spectrum, bit positions (T.81 B.2.3).
    selection = _whole(scan[1 + 2 * scan[0] :] if scan else b"", 3)[0]
    if kind == 0xF7:
        syntax = ROOT + (".4.81" if selection else ".4.80")
    elif kind == 0xC3 and selection == 1:
        syntax = _LOSSLESS_FIRST_ORDER
    elif kind in _JPEG_SYNTAX:
        syntax = _JPEG_SYNTAX[kind]
    else:
        raise NotDicom("The JPEG codestream is of a process that no transfer syntax in use has.")
    lossy = kind in (0xC0, 0xC1)
    if samples == 1:
        photometric = "MONOCHROME2"
    elif not lossy or transform == 0 or (transform != 1 and frame[6::3].upper() == b"RGB"):
        photometric = "RGB"
    else:
        sampling = [frame[at] for at in range(7, len(frame), 3)]
        photometric = "YBR_FULL" if all(one == 0x11 for one in sampling) else "YBR_FULL_422"
    return Picture(syntax, rows, columns, samples, precision, False, photometric)


def _jpeg_2000(media_type: str, peek: Peek) -> Picture:
    """The markers SIZ and COD of the main header (T.800 A.5.1, A.6.1)."""
    if peek(0, 4) != b"\xff\x4f\xff\x51":
        raise NotDicom(f"The part is not {media_type}.")
    siz = _whole(peek(6, 39), 39)
    _, width, height, left, top = struct.unpack_from(">HIIII", siz)
    samples, depth = struct.unpack_from(">HB", siz, 34)
    position = 4
    for _ in range(_MAX_MARKERS):
        (length,) = struct.unpack(">H", _whole(peek(position, 2), 2))
        position += length
        (marker,) = struct.unpack(">H", _whole(peek(position, 2), 2))
        position += 2
        if marker == 0xFF52:
            cod = _whole(peek(position + 2, 10), 10)
            break
        if marker == 0xFF90:
            raise NotDicom("The JPEG 2000 codestream has no coding style.")
    else:
        raise NotDicom("The JPEG 2000 codestream has no coding style.")
    reversible, mixed = cod[9] == 1, cod[4] == 1
    syntax = _jpeg_2000_syntax(media_type, reversible=reversible, high_throughput=bool(cod[8] & 0x40))
    photometric = "MONOCHROME2" if samples == 1 else "RGB"
    if samples == 3 and mixed:
        photometric = "YBR_RCT" if reversible else "YBR_ICT"
    return Picture(
        syntax, height - top, width - left, samples, (depth & 0x7F) + 1, depth & 0x80 != 0, photometric
    )


def _jpeg_2000_syntax(media_type: str, *, reversible: bool, high_throughput: bool) -> str:
    if high_throughput:
        return ROOT + (".4.201" if reversible else ".4.203")
    if media_type == "image/jpx":
        return ROOT + (".4.92" if reversible else ".4.93")
    return ROOT + (".4.90" if reversible else ".4.91")


def _whole(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise NotDicom("The codestream ends inside its header.")
    return data
