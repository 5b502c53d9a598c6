"""Objects of somebody else's bucket, served from where they lie."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.archive.port import Refused, Stored
from service.index.memory import MemoryIndex
from service.settings import Settings
from service.store.memory import MemoryStore
from service.store.s3.store import S3Store
from tests.disaster import answers, differing, without_boundaries, wrong
from tests.making import a_ct, new_uid
from tests.s3_double import BUCKET
from tests.s3_stores import CLIENTS, Place
from tests.sites import Site

PLACE = f"s3://{BUCKET}/theirs"
OBJECT, OCTETS = "application/dicom; transfer-syntax=*", "application/octet-stream"


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def theirs(place: Place, client: str) -> S3Store:
    """Somebody else's objects."""
    return place.store(client, prefix="theirs")


@pytest.fixture
def site(place: Place, client: str) -> Iterator[Site]:
    limits = IntakeLimits(32 << 20, 100, 16 << 20)
    archive = ObjectArchive(
        MemoryStore(), MemoryIndex(), limits=limits, open_bucket=lambda name: place.store(client, prefix="")
    )
    with TestClient(create_app(archive, Settings()), raise_server_exceptions=False) as web:
        yield Site(archive, archive._store, web)  # type: ignore[arg-type] # any store will do
    archive.close()


def put(store: S3Store, key: str, content: bytes) -> None:
    upload = store.begin()
    upload.write(content)
    upload.commit(key)


def adopt(site: Site) -> dict[str, Any]:
    told = site.archive.adopt(PLACE, site.archive.adopted.objects.below(PLACE), threads=2)
    return {name.removeprefix(f"{PLACE}/"): outcome for name, outcome in told}


def test_what_is_adopted_is_answered_as_if_it_were_stored(site, theirs, open_site):
    files = {
        "a.dcm": a_ct(),
        "deep/b": a_ct(frames=[bytes(1 << 20), bytes(1 << 20)]),
        "notes.txt": b"no DICOM",
    }
    for key, file in files.items():
        put(theirs, key, file)
    other = open_site()
    other.post_parts(files["a.dcm"], files["deep/b"])

    outcomes = adopt(site)

    assert isinstance(outcomes.pop("notes.txt"), Refused)
    assert all(isinstance(one, Stored) and not one.already for one in outcomes.values())
    assert differing(without_boundaries(answers(other)), without_boundaries(answers(site))) == []
    assert wrong(site) == wrong(site, quick=True) == []
    assert list(adopt(site).values()).count(None) == 2


def test_what_is_forgotten_stays(site, theirs):
    put(theirs, "a", a_ct())
    adopt(site)
    study = site.get("/studies").json()[0]["0020000D"]["Value"][0]
    assert site.client.delete(f"http://testserver/dicom-web/studies/{study}").status_code == 204
    site.archive.sweep(older_than_s=3600)
    assert [key for key, _ in theirs.keys("")] == ["a"]


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_another_version_is_never_read(site, theirs, how):
    uids: dict[str, Any] = {"study": new_uid(), "series": new_uid(), "instance": new_uid()}
    path = "/studies/{study}/series/{series}/instances/{instance}".format(**uids)
    put(theirs, "a", a_ct(**uids))
    adopt(site)
    assert site.get(path + "/frames/1", OCTETS).content == bytes(range(32))
    if how == "replaced":
        put(theirs, "a", a_ct([bytes(32)], **uids))
    else:
        theirs.delete("a")
    assert site.get(path + "/frames/1", OCTETS).status_code == 404
    assert len(wrong(site, quick=True)) == 1
    # when it is there again, in its present form
    if how == "removed":
        put(theirs, "b", a_ct([bytes(32)], **uids))
    adopt(site)
    assert site.get(path + "/frames/1", OCTETS).content == bytes(32)
    assert wrong(site) == []
