"""Bytes that wait for being sent: what goes in comes out, and memory is shared."""

import os
import random
import tempfile

import pytest

from service.dicom.errors import StoreUnavailable
from service.room import Room
from service.store.s3.multipart import Pieces
from service.store.s3.waiting import Waiting


@pytest.mark.parametrize("seed", range(20))
def test_what_goes_in_comes_out_in_order(seed):
    chance = random.Random(seed)
    room = Room(chance.choice([0, 50, 1000]))
    waiting = Waiting(room, chance.choice([0, 30, 500]))
    went_in, came_out = b"", b""
    for _ in range(200):
        if chance.random() < 0.6:
            block = chance.randbytes(chance.randrange(40))
            waiting.append(memoryview(block))
            went_in += block
        else:
            most = chance.randrange(60)
            taken = waiting.take(most)
            came_out += taken
            assert len(taken) <= most
        assert waiting.size == len(went_in) - len(came_out)
    came_out += waiting.take(waiting.size)
    assert came_out == went_in
    waiting.clear()


def test_room_that_was_taken_is_given_back():
    room = Room(100)
    waiting = Waiting(room, 1000)
    waiting.append(bytes(60))
    waiting.append(bytes(60))  # in a file
    assert not room.take(41)
    assert len(waiting.take(10)) == 10
    assert room.take(50)
    room.give(50)
    waiting.clear()
    waiting.clear()
    assert waiting.size == 0
    assert room.take(100)


def test_a_full_disk_is_told(monkeypatch):
    def fail(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    with pytest.raises(StoreUnavailable, match="no room"):
        Waiting(Room(0), 0).append(b"abc")


@pytest.mark.parametrize("size", [1, 4, 100])
def test_pieces_are_read_as_one_file(size):
    pieces = Pieces([memoryview(part) for part in (b"abc", b"", b"defgh", b"i")])
    assert pieces.seek(0, os.SEEK_END) == pieces.tell() == 9
    for _ in range(2):
        pieces.seek(0)
        found = b""
        while block := pieces.read(size):
            found += bytes(block)
        assert found == b"abcdefghi"
    pieces.seek(4)
    assert pieces.read() == b"efghi"
    assert pieces.read() == pieces.read(size) == b""
