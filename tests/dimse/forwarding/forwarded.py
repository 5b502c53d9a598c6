"""A bridge with rules in front of the real service, and what a modality sends to it."""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID
from pynetdicom import AE

from bridge import scu
from bridge.archive.remote import RemoteArchive
from bridge.control.app import create_app
from bridge.control.crossing import DimseLoop
from bridge.control.house import House
from bridge.control.server import ControlServer, listening
from bridge.forwarding.forwarding import Forwarding
from bridge.forwarding.settings import ForwardingSettings
from bridge.jobs.jobs import Jobs
from bridge.journal import AssociationReport
from bridge.peers import Peer, read_peers
from bridge.scp.echo import Echo
from bridge.scp.listener import Listener
from bridge.scp.store import Store
from bridge.scu import Proposal
from bridge.settings import (
    ArchiveSettings,
    BridgeSettings,
    ControlSettings,
    Limits,
)
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from bridge.state import StateFolder
from service.dicom.part10 import file_head, read_file_head
from tests.dimse.control.controlled import Answer, asked
from tests.dimse.dimse_peers import CT_IMAGE, EXPLICIT_LE, IMPLICIT_LE, PATIENCE_S, Ground, a_uid
from tests.dimse.retrieve.retrieving import Destination, Got, chosen

BOTH = (EXPLICIT_LE, IMPLICIT_LE)
TAKES_CT = ((CT_IMAGE, BOTH),)


@dataclass
class Forwarder:
    """A running bridge that forwards, and its HTTP."""

    ground: Ground
    settings: BridgeSettings
    listener: Listener
    remote: RemoteArchive
    forwarding: Forwarding
    spool: Spool
    server: ControlServer
    state: StateFolder
    port: int
    ended: bool = field(default=False)

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Answer:
        return asked(f"http://127.0.0.1:{self.server.address[1]}{path}", method, body)

    def told(self, target: str | None) -> dict[str, Any]:
        """What `GET /forwarding` tells of a target."""
        found: dict[str, Any] = next(one for one in self.ask("/forwarding").json if one["target"] == target)
        return found

    def wait(self, target: str | None, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """What is told of a target once it is as `until` wants it."""
        pause = threading.Event()
        told: dict[str, Any] = {}
        for _ in range(int(PATIENCE_S / 0.02)):
            told = self.told(target)
            if until(told):
                return told
            pause.wait(0.02)
        raise AssertionError(told)

    def failed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("/forwarding/failed").json
        return found

    def end(self) -> None:
        """End the bridge in order; once."""
        if not self.ended:
            self.ended = True
            self.server.stop()
            self.ground.begin(self.listener.drain(0.0)).result(PATIENCE_S)
            self.ground.run(self.forwarding.stop())
            self.ground.run(self.spool.stop())
            self.ground.run(self.remote.close())
            self.ground.run(self.state.close())


def settings_of(url: str, state: Path, peers: str, **given: Any) -> BridgeSettings:
    """Settings of a bridge before an archive; `peers` is the peers file, keyword arguments are fields."""
    state.parent.mkdir(parents=True, exist_ok=True)
    file = state.with_suffix(".toml")
    file.write_text(peers)
    return BridgeSettings(
        port=0,
        ae_title=given.get("ae_title", "ISTHMUS"),
        peers=read_peers(file),
        limits=chosen(Limits, given),
        archive=chosen(ArchiveSettings, given, url=url),
        state=state,
        forwarding=chosen(
            ForwardingSettings, given, gather_s=0.02, retry_delay_s=0.05, retry_pause_s=0.2, stop_s=1.0
        ),
        spool=SpoolSettings(size_bytes=given.get("spool_bytes", 0), pause_s=0.05, longest_pause_s=0.1),
        control=chosen(ControlSettings, {"port": 0, **given}),
    )


async def begin(ground: Ground, settings: BridgeSettings) -> Forwarder:
    """A bridge on the running loop."""
    reports: queue.Queue[AssociationReport] = queue.Queue()
    remote = RemoteArchive(settings.archive)
    state = StateFolder.open(settings.state)
    spool = Spool(settings, remote)
    await spool.start()

    def awaited(instance: str) -> bool:
        return bool(spool.lanes.of(instance)) or spool.detains(instance)

    forwarding = Forwarding(settings, remote, settings.state / "forwarding", awaited=awaited)
    await forwarding.start()
    listener = Listener(settings, [Echo(), Store(remote, None, spool, forwarding)], reports.put)
    _, port = await listener.start()
    jobs = Jobs(settings.jobs, settings.peers, state.shelf("jobs", most=10), {})
    loop = DimseLoop(asyncio.get_running_loop(), timeout_s=PATIENCE_S)
    house = House(settings, loop, remote, jobs, listening=lambda: True, forwarding=forwarding)
    server = ControlServer(create_app(house), listening(settings.control), settings.control, drain_s=1)
    server.start()
    return Forwarder(ground, settings, listener, remote, forwarding, spool, server, state, port)


def an_image(study: str = "", series: str = "", **values: Any) -> Dataset:
    """A small CT image; `values` are attributes by keyword."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = CT_IMAGE, a_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = study or a_uid(), series or a_uid()
    image.Modality, image.PatientID, image.PatientName = "CT", "P1", "Doe^Jane"
    image.Rows = image.Columns = 16
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation, image.SamplesPerPixel = 15, 0, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelData = bytes(range(256)) * 2
    for keyword, value in values.items():
        setattr(image, keyword, value)
    image.file_meta = meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(EXPLICIT_LE)
    meta.MediaStorageSOPClassUID = image.SOPClassUID
    meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return image


def a_study(count: int, **values: Any) -> list[Dataset]:
    study, series = a_uid(), a_uid()
    return [an_image(study, series, InstanceNumber=str(number), **values) for number in range(count)]


def sent(
    port: int, images: Iterable[Dataset], *, calling: str = "SCANNER1", called: str = "ANY"
) -> list[int]:
    """The statuses that a modality gets for `images`, over one association."""
    images = list(images)
    entity = AE(ae_title=calling)
    entity.network_timeout = entity.dimse_timeout = PATIENCE_S
    for sop_class, syntax in {(str(one.SOPClassUID), one.file_meta.TransferSyntaxUID) for one in images}:
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    assert association.is_established
    statuses = [int(association.send_c_store(one).Status) for one in images]
    association.release()
    return statuses


def sent_quickly(bridge: Forwarder, images: Sequence[Dataset]) -> list[int]:
    """The same over our own association, many times as fast."""

    async def send() -> list[int]:
        me = Peer("it", "ISTHMUS", "127.0.0.1", bridge.port)
        proposals = [Proposal(CT_IMAGE, (EXPLICIT_LE,))]
        association = await scu.connect(me, proposals, Limits(), calling="SCANNER1")
        statuses = []
        for image in images:
            content = BytesIO()
            dcmwrite(content, image, enforce_file_format=False, overwrite=True)
            data = content.getvalue()
            head = read_file_head(data)
            assert head is not None
            uid = str(image.SOPInstanceUID)
            data = data[head.data_offset :]
            statuses.append(await scu.store(association, 1, CT_IMAGE, uid, data, timeout_s=PATIENCE_S))
        await association.release()
        return statuses

    return bridge.ground.run(send())


def instances(destination: Destination) -> list[str]:
    return [one.instance for one in destination.got]


def uids(images: Iterable[Dataset]) -> list[str]:
    return [str(one.SOPInstanceUID) for one in images]


def took(destination: Destination, count: int) -> list[str]:
    """The instances that a destination has taken, once there are so many."""
    with destination.arrived:
        assert destination.arrived.wait_for(lambda: len(destination.got) >= count, PATIENCE_S)
    return instances(destination)


def arrived(got: Got) -> Dataset:
    """What a destination was sent."""
    return dcmread(BytesIO(file_head(got.sop_class, got.instance, got.syntax) + got.data))


def peer_of(destination: Destination, name: str = "", **keys: Any) -> str:
    """The table of a destination in a peers file."""
    told = {"ae_title": destination.title, "host": "127.0.0.1", "port": destination.port, **keys}
    return table(f"peers.{name or destination.title.lower()}", told)


def table(name: str, keys: dict[str, Any]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in keys.items()) + "\n"


def rule(to: str | Sequence[str] = (), when: dict[str, Any] | None = None, **keys: Any) -> str:
    """A table `[[rules]]`."""
    named = {"to": [to] if isinstance(to, str) else list(to)} if to else {}
    return table("[rules]", {"when": when or {}, **named, **keys})


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {_toml(one)}' for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else f'"{value}"'
