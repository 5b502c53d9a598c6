"""The service as the archive, destinations and askers: what the tests of C-GET and C-MOVE are made of."""

import asyncio
import dataclasses
import queue
import socket
import struct
import threading
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from starlette.types import Message, Receive, Scope, Send

from bridge.peers import Peer
from service.app import create_app
from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.dicom.part10 import file_head
from service.index.memory import MemoryIndex
from service.index.port import OnDuplicate
from service.settings import Settings
from service.store.memory import MemoryStore
from tests.dimse.dimse_peers import CT_IMAGE, EXPLICIT_LE, IMPLICIT_LE, PATIENCE_S, Ground, a_uid

STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
Trouble = Callable[[Scope, int], "int | Cut | None"]
"""What goes wrong with a request, the number-th of its path: a status, a cut, or nothing."""


@dataclass(frozen=True)
class Cut:
    """The answer breaks off behind so many bytes of its body; `tagged` leaves the entity tag."""

    after: int
    tagged: bool = True


@dataclass
class Served:
    """The real service, in memory, in front of which anything may go wrong."""

    archive: ObjectArchive
    store: MemoryStore
    app: Any
    url: str = ""
    requests: list[dict[str, str]] = field(default_factory=list)
    trouble: Trouble = lambda scope, number: None
    _counts: dict[str, int] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.requests.append({"method": scope["method"], "path": path, **headers})
        self._counts[path] = number = self._counts.get(path, 0) + 1
        wrong = self.trouble(scope, number)
        if isinstance(wrong, int):
            await send({"type": "http.response.start", "status": wrong, "headers": [(b"retry-after", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await self.app(scope, receive, send if wrong is None else _cutting(send, wrong))

    def forget_requests(self) -> None:
        """Count from the beginning."""
        self.requests.clear()
        self._counts.clear()

    def gets(self, *, of: str) -> list[dict[str, str]]:
        """The requests for objects whose path ends so."""
        return [
            one
            for one in self.requests
            if one["method"] == "GET" and one["path"].endswith(of) and "dicom+json" not in one["accept"]
        ]

    def keep(self, parts: Iterable[bytes]) -> None:
        """Store objects."""
        head = b"--bnd\r\nContent-Type: application/dicom\r\n\r\n"
        body = b"".join(head + part + b"\r\n" for part in parts) + b"--bnd--"
        kind = 'multipart/related; type="application/dicom"; boundary=bnd'
        request = urllib.request.Request(f"{self.url}/studies", body, {"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            assert answer.status in (200, 202), answer.read()


def _cutting(send: Send, cut: Cut) -> Send:
    sent = 0

    async def cutting(message: Message) -> None:
        nonlocal sent
        if message["type"] == "http.response.start" and not cut.tagged:
            message["headers"] = [one for one in message["headers"] if one[0].lower() != b"etag"]
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            if sent + len(body) > cut.after:
                await send({**message, "body": bytes(body)[: cut.after - sent], "more_body": True})
                raise ConnectionAbortedError("cut")
            sent += len(body)
        await send(message)

    return cutting


async def serve(served: Served) -> uvicorn.Server:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    served.url = f"http://127.0.0.1:{listener.getsockname()[1]}/dicom-web"
    config = uvicorn.Config(served, log_config=None, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    server.serving = asyncio.ensure_future(server.serve(sockets=[listener]))  # type: ignore[attr-defined]
    while not server.started:
        await asyncio.sleep(0.01)
    return server


async def stop(server: uvicorn.Server) -> None:
    server.should_exit = True
    await server.serving  # type: ignore[attr-defined]


def a_service(**fields: Any) -> Served:
    settings = Settings(**fields)
    store = MemoryStore()
    limits = IntakeLimits(settings.header_limit, settings.batch_instances, settings.batch_bytes)
    archive = ObjectArchive(store, MemoryIndex(), limits=limits, on_duplicate=OnDuplicate.REFUSE)
    return Served(archive, store, create_app(archive, settings))


@dataclass(frozen=True)
class Kept:
    """An object as it was stored."""

    study: str
    series: str
    instance: str
    sop_class: str
    syntax: str
    data: bytes
    patient: str = ""
    accession: str = ""

    @property
    def part10(self) -> bytes:
        return file_head(self.sop_class, self.instance, self.syntax) + self.data

    @property
    def path(self) -> str:
        return f"/studies/{self.study}/series/{self.series}/instances/{self.instance}"


def an_object(
    size_bytes: int = 512,
    *,
    study: str | None = None,
    series: str | None = None,
    instance: str | None = None,
    sop_class: str = CT_IMAGE,
    syntax: str = EXPLICIT_LE,
    **texts: str,
) -> Kept:
    """An object with native pixels that are no picture; `texts` may be patient and accession."""
    study, series, instance = study or a_uid(), series or a_uid(), instance or a_uid()

    def element(tag: int, vr: bytes, value: bytes) -> bytes:
        value += (b" " if vr in (b"LO", b"SH") else b"\0") * (len(value) % 2)
        if syntax == IMPLICIT_LE:
            return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value
        if vr == b"OW":
            return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
        return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value

    data = b"".join(
        (
            element(0x00080016, b"UI", sop_class.encode()),
            element(0x00080018, b"UI", instance.encode()),
            element(0x00080050, b"SH", texts.get("accession", "").encode()),
            element(0x00100020, b"LO", texts.get("patient", "P1").encode()),
            element(0x0020000D, b"UI", study.encode()),
            element(0x0020000E, b"UI", series.encode()),
            element(0x7FE00010, b"OW", instance.encode().ljust(size_bytes, b"\x07")),
        )
    )
    texts = {name: texts.get(name, "") for name in ("patient", "accession")}
    return Kept(study, series, instance, sop_class, syntax, data, **texts)


@dataclass
class Got:
    """An instance that was received."""

    sop_class: str
    instance: str
    syntax: str
    data: bytes
    originator: tuple[str | None, int | None]


class Destination:
    """pynetdicom as the SCP that instances go to.

    `status` tells what it answers to each, and may abort the association by `abort`.
    """

    def __init__(
        self,
        contexts: Sequence[tuple[str, Sequence[str]]],
        status: "Callable[[Destination, str], int]" = lambda self, instance: 0,
        title: str = "DEST",
        port: int = 0,
        **entity: Any,
    ) -> None:
        self.got: list[Got] = []
        self.associations = 0
        self.title = title
        self.status = status
        self.arrived = threading.Condition()
        ae = AE(ae_title=title)
        for name, value in entity.items():
            setattr(ae, name, value)
        ae.network_timeout = ae.dimse_timeout = PATIENCE_S
        for sop_class, syntaxes in contexts:
            ae.add_supported_context(sop_class, list(syntaxes))
        server: Any = ae.start_server(
            ("127.0.0.1", port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._store), (evt.EVT_ESTABLISHED, self._established)],
        )
        self._server: Any = server
        self.port: int = server.socket.getsockname()[1]

    def peer(self, **fields: Any) -> Peer:
        fields = {"name": self.title.lower(), "ae_title": self.title, **fields}
        return Peer(host="127.0.0.1", port=self.port, **fields)

    def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()

    def _established(self, event: evt.Event) -> None:
        self.associations += 1

    def _store(self, event: evt.Event) -> int:
        request: Any = event.request
        self.assoc = event.assoc
        instance = str(request.AffectedSOPInstanceUID)
        status = self.status(self, instance)
        if status == 0 or status >> 12 == 0xB:
            originator = request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID
            syntax = str(event.context.transfer_syntax)
            got = Got(
                str(request.AffectedSOPClassUID), instance, syntax, request.DataSet.getvalue(), originator
            )
            with self.arrived:
                self.got.append(got)
                self.arrived.notify_all()
        return status


@dataclass
class Answer:
    """All responses to one retrieval."""

    statuses: list[Dataset]
    identifiers: list[Dataset | None]
    got: list[Got] = field(default_factory=list)

    @property
    def final(self) -> Dataset:
        return self.statuses[-1]

    @property
    def status(self) -> int:
        return int(self.final.Status)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Completed, failed, warning."""
        final = self.final
        return (
            final.NumberOfCompletedSuboperations,
            final.NumberOfFailedSuboperations,
            final.NumberOfWarningSuboperations,
        )

    @property
    def failures(self) -> list[str]:
        identifier = self.identifiers[-1]
        if identifier is None or "FailedSOPInstanceUIDList" not in identifier:
            return []
        value = identifier.FailedSOPInstanceUIDList
        return [str(value)] if isinstance(value, str) else [str(one) for one in value]


def asked(level: str = "STUDY", **keys: Any) -> Dataset:
    identifier = Dataset()
    if level:
        identifier.QueryRetrieveLevel = level
    for name, value in keys.items():
        setattr(identifier, name, value)
    return identifier


def moved(port: int, identifier: Dataset, *, to: str = "DEST", model: str = STUDY_MOVE) -> Answer:
    """What pynetdicom gets to hear of a C-MOVE."""
    ae = AE(ae_title="ASKER")
    ae.network_timeout = ae.dimse_timeout = PATIENCE_S
    ae.add_requested_context(model, [EXPLICIT_LE, IMPLICIT_LE])
    association = ae.associate("127.0.0.1", port)
    assert association.is_established
    responses = list(association.send_c_move(identifier, to, model, msg_id=77))
    association.release()
    return Answer([status for status, _ in responses], [found for _, found in responses])


def fetched(
    port: int,
    identifier: Dataset,
    contexts: Sequence[tuple[str, Sequence[str]]],
    *,
    model: str = STUDY_GET,
    status: Callable[[str], int] = lambda instance: 0,
) -> Answer:
    """What pynetdicom gets by a C-GET."""
    ae = AE(ae_title="ASKER")
    ae.network_timeout = ae.dimse_timeout = PATIENCE_S
    ae.add_requested_context(model, [IMPLICIT_LE])
    for sop_class, syntaxes in contexts:
        ae.add_requested_context(sop_class, list(syntaxes))
    got: list[Got] = []

    def store(event: evt.Event) -> int:
        request: Any = event.request
        instance = str(request.AffectedSOPInstanceUID)
        syntax = str(event.context.transfer_syntax)
        answer = status(instance)
        if answer == 0 or answer >> 12 == 0xB:
            data = request.DataSet.getvalue()
            got.append(Got(str(request.AffectedSOPClassUID), instance, syntax, data, (None, None)))
        return answer

    roles: list[Any] = [build_role(one, scp_role=True) for one in dict(contexts)]
    association = ae.associate("127.0.0.1", port, ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert association.is_established
    responses = list(association.send_c_get(identifier, model))
    association.release()
    return Answer([one for one, _ in responses], [found for _, found in responses], got)


@dataclass
class Running:
    """A bridge in front of the service."""

    ground: Ground
    listener: Any
    remote: Any
    port: int
    reports: "queue.Queue[Any]"


def chosen[S](kind: type[S], given: dict[str, Any], **default: Any) -> S:
    names = {each.name for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{**default, **{k: v for k, v in given.items() if k in names}})
