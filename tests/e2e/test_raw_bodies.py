"""Bodies as they arrive at a real server: what is done for queries beyond ASCII never touches them."""

import http.client
import json
import socket

import pytest

from tests.making import a_ct, new_uid

PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def head_of(size: int, *more: str, target: str = "/dicom-web/studies") -> bytes:
    """The head of a request that stores a file of `size` bytes."""
    lines = [f"POST {target} HTTP/1.1", "Host: localhost", "Content-Type: application/dicom", *more]
    return "\r\n".join([*lines, f"Content-Length: {size}", "", ""]).encode()


def a_file() -> tuple[bytes, str]:
    """A file that begins like a query beyond ASCII, and the path of its instance."""
    made = new_uid()
    file = a_ct(study=made, PatientComments="?")
    preamble = b"?" + bytes(range(0x80, 0xFF))
    return preamble + file[len(preamble) :], made


def answers(port: int, blocks: list[bytes | None]) -> list[tuple[int, bytes]]:
    """What comes back for these blocks, an answer awaited at each `None` among them."""
    found = []
    with socket.create_connection(("127.0.0.1", port), timeout=60) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for block in blocks:
            if block is not None:
                peer.sendall(block)
                continue
            answer = http.client.HTTPResponse(peer)
            answer.begin()
            found.append((answer.status, answer.read()))
    return found


def retrieved(port: int, study: str) -> bytes:
    """The only instance of a study, as it is stored."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", f"/dicom-web/studies/{study}/metadata")
        found = json.loads(connection.getresponse().read())[0]
        series, instance = (found[tag]["Value"][0] for tag in ("0020000E", "00080018"))
        path = f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"
        connection.request("GET", path, headers={"Accept": "application/dicom; transfer-syntax=*"})
        return connection.getresponse().read()
    finally:
        connection.close()


def in_blocks(file: bytes, way: str) -> list[bytes | None]:
    """Requests that store `file`, in the blocks of a client that sends it `way`."""
    head = head_of(len(file))
    chunk = b"%x\r\n" % len(file)
    chunked = head_of(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    offer = head_of(len(file), "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAM")
    ways: dict[str, list[bytes | None]] = {
        "at once": [head + file],
        "head and body": [head, file],
        "head in two": [head[:9], head[9:], file],
        "behind another": [PROBE + head, None, file],
        "behind half of another": [PROBE[:9], PROBE[9:] + head, None, file],
        "with its head in two behind another": [PROBE + head[:40], None, head[40:], file],
        "all but a byte behind another": [PROBE + head + file[:1], None, file[1:]],
        "chunked behind another": [PROBE + chunked, None, chunk, file, b"\r\n0\r\n\r\n"],
        "when told to go on": [PROBE + head_of(len(file), "Expect: 100-continue"), None, file],
        "with an offer of HTTP/2": [offer, file],
        "with an offer of HTTP/2 behind another": [PROBE, None, offer + file],
    }
    return [*ways[way], None]


WAYS = (
    "at once", "head and body", "head in two", "behind another", "behind half of another",
    "with its head in two behind another", "all but a byte behind another", "chunked behind another",
    "when told to go on", "with an offer of HTTP/2", "with an offer of HTTP/2 behind another",
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_body_is_stored_as_it_was_sent(product, way):
    file, study = a_file()

    told = answers(product.port, in_blocks(file, way))

    assert [status for status, _ in told] == [200] * len(told), told[-1]
    assert retrieved(product.port, study) == file


def test_text_that_looks_like_an_offer_is_content(product):
    file, study = a_file()
    text = b"?\r\nUpgrade: h2c\r\n\r\n?" + "Müller\r\nUpgrade: h2c\r\n".encode()
    file = text + file[len(text) :]

    told = answers(product.port, [head_of(len(file)) + file, None])

    assert [status for status, _ in told] == [200]
    assert retrieved(product.port, study) == file


def test_a_connection_that_offered_another_protocol_goes_on(product):
    offer = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"

    told = answers(product.port, [offer, None, PROBE, None, offer, None])

    assert [status for status, _ in told] == [200, 200, 200]
