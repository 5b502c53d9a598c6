"""JPEG XL (ISO/IEC 18181), by libjxl."""

import imagecodecs

from service.dicom.containers import jxl_header
from service.dicom.errors import NotDicom, Undecodable
from service.dicom.syntaxes import ROOT
from service.pixels.codecs import jpeg
from service.pixels.codecs.calling import decoded, encoded
from service.pixels.codecs.headers import require_size
from service.pixels.codecs.jpeg import unsigned
from service.pixels.frame import Frame, FrameShape, Pixels, Samples
from service.pixels.native import clipped, settle

LOSSLESS = ROOT + ".4.110"
RECOMPRESSION = ROOT + ".4.111"
LOSSY = ROOT + ".4.112"

_FASTEST = 1
_LOSSY_EFFORT = 3


def decode(frame: Frame) -> Pixels:
    """The samples of a JPEG XL frame; of a recompressed JPEG, those of the JPEG."""
    payload = bytes(frame.payload)
    _require(payload, frame.shape)
    if frame.syntax == RECOMPRESSION:
        try:
            return jpeg.decode(restored(frame))
        except Undecodable:
            pass  # a JPEG XL image of its own, as any decoder of the syntax will take it
    shape = frame.shape
    array: Samples = decoded(imagecodecs.jpegxl_decode, payload, keeporientation=True, numthreads=1)
    if array.size != shape.pixels * shape.samples:
        raise Undecodable("The codestream does not decode to the size that its header says.")
    if frame.syntax == LOSSY and 8 * array.dtype.itemsize > shape.bits_stored:
        array = clipped(array, shape)
    photometric = "RGB" if shape.photometric in ("XYB", "YBR_FULL_422") else shape.photometric
    return settle(array, shape.becoming(photometric=photometric, high_bit=shape.bits_stored - 1))


def restored(frame: Frame) -> Frame:
    """The JPEG that was recompressed, bit for bit."""
    payload = bytes(frame.payload)
    _require(payload, frame.shape)
    return Frame(decoded(imagecodecs.jpegxl_decode_jpeg, payload, numthreads=1), jpeg.BASELINE, frame.shape)


def recompressed(frame: Frame) -> Frame:
    """A JPEG as JPEG XL that gives it back bit for bit."""
    payload = encoded(imagecodecs.jpegxl_encode_jpeg, bytes(frame.payload), usecontainer=True, numthreads=1)
    return Frame(payload, RECOMPRESSION, frame.shape)


def encode(pixels: Pixels, syntax: str, quality: int | None) -> Frame:
    """JPEG XL, lossless or of the quality that libjxl's own scale of 1 to 100 means by it."""
    shape = pixels.shape
    lossless = quality is None
    payload = encoded(
        imagecodecs.jpegxl_encode,
        unsigned(pixels),
        lossless=lossless,
        distance=None if quality is None else _distance(quality),
        effort=_FASTEST if lossless else _LOSSY_EFFORT,
        bitspersample=shape.bits_stored,
        usecontainer=False,
        numthreads=1,
    )
    if shape.samples == 3 and not lossless:
        shape = shape.becoming(photometric="XYB")
    return Frame(payload, syntax, shape)


def _distance(quality: int) -> float:
    """The Butteraugli distance of a quality: 1 at 90, as cjxl has it."""
    if quality >= 30:
        return 0.1 + (100 - quality) * 0.09
    return 53 / 3000 * quality * quality - 23 / 20 * quality + 25


def _require(payload: bytes, shape: FrameShape) -> None:
    """`Undecodable` unless the codestream is one plain picture of the shape."""
    try:
        header = jxl_header(lambda place, size: payload[place : place + size], len(payload))
    except NotDicom as cause:
        raise Undecodable("The frame is not a JPEG XL codestream.") from cause
    if header is None:
        raise Undecodable("The JPEG XL codestream has more channels or pictures than one image.")
    require_size((header.rows, header.columns, 1 if header.grey else 3), header.bits, shape)
