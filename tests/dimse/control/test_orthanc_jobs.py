"""Orthanc as the peer: asked, stored to, retrieved from by C-GET and by C-MOVE."""

import json
import urllib.request

import pytest

from bridge.peers import Peer
from tests.dimse.committing import unused_port
from tests.dimse.control.controlled import asked, counts, of
from tests.dimse.dimse_peers import PATIENCE_S, a_uid
from tests.dimse.programs import need, running
from tests.dimse.retrieve.retrieving import an_object


@pytest.mark.parametrize("how", ["get", "move", None])
def test_a_study_goes_to_orthanc_and_comes_back(start, served, tmp_path, how):
    program, port, http_port = need("Orthanc"), unused_port(), unused_port()
    study, series = a_uid(), a_uid()
    objects = [an_object(study=study, series=series) for _ in range(15)]
    served.keep(one.part10 for one in objects)
    bridge = start(Peer("orthanc", "ORTHANC", "127.0.0.1", port, retrieve=how))
    settings = {
        "StorageDirectory": str(tmp_path / "storage"),
        "IndexDirectory": str(tmp_path / "storage"),
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowGet": True,
        "DicomModalities": {"isthmus": ["ISTHMUS", "127.0.0.1", bridge.bridge.port]},
        "Plugins": [],
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    with running([program, "orthanc.json"], port, http_port, folder=tmp_path):
        assert bridge.ask("/peers/orthanc/echo", "POST").json["status"] == "0000"

        sent = bridge.done("store", "orthanc", of(objects[0], "study"))
        held = urllib.request.urlopen(f"http://127.0.0.1:{http_port}/instances", timeout=PATIENCE_S)
        with held:
            assert len(json.load(held)) == 15
        assert asked(f"{served.url}/studies/{study}", "DELETE").status == 204
        fetched = bridge.done("retrieve", "orthanc", of(objects[0], "study"))

    assert counts(sent) == ("done", 0, 15, 0, 0)
    assert counts(fetched) == ("done", 0, 15, 0, 0)
    back = asked(f"{served.url}/studies/{study}/instances?limit=100").json
    assert {one["00080018"]["Value"][0] for one in back} == {one.instance for one in objects}
