"""An index made anew from a bucket, and a bucket that is checked."""

from collections.abc import Iterator

import pytest

from service.archive.reindexing import Fate
from service.dicom.errors import StoreUnavailable
from service.store.s3.store import S3Store
from tests.disaster import answers, differing, fates, served, without_boundaries, wrong
from tests.making import a_ct, a_data_set, a_file, add_pixels
from tests.s3_double import Fault
from tests.s3_stores import CLIENTS, Place
from tests.sites import Site


@pytest.fixture(params=CLIENTS)
def store(place: Place, request: pytest.FixtureRequest) -> S3Store:
    return place.store(request.param)


@pytest.fixture
def site(store: S3Store) -> Iterator[Site]:
    with served(store) as made:
        yield made


def large() -> bytes:
    """An object that goes out in parts, with which no digest is kept."""
    return a_file(add_pixels(a_data_set(), [bytes(range(256)) * (6 << 12)], rows=3072, columns=1024))


def test_every_answer_is_as_before(site, store, place):
    site.post_parts(a_ct(), a_ct(), large(), a_ct(frames=[bytes(2 << 20), bytes(2 << 20)]))
    before = without_boundaries(answers(site))
    digests = {held.digest for held in site.archive._index.walk(0, 10)}
    with served(store) as other:
        assert fates(other) == {Fate.ENTERED: 4}
        assert differing(before, without_boundaries(answers(other))) == []
        assert {held.digest for held in other.archive._index.walk(0, 10)} == digests
        assert wrong(other) == wrong(other, quick=True) == []


@pytest.mark.parametrize("client", CLIENTS)
def test_a_store_that_falters_is_asked_again(place, client):
    with served(place.store(client)) as site:
        site.post_parts(a_ct(), a_ct())
    with served(place.store(client, patience_s=60.0)) as other:
        place.double.faults = [Fault("GetObject", "refuse", times=1)]
        assert fates(other) == {Fate.ENTERED: 2}
    assert place.double.faults[0].times == 0


def test_a_store_that_is_down_ends_the_run(site, store, place):
    site.post_parts(a_ct(), a_ct())
    with served(store) as other:
        place.double.faults = [Fault("*", "refuse")]
        with pytest.raises(StoreUnavailable):
            fates(other)
        place.double.faults = []
        assert fates(other) == {Fate.ENTERED: 2}
