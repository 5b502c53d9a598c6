"""The OpenAPI document says what is offered: the same routes, parameters, media types and statuses."""

import json
from typing import Any

import pytest
import yaml

from openapi.__main__ import SERVED, SOURCE, written
from service.app import FORGETTING, HOUSEKEEPING, RECALLING, ROUTES, SHARING
from service.dicom.attributes import BY_PATH, find_tag
from service.web.transactions import DESCRIBED

DOCUMENT: dict[str, Any] = yaml.safe_load(SOURCE.read_text())
ROOT = "/dicom-web"
METHODS = ("get", "post", "put", "delete", "options", "patch", "head")


def resolved(item: Any) -> Any:
    """What a reference stands for."""
    while isinstance(item, dict) and "$ref" in item:
        found: Any = DOCUMENT
        for step in item["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        item = found
    return item


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """The operations below the DICOMweb root by method and path, their path's parameters included."""
    return {
        (method.upper(), path): operation | {"parameters": [*item.get("parameters", []), *own(operation)]}
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def own(operation: dict[str, Any]) -> list[Any]:
    parameters: list[Any] = operation.get("parameters", [])
    return parameters


def servers_of(path: str) -> set[str]:
    item = DOCUMENT["paths"][path]
    return {server["url"] for server in item.get("servers", DOCUMENT["servers"])}


def described() -> set[tuple[str, str, str]]:
    return {(server, method, path) for method, path in operations() for server in servers_of(path)}


def routed() -> set[tuple[str, str, str]]:
    return {
        (server, method, path.replace(":path}", "}"))
        for server, table in ((ROOT, ROUTES + FORGETTING + RECALLING + SHARING), ("/", HOUSEKEEPING))
        for method, path, _ in table
    }


def test_every_route_is_in_the_document():
    assert routed() - described() == set()


def test_every_operation_of_the_document_has_its_route():
    assert described() - routed() == set()


def test_the_document_that_is_served_is_made_from_the_one_that_is_written():
    assert SERVED.read_text() == written(), "run `python -m openapi`"
    assert json.loads(SERVED.read_text()) == DOCUMENT


def test_operations_are_named_as_in_the_capabilities_description():
    named = {key: operation["operationId"] for key, operation in operations().items() if key in DESCRIBED}
    assert named == {key: transaction.identity for key, transaction in DESCRIBED.items()}
    everything = [operation["operationId"] for operation in operations().values()]
    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize("key", DESCRIBED, ids=" ".join)
def test_statuses_are_those_of_the_capabilities_description(key):
    transaction, operation = DESCRIBED[key], operations()[key]
    expected = {*transaction.successes, *transaction.failures}
    assert {int(status) for status in operation["responses"]} == expected


@pytest.mark.parametrize("key", DESCRIBED, ids=" ".join)
def test_query_parameters_are_those_of_the_capabilities_description(key):
    transaction = DESCRIBED[key]
    parameters = [resolved(parameter) for parameter in operations()[key]["parameters"]]
    written = {one["name"]: one.get("required", False) for one in parameters if one["in"] == "query"}
    # A search takes any attribute: the one lists the indexed ones, the other has a form for all.
    attributes = written.pop("match", None) is not None
    listed = {
        one.name: one.required
        for one in transaction.parameters
        if not (attributes and find_tag(one.name.split(".")[0]) is not None)
    }
    assert written == listed
    assert attributes == transaction.identity.startswith("SearchFor")


@pytest.mark.parametrize("key", DESCRIBED, ids=" ".join)
def test_headers_are_those_of_the_capabilities_description(key):
    transaction = DESCRIBED[key]
    parameters = [resolved(parameter) for parameter in operations()[key]["parameters"]]
    headers = {one["name"] for one in parameters if one["in"] == "header"}
    fields = ((304, "If-None-Match"), (304, "If-Match"), (206, "Range"))
    expected = {name for status, name in fields if status in transaction.successes}
    assert headers == expected


@pytest.mark.parametrize("key", DESCRIBED, ids=" ".join)
def test_path_parameters_are_those_of_the_path(key):
    parameters = [resolved(parameter) for parameter in operations()[key]["parameters"]]
    written = {one["name"] for one in parameters if one["in"] == "path"}
    assert written == {part.strip("{}") for part in key[1].split("/") if part.startswith("{")}


@pytest.mark.parametrize("key", DESCRIBED, ids=" ".join)
def test_media_types_are_those_of_the_capabilities_description(key):
    transaction, operation = DESCRIBED[key], operations()[key]
    given = resolved(operation["responses"][str(transaction.successes[0])]).get("content", {})
    taken = operation.get("requestBody", {}).get("content", {})
    assert set(taken) == set(transaction.takes)
    # Pixel data have a dozen types, which the document sums up.
    missing = [name for name in transaction.gives if name not in given and not summed_up(name, given)]
    assert missing == []
    assert [
        name for name in given if name not in transaction.gives and not sums_up(name, transaction.gives)
    ] == []


def summed_up(name: str, given: dict[str, Any]) -> bool:
    kind = name.partition("/")[0] + "/*"
    return kind in given or (name.startswith("multipart/related") and "multipart/related" in given)


def sums_up(name: str, gives: tuple[str, ...]) -> bool:
    return name == "multipart/related" or any(one.startswith(name.removesuffix("*")) for one in gives)


def test_every_error_is_a_problem_document():
    strange = [
        (*key, status)
        for key, operation in operations().items()
        for status, answer in operation["responses"].items()
        if int(status) >= 400
        and "application/problem+json" not in resolved(answer).get("content", {})
        and key[1] != "/readyz"
        and status != "409"  # whose body is the outcome of each instance
    ]
    assert strange == []


def test_attributes_of_the_capabilities_description_are_attributes():
    search = DESCRIBED["GET", "/instances"]
    names = {one.name for one in search.parameters}
    assert {row.keyword for row in BY_PATH.values() if len(row.path) == 1 and row.column} <= names
