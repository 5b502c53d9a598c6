"""Deflated Image Frame Compression: a native frame, deflated (PS3.5 annex A, RFC 1951)."""

from isal import isal_zlib

from service.dicom.errors import Undecodable
from service.dicom.syntaxes import EXPLICIT_LE, ROOT
from service.pixels.codecs.calling import decoded
from service.pixels.frame import Frame

DEFLATED_FRAME = ROOT + ".8.1"

_RAW = -15
_LEVEL = 2
_BLOCK = 256 << 10


def inflated(frame: Frame) -> Frame:
    """The native frame; never more of it than its shape says."""
    size = frame.shape.native_bytes
    inflater = isal_zlib.decompressobj(_RAW)
    source = memoryview(frame.payload).cast("B")
    pieces: list[bytes] = []
    missing = size
    # Block by block: what is left of a block when the frame is whole is copied, to be gone on with.
    for start in range(0, len(source), _BLOCK):
        piece: bytes = decoded(inflater.decompress, source[start : start + _BLOCK], missing)
        pieces.append(piece)
        missing -= len(piece)
        if not missing:
            break
    payload = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if missing:
        raise Undecodable(f"The deflated frame has {len(payload)} bytes; its shape needs {size}.")
    return Frame(payload, EXPLICIT_LE, frame.shape)


def deflated(frame: Frame) -> Frame:
    """A native frame in Explicit VR Little Endian, deflated; every bit of it is kept."""
    deflater = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW)
    payload = deflater.compress(frame.payload) + deflater.flush()
    return Frame(payload, DEFLATED_FRAME, frame.shape)
