"""The OpenAPI document of the bridge says what is offered: the same routes, and errors in one form."""

import json
from typing import Any

import yaml

from bridge.control.app import ROUTES
from bridge.jobs.job import Job, Kind, State
from bridge.settings import JobSettings
from openapi.__main__ import BRIDGE_SERVED, BRIDGE_SOURCE, written
from service.dicom.resource import Resource

DOCUMENT: dict[str, Any] = yaml.safe_load(BRIDGE_SOURCE.read_text())
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
METHODS = ("get", "post", "put", "delete", "options", "patch", "head")


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def resolved(item: Any) -> Any:
    while "$ref" in item:
        found: Any = DOCUMENT
        for step in item["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        item = found
    return item


def test_the_routes_of_the_bridge_are_those_of_its_document():
    assert set(operations()) == {(method, path) for method, path, _ in ROUTES}


def test_the_served_document_of_the_bridge_is_made_from_the_written_one():
    assert BRIDGE_SERVED.read_text() == written(BRIDGE_SOURCE), "run `python -m openapi`"
    assert json.loads(BRIDGE_SERVED.read_text()) == DOCUMENT


def test_each_operation_of_the_bridge_has_a_name_of_its_own():
    names = [operation["operationId"] for operation in operations().values()]
    assert len(set(names)) == len(names)


def test_path_parameters_of_the_bridge_are_described():
    for path, item in DOCUMENT["paths"].items():
        told = {resolved(one)["name"] for one in item.get("parameters", [])}
        assert told == {part.strip("{}") for part in path.split("/") if part.startswith("{")}, path


def test_errors_of_the_bridge_are_problem_documents():
    strange = [
        (*key, status)
        for key, operation in operations().items()
        for status, answer in operation["responses"].items()
        if int(status) >= 400 and "application/problem+json" not in resolved(answer)["content"]
    ]
    assert strange == [("GET", "/readyz", "503")]


def test_a_job_is_as_it_is_described():
    job = Job(Kind.STORE, "pacs", (Resource("1.2"),))
    assert set(job.told()) == set(SCHEMAS["Job"]["properties"])
    assert set(job.told(whole=False)) == set(SCHEMAS["Job"]["required"])
    assert SCHEMAS["State"]["enum"] == [str(one) for one in State]
    assert SCHEMAS["Kind"]["enum"] == [str(one) for one in Kind]
    assert SCHEMAS["Order"]["properties"]["resources"]["maxItems"] == JobSettings().resources
