import gzip
import zlib

import pytest

from service.dicom.errors import NotDicom
from service.dicom.inflate import Inflater


def deflated(plain: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(plain) + stream.flush()


@pytest.mark.parametrize("size", [0, 1, 4096, 65536, *range(3 * 4096, 3 * 4096 + 300, 7)])
@pytest.mark.parametrize("step", [1 << 20, 5])
def test_nothing_stays_behind_in_the_stream(size, step):
    """zlib may hold the last bytes back when its output is just full."""
    plain = bytes(size)
    packed = deflated(plain)
    inflater = Inflater(block_size=4096)
    got = b"".join(
        block for at in range(0, len(packed), step) for block in inflater.push(packed[at : at + step])
    )
    assert inflater.complete
    assert got == plain


def test_blocks_are_bounded():
    assert all(len(block) <= 4096 for block in Inflater(block_size=4096).push(deflated(bytes(1 << 22))))


def test_a_stream_that_is_cut_is_not_complete():
    inflater = Inflater()
    list(inflater.push(deflated(b"abc" * 100)[:-2]))
    assert not inflater.complete


def test_a_damaged_stream_is_refused():
    with pytest.raises(NotDicom):
        list(Inflater().push(b"\xff" * 100))


def test_every_member_of_a_gzip_stream_counts():
    packed = gzip.compress(b"one") + gzip.compress(b"two" * 5000) + gzip.compress(b"three")
    for step in (1, 7, len(packed)):
        inflater = Inflater(block_size=4096, gzip=True)
        pieces = (packed[at : at + step] for at in range(0, len(packed), step))
        assert (
            b"".join(plain for piece in pieces for plain in inflater.push(piece))
            == b"one" + b"two" * 5000 + b"three"
        )
        assert inflater.complete


@pytest.mark.parametrize("junk", [b"junk", b"\0\0", gzip.compress(b"x")[:-3]])
def test_what_is_no_member_behind_one_is_not_passed_over(junk):
    inflater = Inflater(gzip=True)
    try:
        list(inflater.push(gzip.compress(b"one") + junk))
    except NotDicom:
        return
    assert not inflater.complete


def test_members_have_a_limit():
    with pytest.raises(NotDicom, match="members"):
        list(Inflater(gzip=True).push(gzip.compress(b"") * 2000))


def test_padding_behind_a_raw_stream_is_passed_over():
    inflater = Inflater()
    assert b"".join(inflater.push(deflated(b"one") + b"\0")) == b"one"
    assert inflater.complete
