"""One instance on its way to one target, or one of which the targets are not known yet."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bridge.forwarding.rules import Caller

UNDECIDED = ""
"""In the place of a target: where the instance goes has still to be found out."""


class Route(NamedTuple):
    """Where something goes, and how: what a rule says of each of its targets."""

    target: str
    transcode: str | None = None
    delay_s: float = 0.0
    quiet_s: float = 0.0


@dataclass(slots=True, eq=False)
class Entry:
    """One promise. `study` and `series` are empty of an undecided instance that could not be read.

    `caller` and `routed`, the targets that it goes to already, are of undecided ones. `since` is when it
    came, or was last taken up again; `attempts` are those since then. `failed_at` is 0 while it is still
    tried. `kept` says that it is on disk: before that it is nobody's promise, and not worked on. `rounds`
    counts the batches after which it was left.
    """

    number: int
    study: str
    series: str
    instance: str
    came_at: float
    route: Route
    caller: Caller | None = None
    routed: tuple[str, ...] = ()
    since: float = 0.0
    attempts: int = 0
    error: str = ""
    failed_at: float = 0.0
    kept: bool = field(default=False)
    rounds: int = 0

    def __post_init__(self) -> None:
        self.since = self.since or self.came_at

    @property
    def name(self) -> str:
        """What it is called over HTTP."""
        return str(self.number)

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others of its study that go the same way."""
        return self.series, self.instance

    def record(self) -> list[Any]:
        """What is kept of it: UIDs, names of targets and AE titles."""
        told: list[Any] = ["due", self.number, self.study, self.series, self.instance, self.came_at]
        told.append(list(self.route))
        if self.caller is not None:
            told += [[self.caller.calling, self.caller.called, self.caller.peer], list(self.routed)]
        return told

    def failure(self) -> list[Any]:
        """What is kept of its having failed."""
        return ["failed", self.number, self.failed_at, self.attempts, self.error]

    @classmethod
    def of(cls, record: Sequence[Any]) -> "Entry":
        """What a record says; `ValueError`, `TypeError` or `IndexError` if it is none."""
        _, number, study, series, instance, came_at, route, *more = record
        target, transcode, delay_s, quiet_s = route
        caller = Caller(*map(str, more[0])) if more else None
        routed = tuple(map(str, more[1])) if more else ()
        return cls(
            int(number),
            str(study),
            str(series),
            str(instance),
            float(came_at),
            Route(str(target), transcode and str(transcode), float(delay_s), float(quiet_s)),
            caller,
            routed,
            kept=True,
        )

    def told(self) -> dict[str, Any]:
        """A failed one, as it is told over HTTP."""
        uids = {"study": self.study, "series": self.series, "instance": self.instance}
        return {
            "id": self.name,
            "target": self.route.target or None,
            **{name: uid for name, uid in uids.items() if uid},
            "came": moment(self.came_at),
            "failed": moment(self.failed_at),
            "attempts": self.attempts,
            "error": self.error,
        }


def moment(seconds: float) -> str:
    """A time as it is written over HTTP (RFC 3339)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
