"""JPEG-LS (ITU-T T.87), by CharLS."""

import imagecodecs
import numpy as np

from service.dicom.errors import Undecodable
from service.dicom.syntaxes import ROOT
from service.pixels.codecs.calling import decoded, encoded
from service.pixels.codecs.headers import END, jpeg_header
from service.pixels.codecs.jpeg import unsigned
from service.pixels.frame import Frame, Pixels, Samples
from service.pixels.native import settle

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
    photometric = "YBR_FULL" if shape.photometric == "YBR_FULL_422" else shape.photometric
    return settle(array, shape.becoming(photometric=photometric, high_bit=shape.bits_stored - 1))


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
    payload = encoded(
        imagecodecs.jpegls_encode, unsigned(pixels), level=near, bitspersample=shape.bits_stored
    )
    return Frame(payload, syntax, shape)
