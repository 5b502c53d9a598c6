"""An archive whose every transaction is told to a list."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.audit.trail import Trail
from service.index.memory import MemoryIndex
from service.index.port import OnDuplicate
from service.settings import Settings
from service.store.memory import MemoryStore
from tests.audit_events import Heard, Watched


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    """Opens watched sites; keyword arguments are those of a `Trail`, or fields of the settings."""
    opened: list[Watched] = []

    def open_one(
        *,
        limit: int = 1000,
        join_s: float = 0.0,
        patients: bool = True,
        refusing: bool = False,
        **fields: Any,
    ) -> Watched:
        settings = Settings(**fields)
        store, sink = MemoryStore(), Heard(refusing=refusing)
        limits = IntakeLimits(
            settings.header_limit,
            settings.batch_instances,
            settings.batch_bytes,
            largest_bytes=settings.max_instance,
        )
        archive = ObjectArchive(store, MemoryIndex(), limits=limits, on_duplicate=OnDuplicate.REFUSE)
        trail = Trail(sink, limit=limit, join_s=join_s, patients=patients, patient_of=archive.patient_of)
        client = TestClient(create_app(archive, settings, trail=trail), raise_server_exceptions=False)
        client.__enter__()
        opened.append(Watched(archive, store, client, trail, sink))
        return opened[-1]

    yield open_one
    for site in opened:
        site.client.__exit__(None, None, None)
        site.trail.close(0.1)
        site.archive.close()
