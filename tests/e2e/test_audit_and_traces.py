"""The real programs, watched: a trace from association to disk, and an event for each thing that is done."""

import json
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.presentation import build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from tests.e2e.conftest import PATIENCE_S, Program
from tests.making import a_data_set, add_pixels
from tests.otlp import Collector, attributes, collecting
from tests.s3_program import a_bucket

pytestmark = pytest.mark.filterwarnings("ignore")  # pynetdicom's

EXPLICIT_LE = "1.2.840.10008.1.2.1"
STUDY, SERIES = "1.2.826.77.1", "1.2.826.77.2"
NAME, ID = "Secretname^Jane", "SECRET-4711"
COUNT = 5


@pytest.fixture(scope="module")
def collector():
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def watched(tmp_path_factory, collector: Collector):
    """A product that was stored into, asked and deleted from, and has ended: its audit trail, and its log."""
    return a_watched(tmp_path_factory.mktemp("watched"), collector)


@pytest.fixture(scope="module")
def passing():
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def by_http(tmp_path_factory, passing: Collector):
    """The same where the bridge passes on to the service what it receives."""
    return a_watched(tmp_path_factory.mktemp("by_http"), passing, ISTHMUS_BRIDGE_STORES_BY="http")


def a_watched(folder: Path, collector: Collector, **settings: str) -> "Watched":
    trail = folder / "audit" / "trail.log"
    program = Program(
        folder,
        "up",
        ISTHMUS_AUDIT=f"file://{trail}",
        ISTHMUS_AUDIT_JOIN_S="300",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="200",
        **settings,
    )
    try:
        program.wait_ready()
        use(program, looked_at=lambda: wait_for_words(trail, "DICOM Instances Accessed"))
        wait_for_workers(program)
        program.signal(signal.SIGTERM)
        assert program.end() == 0, program.output
    finally:
        program.close()
    return Watched(trail, program.output)


def wait_for_workers(program: Program, count: int = 2) -> None:
    """Wait until so many workers are there, all of which would end in an orderly way."""
    pause, ends = threading.Event(), time.monotonic() + PATIENCE_S
    while True:
        workers = [pid for pid, line in program.commands().items() if "--socket" in line]
        if len(workers) == count and all(catches(pid, signal.SIGTERM) for pid in workers):
            return
        assert time.monotonic() < ends, program.output
        pause.wait(0.05)


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (caught,) = (line.split()[1] for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


class Watched:
    def __init__(self, trail: Path, output: str) -> None:
        self.text = trail.read_text()
        self.output = output
        self.events: list[dict[str, Any]] = [json.loads(line) for line in self.text.splitlines()]

    def of(self, what: str, program: str) -> list[dict[str, Any]]:
        return [
            event
            for event in self.events
            if event["EventIdentification"]["EventID"]["originalText"] == what
            and program in [one["UserID"] for one in event["ActiveParticipant"]]
        ]


def an_image(number: int) -> Dataset:
    made = a_data_set(
        study=STUDY, series=SERIES, instance=f"1.2.826.77.3.{number}", PatientName=NAME, PatientID=ID
    )
    return add_pixels(made, [bytes(32)])


def wait_for_words(trail: Path, words: str) -> None:
    """Wait until the trail says so: whose a study is cannot be found any more when it is gone."""
    pause, ends = threading.Event(), time.monotonic() + PATIENCE_S
    while words not in trail.read_text():
        assert time.monotonic() < ends, words
        pause.wait(0.02)


def use(program: Program, looked_at: Callable[[], None] = lambda: None) -> None:
    ae = AE("MODALITY1")
    ae.add_requested_context(CTImageStorage, EXPLICIT_LE)
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
    role = build_role(CTImageStorage, scu_role=True, scp_role=True)
    handlers: list[Any] = [(evt.EVT_C_STORE, lambda event: 0x0000)]
    association = ae.associate("127.0.0.1", program.dimse_port, ext_neg=[role], evt_handlers=handlers)
    assert association.is_established
    for number in range(COUNT):
        image = an_image(number)
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = UID(EXPLICIT_LE)
        assert association.send_c_store(image).Status == 0x0000
    key = Dataset()
    key.QueryRetrieveLevel, key.PatientID, key.PatientName = "STUDY", ID, NAME.split("^")[0] + "*"
    key.StudyInstanceUID = ""
    found = [
        status.Status
        for status, _ in association.send_c_find(key, StudyRootQueryRetrieveInformationModelFind)
    ]
    assert found == [0xFF00, 0x0000]
    key = Dataset()
    key.QueryRetrieveLevel, key.StudyInstanceUID = "STUDY", STUDY
    *_, (last, _) = association.send_c_get(key, StudyRootQueryRetrieveInformationModelGet)
    assert last.Status == 0x0000
    association.release()
    root = f"{program.root}/studies/{STUDY}"
    urllib.request.urlopen(f"{root}/metadata", timeout=PATIENCE_S).read()
    looked_at()
    urllib.request.urlopen(urllib.request.Request(root, method="DELETE"), timeout=PATIENCE_S).read()


def objects(event: dict[str, Any]) -> dict[str, Any]:
    return {one["ParticipantObjectID"]: one for one in event["ParticipantObjectIdentification"]}


def instances(about: dict[str, Any]) -> int:
    (described,) = about["ParticipantObjectDescription"]
    return sum(one["NumberOfInstances"] for one in described["SOPClass"])


def test_an_association_that_stores_is_two_events_of_the_bridge_however_many_it_stores(watched: Watched):
    stored = [
        event
        for event in watched.of("DICOM Instances Transferred", "isthmus-bridge")
        if event["EventIdentification"]["EventActionCode"] == "C"
    ]

    event, others = stored
    assert [instances(objects(one)[STUDY]) for one in (event, others)] == [1, COUNT - 1]
    assert ID in objects(event)
    peer, ours = event["ActiveParticipant"]
    assert (peer["UserID"], peer["AlternativeUserID"]) == ("MODALITY1", "AETITLES=MODALITY1")
    assert peer["NetworkAccessPointID"] == "127.0.0.1"
    assert peer["RoleIDCode"][0]["csd-code"] == "110153"
    assert ours["AlternativeUserID"] == "AETITLES=ISTHMUS"


def test_the_service_tells_its_side_of_it_together_too(by_http: Watched):
    stored = [
        event
        for event in by_http.of("DICOM Instances Transferred", "isthmus")
        if event["EventIdentification"]["EventActionCode"] == "C"
    ]

    assert sum(instances(objects(event)[STUDY]) for event in stored) == COUNT
    assert len(stored) <= 4  # the first and the others of two workers


def test_queries_retrievals_looks_and_deletions_are_told(watched: Watched):
    (query,) = watched.of("Query", "isthmus-bridge")
    (about,) = [one for one in query["ParticipantObjectIdentification"] if "ParticipantObjectQuery" in one]
    assert "PatientName=..." in about["ParticipantObjectQuery"]
    assert about["ParticipantObjectID"] == "1.2.840.10008.5.1.4.1.2.2.1"
    assert ID in objects(query)
    retrieved = [
        event
        for event in watched.of("DICOM Instances Transferred", "isthmus-bridge")
        if event["EventIdentification"]["EventActionCode"] == "R"
    ]
    assert [instances(objects(event)[STUDY]) for event in retrieved] == [COUNT]
    seen = watched.of("DICOM Instances Accessed", "isthmus")
    assert [{STUDY, ID} <= {*objects(event)} for event in seen] == [True]
    (deleted,) = watched.of("DICOM Study Deleted", "isthmus")
    assert {STUDY, ID} <= {*objects(deleted)}


def test_both_programs_tell_that_they_start_and_stop(watched: Watched):
    told = [
        (
            event["ActiveParticipant"][0]["UserID"],
            event["EventIdentification"]["EventTypeCode"][0]["originalText"],
        )
        for event in watched.events
        if "EventTypeCode" in event["EventIdentification"]
    ]
    for program, processes in (("isthmus", 2), ("isthmus-bridge", 1)):
        for kind in ("Application Start", "Application Stop"):
            assert told.count((program, kind)) == processes, (program, kind)


def test_no_name_is_told_anywhere_and_no_id_in_log_or_trace(watched: Watched, collector: Collector):
    assert "Secretname" not in watched.text
    assert "Secretname" not in watched.output
    assert ID not in watched.output
    assert b"Secretname" not in collector.raw
    assert ID.encode() not in collector.raw


BY_PORTER = ("isthmus-bridge enter",)
BY_HTTP = ("isthmus POST /dicom-web/studies", "isthmus-bridge POST")


def stores_of(collector: Collector, *, between: Sequence[str]) -> set[bytes]:
    """The traces of all stores, each of which is a step of its association, from there to what keeps it."""
    spans = {span.span_id: (program, span) for program, span in collector.spans}
    committed = [span for _, span in collector.spans if span.name == "store commit"]
    assert len(committed) == COUNT
    for span in committed:
        path = [span.name]
        while span.parent_span_id:
            program, span = spans[span.parent_span_id]
            path.append(f"{program} {span.name}")
        assert path == [
            "store commit",
            *between,
            "isthmus-bridge C-STORE",
            "isthmus-bridge association",
        ]
    return {span.trace_id for span in committed}


def test_an_association_is_one_trace_to_the_disk(watched: Watched, collector: Collector):
    (trace,) = stores_of(collector, between=BY_PORTER)
    added = [(program, span.trace_id) for program, span in collector.spans if span.name == "index add"]
    assert {*added} == {("isthmus-bridge", trace)}


def test_an_association_is_one_trace_to_the_disk_of_the_service(by_http: Watched, passing: Collector):
    (trace,) = stores_of(passing, between=BY_HTTP)
    added = [(program, span.trace_id) for program, span in passing.spans if span.name == "index add"]
    assert {*added} == {("isthmus", trace)}


def test_an_association_is_one_trace_to_the_bucket(tmp_path):
    with collecting() as collector, a_bucket(tmp_path / "s3") as bucket:
        program = Program(
            tmp_path,
            "up",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_BSP_SCHEDULE_DELAY="200",
            **bucket.settings,
        )
        try:
            program.wait_ready()
            use(program)
            program.signal(signal.SIGTERM)
            assert program.end() == 0, program.output
        finally:
            program.close()

    assert len(stores_of(collector, between=BY_HTTP)) == 1
    read = [span for program, span in collector.spans if span.name in ("store read", "store opening")]
    assert read


def test_spans_are_described_by_the_conventions(by_http: Watched, passing: Collector):
    by_name = {(program, span.name): attributes(span) for program, span in passing.spans}

    stow = by_name["isthmus", "POST /dicom-web/studies"]
    assert stow["http.request.method"] == "POST"
    assert stow["http.route"] == "/dicom-web/studies"
    assert stow["http.response.status_code"] == 200
    assert stow["isthmus.transaction"] == "StoreInstances"
    assert str(stow["isthmus.request_id"]).count(".") == 1
    message = by_name["isthmus-bridge", "C-STORE"]
    assert (message["rpc.system"], message["rpc.response.status_code"]) == ("dimse", "0000")
    assert by_name["isthmus-bridge", "association"]["isthmus.calling_ae_title"] == "MODALITY1"
