"""Streams of P-DATA-TF with something wrong in them, told alike however they are cut into blocks."""

import random
from dataclasses import replace

import pytest

from bridge.settings import Limits
from bridge.upper import pdu
from bridge.upper.pdu import Fault, Kind, PduReader, ProtocolFault

LIMITS = replace(Limits(), pdata_bytes=200)

type Told = tuple[list[tuple[int, int, bytes]], str, Fault | None, bool, int]


class Values:
    """A sink that keeps the values of P-DATA-TF, those that are not complete too."""

    def __init__(self) -> None:
        self.values: list[tuple[int, int, bytes]] = []
        self._begun = False

    def on_pdu(self, kind: Kind, body: bytes) -> None:
        self.values.append((kind, -1, body))

    def on_fragment(self, context_id: int, control: int, piece: memoryview, complete: bool) -> None:
        if self._begun:
            self.values[-1] = (context_id, control, self.values[-1][2] + piece)
        else:
            self.values.append((context_id, control, bytes(piece)))
        self._begun = not complete


def told_of(stream: bytes, size: int, expected: frozenset[Kind]) -> Told:
    """What a reader makes of `stream` in blocks of `size`: values, fault, whether inside a PDU, how many."""
    values = Values()
    reader = PduReader(values, LIMITS)
    reader.expected = expected
    try:
        for at in range(0, len(stream), size):
            reader.feed(memoryview(stream)[at : at + size])
    except ProtocolFault as fault:
        return values.values, str(fault), fault.reason, True, reader.begun
    return values.values, "", None, reader.inside, reader.begun


def a_stream(chance: random.Random) -> bytes:
    """A few PDUs of values of any length, none among them, in some of which a byte of a header is another."""
    whole = bytearray()
    for _ in range(chance.randrange(1, 5)):
        payload = chance.randbytes(chance.choice((0, 1, 2, 50, 194, 400)))
        for piece in pdu.packets(chance.choice((1, 3)), payload, command=False, last=True, longest=200):
            part = bytearray(piece)
            if len(part) == 12 and chance.random() < 0.15:
                part[chance.randrange(10)] = chance.choice((0, 1, 4, 5, 7, 9, 250))
            whole += part
    return bytes(whole)


def test_a_fault_is_told_alike_in_one_block_and_in_many():
    chance = random.Random(7)
    faults: set[str] = set()
    for _ in range(600):
        stream = a_stream(chance)
        expected = chance.choice((frozenset(Kind), frozenset({Kind.RELEASE_RQ, Kind.ABORT})))
        whole = told_of(stream, len(stream), expected)
        crumbs = told_of(stream, 1, expected)
        pieces = told_of(stream, chance.randrange(2, 40), expected)

        assert whole == crumbs == pieces, stream.hex()
        faults.add(whole[1])

    assert faults >= {
        "",
        "unknown PDU type",
        "unexpected PDU",
        "PDU length out of bounds",
        "presentation data value longer than its PDU",
    }


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("04000000000a" "000000070103", "presentation data value longer than its PDU"),
        ("04000000000a" "000000010103", "presentation data value longer than its PDU"),
        ("0400000000d6" "0000000a0103", "PDU length out of bounds"),
        ("04000000000a" "ffffffff0103", "presentation data value longer than its PDU"),
        ("0400ffffffff" "0000000a0103", "PDU length out of bounds"),
        ("040000000004" "000000020103", "presentation data value cut short"),
        ("080000000010" "0000000a0103", "unknown PDU type"),
    ],
)  # fmt: skip
def test_lengths_that_cannot_be_are_found_in_whole_headers(header: str, fault: str):
    stream = bytes.fromhex(header) + bytes(32)

    values, told, _, _, _ = told_of(stream, len(stream), frozenset(Kind))

    assert (values, told) == ([], fault)
