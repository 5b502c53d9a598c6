"""JPEG: baseline, extended, progressive and lossless (ITU-T T.81), by libjpeg-turbo."""

import imagecodecs
import numpy as np

from service.dicom.errors import Undecodable
from service.dicom.syntaxes import ROOT
from service.pixels.codecs.calling import decoded, encoded
from service.pixels.codecs.headers import JpegHeader, jpeg_header
from service.pixels.frame import Frame, FrameShape, Pixels, Samples
from service.pixels.native import clipped, narrowed, settle

BASELINE = ROOT + ".4.50"
LOSSLESS = ROOT + ".4.57"
FIRST_ORDER = ROOT + ".4.70"


def decode(frame: Frame) -> Pixels:
    """The samples of a JPEG frame.

    DCT in YCbCr comes out as RGB where the data set says YBR_FULL_422 or RGB, and stays YBR_FULL where it
    says so. What the codestream says of its colours goes before the data set (PS3.5 8.2.1 leaves the two
    to agree; files do not); of lossless ones the samples are taken as they are.
    """
    shape = frame.shape
    payload = bytes(frame.payload)
    header = jpeg_header(payload)
    header.require(shape)
    if header.kind == "JPEG-LS":
        raise Undecodable("The frame is JPEG-LS, not JPEG.")
    # Of a codestream cut short libjpeg makes an image, grey or green from there on, without a word.
    if not header.ended:
        raise Undecodable("The JPEG codestream ends before its end marker.")
    source, wanted, photometric = _colours(header, shape)
    array = decoded(imagecodecs.jpeg8_decode, payload, colorspace=source, outcolorspace=wanted)
    if header.kind == "lossless" and header.precision not in (8, 16):
        # Differences are taken modulo 2^16; what is above the precision is a carry (T.81 H.1.2.1).
        array = np.bitwise_and(array, (1 << header.precision) - 1)
    if header.kind == "DCT" and header.precision > shape.bits_stored:
        array = clipped(array, shape)
    return settle(array, shape.becoming(photometric=photometric, high_bit=shape.bits_stored - 1))


def _colours(header: JpegHeader, shape: FrameShape) -> tuple[str | None, str | None, str]:
    """The colour space to read, the one to make, and the photometric interpretation that results."""
    stated = shape.photometric
    if header.samples != 3:
        return None, None, stated
    if header.kind == "lossless" or stated == "PALETTE COLOR":
        return "rgb", "rgb", "YBR_FULL" if stated == "YBR_FULL_422" else stated
    coloured = header.colours or ("RGB" if stated == "RGB" else "YBR")
    if coloured == "RGB":
        return "rgb", "rgb", "RGB"
    if stated == "YBR_FULL":
        return "ycbcr", "ycbcr", "YBR_FULL"
    return "ycbcr", "rgb", "RGB"


def encode_baseline(pixels: Pixels, quality: int) -> Frame:
    """Baseline JPEG: grey, or YCbCr with half the chroma (PS3.5 8.2.1)."""
    shape = pixels.shape
    if shape.samples == 1:
        payload = encoded(imagecodecs.jpeg8_encode, pixels.array, level=quality)
        return Frame(payload, BASELINE, shape)
    payload = encoded(
        imagecodecs.jpeg8_encode,
        pixels.array,
        level=quality,
        colorspace="rgb" if shape.photometric == "RGB" else "ycbcr",
        outcolorspace="ycbcr",
        subsampling="422",
    )
    return Frame(payload, BASELINE, shape.becoming(photometric="YBR_FULL_422"))


def encode_lossless(pixels: Pixels, syntax: str) -> Frame:
    """Lossless JPEG with the first predictor, which either of its transfer syntaxes allows."""
    shape = pixels.shape
    colour = "rgb" if shape.samples == 3 else None  # which says: no transformation
    payload = encoded(
        imagecodecs.jpeg8_encode,
        unsigned(pixels),
        lossless=True,
        predictor=1,
        bitspersample=shape.bits_stored,
        colorspace=colour,
        outcolorspace=colour,
    )
    return Frame(payload, syntax, shape)


def unsigned(pixels: Pixels) -> Samples:
    """The samples without a sign, cut to Bits Stored: what decoders of these codecs give back."""
    array = narrowed(pixels)
    if not pixels.shape.signed:
        return array
    container = array.view(f"u{array.dtype.itemsize}")
    cut: Samples = np.bitwise_and(container, container.dtype.type((1 << pixels.shape.bits_stored) - 1))
    return cut
