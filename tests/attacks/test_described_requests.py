"""Requests made from the OpenAPI document of the bridge, of a stranger and of who has signed in."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from openapi.__main__ import BRIDGE_SOURCE
from tests.attacks.conftest import THERE, tells

schemathesis: Any = pytest.importorskip("schemathesis", reason="schemathesis makes the requests.")

SCHEMA = schemathesis.openapi.from_path(BRIDGE_SOURCE)
NAMES = {**THERE, "name": "pacs", "id": "no-such", "uid": "1.2.3"}
PATIENCE_S = 60.0
# A PACS that is not there is no fault of ours.
ELSEWHERE = (502, 504)


@SCHEMA.parametrize()
@settings(
    max_examples=2,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_the_bridge_answers_whom_it_should(case, target):
    base = f"http://127.0.0.1:{target.program.bridge_port}"
    is_open = case.operation.definition.raw.get("security") == []
    made = dict(case.path_parameters or {})
    for parameters in (made, {name: NAMES.get(name, "x") for name in made}):
        case.path_parameters = parameters
        stranger = case.call(base_url=base, timeout=PATIENCE_S, headers={"Authorization": "Bearer x"})
        alice = case.call(base_url=base, timeout=PATIENCE_S, auth=("alice", "secret"))
        told = case.method, case.path, stranger.status_code, alice.status_code
        assert is_open or 400 <= stranger.status_code < 500, told
        assert not tells(stranger.content), told
        assert alice.status_code != 401, told
        assert alice.status_code < 500 or alice.status_code in ELSEWHERE, told
    assert target.faults == []
