"""A bridge with its HTTP in front of the real service, asked over real HTTP; and a PACS that it asks."""

import asyncio
import json
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from bridge.archive.remote import RemoteArchive
from bridge.control.app import create_app
from bridge.control.crossing import DimseLoop
from bridge.control.house import Faces, House
from bridge.control.server import ControlServer, listening
from bridge.jobs.job import Kind
from bridge.jobs.jobs import Errand, Jobs
from bridge.jobs.retrieving import Retrieving
from bridge.jobs.storing import Storing
from bridge.journal import AssociationReport
from bridge.peers import Peer, Peers
from bridge.scp.echo import Echo
from bridge.scp.listener import Listener
from bridge.scp.store import Store
from bridge.settings import (
    ArchiveSettings,
    BridgeSettings,
    ControlSettings,
    JobSettings,
    Limits,
    RetrieveSettings,
)
from bridge.state import StateFolder
from service.web.guard import guard_of
from tests.dimse.dimse_peers import CT_IMAGE, EXPLICIT_LE, IMPLICIT_LE, PATIENCE_S, Bridge, Ground
from tests.dimse.retrieve.retrieving import Kept, Served, chosen

FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
OVER = ("done", "failed", "cancelled")


@dataclass
class Answer:
    """What the bridge's HTTP answered."""

    status: int
    headers: "Message[str, str]"
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def asked(
    url: str, method: str = "GET", body: Any = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One request; `body` is sent as JSON unless it is bytes."""
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    told = {} if content is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, content, {**told, **(headers or {})}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


def waited(url: str, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The job at `url`, once it is as `until` wants it."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.02)):
        job: dict[str, Any] = asked(url).json
        if until(job):
            return job
        assert job["state"] not in OVER, job
        pause.wait(0.02)
    raise AssertionError(job)


@dataclass
class Controlled:
    """A running bridge and its HTTP."""

    bridge: Bridge
    jobs: Jobs
    server: ControlServer
    state: StateFolder
    settings: BridgeSettings

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.address[1]}"

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        """One request; underscores in names of headers stand for hyphens."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return asked(self.url + path, method, body, told)

    def submit(self, kind: str, peer: str, *resources: Any) -> str:
        """The path of a job."""
        answer = self.ask(f"/peers/{peer}/{kind}", "POST", {"resources": resources})
        assert answer.status == 202, answer.body
        return answer.headers["Location"]

    def wait(
        self, path: str, until: Callable[[dict[str, Any]], bool] = lambda job: job["state"] in OVER
    ) -> dict[str, Any]:
        """A job once it is over, or as `until` wants it."""
        return waited(self.url + path, until)

    def done(self, kind: str, peer: str, *resources: Any) -> dict[str, Any]:
        """A job that was asked for, once it is over."""
        return self.wait(self.submit(kind, peer, *resources))


def bridge_settings(served: Served, state: Path, *peers: Peer, **given: Any) -> BridgeSettings:
    """Settings of a bridge in front of `served`; keyword arguments by field name."""
    return BridgeSettings(
        port=0,
        peers=Peers(peers),
        limits=chosen(Limits, given),
        archive=chosen(ArchiveSettings, given, url=served.url),
        retrieve=chosen(RetrieveSettings, given, busy_delay_s=0.01),
        state=state,
        jobs=chosen(JobSettings, given, try_again_s=0.05, keep_s=0.05, cancel_s=2.0),
        control=chosen(ControlSettings, {"port": 0, **given}),
    )


async def begin(ground: Ground, settings: BridgeSettings, faces: Faces | None = None) -> Controlled:
    """A bridge with its HTTP, on the running loop."""
    reports: queue.Queue[AssociationReport] = queue.Queue()
    remote = RemoteArchive(settings.archive)
    store = Store(remote)
    listener = Listener(settings, [Echo(), store], reports.put)
    _, port = await listener.start()
    state = StateFolder.open(settings.state)
    errands: dict[Kind, Errand] = {
        Kind.STORE: Storing(remote, settings),
        Kind.RETRIEVE: Retrieving(remote, store, settings),
    }
    jobs = Jobs(settings.jobs, settings.peers, state.shelf("jobs", most=settings.jobs.most), errands)
    await jobs.start()
    loop = DimseLoop(asyncio.get_running_loop(), timeout_s=PATIENCE_S)
    sign_in = guard_of(settings.control.access)
    house = House(settings, loop, remote, jobs, listening=lambda: True, faces=faces, sign_in=sign_in)
    server = ControlServer(create_app(house), listening(settings.control), settings.control, drain_s=1)
    server.start()
    return Controlled(Bridge(ground, listener, remote, port, reports), jobs, server, state, settings)


def end(one: Controlled) -> None:
    """End a bridge."""
    ground = one.bridge.ground
    one.server.stop()
    ground.run(one.jobs.stop())
    one.bridge.drain(0.0).result(PATIENCE_S)
    ground.run(one.bridge.remote.close())
    ground.run(one.state.close())


def counts(job: Mapping[str, Any]) -> tuple[str, int | None, int, int, int]:
    """State, remaining, completed, warnings, failed."""
    return job["state"], job["remaining"], job["completed"], job["warnings"], job["failed"]


def of(kept: Kept, level: str = "instance") -> dict[str, str]:
    """A resource by its UIDs."""
    uids = {"study": kept.study, "series": kept.series, "instance": kept.instance}
    return dict(list(uids.items())[: list(uids).index(level) + 1])


@dataclass
class Pacs:
    """A pynetdicom PACS that holds objects and does what a test says.

    `sent` is asked before each instance is sent; `offers` are the services that it has. `hidden` are SOP
    Instance UIDs that it finds, and does not send.
    """

    holds: Sequence[Kept]
    offers: Sequence[str] = (FIND, GET, MOVE)
    destinations: dict[str, int] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    sending: Callable[["Pacs", int], None] = lambda pacs, number: None
    operations: list[str] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    association: Any = None
    retrieval: Any = None

    def __enter__(self) -> "Pacs":
        entity = AE(ae_title="PACS")
        entity.network_timeout = entity.dimse_timeout = PATIENCE_S
        for offered in self.offers:
            entity.add_supported_context(offered, [EXPLICIT_LE, IMPLICIT_LE])
        if GET in self.offers:
            for sop_class in {CT_IMAGE, *(one.sop_class for one in self.holds)}:
                syntaxes = sorted({EXPLICIT_LE, IMPLICIT_LE, *(one.syntax for one in self.holds)})
                entity.add_supported_context(sop_class, syntaxes, scu_role=True, scp_role=True)
        handlers: list[Any] = [
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_GET, self._get),
            (evt.EVT_C_MOVE, self._move),
        ]
        server: Any = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self._server = server
        self.port = server.socket.getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def peer(self, **fields: Any) -> Peer:
        return Peer(**{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": self.port, **fields})

    def wait_for_cancel(self) -> None:
        """Return when the retrieval under way has been cancelled."""
        pause = threading.Event()
        for _ in range(int(PATIENCE_S / 0.005)):
            if self.retrieval.is_cancelled:  # which pynetdicom says only once
                self.cancelled.set()
                return
            pause.wait(0.005)
        raise AssertionError("it was never cancelled")

    def _matching(self, wanted: Dataset) -> list[Kept]:
        keys = (
            ("StudyInstanceUID", "study"),
            ("SeriesInstanceUID", "series"),
            ("SOPInstanceUID", "instance"),
        )
        return [
            one
            for one in self.holds
            if all(wanted.get(name, "") in ("", None, getattr(one, field)) for name, field in keys)
        ]

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        wanted = event.identifier
        self.operations.append(f"find {wanted.QueryRetrieveLevel}")
        told: set[str] = set()
        for one in self._matching(wanted):
            found = Dataset()
            found.QueryRetrieveLevel = wanted.QueryRetrieveLevel
            found.StudyInstanceUID, found.SeriesInstanceUID = one.study, one.series
            if wanted.QueryRetrieveLevel == "IMAGE":
                found.SOPInstanceUID, found.SOPClassUID = one.instance, one.sop_class
            if str(found) not in told:
                told.add(str(found))
                yield 0xFF00, found

    def _get(self, event: evt.Event) -> Iterator[Any]:
        self.operations.append(f"get {event.identifier.QueryRetrieveLevel}")
        yield from self._sent(event)

    def _move(self, event: evt.Event) -> Iterator[Any]:
        self.operations.append(f"move {event.identifier.QueryRetrieveLevel} to {event.move_destination}")
        port = self.destinations.get(event.move_destination or "")
        if port is None:
            yield None, None
            return
        contexts = [build_context(one.sop_class, one.syntax) for one in self.holds]
        yield "127.0.0.1", port, {"contexts": list({str(one): one for one in contexts}.values())}
        yield from self._sent(event)

    def _sent(self, event: evt.Event) -> Iterator[Any]:
        self.association, self.retrieval = event.assoc, event
        wanted = [one for one in self._matching(event.identifier) if one.instance not in self.hidden]
        yield len(wanted)
        for number, one in enumerate(wanted):
            self.sending(self, number)
            if self.cancelled.is_set() or event.is_cancelled:
                self.cancelled.set()
                yield 0xFE00, None
                return
            yield 0xFF00, dcmread(BytesIO(one.part10))
