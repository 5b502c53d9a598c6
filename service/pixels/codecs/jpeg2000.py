"""JPEG 2000 (ITU-T T.800) by OpenJPEG, High-Throughput JPEG 2000 (T.814) by OpenJPH and OpenJPEG."""

from collections.abc import Callable
from functools import partial

import imagecodecs

from service.dicom.errors import Undecodable
from service.dicom.syntaxes import ROOT
from service.pixels.codecs.calling import decoded, encoded
from service.pixels.codecs.jpeg2000_header import Jpeg2000Header, jpeg_2000_codestream, jpeg_2000_header
from service.pixels.frame import Frame, FrameShape, Pixels, Samples
from service.pixels.native import clipped, narrowed, settle

LOSSLESS = ROOT + ".4.90"
LOSSY = ROOT + ".4.91"
HT_LOSSLESS = ROOT + ".4.201"
HT_RPCL = ROOT + ".4.202"
HT_LOSSY = ROOT + ".4.203"

_LEVELS = 5
_FEW_BITS = 3
_SMALLEST = 64  # samples on the longer side of the least resolution of an RPCL codestream


def decode(frame: Frame, *, reduced: int = 0) -> Pixels:
    """The samples of a JPEG 2000 or HTJ2K frame, whichever the codestream is.

    `reduced` leaves out so many of the highest resolutions, each halving rows and columns; never more
    than the codestream has.
    """
    shape = frame.shape
    payload = jpeg_2000_codestream(frame.payload)
    header = jpeg_2000_header(payload)
    header.require(shape)
    if not header.ended:
        raise Undecodable("The JPEG 2000 codestream ends before its end marker.")
    reduced = min(reduced, header.levels)
    shape = shape.becoming(photometric=_photometric(header, shape), high_bit=shape.bits_stored - 1)
    array = _decoded(payload, header, reduced, exact=frame.syntax != HT_LOSSY)
    if reduced and array.ndim >= 2:
        shape = shape.becoming(rows=array.shape[0], columns=array.shape[1])
    if array.shape != shape.array_shape:
        raise Undecodable("The codestream does not decode to the size that its header says.")
    if header.precision > shape.bits_stored and (reduced or not header.reversible):
        array = clipped(array, shape)
    return settle(array, shape)


def _decoded(payload: bytes, header: Jpeg2000Header, reduced: int, *, exact: bool) -> Samples:
    """The samples by the decoder for the codestream, else by the other one; `exact` says that it is lossless.

    What OpenJPH makes of an irreversible codestream, of one with bit planes left out, or of less than the
    whole resolution may lie outside the range of the samples, and would wrap around; OpenJPEG cuts it off.
    """
    openjpeg: Callable[[], Samples] = partial(
        decoded, imagecodecs.jpeg2k_decode, payload, planar=False, skipres=reduced or None, numthreads=1
    )
    if not (header.high_throughput and header.reversible):
        return openjpeg()
    openjph: Callable[[], Samples] = partial(decoded, imagecodecs.htj2k_decode, payload, planar=False)
    first, second = (openjph, openjpeg) if exact and not reduced else (openjpeg, openjph)
    try:
        return first()
    except Undecodable:
        return second()  # each knows some codestreams that the other does not


def _photometric(header: Jpeg2000Header, shape: FrameShape) -> str:
    """What the samples are once the decoder has undone the component transformation (PS3.5 8.2.4)."""
    if header.samples != 3:
        return shape.photometric
    if shape.photometric in ("YBR_RCT", "YBR_ICT"):
        return "RGB"
    if shape.photometric == "YBR_FULL_422":
        # Components are of full size; with the transformation they can only have been RGB.
        return "RGB" if header.mixed else "YBR_FULL"
    return shape.photometric


def encode(pixels: Pixels, syntax: str, psnr_db: float | None) -> Frame:
    """JPEG 2000, lossless or of about so many decibels of peak signal to noise."""
    shape = pixels.shape
    mixed = shape.photometric == "RGB"
    payload = encoded(
        imagecodecs.jpeg2k_encode,
        narrowed(pixels),
        level=psnr_db,
        codecformat="j2k",
        reversible=psnr_db is None,
        mct=mixed,
        bitspersample=_precision(shape),
        numthreads=1,
    )
    return Frame(payload, syntax, _encoded_shape(shape, mixed=mixed, lossless=psnr_db is None))


def encode_high_throughput(pixels: Pixels, syntax: str, psnr_db: float | None) -> Frame:
    """HTJ2K, lossless or of about so many decibels; by resolution (RPCL), with tile-part lengths."""
    shape = pixels.shape
    mixed = shape.photometric == "RGB"
    step = None if psnr_db is None else quantisation_step(psnr_db, mixed=mixed)
    payload = encoded(
        imagecodecs.htj2k_encode,
        narrowed(pixels),
        level=step,
        rgb=mixed if shape.samples == 3 else None,
        planar=False if shape.samples == 3 else None,
        bitspersample=_precision(shape),
        resolutions=_resolutions(shape),
        reversible=step is None,
        prog_order="RPCL",
        tlm=True,
    )
    return Frame(payload, syntax, _encoded_shape(shape, mixed=mixed, lossless=step is None))


def quantisation_step(psnr_db: float, *, mixed: bool) -> float:
    """The step, relative to the full range, that leaves about so much peak signal to noise."""
    # Uniform quantisation leaves an error of step / √12: 20 log10(√12 / step) dB. Undoing the component
    # transformation adds up the errors of three components.
    return float(10 ** ((10.8 - psnr_db - (8 if mixed else 0)) / 20))


def _precision(shape: FrameShape) -> int:
    """The bits of the codestream: those stored, unless they are so few that encoders fail on noise."""
    # With 1 bit OpenJPEG runs out of room and both it and OpenJPH write some wrong samples, rarely.
    return shape.bits_stored if shape.bits_stored > _FEW_BITS else 8


def _resolutions(shape: FrameShape) -> int | None:
    """Enough that the least one is small, as RPCL is meant for; `None` leaves it to the library.

    Without any halving OpenJPH has no bit for the least value, so a single row or column, in which a
    number of resolutions would come to mean none, gets the usual five levels.
    """
    shorter, longer = sorted((shape.rows, shape.columns))
    levels = max(_LEVELS, ((longer - 1) // _SMALLEST).bit_length())
    return 1 + min(levels, shorter.bit_length() - 1) if shorter > 1 else None


def _encoded_shape(shape: FrameShape, *, mixed: bool, lossless: bool) -> FrameShape:
    if not mixed:
        return shape
    return shape.becoming(photometric="YBR_RCT" if lossless else "YBR_ICT")
