"""Protocol data units of the upper layer (PS3.8 9.3): framing of what comes, coding of the short ones."""

import enum
import struct
from collections.abc import Buffer, Iterable, Iterator
from typing import Protocol

from bridge.settings import Limits


class Kind(enum.IntEnum):
    """PDU types (PS3.8 9.3.1)."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class Fault(enum.IntEnum):
    """Why a service provider aborts (PS3.8 Table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class ProtocolFault(Exception):
    """The peer broke the rules of the upper layer; the association is to be aborted with `reason`."""

    def __init__(self, message: str, reason: Fault = Fault.INVALID_PARAMETER) -> None:
        super().__init__(message)
        self.reason = reason


# Message control header (PS3.8 E.2).
COMMAND = 1
LAST = 2

_HEADER = struct.Struct(">BxI")
_PDV = struct.Struct(">IBB")
_START = struct.Struct(">BxIIBB")  # both, where a P-DATA-TF begins
# Some senders count the headers of PDU and PDV out of the maximum length; PS3.8 D.1 counts the latter in.
_HEADERS = _HEADER.size + _PDV.size
_BLOCK_BYTES = 1 << 20  # written at a time
_BLOCK_PIECES = 4096
_SHORT = 4  # the length of A-ASSOCIATE-RJ, A-RELEASE and A-ABORT
_KINDS = frozenset(Kind)
_ASSOCIATE = (Kind.ASSOCIATE_RQ, Kind.ASSOCIATE_AC)
_P_DATA = int(Kind.P_DATA)


class Sink(Protocol):
    """Where a `PduReader` delivers; both may raise `ProtocolFault`."""

    def on_pdu(self, kind: Kind, body: bytes) -> None:
        """A whole PDU other than P-DATA-TF, without its header."""
        ...

    def on_fragment(self, context_id: int, control: int, piece: memoryview, complete: bool) -> None:
        """Some bytes of a presentation data value, to be used before returning.

        `complete` says that they are the value's last.
        """
        ...


class PduReader:
    """Cuts a stream of bytes into PDUs, and P-DATA-TF further into pieces of its values, in place.

    `expected` holds the kinds that may come in the present state; another one raises `ProtocolFault` as
    soon as its header is read, as does a length beyond `limits` or, for P-DATA-TF, beyond
    `longest_value`, the maximum length that the peer was told. `begun` counts the PDUs seen.
    """

    def __init__(self, sink: Sink, limits: Limits) -> None:
        self.expected: frozenset[Kind] = frozenset()
        self.begun = 0
        self.longest_value = limits.pdata_bytes
        self._sink = sink
        self._limits = limits
        self._partial = bytearray()  # of a header that came in two blocks
        self._kind: Kind | None = None
        self._left = 0  # bytes of the PDU still to come
        self._body = bytearray()
        self._value_left = 0  # bytes of the presentation data value still to come
        self._context_id = 0
        self._control = 0

    @property
    def inside(self) -> bool:
        """Whether a PDU has begun and not ended."""
        return self._kind is not None or bool(self._partial)

    def feed(self, block: memoryview) -> None:
        """Take all of `block`; nothing of it is referred to afterwards."""
        at, end = 0, len(block)
        while at < end:
            if self._value_left:
                at = self._read_value(block, at)
            elif self._kind is None:
                at = self._read_start(block, at)
            elif self._kind is not Kind.P_DATA:
                at = self._read_body(block, at)
            else:
                at = self._read_value_header(block, at)

    def _gather(self, block: memoryview, at: int, size: int) -> tuple[memoryview | bytearray | None, int]:
        """The next `size` bytes, across blocks, or `None` if the rest of them is still to come."""
        if not self._partial and len(block) - at >= size:
            return block[at : at + size], at + size
        taken = block[at : at + size - len(self._partial)]
        self._partial += taken
        at += len(taken)
        if len(self._partial) < size:
            return None, at
        whole, self._partial = self._partial, bytearray()
        return whole, at

    def _read_start(self, block: memoryview, at: int) -> int:
        """The headers of a P-DATA-TF and of its first value in one step; any other PDU's header alone.

        So is one that is at fault, whose fault is found by the steps that look for each.
        """
        if not self._partial and len(block) - at >= _START.size and _P_DATA in self.expected:
            kind, length, value, context_id, control = _START.unpack_from(block, at)
            fits = 2 < value <= length - 4 and length <= self.longest_value + _HEADERS
            if kind == _P_DATA and fits:
                self.begun += 1
                self._kind = Kind.P_DATA
                self._left = length - _PDV.size
                self._value_left = value - 2
                self._context_id, self._control = context_id, control
                return at + _START.size
        return self._read_header(block, at)

    def _read_header(self, block: memoryview, at: int) -> int:
        if not self._partial:
            self.begun += 1
        header, at = self._gather(block, at, _HEADER.size)
        if header is not None:
            kind, length = _HEADER.unpack(header)
            self._begin(kind, length)
        return at

    def _begin(self, kind: int, length: int) -> None:
        if kind not in _KINDS:
            raise ProtocolFault("unknown PDU type", Fault.UNRECOGNIZED_PDU)
        if kind not in self.expected:
            raise ProtocolFault("unexpected PDU", Fault.UNEXPECTED_PDU)
        if kind == Kind.P_DATA:
            longest = self.longest_value + _HEADERS
        else:
            longest = self._limits.association_bytes if kind in _ASSOCIATE else _SHORT
        if not _SHORT <= length <= longest:
            raise ProtocolFault("PDU length out of bounds")
        self._kind = Kind(kind)
        self._left = length

    def _read_body(self, block: memoryview, at: int) -> int:
        taken = block[at : at + self._left]
        self._body += taken
        self._left -= len(taken)
        if self._left == 0 and self._kind is not None:
            kind, body = self._kind, bytes(self._body)
            self._kind, self._body = None, bytearray()
            self._sink.on_pdu(kind, body)
        return at + len(taken)

    def _read_value_header(self, block: memoryview, at: int) -> int:
        if self._left < _PDV.size:
            raise ProtocolFault("presentation data value cut short")
        header, at = self._gather(block, at, _PDV.size)
        if header is None:
            return at
        length, self._context_id, self._control = _PDV.unpack(header)
        self._left -= _PDV.size
        self._value_left = length - 2  # the length counts context and control
        if not 0 <= self._value_left <= self._left:
            raise ProtocolFault("presentation data value longer than its PDU")
        if self._value_left == 0:
            self._end_value_at_end_of_pdu()
            self._sink.on_fragment(self._context_id, self._control, block[:0], True)
        return at

    def _read_value(self, block: memoryview, at: int) -> int:
        piece = block[at : at + self._value_left]
        taken = len(piece)
        self._value_left -= taken
        self._left -= taken
        complete = self._value_left == 0
        if complete:
            self._end_value_at_end_of_pdu()
        self._sink.on_fragment(self._context_id, self._control, piece, complete)
        return at + taken

    def _end_value_at_end_of_pdu(self) -> None:
        if self._left == 0:
            self._kind = None


def packets(
    context_id: int, payload: Buffer, *, command: bool, last: bool, longest: int
) -> Iterator[bytes | memoryview]:
    """P-DATA-TF PDUs, one value each, that carry `payload`: alternately a header and its bytes.

    `longest` is the peer's maximum length, 0 for none (PS3.8 D.1). `last` marks the end of the command
    set or data set; an empty payload makes one empty value.
    """
    room = max(longest - _PDV.size, 16) & ~1 if longest else 1 << 20  # fragments are even (PS3.7 annex F)
    view = memoryview(payload)
    flags = COMMAND if command else 0
    for start in range(0, max(len(view), 1), room):
        piece = view[start : start + room]
        control = flags | LAST if last and start + room >= len(view) else flags
        head = _HEADER.pack(Kind.P_DATA, len(piece) + _PDV.size)
        yield head + _PDV.pack(len(piece) + 2, context_id, control)
        yield piece


def blocks(pieces: Iterable[bytes | memoryview]) -> Iterator[list[bytes | memoryview]]:
    """`pieces` in blocks of about a mebibyte, fewer bytes where the peer wants tiny fragments."""
    block: list[bytes | memoryview] = []
    size = 0
    for piece in pieces:
        block.append(piece)
        size += len(piece)
        if size >= _BLOCK_BYTES or len(block) >= _BLOCK_PIECES:
            yield block
            block, size = [], 0
    if block:
        yield block


def release_rq() -> bytes:
    """An A-RELEASE-RQ PDU (PS3.8 9.3.6)."""
    return _HEADER.pack(Kind.RELEASE_RQ, _SHORT) + bytes(_SHORT)


def release_rp() -> bytes:
    """An A-RELEASE-RP PDU (PS3.8 9.3.7)."""
    return _HEADER.pack(Kind.RELEASE_RP, _SHORT) + bytes(_SHORT)


def abort(*, by_provider: bool, reason: Fault = Fault.NOT_SPECIFIED) -> bytes:
    """An A-ABORT PDU (PS3.8 9.3.8); a user's abort has no reason."""
    return _HEADER.pack(Kind.ABORT, _SHORT) + bytes((0, 0, 2 if by_provider else 0, reason))
