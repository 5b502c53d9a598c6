"""What the time of an answer is spent on: told by Server-Timing, and by the request's line in the log."""

import time
from collections.abc import Mapping

from starlette.types import Scope

from service.archive.transcoding import Steps

SEND = "send"
# As they follow one another; `pixels` is all that the answer waited for the workshop.
STEPS = ("index", "pixels", "read", "decode", "render", "encode", SEND)
_KEY = "isthmus.steps"
# The head leaves before the body does: how long that took is known to the log alone.
_SENT_LATER = f'{SEND};desc="in the log"'


def steps_of(scope: Scope) -> Steps:
    """The seconds that the answer to a request has taken until now, by step."""
    steps: Steps = scope.setdefault(_KEY, {})
    return steps


def spend(steps: Steps, name: str, begun: float) -> None:
    """Count the time since `begun`, by `time.perf_counter`, to a step."""
    steps[name] = steps.get(name, 0.0) + time.perf_counter() - begun


def add(steps: Steps, more: Mapping[str, float]) -> None:
    """Count what a part of the answer took."""
    for name, seconds in more.items():
        steps[name] = steps.get(name, 0.0) + seconds


def server_timing(steps: Mapping[str, float]) -> str:
    """The value of a Server-Timing header, in milliseconds: the steps that were taken before the head."""
    taken = [f"{name};dur={ms:.2f}" for name, ms in _taken(steps)]
    return ", ".join([*taken, _SENT_LATER])


def logged(steps: Mapping[str, float]) -> str:
    """The steps of a whole answer for the log, in milliseconds."""
    return "".join(f" {name}={ms:.1f}" for name, ms in _taken(steps))


def _taken(steps: Mapping[str, float]) -> list[tuple[str, float]]:
    # Threads that work for the answer may add to it meanwhile.
    spent = dict(steps)
    return [(name, 1000 * spent[name]) for name in STEPS if name in spent]
