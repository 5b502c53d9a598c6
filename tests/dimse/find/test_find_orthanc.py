"""C-FIND over the bridge into Orthanc, whose plugin decodes nothing of a URL."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import uvloop

from bridge.archive.remote import RemoteArchive
from bridge.scp.find import Find
from bridge.scp.listener import Listener
from bridge.settings import ArchiveSettings, BridgeSettings
from tests.conformance.searching import GUSEVA, MUELLER, YAMADA, fill
from tests.dimse.committing import unused_port
from tests.dimse.dimse_peers import PATIENCE_S, Ground
from tests.dimse.finding import Asker, found
from tests.dimse.programs import need, running
from tests.identifiers import a_query
from tests.sites import Site

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class Orthanc:
    """Takes what `fill` sends."""

    status_code = 200

    def __init__(self, url: str) -> None:
        self._url = url

    def post_parts(self, *parts: bytes) -> "Orthanc":
        for part in parts:
            with urllib.request.urlopen(f"{self._url}/instances", part, PATIENCE_S):
                pass
        return self


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    program = need("Orthanc")
    if not PLUGIN.exists():
        pytest.skip("Orthanc's DICOMweb plugin is not installed")
    folder = tmp_path_factory.mktemp("orthanc")
    http = unused_port()
    settings = {
        "StorageDirectory": str(folder), "IndexDirectory": str(folder), "Plugins": [str(PLUGIN)],
        "DicomServerEnabled": False, "HttpPort": http, "AuthenticationEnabled": False,
        "DefaultEncoding": "Utf8",
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    ground = Ground(uvloop.new_event_loop)
    with running([program, "orthanc.json"], http, folder=folder):
        url = f"http://127.0.0.1:{http}"
        fill(cast(Site, Orthanc(url)))
        ours = BridgeSettings(port=0, archive=ArchiveSettings(url=f"{url}/dicom-web"))

        async def begin() -> tuple[RemoteArchive, Listener, int]:
            remote = RemoteArchive(ours.archive)
            listener = Listener(ours, [Find(remote, ours)], lambda report: None)
            return remote, listener, (await listener.start())[1]

        remote, listener, port = ground.run(begin())
        yield Asker(ground, port)
        ground.begin(listener.drain(0.0)).result(PATIENCE_S)
        ground.run(remote.close())
    ground.end()


@pytest.mark.parametrize(
    ("keyword", "value", "studies"),
    [
        ("PatientName", "Müller^Jürgen", {MUELLER}),
        ("PatientName", "müller^j*", {MUELLER}),
        ("PatientName", "yamada^tarou", {YAMADA}),
        ("PatientName", "*=山田*", {YAMADA}),
        ("PatientName", "Гусева*", {GUSEVA}),
        ("StudyDescription", "Thorax, Abdomen", {MUELLER}),
        ("PatientID", "P2\\nobody", {YAMADA}),
        ("ModalitiesInStudy", "SR\\MR", {MUELLER, YAMADA}),
        ("StudyDate", "20240101-20240301", {MUELLER, YAMADA}),
    ],
)
def test_orthanc_finds_what_it_has(ask, keyword, value, studies):
    answers = ask.find(a_query(SpecificCharacterSet="ISO_IR 192", **{keyword: value}))

    assert set(found(answers, "StudyInstanceUID")) == studies
