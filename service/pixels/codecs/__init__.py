"""Frames decoded and encoded: the only folder that names a codec library."""

from collections.abc import Callable, Mapping

from service.dicom import syntaxes
from service.dicom.errors import NotAcceptable, Undecodable
from service.dicom.syntaxes import (
    DEFLATED,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    ROOT,
)
from service.pixels.codecs import deflate, jpeg, jpeg2000, jpegls, jpegxl, rle
from service.pixels.codecs.deflate import deflated, inflated
from service.pixels.codecs.display import Display, decode_display, encode_display
from service.pixels.codecs.jpegxl import recompressed, restored
from service.pixels.frame import Frame, Pixels
from service.pixels.native import pack, unpack

__all__ = [
    "DECODABLE",
    "ENCODABLE",
    "Display",
    "decode",
    "decode_display",
    "deflated",
    "encode",
    "encode_display",
    "inflated",
    "peak_signal_to_noise_db",
    "recompressed",
    "restored",
]

_JPEG = (".4.50", ".4.51", ".4.53", ".4.55", ".4.57", ".4.70")
_JPEG_2000 = (jpeg2000.LOSSLESS, jpeg2000.LOSSY)
_HIGH_THROUGHPUT = (jpeg2000.HT_LOSSLESS, jpeg2000.HT_RPCL, jpeg2000.HT_LOSSY)
_DECODERS: Mapping[str, Callable[[Frame], Pixels]] = {
    **dict.fromkeys((IMPLICIT_LE, EXPLICIT_LE, DEFLATED, EXPLICIT_BE, ENCAPSULATED_UNCOMPRESSED), unpack),
    **dict.fromkeys((ROOT + tail for tail in _JPEG), jpeg.decode),
    **dict.fromkeys((jpegls.LOSSLESS, jpegls.NEAR_LOSSLESS), jpegls.decode),
    **dict.fromkeys((*_JPEG_2000, *_HIGH_THROUGHPUT), jpeg2000.decode),
    **dict.fromkeys((jpegxl.LOSSLESS, jpegxl.RECOMPRESSION, jpegxl.LOSSY), jpegxl.decode),
    rle.LOSSLESS: rle.decode,
    deflate.DEFLATED_FRAME: lambda frame: unpack(inflated(frame)),
}

DECODABLE: frozenset[str] = frozenset(_DECODERS)
"""The transfer syntaxes of frames that `decode` takes."""

ENCODABLE: frozenset[str] = frozenset(
    {
        EXPLICIT_LE, ENCAPSULATED_UNCOMPRESSED, deflate.DEFLATED_FRAME, rle.LOSSLESS,
        jpeg.BASELINE, jpeg.LOSSLESS, jpeg.FIRST_ORDER, jpegls.LOSSLESS, jpegls.NEAR_LOSSLESS,
        *_JPEG_2000, *_HIGH_THROUGHPUT, jpegxl.LOSSLESS, jpegxl.LOSSY,
    }
)  # fmt: skip
"""The transfer syntaxes that `encode` makes."""


def decode(frame: Frame, *, reduced: int = 0) -> Pixels:
    """The samples of `frame`, as they are meant and in the colours that they have.

    `reduced` asks for less resolution, halved so many times where the codestream has it (JPEG 2000 and
    HTJ2K); compare the shape that comes out. `Undecodable` if the payload is damaged, cut short, not
    what the shape says, or of a syntax without a decoder.
    """
    decoder = _DECODERS.get(frame.syntax)
    if decoder is None:
        raise Undecodable(f"Frames in {frame.syntax} are not decoded here.")
    if reduced and decoder is jpeg2000.decode:
        return jpeg2000.decode(frame, reduced=reduced)
    return decoder(frame)


def encode(pixels: Pixels, syntax: str, *, quality: int = 90, near: int = 2, planar: int = 0) -> Frame:
    """`pixels` in the transfer syntax, with a shape that says what became of colours.

    `quality`, 1 to 100, is for the lossy syntaxes; `near`, the greatest error of a sample, for
    JPEG-LS near-lossless. `planar` is the Planar Configuration of native frames, and what RLE frames are
    said to have. That the syntax takes such samples is for `plan` to say beforehand.
    """
    quality = min(max(quality, 1), 100)
    match syntax:
        case syntaxes.EXPLICIT_LE:
            return pack(pixels, planar)
        case syntaxes.ENCAPSULATED_UNCOMPRESSED:
            native = pack(pixels, planar)
            return Frame(native.payload, syntax, native.shape)
        case deflate.DEFLATED_FRAME:
            return deflated(pack(pixels, planar))
        case rle.LOSSLESS:
            return rle.encode(pixels, planar)
        case jpeg.BASELINE:
            return jpeg.encode_baseline(pixels, quality)
        case jpeg.LOSSLESS | jpeg.FIRST_ORDER:
            return jpeg.encode_lossless(pixels, syntax)
        case jpegls.LOSSLESS | jpegls.NEAR_LOSSLESS:
            return jpegls.encode(pixels, syntax, near if syntax == jpegls.NEAR_LOSSLESS else 0)
        case jpeg2000.LOSSLESS | jpeg2000.LOSSY:
            lossy = syntax == jpeg2000.LOSSY
            return jpeg2000.encode(pixels, syntax, peak_signal_to_noise_db(quality) if lossy else None)
        case jpeg2000.HT_LOSSLESS | jpeg2000.HT_RPCL | jpeg2000.HT_LOSSY:
            lossy = syntax == jpeg2000.HT_LOSSY
            decibels = peak_signal_to_noise_db(quality) if lossy else None
            return jpeg2000.encode_high_throughput(pixels, syntax, decibels)
        case jpegxl.LOSSLESS | jpegxl.LOSSY:
            return jpegxl.encode(pixels, syntax, quality if syntax == jpegxl.LOSSY else None)
    raise NotAcceptable(f"Frames are not encoded in {syntax} here.")


def peak_signal_to_noise_db(quality: int) -> float:
    """What a quality of 1 to 100 means for wavelet codecs: 50 dB at 90, 30 dB at 50."""
    return 5 + quality / 2
