"""Command sets (PS3.7 6.3, annex E): Implicit VR Little Endian, group 0000."""

import enum
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from bridge.upper.pdu import ProtocolFault

Value = int | str | tuple[int, ...]


class Tag(enum.IntEnum):
    """Elements of group 0000 (PS3.7 Table E.1-1), in the table's order of tags."""

    AFFECTED_SOP_CLASS = 0x0002
    REQUESTED_SOP_CLASS = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    RESPONDED_MESSAGE_ID = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    OFFENDING_ELEMENT = 0x0901
    ERROR_COMMENT = 0x0902
    ERROR_ID = 0x0903
    AFFECTED_SOP_INSTANCE = 0x1000
    REQUESTED_SOP_INSTANCE = 0x1001
    EVENT_TYPE = 0x1002
    ATTRIBUTES = 0x1005
    ACTION_TYPE = 0x1008
    REMAINING = 0x1020
    COMPLETED = 0x1021
    FAILED = 0x1022
    WARNING = 0x1023
    MOVE_ORIGINATOR = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031


class Operation(enum.IntEnum):
    """Command Field (0000,0100) of requests (PS3.7 E.1)."""

    C_STORE = 0x0001
    C_GET = 0x0010
    C_FIND = 0x0020
    C_MOVE = 0x0021
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    N_GET = 0x0110
    N_SET = 0x0120
    N_ACTION = 0x0130
    N_CREATE = 0x0140
    N_DELETE = 0x0150
    C_CANCEL = 0x0FFF


RESPONSE = 0x8000
NO_DATA_SET = 0x0101
_WITH_DATA_SET = 0x0001

_TAGS: Mapping[int, Tag] = {int(tag): tag for tag in Tag}
_NUMBERS = frozenset(
    {
        Tag.COMMAND_FIELD, Tag.MESSAGE_ID, Tag.RESPONDED_MESSAGE_ID, Tag.PRIORITY, Tag.DATA_SET_TYPE,
        Tag.STATUS, Tag.ERROR_ID, Tag.EVENT_TYPE, Tag.ACTION_TYPE, Tag.REMAINING, Tag.COMPLETED,
        Tag.FAILED, Tag.WARNING, Tag.MOVE_ORIGINATOR_MESSAGE_ID,
    }
)  # fmt: skip
_UIDS = frozenset(
    {
        Tag.AFFECTED_SOP_CLASS, Tag.REQUESTED_SOP_CLASS, Tag.AFFECTED_SOP_INSTANCE,
        Tag.REQUESTED_SOP_INSTANCE,
    }
)  # fmt: skip
_TAG_LISTS = frozenset({Tag.OFFENDING_ELEMENT, Tag.ATTRIBUTES})  # AT
# N-GET, N-SET, N-ACTION and N-DELETE name the class as requested, all others as affected (PS3.7 E.1).
_ABOUT_REQUESTED = frozenset({Operation.N_GET, Operation.N_SET, Operation.N_ACTION, Operation.N_DELETE})
_ELEMENT = struct.Struct("<HHI")


@dataclass(frozen=True, slots=True)
class Command:
    """A command set: the values of its elements, those of group 0000 that we know."""

    values: Mapping[Tag, Value]

    @property
    def field(self) -> int:
        """Command Field."""
        return self.number(Tag.COMMAND_FIELD)

    @property
    def is_response(self) -> bool:
        return bool(self.field & RESPONSE)

    @property
    def has_data(self) -> bool:
        """Whether a data set follows (PS3.7 E.1, Command Data Set Type)."""
        return self.values.get(Tag.DATA_SET_TYPE, NO_DATA_SET) != NO_DATA_SET

    @property
    def message_id(self) -> int:
        return self.number(Tag.MESSAGE_ID)

    @property
    def status(self) -> int:
        return self.number(Tag.STATUS)

    def number(self, tag: Tag) -> int:
        """The value of a numeric element, 0 if it is absent."""
        value = self.values.get(tag, 0)
        return value if isinstance(value, int) else 0

    def text(self, tag: Tag) -> str:
        """The value of a textual element without padding, empty if it is absent."""
        value = self.values.get(tag, "")
        return value if isinstance(value, str) else ""

    def tags(self, tag: Tag) -> tuple[int, ...]:
        """The values of an element that lists attributes, none if it is absent."""
        value = self.values.get(tag, ())
        return value if isinstance(value, tuple) else ()

    def answered(
        self,
        status: int,
        *,
        comment: str = "",
        has_data: bool = False,
        offending: int = 0,
        counts: Mapping[Tag, int] | None = None,
    ) -> "Command":
        """The response to this request (PS3.7 9.3 and 10.3).

        `offending` is the tag of the element that is at fault; `counts` are those of sub-operations.
        """
        values: dict[Tag, Value] = {
            Tag.COMMAND_FIELD: self.field | RESPONSE,
            Tag.RESPONDED_MESSAGE_ID: self.message_id,
            Tag.DATA_SET_TYPE: _WITH_DATA_SET if has_data else NO_DATA_SET,
            Tag.STATUS: status,
        }
        for asked, told in (
            (Tag.AFFECTED_SOP_CLASS, Tag.AFFECTED_SOP_CLASS),
            (Tag.AFFECTED_SOP_INSTANCE, Tag.AFFECTED_SOP_INSTANCE),
            (Tag.REQUESTED_SOP_CLASS, Tag.AFFECTED_SOP_CLASS),
            (Tag.REQUESTED_SOP_INSTANCE, Tag.AFFECTED_SOP_INSTANCE),
        ):
            if self.text(asked):
                values[told] = self.text(asked)
        if comment:
            values[Tag.ERROR_COMMENT] = comment[:64]
        if offending:
            values[Tag.OFFENDING_ELEMENT] = offending
        return Command({**values, **(counts or {})})

    @classmethod
    def request(
        cls, operation: Operation, message_id: int, sop_class: str, *, has_data: bool, **values: Value
    ) -> "Command":
        """A request about `sop_class`; `values` by the names of `Tag`, in lower case (PS3.7 9.3, 10.3)."""
        named = Tag.REQUESTED_SOP_CLASS if operation in _ABOUT_REQUESTED else Tag.AFFECTED_SOP_CLASS
        return cls(
            {
                named: sop_class,
                Tag.COMMAND_FIELD: operation,
                Tag.MESSAGE_ID: message_id,
                Tag.DATA_SET_TYPE: _WITH_DATA_SET if has_data else NO_DATA_SET,
                **{Tag[name.upper()]: value for name, value in values.items()},
            }
        )

    def encode(self) -> bytes:
        """The command set with its group length."""
        body = b"".join(_encoded(tag, self.values[tag]) for tag in sorted(self.values))
        return _ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def decode(encoded: bytes) -> Command:
    """Read a command set; `ProtocolFault` if it cannot be followed or says no Command Field or Status.

    Elements that are not known are passed over, and so are numbers without a value, and the group length,
    which is often wrong.
    """
    values: dict[Tag, Value] = {}
    at, end = 0, len(encoded)
    while at < end:
        if end - at < _ELEMENT.size:
            raise ProtocolFault("command set cut short")
        group, element, length = _ELEMENT.unpack_from(encoded, at)
        at += _ELEMENT.size
        if group != 0 or length > end - at:
            raise ProtocolFault("command set malformed")
        tag = _TAGS.get(element)
        if tag is not None and (length or tag not in _NUMBERS):
            values[tag] = _decoded(tag, encoded[at : at + length])
        at += length
    if Tag.COMMAND_FIELD not in values:
        raise ProtocolFault("command set without a command")
    command = Command(values)
    if command.is_response and Tag.STATUS not in values:
        raise ProtocolFault("response without a status")  # it must not be read as a success
    return command


def _decoded(tag: Tag, value: bytes) -> Value:
    if tag in _NUMBERS:
        if len(value) != 2:
            raise ProtocolFault("command element of the wrong length")
        return int.from_bytes(value, "little")
    if tag in _TAG_LISTS:
        halves = struct.unpack_from(f"<{len(value) // 4 * 2}H", value)
        return tuple(group << 16 | element for group, element in zip(halves[::2], halves[1::2], strict=True))
    return value.strip(b" \0").decode("latin-1")


def _encoded(tag: Tag, value: Value) -> bytes:
    if isinstance(value, tuple):
        listed = b"".join(struct.pack("<HH", each >> 16, each & 0xFFFF) for each in value)
        return _ELEMENT.pack(0, tag, len(listed)) + listed
    if isinstance(value, int):
        if tag in _TAG_LISTS:
            return _ELEMENT.pack(0, tag, 4) + struct.pack("<HH", value >> 16, value & 0xFFFF)
        return _ELEMENT.pack(0, tag, 2) + min(value, 0xFFFF).to_bytes(2, "little")
    text = value.encode("latin-1", "replace")
    if len(text) % 2:
        text += b"\0" if tag in _UIDS else b" "
    return _ELEMENT.pack(0, tag, len(text)) + text
