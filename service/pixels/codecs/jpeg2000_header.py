"""What a JPEG 2000 or HTJ2K codestream says of itself, read before decoding (ITU-T T.800 annex A)."""

import struct
from collections.abc import Buffer
from dataclasses import dataclass

from service.dicom.codestream import unboxed
from service.dicom.errors import NotDicom, Undecodable
from service.pixels.codecs.headers import END, require_size, segment
from service.pixels.frame import FrameShape

_SIZ, _COD, _COC, _SOT, _SOD, _EOC = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93, 0xFFD9
_MAX_SEGMENTS = 4096
_MAX_TILES = 4096
_MAX_LEVELS = 32
_PRECINCT_PIXELS = 64  # on average, below which decoders take more for them than for the picture
_MIN_PRECINCTS = 1024
_MAX_PACKETS = 1 << 22
_ALL = b"\xff" * (_MAX_LEVELS + 1)  # precincts of the greatest size, where none are given


@dataclass(slots=True)
class Jpeg2000Header:
    """Size and coding style; of several styles, `reversible` and `high_throughput` hold for all."""

    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool
    reversible: bool = True
    high_throughput: bool = True
    mixed: bool = False
    levels: int = -1
    ended: bool = False

    def require(self, shape: FrameShape) -> None:
        """`Undecodable` unless the picture is of the size that the data set says."""
        require_size((self.rows, self.columns, self.samples), self.precision, shape)


def jpeg_2000_codestream(payload: Buffer) -> bytes:
    """The codestream, out of the file format that should not be around it (PS3.5 A.4.4)."""
    data = payload if isinstance(payload, bytes) else bytes(payload)
    if data[:2] == b"\xff\x4f":
        return data
    try:
        extent = unboxed(lambda position, size: data[position : position + size], len(data))
    except NotDicom as cause:
        raise Undecodable(str(cause)) from cause
    return data[extent.offset : extent.end]


def jpeg_2000_header(data: bytes) -> Jpeg2000Header:
    """The main header, and the coding styles in the headers of tile-parts."""
    if data[:2] != b"\xff\x4f" or int.from_bytes(data[2:4]) != _SIZ:
        raise Undecodable("The frame is not a JPEG 2000 codestream.")
    header, position = _size(data)
    position = _styles(data, position, header, _SOT)
    if header.levels < 0:
        raise Undecodable("The JPEG 2000 codestream has no coding style.")
    header.ended = data.rfind(END, position) >= 0
    _tile_parts(data, position, header)
    return header


def _size(data: bytes) -> tuple[Jpeg2000Header, int]:
    """The marker segment SIZ: components of one kind and full size, tiles not beyond number."""
    siz = segment(data, 4)
    if len(siz) < 36 or len(siz) < 36 + 3 * int.from_bytes(siz[34:36]):
        raise Undecodable("The codestream ends inside its header.")
    width, height, left, top, tile_width, tile_height, _, _, samples = struct.unpack_from(">8IH", siz, 2)
    kinds = {siz[36 + 3 * one : 39 + 3 * one] for one in range(min(samples, 4))}
    if len(kinds) != 1 or kinds.pop()[1:] != b"\x01\x01":
        raise Undecodable("The codestream's components differ in size or precision.")
    if not tile_width or not tile_height:
        raise Undecodable("The codestream's tiles have no size.")
    if -(-width // tile_width) * -(-height // tile_height) > _MAX_TILES:
        raise Undecodable(f"The codestream has more than {_MAX_TILES} tiles.")
    depth = siz[36]
    header = Jpeg2000Header(height - top, width - left, samples, (depth & 0x7F) + 1, bool(depth & 0x80))
    return header, 4 + len(siz) + 2


def _styles(data: bytes, position: int, header: Jpeg2000Header, end: int) -> int:
    """Take in the coding styles up to the marker `end`; the position behind it."""
    for _ in range(_MAX_SEGMENTS):
        marker = int.from_bytes(data[position : position + 2])
        position += 2
        if marker == end:
            return position
        body = segment(data, position)
        position += len(body) + 2
        if marker == _COD and len(body) >= 10:
            header.mixed = header.mixed or body[4] == 1
            _style(header, body[0], int.from_bytes(body[2:4]), body[5:])
        elif marker == _COC:
            body = body[1 if header.samples < 257 else 2 :]
            if len(body) < 6:
                raise Undecodable("The codestream ends inside its header.")
            _style(header, body[0], 1, body[1:])
    raise Undecodable("The codestream's header has no end.")


def _style(header: Jpeg2000Header, flags: int, layers: int, style: bytes) -> None:
    """Levels, two sizes of code blocks, their style, the wavelet, then precinct sizes (Table A.15)."""
    levels = style[0]
    if levels > _MAX_LEVELS:
        raise Undecodable("The JPEG 2000 codestream has too many levels.")
    header.levels = levels if header.levels < 0 else min(header.levels, levels)
    header.high_throughput = header.high_throughput and bool(style[3] & 0x40)
    header.reversible = header.reversible and style[4] == 1
    sizes = style[5 : 6 + levels] if flags & 1 else _ALL
    if len(sizes) <= levels:
        raise Undecodable("The codestream ends inside its header.")
    precincts = 0
    for resolution in range(levels + 1):
        down = levels - resolution
        across, along = sizes[resolution] & 15, sizes[resolution] >> 4
        wide = -(-header.columns >> down >> across) or 1
        precincts += wide * (-(-header.rows >> down >> along) or 1)
    allowed = max(_MIN_PRECINCTS, header.rows * header.columns // _PRECINCT_PIXELS)
    if precincts > allowed or precincts * header.samples * layers > _MAX_PACKETS:
        raise Undecodable("The JPEG 2000 codestream is cut into more packets than is sensible.")


def _tile_parts(data: bytes, position: int, header: Jpeg2000Header) -> None:
    """The headers of tile-parts, from behind the first marker SOT (A.4.2)."""
    for _ in range(_MAX_TILES):
        body = segment(data, position)
        if len(body) != 8:
            raise Undecodable("The codestream's tile-parts are damaged.")
        length = int.from_bytes(body[2:6])
        _styles(data, position + 10, header, _SOD)
        position += length - 2
        marker = int.from_bytes(data[position : position + 2])
        if not length or marker == _EOC or position >= len(data):
            return
        if length < 14 or marker != _SOT:
            raise Undecodable("The codestream's tile-parts are damaged.")
        position += 2
    raise Undecodable(f"The codestream has more than {_MAX_TILES} tile-parts.")
