"""From the transfer syntax in which a frame is stored to the one asked for: what is to be done.

Pure tables: which samples a syntax takes (PS3.5 8.2 and annex A), which codestreams of one syntax are
also of another, and what is refused. Nothing becomes lossy that was not asked for by a lossy syntax's name.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from service.dicom.syntaxes import (
    BY_UID,
    DEFLATED,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    ROOT,
    Form,
)
from service.pixels.frame import FrameShape

_GREY = frozenset(("MONOCHROME1", "MONOCHROME2"))
_INDEXED = _GREY | {"PALETTE COLOR"}
_COLOUR = frozenset(("RGB", "YBR_FULL"))

_JPEG_BASELINE, _JPEG_XL_RECOMPRESSION = ROOT + ".4.50", ROOT + ".4.111"
_DEFLATED_FRAME = ROOT + ".8.1"
_NATIVE = frozenset((IMPLICIT_LE, EXPLICIT_LE, DEFLATED, EXPLICIT_BE))
# What holds native frames bit by bit, deflated or not.
_CARRIERS = _NATIVE | {ENCAPSULATED_UNCOMPRESSED, _DEFLATED_FRAME}
_DECODED = _CARRIERS | {
    ROOT + tail
    for tail in (
        ".4.50", ".4.51", ".4.53", ".4.55", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91",
        ".4.110", ".4.111", ".4.112", ".4.201", ".4.202", ".4.203", ".5",
    )
}  # fmt: skip
# A codestream of the first syntax is one of the second as well.
_ALSO: frozenset[tuple[str, str]] = frozenset(
    (ROOT + narrow, ROOT + wide)
    for narrow, wide in (
        (".4.70", ".4.57"), (".4.80", ".4.81"), (".4.90", ".4.91"), (".4.110", ".4.112"),
        (".4.202", ".4.201"), (".4.202", ".4.203"), (".4.201", ".4.203"),
    )
)  # fmt: skip
# JPEG and JPEG XL of it, one made from the other bit for bit.
_RECOMPRESSED = frozenset(
    ((_JPEG_BASELINE, _JPEG_XL_RECOMPRESSION), (_JPEG_XL_RECOMPRESSION, _JPEG_BASELINE))
)


class Act(enum.Enum):
    """What becomes of a frame."""

    PASS = "goes out as it is stored"
    REWRAP = "goes out with the samples it has, in another wrapping"
    DECODE_ENCODE = "is decoded and encoded"
    REFUSE = "cannot be had so"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done for a frame in `syntax`; `loses` says that its samples will differ."""

    act: Act
    syntax: str
    loses: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Takes:
    """Which samples an encoder's transfer syntax takes."""

    single: frozenset[str]
    allocated: frozenset[int]
    stored: range
    colour: frozenset[str] = _COLOUR
    signed: bool = True
    lossy: bool = False


_OCTETS_AND_WORDS = frozenset((8, 16))
_WAVELET = frozenset((1, 8, 16, 32))
# OpenJPEG loses bits of noise from 24 bits on, and reads HTJ2K up to 28; with a sign, what is
# nearly lossless in JPEG-LS would wrap around at zero, and below 8 bits many decoders take it wrong.
_TAKES: Mapping[str, _Takes] = {
    ROOT + tail: takes
    for tail, takes in (
        (".5", _Takes(_INDEXED, frozenset((1, 8, 16)), range(1, 17))),
        (".4.50", _Takes(_GREY, frozenset((8,)), range(8, 9), signed=False, lossy=True)),
        (".4.57", _Takes(_INDEXED, _OCTETS_AND_WORDS, range(2, 17))),
        (".4.70", _Takes(_INDEXED, _OCTETS_AND_WORDS, range(2, 17))),
        (".4.80", _Takes(_INDEXED, _OCTETS_AND_WORDS, range(2, 17))),
        (".4.81", _Takes(_GREY, _OCTETS_AND_WORDS, range(8, 17), signed=False, lossy=True)),
        (".4.90", _Takes(_INDEXED, _WAVELET, range(1, 23))),
        (".4.91", _Takes(_GREY, _OCTETS_AND_WORDS, range(2, 17), lossy=True)),
        (".4.201", _Takes(_INDEXED, _WAVELET, range(1, 29))),
        (".4.202", _Takes(_INDEXED, _WAVELET, range(1, 29))),
        (".4.203", _Takes(_GREY, _OCTETS_AND_WORDS, range(2, 17), lossy=True)),
        (".4.110", _Takes(_GREY, _OCTETS_AND_WORDS, range(1, 17))),
        (".4.112", _Takes(_GREY, _OCTETS_AND_WORDS, range(8, 17), frozenset(("RGB",)), False, True)),
    )
}
# What is offered without loss, the cheapest to make first.
_OFFERED = (
    EXPLICIT_LE, *(ROOT + tail for tail in (".4.201", ".4.202", ".4.80", ".4.70", ".4.57")),
    ROOT + ".5", ROOT + ".4.90", ROOT + ".4.110", _JPEG_BASELINE, _JPEG_XL_RECOMPRESSION,
)  # fmt: skip


def plan(stored: str, shape: FrameShape, asked: str) -> Plan:
    """What is to be done with a frame of `shape`, stored in the syntax `stored`, to send it in `asked`."""
    source, target = BY_UID.get(stored), BY_UID.get(asked)
    if source is None or target is None:
        return _refused(asked, "The transfer syntax is not known here.")
    if stored == asked and target.leaves_as_stored:
        return Plan(Act.PASS, asked)
    if not target.leaves_as_stored:
        return _refused(asked, "Nothing leaves in this transfer syntax over the web.")
    if source.form is Form.VIDEO or target.form is Form.VIDEO:
        return _refused(asked, "Video is sent as it is stored.")
    # Of the lossy syntaxes none has palettes, be they kept or not (PS3.5 tables 8.2.3-1, 8.2.4-1).
    also = (stored, asked) in _ALSO and not (target.lossy and shape.photometric == "PALETTE COLOR")
    if also or (stored, asked) in _RECOMPRESSED:
        return Plan(Act.REWRAP, asked)
    if stored not in _DECODED:
        return _refused(asked, f"{source.name} is not decoded here.")
    if stored in _CARRIERS and asked in _CARRIERS:
        return _carried(shape, asked)
    return _recoded(source.lossy, stored, shape, asked)


def available(stored: str, shape: FrameShape | None) -> tuple[str, ...]:
    """The transfer syntaxes in which the frames can be sent without loss, the stored one first.

    The values of Available Transfer Syntax UID (0008,3002). Without a shape there are no pixels to be
    encoded: the data set goes out as it is stored, or rewritten.
    """
    own = (stored,) if BY_UID[stored].leaves_as_stored else ()
    if shape is None:
        return own or (EXPLICIT_LE,)
    offered = (*_OFFERED, _DEFLATED_FRAME) if shape.bits_allocated == 1 else _OFFERED
    others = (uid for uid in offered if uid != stored)
    plans = (plan(stored, shape, uid) for uid in others)
    return own + tuple(one.syntax for one in plans if one.act is not Act.REFUSE and not one.loses)


def decoded_photometric(stored: str, photometric: str) -> str:
    """What samples of this Photometric Interpretation are once decoded from the syntax (PS3.5 8.2)."""
    if photometric in ("YBR_RCT", "YBR_ICT", "YBR_PARTIAL_420", "XYB"):
        return "RGB"
    if photometric == "YBR_FULL_422":
        return "RGB" if stored in _TRANSFORMED else "YBR_FULL"
    return photometric


# Decoders of these give RGB for chroma that was halved.
_TRANSFORMED = frozenset(
    ROOT + tail for tail in (".4.50", ".4.51", ".4.53", ".4.55", ".4.110", ".4.111", ".4.112")
)


def _refused(asked: str, reason: str) -> Plan:
    return Plan(Act.REFUSE, asked, reason=reason)


def _carried(shape: FrameShape, asked: str) -> Plan:
    if shape.floating and asked != EXPLICIT_LE:
        return _refused(asked, "Float pixel data are never encapsulated.")
    return Plan(Act.REWRAP, asked)


def _recoded(stored_lossy: bool, stored: str, shape: FrameShape, asked: str) -> Plan:
    """Decoding, and encoding if the target takes what comes out."""
    if shape.floating:
        return _refused(asked, "Float pixel data are never compressed.")
    photometric = decoded_photometric(stored, shape.photometric)
    if shape.samples == 3 and photometric not in _COLOUR:
        return _refused(asked, f"{shape.photometric} of three samples is not decoded here.")
    if shape.samples not in (1, 3) or shape.bits_allocated not in (1, 8, 16, 32):
        return _refused(
            asked, f"{shape.samples} samples of {shape.bits_allocated} bits are not decoded here."
        )
    if asked in _CARRIERS:
        return Plan(Act.DECODE_ENCODE, asked)
    takes = _TAKES.get(asked)
    if takes is None:
        return _refused(asked, f"{BY_UID[asked].name} is not made here.")
    if takes.lossy and stored_lossy:
        return _refused(asked, "What is stored with loss is not compressed with loss again.")
    reason = _unfit(takes, shape, photometric)
    if reason:
        return _refused(asked, f"{BY_UID[asked].name} does not take {reason}.")
    return Plan(Act.DECODE_ENCODE, asked, loses=takes.lossy)


def _unfit(takes: _Takes, shape: FrameShape, photometric: str) -> str:
    """What of the samples the target does not take, empty if it takes them (PS3.5 tables 8.2.1-1 and on)."""
    if photometric not in (takes.single if shape.samples == 1 else takes.colour):
        return photometric
    if shape.bits_allocated not in takes.allocated or shape.bits_stored not in takes.stored:
        return f"{shape.bits_stored} bits in {shape.bits_allocated}"
    if photometric == "YBR_FULL" and shape.bits_allocated != 8:
        return f"YBR_FULL of {shape.bits_allocated} bits"
    if shape.signed and not (takes.signed and photometric in _GREY):
        return f"signed samples of {photometric}"
    return ""
