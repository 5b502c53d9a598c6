"""Transfer syntaxes as settings write them: by UID, pattern, name or keyword."""

import fnmatch
from collections.abc import Iterable, Mapping

from service.dicom import syntaxes

# Keywords of PS3.6 Table A-1 that are not the name without its spaces and signs.
_KEYWORDS: Mapping[str, str] = {
    "JPEGBaseline8Bit": ".4.50",
    "JPEGExtended12Bit": ".4.51",
    "JPEGLossless": ".4.57",
    "JPEGLosslessSV1": ".4.70",
    "JPEG2000MCLossless": ".4.92",
    "JPEG2000MC": ".4.93",
    "MPEG2MPML": ".4.100",
    "MPEG2MPHL": ".4.101",
    "MPEG4HP41": ".4.102",
    "MPEG4HP41BD": ".4.103",
    "MPEG4HP422D": ".4.104",
    "MPEG4HP423D": ".4.105",
    "MPEG4HP42STEREO": ".4.106",
    "HEVCMP51": ".4.107",
    "HEVCM10P51": ".4.108",
    "HTJ2KLossless": ".4.201",
    "HTJ2KLosslessRPCL": ".4.202",
    "HTJ2K": ".4.203",
}


def _plain(name: str) -> str:
    return "".join(c for c in name if c.isalnum()).lower()


_BY_NAME: Mapping[str, str] = {
    **{_plain(syntax.name): syntax.uid for syntax in syntaxes.SYNTAXES},
    **{_plain(keyword): syntaxes.ROOT + tail for keyword, tail in _KEYWORDS.items()},
}


def matched(written: str) -> tuple[str, ...]:
    """The transfer syntaxes stored here that `written` means, none if it means none.

    `written` is a UID, a pattern of UIDs with `*`, or a name or keyword, of which only letters and digits
    count: `1.2.840.10008.1.2.4.*`, `RLE Lossless`, `JPEG2000Lossless`.
    """
    if written[:1].isdigit() or written[:1] == "*":
        return tuple(uid for uid in syntaxes.BY_UID if fnmatch.fnmatchcase(uid, written))
    uid = _BY_NAME.get(_plain(written))
    return (uid,) if uid is not None else ()


def listed(items: Iterable[str]) -> frozenset[str]:
    """All that `items` mean, with Implicit VR Little Endian, which everybody takes (PS3.5 10.1).

    `ValueError` holds the first item that means nothing.
    """
    accepted = {syntaxes.IMPLICIT_LE}
    for item in items:
        found = matched(item)
        if not found:
            raise ValueError(item)
        accepted.update(found)
    return frozenset(accepted)


# Nobody is asked to make these: archives cannot, or may not over the web.
_NEVER_MADE = frozenset((syntaxes.IMPLICIT_LE, syntaxes.EXPLICIT_BE, syntaxes.DEFLATED))


def is_made(uid: str) -> bool:
    """Whether instances may be made into a transfer syntax: without a new loss, whatever they are."""
    syntax = syntaxes.BY_UID.get(uid)
    return (
        syntax is not None
        and not syntax.lossy
        and uid not in _NEVER_MADE
        and syntax.form not in (syntaxes.Form.VIDEO, syntaxes.Form.REFERENCE)
    )
