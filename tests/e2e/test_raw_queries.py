"""Queries that nobody encoded, as they arrive at a real server."""

import http.client
import socket

import pytest

from tests.making import a_ct, new_uid


@pytest.fixture(scope="module")
def study(product) -> str:
    """A study of Müller's."""
    uid = new_uid()
    head = (
        b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/dicom\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n"
    )
    file = a_ct(study=uid, SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Raw")
    assert ask(product.port, head % len(file), file).startswith(b"HTTP/1.1 200 ")
    return uid


def ask(port: int, *blocks: bytes) -> bytes:
    """Everything that comes back for `blocks`, each sent on its own, until the connection closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for block in blocks:
            peer.sendall(block)
        return b"".join(iter(lambda: peer.recv(65536), b""))


REST = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "query",
    [
        "PatientName=Müller^Raw".encode(),
        "PatientName=müller*".encode("latin-1"),
        b"PatientName=M%C3%BCller*",
    ],
    ids=["utf-8", "latin-1", "encoded"],
)
def test_a_query_beyond_ascii_is_understood(product, study, query):
    answer = ask(product.port, b"GET /dicom-web/studies?" + query + REST)

    assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]
    assert study.encode() in answer


def test_it_may_come_in_pieces_and_after_another_request(product, study):
    line = "GET /dicom-web/studies?&PatientName=Müller^Raw".encode()
    with socket.create_connection(("127.0.0.1", product.port), timeout=60) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(len(line) - 12, len(line) - 7):  # within a character too
            peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert one_answer(peer)[0] == 200
            peer.sendall(line[:number])
            peer.sendall(line[number:] + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            status, body = one_answer(peer)
            assert status == 200 and study.encode() in body


def one_answer(peer: socket.socket) -> tuple[int, bytes]:
    """The status and the whole body of one answer, the connection left open."""
    answer = http.client.HTTPResponse(peer)
    answer.begin()
    return answer.status, answer.read()


def test_a_path_beyond_ascii_is_no_request(product):
    assert ask(product.port, "GET /dicom-web/Müller?a=b".encode() + REST).startswith(b"HTTP/1.1 400 ")
