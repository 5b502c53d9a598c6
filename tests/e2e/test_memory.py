"""Memory does not grow with what is stored or retrieved."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.large import FRAME, Large, peak, received, store
from tests.s3_program import a_bucket

TOGETHER = 2
SMALL, LARGE = 24, 72  # frames: the smaller ones go to a bucket in more parts than are sent at once
MARGIN = 48 << 20


@pytest.fixture(params=["file", "s3"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    if request.param == "file":
        yield {}
        return
    with a_bucket(tmp_path / "s3") as bucket:
        yield bucket.settings


def test_memory_does_not_grow_with_the_size_of_what_is_stored_and_retrieved(
    start: Callable[..., Any], settings: dict[str, str]
) -> None:
    program = start("serve", ISTHMUS_WORKERS="1", **settings).wait_ready()
    # given: instances were stored at once and retrieved as one study
    _store(program.port, "2.25.91", SMALL)
    assert _retrieve(program.port, "2.25.91", SMALL)
    before = peak(program.members())

    # when: others come at once, three times as large, and leave as one study
    _store(program.port, "2.25.92", LARGE)
    stored = peak(program.members())
    whole = _retrieve(program.port, "2.25.92", LARGE)
    after = peak(program.members())

    # then: memory has not grown by what they are larger, 192 MiB together
    assert whole
    assert (stored - before) >> 20 < MARGIN >> 20
    assert (after - stored) >> 20 < MARGIN >> 20


def _store(port: int, study: str, frames: int) -> None:
    instances = [Large(study, number, frames) for number in range(TOGETHER)]
    with ThreadPoolExecutor(TOGETHER) as clients:
        sent = [clients.submit(store, port, one.blocks(), one.size) for one in instances]
        assert [done.result(120) for done in sent] == [200] * TOGETHER


def _retrieve(port: int, study: str, frames: int) -> bool:
    status, size = received(port, f"/studies/{study}")
    return status == 200 and size > TOGETHER * frames * FRAME
