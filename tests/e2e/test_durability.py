"""Nothing that was answered 200 is lost, however the programs die."""

import http.client
import json
import random
import threading
import time
from pathlib import Path

from tests.e2e.conftest import PATIENCE_S
from tests.making import a_data_set, a_file, add_pixels, new_uid

ROUNDS = 5
CLIENTS = 3
FEW = 5


class Sender(threading.Thread):
    """Stores new instances one after the other until the server is gone; keeps what was answered 200."""

    def __init__(self, port: int, seed: int) -> None:
        super().__init__()
        self._port = port
        self._random = random.Random(seed)
        self.kept: dict[str, bytes] = {}

    def run(self) -> None:
        study = new_uid()
        series = new_uid()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
            while True:
                files = [self._file(study, series) for _ in range(self._random.randint(1, 4))]
                head = b"--bnd\r\nContent-Type: application/dicom\r\n\r\n"
                body = b"".join(head + file + b"\r\n" for file in files) + b"--bnd--"
                headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=bnd'}
                connection.request("POST", "/dicom-web/studies", body, headers)
                response = connection.getresponse()
                answer = json.loads(response.read())
                assert response.status == 200, answer
                for item, file in zip(answer["00081199"]["Value"], files, strict=True):
                    self.kept[item["00081190"]["Value"][0].partition("/dicom-web")[2]] = file
        except (OSError, http.client.HTTPException):
            connection.close()

    def _file(self, study: str, series: str) -> bytes:
        made = a_data_set(study=study, series=series)
        return a_file(add_pixels(made, [self._random.randbytes(2 * 64 * 64)], rows=64, columns=64))


def test_sigkill_at_any_moment_loses_nothing_that_was_answered_200(start):
    kept: dict[str, bytes] = {}
    chance = random.Random(20261121)
    for number in range(ROUNDS):
        # given: clients that store as fast as they can
        program = start("serve").wait_ready()
        senders = [Sender(program.port, 100 * number + client) for client in range(CLIENTS)]
        for sender in senders:
            sender.start()
        # when: everything is killed at some moment after a few were stored
        pause, ends = threading.Event(), time.monotonic() + PATIENCE_S
        while sum(len(sender.kept) for sender in senders) < FEW and time.monotonic() < ends:
            pause.wait(0.01)
        pause.wait(chance.uniform(0.0, 1.0))
        program.kill_all()
        for sender in senders:
            sender.join(PATIENCE_S)
            assert not sender.is_alive()
            kept |= sender.kept
    assert len(kept) >= ROUNDS * FEW
    # then: another start has it all, byte for byte
    program = start("serve").wait_ready()
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=PATIENCE_S)
    for path, file in kept.items():
        connection.request(
            "GET", "/dicom-web" + path, headers={"Accept": "application/dicom; transfer-syntax=*"}
        )
        response = connection.getresponse()
        assert (response.status, response.read() == file) == (200, True), path
    # and: every row names an object that is whole
    connection.request("GET", "/dicom-web/instances?limit=5000")
    found = json.loads(connection.getresponse().read())
    assert len(found) >= len(kept)
    for one in found:
        url = "/dicom-web" + one["00081190"]["Value"][0].partition("/dicom-web")[2]
        connection.request("GET", url, headers={"Accept": "application/dicom; transfer-syntax=*"})
        response = connection.getresponse()
        assert len(response.read()) == int(response.headers["Content-Length"])
        assert response.status == 200
    connection.close()


def test_an_instance_of_a_gigabyte_takes_little_memory(start, tmp_path):
    program = start("serve", ISTHMUS_WORKERS="1").wait_ready()
    pid = program.process.pid
    small = a_file(add_pixels(a_data_set(), [bytes(32)]))
    post(program.port, [small])
    before = peak_kib(pid)
    # given: an object of 1 GiB, sent in pieces without saying its length beforehand
    made = add_pixels(a_data_set(), [bytes(32)], rows=16384, columns=32768)
    head = a_file(made)[:-32]
    assert head[-4:] == (32).to_bytes(4, "little")
    size = 2 * 16384 * 32768
    head = head[:-4] + size.to_bytes(4, "little")
    block = random.Random(1).randbytes(1 << 20)
    # when
    status = post(program.port, [head, *[block] * (size >> 20)])
    # then
    assert status == 200
    assert peak_kib(pid) - before < 64 << 10
    # and: it comes out whole, in as little memory
    instance = (
        f"/studies/{made.StudyInstanceUID}/series/{made.SeriesInstanceUID}/instances/{made.SOPInstanceUID}"
    )
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=2 * PATIENCE_S)
    connection.request("GET", "/dicom-web" + instance, headers={"Accept": "application/dicom"})
    response = connection.getresponse()
    assert response.read(len(head)) == head
    received = 0
    while piece := response.read(1 << 20):
        assert piece == block[: len(piece)]
        received += len(piece)
    assert received == size
    assert peak_kib(pid) - before < 64 << 10
    connection.close()


def post(port: int, blocks: list[bytes]) -> int:
    """POST one application/dicom body, chunked; the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2 * PATIENCE_S)
    headers = {"Content-Type": "application/dicom"}
    connection.request("POST", "/dicom-web/studies", iter(blocks), headers, encode_chunked=True)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def peak_kib(pid: int) -> int:
    """The most memory that the process has had resident, in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("the kernel does not tell the peak of memory")
