"""Strangers at the service: what they ask for is neither looked up nor read, whatever they bring along."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.access.settings import AccessSettings
from service.app import create_app
from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.index.memory import MemoryIndex
from service.settings import Settings
from service.store.memory import MemoryStore
from tests.access.conftest import KEY, hashed
from tests.access.test_permissions import GUARDED
from tests.making import a_ct

THERE = {"{study}": "2.25.11", "{series}": "2.25.12", "{instance}": "2.25.13", "{frames}": "1"}
CLAIMS: list[dict[str, str]] = [
    {},
    {"Authorization": "Basic YWxpY2U6d3Jvbmc="},
    {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9."},
    {"If-None-Match": "*"},
    {"If-Match": "*"},
    {"Range": "bytes=0-0"},
    {"X-Forwarded-User": "alice"},
    {"X-HTTP-Method-Override": "GET"},
]


class Watched:
    """Whatever it stands before, noting what is asked of that."""

    def __init__(self, behind: Any, asked: list[str]) -> None:
        self._behind = behind
        self._asked = asked

    def __getattr__(self, name: str) -> Any:
        self._asked.append(name)
        return getattr(self._behind, name)


@pytest.fixture
def asked() -> list[str]:
    """What has been asked of store and index."""
    return []


@pytest.fixture
def client(asked: list[str], tmp_path) -> Iterator[TestClient]:
    """A client of a service that holds an instance, and lets alice in."""
    passwords = tmp_path / "passwords"
    passwords.write_text(f"alice:{hashed('secret')}\n")
    (tmp_path / "share.key").write_text(KEY + "\n")
    access = AccessSettings(ways=("basic",), passwords_file=passwords, share_key_file=tmp_path / "share.key")
    settings = Settings(access=access)
    store: Any = Watched(MemoryStore(), asked)
    index: Any = Watched(MemoryIndex(), asked)
    limits = IntakeLimits(settings.header_limit, settings.batch_instances, settings.batch_bytes)
    archive = ObjectArchive(store, index, limits=limits)
    with TestClient(create_app(archive, settings), raise_server_exceptions=False) as client:
        file = a_ct(study="2.25.11", series="2.25.12", instance="2.25.13")
        kind = {"Content-Type": "application/dicom"}
        stored = client.post("/dicom-web/studies", content=file, headers=kind, auth=("alice", "secret"))
        assert stored.status_code == 200
        asked.clear()
        yield client
    archive.close()


def concrete(path: str) -> str:
    for name, value in THERE.items():
        path = path.replace(name, value)
    return path.replace("{path:path}", "7FE00010")


def test_nothing_is_looked_up_for_strangers(client, asked):
    found = []
    for method, path in GUARDED:
        for claim in CLAIMS:
            answer = client.request(
                method, concrete(path), headers=claim, content=b"" if method == "POST" else None
            )
            if answer.status_code != 401 or asked:
                found.append((answer.status_code, method, path, claim, list(asked)))
                asked.clear()

    assert found == []


def test_what_is_there_and_what_is_not_look_alike_to_strangers(client):
    def told(study: str) -> tuple[int, bytes, set[str]]:
        answer = client.get(f"/dicom-web/studies/{study}/metadata")
        return answer.status_code, answer.content, set(answer.headers)

    assert told("2.25.11") == told("2.25.99")


def test_the_look_out_sees_what_is_asked(client, asked):
    client.get("/dicom-web/studies/2.25.11/metadata", auth=("alice", "secret"))

    assert asked
