"""A reindex into every index: what it answers is what another one answered before."""

from pathlib import Path

from service.archive.reindexing import Fate
from service.dicom.resource import Resource
from service.index.port import FullIndex
from service.store.local import LocalStore
from tests.disaster import answers, differing, fates, served, without_boundaries, wrong
from tests.making import a_ct, new_uid


def test_every_answer_is_as_before(index: FullIndex, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "objects")
    studies = [new_uid() for _ in range(3)]
    with served(store) as site:
        for number in range(30):
            study = studies[number % 3]
            site.post(a_ct(study=study, series=f"{study}.{number % 2}", StudyDescription=f"{number}"))
        before = without_boundaries(answers(site))

    with served(store, index) as site:
        assert fates(site) == {Fate.ENTERED: 30}
        assert differing(before, without_boundaries(answers(site))) == []
        assert wrong(site) == []

        site.archive._index.remove(Resource(studies[0]))
        assert fates(site) == {Fate.KNOWN: 20, Fate.DELETED: 10}
        assert len(wrong(site)) == 0  # younger than an hour
