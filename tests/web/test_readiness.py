"""Whether requests may be sent here: index and store answer, or the reason why not."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.archive.objects import ObjectArchive
from service.archive.open import open_archive
from service.settings import Settings

READY = "http://testserver/readyz"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(store=f"file://{tmp_path}/objects", index=f"sqlite://{tmp_path}/index.db")


@pytest.fixture
def archive(settings: Settings) -> Iterator[ObjectArchive]:
    opened = open_archive(settings)
    yield opened
    opened.close()


@pytest.fixture
def web(archive: ObjectArchive, settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(archive, settings)) as client:
        yield client


def test_a_store_and_an_index_that_answer_are_ready(web):
    assert web.get(READY).json() == {"status": "ready"}


def test_a_store_whose_folder_is_gone_is_not_ready(web, tmp_path):
    shutil.rmtree(tmp_path / "objects")
    response = web.get(READY)
    assert response.status_code == 503
    assert "object store" in response.json()["because"]
    assert str(tmp_path) not in response.text
    # and: it lives all the same
    assert web.get("http://testserver/healthz").status_code == 200


def test_a_probe_leaves_nothing_behind(web, tmp_path):
    web.get(READY)
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []


def test_an_index_that_is_closed_is_not_ready(web, archive):
    archive.close()
    response = web.get(READY)
    assert (response.status_code, response.json()["because"]) == (503, "The index is closed.")
