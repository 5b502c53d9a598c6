"""Command sets as peers write them (PS3.7 6.3)."""

import struct

import pytest

from bridge.upper.command import Operation, Tag, decode
from bridge.upper.pdu import ProtocolFault


def element(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, tag, len(value)) + value


STORE = element(Tag.COMMAND_FIELD, b"\1\0") + element(Tag.MESSAGE_ID, b"\7\0")


@pytest.mark.parametrize("tag", [Tag.PRIORITY, Tag.MOVE_ORIGINATOR_MESSAGE_ID, Tag.ERROR_ID, Tag.REMAINING])
def test_a_number_without_a_value_is_absent(tag: Tag):
    command = decode(STORE + element(tag, b"") + element(Tag.AFFECTED_SOP_INSTANCE, b"1.2\0"))

    assert tag not in command.values
    assert (command.field, command.message_id) == (Operation.C_STORE, 7)
    assert command.text(Tag.AFFECTED_SOP_INSTANCE) == "1.2"


@pytest.mark.parametrize("value", [b"\1", b"\1\0\0\0"])
def test_a_number_of_another_length_cannot_be_read(value: bytes):
    with pytest.raises(ProtocolFault):
        decode(STORE + element(Tag.PRIORITY, value))


def test_a_command_field_without_a_value_is_no_command():
    with pytest.raises(ProtocolFault):
        decode(element(Tag.COMMAND_FIELD, b""))


@pytest.mark.parametrize("status", [b"", element(Tag.STATUS, b"")])
def test_a_response_without_a_status_is_no_success(status: bytes):
    with pytest.raises(ProtocolFault):
        decode(element(Tag.COMMAND_FIELD, b"\1\x80") + status)


@pytest.mark.parametrize("length", [0, 1, 0xFFFFFFFF])
def test_the_group_length_does_not_count(length: int):
    assert decode(element(0, struct.pack("<I", length)) + STORE).message_id == 7
