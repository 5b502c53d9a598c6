"""The service on a store that is far away and fails: what clients see, and what is kept."""

import re
import threading
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.archive.port import Stored
from service.archive.sweeping import Swept
from service.index.memory import MemoryIndex
from service.settings import Settings
from service.store.s3.store import S3Store
from tests.making import a_ct, new_uid
from tests.s3_double import Fault
from tests.s3_stores import CLIENTS, Place
from tests.sites import ROOT, Site

OBJECT = 'application/dicom; transfer-syntax="*"'
SUCCEEDED, FAILED = "00081199", "00081198"


@pytest.fixture(params=CLIENTS)
def store(place: Place, request: pytest.FixtureRequest) -> S3Store:
    return place.store(request.param)


@pytest.fixture
def site(store: S3Store) -> Iterator[Site]:
    settings = Settings(read_threads=4, write_threads=4)
    limits = IntakeLimits(settings.header_limit, settings.batch_instances, settings.batch_bytes)
    archive = ObjectArchive(store, MemoryIndex(), limits=limits, nearby=False)
    with TestClient(create_app(archive, settings), raise_server_exceptions=False) as client:
        yield Site(archive, store, client)  # type: ignore[arg-type] # any store will do
    archive.close()


def path_in(response) -> str:
    url = response.json()[SUCCEEDED]["Value"][0]["00081190"]["Value"][0]
    return str(url).removeprefix(ROOT)


def test_what_is_stored_comes_back(site, place):
    file = a_ct()
    stored = site.post(file)
    assert stored.status_code == 200
    assert site.get(path_in(stored), OBJECT).content == file
    assert site.get(path_in(stored) + "/frames/1", "application/octet-stream").content == bytes(range(32))
    (key,) = place.double.keys()
    assert place.double.content(key) == file


def test_a_store_that_is_down_is_503_and_to_be_tried_again(site, place):
    file = a_ct()
    place.double.faults = [Fault("*", "refuse")]
    response = site.post(file)
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert place.double.keys() == place.double.uploads() == []
    assert site.get("/studies").status_code == 204
    # when: it is back
    place.double.faults = []
    stored = site.post(file)
    assert stored.status_code == 200
    # and down again
    place.double.faults = [Fault("*", "refuse")]
    for path in ("", "/frames/1", "/rendered"):
        response = site.get(path_in(stored) + path)
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    # then: what needs no object is answered
    assert site.get(path_in(stored) + "/metadata").status_code == 200
    assert site.get("/studies").status_code == 200
    place.double.faults = []
    assert site.get(path_in(stored), OBJECT).content == file


def test_a_large_object_whose_parts_fail_leaves_nothing(site, store, place):
    file = a_ct([bytes(32)] * 640_000)
    assert len(file) > 16 << 20
    place.double.faults = [Fault("UploadPart", "refuse", after=1)]
    response = site.post(file)
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert place.double.keys() == place.double.uploads() == []
    # when: one fails for a moment, and there is time to try again
    store._retrying._patience_s = 60.0
    place.double.faults = [Fault("UploadPart", "refuse", times=1)]
    stored = site.post(file)
    assert stored.status_code == 200
    assert site.get(path_in(stored), OBJECT).content == file
    assert place.double.count("CompleteMultipartUpload") == 1


def test_a_large_object_goes_out_while_it_comes_in(site, place):
    file = a_ct([bytes(32)] * 640_000)
    intake = site.archive.intake()
    intake.begin()
    for start in range(0, len(file), 1 << 20):
        intake.write(memoryview(file)[start : start + (1 << 20)])
    assert place.double.count("CreateMultipartUpload") == 1
    assert place.double.keys() == []
    intake.end()
    (outcome,) = intake.finish()
    assert isinstance(outcome, Stored)
    (key,) = place.double.keys()
    assert key.startswith(f"archive/one/studies/{outcome.key.study}/{outcome.key.series}/")
    assert site.get(outcome.key.path, OBJECT).content == file


def test_a_large_object_that_is_cut_short_leaves_nothing(site, place):
    file = a_ct([bytes(32)] * 640_000)
    intake = site.archive.intake()
    intake.begin()
    intake.write(memoryview(file)[: 18 << 20])
    assert len(place.double.uploads()) == 1
    intake.finish()
    assert place.double.keys() == place.double.uploads() == []


def test_a_large_object_that_is_there_already_leaves_nothing(site, place):
    file = a_ct([bytes(32)] * 640_000)
    for _ in range(2):
        assert site.post(file).status_code == 200
    assert len(place.double.keys()) == 1
    assert place.double.uploads() == []


def test_nothing_that_was_answered_as_stored_is_missing(site, place):
    files = {new_uid(): b"" for _ in range(30)}
    study = new_uid()
    for uid in files:
        files[uid] = a_ct(study=study, instance=uid)
    place.double.faults = [Fault("PutObject", "refuse", times=60, after=10)]
    response = site.post_parts(*files.values())
    assert response.status_code == 202
    told = response.json()
    stored = {item["00081155"]["Value"][0] for item in told[SUCCEEDED]["Value"]}
    failed = {item["00081155"]["Value"][0] for item in told[FAILED]["Value"]}
    assert stored | failed == set(files)
    assert stored and failed
    place.double.faults = []
    for item in told[SUCCEEDED]["Value"]:
        path = item["00081190"]["Value"][0]
        assert site.get(path, OBJECT).content == files[item["00081155"]["Value"][0]]
    assert len(site.get(f"/instances?StudyInstanceUID={study}&limit=100").json()) == len(stored)
    # and what failed can be sent again
    assert site.post_parts(*(files[uid] for uid in failed)).status_code == 200


def test_an_object_that_is_deleted_is_gone_from_the_bucket(site, place):
    path = path_in(site.post(a_ct()))
    place.double.faults = [Fault("DeleteObject", "refuse")]
    assert site.client.delete(ROOT + path).status_code == 204
    assert site.get(path).status_code == 404
    assert len(place.double.keys()) == 1
    place.double.faults = []
    assert site.archive.sweep(older_than_s=3600) == Swept(doomed=1)
    assert place.double.keys() == []


def test_a_list_that_is_stale_makes_the_sweep_delete_nothing_that_is_named(site, place):
    file = a_ct()
    stored = site.post(file)
    place.double.freeze_list()
    fresh = site.post(a_ct())
    assert site.archive.sweep(older_than_s=0) == Swept()
    for one in (stored, fresh):
        assert site.get(path_in(one), OBJECT).status_code == 200


def test_the_event_loop_never_waits_for_the_store(site, store, monkeypatch):
    used: set[str] = set()

    def watched(name: str) -> None:
        real = getattr(store, name)

        def call(*given: object) -> object:
            used.add(re.split("[_-]", threading.current_thread().name)[0])
            return real(*given)

        monkeypatch.setattr(store, name, call)

    for name in ("read", "delete", "begin", "opening"):
        watched(name)
    path = path_in(site.post(a_ct()))
    for wanted in ("", "/frames/1", "/rendered", "/thumbnail", "/metadata", "/bulkdata", "/pixeldata"):
        assert site.get(path + wanted).status_code == 200, wanted
    series, study = path.split("/instances")[0], path.split("/series")[0]
    for wanted in (series, study, study + "/rendered", series + "/bulkdata"):
        assert site.get(wanted).status_code == 200, wanted
    assert site.client.delete(ROOT + study).status_code == 204
    assert used <= {"reads", "stores", "write", "pixels"}
    assert used
