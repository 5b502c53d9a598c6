"""JPEG-LS (ITU-T T.87), by CharLS."""

import imagecodecs
import numpy as np

from service.dicom.errors import Undecodable
from service.dicom.syntaxes import ROOT
from service.pixels.codecs.calling import decoded, encoded
from service.pixels.codecs.headers import END, JpegHeader, jpeg_header, segment
from service.pixels.codecs.jpeg import unsigned
from service.pixels.frame import Frame, Pixels, Samples
from service.pixels.native import clipped, settle

LOSSLESS = ROOT + ".4.80"
NEAR_LOSSLESS = ROOT + ".4.81"


def decode(frame: Frame) -> Pixels:
    """The samples of a JPEG-LS frame; colours are what the data set says (PS3.5 8.2.3)."""
    shape = frame.shape
    payload = bytes(frame.payload)
    header = jpeg_header(payload)
    header.require(shape)
    if header.kind != "JPEG-LS":
        raise Undecodable("The frame is not JPEG-LS.")
    array = _decoded(payload if payload.rstrip(b"\0").endswith(END) else payload + END)
    if array.shape != shape.array_shape:  # three scans, one for each component
        array = np.moveaxis(array.reshape(shape.samples, shape.rows, shape.columns), 0, -1)
    if header.precision > shape.bits_stored and _near(payload, header):
        array = clipped(array, shape)
    photometric = "YBR_FULL" if shape.photometric == "YBR_FULL_422" else shape.photometric
    return settle(array, shape.becoming(photometric=photometric, high_bit=shape.bits_stored - 1))


def _near(payload: bytes, header: JpegHeader) -> int:
    """The greatest error of a sample in the first scan, 0 if it is without loss (T.87 C.2.3)."""
    scan = segment(payload, header.scan)
    place = 1 + 2 * scan[0] if scan else 0
    return scan[place] if place < len(scan) else 0


def _decoded(payload: bytes) -> Samples:
    """CharLS searches for an end marker that is not there for seconds, so one always is."""
    try:
        array: Samples = decoded(imagecodecs.jpegls_decode, payload)
    except Undecodable:
        # Some encoders pad the scan with a zero byte before the end marker, which CharLS refuses.
        end = payload.rfind(END)
        if payload[end - 1 : end] != b"\0":
            raise
        array = decoded(imagecodecs.jpegls_decode, payload[: end - 1] + END)
    return array


def encode(pixels: Pixels, syntax: str, near: int) -> Frame:
    """JPEG-LS with no sample off by more than `near`; 0 is lossless."""
    shape = pixels.shape
    near = min(max(near, 0), 255, ((1 << shape.bits_stored) - 1) // 2)  # T.87 C.2.3
    array, bits = unsigned(pixels), shape.bits_stored
    if not near:
        # Decoders of the first CharLS, as DCMTK's, go wrong below 8 bits, and DCMTK takes no 8 where 16 are
        # allotted. With loss samples might come to use the bits that are too many.
        bits = max(bits, 8 if shape.bits_allocated == 8 else 9)
        array = array.astype(shape.sample_dtype.str.replace("i", "u"), copy=False)
    payload = encoded(imagecodecs.jpegls_encode, array, level=near, bitspersample=bits)
    return Frame(payload, syntax, shape)
