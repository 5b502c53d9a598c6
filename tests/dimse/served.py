"""Fixtures of the tests that have a bridge in front of the real service, on one loop in a thread."""

from collections.abc import Iterator

import pytest
import uvloop

from tests.dimse.dimse_peers import Ground
from tests.dimse.retrieve.retrieving import Served, a_service, serve, stop

__all__ = ["ground", "served", "service"]


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """One loop for the tests of a module, as starting and stopping a service takes most of their time."""
    ground = Ground(uvloop.new_event_loop)
    yield ground
    ground.end()


@pytest.fixture(scope="module")
def service(ground: Ground) -> Iterator[Served]:
    """The real service."""
    service = a_service()
    server = ground.run(serve(service))
    yield service
    ground.run(stop(server))
    service.archive.close()


@pytest.fixture
def served(service: Served) -> Iterator[Served]:
    """The service, well behaved; what it holds of other tests has UIDs of its own."""
    service.forget_requests()
    yield service
    service.trouble = lambda scope, number: None
