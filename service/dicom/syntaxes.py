"""Transfer syntaxes as rows of data (PS3.5 section 10 and annex A, PS3.6 annex A, PS3.18 8.7.3)."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

ROOT = "1.2.840.10008.1.2"
IMPLICIT_LE = ROOT
EXPLICIT_LE = ROOT + ".1"
ENCAPSULATED_UNCOMPRESSED = ROOT + ".1.98"
DEFLATED = ROOT + ".1.99"
EXPLICIT_BE = ROOT + ".2"

OCTETS = "application/octet-stream"


class Form(enum.Enum):
    """How a transfer syntax lays out pixel data."""

    NATIVE = "native"
    FRAMES = "encapsulated, one codestream per frame"
    VIDEO = "encapsulated, one stream for all frames"
    REFERENCE = "no pixel data, only a reference to it"


@dataclass(frozen=True, slots=True)
class Syntax:
    """One transfer syntax.

    `media_type` is the type of a frame over the web, `None` where it has none of its own; `is_default`
    says that the type means this syntax when it names none (PS3.18 Table 8.7.3-2 and following).
    """

    uid: str
    name: str
    form: Form
    lossy: bool = False
    media_type: str | None = None
    is_default: bool = False

    @property
    def implicit(self) -> bool:
        return self.uid == IMPLICIT_LE

    @property
    def big_endian(self) -> bool:
        return self.uid == EXPLICIT_BE

    @property
    def deflated(self) -> bool:
        """Whether the whole data set is deflated."""
        return self.uid in (DEFLATED, ROOT + ".4.95", ROOT + ".4.205")

    @property
    def encapsulated(self) -> bool:
        return self.form in (Form.FRAMES, Form.VIDEO)

    @property
    def leaves_as_stored(self) -> bool:
        """Whether an object in this syntax may be sent over the web untouched (PS3.18 8.7.3.5.2)."""
        return self.uid not in (IMPLICIT_LE, EXPLICIT_BE, DEFLATED)


def _rows() -> tuple[Syntax, ...]:
    native, frames, video, reference = Form.NATIVE, Form.FRAMES, Form.VIDEO, Form.REFERENCE
    jpeg, jls, jp2, jpx = "image/jpeg", "image/jls", "image/jp2", "image/jpx"
    jphc, jxl, mp4, mpeg = "image/jphc", "image/jxl", "video/mp4", "video/mpeg"
    rows: list[tuple[str, str, Form, bool, str | None, bool]] = [
        ("", "Implicit VR Little Endian", native, False, OCTETS, False),
        (".1", "Explicit VR Little Endian", native, False, OCTETS, True),
        (".1.98", "Encapsulated Uncompressed Explicit VR Little Endian", frames, False, OCTETS, False),
        (".1.99", "Deflated Explicit VR Little Endian", native, False, OCTETS, False),
        (".2", "Explicit VR Big Endian", native, False, OCTETS, False),
        (".4.50", "JPEG Baseline (Process 1)", frames, True, jpeg, False),
        (".4.51", "JPEG Extended (Processes 2 and 4)", frames, True, jpeg, False),
        (".4.57", "JPEG Lossless (Process 14)", frames, False, jpeg, False),
        (".4.70", "JPEG Lossless (Process 14, Selection Value 1)", frames, False, jpeg, True),
        (".4.80", "JPEG-LS Lossless", frames, False, jls, True),
        (".4.81", "JPEG-LS Near-Lossless", frames, True, jls, False),
        (".4.90", "JPEG 2000 Lossless", frames, False, jp2, True),
        (".4.91", "JPEG 2000", frames, True, jp2, False),
        (".4.92", "JPEG 2000 Part 2 Multi-component Lossless", frames, False, jpx, True),
        (".4.93", "JPEG 2000 Part 2 Multi-component", frames, True, jpx, False),
        (".4.94", "JPIP Referenced", reference, True, None, False),
        (".4.95", "JPIP Referenced Deflate", reference, True, None, False),
        (".4.100", "MPEG2 Main Profile / Main Level", video, True, mpeg, False),
        (".4.101", "MPEG2 Main Profile / High Level", video, True, mpeg, True),
        (".4.102", "MPEG-4 AVC/H.264 High Profile / Level 4.1", video, True, mp4, True),
        (".4.103", "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", video, True, mp4, False),
        (".4.104", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", video, True, mp4, False),
        (".4.105", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", video, True, mp4, False),
        (".4.106", "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", video, True, mp4, False),
        (".4.107", "HEVC/H.265 Main Profile / Level 5.1", video, True, "video/H265", True),
        (".4.108", "HEVC/H.265 Main 10 Profile / Level 5.1", video, True, "video/H265", False),
        (".4.110", "JPEG XL Lossless", frames, False, jxl, True),
        (".4.111", "JPEG XL JPEG Recompression", frames, True, jxl, False),
        (".4.112", "JPEG XL", frames, True, jxl, False),
        (".4.201", "High-Throughput JPEG 2000 Lossless", frames, False, jphc, True),
        (".4.202", "High-Throughput JPEG 2000 RPCL Lossless", frames, False, jphc, False),
        (".4.203", "High-Throughput JPEG 2000", frames, True, jphc, False),
        (".4.204", "JPIP HTJ2K Referenced", reference, True, None, False),
        (".4.205", "JPIP HTJ2K Referenced Deflate", reference, True, None, False),
        (".5", "RLE Lossless", frames, False, "image/dicom-rle", True),
        (".8.1", "Deflated Image Frame Compression", frames, False, OCTETS, False),
    ]
    for number in (100, 101, 102, 103, 104, 105, 106):  # the fragmentable twins of PS3.5 A.4.5 to A.4.8
        base = next(row for row in rows if row[0] == f".4.{number}")
        rows.append((f".4.{number}.1", f"Fragmentable {base[1]}", video, True, base[4], False))
    # Retired JPEG processes (PS3.6 Table A-1): kept as received, never decoded.
    for number in (52, 53, 54, 55, 56, 58, 59, 60, 61, 62, 63, 64, 65, 66):
        lossy = number < 57 or 59 <= number <= 64
        rows.append((f".4.{number}", f"JPEG, retired process (.4.{number})", frames, lossy, None, False))
    return tuple(
        Syntax(ROOT + tail, name, form, lossy, media_type, default)
        for tail, name, form, lossy, media_type, default in rows
    )


SYNTAXES: tuple[Syntax, ...] = _rows()
BY_UID: Mapping[str, Syntax] = {syntax.uid: syntax for syntax in SYNTAXES}

# Registered, but not for stored objects: a MIME or XML envelope, real-time video, Papyrus, and GE's
# private syntax with big endian pixels in an implicit little endian data set.
REFUSED: frozenset[str] = frozenset(
    {
        ROOT + ".6.1",
        ROOT + ".6.2",
        ROOT + ".7.1",
        ROOT + ".7.2",
        ROOT + ".7.3",
        "1.2.840.10008.1.20",
        "1.2.840.113619.5.2",
    }
)


def syntax_of(uid: str) -> Syntax | None:
    """The row of `uid`, or `None` for a transfer syntax that is not stored here."""
    return BY_UID.get(uid)


def available(stored: str) -> tuple[str, ...]:
    """The transfer syntaxes in which an object stored in `stored` can be sent without touching its pixels."""
    syntax = BY_UID[stored]
    return (stored,) if syntax.leaves_as_stored else (EXPLICIT_LE,)
