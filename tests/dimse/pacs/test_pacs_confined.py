"""A PACS as it is to somebody who is confined to certain studies or patients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from pydicom import Dataset

from bridge.pacs.confining import narrowed
from service.access.identity import ANYONE, Identity
from service.dicom.confinement import Confinement
from service.dicom.query import Query
from service.dicom.resource import Level
from tests.dimse.pacs.facing import Face, Pacs, facing, read_back
from tests.making import a_data_set, a_file, add_pixels
from tests.wards import As, failures

MINE, OTHERS = "1.2.3", "1.2.4"
JSON, OBJECTS = "application/dicom+json", 'multipart/related; type="application/dicom"; transfer-syntax=*'
BY_PATIENT, BY_STUDY = Confinement(patients=frozenset(["A"])), Confinement(frozenset([MINE]))
BOTH = Confinement(frozenset([MINE]), frozenset(["nobody"]))


def a_part(study: str, patient: str, number: int = 1) -> bytes:
    made = a_data_set(study=study, series=f"{study}.4", instance=f"{study}.4.{number}", PatientID=patient)
    return a_file(add_pixels(made, [bytes(32)]))


def held() -> list[Dataset]:
    pairs = ((MINE, "A"), (OTHERS, "B"))
    return read_back([a_part(study, patient, number) for study, patient in pairs for number in (1, 2)])


@contextmanager
def a_face(folder: Path, pacs: Pacs) -> Iterator[tuple[Face, Callable[[Confinement | None], None]]]:
    """A face, and a way to be somebody."""
    layers: list[As] = []

    def through(app: Any) -> As:
        layers.append(As(app))
        return layers[0]

    def be(within: Confinement | None) -> None:
        layers[0].identity = ANYONE if within is None else Identity("somebody", ANYONE.scopes, within)

    with pacs.serving(), facing(pacs.port, folder, through=through) as face:
        yield face, be


def studies(response: httpx.Response) -> list[str]:
    return [match["0020000D"]["Value"][0] for match in response.json()] if response.status_code == 200 else []


def below(study: str) -> list[tuple[str, str]]:
    series = f"/studies/{study}/series/{study}.4"
    instance = f"{series}/instances/{study}.4.1"
    return [
        (f"/studies/{study}/metadata", JSON), (f"{series}/metadata", JSON), (f"{instance}/metadata", JSON),
        (f"/studies/{study}", OBJECTS), (instance, OBJECTS), (f"{instance}/frames/1", "*/*"),
        (f"{instance}/rendered", "image/jpeg"), (f"/studies/{study}/thumbnail", "image/jpeg"),
    ]  # fmt: skip


@pytest.mark.parametrize("within", [BY_PATIENT, BY_STUDY, BOTH], ids=["patient", "study", "both"])
def test_a_search_of_a_pacs_finds_what_is_permitted(tmp_path: Path, within: Confinement) -> None:
    with a_face(tmp_path, Pacs(held())) as (face, be):
        for path, count in (("/studies", 1), ("/series", 1), ("/instances", 2)):
            be(None)
            assert sorted(set(studies(face.get(path)))) == [MINE, OTHERS]
            be(within)
            found = face.get(path)
            assert studies(found) == [MINE] * count
            assert found.headers["x-total-count"] == str(count)
        for path in (f"/studies/{OTHERS}/series", f"/studies/{OTHERS}/instances"):
            hidden, absent = face.get(path), face.get(path.replace(OTHERS, "1.2.9"))
            assert (hidden.status_code, hidden.headers["x-total-count"]) == (204, "0")
            assert absent.status_code == hidden.status_code
        assert len(face.get(f"/studies/{MINE}/instances").json()) == 2


@pytest.mark.parametrize("within", [BY_PATIENT, BY_STUDY], ids=["patient", "study"])
@pytest.mark.parametrize("warm", [False, True], ids=["not yet here", "in the cache"])
def test_what_is_not_permitted_is_not_in_the_pacs(tmp_path: Path, within: Confinement, warm: bool) -> None:
    pacs = Pacs(held())
    with a_face(tmp_path, pacs) as (face, be):
        if warm:
            assert {face.get(path, accept).status_code for path, accept in below(OTHERS)} == {200}
        be(within)
        before = pacs.count("GET") + pacs.count("MOVE")
        for (path, accept), (missing, _) in zip(below(OTHERS), below("1.2.9"), strict=True):
            hidden, absent = face.get(path, accept), face.get(missing, accept)
            assert hidden.status_code == absent.status_code == 404
            assert hidden.content == absent.content
        assert pacs.count("GET") + pacs.count("MOVE") == before
        assert {face.get(path, accept).status_code for path, accept in below(MINE)} == {200}


def test_what_is_stored_for_others_does_not_reach_the_pacs(tmp_path: Path) -> None:
    pacs = Pacs(held())
    with a_face(tmp_path, pacs) as (face, be):
        be(BY_PATIENT)
        refused = face.store(
            a_part("1.2.8", "B"),
            a_part(OTHERS, "B", 1),
            a_part(OTHERS, "A", 7),
            a_part(MINE, "B", 7),
            a_part("1.2.8", ""),
        )
        assert refused.status_code == 409
        assert failures(refused) == [0x0124] * 5
        assert pacs.stored == []

        assert face.store(a_part(MINE, "A", 7), a_part("1.2.8", "A")).status_code == 200
        be(BY_STUDY)
        assert face.store(a_part(MINE, "whoever", 8)).status_code == 200
        assert failures(face.store(a_part("1.2.8", "A"))) == [0x0124]
        assert len(pacs.stored) == 3


def test_a_pacs_that_does_not_say_whose_a_study_is_has_none_for_a_patient(tmp_path: Path) -> None:
    def silent(asked: Dataset, match: Dataset) -> Dataset:
        match.PatientID = ""
        return match

    with a_face(tmp_path, Pacs(held(), answer=silent)) as (face, be):
        be(BY_PATIENT)
        assert face.get("/studies").status_code == 204
        assert face.get(f"/studies/{MINE}/metadata").status_code == 404


def test_a_pacs_is_asked_for_no_more_than_is_permitted() -> None:
    query = Query(Level.STUDY, confinement=Confinement(frozenset(["1.2"]), frozenset(["A", "B"])))
    asked = [[(key.tag, key.values) for key in one.filters] for one in narrowed(query)]
    assert asked == [[(0x0020000D, ("1.2",))], [(0x00100020, ("A", "B"))]]
    assert list(narrowed(Query(Level.STUDY, confinement=Confinement(frozenset())))) == []
    assert list(narrowed(Query(Level.STUDY))) == [Query(Level.STUDY)]
