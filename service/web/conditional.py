"""Conditional and range requests (RFC 9110 sections 13 and 14): entity tags, 304, 206, 412, 416."""

import hashlib
import re
from collections.abc import Mapping

from service.dicom.errors import ArchiveError
from service.dicom.frames import Extent

_RANGE = re.compile(r"bytes\s*+=\s*+([0-9]{0,20})\s*+-\s*+([0-9]{0,20})\s*+")


class RangeNotSatisfiable(ArchiveError):
    """The range asked for lies outside of what there is."""

    def __init__(self, size: int) -> None:
        super().__init__(f"The range lies outside of the {size} bytes that there are.")
        self.size = size


class PreconditionFailed(ArchiveError):
    """The client wants only a body that it knows, and there is another one now."""

    def __init__(self) -> None:
        super().__init__("What there is has another entity tag than those that If-Match names.")


def entity_tag(*parts: str | bytes | int) -> str:
    """A strong entity tag of everything that makes a body what it is, quoted."""
    data = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    digest = hashlib.sha256(b"".join([len(one).to_bytes(8, "little") + one for one in data]))
    return f'"{digest.hexdigest()[:32]}"'


def is_unchanged(headers: Mapping[str, str], tag: str) -> bool:
    """Whether a client has the body with `tag` already: its If-None-Match names it (compared weakly)."""
    tags = [one.strip().removeprefix("W/") for one in headers.get("if-none-match", "").split(",")]
    return tag.removeprefix("W/") in tags or "*" in tags


def require_match(headers: Mapping[str, str], tag: str) -> None:
    """`PreconditionFailed` if there is an If-Match that does not name `tag` (compared strongly).

    It comes before If-None-Match (RFC 9110 13.2.2).
    """
    tags = [one.strip() for one in headers.get("if-match", "*").split(",")]
    if "*" not in tags and (tag not in tags or tag.startswith("W/")):
        raise PreconditionFailed


def requested_range(headers: Mapping[str, str], size: int, tag: str) -> Extent | None:
    """The run of bytes that the client wants, `None` for all of them.

    Several ranges, other units and an `If-Range` that is not about `tag` mean all of them.
    `RangeNotSatisfiable` if it lies outside.
    """
    match = _RANGE.fullmatch(headers.get("range", ""))
    if match is None or match[1] + match[2] == "" or headers.get("if-range", tag) != tag:
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        if not length:
            raise RangeNotSatisfiable(size)
        return Extent(size - length, length)
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < first:
        return None  # malformed: to be ignored (RFC 9110 14.1.1)
    if first >= size:
        raise RangeNotSatisfiable(size)
    return Extent(first, last - first + 1)
