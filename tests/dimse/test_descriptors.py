"""Room for as many connections as the limits allow."""

import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.descriptors import needed
from bridge.settings import BridgeSettings

ROOT = Path(__file__).parents[2]
SCRIPT = """
import logging, resource, sys
from bridge.descriptors import make_room
from bridge.settings import BridgeSettings
logging.basicConfig()
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
make_room(BridgeSettings())
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def test_requests_by_http_have_room_beside_the_associations():
    settings = BridgeSettings()
    more = replace(settings, control=replace(settings.control, connections=settings.control.connections + 10))

    assert needed(more) == needed(settings) + 20


@pytest.mark.parametrize(
    ("soft", "hard", "given", "warned"),
    [
        (256, 4096, needed(BridgeSettings()), False),
        (256, 1000, 1000, True),
        (4000, 4096, 4000, False),
        (1000, 1000, 1000, True),
    ],
)
def test_the_soft_limit_is_raised_to_what_is_needed(soft: int, hard: int, given: int, warned: bool):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most not in (resource.RLIM_INFINITY, max(most, hard)):
        pytest.skip(f"this process may have {most} descriptors only")

    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(soft), str(hard)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert int(ran.stdout) == given
    assert ("ISTHMUS_MAX_ASSOCIATIONS" in ran.stderr) is warned
