"""Requests whose end others may see elsewhere, so that what follows would be taken for another request."""

import pytest

from tests.attacks.wire import statuses

HEAD = b"POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
# It is answered 200 wherever it is taken for a request, and ends the connection.
HIDDEN = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"

AMBIGUOUS = {
    "length and chunks": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 4\r\nContent-Length: 0\r\n\r\nabcd",
    "a list of lengths": HEAD + b"Content-Length: 4, 4\r\n\r\nabcd",
    "a signed length": HEAD + b"Content-Length: +4\r\n\r\nabcd",
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "a hexadecimal length": HEAD + b"Content-Length: 0x4\r\n\r\nabcd",
    "a length in two": HEAD + b"Content-Length: 4 4\r\n\r\nabcd",
    "no length in the header": HEAD + b"Content-Length:\r\n\r\n",
    "a length beyond 64 bits": HEAD + b"Content-Length: 18446744073709551620\r\n\r\nabcd",
    "a folded length": HEAD + b"Content-Length:\r\n 4\r\n\r\nabcd",
    "a coding behind chunked": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "a coding before chunked": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding that is none": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity and chunked": HEAD
    + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "identity and a length": HEAD + b"Transfer-Encoding: identity\r\nContent-Length: 4\r\n\r\nabcd",
    "a space before the colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a vertical tab": HEAD + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a folded coding": HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a line that is folded": HEAD + b"X-Any: a\r\n Content-Length: 4\r\n\r\n",
    "a space in a name": HEAD + b"Content Length: 4\r\n\r\n",
    "a bare line feed": HEAD + b"X-Any: a\nContent-Length: 4\r\n\r\nabcd",
    "a bare carriage return": HEAD + b"X-Any: a\rContent-Length: 4\r\n\r\nabcd",
    "only line feeds": HEAD.replace(b"\r\n", b"\n") + b"Content-Length: 0\n\n",
    "a NUL": HEAD + b"X-Any: a\0b\r\nContent-Length: 0\r\n\r\n",
    "chunks with line feeds": CHUNKED + b"4\nabcd\n0\n\n",
    "a negative chunk": CHUNKED + b"-4\r\nabcd\r\n0\r\n\r\n",
    "a chunk with a prefix": CHUNKED + b"0x4\r\nabcd\r\n0\r\n\r\n",
    "a chunk with a space": CHUNKED + b"4 \r\nabcd\r\n0\r\n\r\n",
    "a chunk beyond 64 bits": CHUNKED + b"10000000000000004\r\nabcd\r\n0\r\n\r\n",
    "a chunk that ends elsewhere": CHUNKED + b"4\r\nabcdXX0\r\n\r\n",
    "an extension with a line feed": CHUNKED + b"4;a\n\r\nabcd\r\n0\r\n\r\n",
    "a length among the trailers": CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n",
}


@pytest.fixture(params=["port", "bridge_port"], ids=["service", "bridge"])
def port(target, request) -> int:
    number: int = getattr(target.program, request.param)
    return number


@pytest.mark.parametrize("form", AMBIGUOUS)
def test_a_body_of_ambiguous_length_ends_the_connection(port, form):
    found = statuses(port, AMBIGUOUS[form] + HIDDEN)

    assert found in ([400], [501]), found


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("form", ["length and chunks", "a coding before chunked", "a folded coding"])
def test_it_does_so_in_whatever_pieces_it_comes(port, form, size):
    told = AMBIGUOUS[form] + HIDDEN

    found = statuses(port, *(told[at : at + size] for at in range(0, len(told), size)))

    assert found in ([400], [501]), found


def test_what_is_said_of_a_chunk_does_not_count(port):
    body = b'4;ext="a";Content-Length=9\r\nabcd\r\n0;Host=x\r\n\r\n'

    found = statuses(port, CHUNKED + body + HIDDEN)

    assert len(found) == 2 and found[1] == 200


def test_a_body_that_is_refused_is_no_request(port):
    # It holds a request, and is refused before anybody has read it.
    found = statuses(port, HEAD + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN, HIDDEN)

    assert len(found) == 2
    assert found[0] in (401, 404) and found[1] == 200


def test_a_body_that_nobody_asks_for_is_no_request(port):
    hidden = b"DELETE /dicom-web/studies/1.2 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    told = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(hidden)

    assert statuses(port, told + hidden + HIDDEN) == [200, 200]


def test_http_1_0_has_no_chunks(port):
    told = CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n"

    assert (
        len(statuses(port, told.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n", 1) + HIDDEN)) == 1
    )


@pytest.mark.parametrize(
    "behind", [b"\x16\x03\x01" * 9, b"GET / HTTP/1.1\r\nX : y\r\n\r\n", CHUNKED + b"zz\r\n"]
)
def test_what_cannot_be_read_is_not_the_answer_to_the_request_before(port, behind):
    found = statuses(port, b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + behind)

    assert found[:1] in ([], [200]), found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET /healthz HTTP/1.1\r\nConnection: close", [400]),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close", [400]),
        (b"GET /healthz HTTP/1.0", [200]),
        (b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80", [400]),
        (b"PRI * HTTP/2.0\r\n\r\nSM", [400]),
    ],
)
def test_a_request_says_whom_it_is_for(port, line, expected):
    assert statuses(port, line + b"\r\n\r\n") == expected
