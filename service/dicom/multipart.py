"""multipart/related (RFC 2387, PS3.18 8.6.1.2) without I/O: a reader fed blocks, a writer of heads."""

import enum
import hashlib
import re
import secrets
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from service.dicom.errors import BadRequest, TooMany

_MAX_PREAMBLE = 64 << 10
_MAX_HEADERS = 16 << 10
_SMALL = 16 << 10
_MAX_PADDING = 256
_PLAIN = frozenset(("", "binary", "8bit", "7bit", "identity"))
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


class Reads(Protocol):
    """A body that is taken apart as its blocks arrive."""

    parts: int

    @property
    def inside_part(self) -> bool:
        """Whether a part has begun and not ended."""
        ...

    def push(self, blocks: list[bytes]) -> Iterator[Event]:
        """The events in the bytes that follow. `BadRequest` if they are malformed, `TooMany` parts."""
        ...

    def end(self) -> Iterator[Event]:
        """The events of the end, where the body is whole as far as HTTP can tell."""
        ...


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
        self._left: int | None = None  # of the part's content, by its Content-Length
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
        if any(len(block) < _SMALL for block in blocks[:-1]):
            blocks = [b"".join(blocks)]  # small ones cost more than a copy
        for block in blocks:
            yield from self._push(block)

    def _push(self, block: bytes) -> Iterator[Event]:
        if self._tail_is_content(block):
            self._count(len(self._tail))
            yield PartData(memoryview(self._tail))
            self._tail = b""
        data = self._tail + block if self._tail else block
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
                    headers = _parse_headers(data[position:end])
                    self._left = _told_length(headers)
                    yield PartBegins(headers)
                    position = end
                    self._state = _State.BODY
            else:
                position = yield from self._body(data, position)

    def end(self) -> Iterator[Event]:
        """The events of a body that is whole as far as HTTP can tell.

        A last boundary without its two dashes ends its part all the same; without any boundary a part
        is whole that has as many bytes as its Content-Length says. What is not, stays `inside_part`.
        """
        if self._state is _State.HEADERS and not self._tail.strip():
            self.parts -= 1
            self._state = _State.DONE
        if self._state is not _State.BODY:
            return
        tail, left = self._tail, self._left
        if tail.startswith(self._delimiter):
            whole = not tail[len(self._delimiter) :].strip(b" \t\r\n-")
        else:
            whole = left is not None and left <= len(tail) and self._delimiter.startswith(tail[left:])
            if whole and left:
                yield PartData(memoryview(tail)[:left])
        if whole:
            self._state = _State.DONE
            yield PartEnds()

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
                    self._count(keep - position)
                    yield PartData(view[position:keep])
                self._tail = data[keep:]
                return None
            if found > position:
                self._count(found - position)
                yield PartData(view[position:found])
            next_position = self._after_boundary(data, found, found + len(self._delimiter), first=False)
            if next_position is None:
                return None
            if next_position < 0:  # the boundary's text continues: it is content
                position, search = found, found + 1
                continue
            yield PartEnds()
            return next_position

    def _tail_is_content(self, block: bytes) -> bool:
        """Whether no boundary begins in what was held back, as `block` shows: then nothing is copied."""
        if self._state is not _State.BODY or not self._tail or len(block) < len(self._delimiter):
            return False
        return self._delimiter not in self._tail + block[: len(self._delimiter) - 1]

    def _count(self, size: int) -> None:
        if self._left is not None:
            self._left = self._left - size if self._left >= size else None

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


class OnePart:
    """A body that is no multipart, as the events of its only part."""

    def __init__(self, content_type: str) -> None:
        self._headers = {"content-type": content_type}
        self._ended = False
        self.parts = 0

    @property
    def inside_part(self) -> bool:
        """Whether the part has begun and not ended."""
        return self.parts > 0 and not self._ended

    def push(self, blocks: list[bytes]) -> Iterator[Event]:
        """The bytes that follow."""
        if not self.parts:
            self.parts = 1
            yield PartBegins(self._headers)
        for block in blocks:
            yield PartData(memoryview(block))

    def end(self) -> Iterator[Event]:
        """The body is whole."""
        if self.inside_part:
            self._ended = True
            yield PartEnds()


def _parse_headers(block: bytes) -> dict[str, str]:
    """Names in lower case; of two with one name the first. Folded lines are one (RFC 5322 2.2.3)."""
    headers: dict[str, str] = {}
    lines = block.decode("latin-1").replace("\r\n", "\n")
    for line in re.sub(r"\n[ \t]+", " ", lines).split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    return headers


def _told_length(headers: Mapping[str, str]) -> int | None:
    """The Content-Length of a part, where it is a number."""
    told = headers.get("content-length", "")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 15 else None


def encoded(headers: Mapping[str, str]) -> str:
    """The name of a coding that a part's content is in, empty for none: no coding of a part is undone.

    The transfer encodings of mail that change nothing are none (RFC 2045 6.2).
    """
    for name in ("content-transfer-encoding", "content-encoding"):
        coding = headers.get(name, "").lower()
        if coding not in _PLAIN:
            return name
    return ""


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


def part_head(
    boundary: str, content_type: str, *, location: str = "", length: int | None = None, first: bool = False
) -> bytes:
    """What stands before a part's content, from the line end behind the previous one.

    Before the `first` there is nothing: bodies have no preamble. Header names keep this case and the whole
    stays below 1,000 bytes, since clients look for them so.
    """
    lines = [f"--{boundary}", f"Content-Type: {content_type}"]
    if not first:
        lines.insert(0, "")
    if location:
        lines.append(f"Content-Location: {location}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def closing(boundary: str) -> bytes:
    """What stands behind the last part."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")
