"""The OpenAPI documents say which permission each operation takes, as the programs ask for it."""

from typing import Any

import pytest
import yaml

from bridge.control.app import ROUTES
from bridge.control.permissions import needed
from openapi.__main__ import BRIDGE_SOURCE, SOURCE
from service.access.identity import SCOPES
from service.web.permissions import NEEDED

METHODS = ("get", "post", "put", "delete", "options", "patch", "head")
OPEN = {"/openapi.json", "/healthz", "/readyz", "/metrics"}


def operations(document: dict[str, Any]):
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method.upper(), path, item[method], item[method].get("security", document["security"])


def as_written(scope: str | None) -> list[dict[str, list[str]]]:
    """What a document says of an operation that takes a scope."""
    told = [scope] if scope else []
    return [] if scope is None else [{"password": told}, {"token": told}]


def test_operations_of_the_service_take_what_their_document_says():
    document = yaml.safe_load(SOURCE.read_text())
    told = {one["operationId"]: security for _, _, one, security in operations(document)}
    assert told == {name: as_written(NEEDED[name]) for name in told}


def test_operations_of_the_bridge_take_what_their_document_says():
    document = yaml.safe_load(BRIDGE_SOURCE.read_text())
    told = {(method, path): security for method, path, _, security in operations(document)}
    assert told == {key: as_written(needed(*key)) for key in told}


@pytest.mark.parametrize("source", [SOURCE, BRIDGE_SOURCE], ids=["service", "bridge"])
def test_what_takes_a_permission_may_be_refused_for_want_of_it(source):
    document = yaml.safe_load(source.read_text())
    strange = [
        (method, path)
        for method, path, one, security in operations(document)
        if {"401"} & {*one["responses"]} != ({"401"} if security else set())
    ]
    assert strange == []


def test_every_route_of_the_bridge_takes_a_permission_but_those_that_are_named():
    scopes = {(method, path): needed(method, path) for method, path, _ in ROUTES}
    assert {path for (_, path), scope in scopes.items() if scope is None} == OPEN
    assert {scope for scope in scopes.values() if scope} <= {*SCOPES}
    changing = {key: scope for key, scope in scopes.items() if key[0] != "GET" and scope == "read"}
    assert set(changing) == {
        ("POST", "/peers/{name}/echo"),
        ("POST", "/peers/{name}/store"),
        ("DELETE", "/jobs/{id}"),
    }
