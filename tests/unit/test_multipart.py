import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dicom.errors import BadRequest, TooMany
from service.dicom.multipart import (
    OnePart,
    PartBegins,
    PartData,
    PartEnds,
    Reader,
    boundary_of,
    closing,
    encoded,
    part_head,
)

DICOM_PART = b"Content-Type: application/dicom\r\n\r\n"


def read(blocks: list[bytes], boundary: str = "b", max_parts: int = 100) -> tuple[list[bytes], Reader]:
    """The contents of the parts that ended, and the reader."""
    reader = Reader(boundary, max_parts=max_parts)
    parts: list[bytes] = []
    current = b""
    for block in blocks:
        for event in reader.push([block]):
            if isinstance(event, PartBegins):
                current = b""
            elif isinstance(event, PartData):
                current += bytes(event.data)
            else:
                assert isinstance(event, PartEnds)
                parts.append(current)
    return parts, reader


def body(*contents: bytes, boundary: str = "b", before: bytes = b"", newline: bytes = b"\r\n") -> bytes:
    joined = b"".join(
        b"--" + boundary.encode() + newline + DICOM_PART.replace(b"\r\n", newline) + content + newline
        for content in contents
    )
    return before + joined + b"--" + boundary.encode() + b"--" + newline


@pytest.mark.parametrize(
    "before", [b"", b"\r\n", b"a preamble\r\n", b"\n"], ids=["none", "line end", "preamble", "line feed"]
)
def test_what_stands_before_the_first_boundary_is_passed_over(before):
    parts, reader = read([body(b"one", b"two", before=before)])
    assert parts == [b"one", b"two"]
    assert reader.complete


def test_lines_may_end_in_a_bare_line_feed():
    parts, reader = read([body(b"one\r\n--x", b"two", newline=b"\n")])
    assert parts == [b"one\r\n--x", b"two"]
    assert reader.complete


def test_a_boundary_may_be_followed_by_spaces():
    parts, _ = read([b"--b \t\r\n\r\none\r\n--b  \r\n\r\ntwo\r\n--b--"])
    assert parts == [b"one", b"two"]


def test_text_that_only_begins_like_a_boundary_is_content():
    parts, _ = read([body(b"one\r\n--bc\r\n--b-x", b"two")])
    assert parts == [b"one\r\n--bc\r\n--b-x", b"two"]


def test_an_epilogue_is_passed_over():
    parts, reader = read([body(b"one") + b"epilogue --b\r\n"])
    assert parts == [b"one"]
    assert reader.complete


def test_a_part_that_is_cut_has_not_ended():
    parts, reader = read([body(b"one", b"two")[:-12]])
    assert parts == [b"one"]
    assert reader.inside_part
    assert not reader.complete


def test_a_body_without_parts_is_complete_and_empty():
    parts, reader = read([b"--b--\r\n"])
    assert (parts, reader.complete, reader.parts) == ([], True, 0)


@pytest.mark.parametrize("boundary", ["", "x" * 71, "a\r\nb", "sp ace ", "ä"])
def test_a_malformed_boundary_is_refused(boundary):
    with pytest.raises(BadRequest, match="boundary"):
        Reader(boundary, max_parts=1)


def test_more_parts_than_allowed_are_refused():
    with pytest.raises(TooMany, match="more than 2 parts"):
        read([body(b"1", b"2", b"3")], max_parts=2)


def test_endless_headers_are_refused():
    with pytest.raises(BadRequest, match="headers"):
        read([b"--b\r\nX: " + b"x" * (20 << 10)])


def test_an_endless_preamble_is_refused():
    with pytest.raises(BadRequest, match="begin with its boundary"):
        read([b"x" * (70 << 10)])


def test_header_names_are_read_in_any_case_and_order():
    reader = Reader("b", max_parts=1)
    (event,) = reader.push([b"--b\r\nx-other: 1\r\nCONTENT-TYPE:application/dicom; a=b\r\n\r\n"])
    assert isinstance(event, PartBegins)
    assert event.headers == {"x-other": "1", "content-type": "application/dicom; a=b"}


# Content that is rich in what boundaries are made of.
content = st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"b", b"--b", b"\r\n--b", b"x", b"\0"]), max_size=12
).map(b"".join)


@given(st.lists(content, max_size=4), st.data())
def test_how_a_body_is_cut_into_blocks_changes_nothing(contents, data):
    # given: content free of the delimiter itself
    boundary = "bQ7"
    contents = [one.replace(b"--b", b"--bQ") for one in contents]
    whole = body(*contents, boundary=boundary)
    # when: it comes in blocks of any size
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    blocks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    parts, reader = read(blocks, boundary=boundary)
    # then
    assert parts == contents
    assert reader.complete


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_any_bytes_end_in_parts_or_a_clear_refusal(noise, cuts):
    whole = b"--b\r\n" + noise
    blocks = [whole[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(whole)], strict=True)]
    try:
        read(blocks)
    except (BadRequest, TooMany):
        pass


def test_what_the_writer_writes_the_reader_reads():
    boundary = boundary_of("x")
    written = (
        part_head(boundary, "application/dicom", location="http://h/x", length=3) + b"one" + closing(boundary)
    )
    parts, reader = read([written], boundary=boundary)
    assert parts == [b"one"]
    assert reader.complete


def test_part_headers_fit_the_window_of_the_strictest_client():
    location = "http://" + "h" * 253 + "/dicom-web" + "/studies/" + "1" * 64 + "/series/" + "1" * 64
    head = part_head(
        boundary_of("x"), "application/octet-stream; transfer-syntax=" + "1" * 64, location=location
    )
    assert len(head) < 1000
    assert b"\r\nContent-Type: " in head


@pytest.mark.parametrize("behind", [b"\r\n--b", b"\r\n--b\r\n", b"\r\n--b-", b"\r\n--b \t"])
def test_at_the_end_a_boundary_without_its_dashes_closes_the_last_part(behind):
    parts, reader = read([b"--b\r\n\r\none" + behind])
    ended = list(reader.end())
    assert len(parts) + len(ended) == 1
    assert (reader.complete, reader.inside_part, reader.parts) == (True, False, 1)


@pytest.mark.parametrize(
    ("length", "behind", "whole"),
    [
        (3, b"", True),
        (3, b"\r\n", True),
        (3, b"\r\n-", True),
        (4, b"", False),
        (2, b"", False),
        (3, b"\r\nx", False),
    ],
)
def test_at_the_end_a_part_is_whole_that_has_the_length_it_tells(length, behind, whole):
    _, reader = read([b"--b\r\nContent-Length: %d\r\n\r\n" % length, b"one" + behind])
    events = list(reader.end())
    assert reader.inside_part is not whole
    assert isinstance(events[-1], PartEnds) if whole else True


def test_at_the_end_what_has_no_boundary_and_no_length_stays_open():
    for cut in (b"--b\r\n\r\none", b"--b\r\nContent-Type: x", b"--b\r\n\r\none\r\n--bx"):
        _, reader = read([cut])
        assert list(reader.end()) == []
        assert reader.inside_part


def test_headers_may_be_folded():
    head = b"Content-Type:\r\n application/dicom;\r\n\ttransfer-syntax=1.2\r\nX: \x85\xc3\xa4"
    reader = Reader("b", max_parts=1)
    first = next(reader.push([b"--b\r\n" + head + b"\r\n\r\n"]))
    assert isinstance(first, PartBegins)
    assert first.headers["content-type"] == "application/dicom; transfer-syntax=1.2"
    assert list(first.headers) == ["content-type", "x"]


@pytest.mark.parametrize(
    ("headers", "coding"),
    [
        ({}, ""),
        ({"content-transfer-encoding": "Binary"}, ""),
        ({"content-transfer-encoding": "base64"}, "content-transfer-encoding"),
        ({"content-encoding": "gzip"}, "content-encoding"),
    ],
)
def test_a_coding_of_a_part_is_named(headers, coding):
    assert encoded(headers) == coding


def test_a_body_without_multipart_is_one_part():
    one = OnePart("text/x")
    assert not one.inside_part
    assert list(one.end()) == []
    begins, *data = one.push([b"a", b"b"])
    assert isinstance(begins, PartBegins)
    assert begins.headers == {"content-type": "text/x"}
    assert [bytes(event.data) for event in data if isinstance(event, PartData)] == [b"a", b"b"]
    assert one.inside_part
    assert [type(event) for event in one.end()] == [PartEnds]
    assert not one.inside_part
