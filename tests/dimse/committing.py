"""What the tests of storage commitment are made of: an archive that says what it holds, peers that ask."""

import asyncio
import contextlib
import queue
import random
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dsutils import encode
from pynetdicom.presentation import build_role

from bridge.archive.remote import RemoteArchive
from bridge.commitment.commitments import Commitments
from bridge.commitment.holdings import search_of
from bridge.hosts import LOOPBACK
from bridge.peers import Peer, Peers
from bridge.scp.commitment import Commitment
from bridge.scp.echo import Echo
from bridge.scp.listener import Listener
from bridge.settings import ArchiveSettings, BridgeSettings, CommitmentSettings, Limits
from bridge.state import StateFolder
from bridge.upper import pdu
from bridge.upper.command import Operation
from tests.dimse.dimse_peers import (
    CT_IMAGE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    PATIENCE_S,
    VERIFICATION,
    Ground,
    RawPeer,
    a_command,
    a_uid,
    p_data,
)

PUSH = "1.2.840.10008.1.20.1"
PUSH_INSTANCE = "1.2.840.10008.1.20.1.1"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"


@dataclass
class Holder:
    """A DICOMweb server that holds instances, most of which were never sent."""

    held: dict[str, str] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    longest: int = 1 << 20
    cap: int = 1 << 20
    open: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)
    url: str = ""

    async def instances(self, request: web.Request) -> web.Response:
        wanted = request.query["SOPInstanceUID"].split(",")
        with self.changed:
            self.asked.append(wanted)
            self.changed.notify_all()
        while not self.open.is_set():
            await asyncio.sleep(0.01)
        if self.statuses:
            return web.Response(status=self.statuses.pop(0))
        if len(str(request.rel_url)) > self.longest:
            return web.Response(status=414)
        rows = [
            {"00080016": {"vr": "UI", "Value": [self.held[uid]]}, "00080018": {"vr": "UI", "Value": [uid]}}
            for uid in wanted
            if uid in self.held
        ]
        if not rows:
            return web.Response(status=204)
        return web.json_response(rows[: self.cap], content_type="application/dicom+json")

    def holds(self, count: int, sop_class: str = CT_IMAGE) -> list[tuple[str, str]]:
        """New instances, by class and UID."""
        made = [(sop_class, a_uid()) for _ in range(count)]
        self.held.update({instance: kind for kind, instance in made})
        return made

    def wait_for(self, reached: Callable[[], object]) -> None:
        with self.changed:
            assert self.changed.wait_for(reached, PATIENCE_S), "the archive was never asked"


async def serve(holder: Holder, port: int = 0) -> web.AppRunner:
    application = web.Application()
    application.router.add_get("/dicom-web/instances", holder.instances)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    holder.url = f"http://127.0.0.1:{runner.addresses[0][1]}/dicom-web"
    return runner


@dataclass
class Committing:
    """A running bridge that takes requests for commitment."""

    ground: Ground
    listener: Listener
    commitments: Commitments
    remote: RemoteArchive
    state: StateFolder
    port: int
    settings: BridgeSettings
    ended: bool = False

    @property
    def kept(self) -> list[str]:
        """The files of the open transactions."""
        return sorted(path.name for path in (self.settings.state / "commitments").iterdir())

    def settle(self) -> None:
        """Wait until no transaction is open."""

        async def settled() -> None:
            while self.kept:
                await asyncio.sleep(0.01)

        self.ground.run(settled())

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def end(self) -> None:
        async def end() -> None:
            self.ended = True
            await self.listener.drain(0.0)
            await self.commitments.stop()
            await self.remote.close()
            await self.state.close()

        self.ground.run(end())


def begin(ground: Ground, settings: BridgeSettings) -> Committing:
    async def start() -> Committing:
        state = StateFolder.open(settings.state)
        remote = RemoteArchive(settings.archive)
        shelf = state.shelf("commitments", most=settings.commitment.transactions)
        commitments = Commitments(settings, shelf, search_of(remote))
        await commitments.start()
        listener = Listener(settings, [Echo(), Commitment(commitments, settings.limits)], lambda report: None)
        _, port = await listener.start()
        return Committing(ground, listener, commitments, remote, state, port, settings)

    return ground.run(start())


def settings_for(
    holder: Holder, folder: Any, peers: Sequence[Peer] = (), *, port: int = 0, **chosen: Any
) -> BridgeSettings:
    limits = {key: chosen.pop(key) for key in list(chosen) if key in Limits.__dataclass_fields__}
    quick = {"search_delay_s": 0.02, "search_pause_s": 0.05, "report_delay_s": 0.05, "report_pause_s": 0.2}
    return BridgeSettings(
        port=port,
        ae_title="KEEPER",
        peers=Peers(peers),
        limits=Limits(**limits),
        archive=ArchiveSettings(url=holder.url),
        state=folder,
        commitment=CommitmentSettings(**{**quick, "quiet_s": 0.05, **chosen}),
    )


@dataclass
class Report:
    """A report as its receiver read it."""

    event_type: int
    information: Dataset
    calling: str

    @property
    def committed(self) -> list[tuple[str, str]]:
        return [_pair(item) for item in self.information.get("ReferencedSOPSequence", [])]

    @property
    def failed(self) -> dict[tuple[str, str], int]:
        return {_pair(item): item.FailureReason for item in self.information.get("FailedSOPSequence", [])}


def _pair(item: Dataset) -> tuple[str, str]:
    return str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)


class Reports:
    """Where pynetdicom puts the reports that it receives, and what it answers."""

    def __init__(self, *answers: int) -> None:
        self.arrived: queue.Queue[Report] = queue.Queue()
        self.answers = list(answers)
        self.came = False

    def handle(self, event: evt.Event) -> tuple[int, None]:
        calling = event.assoc.requestor.ae_title
        self.came = True
        self.arrived.put(Report(event.event_type or 0, event.event_information, calling))
        return (self.answers.pop(0) if self.answers else 0), None

    def next(self) -> Report:
        return self.arrived.get(timeout=PATIENCE_S)


@contextlib.contextmanager
def receiver(reports: Reports, *, port: int = 0, roles: bool = True) -> Iterator[int]:
    """A pynetdicom SCP that takes reports; its port."""
    entity = AE(ae_title="MODALITY")
    given: dict[str, Any] = {"scu_role": True, "scp_role": True} if roles else {}
    entity.add_supported_context(PUSH, [EXPLICIT_LE, IMPLICIT_LE], **given)
    with listening(entity, [(evt.EVT_N_EVENT_REPORT, reports.handle)], port=port) as listens:
        yield listens


@contextlib.contextmanager
def listening(entity: AE, handlers: Sequence[Any], *, port: int = 0) -> Iterator[int]:
    """A pynetdicom entity as SCP; its port. At the end its threads and sockets are gone."""
    sockets: list[socket.socket] = []

    def opened(event: evt.Event) -> None:
        keep_socket(event.assoc, sockets)

    server = entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[*handlers, (evt.EVT_CONN_OPEN, opened)]
    )
    assert server is not None and server.socket is not None
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        for association in entity.active_associations:
            association.join(PATIENCE_S)
        for each in sockets:
            each.close()


def keep_socket(association: Association, sockets: list[socket.socket]) -> None:
    """Note the socket, which pynetdicom does not close if the peer has reset the connection before."""
    wrapped = association.dul.socket
    if wrapped is not None and wrapped.socket is not None:
        sockets.append(wrapped.socket)


class Asker:
    """A pynetdicom SCU that asks for commitment."""

    def __init__(
        self,
        bridge: "Committing | int",
        reports: Reports | None = None,
        *,
        title: str = "MODALITY",
        syntax: str = EXPLICIT_LE,
    ) -> None:
        self._bridge = bridge
        self._reports = reports
        entity = AE(ae_title=title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
        entity.add_requested_context(PUSH, [syntax])
        entity.add_requested_context(VERIFICATION)
        handlers = [(evt.EVT_N_EVENT_REPORT, reports.handle)] if reports is not None else []
        self.association = entity.associate(
            "127.0.0.1",
            bridge if isinstance(bridge, int) else bridge.port,
            ae_title="OURS",
            ext_neg=[build_role(PUSH, scu_role=True)],
            evt_handlers=handlers,  # type: ignore[arg-type]
        )
        assert self.association.is_established
        self._sockets: list[socket.socket] = []
        keep_socket(self.association, self._sockets)

    def ask(
        self, references: Sequence[tuple[str, str]], transaction: str, *, action: int = 1, **changed: Any
    ) -> int:
        information = asking(references, transaction)
        for name, value in changed.items():
            if value is None:
                delattr(information, name)
            else:
                setattr(information, name, value)
        status, _ = self.association.send_n_action(information, action, PUSH, PUSH_INSTANCE)
        return int(status.Status)

    def release(self) -> None:
        """Release; a report that is here is answered before, since pynetdicom confuses the two."""
        if self._reports is not None and self._reports.came and isinstance(self._bridge, Committing):
            self._bridge.settle()
        self.association.release()
        self.close()

    def close(self) -> None:
        """Wait for the end of the association's thread, and close its socket."""
        self.association.join(PATIENCE_S)
        for each in self._sockets:
            each.close()


def asking(references: Sequence[tuple[str, str]], transaction: str) -> Dataset:
    information = Dataset()
    information.TransactionUID = transaction
    information.ReferencedSOPSequence = []
    for sop_class, instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = instance
        information.ReferencedSOPSequence.append(item)
    return information


def modality(port: int, **given: Any) -> Peer:
    """The peer that `Asker` and `receiver` play."""
    return Peer("ct", "MODALITY", "127.0.0.1", port, callers=LOOPBACK, **given)


def an_action(
    references: list[tuple[str, str]], transaction: str, *, content: bytes | None = None, **values: Any
) -> bytes:
    """The PDUs of an N-ACTION request in Explicit VR Little Endian."""
    told = {"requested_sop_class": PUSH, "requested_sop_instance": PUSH_INSTANCE, "action_type": 1, **values}
    command = a_command(Operation.N_ACTION, has_data=True, **told)
    if content is None:
        content = encode(asking(references, transaction), is_implicit_vr=False, is_little_endian=True) or b""
    return p_data(1, command, command=True) + p_data(1, content, command=False)


def an_event(peer: RawPeer) -> int:
    """Take a report and answer it; its Command Field."""
    command = peer.response()
    kind, _ = peer.next_pdu()
    assert kind == pdu.Kind.P_DATA
    peer.send(p_data(1, command.answered(0).encode(), command=True))
    return command.field


def unused_port() -> int:
    """A port that nobody listens on, and that no connection is given meanwhile by the system."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    others = random.sample(range(first - 10_000, first), 100) if first > 20_000 else []
    for port in (*others, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise AssertionError("every port is taken")


Start = Callable[..., Committing]
