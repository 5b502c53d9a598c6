"""Frames that the kernel takes out of their files: exact to the byte, and no file stays open."""

import http.client
import random
import socket
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.e2e.conftest import PATIENCE_S
from tests.making import a_data_set, a_file, add_pixels

_SIDE = 512
_FRAMES = [random.Random(number).randbytes(2 * _SIDE * _SIDE) for number in range(6)]


@pytest.fixture(scope="module")
def frames(product) -> str:
    """The path of the frames of an instance that is kept."""
    made = add_pixels(a_data_set(), _FRAMES, rows=_SIDE, columns=_SIDE)
    connection = http.client.HTTPConnection("127.0.0.1", product.port, timeout=PATIENCE_S)
    connection.request("POST", "/dicom-web/studies", a_file(made), {"Content-Type": "application/dicom"})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    connection.close()
    series = f"/dicom-web/studies/{made.StudyInstanceUID}/series/{made.SeriesInstanceUID}"
    return f"{series}/instances/{made.SOPInstanceUID}/frames"


def connected(product) -> socket.socket:
    """A client whose kernel takes little at a time, so that most of an answer waits for it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(PATIENCE_S)
    client.connect(("127.0.0.1", product.port))
    return client


def asked(path: str, *headers: str, method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Accept: application/octet-stream", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(stream: BinaryIO, method: str = "GET") -> tuple[int, bytes]:
    """The status and the body of the next answer in `stream`."""
    status = int(stream.readline().split()[1])
    headers = http.client.parse_headers(stream)
    return status, b"" if method == "HEAD" else stream.read(int(headers["Content-Length"]))


def open_objects(product) -> int:
    """How many files of the object store its processes hold open."""
    count = 0
    for pid in product.members():
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                count += "/objects/" in str(entry.readlink())
            except FileNotFoundError:
                continue
    return count


def wait_for_none(product) -> None:
    pause, ends = threading.Event(), time.monotonic() + PATIENCE_S
    while still := open_objects(product):
        assert time.monotonic() < ends, f"{still} files are open still"
        pause.wait(0.05)


def test_requests_in_one_go_are_answered_to_the_byte(product, frames):
    # given: frames, a head, a run and a frame that is not there, all asked for at once
    with connected(product) as client:
        client.sendall(
            b"".join(asked(f"{frames}/{number + 1}") for number in range(len(_FRAMES)))
            + asked(f"{frames}/1", method="HEAD")
            + asked(f"{frames}/2", "Range: bytes=-7")
            + asked(f"{frames}/99")
            + asked(f"{frames}/3")
        )
        answers = client.makefile("rb")
        # then: each has its own answer, and all of it
        got = [answer(answers) for _ in _FRAMES]
        assert [status for status, _ in got] == [200] * len(_FRAMES)
        assert [body for _, body in got] == _FRAMES
        assert answer(answers, "HEAD") == (200, b"")
        assert answer(answers) == (206, _FRAMES[1][-7:])
        assert answer(answers)[0] == 404
        assert answer(answers) == (200, _FRAMES[2])
    wait_for_none(product)


def test_a_frame_whose_instance_is_deleted_meanwhile_arrives_whole(product):
    # given: a client that has begun to read a frame
    made = add_pixels(a_data_set(), _FRAMES, rows=_SIDE, columns=_SIDE)
    connection = http.client.HTTPConnection("127.0.0.1", product.port, timeout=PATIENCE_S)
    connection.request("POST", "/dicom-web/studies", a_file(made), {"Content-Type": "application/dicom"})
    assert connection.getresponse().read()
    study = f"/dicom-web/studies/{made.StudyInstanceUID}"
    frame = f"{study}/series/{made.SeriesInstanceUID}/instances/{made.SOPInstanceUID}/frames/4"
    with connected(product) as client:
        client.sendall(asked(frame))
        client.recv(1, socket.MSG_PEEK)
        # when: its study is deleted
        connection.request("DELETE", study)
        assert connection.getresponse().status == 204
        # then
        assert answer(client.makefile("rb")) == (200, _FRAMES[3])
    connection.close()


def test_an_answer_that_breaks_off_since_its_instance_is_deleted_is_no_fault(product):
    # given: a client that has begun to read an instance of more than the kernel takes at once
    made = add_pixels(a_data_set(), _FRAMES * 8, rows=_SIDE, columns=_SIDE)
    connection = http.client.HTTPConnection("127.0.0.1", product.port, timeout=PATIENCE_S)
    connection.request("POST", "/dicom-web/studies", a_file(made), {"Content-Type": "application/dicom"})
    assert connection.getresponse().read()
    study = f"/dicom-web/studies/{made.StudyInstanceUID}"
    path = f"{study}/series/{made.SeriesInstanceUID}/instances/{made.SOPInstanceUID}/pixeldata"
    with connected(product) as client:
        client.sendall(asked(path))
        client.recv(1, socket.MSG_PEEK)
        # when: its study is deleted
        connection.request("DELETE", study)
        assert connection.getresponse().status == 204
        # then: it never ends neatly, and the log tells why
        status, body = answer(client.makefile("rb"))
        assert (status, len(body) < 8 * sum(map(len, _FRAMES))) == (200, True)
    connection.close()
    product.wait_for("WARNING uvicorn.error answer broken off by ")
    assert "fault=" not in product.output


def test_clients_that_leave_in_the_middle_leave_no_file_open(product, frames):
    for number in range(60):
        with connected(product) as client:
            client.sendall(asked(f"{frames}/{number % len(_FRAMES) + 1}") * (1 + number % 3))
            client.recv(100 + 500 * number)
    wait_for_none(product)
    assert "fault=" not in product.output
