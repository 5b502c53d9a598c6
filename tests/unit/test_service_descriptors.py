"""Room for as many requests as a process of the service may have at a time."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from service.descriptors import needed
from service.settings import Settings

ROOT = Path(__file__).parents[2]
SCRIPT = """
import logging, resource, sys
from service.descriptors import make_room, needed
from service.settings import Settings
logging.basicConfig()
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
make_room(needed(Settings()), "ISTHMUS_MAX_REQUESTS", logging.getLogger("isthmus.service"))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "given", "warned"),
    [
        (256, 4096, needed(Settings()), False),
        (256, 1000, 1000, True),
        (4000, 4096, 4000, False),
        (1000, 1000, 1000, True),
    ],
)
def test_the_soft_limit_is_raised_to_what_requests_need(soft: int, hard: int, given: int, warned: bool):
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
    assert ("ISTHMUS_MAX_REQUESTS" in ran.stderr) is warned
