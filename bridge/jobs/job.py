"""One job: what is to go where, how far it is, and the record of it that outlasts the program."""

import asyncio
import enum
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bridge.jobs.confirmed import Confirmed
from service.dicom.errors import BadRequest
from service.dicom.resource import InstanceKey, Resource

MOST_FAILURES = 500
"""Failures that are told one by one; beyond that they are counted."""

_FORMAT = 1
_LEVELS = ("study", "series", "instance")


class Kind(enum.StrEnum):
    """What a job does."""

    STORE = "store"
    RETRIEVE = "retrieve"


class State(enum.StrEnum):
    """Where a job is. `DONE` says that everything was stored; what is over otherwise has `FAILED`."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether nothing more happens."""
        return self not in (State.QUEUED, State.RUNNING)


@dataclass(slots=True)
class Counts:
    """What became of the instances; `remaining` is `None` where nobody knows how many there are."""

    remaining: int | None = None
    completed: int = 0
    warning: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """An instance, or a whole resource, that was not stored, and why: UIDs and words of ours only."""

    study: str = ""
    series: str = ""
    instance: str = ""
    reason: str = ""

    @classmethod
    def of(cls, failed: Resource | InstanceKey, reason: str) -> "Failure":
        """That of an instance or of all of a resource."""
        return cls(failed.study, failed.series or "", failed.instance or "", reason)

    def told(self) -> dict[str, str]:
        """What it says, without what is empty."""
        names = (*_LEVELS, "reason")
        return {name: value for name in names if (value := getattr(self, name))}


@dataclass(slots=True)
class Job:
    """An errand for a peer; used on one loop.

    Times are seconds since 1970. `attempts` counts how often it was begun: more than once where the
    program ended meanwhile.
    """

    kind: Kind
    peer: str
    resources: tuple[Resource, ...]
    name: str = field(default_factory=lambda: f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(5)}")
    created_at: float = field(default_factory=time.time)
    state: State = State.QUEUED
    started_at: float | None = None
    ended_at: float | None = None
    attempts: int = 0
    error: str = ""
    counts: Counts = field(default_factory=Counts)
    failures: list[Failure] = field(default_factory=list)
    confirmed: Confirmed = field(default_factory=Confirmed)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> None:
        """Start, or start again: only what is confirmed stays."""
        self.state = State.RUNNING
        self.started_at = self.started_at or time.time()
        self.attempts += 1
        self.error = ""
        self.counts = Counts()
        self.failures = []

    def end(self, state: State, error: str = "") -> None:
        """Be over."""
        self.state = state
        self.error = error
        self.ended_at = time.time()
        self.confirmed = Confirmed()  # which may be large

    def complete(self, *, warning: bool = False) -> None:
        """One instance was stored."""
        if warning:
            self.counts.warning += 1
        else:
            self.counts.completed += 1
        self._one_less()

    def fail(self, failure: Failure, *, counted: bool = True) -> None:
        """One instance was not stored, or a resource has none; that is not `counted` as an instance."""
        self.counts.failed += 1
        if counted:
            self._one_less()
        if len(self.failures) < MOST_FAILURES:
            self.failures.append(failure)

    def _one_less(self) -> None:
        if self.counts.remaining:
            self.counts.remaining -= 1

    def told(self, *, whole: bool = True) -> dict[str, Any]:
        """The job as clients see it; `whole` with what it is about and each failure."""
        told: dict[str, Any] = {
            "id": self.name,
            "kind": str(self.kind),
            "peer": self.peer,
            "state": str(self.state),
            "cancelling": self.cancelled.is_set() and not self.state.over,
            "created": _written(self.created_at),
            "started": _written(self.started_at),
            "ended": _written(self.ended_at),
            "attempts": self.attempts,
            "error": self.error,
            "remaining": self.counts.remaining,
            "completed": self.counts.completed,
            "warnings": self.counts.warning,
            "failed": self.counts.failed,
        }
        if whole:
            told["resources"] = [written(one) for one in self.resources]
            told["failures"] = [one.told() for one in self.failures]
        return told

    def record(self) -> dict[str, Any]:
        """What is kept of it."""
        counts = self.counts
        return {
            "format": _FORMAT,
            "kind": str(self.kind),
            "peer": self.peer,
            "resources": [written(one) for one in self.resources],
            "created_at": self.created_at,
            "state": str(self.state),
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "attempts": self.attempts,
            "error": self.error,
            "cancelled": self.cancelled.is_set(),
            "counts": [counts.remaining, counts.completed, counts.warning, counts.failed],
            "failures": [one.told() for one in self.failures],
            "confirmed": self.confirmed.record() if not self.state.over else None,
        }

    @classmethod
    def of(cls, name: str, record: Mapping[str, Any]) -> "Job":
        """The job of a record; `ValueError` if it is none."""
        try:
            if record["format"] != _FORMAT:
                raise ValueError
            job = cls(
                Kind(record["kind"]),
                str(record["peer"]),
                resources_of(record["resources"]),
                name=name,
                created_at=float(record["created_at"]),
                state=State(record["state"]),
                started_at=_time(record["started_at"]),
                ended_at=_time(record["ended_at"]),
                attempts=int(record["attempts"]),
                error=str(record["error"]),
                failures=[Failure(**one) for one in record["failures"]],
                confirmed=Confirmed.of(record["confirmed"]),
            )
            remaining, completed, warning, failed = record["counts"]
            known = None if remaining is None else int(remaining)
            job.counts = Counts(known, int(completed), int(warning), int(failed))
            if record["cancelled"]:
                job.cancelled.set()
        except (KeyError, TypeError, ValueError, BadRequest) as cause:
            raise ValueError("no record of a job") from cause
        return job


def written(resource: Resource) -> dict[str, str]:
    """A resource by its UIDs, as `resource_of` reads it."""
    return {level: uid for level in _LEVELS if (uid := getattr(resource, level)) is not None}


def resources_of(given: Iterable[Any]) -> tuple[Resource, ...]:
    """Resources, each once; `BadRequest` says which of them is none."""
    found: dict[Resource, None] = {}
    for place, one in enumerate(given):
        try:
            found[_resource_of(one)] = None
        except BadRequest as error:
            raise BadRequest(f"resources[{place}]: {error}") from None
    return tuple(found)


def _resource_of(given: Any) -> Resource:
    """A resource by its UIDs, or by its path below a DICOMweb root."""
    if isinstance(given, str):
        steps = given.strip("/").split("/")
        names = ("studies", "series", "instances")
        if len(steps) not in (2, 4, 6) or tuple(steps[::2]) != names[: len(steps) // 2]:
            raise BadRequest("A path must be /studies/UID, with /series/UID and /instances/UID behind it.")
        return Resource(*steps[1::2])
    if not isinstance(given, dict):
        raise BadRequest('It must be an object such as {"study": UID}, or a path such as "/studies/UID".')
    unknown = next((key for key in given if key not in _LEVELS), None)
    if unknown is not None or "study" not in given:
        raise BadRequest("It must have study, and may have series and instance; nothing else.")
    if not all(isinstance(value, str) for value in given.values()):
        raise BadRequest("UIDs must be strings.")
    return Resource(given["study"], given.get("series"), given.get("instance"))


def _time(value: Any) -> float | None:
    return None if value is None else float(value)


def _written(moment: float | None) -> str | None:
    """A time as RFC 3339 has it, in UTC."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
