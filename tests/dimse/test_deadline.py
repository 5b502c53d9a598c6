"""A deadline on either kind of loop."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from bridge.upper.deadline import Deadline

both_loops = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
type NewLoop = Callable[[], asyncio.AbstractEventLoop]


@both_loops
@pytest.mark.parametrize("first_s", [0.0, 0.0001, 30.0])
def test_a_deadline_passes_once_when_it_was_moved_last(new_loop: NewLoop, first_s: float):
    async def scenario() -> int:
        passed = asyncio.Queue[int]()
        deadline = Deadline(lambda: passed.put_nowait(1))
        for seconds in (first_s, 60.0, 0.0, 0.02):
            deadline.set(seconds)
        await asyncio.wait_for(passed.get(), 10)
        deadline.end()
        return passed.qsize()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(scenario()) == 0


@both_loops
def test_a_deadline_that_is_taken_back_never_passes(new_loop: NewLoop):
    async def scenario() -> bool:
        passed = asyncio.Event()
        later = asyncio.Event()
        deadline = Deadline(passed.set)
        deadline.set(0.01)
        deadline.set(None)
        asyncio.get_running_loop().call_later(0.05, later.set)
        await asyncio.wait_for(later.wait(), 10)
        return passed.is_set()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert not runner.run(scenario())
