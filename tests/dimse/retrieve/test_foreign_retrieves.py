"""Orthanc and dcmqrscp as destinations, and Orthanc's DICOMweb as the archive behind the bridge."""

import hashlib
import io
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.filereader import read_dataset

from bridge.peers import Peer
from service.dicom.part10 import read_file_head
from service.dicom.syntaxes import EXPLICIT_LE, IMPLICIT_LE
from tests.dimse.committing import unused_port
from tests.dimse.dimse_peers import CT_IMAGE, PATIENCE_S, a_uid
from tests.dimse.programs import need, running
from tests.dimse.retrieve.retrieving import an_object, asked, fetched, moved

PLUGIN = next(
    (
        path
        for path in map(Path, ("/usr/share/orthanc/plugins", "/usr/lib/orthanc"))
        if (path / "libOrthancDicomWeb.so").exists()
    ),
    None,
)
SV1 = "1.2.840.10008.1.2.4.70"


class Orthanc:
    """A running Orthanc."""

    def __init__(self) -> None:
        self.port, self.http_port = unused_port(), unused_port()

    @property
    def peer(self) -> Peer:
        return Peer(name="orthanc", ae_title="ORTHANC", host="127.0.0.1", port=self.port)

    @property
    def dicom_web(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def rest(self, target: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{target}", data=body)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.read()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    program = need("Orthanc")
    folder = tmp_path_factory.mktemp("orthanc")
    one = Orthanc()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": "ORTHANC",
        "DicomPort": one.port,
        "HttpPort": one.http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(PLUGIN / "libOrthancDicomWeb.so")] if PLUGIN else [],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with running([program, "orthanc.json"], one.port, one.http_port, folder=folder):
        yield one


def a_study(count: int, size_bytes: int = 4000, **given: Any):
    study, series = a_uid(), a_uid()
    return [an_object(size_bytes, study=study, series=series, **given) for _ in range(count)]


def test_orthanc_receives_what_is_moved_to_it(start, served, orthanc, real_data):
    objects = a_study(20)
    served.keep(one.part10 for one in objects)
    compressed = (real_data / "ts/mr-small-family/MR_small_jp2klossless.dcm").read_bytes()
    served.keep([compressed])
    head = read_file_head(compressed)
    assert head is not None
    bridge = start(orthanc.peer)

    for identifier in (
        asked(StudyInstanceUID=objects[0].study),
        asked("IMAGE", SOPInstanceUID=head.sop_instance),
    ):
        assert moved(bridge.port, identifier, to="ORTHANC").status == 0x0000

    held = [orthanc.rest(f"/instances/{one}/file") for one in json.loads(orthanc.rest("/instances"))]
    found = {data_set_of(content) for content in held}
    assert {one.data for one in objects} < found
    assert len(found) == 21  # of what is compressed it writes the heads of elements anew


def data_set_of(content: bytes) -> bytes:
    head = read_file_head(content)
    assert head is not None
    return content[head.data_offset :]


def test_dcmqrscp_receives_what_is_moved_to_it(start, served, tmp_path):
    program = need("dcmqrscp")
    objects = a_study(20)
    served.keep(one.part10 for one in objects)
    port = unused_port()
    (tmp_path / "db").mkdir()
    (tmp_path / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 4\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQRSCP {tmp_path}/db RW (200, 1024mb) ANY\nAETable END\n"
    )
    peer = Peer(name="qrscp", ae_title="QRSCP", host="127.0.0.1", port=port)
    bridge = start(peer)

    with running([program, "-c", "dcmqrscp.cfg", "--bit-preserving"], port, folder=tmp_path):
        answer = moved(bridge.port, asked(StudyInstanceUID=objects[0].study), to="QRSCP")

    assert (answer.status, answer.counts) == (0x0000, (20, 0, 0))
    files = [path for path in (tmp_path / "db").iterdir() if path.name != "index.dat"]
    assert {data_set_of(path.read_bytes()) for path in files} == {one.data for one in objects}


@pytest.mark.skipif(PLUGIN is None, reason="Orthanc's DICOMweb plugin is not installed")
@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE", "PATIENT"])
def test_what_orthanc_keeps_is_fetched_through_the_bridge(start, served, orthanc, level):
    objects = a_study(12, patient=f"ID{level}")
    for one in objects:
        orthanc.rest("/instances", one.part10)
    bridge = start(url=orthanc.dicom_web)
    keys = {
        "PATIENT": {"PatientID": f"ID{level}"},
        "STUDY": {"StudyInstanceUID": objects[0].study},
        "SERIES": {"StudyInstanceUID": objects[0].study, "SeriesInstanceUID": objects[0].series},
        "IMAGE": {"SOPInstanceUID": [one.instance for one in objects]},
    }[level]
    model = "1.2.840.10008.5.1.4.1.2.1.3"

    answer = fetched(bridge.port, asked(level, **keys), [(CT_IMAGE, [EXPLICIT_LE])], model=model)

    assert (answer.status, answer.counts) == (0x0000, (12, 0, 0))
    assert {one.data for one in answer.got} == {one.data for one in objects}


@pytest.mark.skipif(PLUGIN is None, reason="Orthanc's DICOMweb plugin is not installed")
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, SV1])
def test_what_orthanc_keeps_compressed_is_decompressed_by_it(start, served, orthanc, real_data, syntax):
    content = (real_data / "ts/mr-siemens-family/5.dcm").read_bytes()
    orthanc.rest("/instances", content)
    head = read_file_head(content)
    assert head is not None
    bridge = start(url=orthanc.dicom_web)

    answer = fetched(
        bridge.port, asked("IMAGE", SOPInstanceUID=head.sop_instance), [(head.sop_class, [syntax])]
    )

    assert answer.status == 0x0000
    (got,) = answer.got
    assert got.syntax == syntax
    if syntax != SV1:
        read = read_dataset(io.BytesIO(got.data), syntax == IMPLICIT_LE, True)
        frame = read.Rows * read.Columns * 2
        pixels = "e4943a308aba1b659425d0d0d21e08b38ff690731184b6d7574834b39bccb81a"
        assert hashlib.sha256(read.PixelData[:frame]).hexdigest() == pixels


@pytest.mark.skipif(PLUGIN is None, reason="Orthanc's DICOMweb plugin is not installed")
def test_large_instances_of_orthanc_are_streamed(start, served, orthanc):
    objects = a_study(3, 400_000)
    for one in objects:
        orthanc.rest("/instances", one.part10)
    bridge = start(url=orthanc.dicom_web, whole_bytes=100_000)

    answer = fetched(bridge.port, asked(StudyInstanceUID=objects[0].study), [(CT_IMAGE, [IMPLICIT_LE])])

    assert (answer.status, answer.counts) == (0x0000, (3, 0, 0))
