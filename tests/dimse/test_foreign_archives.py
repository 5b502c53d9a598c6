"""Orthanc, dcmqrscp and storescp as peers, in both directions."""

import io
import json
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pynetdicom.dsutils import encode

from bridge import scu
from bridge.hosts import LOOPBACK
from bridge.peers import Peer
from bridge.scu import Proposal
from service.dicom.part10 import file_head
from tests.dimse.asking import PATIENT, connected, ours, play
from tests.dimse.committing import Committing, Holder, begin, serve, settings_for, unused_port
from tests.dimse.dimse_peers import (
    CT_IMAGE,
    EXPLICIT_LE,
    PATIENCE_S,
    VERIFICATION,
    Archive,
    Ground,
    Instance,
    StartBridge,
    a_uid,
    data_set_of,
)
from tests.dimse.programs import need, running

OURS = "ISTHMUS"
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
STORING = (Proposal(VERIFICATION, (EXPLICIT_LE,)), Proposal(CT_IMAGE, (EXPLICIT_LE,)))


@dataclass
class Foreign:
    """A running archive: its DIMSE port, the port where it expects us, and its HTTP port if it has one."""

    port: int
    our_port: int
    http_port: int = 0
    folder: Path = Path()

    def rest(self, target: str, body: bytes | dict[str, Any] | None = None) -> Any:
        """What Orthanc answers."""
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{target}", data=content)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read() or b"null")


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    program = need("Orthanc")
    folder = tmp_path_factory.mktemp("orthanc")
    foreign = Foreign(unused_port(), unused_port(), unused_port(), folder)
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": "ORTHANC",
        "DicomPort": foreign.port,
        "HttpPort": foreign.http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [],
        "DicomModalities": {"isthmus": [OURS, "127.0.0.1", foreign.our_port]},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with running([program, "orthanc.json"], foreign.port, foreign.http_port, folder=folder):
        yield foreign


@pytest.fixture(scope="session")
def dcmqrscp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    program = need("dcmqrscp")
    folder = tmp_path_factory.mktemp("dcmqrscp")
    foreign = Foreign(unused_port(), unused_port(), folder=folder)
    (folder / "db").mkdir()
    (folder / "settings").write_text(
        f"NetworkTCPPort = {foreign.port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nisthmus = ({OURS}, 127.0.0.1, {foreign.our_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nARCHIVE {folder / 'db'} RW (200, 1024mb) ANY\nAETable END\n"
    )
    with running([program, "-c", "settings"], foreign.port, folder=folder):
        yield foreign


@pytest.fixture(scope="session")
def storescp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    program = need("storescp")
    folder = tmp_path_factory.mktemp("storescp")
    foreign = Foreign(unused_port(), 0, folder=folder)
    with running([program, "+B", "-od", str(folder), str(foreign.port)], foreign.port, folder=folder):
        yield foreign


def a_slice(study: str) -> Instance:
    """An instance that an archive can file."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CT_IMAGE, a_uid()
    data.StudyDate, data.StudyTime, data.AccessionNumber, data.Modality = "20240102", "1200", "A1", "CT"
    data.PatientName, data.PatientID, data.StudyID = "A^B", "P1", "S1"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.InstanceNumber = study, f"{study}.1", "1"
    data.Rows = data.Columns = 64
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 15, 0, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = bytes(8192)
    data["PixelData"].VR = "OW"
    encoded = encode(data, is_implicit_vr=False, is_little_endian=True)
    assert encoded is not None
    return Instance(CT_IMAGE, data.SOPInstanceUID, encoded)


async def sent(port: int, instances: list[Instance]) -> list[int]:
    """The status of an echo, and those of the stores: whole and in blocks by turns."""

    async def blocks(content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), 5001):
            yield content[start : start + 5001]

    async with connected(port, *STORING, limits=PATIENT) as association:
        statuses = [await scu.echo(association, 1, timeout_s=PATIENCE_S)]
        for number, each in enumerate(instances):
            statuses.append(
                await scu.store(
                    association,
                    ours(association, CT_IMAGE),
                    each.sop_class,
                    each.instance,
                    blocks(each.data) if number % 2 else each.data,
                    timeout_s=PATIENCE_S,
                )
            )
        return statuses


def test_storescp_gets_what_we_store_byte_for_byte(storescp: Foreign):
    instances = [a_slice(a_uid()) for _ in range(4)]

    assert play(sent(storescp.port, instances)) == [0] * 5

    kept = {path.name.partition(".")[2]: path.read_bytes() for path in storescp.folder.glob("CT.*")}
    assert {each.instance: each.data for each in instances} == {
        name: data_set_of(content) for name, content in kept.items()
    }


def test_orthanc_gets_what_we_store(orthanc: Foreign):
    instances = [a_slice(a_uid()) for _ in range(4)]

    assert play(sent(orthanc.port, instances)) == [0] * 5

    for each in instances:
        found = orthanc.rest("/tools/lookup", each.instance.encode())
        assert [one["Type"] for one in found] == ["Instance"]
        tags = orthanc.rest(f"/instances/{found[0]['ID']}/simplified-tags")
        assert (tags["SOPInstanceUID"], tags["PatientID"]) == (each.instance, "P1")


def test_orthanc_echoes_and_stores_to_us(orthanc: Foreign, start_bridge: StartBridge, archive: Archive):
    start_bridge(port=orthanc.our_port)
    instance = a_slice(a_uid())
    head = file_head(instance.sop_class, instance.instance, EXPLICIT_LE, source_ae_title="X")
    uploaded = orthanc.rest("/instances", head + instance.data)["ID"]

    orthanc.rest("/modalities/isthmus/echo", {})
    answer = orthanc.rest("/modalities/isthmus/store", {"Resources": [uploaded], "Synchronous": True})

    assert answer["FailedInstancesCount"] == 0
    assert [data_set_of(part) for part in archive.parts] == [instance.data]


@pytest.fixture
def committing(
    ground: Ground, orthanc: Foreign, tmp_path: Path
) -> Iterator[tuple[Committing, Holder, Callable[[str], Any]]]:
    """A bridge where Orthanc expects it, and Orthanc's word on a transaction."""
    holder = Holder()
    holder.open.set()
    runner = ground.run(serve(holder))
    peer = Peer("orthanc", "ORTHANC", "127.0.0.1", orthanc.port, callers=LOOPBACK)
    settings = settings_for(holder, tmp_path / "state", [peer], port=orthanc.our_port)
    bridge = begin(ground, settings)

    def outcome(transaction: str) -> Any:
        pause = threading.Event()
        for _ in range(int(PATIENCE_S / 0.05)):
            told = orthanc.rest(f"/storage-commitment/{transaction}")
            if told["Status"] != "Pending":
                return told
            pause.wait(0.05)
        raise AssertionError("Orthanc never got a report")

    yield bridge, holder, outcome
    bridge.end()
    ground.run(runner.cleanup())


def test_orthanc_asks_us_for_commitment_and_gets_its_report(
    orthanc: Foreign, committing: tuple[Committing, Holder, Callable[[str], Any]]
):
    bridge, holder, outcome = committing
    held, missing = holder.holds(3), (CT_IMAGE, a_uid())

    def ask(references: list[tuple[str, str]]) -> str:
        listed = [{"SOPClassUID": kind, "SOPInstanceUID": instance} for kind, instance in references]
        answer = orthanc.rest("/modalities/isthmus/storage-commitment", {"DicomInstances": listed})
        return str(answer["ID"])

    all_held, some = outcome(ask(held)), outcome(ask([*held, missing]))

    assert (all_held["Status"], some["Status"]) == ("Success", "Failure")
    assert {each["SOPInstanceUID"] for each in all_held["Success"]} == {uid for _, uid in held}
    assert [(each["SOPInstanceUID"], each["FailureReason"]) for each in some["Failures"]] == [
        (missing[1], 0x0112)
    ]
    bridge.settle()


def an_identifier(**values: str) -> bytes:
    identifier = Dataset()
    for name, value in values.items():
        setattr(identifier, name, value)
    return encode(identifier, is_implicit_vr=False, is_little_endian=True) or b""


@pytest.mark.parametrize("which", ["dcmqrscp", "orthanc"])
def test_an_archive_is_searched_and_sends_to_us(
    which: str, request: pytest.FixtureRequest, start_bridge: StartBridge, archive: Archive
):
    foreign: Foreign = request.getfixturevalue(which)
    start_bridge(port=foreign.our_port)
    study = a_uid()
    instances = [a_slice(study) for _ in range(5)]
    assert play(sent(foreign.port, instances)) == [0] * 6

    async def search_and_move() -> tuple[list[int], scu.Progress]:
        proposals = [Proposal(each, (EXPLICIT_LE,)) for each in (FIND, MOVE)]
        async with connected(foreign.port, *proposals, limits=PATIENT, calling=OURS) as association:
            keys = an_identifier(
                QueryRetrieveLevel="IMAGE",
                SOPInstanceUID="",
                StudyInstanceUID=study,
                SeriesInstanceUID=f"{study}.1",
            )
            found = [each async for each in scu.find(association, ours(association, FIND), keys, PATIENT)]
            wanted = an_identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=study)
            moved = [
                each
                async for each in scu.move(
                    association, ours(association, MOVE), wanted, PATIENT, destination=OURS
                )
            ]
            return [each.status for each in found], moved[-1]

    statuses, last = play(search_and_move())

    assert len(statuses) == 6
    assert set(statuses[:-1]) <= {0xFF00, 0xFF01}
    assert (last.status, last.completed, last.failed) == (0, 5, 0)
    assert {instance_of(part) for part in archive.parts} == {each.instance for each in instances}


def instance_of(part10: bytes) -> str:
    return str(dcmread(io.BytesIO(part10)).SOPInstanceUID)
