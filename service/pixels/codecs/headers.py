"""What a JPEG or JPEG-LS codestream says of itself, read before any decoder sees it (ITU-T T.81, T.87).

Decoders allocate what a header asks for, so it must ask for what the data set says. Only what decides
that, and what decides colour and decoder, is read here.
"""

import struct
from collections.abc import Buffer
from dataclasses import dataclass

from service.dicom.errors import Undecodable
from service.pixels.frame import FrameShape

END = b"\xff\xd9"

_MAX_SEGMENTS = 4096
_MAX_SCANS = 32
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
# Start of frame markers by what decodes them: sequential and progressive DCT, lossless, JPEG-LS.
_DCT = frozenset((0xC0, 0xC1, 0xC2))
_LOSSLESS = 0xC3
_JPEG_LS = 0xF7
_STARTS_OF_FRAME = frozenset({*range(0xC0, 0xD0), _JPEG_LS} - {0xC4, 0xC8, 0xCC})
_OVERSIZE = 4  # the kind of LSE segment that overrides the size (T.87 C.2.4.1.4)
_MAPPED = (2, 3)  # the kinds of LSE segment with mapping tables, which change the number of samples


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """The headers of a JPEG or JPEG-LS codestream up to the first scan.

    `colours` says what the codestream itself says of its three components: "RGB", "YBR" or nothing.
    """

    rows: int
    columns: int
    samples: int
    precision: int
    kind: str
    colours: str
    scan: int
    ended: bool

    def require(self, shape: FrameShape) -> None:
        """`Undecodable` unless the picture is of the size that the data set says."""
        require_size((self.rows, self.columns, self.samples), self.precision, shape)


def require_size(size: tuple[int, int, int], precision: int, shape: FrameShape) -> None:
    """`Undecodable` unless rows, columns and samples are those of `shape`, and the bits fit in it."""
    expected = (shape.rows, shape.columns, shape.samples)
    if size != expected:
        said, stated = (" × ".join(map(str, one)) for one in (size, expected))
        raise Undecodable(f"The codestream is of {said}, the data set says {stated}.")
    if precision > max(8, shape.bits_allocated):
        raise Undecodable(
            f"The codestream has {precision} bits a sample; the data set allots {shape.bits_allocated}."
        )


def jpeg_header(payload: Buffer) -> JpegHeader:
    """The marker segments of a JPEG or JPEG-LS codestream up to its first scan."""
    data = bytes(payload) if not isinstance(payload, bytes) else payload
    if data[:2] != b"\xff\xd8":
        raise Undecodable("The frame is not a JPEG codestream.")
    position, kind, frame, transform, jfif = 2, 0, b"", -1, False
    for _ in range(_MAX_SEGMENTS):
        marker, position = _marker(data, position)
        if marker in _WITHOUT_LENGTH:
            continue
        body = segment(data, position)
        if marker in _STARTS_OF_FRAME:
            if frame:
                raise Undecodable("The codestream has two starts of frame.")
            kind, frame = marker, body
        elif marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
            transform = body[11]
        elif marker == 0xE0 and body[:5] == b"JFIF\0":
            jfif = True
        elif marker == 0xF8 and body[:1] and (body[0] == _OVERSIZE or body[0] in _MAPPED):
            raise Undecodable("The JPEG-LS codestream has a parameter segment that is not read here.")
        elif marker == 0xDA:
            return _jpeg(data, position, kind, frame, transform, jfif=jfif)
        position += len(body) + 2
    raise Undecodable("The codestream has no scan.")


def _marker(data: bytes, position: int) -> tuple[int, int]:
    """The next marker and the position behind it; fill bytes before it are passed over (T.81 B.1.1.2)."""
    if data[position : position + 1] != b"\xff":
        raise Undecodable("The codestream's header is damaged.")
    while data[position : position + 1] == b"\xff":
        position += 1
    if position >= len(data):
        raise Undecodable("The codestream ends inside its header.")
    return data[position], position + 1


def segment(data: bytes, position: int) -> bytes:
    """The parameters of the segment at `position`, behind its length."""
    length = int.from_bytes(data[position : position + 2])
    if length < 2 or position + length > len(data):
        raise Undecodable("The codestream ends inside its header.")
    return data[position + 2 : position + length]


def _jpeg(data: bytes, scan: int, kind: int, frame: bytes, transform: int, *, jfif: bool) -> JpegHeader:
    if len(frame) < 6 or len(frame) < 6 + 3 * frame[5]:
        raise Undecodable("The codestream has no whole start of frame.")
    precision, rows, columns, samples = struct.unpack_from(">BHHB", frame)
    if kind == _JPEG_LS:
        name = "JPEG-LS"
    elif kind == _LOSSLESS:
        name = "lossless"
    elif kind in _DCT:
        name = "DCT"
    else:
        raise Undecodable("The codestream is of a JPEG process that is not decoded here.")
    if data.count(b"\xff\xda", scan - 2) > _MAX_SCANS:
        raise Undecodable(f"The codestream has more than {_MAX_SCANS} scans.")
    colours = ""
    if samples == 3:
        colours = _colours(frame, transform, jfif=jfif)
    return JpegHeader(
        rows, columns, samples, precision, name, colours, scan, ended=data.rfind(END, scan) >= 0
    )


def _colours(frame: bytes, transform: int, *, jfif: bool) -> str:
    """The Adobe segment before the component identifiers before what only YCbCr has: JFIF, halved chroma."""
    # Values of the Adobe transform other than these are found in files, and mean nothing.
    if transform in (0, 1):
        return "YBR" if transform else "RGB"
    if bytes(frame[6:15:3]).upper() == b"RGB":
        return "RGB"
    halved = len(set(frame[7:15:3])) > 1
    return "YBR" if jfif or halved else ""
