"""The real bridge: worklist and steps by HTTP and DIMSE, killed between N-CREATE and N-SET; Orthanc asks."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dimse.committing import unused_port
from tests.dimse.control.controlled import asked
from tests.dimse.dimse_peers import PATIENCE_S, a_uid
from tests.dimse.mpps.performing import Modality, Receiver, a_step, an_end, receiving
from tests.dimse.programs import need, running
from tests.dimse.worklist.scheduling import an_item

ROOT = Path(__file__).parents[3]


class Program:
    """`python -m bridge` on ports of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
        told = {
            "ISTHMUS_DIMSE_PORT": "0",
            "ISTHMUS_BRIDGE_PORT": "0",
            "ISTHMUS_ARCHIVE_URL": "http://127.0.0.1:9/dicom-web",
            "ISTHMUS_BRIDGE_STATE": str(folder),
            **settings,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bridge"],
            cwd=ROOT,
            env={**ours, **told},
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.port = int(self._said(" listening ")["port"])
        control = self._said(" control host")
        self.url = f"http://127.0.0.1:{control['port']}"

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.put(line)

    def _said(self, words: str) -> dict[str, str]:
        while words not in (line := self._lines.get(timeout=PATIENCE_S)):
            pass
        return dict(word.split("=", 1) for word in line.split() if "=" in word)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self._process.send_signal(number)
        code = self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return code


@pytest.fixture
def started() -> Iterator[list[Program]]:
    running: list[Program] = []
    yield running
    for program in running:
        if program._process.poll() is None:
            program.end(signal.SIGKILL)


def test_items_and_steps_outlast_a_kill_and_are_passed_on(tmp_path, started):
    ris, port, instance = Receiver(), unused_port(), a_uid()
    peers = tmp_path / "peers.toml"
    peers.write_text(
        f'[peers.ris]\nae_title = "RIS"\nhost = "127.0.0.1"\nport = {port}\n'
        '[peers.ct]\nae_title = "CT1"\nhost = "127.0.0.1"\nport = 104\n'
        '[[rules]]\non = "mpps"\nto = ["ris"]\nwhen = { modality = "CT", station = "ROOM*" }\n'
    )
    settings = {"ISTHMUS_PEERS": str(peers)}
    first = Program(tmp_path / "state", **settings)
    started.append(first)
    assert asked(f"{first.url}/worklist", "PUT", [an_item(1), an_item(2)]).status == 204
    assert asked(f"{first.url}/worklist/three", "PUT", an_item(3)).status == 201
    ct = Modality(first.port)
    assert ct.create(a_step(study="1.2.3.1"), instance).Status == 0
    first.end(signal.SIGKILL)
    ct.release()

    second = Program(tmp_path / "state", **settings)
    started.append(second)
    with receiving(ris, port=port):
        ct = Modality(second.port)
        assert ct.set(an_end(), instance).Status == 0
        ct.release()
        assert [ris.next()[:2] for _ in range(2)] == [("create", instance), ("set", instance)]
    listed = asked(f"{second.url}/worklist")
    (told,) = asked(f"{second.url}/mpps?status=COMPLETED&accession=A1").json
    whole = asked(f"{second.url}/mpps/{instance}").json

    assert listed.headers["X-Total-Count"] == "3"
    assert {one["item"]["00100020"]["Value"][0]: one["performed"] for one in listed.json} == {
        "P1": "COMPLETED", "P2": None, "P3": None,
    }  # fmt: skip
    assert (told["instance"], told["calling"]) == (instance, "CT1")
    assert told["scheduled"] == [{"study": "1.2.3.1", "accession": "A1", "step": "S1"}]
    assert whole["attributes"]["00400252"]["Value"] == ["COMPLETED"]
    assert second.end() == 0


def told_of(path: Path) -> list[tuple[str, str, str, set[str]]]:
    """What an audit trail has: event, action, what was done, and the studies and patients it names."""
    told = []
    for line in path.read_text().splitlines():
        event = json.loads(line)
        what, about = event["EventIdentification"], event.get("ParticipantObjectIdentification", [])
        details = {
            one["type"]: one["value"] for each in about for one in each.get("ParticipantObjectDetail", ())
        }
        name = details.get("Transaction") or details.get("Operation", "")
        named = {"110180", "2"}  # Study Instance UID, Patient Number
        ids = {
            one["ParticipantObjectID"]
            for one in about
            if one["ParticipantObjectIDTypeCode"]["csd-code"] in named
        }
        told.append((what["EventID"]["originalText"], what["EventActionCode"], name, ids))
    return told


def wait_until_told(path: Path, events: int) -> None:
    """Return when so many events are in a trail: each comes when what it tells has been answered."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.02)):
        if path.read_bytes().count(b"\n") >= events:
            return
        pause.wait(0.02)
    raise AssertionError(path.read_text())


def test_who_saw_and_changed_what_is_scheduled_and_performed_is_told_to_the_audit_trail(tmp_path, started):
    trail, instance = tmp_path / "trail.log", a_uid()
    program = Program(tmp_path / "state", ISTHMUS_AUDIT=f"file://{trail}")
    started.append(program)
    assert asked(f"{program.url}/worklist", "PUT", [an_item(1)]).status == 204
    assert asked(f"{program.url}/worklist/three", "PUT", an_item(3)).status == 201
    assert asked(f"{program.url}/worklist").status == 200
    assert asked(f"{program.url}/worklist/three").status == 200
    assert asked(f"{program.url}/worklist/three", "DELETE").status == 204
    wait_until_told(trail, 6)  # the start, and what was done by HTTP
    ct = Modality(program.port)
    assert ct.create(a_step(study="1.2.3.1", PatientID="P1"), instance).Status == 0
    assert ct.set(an_end(), instance).Status == 0
    assert ct.get(instance)[0].Status == 0
    ct.release()
    wait_until_told(trail, 9)
    assert asked(f"{program.url}/mpps").status == 200
    assert asked(f"{program.url}/mpps/{instance}").status == 200
    assert program.end() == 0

    third, first = {"1.2.3.3", "P3"}, {"1.2.3.1", "P1"}
    order, step = "Order Record", "Procedure Record"
    assert told_of(trail)[1:-1] == [
        (order, "U", "ReplaceWorklist", set()),
        (order, "U", "PutWorklistItem", third),
        ("Query", "E", "ListWorklist", set()),
        (order, "R", "RetrieveWorklistItem", third),
        (order, "D", "DeleteWorklistItem", third),
        (step, "C", "N-CREATE", first),
        (step, "U", "N-SET", first),
        (step, "R", "N-GET", first),
        ("Query", "E", "ListPerformedSteps", set()),
        (step, "R", "RetrievePerformedStep", first),
    ]
    assert "Doe" not in trail.read_text()


def test_what_is_wrong_with_a_request_is_said(tmp_path, started):
    program = Program(tmp_path / "state")
    started.append(program)
    url = program.url

    def status(path: str, method: str = "GET", body: object = None) -> int:
        return asked(url + path, method, body).status

    assert status("/worklist", "PUT", {"no": "list"}) == 400
    refused = asked(f"{url}/worklist", "PUT", [an_item(1), an_item(2, step={"00400009": None})])
    assert refused.status == 400
    assert "Item 2" in refused.json["detail"] and "ScheduledProcedureStepID" in refused.json["detail"]
    assert status("/worklist/a%20b", "PUT", an_item(1)) == 400
    assert status("/worklist/x", "PUT", an_item(1)) == 201
    assert status("/worklist/x", "PUT", an_item(2)) == 204
    assert status("/worklist/x") == 200
    assert status("/worklist/x", "DELETE") == 204
    assert status("/worklist/x", "DELETE") == 404
    assert status("/worklist?limit=0") == 400
    assert status("/mpps?status=DONE") == 400
    assert status("/mpps/1.2.3") == 404
    assert status("/mpps/1.2.3/forward", "POST") == 404
    assert asked(f"{url}/worklist", "PUT", b"[]", {"Content-Type": "text/plain"}).status == 415
    assert asked(f"{url}/worklist", "PUT", b"[]", {"Content-Type": "application/dicom+json"}).status == 204
    assert asked(f"{url}/worklist", "PUT", b" " * (17 << 20)).status == 413


def test_a_bridge_without_pushed_items_says_so(tmp_path, started):
    program = Program(tmp_path / "state", ISTHMUS_WORKLIST="none")
    started.append(program)

    answer = asked(f"{program.url}/worklist", "PUT", [])

    assert answer.status == 404
    assert "ISTHMUS_WORKLIST" in answer.json["detail"]


def test_orthanc_asks_for_the_worklist(tmp_path, started):
    orthanc, http, dimse = need("Orthanc"), unused_port(), unused_port()
    program = Program(tmp_path / "state")
    started.append(program)
    items = [an_item(1, more={"00100010": "Müller^Jürgen"}), an_item(2, step={"00080060": "MR"})]
    assert asked(f"{program.url}/worklist", "PUT", items).status == 204
    settings = {
        "StorageDirectory": str(tmp_path / "storage"), "IndexDirectory": str(tmp_path / "storage"),
        "DicomAet": "ORTHANC", "DicomPort": dimse, "HttpPort": http, "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False, "Plugins": [], "DefaultEncoding": "Utf8",
        "DicomModalities": {"isthmus": ["ISTHMUS", "127.0.0.1", program.port]},
    }  # fmt: skip
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))

    with running([orthanc, "orthanc.json"], dimse, http, folder=tmp_path):
        url = f"http://127.0.0.1:{http}/modalities/isthmus/find-worklist"
        step = {"Modality": "CT", "ScheduledProcedureStepStartDate": "20240101-20241231"}
        query = {"PatientID": "", "PatientName": "", "ScheduledProcedureStepSequence": [step]}
        found = asked(url, "POST", query).json

    assert [(one["PatientID"], one["PatientName"]) for one in found] == [("P1", "Müller^Jürgen")]
    assert found[0]["ScheduledProcedureStepSequence"][0]["Modality"] == "CT"
