"""How late the event loop is, by a clock that the test turns."""

import asyncio
import time

import pytest

from service.web.lag import Lag, LagMeter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def meter_at(clock: Clock, *, window_s: float = 10.0) -> LagMeter:
    """A meter that is due every 10 ms from 100 s on."""
    meter = LagMeter(every_s=0.01, window_s=window_s, clock=clock)
    meter._due = clock.now
    return meter


def test_percentiles_are_of_the_nearest_rank():
    assert Lag.of([]) == Lag(0.0, 0.0, 0.0, 0)
    assert Lag.of([3.0]) == Lag(3.0, 3.0, 3.0, 1)
    assert Lag.of([float(one) for one in range(100, 0, -1)]) == Lag(50.0, 99.0, 100.0, 100)
    assert Lag.of([float(one) for one in range(1, 1001)]) == Lag(500.0, 990.0, 1000.0, 1000)


def test_a_loop_that_is_held_up_is_late_for_every_moment_it_missed():
    clock = Clock()
    meter = meter_at(clock)
    clock.now += 0.035
    meter.tick()
    lag = meter.read()
    assert (lag.p50, lag.p99, lag.most) == pytest.approx((0.015, 0.035, 0.035))
    assert lag.moments == 4


def test_what_lies_further_back_than_the_window_is_forgotten():
    clock = Clock()
    meter = meter_at(clock, window_s=0.05)
    clock.now += 1_000_000.0
    meter.tick()
    assert meter.read().moments == 5
    for _ in range(5):
        clock.now = meter._due
        meter.tick()
    assert meter.read() == Lag(0.0, 0.0, 0.0, 5)


def test_a_loop_that_something_blocks_is_found_late():
    async def block() -> Lag:
        meter = LagMeter(every_s=0.001)
        meter.start()
        begun = time.monotonic()
        while time.monotonic() - begun < 0.05:
            pass
        while not meter.read().moments:
            await asyncio.sleep(0)
        meter.stop()
        return meter.read()

    assert asyncio.run(block()).most >= 0.045


def test_the_health_of_a_process_tells_its_lag(site):
    answer = site.client.get("http://testserver/healthz")
    told = answer.json()["loop_lag_ms"]
    assert told.keys() == {"p50", "p99", "max"}
    assert 0 <= told["p50"] <= told["p99"] <= told["max"]
    assert answer.headers["cache-control"] == "no-store"
