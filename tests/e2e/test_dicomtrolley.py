"""A client that nobody here wrote: dicomtrolley finds studies, downloads them and reads their metadata."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pydicom
import pytest
import requests
from pydicom import FileDataset

from tests.reading import differences

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, about the files

_WHY = "dicomtrolley is not installed: it cannot be tried."
core: Any = pytest.importorskip("dicomtrolley.core", reason=_WHY)
exceptions: Any = pytest.importorskip("dicomtrolley.exceptions", reason=_WHY)
qido_rs: Any = pytest.importorskip("dicomtrolley.qido_rs", reason=_WHY)
trolley: Any = pytest.importorskip("dicomtrolley.trolley", reason=_WHY)
wado_rs: Any = pytest.importorskip("dicomtrolley.wado_rs", reason=_WHY)
wado_uri: Any = pytest.importorskip("dicomtrolley.wado_uri", reason=_WHY)

# Studies of native images: the client names no transfer syntax that it takes.
PLACES = ("studies/seg-ct3", "studies/mr-ge-epi", "studies/rt-phantom")


@dataclass(frozen=True)
class Kept:
    """A study that is stored."""

    sets: Sequence[FileDataset]

    @property
    def study(self) -> str:
        return str(self.sets[0].StudyInstanceUID)

    def by_instance(self) -> dict[str, FileDataset]:
        return {str(one.SOPInstanceUID): one for one in self.sets}


@pytest.fixture(scope="module")
def kept(product, real_data: Path) -> list[Kept]:
    """The studies, stored."""
    stored = []
    for place in PLACES:
        sets: dict[str, FileDataset] = {}
        for path in sorted((real_data / place).rglob("*.dcm")):
            one = pydicom.dcmread(path)
            if one.SOPInstanceUID in sets:  # two of the files are the same object
                continue
            sets[str(one.SOPInstanceUID)] = one
            answer = httpx.post(
                f"{product.root}/studies",
                content=path.read_bytes(),
                headers={"Content-Type": "application/dicom"},
                timeout=60,
            )
            assert answer.status_code == 200, answer.text
        studies = {one.StudyInstanceUID for one in sets.values()}
        stored += [Kept([one for one in sets.values() if one.StudyInstanceUID == study]) for study in studies]
    return stored


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        yield opened


@pytest.fixture(scope="module")
def searcher(product, session) -> Any:
    return qido_rs.QidoRS(session, product.root)


def assert_same(found: Sequence[FileDataset], kept: Kept) -> None:
    """Every instance of a study came back once, element by element."""
    expected = kept.by_instance()
    assert sorted(str(one.SOPInstanceUID) for one in found) == sorted(expected)
    problems = [
        text
        for one in found
        for text in differences(expected[str(one.SOPInstanceUID)], one, big_endian=False)
    ]
    assert not problems, "\n".join(problems)


def test_studies_are_found_by_what_is_known_of_them(searcher, kept):
    for one in kept:
        first = one.sets[0]
        day = datetime.strptime(first.StudyDate, "%Y%m%d")
        query = core.Query(
            PatientID=first.PatientID, min_study_date=day, max_study_date=day, include_fields=["StudyTime"]
        )
        found = {study.uid: study for study in searcher.find_studies(query)}
        assert one.study in found
        assert str(found[one.study].data.StudyTime) == str(first.StudyTime)


def test_names_are_found_by_their_beginning(searcher, kept):
    name = str(kept[0].sets[0].PatientName)
    found = searcher.find_studies(core.Query(PatientName=f"{name[:4]}*"))
    assert kept[0].study in {study.uid for study in found}


def test_a_search_without_matches_is_empty(searcher, kept):
    assert list(searcher.find_studies(core.Query(PatientID="nobody at all"))) == []


@pytest.mark.parametrize("level", ["SERIES", "INSTANCE"])
def test_a_study_is_found_down_to_its_instances(searcher, kept, level):
    for one in kept:
        (study,) = searcher.find_studies(
            core.Query(StudyInstanceUID=one.study, query_level=core.QueryLevels[level])
        )
        assert {series.uid for series in study.series} == {each.SeriesInstanceUID for each in one.sets}
        if level == "INSTANCE":
            assert {each.uid for each in study.all_instances()} == set(one.by_instance())


def test_a_study_is_downloaded_in_one_request_or_by_series(product, session, searcher, kept):
    for by_series in (False, True):
        downloader = wado_rs.WadoRS(session, product.root, request_per_series=by_series)
        both = trolley.Trolley(downloader, searcher)
        for one in kept:
            assert_same(list(both.fetch_all_datasets([core.StudyReference(study_uid=one.study)])), one)


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "several at once"])
def test_a_study_is_downloaded_by_wado_uri(product, session, searcher, kept, at_once):
    downloader = wado_uri.WadoURI(session, f"{product.root}/wado", use_async=at_once, max_workers=4)
    both = trolley.Trolley(downloader, searcher)
    for one in kept:
        study = searcher.find_study_by_id(one.study, query_level=core.QueryLevels.INSTANCE)
        references = study.contained_references(max_level=core.DICOMObjectLevels.INSTANCE)
        assert_same(list(both.fetch_all_datasets(references)), one)


def test_a_study_is_saved_as_files(product, session, searcher, kept, tmp_path):
    both = trolley.Trolley(wado_rs.WadoRS(session, product.root), searcher)
    both.download(core.StudyReference(study_uid=kept[0].study), tmp_path)
    files = [pydicom.dcmread(path) for path in tmp_path.rglob("*") if path.is_file()]
    assert_same(files, kept[0])


def test_metadata_are_read_without_pixels(product, session, kept):
    reader = wado_rs.WadoRSMetaData(session, product.root)
    for one in kept:
        found = {
            str(each.SOPInstanceUID): each
            for each in reader.datasets([core.StudyReference(study_uid=one.study)])
        }
        assert set(found) == set(one.by_instance())
        for uid, stored in one.by_instance().items():
            assert str(found[uid].PatientName) == str(stored.PatientName)
            assert found[uid].get("Rows") == stored.get("Rows")


def test_a_study_that_is_not_there_is_said_to_be_missing(product, session, kept):
    downloader = wado_rs.WadoRS(session, product.root, request_per_series=False)
    with pytest.raises(exceptions.DICOMTrolleyError, match="404"):
        list(downloader.datasets([core.StudyReference(study_uid="1.2.3")]))
