"""PACS that misbehave, each in its own way: a clear answer, never a hang."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import evt

from tests.dimse.asking import RawScp, acceptance, scripted
from tests.dimse.committing import unused_port
from tests.dimse.dimse_peers import PATIENCE_S
from tests.dimse.pacs.facing import FIND, GET, MOVE, QUICK, UNHURRIED, Pacs, facing, read_back
from tests.making import a_data_set, a_file, add_pixels

STUDY, SERIES = "1.2.3", "1.2.3.4"
META = f"/studies/{STUDY}/series/{SERIES}/metadata"
OBJECTS = 'multipart/related; type="application/dicom"'


def some(count: int = 6, study: str = STUDY, series: str = SERIES) -> list[Dataset]:
    made = [
        a_file(
            add_pixels(
                a_data_set(study=study, series=series, instance=f"{series}.{number}", InstanceNumber=number),
                [bytes(32)],
            )
        )
        for number in range(1, count + 1)
    ]
    return read_back(made)


def one(number: int) -> str:
    return f"/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.{number}"


def test_without_c_get_c_move_brings_the_series_to_the_inbox(tmp_path: Path):
    port = unused_port()
    pacs = Pacs(some(), move_to=("127.0.0.1", port))
    with pacs.serving(GET), facing(pacs.port, tmp_path, dimse_port=port) as face:
        answer = face.get(META)

    assert answer.status_code == 200
    assert len(answer.json()) == 6
    assert pacs.count("MOVE SERIES") == 1


def test_without_either_the_answer_is_502(tmp_path: Path):
    pacs = Pacs(some())
    with pacs.serving(GET, MOVE), facing(pacs.port, tmp_path) as face:
        answer = face.get(META)

    assert answer.status_code == 502
    assert "neither C-GET nor C-MOVE" in answer.json()["detail"]


def test_a_pacs_that_does_not_know_the_inbox_is_our_configuration(tmp_path: Path):
    class Unaware(Pacs):
        def move(self, event: evt.Event) -> Iterator[Any]:
            yield None, None

    pacs = Unaware(some())
    with pacs.serving(GET), facing(pacs.port, tmp_path) as face:
        answer = face.get(META)

    assert answer.status_code == 500
    assert "ISTHMUS_INBOX_AE_TITLE" in answer.json()["detail"]


def test_a_refusal_to_retrieve_is_told(tmp_path: Path):
    pacs = Pacs(some(), get_status=0xA702)
    with pacs.serving(), facing(pacs.port, tmp_path, retrieve="get") as face:
        answer = face.get(META)

    assert answer.status_code == 502
    assert "A702H" in answer.json()["detail"]


def test_what_could_not_be_sent_is_told_by_a_warning(tmp_path: Path):
    pacs = Pacs(some())
    pacs.chosen = lambda self, asked: [
        each for each in self.held if each.SOPInstanceUID != f"{SERIES}.3" or "FIND" in self.asked[-1]
    ]
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        metadata = face.get(META)
        objects = face.get(f"/studies/{STUDY}/series/{SERIES}", OBJECTS)
        missing = face.get(one(3), "application/dicom")

    assert (metadata.status_code, len(metadata.json())) == (200, 5)
    assert "1 instances could not be had" in metadata.headers["Warning"]
    assert (objects.status_code, objects.content.count(b"DICM")) == (206, 5)
    assert missing.status_code in (404, 502)


@pytest.mark.parametrize(
    ("status", "answer"), [(0xA700, 413), (0xA900, 400), (0x0124, 403), (0xC001, 502), (0x0122, 502)]
)
def test_failures_of_a_search_keep_their_meaning(tmp_path: Path, status: int, answer: int):
    pacs = Pacs(some(), find_status=status)
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        assert face.get("/studies").status_code == answer


def test_answers_without_the_keys_asked_are_believed(tmp_path: Path):
    def bare(asked: Dataset, match: Dataset) -> Dataset:
        kept = Dataset()
        kept.StudyInstanceUID = match.StudyInstanceUID
        return kept

    pacs = Pacs(some(), answer=bare)
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.get("/studies?AccessionNumber=A1")

    assert [match["0020000D"]["Value"] for match in answer.json()] == [[STUDY]]


def test_answers_that_do_not_match_are_left_out(tmp_path: Path):
    pacs = Pacs(some())
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        assert face.get("/studies?AccessionNumber=OTHER").status_code == 204


def test_answers_of_another_level_are_502(tmp_path: Path):
    def study(asked: Dataset, match: Dataset) -> Dataset | None:
        kept = Dataset()
        kept.QueryRetrieveLevel = "STUDY"
        kept.PatientID = "P1"
        return kept

    pacs = Pacs(some(), answer=study)
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.get(f"/studies/{STUDY}/series")

    assert answer.status_code == 502
    assert "unique keys" in answer.json()["detail"]


def test_some_answers_without_a_uid_are_left_out_with_a_warning(tmp_path: Path):
    def first_bare(asked: Dataset, match: Dataset) -> Dataset | None:
        if asked.QueryRetrieveLevel == "IMAGE" and match.SOPInstanceUID.endswith(".1"):
            del match.SOPInstanceUID
        return match

    pacs = Pacs(some(), answer=first_bare)
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.get(f"/studies/{STUDY}/series/{SERIES}/instances")

    assert len(answer.json()) == 5
    assert "unique keys" in answer.headers["Warning"]


def test_keys_that_are_not_supported_are_told_by_a_warning(tmp_path: Path):
    pacs = Pacs(some(), found_status=0xFF01)
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.get("/studies?InstitutionName=A")

    assert "does not match every key" in answer.headers["Warning"]


def test_text_without_a_declared_character_set_is_read_as_the_peer_writes(tmp_path: Path):
    held = some(1)
    held[0].PatientName = "Doe"

    def latin(asked: Dataset, match: Dataset) -> Dataset:
        match.add_new(0x00081030, "LO", b"Sch\xe4del")
        return match

    pacs = Pacs(held, answer=latin)
    with pacs.serving(), facing(pacs.port, tmp_path, charset="ISO_IR 100") as face:
        (match,) = face.get("/studies?includefield=StudyDescription").json()

    assert match["00081030"]["Value"] == ["Schädel"]


def test_more_matches_than_are_taken_are_called_off_with_a_warning(tmp_path: Path):
    pacs = Pacs(some(30))
    with pacs.serving(), facing(pacs.port, tmp_path, settings={"max_answers": 10}) as face:
        answer = face.get(f"/studies/{STUDY}/series/{SERIES}/instances")

    assert len(answer.json()) == 10
    assert "narrow it" in answer.headers["Warning"]
    assert "X-Total-Count" not in answer.headers


def test_answers_that_are_too_much_together_are_called_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bridge.pacs.cfind._MOST_BYTES", 1000)
    pacs = Pacs(some(30))
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.get(f"/studies/{STUDY}/series/{SERIES}/instances")

    assert 0 < len(answer.json()) < 30
    assert "narrow it" in answer.headers["Warning"]


def test_a_pacs_that_lists_no_instances_is_retrieved_from_by_its_word(tmp_path: Path):
    def no_images(asked: Dataset, match: Dataset) -> Dataset | None:
        if asked.QueryRetrieveLevel != "IMAGE":
            return match
        del match.SOPInstanceUID
        return match

    pacs = Pacs(some(), answer=no_images)
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.get(META)

    assert (answer.status_code, len(answer.json())) == (200, 6)


def test_one_association_at_a_time_is_enough(tmp_path: Path):
    pacs = Pacs(some() + some(3, STUDY, "1.2.3.5"))
    paths = [META, f"/studies/{STUDY}/series/1.2.3.5/metadata", "/studies", one(2) + "/metadata"]
    with pacs.serving(most=1), facing(pacs.port, tmp_path) as face:
        answers = face.together(*paths)

    assert [answer.status_code for answer in answers] == [200] * 4


def test_without_a_move_originator_the_study_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pynetdicom.association import Association

    honest = Association.send_c_store
    monkeypatch.setattr(
        Association,
        "send_c_store",
        lambda self, dataset, msg_id=1, priority=2, **_: honest(self, dataset, msg_id, priority),
    )
    port = unused_port()
    pacs = Pacs(some(), move_to=("127.0.0.1", port))
    with pacs.serving(GET), facing(pacs.port, tmp_path, dimse_port=port) as face:
        answer = face.get(META)

    assert (answer.status_code, len(answer.json())) == (200, 6)


def test_nobody_there_is_502(tmp_path: Path):
    with facing(unused_port(), tmp_path) as face:
        answers = [face.get(path) for path in ("/studies", META, one(1))]
        stored = face.store(a_file(a_data_set()))

    assert [answer.status_code for answer in answers] == [502] * 3
    assert stored.status_code == 503


def silent(peer: RawScp) -> None:
    peer.accept()


def hangs_up(peer: RawScp) -> None:
    peer.accept()
    peer.command()
    peer.reset()


def says_nothing(peer: RawScp) -> None:
    peer.request()


def rejects(peer: RawScp) -> None:
    from bridge.upper.associate import AssociateReject

    peer.request()
    peer.send(AssociateReject(1, 1, 3).encode())


def stops_in_a_pdu(peer: RawScp) -> None:
    peer.send(acceptance(peer.request()).encode())
    peer.command()
    peer.send(b"\x04\x00\x00\x00\x10\x00\x00\x00")


@pytest.mark.parametrize(
    ("script", "status"),
    [(silent, 504), (says_nothing, 504), (stops_in_a_pdu, 504), (hangs_up, 502), (rejects, 502)],
)
def test_a_peer_that_breaks_off_or_says_nothing(
    tmp_path: Path, script: Callable[[RawScp], object], status: int
):
    limits = QUICK if status == 504 else UNHURRIED
    with scripted(script) as port, facing(port, tmp_path, limits=limits) as face:
        answer = face.get("/studies")

    assert answer.status_code == status
    assert "Retry-After" in answer.headers


def test_ten_viewers_make_one_move(tmp_path: Path):
    port = unused_port()
    pacs = Pacs(some(), move_to=("127.0.0.1", port))
    pacs.gate.clear()
    answers: list[Any] = []
    with pacs.serving(), facing(pacs.port, tmp_path, dimse_port=port, retrieve="move") as face:
        viewers = threading.Thread(
            target=lambda: answers.extend(face.together(*[META] * 9, f"{one(2)}/metadata"))
        )
        viewers.start()
        pacs.wait_for(lambda: pacs.count("FIND"))
        pacs.gate.set()
        viewers.join(PATIENCE_S)

    assert [answer.status_code for answer in answers] == [200] * 10
    assert pacs.count("MOVE SERIES") == 1


def test_one_instance_is_moved_alone_and_more_of_them_with_their_series(tmp_path: Path):
    pacs = Pacs(some(40))
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        statuses = [face.get(f"{one(number)}/metadata").status_code for number in range(1, 9)]

    assert statuses == [200] * 8
    assert pacs.count("GET IMAGE") == 3
    assert pacs.count("GET SERIES") == 1


def test_an_instance_is_answered_as_soon_as_it_has_landed(tmp_path: Path):
    going_on = threading.Event()

    class Slow(Pacs):
        def get(self, event: evt.Event) -> Iterator[Any]:
            found = self.matching(event.identifier)
            self.note(f"GET {event.identifier.QueryRetrieveLevel}")
            yield len(found)
            for number, each in enumerate(found):
                if number == 3:
                    going_on.wait(PATIENCE_S)
                yield 0xFF00, each

    pacs = Slow(some())
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        whole: list[object] = []
        series = threading.Thread(target=lambda: whole.extend(face.together(META)))
        series.start()
        pacs.wait_for(lambda: pacs.count("GET SERIES"))
        early = face.get(f"{one(2)}/metadata")
        held_up = not whole
        going_on.set()
        series.join(PATIENCE_S)

    assert early.status_code == 200
    assert held_up


def test_what_the_pacs_has_no_longer_is_gone_when_its_word_is_old(tmp_path: Path):
    pacs = Pacs(some())
    with pacs.serving(), facing(pacs.port, tmp_path, settings={"fresh_s": 0.0}) as face:
        first = face.get(META).json()
        del pacs.held[2]
        second = face.get(META).json()
        pacs.held.clear()
        third = face.get(META).status_code

    assert (len(first), len(second), third) == (6, 5, 404)
    assert not list((tmp_path / "cache" / "pacs" / "objects").rglob("*.dcm"))


def test_a_search_is_asked_once_for_all_its_pages(tmp_path: Path):
    pacs = Pacs(some())
    path = f"/studies/{STUDY}/series/{SERIES}/instances"
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        for offset in range(0, 6, 2):
            assert len(face.get(f"{path}?limit=2&offset={offset}").json()) == 2

    assert pacs.count("FIND IMAGE") == 1


def test_find_is_not_offered(tmp_path: Path):
    pacs = Pacs(some())
    with pacs.serving(FIND), facing(pacs.port, tmp_path) as face:
        search = face.get("/studies")
        series = face.get(META)

    assert search.status_code == 502
    assert (series.status_code, len(series.json())) == (200, 6)
