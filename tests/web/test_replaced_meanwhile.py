"""An instance that is replaced, by whichever pod, while it is being read: what took its place is sent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.dicom.confinement import Confinement
from service.dicom.record import Held
from service.dicom.resource import Resource
from service.dicom.syntaxes import ROOT as SYNTAX
from service.index.memory import MemoryIndex
from service.index.port import OnDuplicate
from service.settings import Settings
from service.store.memory import MemoryStore
from tests.making import a_data_set, a_file, add_pixels
from tests.sites import ROOT, Site

UIDS = {"study": "2.25.1", "series": "2.25.1.1", "instance": "2.25.1.1.1"}
INSTANCE = "/studies/2.25.1/series/2.25.1.1/instances/2.25.1.1.1"
FRAME = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
OBJECT = "application/dicom; transfer-syntax=*"


class Overtaken(MemoryIndex):
    """An index in which something happens once, right after rows were looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.then: Callable[[], None] | None = None

    def locate(self, resource: Resource, *, within: Confinement | None = None) -> list[Held]:
        held = super().locate(resource, within=within)
        then, self.then = self.then, None
        if then is not None:
            then()
        return held


@contextmanager
def a_site(index: MemoryIndex, *, nearby: bool) -> Iterator[Site]:
    settings, store = Settings(), MemoryStore()
    limits = IntakeLimits(settings.header_limit, settings.batch_instances, settings.batch_bytes)
    replace = OnDuplicate.REPLACE
    archive = ObjectArchive(store, index, limits=limits, on_duplicate=replace, nearby=nearby)
    with TestClient(create_app(archive, settings), raise_server_exceptions=False) as client:
        yield Site(archive, store, client)
    archive.close()


def a_picture(codestream: bytes) -> bytes:
    made = add_pixels(a_data_set(**UIDS), [bytes(32)])
    return a_file(made, f"{SYNTAX}.5", codestreams=[codestream])


def store(archive: ObjectArchive, file: bytes) -> None:
    """Store as another pod would."""
    intake = archive.intake()
    intake.begin()
    intake.write(memoryview(file))
    intake.end()
    intake.finish()


@pytest.mark.parametrize("nearby", [True, False], ids=["near", "far"])
@pytest.mark.parametrize(("path", "accept"), [("/frames/1", FRAME), ("", OBJECT)], ids=["frame", "object"])
def test_what_took_the_place_of_an_instance_is_sent(path: str, accept: str, nearby: bool) -> None:
    first, second = a_picture(b"first!" * 20), a_picture(b"second" * 20)
    index = Overtaken()
    with a_site(index, nearby=nearby) as site:
        assert site.post(first).status_code == 200
        index.then = partial(store, site.archive, second)

        answer = site.client.get(ROOT + INSTANCE + path, headers={"Accept": accept})

        assert index.then is None
        assert answer.status_code == 200
        assert b"second" in answer.content and b"first!" not in answer.content


@pytest.mark.parametrize("nearby", [True, False], ids=["near", "far"])
def test_an_instance_that_is_removed_meanwhile_is_not_found(nearby: bool) -> None:
    index = Overtaken()
    with a_site(index, nearby=nearby) as site:
        assert site.post(a_picture(b"first!" * 20)).status_code == 200
        index.then = partial(site.archive.forget, Resource("2.25.1"))

        assert site.get(f"{INSTANCE}/frames/1", FRAME).status_code == 404
