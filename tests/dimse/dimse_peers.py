"""Peers, a small archive and a loop in a thread: what the tests of the bridge are made of."""

import asyncio
import contextlib
import queue
import secrets
import socket
import struct
import threading
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from bridge.archive.remote import RemoteArchive
from bridge.journal import AssociationReport
from bridge.scp.listener import Listener
from bridge.upper import pdu
from bridge.upper.associate import (
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ProposedContext,
    UserInformation,
)
from bridge.upper.command import Command, Operation, Tag, Value, decode

PATIENCE_S = 60.0
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
DATA = Path(__file__).parents[2].parent / "shared" / "data"


def a_uid() -> str:
    return f"2.25.{secrets.randbits(100)}"


def an_instance(
    size_bytes: int = 2000, *, sop_class: str = CT_IMAGE, instance: str | None = None
) -> "Instance":
    """A data set in Explicit VR Little Endian with pixels of random bytes."""
    instance = instance or a_uid()

    def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        if vr in (b"OB", b"OW", b"SQ"):
            return struct.pack("<HH2sHI", group, number, vr, 0, len(value)) + value
        return struct.pack("<HH2sH", group, number, vr, len(value)) + value

    data = b"".join(
        (
            element(0x0008, 0x0008, b"CS", b"ORIGINAL\\PRIMARY"),
            element(0x0008, 0x0016, b"UI", sop_class.encode()),
            element(0x0008, 0x0018, b"UI", instance.encode()),
            element(0x0020, 0x000D, b"UI", a_uid().encode()),
            element(0x0020, 0x000E, b"UI", a_uid().encode()),
            element(0x7FE0, 0x0010, b"OW", secrets.token_bytes(size_bytes)),
        )
    )
    return Instance(sop_class, instance, data)


@dataclass(frozen=True)
class Instance:
    sop_class: str
    instance: str
    data: bytes


def stow_answer(**failure_or_warning: int) -> dict[str, Any]:
    """A Store Instances response module (PS3.18 annex I) about one instance."""
    item: dict[str, Any] = {
        "00081150": {"vr": "UI", "Value": [CT_IMAGE]},
        "00081155": {"vr": "UI", "Value": ["1.2.3"]},
    }
    if "failure" in failure_or_warning:
        item["00081197"] = {"vr": "US", "Value": [failure_or_warning["failure"]]}
        return {"00081198": {"vr": "SQ", "Value": [item]}}
    if "warning" in failure_or_warning:
        item["00081196"] = {"vr": "US", "Value": [failure_or_warning["warning"]]}
    return {"00081199": {"vr": "SQ", "Value": [item]}}


Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Archive:
    """A DICOMweb server that keeps whole parts, and behaves differently when told to."""

    parts: list[bytes] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)
    broken: int = 0
    behaviours: list[Behaviour] = field(default_factory=list)
    url: str = ""
    changed: threading.Condition = field(default_factory=threading.Condition)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        with self.changed:
            self.requests.append(dict(request.headers))
            self.connections.add(request.transport)
            behaviour = self.behaviours.pop(0) if self.behaviours else self.store
            self.changed.notify_all()
        return await behaviour(request)

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        return None  # each behaviour says itself whether it asks for the body

    async def store(self, request: web.Request) -> web.StreamResponse:
        await self.take(request)
        return web.json_response(stow_answer(), content_type="application/dicom+json")

    async def take(self, request: web.Request) -> None:
        """Read the whole body and keep its part."""
        if request.headers.get("Expect") and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            body = await request.read()
            part = whole_part(request.headers["Content-Type"], body)
        except BaseException:
            with self.changed:
                self.broken += 1
                self.changed.notify_all()
            raise
        with self.changed:
            self.parts.append(part)
            self.changed.notify_all()

    def answering(self, status: int, headers: dict[str, str] | None = None, **reason: int) -> Behaviour:
        async def behave(request: web.Request) -> web.StreamResponse:
            await self.take(request)
            self.parts.pop()
            return web.json_response(stow_answer(**reason), status=status, headers=headers)

        return behave

    def wait_for(self, reached: Callable[[], object]) -> None:
        with self.changed:
            assert self.changed.wait_for(reached, PATIENCE_S), "the archive never saw it"


def whole_part(content_type: str, body: bytes) -> bytes:
    """The only part of a multipart body, checked for being complete (RFC 2046 5.1)."""
    assert content_type.startswith('multipart/related; type="application/dicom"')
    boundary = content_type.partition("boundary=")[2].encode()
    head = b"--" + boundary + b"\r\nContent-Type: application/dicom\r\n\r\n"
    tail = b"\r\n--" + boundary + b"--\r\n"
    assert body.startswith(head) and body.endswith(tail)
    return body[len(head) : -len(tail)]


def data_set_of(part10: bytes) -> bytes:
    """What follows the file meta information."""
    assert part10[128:132] == b"DICM"
    (length,) = struct.unpack_from("<I", part10, 140)
    return part10[144 + length :]


class Ground:
    """A loop in a thread."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.loop = new_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="ground")
        self._thread.start()

    def run[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.begin(coroutine).result(PATIENCE_S)

    def begin[T](self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE_S)
        self.loop.run_until_complete(_call_off_the_rest())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        with warnings.catch_warnings():
            # uvloop warns of each connection that is left, such as those of servers that were cut off, and
            # then closes it; where that warning is an error it does not, and waits for it for ever.
            warnings.simplefilter("ignore", ResourceWarning)
            self.loop.close()


async def _call_off_the_rest() -> None:
    """End what aiohttp's server leaves running for connections that were cut."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.wait_for(asyncio.gather(*left, return_exceptions=True), PATIENCE_S)


async def serve_archive(archive: Archive, port: int = 0) -> tuple[web.AppRunner, str]:
    application = web.Application(client_max_size=1 << 30)
    application.router.add_post("/dicom-web/studies", archive.handle, expect_handler=archive.expect)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/dicom-web"


@dataclass
class Bridge:
    """A running bridge, and the reports of its associations."""

    ground: Ground
    listener: Listener
    remote: RemoteArchive
    port: int
    reports: "queue.Queue[AssociationReport]"

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def report(self) -> AssociationReport:
        """The report of the next association that ends."""
        return self.reports.get(timeout=PATIENCE_S)

    def drain(self, timeout_s: float = 5.0) -> "Future[None]":
        return self.ground.begin(self.listener.drain(timeout_s))


StartBridge = Callable[..., Bridge]


class RawPeer:
    """A peer on a bare socket, which may say anything."""

    def __init__(self, address: tuple[str, int], *, receive_bytes: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(PATIENCE_S)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> "RawPeer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, encoded: bytes | bytearray | memoryview) -> None:
        self.socket.sendall(encoded)

    def associate(self, *contexts: ProposedContext, **given: Any) -> AssociateAccept:
        """Ask for an association and return the acceptance."""
        self.send(a_request(*contexts, **given).encode())
        kind, body = self.next_pdu()
        assert kind == pdu.Kind.ASSOCIATE_AC, (kind, body)
        return AssociateAccept.decode(body)

    def rejection(self) -> AssociateReject:
        kind, body = self.next_pdu()
        assert kind == pdu.Kind.ASSOCIATE_RJ, (kind, body)
        return AssociateReject.decode(body)

    def next_pdu(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; `EOFError` if the bridge closed."""
        kind, length = struct.unpack(">BxI", self._exactly(6))
        return kind, self._exactly(length)

    def abort_reason(self) -> int:
        """The reason of the A-ABORT that comes."""
        kind, body = self.next_pdu()
        assert kind == pdu.Kind.ABORT, (kind, body)
        return body[3]

    def response(self) -> Command:
        """The next message's command set, in one PDU."""
        kind, body = self.next_pdu()
        assert kind == pdu.Kind.P_DATA, (kind, body)
        assert body[5] == pdu.COMMAND | pdu.LAST
        return decode(body[6:])

    def wait_closed(self) -> None:
        """Read until the bridge has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(65536):
                pass

    def _exactly(self, size: int) -> bytes:
        got = bytearray()
        while len(got) < size:
            block = self.socket.recv(size - len(got))
            if not block:
                raise EOFError
            got += block
        return bytes(got)


def a_context(context_id: int = 1, abstract: str = CT_IMAGE, *syntaxes: str) -> ProposedContext:
    return ProposedContext(context_id, abstract, syntaxes or (EXPLICIT_LE,))


def a_request(*contexts: ProposedContext, **given: Any) -> AssociateRequest:
    user = UserInformation(max_length=16384, implementation_class="1.2.3")
    fields: dict[str, Any] = {"called": b"ANY-SCP", "calling": b"RAW-SCU", "user": user, **given}
    return AssociateRequest(contexts=contexts or (a_context(),), **fields)


def a_command(operation: int, *, has_data: bool, **values: Value) -> bytes:
    tags: dict[Tag, Value] = {
        Tag.COMMAND_FIELD: operation,
        Tag.MESSAGE_ID: 1,
        Tag.DATA_SET_TYPE: 1 if has_data else 0x0101,
    }
    return Command({**tags, **{Tag[name.upper()]: value for name, value in values.items()}}).encode()


def p_data(
    context_id: int, payload: bytes, *, command: bool, last: bool = True, longest: int = 16384
) -> bytes:
    return b"".join(pdu.packets(context_id, payload, command=command, last=last, longest=longest))


def an_echo(context_id: int = 1) -> bytes:
    command = a_command(Operation.C_ECHO, has_data=False, affected_sop_class=VERIFICATION)
    return p_data(context_id, command, command=True)


def a_store(instance: Instance, context_id: int = 1, **values: Value) -> list[bytes]:
    """The PDUs of a C-STORE request: the command's, then the data set's."""
    told: dict[str, Value] = {
        "affected_sop_class": instance.sop_class,
        "affected_sop_instance": instance.instance,
        "priority": 0,
        **values,
    }
    command = p_data(context_id, a_command(Operation.C_STORE, has_data=True, **told), command=True)
    room = 16384 - 6
    blocks: Sequence[bytes] = [
        instance.data[start : start + room] for start in range(0, max(len(instance.data), 1), room)
    ]
    return [command] + [
        p_data(context_id, block, command=False, last=number == len(blocks))
        for number, block in enumerate(blocks, 1)
    ]


def still_serves(bridge: Bridge) -> bool:
    """Whether a new peer gets a C-ECHO answered."""
    with RawPeer(bridge.address) as peer:
        peer.associate(a_context(1, VERIFICATION, IMPLICIT_LE), calling=b"WATCHER")
        peer.send(an_echo())
        answered = peer.response().status == 0
        peer.send(pdu.release_rq())
        return answered and peer.next_pdu()[0] == pdu.Kind.RELEASE_RP
