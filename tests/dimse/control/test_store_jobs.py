"""Store jobs: what the archive has goes to a peer, is counted, can be ended, and is refused when too much."""

import json
import shutil
import threading
from io import BytesIO

import pytest
from pydicom import dcmread

from bridge.jobs.job import Job, Kind
from bridge.peers import Peer
from service.dicom.resource import Resource
from tests.dimse.committing import unused_port
from tests.dimse.control.controlled import counts, of
from tests.dimse.dimse_peers import CT_IMAGE, EXPLICIT_LE, IMPLICIT_LE, PATIENCE_S, a_uid
from tests.dimse.programs import need, running
from tests.dimse.retrieve.retrieving import an_object

BOTH = (EXPLICIT_LE, IMPLICIT_LE)
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"


def a_study(count: int = 3, **given):
    study, series = a_uid(), a_uid()
    return [an_object(study=study, series=series, **given) for _ in range(count)]


def test_a_study_goes_to_the_peer(start, served, destination):
    study = a_study(5)
    served.keep(one.part10 for one in study)
    peer = destination([(CT_IMAGE, BOTH)])
    bridge = start(peer.peer())

    job = bridge.done("store", "dest", of(study[0], "study"))

    assert counts(job) == ("done", 0, 5, 0, 0)
    assert {one.data for one in peer.got} == {one.data for one in study}
    assert {one.originator for one in peer.got} == {(None, None)}
    assert job["attempts"] == 1
    assert job["error"] == ""


@pytest.mark.parametrize("form", ["object", "path"])
@pytest.mark.parametrize("level", ["series", "instance"])
def test_a_series_or_an_instance_goes_alone(start, served, destination, level, form):
    study = a_uid()
    first, second = (an_object(study=study) for _ in range(2))
    served.keep((first.part10, second.part10))
    peer = destination([(CT_IMAGE, BOTH)])
    bridge = start(peer.peer())
    path = first.path if level == "instance" else first.path.rpartition("/instances")[0]

    job = bridge.done("store", "dest", path if form == "path" else of(first, level))

    assert counts(job) == ("done", 0, 1, 0, 0)
    assert [one.instance for one in peer.got] == [first.instance]
    assert job["resources"] == [of(first, level)]


def test_what_is_named_twice_goes_once(start, served, destination):
    study = a_study(3)
    served.keep(one.part10 for one in study)
    peer = destination([(CT_IMAGE, BOTH)])
    bridge = start(peer.peer())

    resources = [of(study[0]), of(study[0], "study"), of(study[1], "series"), of(study[2]), of(study[2])]
    job = bridge.done("store", "dest", *resources)

    assert counts(job) == ("done", 0, 3, 0, 0)
    assert len(peer.got) == 3


def test_instances_are_made_into_what_the_peer_takes(start, served, destination):
    study = a_study(2)
    served.keep(one.part10 for one in study)
    peer = destination([(CT_IMAGE, (IMPLICIT_LE,))])
    bridge = start(peer.peer())

    assert counts(bridge.done("store", "dest", of(study[0], "study"))) == ("done", 0, 2, 0, 0)
    assert {one.syntax for one in peer.got} == {IMPLICIT_LE}


def test_compressed_instances_are_decompressed_unless_the_peer_must_not_get_them_so(
    start, served, destination, real_data
):
    compressed = (real_data / "ts/mr-small-family/MR_small_jp2klossless.dcm").read_bytes()
    served.keep([compressed])
    data = dcmread(BytesIO(compressed), stop_before_pixels=True)
    resource = {"study": str(data.StudyInstanceUID)}
    peer = destination([(MR_IMAGE, (EXPLICIT_LE,))])
    bridge = start(peer.peer(), peer.peer(name="asis", ae_title="ASIS", transcode=False))

    assert counts(bridge.done("store", "dest", resource)) == ("done", 0, 1, 0, 0)
    refused = bridge.done("store", "asis", resource)

    assert counts(refused) == ("failed", 0, 0, 0, 1)
    assert "transfer syntax" in refused["failures"][0]["reason"]
    assert len(peer.got) == 1


def test_each_instance_has_its_own_outcome(start, served, destination):
    study = a_study(4)
    served.keep(one.part10 for one in study)
    bad, odd = study[1].instance, study[2].instance
    peer = destination([(CT_IMAGE, BOTH)], lambda self, uid: {bad: 0xA700, odd: 0xB000}.get(uid, 0))
    bridge = start(peer.peer())

    job = bridge.done("store", "dest", of(study[0], "study"))

    assert counts(job) == ("failed", 0, 2, 1, 1)
    assert job["failures"] == [{**of(study[1]), "reason": "The peer answered A700H."}]
    assert job["error"].startswith("1 failed, 3 were stored")


def test_what_the_archive_has_not_is_told(start, served, destination):
    held = an_object()
    served.keep([held.part10])
    bridge = start(destination([(CT_IMAGE, BOTH)]).peer())

    job = bridge.done("store", "dest", {"study": "1.2.3.4"}, of(held), {**of(held), "instance": "9.9"})

    assert counts(job) == ("failed", 0, 1, 0, 2)
    assert [one["reason"] for one in job["failures"]] == [
        "The archive has no such study.",
        "The archive has no such instance.",
    ]
    assert job["failures"][0]["study"] == "1.2.3.4"


def test_a_peer_that_is_not_there_fails_the_job_at_once(start, served):
    study = a_study(3)
    served.keep(one.part10 for one in study)
    bridge = start(Peer("gone", "GONE", "127.0.0.1", unused_port()))

    job = bridge.done("store", "gone", of(study[0], "study"))

    assert counts(job) == ("failed", 0, 0, 0, 3)
    assert job["error"] == "The peer cannot be reached."


def test_an_archive_that_is_not_there_fails_the_job(start, served, destination):
    url = f"http://127.0.0.1:{unused_port()}/dicom-web"
    bridge = start(destination([(CT_IMAGE, BOTH)]).peer(), url=url)

    job = bridge.done("store", "dest", {"study": "1.2.3"})

    assert job["state"] == "failed"
    assert "archive" in job["error"].lower() or "server" in job["error"].lower()


def test_a_job_ends_between_two_instances(start, served, destination):
    study = a_study(30)
    served.keep(one.part10 for one in study)
    begun, go_on = threading.Event(), threading.Event()

    def slow(peer, instance: str) -> int:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        return 0

    bridge = start(destination([(CT_IMAGE, BOTH)], slow).peer())
    path = bridge.submit("store", "dest", of(study[0], "study"))
    assert begun.wait(PATIENCE_S)

    answer = bridge.ask(path, "DELETE")
    go_on.set()
    job = bridge.wait(path)

    assert answer.status == 202
    assert answer.json["cancelling"] is True
    assert job["state"] == "cancelled"
    assert job["cancelling"] is False
    assert job["completed"] >= 1
    assert job["remaining"] == 30 - job["completed"] > 0


def test_jobs_wait_for_their_turn_and_too_many_are_refused(start, served, destination):
    study = a_study(1)
    served.keep(one.part10 for one in study)
    begun, go_on = threading.Event(), threading.Event()

    def slow(peer, instance: str) -> int:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        return 0

    bridge = start(destination([(CT_IMAGE, BOTH)], slow).peer(), running_per_peer=1, queued=2)
    first = bridge.submit("store", "dest", of(study[0]))
    assert begun.wait(PATIENCE_S)
    waiting = [bridge.submit("store", "dest", of(study[0])) for _ in range(2)]

    refused = bridge.ask("/peers/dest/store", "POST", {"resources": [of(study[0])]})
    queued = bridge.ask("/jobs?state=queued").json
    ended = bridge.ask(waiting[1], "DELETE")
    go_on.set()

    assert refused.status == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert {f"/jobs/{one['id']}" for one in queued} == set(waiting)
    assert (ended.status, ended.json["state"]) == (202, "cancelled")
    assert bridge.wait(first)["state"] == "done"
    assert bridge.wait(waiting[0])["state"] == "done"


def test_a_busy_peer_does_not_hold_up_another(start, served, destination):
    study = a_study(1)
    served.keep(one.part10 for one in study)
    begun, go_on = threading.Event(), threading.Event()

    def slow(peer, instance: str) -> int:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        return 0

    stuck = destination([(CT_IMAGE, BOTH)], slow)
    bridge = start(stuck.peer(), destination([(CT_IMAGE, BOTH)], title="OTHER").peer(), running_per_peer=1)
    paths = [bridge.submit("store", "dest", of(study[0])) for _ in range(5)]
    assert begun.wait(PATIENCE_S)

    assert bridge.done("store", "other", of(study[0]))["state"] == "done"

    go_on.set()
    assert {bridge.wait(path)["state"] for path in paths} == {"done"}


def test_a_job_that_is_over_is_forgotten_when_asked_and_in_the_course_of_time(start, served, destination):
    study = a_study(1)
    served.keep(one.part10 for one in study)
    bridge = start(destination([(CT_IMAGE, BOTH)]).peer(), kept=2)
    paths = [bridge.submit("store", "dest", of(study[0])) for _ in range(2)]
    for path in paths:
        bridge.wait(path)

    assert bridge.ask(paths[0], "DELETE").status == 204
    assert bridge.ask(paths[0]).status == 404
    more = [bridge.submit("store", "dest", of(study[0])) for _ in range(2)]
    for path in more:
        bridge.wait(path)
    last = bridge.submit("store", "dest", of(study[0]))
    bridge.wait(last)

    pause = threading.Event()
    while bridge.ask(paths[1]).status != 404:  # it is forgotten a little after the others are over
        pause.wait(0.02)
    assert len(list((bridge.settings.state / "jobs").glob("*.json"))) <= 3


def kept_at(folder, *jobs: Job) -> None:
    """Records of jobs in the state folder of a bridge that is not started yet."""
    (folder / "jobs").mkdir(parents=True)
    for job in jobs:
        (folder / "jobs" / f"{job.name}.json").write_text(json.dumps(job.record()))


def test_what_was_not_over_when_the_bridge_ended_goes_on(start, served, destination, tmp_path):
    kept = an_object()
    served.keep([kept.part10])
    waiting, begun, ended, orphan = (
        Job(Kind.STORE, name, (Resource(kept.study),)) for name in ("dest", "dest", "dest", "nobody")
    )
    begun.begin()
    ended.cancelled.set()
    kept_at(tmp_path / "state0", waiting, begun, ended, orphan)
    (tmp_path / "state0/jobs/0a.json").write_text("{")

    bridge = start(destination([(CT_IMAGE, BOTH)]).peer())

    assert bridge.wait(f"/jobs/{waiting.name}")["attempts"] == 1
    assert bridge.wait(f"/jobs/{begun.name}")["attempts"] == 2
    assert bridge.wait(f"/jobs/{ended.name}")["state"] == "cancelled"
    assert "ISTHMUS_PEERS" in bridge.wait(f"/jobs/{orphan.name}")["error"]
    assert (tmp_path / "state0/jobs/0a.json.damaged").exists()


def test_a_job_that_cannot_be_kept_is_not_taken(start, destination):
    peer = destination([(CT_IMAGE, BOTH)])
    bridge = start(peer.peer())
    shutil.rmtree(bridge.settings.state / "jobs")

    answer = bridge.ask("/peers/dest/store", "POST", {"resources": ["/studies/1.2"]})

    assert answer.status == 503
    assert "ISTHMUS_BRIDGE_STATE" in answer.json["detail"]
    assert bridge.ask("/jobs").json == []


def test_storescp_receives_a_job(start, served, tmp_path):
    program, port = need("storescp"), unused_port()
    study = a_study(10)
    served.keep(one.part10 for one in study)
    command = [program, "-od", str(tmp_path), "-aet", "STORESCP", str(port)]
    with running(command, port, folder=tmp_path):
        bridge = start(Peer("scp", "STORESCP", "127.0.0.1", port))
        assert bridge.ask("/peers/scp/echo", "POST").status == 200

        job = bridge.done("store", "scp", of(study[0], "study"))

    assert counts(job) == ("done", 0, 10, 0, 0)
    assert len([*tmp_path.glob("CT.*")]) == 10
