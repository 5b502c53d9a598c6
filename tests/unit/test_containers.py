"""Pictures in boxes and the headers of JPEG XL, damaged ones above all."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dicom.containers import Peek, boxes, jxl_header, video_size
from service.dicom.errors import NotDicom

GREY = bytes.fromhex("ff0a4870101437020800010080004b386898c283f715")


def peeking(content: bytes) -> Peek:
    return lambda position, length: content[position : position + length]


def box(kind: bytes, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + kind + content


def test_boxes_are_walked_up_to_the_first_that_reaches_beyond():
    content = box(b"aaaa", b"12") + box(b"bbbb", b"") + b"\0\0\0\x09cccc"
    assert [(one.kind, one.start, one.end) for one in boxes(peeking(content), 0, len(content))] == [
        (b"aaaa", 8, 10),
        (b"bbbb", 18, 18),
    ]


def test_a_box_may_reach_to_the_end_or_have_a_long_length():
    long = b"\0\0\0\x01aaaa" + (18).to_bytes(8, "big") + b"xy"
    content = long + b"\0\0\0\0bbbbrest"
    found = list(boxes(peeking(content), 0, len(content)))
    assert [content[one.start : one.end] for one in found] == [b"xy", b"rest"]


def test_a_file_of_nothing_but_boxes_is_given_up():
    looked = 0

    def peek(_: int, length: int) -> bytes:
        nonlocal looked
        looked += 1
        return (b"\0\0\0\x08moov" * 2)[:length]

    def film(position: int, length: int) -> bytes:
        return b"ftyp" if (position, length) == (4, 4) else peek(position, length)

    assert video_size(film, 1 << 30) is None
    assert looked < 10_000


def test_a_jpeg_xl_header_in_boxes_is_that_of_its_codestream():
    head = b"\x00\x00\x00\x0cJXL \r\n\x87\n" + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    bare = jxl_header(peeking(GREY), len(GREY))
    for content in (head + box(b"jxlc", GREY), head + box(b"jxlp", bytes(4) + GREY)):
        assert jxl_header(peeking(content), len(content)) == bare


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"\xff\x0a", b"\xff\xd8\xff", GREY[:4], b"\x00\x00\x00\x0cJXL \r\n\x87\n"]
)
def test_what_is_no_jpeg_xl_is_refused(content):
    with pytest.raises(NotDicom):
        jxl_header(peeking(content), len(content))


@given(st.binary(max_size=80), st.integers())
def test_random_bytes_are_read_or_refused(content, seed):
    shaken = bytearray(GREY)
    shaken[random.Random(seed).randrange(2, 12)] ^= 1 << seed % 8
    for one in (b"\xff\x0a" + content, bytes(shaken)):
        try:
            header = jxl_header(peeking(one), len(one))
        except NotDicom:
            continue
        assert header is None or (header.rows > 0 and header.bits <= 64)
    video_size(peeking(b"\0\0\0\x18ftyp" + content), len(content) + 8)
    video_size(peeking(content), len(content))
