"""Retrievals of studies and series that are under way."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.pacs.cache import SeriesKey
from bridge.pacs.landing import Landing
from service.dicom.errors import ArchiveError
from service.dicom.record import Held
from service.dicom.resource import InstanceKey, Resource


@dataclass(slots=True, eq=False)
class Run:
    """One retrieval: what it has still to bring, and the series that it has brought.

    A `patient` one is waited for by those alone who want all of it, and no more than the bytes: it is
    `landed` for them when these are there.
    """

    resource: Resource
    task: "asyncio.Task[None]"
    landed: "asyncio.Future[Sequence[Held]]"
    patient: bool = False
    missing: dict[SeriesKey, set[str]] = field(default_factory=dict)
    settled: set[SeriesKey] = field(default_factory=set)
    _came: dict[InstanceKey, Held] = field(default_factory=dict)
    _landings: list[Landing] = field(default_factory=list)

    def await_from(self, landing: Landing) -> None:
        """Instances come by `landing`."""
        self._landings.append(landing)

    def hurry(self) -> None:
        """Somebody waits for a part of it, or wants to know what it is."""
        self.patient = False
        for landing in self._landings:
            landing.hurry()

    def placed(self, held: Sequence[Held]) -> Sequence[Held] | None:
        """Note what has come; all that came, if nothing is missing any more."""
        self._came |= {one.key: one for one in held}
        missing = (
            InstanceKey(key.study, key.series, uid) for key, uids in self.missing.items() for uid in uids
        )
        return tuple(self._came.values()) if all(key in self._came for key in missing) else None


@dataclass(slots=True)
class Round:
    """How the retrievals of one attempt went: what went wrong, and whether one broke off.

    `short` counts what did not come of series of which the PACS does not list the instances.
    """

    error: ArchiveError | None = None
    broken: bool = False
    short: dict[SeriesKey, int] = field(default_factory=dict)


def count(have: Mapping[SeriesKey, Mapping[str, str]]) -> int:
    """How many instances there are in all series."""
    return sum(map(len, have.values()))


def is_part(resource: Resource, of: Resource) -> bool:
    """Whether a series is one of a study."""
    return of.series is None and resource.series is not None and resource.study == of.study
