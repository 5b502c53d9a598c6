"""Faces of PACS whose instances are kept from being entered, and how the answers are read."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.dsutils import encode

from bridge.pacs.cache import Cache
from service.archive.port import Outcome
from service.dicom.part10 import read_file_head
from service.dicom.record import Held
from service.dicom.syntaxes import EXPLICIT_LE, IMPLICIT_LE
from tests.dimse.dimse_peers import PATIENCE_S
from tests.dimse.pacs.facing import JSON, Face, Pacs, facing, read_back
from tests.making import a_data_set, a_file, add_pixels
from tests.reading import Part, data_set, parts_of

STUDY, SERIES, OTHER = "1.2.3", "1.2.3.4", "1.2.3.5"
ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'
DEFAULT = 'multipart/related; type="application/dicom"'
RLE, JPEG = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50"
PIXELS = bytes(range(32))
ON_SERIES, ON_STUDY = f"/studies/{STUDY}/series/{SERIES}", f"/studies/{STUDY}"


def a_slice(
    number: int, series: str = SERIES, study: str = STUDY, syntax: str = EXPLICIT_LE, **attributes: Any
) -> bytes:
    made = a_data_set(
        study=study, series=series, instance=f"{series}.{number}", InstanceNumber=number, **attributes
    )
    return a_file(add_pixels(made, [PIXELS]), syntax)


def some(series: str = SERIES, count: int = 6, **told: Any) -> list[Dataset]:
    return read_back([a_slice(number, series, **told) for number in range(1, count + 1)])


def in_rle(count: int = 3) -> list[Dataset]:
    made = some(count=count)
    for one in made:
        instance = one.SOPInstanceUID
        one.compress(RLE, generate_instance_uid=False)
        assert one.SOPInstanceUID == instance
    return made


@dataclass
class Gate:
    """Keeps what was placed from being entered until it is opened."""

    opened: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)
    entered: list[str] = field(default_factory=list)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate()
    honest = Cache.enter

    def enter(cache: Cache, placed: Sequence[Held], study: str) -> Sequence[Outcome]:
        made.reached.set()
        assert made.opened.wait(PATIENCE_S)
        made.entered += [one.key.instance for one in placed]
        return honest(cache, placed, study)

    monkeypatch.setattr(Cache, "enter", enter)
    yield made
    made.opened.set()


@contextlib.contextmanager
def behind(gate: Gate, pacs: Pacs, folder: Path, **told: Any) -> Iterator[Face]:
    """A face of `pacs` whose gate is open in the end, whatever happens."""
    with facing(pacs.port, folder, **told) as face:
        try:
            yield face
        finally:
            gate.opened.set()


@contextlib.contextmanager
def asking(*calls: Callable[[], httpx.Response]) -> Iterator[list["Future[httpx.Response]"]]:
    """Requests that are under way."""
    with ThreadPoolExecutor(len(calls)) as threads:
        yield [threads.submit(call) for call in calls]


def asked(face: Face, path: str, accept: str = JSON) -> Callable[[], httpx.Response]:
    """A request by a client of its own."""
    return lambda: face.together(path, accept=accept)[0]


def sent_by(pacs: Pacs, keep: Callable[[Dataset], bool] = lambda one: True) -> dict[str, bytes]:
    """The data sets of a PACS by instance, as it encodes them."""
    found: dict[str, bytes] = {}
    for one in filter(keep, pacs.held):
        implicit = one.file_meta.TransferSyntaxUID == IMPLICIT_LE
        encoded = encode(one, implicit, True)
        assert encoded is not None
        found[str(one.SOPInstanceUID)] = encoded
    return found


def data_of(content: bytes) -> bytes:
    head = read_file_head(content)
    assert head is not None
    return content[head.data_offset :]


def named(part: Part) -> str:
    return part.headers["Content-Location"].rpartition("/")[2]


def came(answer: httpx.Response) -> dict[str, bytes]:
    """The data sets of a multipart by the instance that it names them as."""
    parts = parts_of(answer)
    found = {named(part): data_of(part.content) for part in parts}
    assert len(found) == len(parts)
    return found


def syntaxes(answer: httpx.Response) -> set[str]:
    return {str(data_set(part.content).file_meta.TransferSyntaxUID) for part in parts_of(answer)}


def meta(answer: httpx.Response) -> tuple[int, set[str]]:
    return answer.status_code, {one["00080018"]["Value"][0] for one in answer.json()}


@dataclass
class Halting(Pacs):
    """Stops before the last instance of a retrieval until it may go on."""

    going_on: threading.Event = field(default_factory=threading.Event)

    def get(self, event: evt.Event) -> Iterator[Any]:
        *sound, last = super().get(event)
        yield from sound
        self.note("HALT")
        self.going_on.wait(PATIENCE_S)
        yield last


def in_jpeg() -> list[Dataset]:
    """An instance whose picture has lost something."""
    picture = bytes(imagecodecs.jpeg8_encode(np.arange(64, dtype=np.uint8).reshape(8, 8)))
    made = a_data_set(study=STUDY, series=SERIES, instance=f"{SERIES}.1", LossyImageCompression="01")
    add_pixels(made, [bytes(64)], rows=8, columns=8, bits=8)
    return read_back([a_file(made, JPEG, codestreams=[picture])])


@dataclass
class Adding(Pacs):
    """Sends more than it was asked for."""

    more: list[Dataset] = field(default_factory=list)
    first: bool = False

    def get(self, event: evt.Event) -> Iterator[Any]:
        self.note(f"GET {event.identifier.QueryRetrieveLevel}")
        found = self.matching(event.identifier)
        found = self.more + found if self.first else found + self.more
        yield len(found)
        for one in found:
            yield 0xFF00, one


@dataclass
class Repeating(Pacs):
    """Sends each instance twice."""

    def get(self, event: evt.Event) -> Iterator[Any]:
        self.note(f"GET {event.identifier.QueryRetrieveLevel}")
        found = [one for each in self.matching(event.identifier) for one in (each, each)]
        yield len(found)
        for one in found:
            yield 0xFF00, one


def heavy(count: int) -> list[Dataset]:
    """Instances of 2 MB, more than lies between two sockets."""
    names = [f"{SERIES}.{number}" for number in range(1, count + 1)]
    made = [a_data_set(study=STUDY, series=SERIES, instance=name) for name in names]
    return read_back([a_file(add_pixels(one, [bytes(2 << 20)], rows=1024, columns=1024)) for one in made])


@contextlib.contextmanager
def begun(face: Face, path: str) -> Iterator[socket.socket]:
    """A request for objects by a client that reads when it likes."""
    url = httpx.URL(face.base + path)
    with socket.socket() as line:
        line.settimeout(PATIENCE_S)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect((url.host, url.port))
        head = f"GET {url.path} HTTP/1.1\r\nHost: x\r\nAccept: {ANY}\r\nConnection: close\r\n\r\n"
        line.sendall(head.encode())
        yield line


def the_rest(line: socket.socket) -> bytes:
    blocks = []
    while block := line.recv(1 << 20):
        blocks.append(block)
    return b"".join(blocks)


@dataclass
class Fragile(Pacs):
    """Ends its first C-GET behind three instances."""

    def get(self, event: evt.Event) -> Iterator[Any]:
        sound = list(super().get(event))
        if self.count("GET") > 1:
            yield from sound
            return
        yield from sound[:4]
        event.assoc.abort()
