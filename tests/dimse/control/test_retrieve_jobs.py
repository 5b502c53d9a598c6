"""Retrieve jobs: what a peer has comes into the archive, all of it or a word on each that did not."""

import contextlib
import json
import subprocess
import threading
from io import BytesIO

import pytest
from pydicom import dcmread

from bridge.peers import Peer
from service.dicom.part10 import read_file_head
from tests.dimse.asking import RawScp, scripted
from tests.dimse.committing import unused_port
from tests.dimse.control.controlled import FIND, GET, MOVE, Pacs, asked, counts, of
from tests.dimse.dimse_peers import PATIENCE_S, a_uid
from tests.dimse.programs import need, running
from tests.dimse.retrieve.retrieving import JPEG_2000, Kept, an_object

AS_STORED = {"Accept": "application/dicom; transfer-syntax=*"}


def a_study(count: int = 4, **given):
    study, series = a_uid(), a_uid()
    return [an_object(study=study, series=series, **given) for _ in range(count)]


def held(bridge, study: str) -> set[str]:
    """The instances of a study that the archive has."""
    answer = asked(f"{bridge.settings.archive.url}/studies/{study}/instances?limit=1000")
    return {one["00080018"]["Value"][0] for one in answer.json} if answer.status == 200 else set()


def stored(bridge, kept) -> bytes:
    return asked(bridge.settings.archive.url + kept.path, headers=AS_STORED).body


def kept_of(content: bytes) -> Kept:
    """A file as an object that a PACS holds."""
    told, head = dcmread(BytesIO(content), stop_before_pixels=True), read_file_head(content)
    assert head is not None
    uids = (str(told.StudyInstanceUID), str(told.SeriesInstanceUID), str(told.SOPInstanceUID))
    return Kept(*uids, str(told.SOPClassUID), head.syntax, content[head.data_offset :])


@pytest.mark.parametrize("level", ["study", "series", "instance"])
@pytest.mark.parametrize("how", ["get", None])
def test_what_a_peer_has_comes_by_c_get(start, level, how):
    study = [*a_study(3), an_object()]
    wanted = {"study": study[:3], "series": study[:3], "instance": study[:1]}[level]
    with Pacs(study) as pacs:
        bridge = start(pacs.peer(retrieve=how))
        job = bridge.done("retrieve", "pacs", of(study[0], level))

    assert counts(job) == ("done", 0, len(wanted), 0, 0)
    assert held(bridge, study[0].study) == {one.instance for one in wanted}
    assert pacs.operations[-1] == f"get {'IMAGE' if level == 'instance' else level.upper()}"
    assert wanted[0].data in stored(bridge, wanted[0])


@pytest.mark.parametrize("offers", [(FIND, MOVE), (FIND, GET, MOVE)])
def test_what_a_peer_has_comes_by_c_move_where_it_must(start, offers):
    study = a_study()
    with Pacs(study, offers) as pacs:
        bridge = start(pacs.peer(retrieve="move" if GET in offers else None))
        pacs.destinations["ISTHMUS"] = bridge.bridge.port
        job = bridge.done("retrieve", "pacs", of(study[0], "study"))

    assert counts(job) == ("done", 0, 4, 0, 0)
    assert held(bridge, study[0].study) == {one.instance for one in study}
    assert pacs.operations[-1] == "move STUDY to ISTHMUS"


def test_what_is_compressed_at_the_peer_comes_as_it_is(start, real_data):
    content = (real_data / "ts/mr-small-family/MR_small_jp2klossless.dcm").read_bytes()
    with Pacs([kept_of(content)]) as pacs:
        bridge = start(pacs.peer())
        job = bridge.done("retrieve", "pacs", of(pacs.holds[0], "study"))

    assert counts(job) == ("done", 0, 1, 0, 0)
    answer = asked(bridge.settings.archive.url + pacs.holds[0].path, headers=AS_STORED)
    assert f"transfer-syntax={JPEG_2000}" in answer.headers["Content-Type"].replace('"', "")
    assert pacs.holds[0].data[-2000:] in answer.body


def test_a_peer_that_does_not_know_where_to_move_to_is_told(start):
    study = a_study(2)
    with Pacs(study, (FIND, MOVE)) as pacs:
        bridge = start(pacs.peer())
        job = bridge.done("retrieve", "pacs", of(study[0], "study"))

    assert counts(job) == ("failed", 0, 0, 0, 2)
    assert "A801H (it does not know the bridge's AE title" in job["failures"][0]["reason"]


@pytest.mark.parametrize("offers", [(FIND,), (FIND, GET)])
def test_a_peer_that_cannot_do_it_is_told(start, offers):
    study = a_study(2)
    with Pacs(study, offers) as pacs:
        bridge = start(pacs.peer(retrieve="get" if GET not in offers else "move"))
        job = bridge.done("retrieve", "pacs", of(study[0], "study"))

    assert job["state"] == "failed"
    assert "C-GET" in job["error"] or "C-MOVE" in job["error"]


def test_what_the_peer_has_not_is_told(start):
    study = a_study(1)
    with Pacs(study) as pacs:
        bridge = start(pacs.peer())
        job = bridge.done("retrieve", "pacs", {"study": "1.2.3"}, of(study[0], "study"))

    assert counts(job) == ("failed", 0, 1, 0, 1)
    assert job["failures"] == [{"study": "1.2.3", "reason": "The peer has no such study."}]


@pytest.mark.parametrize("offers", [(FIND, GET), (FIND, MOVE)])
def test_what_the_peer_finds_and_does_not_send_has_failed(start, offers):
    study = a_study(4)
    with Pacs(study, offers, hidden=frozenset((study[2].instance,))) as pacs:
        bridge = start(pacs.peer())
        pacs.destinations["ISTHMUS"] = bridge.bridge.port
        job = bridge.done("retrieve", "pacs", of(study[0], "study"))

    assert counts(job) == ("failed", 0, 3, 0, 1)
    assert job["failures"][0]["instance"] == study[2].instance
    assert "did not come" in job["failures"][0]["reason"]


@pytest.mark.parametrize("offers", [(GET,), (MOVE,)])
def test_a_peer_without_queries_is_taken_at_its_word(start, offers):
    study = a_study(3)
    with Pacs(study, offers) as pacs:
        bridge = start(pacs.peer())
        pacs.destinations["ISTHMUS"] = bridge.bridge.port
        job = bridge.done("retrieve", "pacs", of(study[0], "study"))
        nothing = bridge.done("retrieve", "pacs", {"study": "1.2.3"})

    assert counts(job) == ("done", 0, 3, 0, 0)
    assert held(bridge, study[0].study) == {one.instance for one in study}
    assert counts(nothing)[0] == "failed"
    assert nothing["failures"] == [{"study": "1.2.3", "reason": "The peer had nothing to send."}]


@pytest.mark.parametrize("offers", [(FIND, GET), (FIND, MOVE)])
def test_what_the_archive_refuses_has_failed(start, served, offers):
    study = a_study(3)
    served.keep(
        [an_object(700, study=study[1].study, series=study[1].series, instance=study[1].instance).part10]
    )
    with Pacs(study, offers) as pacs:
        bridge = start(pacs.peer())
        pacs.destinations["ISTHMUS"] = bridge.bridge.port
        job = bridge.done("retrieve", "pacs", of(study[0], "study"))

    assert counts(job) == ("failed", 0, 2, 0, 1)
    (failure,) = job["failures"]
    assert {**failure, "reason": ""} == {**of(study[1]), "reason": ""}
    assert ("The archive did not take it: 0111H." if GET in offers else "B000H") in failure["reason"]


def test_an_association_that_is_lost_is_made_again(start):
    study = a_study(6)
    losses: list[int] = []

    def lose(pacs: Pacs, number: int) -> None:
        if number == 3 and len(losses) < 2:
            losses.append(number)
            pacs.association.abort()

    with Pacs(study, sending=lose) as pacs:
        bridge = start(pacs.peer())
        job = bridge.done("retrieve", "pacs", of(study[0], "study"))

    assert losses == [3, 3]
    assert counts(job) == ("done", 0, 6, 0, 0)


def test_a_peer_that_always_ends_the_association_fails_what_it_did_not_send(start):
    study, other = a_study(4), a_study(1)

    def lose(pacs: Pacs, number: int) -> None:
        if number == 2:
            pacs.association.abort()

    with Pacs([*study, *other], sending=lose) as pacs:
        bridge = start(pacs.peer(), tries=2)
        job = bridge.done("retrieve", "pacs", of(study[0], "study"), of(other[0], "study"))

    assert counts(job) == ("failed", 0, 3, 0, 2)
    assert {one["reason"] for one in job["failures"]} == {"The peer ends the association, 2 times in a row."}


def test_a_peer_that_is_not_there_fails_the_job(start):
    bridge = start(Peer("gone", "GONE", "127.0.0.1", unused_port()), tries=2)

    job = bridge.done("retrieve", "gone", {"study": "1.2.3"})

    assert (job["state"], job["error"]) == ("failed", "The peer cannot be reached.")


def test_a_silent_peer_fails_the_job(start):
    def silent(peer: RawScp) -> None:
        with contextlib.suppress(EOFError, OSError):  # it may have been given up before
            peer.accept()
            peer.next_pdu()

    with scripted(silent) as port:
        bridge = start(Peer("mute", "MUTE", "127.0.0.1", port, timeout_s=0.3), tries=1)
        job = bridge.done("retrieve", "mute", {"study": "1.2.3"})

    assert job["state"] == "failed"
    assert "does not answer" in json.dumps(job)


@pytest.mark.parametrize("offers", [(FIND, GET), (FIND, MOVE)])
def test_a_job_that_is_ended_is_cancelled_at_the_peer(start, offers):
    study = a_study(40)
    begun, go_on = threading.Event(), threading.Event()

    def hold(pacs: Pacs, number: int) -> None:
        if number == 2:
            begun.set()
            assert go_on.wait(PATIENCE_S)
        elif number == 3:
            pacs.wait_for_cancel()

    with Pacs(study, offers, sending=hold) as pacs:
        bridge = start(pacs.peer())
        pacs.destinations["ISTHMUS"] = bridge.bridge.port
        path = bridge.submit("retrieve", "pacs", of(study[0], "study"))
        assert begun.wait(PATIENCE_S)
        running_job = bridge.wait(path, lambda job: job["remaining"] is not None)
        assert bridge.ask(path, "DELETE").status == 202
        go_on.set()
        job = bridge.wait(path)
        assert pacs.cancelled.wait(PATIENCE_S)

    assert running_job["remaining"] <= 40
    assert job["state"] == "cancelled"
    assert 0 < len(held(bridge, study[0].study)) < 40


def test_a_job_that_is_ended_between_two_resources_is_not_done(start):
    studies = [an_object(), an_object()]
    begun, go_on = threading.Event(), threading.Event()

    def hold(pacs: Pacs, number: int) -> None:
        begun.set()
        assert go_on.wait(PATIENCE_S)

    with Pacs(studies, (FIND, GET), sending=hold) as pacs:
        bridge = start(pacs.peer())
        path = bridge.submit("retrieve", "pacs", *(of(one, "study") for one in studies))
        assert begun.wait(PATIENCE_S)
        bridge.ask(path, "DELETE")
        go_on.set()
        job = bridge.wait(path)

    assert (job["state"], job["remaining"]) == ("cancelled", None)
    assert held(bridge, studies[1].study) == set()


def test_a_job_that_is_ended_while_the_peer_is_queried_retrieves_nothing(start):
    study = a_study(2)
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Pacs):
        def _find(self, event):
            begun.set()
            assert go_on.wait(PATIENCE_S)
            yield from super()._find(event)

    with Slow(study, (FIND, GET)) as pacs:
        bridge = start(pacs.peer())
        path = bridge.submit("retrieve", "pacs", of(study[0], "study"))
        assert begun.wait(PATIENCE_S)
        bridge.ask(path, "DELETE")
        go_on.set()
        job = bridge.wait(path)

    assert job["state"] == "cancelled"
    assert [one for one in pacs.operations if one.startswith("get")] == []


def test_a_peer_that_tells_of_too_many_series_is_not_believed_for_ever(start, monkeypatch):
    monkeypatch.setattr("bridge.jobs.asking.MOST", 2)
    study = a_uid()
    with Pacs([an_object(study=study) for _ in range(3)], (FIND, GET)) as pacs:
        bridge = start(pacs.peer())
        job = bridge.done("retrieve", "pacs", {"study": study})

    assert job["state"] == "failed"
    assert "2 instances" in job["error"]
    assert pacs.operations == ["find SERIES"]


def test_a_peer_that_does_not_heed_the_cancel_loses_its_association(start):
    study = a_study(3)
    begun, go_on = threading.Event(), threading.Event()

    def hold(pacs: Pacs, number: int) -> None:
        if number == 1:
            begun.set()
            assert go_on.wait(PATIENCE_S)

    with Pacs(study, (FIND, GET), sending=hold) as pacs:
        bridge = start(pacs.peer(), cancel_s=0.05)
        path = bridge.submit("retrieve", "pacs", of(study[0], "study"))
        assert begun.wait(PATIENCE_S)
        bridge.ask(path, "DELETE")
        job = bridge.wait(path)
        go_on.set()

    assert job["state"] == "cancelled"


def test_dcmqrscp_gives_what_it_has(start, tmp_path):
    program, scu = need("dcmqrscp"), need("storescu")
    study = a_study(12)
    port = unused_port()
    bridge = start(
        Peer("qr", "QRSCP", "127.0.0.1", port), Peer("mover", "QRMOVE", "127.0.0.1", port, retrieve="move")
    )
    (tmp_path / "db").mkdir()
    (tmp_path / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 4\n"
        f"HostTable BEGIN\nisthmus = (ISTHMUS, 127.0.0.1, {bridge.bridge.port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQRSCP {tmp_path}/db RW (200, 1024mb) ANY\n"
        f"QRMOVE {tmp_path}/db RW (200, 1024mb) ANY\nAETable END\n"
    )
    for place, one in enumerate(study):
        (tmp_path / f"{place}.dcm").write_bytes(one.part10)
    with running([program, "-c", "dcmqrscp.cfg"], port, folder=tmp_path):
        files = [str(tmp_path / f"{place}.dcm") for place in range(12)]
        subprocess.run([scu, "-aec", "QRSCP", "127.0.0.1", str(port), *files], check=True)

        got = bridge.done("retrieve", "qr", of(study[0], "study"))
        assert held(bridge, study[0].study) == {one.instance for one in study}
        assert asked(f"{bridge.settings.archive.url}/studies/{study[0].study}", "DELETE").status == 204
        moved = bridge.done("retrieve", "mover", of(study[0], "study"))

    assert counts(got) == ("done", 0, 12, 0, 0)
    assert counts(moved) == ("done", 0, 12, 0, 0)
    assert held(bridge, study[0].study) == {one.instance for one in study}
