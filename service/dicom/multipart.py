"""multipart/related (RFC 2387, PS3.18 8.6.1.2) without I/O: a reader fed blocks, a writer of heads."""

import enum
import hashlib
import re
import secrets
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

from service.dicom.errors import BadRequest, TooMany

_MAX_PREAMBLE = 64 << 10
_MAX_HEADERS = 16 << 10
_MAX_PADDING = 256
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A part's headers, names in lower case."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartData:
    """Bytes of the part that began last."""

    data: memoryview


@dataclass(frozen=True, slots=True)
class PartEnds:
    """The part that began last is complete."""


Event = PartBegins | PartData | PartEnds


class _State(enum.Enum):
    PREAMBLE = enum.auto()
    HEADERS = enum.auto()
    BODY = enum.auto()
    DONE = enum.auto()


class Reader:
    """Takes a multipart body apart as its blocks arrive.

    Lenient as PS3.18 clients need it: a preamble or a line end before the first boundary, an epilogue,
    spaces behind a boundary, lines that end in a bare line feed.
    """

    def __init__(self, boundary: str, *, max_parts: int) -> None:
        """`BadRequest` if `boundary` is not one (RFC 2046 5.1.1)."""
        try:
            self._boundary = boundary.encode("ascii")
        except UnicodeEncodeError:
            self._boundary = b""
        if not _BOUNDARY.fullmatch(self._boundary):
            raise BadRequest("The boundary of the multipart body is missing or malformed (RFC 2046 5.1.1).")
        self._max_parts = max_parts
        self._delimiter = b"\r\n--" + self._boundary
        self._state = _State.PREAMBLE
        self._tail = b""
        self.parts = 0

    @property
    def complete(self) -> bool:
        """Whether the closing boundary has been seen."""
        return self._state is _State.DONE

    @property
    def inside_part(self) -> bool:
        """Whether a part has begun and not ended."""
        return self._state in (_State.HEADERS, _State.BODY)

    def push(self, blocks: list[bytes]) -> Iterator[Event]:
        """The events in the bytes that follow. `BadRequest` if they are malformed, `TooMany` parts."""
        data = b"".join([self._tail, *blocks]) if self._tail or len(blocks) != 1 else blocks[0]
        self._tail = b""
        position: int | None = 0
        while position is not None and self._state is not _State.DONE:
            if self._state is _State.PREAMBLE:
                position = self._preamble(data, position)
            elif self._state is _State.HEADERS:
                end = self._headers_end(data, position)
                if end is None:
                    position = None
                else:
                    yield PartBegins(_parse_headers(data[position:end]))
                    position = end
                    self._state = _State.BODY
            else:
                position = yield from self._body(data, position)

    def _preamble(self, data: bytes, position: int) -> int | None:
        dashes = b"--" + self._boundary
        while True:
            found = data.find(dashes, position)
            if found < 0:
                if len(data) > _MAX_PREAMBLE:
                    raise BadRequest("The multipart body does not begin with its boundary.")
                self._tail = data
                return None
            if found and data[found - 1] != 0x0A:
                position = found + 1
                continue
            return self._after_boundary(data, found, found + len(dashes), first=True)

    def _body(self, data: bytes, position: int) -> Generator[Event, None, int | None]:
        view = memoryview(data)
        search = position
        while True:
            found = data.find(self._delimiter, search)
            if found < 0:
                keep = max(position, len(data) - len(self._delimiter) + 1)
                if keep > position:
                    yield PartData(view[position:keep])
                self._tail = data[keep:]
                return None
            if found > position:
                yield PartData(view[position:found])
            next_position = self._after_boundary(data, found, found + len(self._delimiter), first=False)
            if next_position is None:
                return None
            if next_position < 0:  # the boundary's text continues: it is content
                position, search = found, found + 1
                continue
            yield PartEnds()
            return next_position

    def _after_boundary(self, data: bytes, start: int, position: int, *, first: bool) -> int | None:
        """Where the next part's headers begin; `None` if that is not told yet, -1 if no boundary."""
        while data[position : position + 1] in (b" ", b"\t"):
            position += 1
            if position - start > _MAX_PADDING + len(self._delimiter):
                raise BadRequest("A boundary of the multipart body is followed by too much space.")
        rest = data[position : position + 2]
        if len(rest) < 2 and rest != b"\n":
            self._tail = data[start:]
            return None
        if rest == b"--":
            self._state = _State.DONE
            return position + 2
        if rest[:1] == b"\n" or rest == b"\r\n":
            if first and rest[:1] == b"\n":
                self._delimiter = b"\n--" + self._boundary
            return self._begin_part(position + (1 if rest[:1] == b"\n" else 2))
        if first:
            raise BadRequest("The first boundary of the multipart body is malformed.")
        return -1

    def _begin_part(self, position: int) -> int:
        self.parts += 1
        self._state = _State.HEADERS
        return position

    def _headers_end(self, data: bytes, position: int) -> int | None:
        if self.parts > self._max_parts:
            raise TooMany(f"The multipart body has more than {self._max_parts} parts; send several requests.")
        for blank in (b"\r\n", b"\n"):
            if data.startswith(blank, position):
                return position + len(blank)
        ends = [
            found + len(blank)
            for blank in (b"\r\n\r\n", b"\n\n")
            if (found := data.find(blank, position, position + _MAX_HEADERS)) >= 0
        ]
        if ends:
            return min(ends)
        if len(data) - position >= _MAX_HEADERS:
            raise BadRequest(f"The headers of a part are longer than {_MAX_HEADERS} bytes.")
        self._tail = data[position:]
        return None


def _parse_headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in block.decode("latin-1").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    return headers


def boundary_of(identity: str) -> str:
    """The boundary of the body with this identity, the same wherever that body is made.

    The identity covers digests of the content, so no content can hold its own boundary, by chance or on
    purpose. Of letters and digits only: some clients look for it in the raw bytes of frames, others
    split headers without minding quotes.
    """
    return f"isthmus{hashlib.sha256(identity.encode()).hexdigest()[:48]}"


def new_boundary() -> str:
    """A boundary for a body whose content has no identity beforehand; no content holds it by chance."""
    return boundary_of(secrets.token_hex(24))


def part_head(boundary: str, content_type: str, *, location: str = "", length: int | None = None) -> bytes:
    """What stands before a part's content, from the line end behind the previous one.

    Header names keep this case and the whole stays below 1,000 bytes, since clients look for them so.
    """
    lines = [f"\r\n--{boundary}", f"Content-Type: {content_type}"]
    if location:
        lines.append(f"Content-Location: {location}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def closing(boundary: str) -> bytes:
    """What stands behind the last part."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")
