"""Retrievals of studies and series that are under way."""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.pacs.cache import SeriesKey
from bridge.pacs.landing import Landing
from service.dicom.errors import ArchiveError
from service.dicom.record import Held
from service.dicom.resource import InstanceKey, Resource


@dataclass(slots=True, eq=False)
class Run:
    """One retrieval: what it has still to bring, what the PACS lists, and the series that it has brought.

    A `patient` one is waited for by those alone who want all of it, and no more than the bytes: it is
    `landed` for them when these are there.
    """

    resource: Resource
    task: "asyncio.Task[None]"
    landed: "asyncio.Future[Sequence[Held]]"
    patient: bool = False
    missing: dict[SeriesKey, set[str]] = field(default_factory=dict)
    listed: set[InstanceKey] = field(default_factory=set)
    settled: set[SeriesKey] = field(default_factory=set)
    _landings: list[Landing] = field(default_factory=list)

    def await_from(self, landing: Landing) -> None:
        """Instances come by `landing`."""
        self._landings.append(landing)

    def hurry(self) -> None:
        """Somebody waits for a part of it, or wants to know what it is."""
        self.patient = False
        for landing in self._landings:
            landing.hurry()

    def whole(self, entered: Sequence[Held], placed: Sequence[Held]) -> Sequence[Held] | None:
        """All that there is of it, if nothing lacks that the PACS lists: what came last in the order it came.

        What has been entered is taken from there: of what came twice one object goes.
        """
        there: dict[InstanceKey, Held] = {}
        for one in itertools.chain(entered, sorted(placed, key=lambda one: -one.row)):
            if self.resource.series in (None, one.key.series):
                there.setdefault(one.key, one)
        return tuple(there.values()) if self.listed <= there.keys() else None


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
