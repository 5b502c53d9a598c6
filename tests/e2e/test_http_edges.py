"""What only a real server and a bare socket show: heads, pipelines, framing, the interim answer 100."""

import re
import socket

import pytest

from tests.e2e.conftest import PATIENCE_S
from tests.making import a_ct


def talk(port: int, *blocks: bytes) -> bytes:
    """Send `blocks` on one connection; everything that comes back until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as peer:
        try:
            for block in blocks:
                peer.sendall(block)
        except (BrokenPipeError, ConnectionResetError):
            pass
        got = b""
        try:
            while block := peer.recv(65536):
                got += block
        except ConnectionResetError:
            pass
        return got


@pytest.fixture(scope="module")
def port(product) -> int:
    number: int = product.port
    return number


def test_a_head_that_never_ends_is_refused(port):
    got = talk(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n", *[b"X-Bomb: " + b"x" * 1000 + b"\r\n"] * 1000)
    assert got.startswith(b"HTTP/1.1 431 ")


def test_a_single_header_that_never_ends_is_refused(port):
    got = talk(port, b"GET / HTTP/1.1\r\nX-Bomb: ", *[b"x" * 65536] * 50)
    assert got.startswith(b"HTTP/1.1 431 ")


def test_a_uri_that_never_ends_is_refused(port):
    got = talk(port, b"GET /dicom-web/studies?StudyInstanceUID=1.1", *[b",2.25.1" * 9000] * 50)
    assert got.startswith(b"HTTP/1.1 414 ")


@pytest.mark.parametrize(
    "noise",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"\0" * 100, b"GET /\xff\xfe HTTP/1.1\r\n\r\n", b"HELO x\r\n\r\n"],
)
def test_what_is_not_http_is_a_bad_request(port, noise):
    assert talk(port, noise).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_waits_for_100_gets_it(port):
    file = a_ct()
    head = (
        b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/dicom\r\n"
        b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(file)
    )
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as peer:
        peer.sendall(head)
        assert peer.recv(100).startswith(b"HTTP/1.1 100 ")
        peer.sendall(file)
        assert peer.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_asks_first_is_told_before_it_sends_what_is_not_taken(port):
    head = (
        b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
        b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n"
    )
    assert talk(port, head).startswith(b"HTTP/1.1 415 ")


def test_chunks_of_any_size_are_a_body(port):
    file = a_ct()
    chunks = b"".join(
        b"%X;x=1\r\n%s\r\n" % (len(file[at : at + 7]), file[at : at + 7]) for at in range(0, len(file), 7)
    )
    head = (
        b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/dicom\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    assert talk(port, head, chunks, b"0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_requests_in_one_go_are_answered_in_their_order(port):
    one = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    two = b"GET /dicom-web/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
    three = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    got = talk(port, one + two + three)
    statuses = re.findall(rb"HTTP/1.1 ([0-9]{3})", got)
    assert statuses == [b"200", b"404", b"200"]


def test_two_lengths_that_disagree_are_a_bad_request(port):
    lengths = b"Content-Length: 5\r\nContent-Length: 6\r\n"
    head = b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\n" + lengths + b"\r\n12345"
    assert talk(port, head).startswith(b"HTTP/1.1 400 ")
