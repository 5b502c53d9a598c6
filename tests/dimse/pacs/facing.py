"""A bridge with its PACS faces on real HTTP, in front of PACS of all kinds."""

import asyncio
import contextlib
import json
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import uvicorn
import uvloop
from pydicom import Dataset, dcmread
from pynetdicom import AE, evt

from bridge.archive.remote import RemoteArchive
from bridge.hosts import LOOPBACK
from bridge.pacs.faces import Faces
from bridge.pacs.inbox import Inbox
from bridge.peers import Peer, Peers
from bridge.scp.echo import Echo
from bridge.scp.listener import Listener
from bridge.scp.store import Store
from bridge.settings import ArchiveSettings, BridgeSettings, Limits, PacsSettings
from service.settings import Settings
from tests.dimse.committing import listening, unused_port
from tests.dimse.dimse_peers import EXPLICIT_LE, IMPLICIT_LE, PATIENCE_S, Ground
from tests.dimse.programs import need, running

JSON = "application/dicom+json"
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
CT = "1.2.840.10008.5.1.4.1.1.2"


@dataclass
class Face:
    """A running bridge, and a client of the face of its peer `pacs`."""

    ground: Ground
    faces: Faces
    listener: Listener
    remote: RemoteArchive
    server: uvicorn.Server
    thread: threading.Thread
    base: str
    client: httpx.Client
    dimse_port: int

    def get(self, path: str, accept: str = JSON, **headers: str) -> httpx.Response:
        return self.client.get(self.base + path, headers={"Accept": accept, **headers})

    def store(self, *parts: bytes, path: str = "/studies") -> httpx.Response:
        head = b"--bnd\r\nContent-Type: application/dicom\r\n\r\n"
        body = b"".join(head + part + b"\r\n" for part in parts) + b"--bnd--"
        kind = 'multipart/related; type="application/dicom"; boundary=bnd'
        return self.client.post(
            self.base + path, content=body, headers={"Content-Type": kind, "Accept": JSON}
        )

    def together(self, *paths: str, accept: str = JSON) -> list[httpx.Response]:
        """The answers to requests that are made at once."""
        answers: list[Any] = [None] * len(paths)

        def ask(place: int) -> None:
            with httpx.Client(timeout=PATIENCE_S) as client:
                answers[place] = client.get(self.base + paths[place], headers={"Accept": accept})

        threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(paths))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        return answers

    def close(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.ground.run(self.faces.close())
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        self.ground.begin(self.listener.drain(0.0)).result(PATIENCE_S)
        self.ground.run(self.remote.close())
        self.ground.end()


QUICK = Limits(artim_s=3.0, pdu_s=2.0, response_s=2.0, linger_s=0.4, connect_s=3.0, idle_s=20.0)
UNHURRIED = Limits(
    artim_s=PATIENCE_S, pdu_s=PATIENCE_S, response_s=PATIENCE_S, linger_s=0.4, connect_s=PATIENCE_S
)
"""For PACS that answer, however slow they are."""


@contextlib.contextmanager
def facing(
    port: int,
    folder: Path,
    *,
    dimse_port: int = 0,
    archive_url: str = "http://127.0.0.1:9/dicom-web",
    limits: Limits = UNHURRIED,
    web: Settings | None = None,
    settings: dict[str, Any] | None = None,
    through: Callable[[Any], Any] = lambda app: app,
    **peer: Any,
) -> Iterator[Face]:
    """A bridge whose peer `pacs` listens on `port`; `settings` are those of `PacsSettings`.

    Requests go `through` an application around the face.
    """
    known = Peer("pacs", "PACS", "127.0.0.1", port, callers=LOOPBACK, **peer)
    chosen = {"settle_s": 2.0, "wait_s": PATIENCE_S, **(settings or {})}
    ours = BridgeSettings(
        port=dimse_port,
        peers=Peers([known]),
        limits=limits,
        archive=ArchiveSettings(url=archive_url, connect_s=2.0),
        state=folder,
        pacs=PacsSettings(**chosen),
        web=web or Settings(),
    )
    ground = Ground(uvloop.new_event_loop)
    inbox = Inbox(ours.inbox_ae_title, calling=ours.ae_title)
    remote = RemoteArchive(ours.archive)
    listener = Listener(ours, [Echo(), Store(remote, inbox)], lambda report: None)

    async def begin() -> int:
        return (await listener.start())[1]

    listens = ground.run(begin())
    faces = Faces(ours, inbox, ground.loop)
    app = faces.app("pacs")
    assert app is not None
    bound = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            through(app), lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=2
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    client = httpx.Client(timeout=PATIENCE_S)
    face = Face(
        ground, faces, listener, remote, server, thread, f"{url}/peers/pacs/dicom-web", client, listens
    )
    try:
        yield face
    finally:
        face.close()
        bound.close()


@dataclass
class Pacs:
    """A pynetdicom PACS that holds `held`, counts what it is asked and misbehaves as it is told."""

    held: list[Dataset] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    stored: list[Dataset] = field(default_factory=list)
    store_status: int = 0
    find_status: int = 0
    get_status: int = 0
    move_to: tuple[str, int] = ("127.0.0.1", 0)
    answer: Callable[[Dataset, Dataset], Dataset | None] = lambda asked, match: match
    found_status: int = 0xFF00
    chosen: Callable[["Pacs", Dataset], list[Dataset]] | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)
    port: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def note(self, what: str) -> None:
        with self.changed:
            self.asked.append(what)
            self.changed.notify_all()

    def wait_for(self, reached: Callable[[], object]) -> None:
        with self.changed:
            assert self.changed.wait_for(reached, PATIENCE_S), self.asked

    def count(self, what: str) -> int:
        return sum(one.startswith(what) for one in self.asked)

    def matching(self, asked: Dataset) -> list[Dataset]:
        """What an identifier names by its UIDs, whatever its level."""
        found = self.held
        for word in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            wanted = asked.get(word)
            if wanted:
                wanted = [wanted] if isinstance(wanted, str) else list(wanted)
                found = [one for one in found if one[word].value in wanted]
        return self.chosen(self, asked) if self.chosen is not None else found

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        level = asked.QueryRetrieveLevel
        self.note(f"FIND {level}")
        self.gate.wait(PATIENCE_S)
        if self.find_status:
            yield self.find_status, None
            return
        unique = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}.get(level, "SOPInstanceUID")
        seen: set[str] = set()
        for one in self.matching(asked):
            if one[unique].value in seen:
                continue
            seen.add(one[unique].value)
            match = Dataset()
            match.QueryRetrieveLevel = level
            if "SpecificCharacterSet" in one:
                match.SpecificCharacterSet = one.SpecificCharacterSet
            for element in asked:
                if element.tag in one:
                    match[element.tag] = one[element.tag]
                elif element.tag not in match:
                    match.add_new(element.tag, element.VR, None)
            answered = self.answer(asked, match)
            if answered is not None:
                yield self.found_status, answered

    def get(self, event: evt.Event) -> Iterator[Any]:
        self.note(f"GET {event.identifier.QueryRetrieveLevel}")
        self.gate.wait(PATIENCE_S)
        found = self.matching(event.identifier)
        yield len(found)
        if self.get_status:
            yield self.get_status, None
            return
        for one in found:
            yield 0xFF00, one

    def move(self, event: evt.Event) -> Iterator[Any]:
        self.note(f"MOVE {event.identifier.QueryRetrieveLevel}")
        self.gate.wait(PATIENCE_S)
        found = self.matching(event.identifier)
        if event.move_destination != "ISTHMUS_IN":
            yield None, None
            return
        host, port = self.move_to
        yield host, port, {"contexts": contexts_of(found)}
        yield len(found)
        for one in found:
            yield 0xFF00, one

    def take(self, event: evt.Event) -> int:
        self.note("STORE")
        self.gate.wait(PATIENCE_S)
        self.stored.append(event.dataset)
        return self.store_status

    @contextlib.contextmanager
    def serving(self, *without: str, most: int | None = None) -> Iterator["Pacs"]:
        entity = AE(ae_title="PACS")
        entity.maximum_associations = most or 20
        for each in (FIND, MOVE, GET):
            if each not in without:
                entity.add_supported_context(each, [EXPLICIT_LE, IMPLICIT_LE])
        classes = {str(one.SOPClassUID) for one in self.held} | {CT}
        for each in classes:
            syntaxes = {one.file_meta.TransferSyntaxUID for one in self.held if one.SOPClassUID == each}
            entity.add_supported_context(
                each, [*syntaxes, EXPLICIT_LE, IMPLICIT_LE], scu_role=True, scp_role=True
            )
        handlers = [
            (evt.EVT_C_FIND, self.find), (evt.EVT_C_GET, self.get), (evt.EVT_C_MOVE, self.move),
            (evt.EVT_C_STORE, self.take),
        ]  # fmt: skip
        with listening(entity, handlers) as self.port:
            yield self


def contexts_of(found: Sequence[Dataset]) -> list[Any]:
    from pynetdicom import build_context

    pairs = {(str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID)) for one in found}
    return [build_context(sop_class, syntax) for sop_class, syntax in sorted(pairs)] or [build_context(CT)]


def read_back(files: Sequence[bytes]) -> list[Dataset]:
    """DICOM files as pydicom has them."""
    import io

    return [dcmread(io.BytesIO(file)) for file in files]


@dataclass
class Orthanc:
    """A running Orthanc, filled over its own REST interface."""

    http: int
    dimse: int

    def put(self, *files: bytes) -> None:
        for file in files:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/instances", file, PATIENCE_S):
                pass


@contextlib.contextmanager
def orthanc(folder: Path, inbox_port: int, **settings: Any) -> Iterator[Orthanc]:
    """Orthanc that knows our inbox."""
    program = need("Orthanc")
    http, dimse = unused_port(), unused_port()
    configuration = {
        "StorageDirectory": str(folder), "IndexDirectory": str(folder), "Plugins": [],
        "HttpPort": http, "AuthenticationEnabled": False, "DicomAet": "PACS", "DicomPort": dimse,
        "DicomAlwaysAllowFind": True, "DicomAlwaysAllowGet": True, "DicomAlwaysAllowMove": True,
        "DicomModalities": {
            "inbox": ["ISTHMUS_IN", "127.0.0.1", inbox_port], "us": ["ISTHMUS", "127.0.0.1", inbox_port],
        },
        "SynchronousCMove": True, "LimitFindResults": 0, "DefaultEncoding": "Utf8", **settings,
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with running([program, "orthanc.json"], http, dimse, folder=folder):
        yield Orthanc(http, dimse)


def skip_without(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    return path


def settle(face: Face) -> None:
    """Let what was begun on the loop of the associations be begun."""

    async def turn() -> None:
        await asyncio.sleep(0)

    face.ground.run(turn())
