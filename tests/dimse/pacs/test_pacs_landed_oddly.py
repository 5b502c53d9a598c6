"""What leaves of a PACS that sends too little, too much, twice or damaged, and to whom it leaves."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from pydicom import Dataset

from bridge.pacs.archive import PacsArchive
from bridge.pacs.cache import Cache
from bridge.pacs.fetching import Fetching
from service.access.identity import ANYONE, Identity
from service.dicom.confinement import Confinement
from service.dicom.errors import StoreUnavailable
from service.dicom.record import Held
from service.dicom.resource import Resource
from tests.dimse.dimse_peers import PATIENCE_S
from tests.dimse.pacs.facing import Pacs, facing, read_back
from tests.dimse.pacs.landed import (
    ANY,
    ON_SERIES,
    ON_STUDY,
    OTHER,
    SERIES,
    STUDY,
    Adding,
    Fragile,
    Gate,
    Halting,
    Repeating,
    begun,
    behind,
    came,
    gate,
    heavy,
    meta,
    sent_by,
    some,
    the_rest,
)
from tests.making import a_data_set, a_file, add_pixels
from tests.wards import As

__all__ = ["gate"]


def short_by_one(pacs: Pacs, asked: Dataset) -> list[Dataset]:
    """A PACS that lists its third instance and does not send it."""
    return [one for one in pacs.held if one.InstanceNumber != 3 or "FIND" in pacs.asked[-1]]


@pytest.mark.parametrize("path", [ON_SERIES, ON_STUDY], ids=["series", "study"])
def test_what_a_pacs_lists_and_does_not_send_is_told(tmp_path: Path, path: str) -> None:
    pacs = Pacs(some(), chosen=short_by_one)
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.get(path, ANY)

    assert answer.status_code == 206
    assert "1 of 6" in answer.headers["Warning"]
    assert came(answer) == sent_by(pacs, lambda one: one.InstanceNumber != 3)


@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
@pytest.mark.parametrize("study", [STUDY, "1.2.9"], ids=["of the study", "of another study"])
def test_what_else_a_pacs_sends_is_not_in_the_series(tmp_path: Path, study: str, first: bool) -> None:
    pacs = Adding(some(), more=some(OTHER, 1, study=study), first=first)
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answers = [face.get(ON_SERIES, ANY) for _ in range(2)]

    for answer in answers:
        assert answer.status_code == 200
        assert came(answer) == sent_by(pacs)


def test_what_else_a_pacs_sends_is_not_in_the_study_under_its_name(tmp_path: Path) -> None:
    pacs = Adding(some(), more=some("1.2.9.4", 1, study="1.2.9"))
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answers = [face.get(ON_STUDY, ANY) for _ in range(2)]

    assert [came(answer) for answer in answers] == [sent_by(pacs)] * 2


def test_an_instance_that_comes_as_one_of_another_series_is_not_in_the_answer(tmp_path: Path) -> None:
    wrong = some()
    wrong[2].SeriesInstanceUID = OTHER
    pacs = Pacs(some())
    pacs.chosen = lambda self, asked: self.held if "FIND" in self.asked[-1] else wrong
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.get(ON_SERIES, ANY)

    assert answer.status_code == 206
    assert came(answer) == sent_by(pacs, lambda one: one.InstanceNumber != 3)


@pytest.fixture
def held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer begins when the retrieval is over and all that came is entered."""
    honest_landed, honest_ended = PacsArchive.landed, Fetching._ended
    over = threading.Event()

    def ended(fetching: Fetching, resource: Resource, task: Any) -> None:
        honest_ended(fetching, resource, task)
        over.set()

    def landed(archive: PacsArchive, resource: Resource, **told: Any) -> Sequence[Held] | None:
        found = honest_landed(archive, resource, **told)
        assert over.wait(PATIENCE_S)
        return found

    monkeypatch.setattr(Fetching, "_ended", ended)
    monkeypatch.setattr(PacsArchive, "landed", landed)


@pytest.mark.usefixtures("held_back")
@pytest.mark.parametrize("kind", [Pacs, Repeating], ids=["once", "twice"])
def test_an_answer_that_begins_late_is_as_any(tmp_path: Path, kind: type[Pacs]) -> None:
    pacs = kind(some())
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answers = [face.get(ON_SERIES, ANY) for _ in range(2)]

    assert [came(answer) for answer in answers] == [sent_by(pacs)] * 2


def test_what_a_pacs_sends_twice_leaves_once(tmp_path: Path, gate: Gate) -> None:
    pacs = Repeating(some())
    with pacs.serving(), behind(gate, pacs, tmp_path) as face:
        answer = face.get(ON_SERIES, ANY)
        gate.opened.set()
        metadata = face.get(f"{ON_SERIES}/metadata")

    assert came(answer) == sent_by(pacs)
    assert meta(metadata) == (200, set(sent_by(pacs)))
    assert len(list((tmp_path / "cache" / "pacs" / "objects").rglob("*.dcm"))) == 6


def damaged(monkeypatch: pytest.MonkeyPatch, instance: str) -> None:
    """Have the PACS send one data set whose last element is cut off."""
    import pynetdicom.association as association

    honest = association.encode  # type: ignore[attr-defined]

    def cut(made: Dataset, *told: Any, **more: Any) -> bytes | None:
        encoded: bytes | None = honest(made, *told, **more)
        ours = encoded is not None and made.get("SOPInstanceUID") == instance and "PixelData" in made
        return encoded[:-8] if ours and encoded is not None else encoded

    monkeypatch.setattr(association, "encode", cut)


def test_a_damaged_instance_goes_out_as_it_came_and_is_not_kept(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged(monkeypatch, f"{SERIES}.2")
    pacs = Pacs(some())
    with pacs.serving(), behind(gate, pacs, tmp_path) as face:
        first = face.get(ON_SERIES, ANY)
        gate.opened.set()
        metadata = face.get(f"{ON_SERIES}/metadata")
        second = face.get(ON_SERIES, ANY)

    whole = sent_by(pacs)
    assert came(first) == whole | {f"{SERIES}.2": whole[f"{SERIES}.2"][:-8]}
    del whole[f"{SERIES}.2"]
    assert meta(metadata) == (200, set(whole))
    assert "1 instances could not be had" in metadata.headers["Warning"]
    assert (second.status_code, came(second)) == (206, whole)


@pytest.mark.usefixtures("held_back")
def test_a_damaged_instance_that_is_gone_when_the_answer_begins_makes_no_other_one_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged(monkeypatch, f"{SERIES}.2")
    pacs = Pacs(some())
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        try:
            first = face.get(ON_SERIES, ANY)
        except httpx.TransportError:
            first = None  # it broke off: nobody takes it for whole
        second = face.get(ON_SERIES, ANY)

    sound = sent_by(pacs, lambda one: one.InstanceNumber != 2)
    if first is not None and first.status_code in (200, 206):
        assert {name: one for name, one in came(first).items() if name in sound} == sound
    assert (second.status_code, came(second)) == (206, sound)


def test_who_is_confined_has_what_is_theirs_and_nothing_else(tmp_path: Path) -> None:
    layers: list[As] = []

    def through(app: Any) -> As:
        layers.append(As(app))
        return layers[0]

    theirs = some("1.2.4.4", study="1.2.4", PatientID="B")
    pacs = Pacs(some(PatientID="A") + theirs)
    with pacs.serving(), facing(pacs.port, tmp_path, through=through) as face:
        layers[0].identity = Identity("a", ANYONE.scopes, Confinement(patients=frozenset(["A"])))
        hidden = [face.get(path, ANY) for path in ("/studies/1.2.4", "/studies/1.2.4/series/1.2.4.4")]
        absent = face.get("/studies/1.2.8", ANY)
        before = pacs.count("GET")
        mine = face.get(ON_SERIES, ANY)

    assert [one.status_code for one in hidden] == [404, 404] == [absent.status_code] * 2
    assert hidden[0].content == absent.content
    assert before == 0
    assert came(mine) == sent_by(pacs, lambda one: one.PatientID == "A")


@pytest.mark.parametrize("path", [ON_SERIES, ON_STUDY], ids=["series", "study"])
def test_what_is_another_patient_s_by_its_data_set_is_not_shown_to_who_is_confined(
    tmp_path: Path, path: str
) -> None:
    def told_otherwise(asked: Dataset, match: Dataset) -> Dataset:
        match.pop(0x00100020, None)  # the element is that of the instance
        match.PatientID = "A"
        return match

    layers: list[As] = []

    def through(app: Any) -> As:
        layers.append(As(app))
        return layers[0]

    pacs = Pacs(some(PatientID="B"), answer=told_otherwise)
    with pacs.serving(), facing(pacs.port, tmp_path, through=through) as face:
        layers[0].identity = Identity("a", ANYONE.scopes, Confinement(patients=frozenset(["A"])))
        answers = [face.get(path, ANY), face.get(f"{path}/metadata"), face.get(path, ANY)]

    assert [answer.status_code for answer in answers] == [404] * 3


@pytest.mark.parametrize("kind", [Pacs, Repeating], ids=["once", "twice"])
def test_a_slow_client_has_all_though_it_is_entered_meanwhile(
    tmp_path: Path, gate: Gate, kind: type[Pacs]
) -> None:
    pacs = kind(heavy(12))
    with pacs.serving(), behind(gate, pacs, tmp_path) as face, begun(face, ON_SERIES) as line:
        first = line.recv(4096)
        gate.opened.set()
        metadata = face.get(f"{ON_SERIES}/metadata")
        answer = first + the_rest(line)

    assert answer.startswith(b"HTTP/1.1 200")
    assert meta(metadata) == (200, set(sent_by(pacs)))
    for name, one in sent_by(pacs).items():
        assert one in answer, name
    assert answer.rstrip().endswith(b"--")


def test_a_client_that_hangs_up_in_the_middle_leaves_a_whole_cache(tmp_path: Path, gate: Gate) -> None:
    pacs = Pacs(heavy(8))
    with pacs.serving(), behind(gate, pacs, tmp_path) as face:
        with begun(face, ON_SERIES) as line:
            first = line.recv(4096)
        gate.opened.set()
        metadata = face.get(f"{ON_SERIES}/metadata")
        again = face.get(ON_SERIES, ANY)

    assert first.startswith(b"HTTP/1.1 200")
    assert meta(metadata) == (200, set(sent_by(pacs)))
    assert came(again) == sent_by(pacs)
    assert pacs.count("GET") == 1


def test_a_client_that_hangs_up_before_the_last_byte_leaves_a_whole_cache(tmp_path: Path) -> None:
    pacs = Halting(some())
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        with begun(face, ON_SERIES):
            pacs.wait_for(lambda: pacs.count("HALT"))
        pacs.going_on.set()
        again = face.get(ON_SERIES, ANY)

    assert came(again) == sent_by(pacs)
    assert pacs.count("GET") == 1


@pytest.mark.parametrize("count", [6, 40], ids=["by name", "all again"])
@pytest.mark.parametrize("late", [True, False], ids=["late", "at once"])
def test_what_comes_in_two_attempts_leaves_as_one(
    tmp_path: Path, request: pytest.FixtureRequest, count: int, late: bool
) -> None:
    if late:
        request.getfixturevalue("held_back")
    pacs = Fragile(some(count=count))
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answers = [face.get(ON_SERIES, ANY) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [came(answer) for answer in answers] == [sent_by(pacs)] * 2
    assert pacs.count("GET") == 2


def test_a_pacs_that_lists_no_instances_is_answered_by_what_it_sends(tmp_path: Path) -> None:
    def no_images(asked: Dataset, match: Dataset) -> Dataset:
        if asked.QueryRetrieveLevel == "IMAGE":
            del match.SOPInstanceUID
        return match

    pacs = Pacs(some(), answer=no_images)
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.get(ON_SERIES, ANY)

    assert (answer.status_code, came(answer)) == (200, sent_by(pacs))


@pytest.mark.parametrize("path", [ON_SERIES, ON_STUDY], ids=["series", "study"])
def test_what_the_pacs_has_not_is_not_found(tmp_path: Path, path: str) -> None:
    pacs = Pacs(some("1.2.8.4", study="1.2.8"))
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.get(path, ANY)

    assert answer.status_code == 404
    assert json.loads(answer.content)


def test_a_pacs_that_refuses_is_told(tmp_path: Path) -> None:
    pacs = Pacs(some(), get_status=0xA702)
    with pacs.serving(), facing(pacs.port, tmp_path, retrieve="get") as face:
        answer = face.get(ON_SERIES, ANY)

    assert answer.status_code == 502
    assert "A702H" in answer.json()["detail"]


def test_large_instances_leave_with_those_that_were_placed(tmp_path: Path) -> None:
    large = a_data_set(study=STUDY, series=SERIES, instance=f"{SERIES}.99", InstanceNumber=99)
    file = a_file(add_pixels(large, [bytes([9]) * 2_000_000], rows=1000, columns=1000))
    pacs = Pacs([*some(), *read_back([file])])
    with pacs.serving(), facing(pacs.port, tmp_path, settings={"whole_bytes": 100_000}) as face:
        answers = [face.get(ON_SERIES, ANY) for _ in range(2)]

    assert [came(answer) for answer in answers] == [sent_by(pacs)] * 2


def test_what_the_cache_cannot_place_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*told: Any) -> None:
        raise StoreUnavailable("The disk is full.")

    monkeypatch.setattr(Cache, "place", full)
    pacs = Pacs(some())
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.get(ON_SERIES, ANY)

    assert answer.status_code == 503
