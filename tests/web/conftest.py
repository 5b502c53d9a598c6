"""Wards, and in each the instances of two patients."""

import contextlib
from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.index.memory import MemoryIndex
from service.index.port import OnDuplicate
from service.settings import Settings
from service.store.memory import MemoryStore
from tests.wards import MINE, OTHERS, As, Ids, Ward, a_file_of, some_ids


@contextlib.contextmanager
def _wards() -> Iterator[Callable[..., Ward]]:
    with contextlib.ExitStack() as stack:

        def open_one(on_duplicate: OnDuplicate = OnDuplicate.REFUSE) -> Ward:
            given = Settings()
            limits = IntakeLimits(given.header_limit, given.batch_instances, given.batch_bytes)
            archive = ObjectArchive(MemoryStore(), MemoryIndex(), limits=limits, on_duplicate=on_duplicate)
            stack.callback(archive.close)
            app = As(create_app(archive, given))
            client = stack.enter_context(TestClient(app, raise_server_exceptions=False))
            return Ward(archive, app, client)

        yield open_one


@pytest.fixture
def open_ward() -> Iterator[Callable[..., Ward]]:
    """Opens wards, each of them empty."""
    with _wards() as open_one:
        yield open_one


@pytest.fixture(scope="module")
def open_wards() -> Iterator[Callable[..., Ward]]:
    """The same, for all tests of a module."""
    with _wards() as open_one:
        yield open_one


@pytest.fixture
def ward(open_ward: Callable[..., Ward]) -> Ward:
    return open_ward()


@pytest.fixture
def mine(ward: Ward) -> Ids:
    ids = some_ids()
    assert ward.store(a_file_of(ids, MINE)).status_code == 200
    return ids


@pytest.fixture
def others(ward: Ward) -> Ids:
    ids = some_ids()
    assert ward.store(a_file_of(ids, OTHERS)).status_code == 200
    return ids
