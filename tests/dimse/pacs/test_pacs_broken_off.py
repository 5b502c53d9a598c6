"""Retrievals that end too early, bring less or more than was told, or go on while others ask for parts."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
from pydicom import Dataset
from pynetdicom import evt

from tests.dimse.dimse_peers import PATIENCE_S
from tests.dimse.pacs.facing import Face, Pacs, facing, read_back
from tests.making import a_data_set, a_file, add_pixels

STUDY, SERIES, OTHER = "1.2.3", "1.2.3.4", "1.2.3.5"
OBJECTS = 'multipart/related; type="application/dicom"'


def some(series: str = SERIES, count: int = 6) -> list[Dataset]:
    made = [a_data_set(study=STUDY, series=series, instance=f"{series}.{n}") for n in range(1, count + 1)]
    return read_back([a_file(add_pixels(one, [bytes(32)])) for one in made])


def large(count: int) -> list[bytes]:
    """Files of 2 MB, each of bytes of its own."""
    made = [a_data_set(study=STUDY, series=SERIES, instance=f"{SERIES}.{n}") for n in range(1, count + 1)]
    return [
        a_file(add_pixels(one, [bytes([number]) * 2_000_000], rows=1000, columns=1000))
        for number, one in enumerate(made, 1)
    ]


def meta(series: str = SERIES) -> str:
    return f"/studies/{STUDY}/series/{series}/metadata"


def lists_no_images(asked: Dataset, match: Dataset) -> Dataset:
    if asked.QueryRetrieveLevel == "IMAGE":
        del match.SOPInstanceUID
    return match


@dataclass
class Fragile(Pacs):
    """Ends the association of a C-GET behind so many instances, by turns; behind these it is sound."""

    ends: list[int] = field(default_factory=list)

    def get(self, event: evt.Event) -> Iterator[Any]:
        self.note(f"GET {event.identifier.QueryRetrieveLevel}")
        found = self.matching(event.identifier)
        most = self.ends.pop(0) if self.ends else len(found)
        yield len(found)
        for each in found[:most]:
            yield 0xFF00, each
        if most < len(found):
            event.assoc.abort()


@dataclass
class Halting(Pacs):
    """Stops before a series until it may go on."""

    before: str = OTHER
    going_on: threading.Event = field(default_factory=threading.Event)

    def get(self, event: evt.Event) -> Iterator[Any]:
        self.note(f"GET {event.identifier.QueryRetrieveLevel}")
        found = self.matching(event.identifier)
        yield len(found)
        for each in found:
            if each.SeriesInstanceUID == self.before:
                self.note("HALT")
                self.going_on.wait(PATIENCE_S)
            yield 0xFF00, each


def count(answer: httpx.Response) -> tuple[int, int, bool]:
    return answer.status_code, len(answer.json()), "Warning" in answer.headers


def test_what_did_not_come_is_asked_for_again_at_once(tmp_path: Path):
    pacs = Fragile(some(), ends=[3])
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.get(meta())

    assert count(answer) == (200, 6, False)
    assert pacs.count("GET") == 2


def test_a_series_that_stays_broken_is_told_and_asked_for_again(tmp_path: Path):
    pacs = Fragile(some(), ends=[3, 0, 0])
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        first = face.get(meta())
        zipped = face.get(f"/studies/{STUDY}/series/{SERIES}", "application/zip")
        third = face.get(meta())

    assert count(first) == (200, 3, True)
    assert "3 instances" in first.headers["Warning"]
    assert zipped.status_code == 206
    assert count(third) == (200, 6, False)


def test_a_broken_series_of_a_pacs_that_lists_nothing_is_never_taken_for_whole(tmp_path: Path):
    pacs = Fragile(some(), answer=lists_no_images, ends=[3, 3])
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        first = face.get(meta())
        second = face.get(meta())

    assert count(first) == (200, 3, True)
    assert count(second) == (200, 6, False)


def test_a_failure_is_told_where_nothing_is_listed(tmp_path: Path):
    class Partial(Pacs):
        def get(self, event: evt.Event) -> Iterator[Any]:
            found = self.matching(event.identifier)
            yield len(found) + 1
            for each in found:
                yield 0xFF00, each
            yield 0xA702, None

    pacs = Partial(some(), answer=lists_no_images)
    with pacs.serving(), facing(pacs.port, tmp_path) as face:
        answer = face.get(meta())

    assert count(answer) == (200, 6, True)


def test_an_unknown_instance_of_a_pacs_that_lists_nothing_is_not_found(tmp_path: Path):
    pacs = Pacs(some(), answer=lists_no_images)
    with pacs.serving(), facing(pacs.port, tmp_path, settings={"wait_s": PATIENCE_S}) as face:
        path = f"/studies/{STUDY}/series/{SERIES}/instances/{SERIES}"
        answers = [face.get(f"{path}.{number}/metadata").status_code for number in range(90, 96)]

    assert answers == [404] * 6
    assert pacs.count("GET SERIES") <= 3


def test_a_series_comes_with_its_study_however_long_that_takes(tmp_path: Path):
    pacs = Halting(some() + some(OTHER, 2))
    answers: list[httpx.Response] = []
    with pacs.serving(), facing(pacs.port, tmp_path, settings={"fresh_s": 0.0}) as face:

        def ask(path: str) -> None:
            answers.append(face.together(path)[0])

        study = threading.Thread(target=ask, args=(f"/studies/{STUDY}/metadata",))
        study.start()
        pacs.wait_for(lambda: pacs.count("HALT"))
        early = face.get(meta())
        late = threading.Thread(target=ask, args=(meta(OTHER),))
        late.start()
        waits_for_series(face)
        pacs.going_on.set()
        study.join(PATIENCE_S)
        late.join(PATIENCE_S)

    assert count(early) == (200, 6, False)
    assert sorted(count(answer) for answer in answers) == [(200, 2, False), (200, 8, False)]
    assert pacs.count("GET") == 1


def waits_for_series(face: Face) -> None:
    """Return when somebody waits for a series that comes with its study."""
    open_face = face.faces._faces["pacs"]
    archive = open_face._archive
    assert archive is not None
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.02)):
        if archive._fetching._waiting_series:
            return
        pause.wait(0.02)
    raise AssertionError("nobody waits")


def test_more_than_is_listed_stays(tmp_path: Path):
    pacs = Pacs(some())
    pacs.chosen = lambda self, asked: self.held[: 5 if "FIND" in self.asked[-1] else 6]
    with pacs.serving(), facing(pacs.port, tmp_path, settings={"fresh_s": 0.0}) as face:
        answers = [count(face.get(meta())) for _ in range(3)]

    assert answers == [(200, 6, False)] * 3
    assert pacs.count("GET") == 1


def test_a_large_instance_that_finds_the_cache_full_is_told(tmp_path: Path):
    class Patient(Pacs):
        def get(self, event: evt.Event) -> Iterator[Any]:
            yield from super().get(event)
            self.note("SENT")

    pacs = Patient(read_back(large(4)))
    chosen = {"cache_bytes": 1, "whole_bytes": 100_000}
    with pacs.serving(), facing(pacs.port, tmp_path, settings=chosen) as face:
        answer = face.get(meta())

    assert count(answer) == (200, 1, True)
    assert (pacs.count("GET"), pacs.count("SENT")) == (1, 1)


def test_large_instances_arrive_as_they_are(tmp_path: Path):
    pacs = Pacs(read_back(large(3)))
    with pacs.serving(), facing(pacs.port, tmp_path, settings={"whole_bytes": 100_000}) as face:
        answer = face.get(f"/studies/{STUDY}/series/{SERIES}", OBJECTS)

    assert answer.status_code == 200
    for number in range(1, 4):
        assert bytes([number]) * 2_000_000 in answer.content
