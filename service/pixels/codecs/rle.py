"""RLE Lossless (PS3.5 annex G): planes of bytes, each packed by PackBits."""

import struct

import imagecodecs
import numpy as np

from service.dicom.errors import Undecodable
from service.dicom.syntaxes import ROOT
from service.pixels.codecs.calling import decoded, encoded
from service.pixels.frame import Frame, Pixels, Samples
from service.pixels.native import require_allocation, settle

LOSSLESS = ROOT + ".5"

_HEADER = struct.Struct("<16I")
_MAX_SEGMENTS = 15
_SLACK = 128  # what the last run of a segment may write beyond its plane


def decode(frame: Frame) -> Pixels:
    """The samples of an RLE frame; a segment holds one byte of each sample, the highest first."""
    shape = frame.shape
    require_allocation(shape)
    segments = _segments(frame)
    photometric = "YBR_FULL" if shape.subsampled else shape.photometric
    shape = shape.becoming(photometric=photometric)
    if shape.bits_allocated == 1:
        packed = _unpacked(segments[0], np.empty(shape.native_bytes + _SLACK, np.uint8))
        return settle(np.unpackbits(packed, count=shape.native_bits, bitorder="little"), shape)
    width = shape.bits_allocated // 8
    samples = np.empty((shape.pixels, shape.samples), f"u{width}")
    plane = np.empty(shape.pixels + _SLACK, np.uint8)
    for sample in range(shape.samples):
        values = samples[:, sample]
        for byte, segment in enumerate(segments[sample * width : (sample + 1) * width]):
            unpacked = _unpacked(segment, plane)
            if byte:
                np.left_shift(values, 8, out=values)
                np.bitwise_or(values, unpacked, out=values)
            else:
                values[:] = unpacked
    return settle(samples, shape)


def _segments(frame: Frame) -> list[memoryview]:
    """The segments of the frame, as many as its shape asks for."""
    payload = memoryview(frame.payload).cast("B")
    shape = frame.shape
    if len(payload) < _HEADER.size:
        raise Undecodable("The RLE frame is shorter than its header.")
    count, *offsets = _HEADER.unpack_from(payload)
    wanted = shape.samples * max(shape.bits_allocated // 8, 1)
    if count != wanted or count > _MAX_SEGMENTS:
        raise Undecodable(f"The RLE frame has {count} segments; its shape needs {wanted}.")
    ends = [*offsets[1:count], len(payload)]
    starts = offsets[:count]
    if starts[0] < _HEADER.size or any(end < start for start, end in zip(starts, ends, strict=True)):
        raise Undecodable("The offsets of the RLE segments are damaged.")
    if ends[-1] > len(payload) or max(starts) > len(payload):
        raise Undecodable("The RLE frame ends before its last segment.")
    return [payload[start:end] for start, end in zip(starts, ends, strict=True)]


def _unpacked(segment: memoryview, plane: Samples) -> Samples:
    """The segment unpacked into `plane`, all but the slack of which it must fill."""
    unpacked: Samples = decoded(imagecodecs.packbits_decode, segment, out=plane)
    wanted = plane.size - _SLACK
    if unpacked.size < wanted:
        raise Undecodable(f"An RLE segment has {unpacked.size} bytes; it should have {wanted}.")
    return plane[:wanted]


def encode(pixels: Pixels, planar: int) -> Frame:
    """RLE by rows (PS3.5 G.3.1). Planar Configuration says nothing of it: it goes out as it came."""
    shape = pixels.shape
    if shape.bits_allocated == 1:
        packed = np.packbits(pixels.array.reshape(-1), bitorder="little")
        segments = [encoded(imagecodecs.packbits_encode, packed)]
    else:
        width = shape.bits_allocated // 8
        stored = pixels.array.astype(f">u{width}", casting="unsafe", copy=False)
        octets = np.ascontiguousarray(stored).view(np.uint8)
        octets = octets.reshape(shape.rows, shape.columns, shape.samples, width)
        segments = [
            encoded(imagecodecs.packbits_encode, octets[:, :, sample, byte].copy(), axis=-1)
            for sample in range(shape.samples)
            for byte in range(width)
        ]
    even = [segment + b"\0" * (len(segment) % 2) for segment in segments]
    offsets = [_HEADER.size]
    for segment in even[:-1]:
        offsets.append(offsets[-1] + len(segment))
    offsets += [0] * (_MAX_SEGMENTS - len(offsets))
    payload = b"".join((_HEADER.pack(len(even), *offsets), *even))
    return Frame(payload, LOSSLESS, shape.becoming(planar=planar if shape.samples > 1 else 0))
