"""Instances of any size that are sent and received in pieces, and the memory that a program takes for it."""

import http.client
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.making import a_data_set, a_file, add_pixels

_BLOCK = 1 << 20
FRAME = 2 << 20  # 1024 × 1024 pixels of 16 bits
_SIDE = 1024
_NOISE = os.urandom(_BLOCK)


@dataclass(frozen=True)
class Large:
    """An instance whose frames are the same noise; `number` tells it from others of its study."""

    study: str
    number: int
    frames: int

    @cached_property
    def head(self) -> bytes:
        """The file up to its first frame."""
        made = add_pixels(
            a_data_set(
                study=self.study,
                series=f"{self.study}.1",
                instance=f"{self.study}.1.{self.number}",
                InstanceNumber=self.number,
            ),
            [bytes(32)],
            rows=_SIDE,
            columns=_SIDE,
        )
        made.NumberOfFrames = self.frames
        head = a_file(made)[:-32]
        assert head[-4:] == (32).to_bytes(4, "little")
        return head[:-4] + (self.frames * FRAME).to_bytes(4, "little")

    @property
    def size(self) -> int:
        return len(self.head) + self.frames * FRAME

    def blocks(self) -> Iterator[bytes]:
        """The file."""
        yield self.head
        for _ in range(self.frames * FRAME // _BLOCK):
            yield _NOISE


def store(port: int, blocks: Iterable[bytes], size: int) -> int:
    """POST one instance; the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    headers = {"Content-Type": "application/dicom", "Content-Length": str(size)}
    connection.request("POST", "/dicom-web/studies", blocks, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def received(port: int, path: str) -> tuple[int, int]:
    """Status and size of what is retrieved from `path`, which is thrown away."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    headers = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    connection.request("GET", f"/dicom-web{path}", headers=headers)
    answer = connection.getresponse()
    size, into = 0, memoryview(bytearray(_BLOCK))
    while count := answer.readinto(into):
        size += count
    connection.close()
    return answer.status, size


def peak(pids: Iterable[int]) -> int:
    """The most memory that processes have had resident, each at its own worst moment, in bytes together."""
    told = [_peak_kib(Path(f"/proc/{pid}/status").read_text()) for pid in pids]
    return sum(told) << 10


def _peak_kib(status: str) -> int:
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("the kernel does not tell the peak of memory")
