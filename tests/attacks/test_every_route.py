"""Hostile requests of every route of both programs: no fault, no word of a patient, nothing for strangers."""

from collections.abc import Iterator, Sequence

import pytest

from bridge.control.app import ROUTES as BRIDGE
from bridge.control.permissions import needed
from service.app import FORGETTING, HOUSEKEEPING, PAGE, RECALLING, ROUTES, SHARING
from service.web.transactions import BESIDE
from tests.access.test_permissions import OPEN
from tests.attacks.conftest import ALICE, THERE, Target, tells
from tests.attacks.hostile import CREDENTIALS, Request, requests
from tests.attacks.wire import Wire

# Nothing of what is there may go while others are tried.
ABSENT = {"study": "2.25.91", "series": "2.25.92", "instance": "2.25.93"}
NAMES = {"frames": "1", "path": "00420011", "name": "page.css"}
BRIDGE_NAMES = {"name": "pacs", "id": "no-such", "uid": "1.2.3"}
FACE = ("/studies", "/studies/{study}/metadata", "/studies/{study}/series/{series}/instances/{instance}")
SERVICE_ROUTES = list(
    dict.fromkeys(
        [(method, "/dicom-web" + path) for method, path, _ in (*ROUTES, *FORGETTING, *RECALLING, *SHARING)]
        + [(method, path) for method, path, _ in (*HOUSEKEEPING, *PAGE)]
    )
)
BRIDGE_ROUTES = [(method, path) for method, path, _ in BRIDGE]
BRIDGE_ROUTES += [("GET", "/peers/{name}/dicom-web" + path) for path in FACE]
# A PACS that is not there is no fault of ours.
ELSEWHERE = (502, 504)


def of_the_service(target: Target) -> Iterator[tuple[bool, Request]]:
    for turn, (method, path) in enumerate(SERVICE_ROUTES):
        there = {**(ABSENT if method == "DELETE" else THERE), **NAMES}
        is_open = method in OPEN.get(path, ())
        yield from ((is_open, one) for one in requests(method, path, there, target.file, turn=turn))


def of_the_bridge(target: Target) -> Iterator[tuple[bool, Request]]:
    for turn, (method, path) in enumerate(BRIDGE_ROUTES):
        is_open = "dicom-web" not in path and needed(method, path) is None
        for one in requests(method, path, {**ABSENT, **BRIDGE_NAMES}, target.file, turn=turn):
            yield is_open, one


def asked(wire: Wire, one: Request, credentials: Sequence[bytes]) -> tuple[int, bool]:
    """The status, and whether the answer says what it must not: to strangers, or in an error."""
    answer = wire.ask(one.method, one.target, [*one.headers, *credentials], one.body)
    head = repr(answer.headers).encode()
    assert answer.headers.get("x-injected") is None and answer.headers.get("set-cookie") is None, one
    stranger = list(credentials) != [ALICE]
    return answer.status, (stranger or answer.status >= 400) and (tells(answer.body) or tells(head))


@pytest.mark.parametrize(("of", "port"), [(of_the_service, "port"), (of_the_bridge, "bridge_port")])
def test_no_request_of_who_has_signed_in_is_a_fault(target, of, port):
    found = []
    with Wire(getattr(target.program, port)) as wire:
        for _, one in of(target):
            status, told = asked(wire, one, [ALICE])
            if (status >= 500 and not (status in ELSEWHERE and b"/peers/" in one.target)) or told:
                found.append((status, told, one.method, one.target[:200], one.headers, one.body[:80]))

    assert found == []
    assert target.faults == []


@pytest.mark.parametrize(("of", "port"), [(of_the_service, "port"), (of_the_bridge, "bridge_port")])
def test_no_request_of_a_stranger_is_answered(target, of, port):
    found = []
    with Wire(getattr(target.program, port)) as wire:
        for number, (is_open, one) in enumerate(of(target)):
            credentials = CREDENTIALS[number % len(CREDENTIALS)]
            status, told = asked(wire, one, credentials)
            answered = status < 400 and not is_open
            if answered or status >= 500 or told:
                found.append((status, told, one.method, one.target[:200], one.headers, credentials))

    assert found == []
    assert target.faults == []


def test_the_routes_that_are_tried_are_all_that_there_are():
    assert {path for _, path in SERVICE_ROUTES} >= {path for _, path in BESIDE}
    assert len(BRIDGE_ROUTES) == len(BRIDGE) + len(FACE)
