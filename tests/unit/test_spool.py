"""Values that wait, in memory and in a file."""

import pytest

from service.archive.spool import Spool
from service.dicom.errors import StoreUnavailable
from service.dicom.frames import Extent


@pytest.mark.parametrize("in_memory", [4, 1 << 20])
def test_what_is_appended_is_read_back_by_its_place(in_memory):
    spool = Spool(in_memory=in_memory)
    spool.append(memoryview(b"abc"))
    spool.append(memoryview(b"defg"))
    assert spool.read(Extent(2, 3)) == b"cde"
    assert spool.read(Extent(5, 9)) == b"fg"
    spool.append(memoryview(b"h"))
    assert b"".join(spool.blocks(Extent(0, 8))) == b"abcdefgh"
    assert spool.size == 8
    spool.close()


def test_blocks_are_of_a_mebibyte():
    spool = Spool()
    content = bytes(range(256)) * (10 << 10)
    spool.append(memoryview(content))
    blocks = list(spool.blocks(Extent(0, len(content))))
    assert [len(block) for block in blocks] == [1 << 20, 1 << 20, 1 << 19]
    assert b"".join(blocks) == content
    spool.close()


@pytest.mark.parametrize("in_memory", [4, 1 << 20])
def test_a_spool_that_is_cleared_begins_anew(in_memory):
    spool = Spool(in_memory=in_memory)
    spool.append(memoryview(b"abcdef"))
    spool.clear()
    assert spool.size == 0
    spool.append(memoryview(b"xy"))
    assert spool.read(Extent(0, 9)) == b"xy"
    spool.close()


def test_what_is_not_there_is_not_waited_for():
    spool = Spool()
    with pytest.raises(StoreUnavailable):
        list(spool.blocks(Extent(0, 1)))
    spool.close()
