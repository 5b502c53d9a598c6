"""How much memory the metadata of store requests take, and what is said when there is no more of it."""

import json
import tracemalloc
from collections.abc import Sequence

import pytest

from service.archive.port import Outcome
from service.dicom.dicomxml import xml_document
from service.dicom.multipart import Reader
from service.room import Room
from service.web import composing
from service.web.composing import ComposedBody
from tests.composing import (
    JSON,
    PIXELS,
    URI,
    Bulk,
    a_body,
    an_image,
    metadata,
    object_of,
    post_json,
    post_xml,
)

_LONG = {"vr": "UT", "Value": ["x" * (3 << 20)]}


class Nobody:
    """An intake that no instance reaches."""

    def begin(self) -> None:
        raise AssertionError("no instance is whole")

    def write(self, block: memoryview) -> None:
        raise AssertionError("no instance is whole")

    def end(self) -> None:
        raise AssertionError("no instance is whole")

    def refuse(self, reason: int, message: str) -> None:
        """Nobody is told."""

    def finish(self) -> Sequence[Outcome]:
        return []


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    """Room for the metadata of one small instance."""
    budget = Room(20_000)
    monkeypatch.setattr(composing, "_TOGETHER", budget)
    return budget


def test_large_metadata_on_their_way_in_do_not_stay_in_memory():
    body = a_body([json.dumps([metadata(T00104000={"vr": "LT", "Value": ["x" * (12 << 20)]})]).encode()])
    reader = Reader("bnd", max_parts=10)
    composed = ComposedBody(
        Nobody(), reader, root=JSON, base="http://host/", header_limit=32 << 20, max_instances=10
    )
    tracemalloc.start()
    try:
        for at in range(0, 12 << 20, 1 << 20):
            composed.push([body[at : at + (1 << 20)]])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    composed.finish()
    assert held < 4 << 20


def test_large_metadata_are_stored_whole(site):
    document = metadata(T0040A160=_LONG)
    assert str(object_of(site, post_json(site, [document])).TextValue) == _LONG["Value"][0]
    document = metadata(T0040A160=_LONG)
    assert str(object_of(site, post_xml(site, [xml_document(document)])).TextValue) == _LONG["Value"][0]


def test_metadata_for_which_there_is_no_room_may_come_again(site, room):
    assert post_json(site, [an_image()], Bulk(URI, PIXELS)).status_code == 200
    # given: others whose bulk data are still to come
    assert room.take(19_000)
    # then: the request as a whole is to be sent again, its bulk data too
    response = post_json(site, [an_image()], Bulk(URI, PIXELS))
    assert response.status_code == 503
    assert "Retry-After" in response.headers
    # when: they have come
    room.give(19_000)
    assert post_json(site, [an_image()], Bulk(URI, PIXELS)).status_code == 200


def test_every_request_gives_its_room_back(site, room):
    for content in (b"[", b"[1]", b"{}", json.dumps(an_image()).encode()):
        response = site.client.post(
            "/dicom-web/studies",
            content=a_body([content]),
            headers={"Content-Type": f'multipart/related; type="{JSON}"; boundary=bnd'},
        )
        assert response.status_code in (400, 409)
    assert room.take(20_000)
