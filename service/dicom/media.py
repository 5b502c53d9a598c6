"""Media ranges and what answers them (PS3.18 8.7): parsing Accept, ranking representations."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
MULTIPART = "multipart/related"
ANY = "*"
_REMEMBERED = 1024  # characters of Accept headers worth remembering

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z/-]+"
_PARAMETER = re.compile(rf'\s*;\s*(?:({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;,\s"]*))\s*)?')
_TYPE = re.compile(rf"\s*({_TOKEN})\s*")
_SPLIT = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?$)|,|[^",]+')
_QVALUE = re.compile(r"[01]?(?:\.[0-9]{0,3})?")
# A '+' of a name that was form-decoded: no media range has a space between two letters.
_DECODED_PLUS = re.compile(r"(?<=[A-Za-z0-9]) (?=[A-Za-z0-9])")
# Names that were in use before the standard's own; PS3.18 8.7.3.
_LEGACY = {
    "application/json": DICOM_JSON,
    "image/x-jls": "image/jls",
    "image/x-dicom-rle": "image/dicom-rle",
    "image/dicom+jpeg": "image/jpeg",
    "image/dicom+jpeg-ls": "image/jls",
    "image/dicom+jp2": "image/jp2",
    "image/dicom+jpx": "image/jpx",
    "image/dicom+rle": "image/dicom-rle",
    "image/jhc": "image/jphc",  # dicomweb-client (JavaScript)
    "video/mpeg2": "video/mpeg",
    "*": "*/*",
}

# Types of objects and data sets, and of nothing else; types of pictures, and of nothing else; types of
# compressed pixel data that no picture has (PS3.18 Tables 8.7.3-1 to 8.7.4-1).
_OBJECTS = frozenset((DICOM, DICOM_JSON, "application/dicom+xml"))
_PICTURES = frozenset(
    (
        "image/gif",
        "image/png",
        "image/jph",
        "text/html",
        "text/plain",
        "text/xml",
        "text/rtf",
        "application/pdf",
    )
)
_NEVER_PICTURES = frozenset(("image/dicom-rle", "image/jls", "image/jpx", "image/jphc"))


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One element of an Accept header.

    `type` is the type of the item, also where a multipart of such items is asked for; `syntaxes` are the
    values of its transfer-syntax parameters, `*` for any. `multipart` is `None` where either will do.
    """

    type: str
    multipart: bool | None
    syntaxes: tuple[str, ...]
    quality: float


@dataclass(frozen=True, slots=True)
class Representation:
    """One thing that could be sent: items of a media type, in a transfer syntax, one or many.

    `octets` says that a request for application/octet-stream in any transfer syntax is answered by it
    too: clients ask so for frames as they are stored. `default` says that it is meant where the type
    is named without a transfer syntax. `named` says that nothing but the name of its transfer syntax
    means it: it loses something that nobody loses unasked.
    """

    media_type: str
    syntax: str = ""
    multipart: bool = False
    octets: bool = False
    default: bool = False
    named: bool = False

    @property
    def content_type(self) -> str:
        """The header value of one such item; a transfer syntax is written without quotes."""
        return f"{self.media_type}; transfer-syntax={self.syntax}" if self.syntax else self.media_type

    def multipart_type(self, boundary: str) -> str:
        """The header value of a multipart of such items."""
        return f'{MULTIPART}; type="{self.media_type}"; boundary={boundary}'

    def __str__(self) -> str:
        item = self.content_type
        if not self.multipart:
            return item
        parameter = f"; transfer-syntax={self.syntax}" if self.syntax else ""
        return f'{MULTIPART}; type="{self.media_type}"{parameter}'


def decoded_plus(value: str) -> str:
    """`value` of an `accept` parameter with the pluses that form decoding took for spaces."""
    return _DECODED_PLUS.sub("+", value)


def parse_accept(values: Sequence[str]) -> Sequence[MediaRange]:
    """The media ranges of Accept headers or `accept` parameters; a range that makes no sense is left out.

    No value at all means `*/*` (RFC 9110 12.5.1).
    """
    # A viewer sends the same few headers for ever.
    return _parse_accept(tuple(values)) if sum(map(len, values)) < _REMEMBERED else _parsed(values)


@functools.lru_cache(maxsize=256)
def _parse_accept(values: tuple[str, ...]) -> Sequence[MediaRange]:
    return _parsed(values)


def _parsed(values: Sequence[str]) -> Sequence[MediaRange]:
    ranges = [found for value in values for text in _elements(value) if (found := _media_range(text))]
    if not ranges and not any(value.strip() for value in values):
        return [MediaRange("*/*", None, (), 1.0)]
    return ranges


def mixes_pictures(ranges: Sequence[MediaRange]) -> bool:
    """Whether a DICOM object or data set and a picture made of one are asked for at once (PS3.18 8.7.5).

    Types that both may have, such as image/jpeg in a multipart or with a transfer syntax, are neither.
    """
    types = {media_range.type for media_range in ranges}
    rendered = any(
        media_range.type in _PICTURES
        or (
            media_range.type.startswith(("image/", "video/"))
            and media_range.type not in _NEVER_PICTURES
            and not media_range.multipart
            and not media_range.syntaxes
        )
        for media_range in ranges
    )
    only_pictures = any(media_range.type in _PICTURES for media_range in ranges)
    return (bool(types & _OBJECTS) and rendered) or ("application/octet-stream" in types and only_pictures)


def negotiate(ranges: Sequence[MediaRange], offers: Sequence[Representation]) -> list[Representation]:
    """Those of `offers` that `ranges` accept, the most wanted first, ties in the order offered.

    The most specific range that an offer matches decides its quality (RFC 9110 12.5.1). Where a range
    names two transfer syntaxes, the first is the preferred one.
    """
    ranked: list[tuple[float, bool, int, Representation]] = []
    for place, offer in enumerate(offers):
        matching = [
            (rank, media_range)
            for media_range in ranges
            if (rank := _specificity(media_range, offer)) is not None
        ]
        if not matching:
            continue
        _, decisive = max(matching, key=lambda entry: entry[0])
        second_choice = bool(decisive.syntaxes) and decisive.syntaxes[0] != offer.syntax
        if decisive.quality > 0:
            ranked.append((-decisive.quality, second_choice, place, offer))
    return [offer for *_, offer in sorted(ranked, key=lambda entry: entry[:3])]


def content_type(value: str) -> tuple[str, dict[str, str]]:
    """A Content-Type header taken apart: the type in lower case, its parameters by lower-case name."""
    match = _TYPE.match(value)
    if match is None:
        return "", {}
    parameters: dict[str, str] = {}
    for name, text in _parameters(value, match.end()):
        parameters.setdefault(name, text)
    return match[1].lower(), parameters


def _elements(value: str) -> list[str]:
    """Split at commas outside quotes."""
    elements, current = [], ""
    for piece in _SPLIT.findall(value):
        if piece == ",":
            elements.append(current)
            current = ""
        else:
            current += piece
    return [element for element in (*elements, current) if element.strip()]


def _parameters(text: str, position: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    while match := _PARAMETER.match(text, position):
        position = match.end()
        if match[1]:
            value = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
            found.append((match[1].lower(), value.strip()))
    return found


def _media_range(text: str) -> MediaRange | None:
    name, _, _ = text.partition(";")
    base = _canonical(name)
    if base.count("/") != 1:
        return None
    multipart: bool | None = None if base == "*/*" else False
    kind, quality, syntaxes = base, 1.0, []
    if base in (MULTIPART, "multipart/*"):
        kind, multipart = "*/*", True
    for parameter, value in _parameters(text, len(name)):
        if parameter == "q":
            if not _QVALUE.fullmatch(value) or value in ("", ".") or float(value) > 1:
                return None
            quality = float(value)
        elif parameter == "type" and multipart:
            kind = _canonical(value)
        elif parameter == "transfer-syntax":
            syntaxes.append(value)
    return MediaRange(kind, multipart, tuple(syntaxes), quality)


def _canonical(name: str) -> str:
    lowered = name.strip().lower()
    return _LEGACY.get(lowered, lowered)


def _specificity(media_range: MediaRange, offer: Representation) -> tuple[int, int, int] | None:
    """How exactly `media_range` names `offer`, by type, form and transfer syntax; `None` if not at all."""
    if media_range.multipart is not None and media_range.multipart != offer.multipart:
        return None
    kind = _type_specificity(media_range, offer)
    if kind is None:
        return None
    form = 0 if media_range.multipart is None else 1
    if not offer.syntax:
        return kind, form, 0
    syntax = _syntax_specificity(media_range, offer)
    return None if syntax is None else (kind, form, syntax)


def _type_specificity(media_range: MediaRange, offer: Representation) -> int | None:
    if media_range.type == offer.media_type:
        return 2
    if media_range.type.endswith("/*") and media_range.type != "*/*":
        return 1 if offer.media_type.startswith(media_range.type[:-1]) else None
    if media_range.type == "*/*":
        return 0
    stored_wanted = ANY in media_range.syntaxes or offer.syntax in media_range.syntaxes
    return 2 if offer.octets and media_range.type == "application/octet-stream" and stored_wanted else None


def _syntax_specificity(media_range: MediaRange, offer: Representation) -> int | None:
    if offer.syntax in media_range.syntaxes:
        return 2
    if offer.named:
        return None
    if ANY in media_range.syntaxes:
        return 1
    if media_range.syntaxes:
        return None
    # A wildcard names no type whose default could be meant: whatever is there will do.
    return 0 if offer.default or media_range.type.endswith("/*") else None
