"""One audit event as a value: what happened, who took part, what it was about (PS3.15 A.5)."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import batched

from service.audit.codes import SUCCESS, Code

MOST_STUDIES = 64
"""That one message names; an event about more becomes several messages."""

type Counts = Mapping[str, int]
"""Instances by SOP class; the class is empty where it is not known."""


@dataclass(frozen=True, slots=True)
class Participant:
    """Somebody, or some program, that took part.

    `user` is their name or, of a program, its AE title or what it is called. `address` is an IP address or a
    host name, without a port. `requestor` says that they wanted it.
    """

    user: str
    roles: tuple[Code, ...] = ()
    requestor: bool = False
    address: str = ""
    alternative: str = ""


@dataclass(frozen=True, slots=True)
class Search:
    """What was searched for: `keys` is the request without the values that could tell who somebody is."""

    keys: str
    sop_class: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, in the terms of PS3.15 A.5.

    `at` is in seconds since 1970. `studies` has the instances by SOP class of each Study Instance UID,
    nothing where they were not counted. `patients` are Patient IDs; those of its studies may be looked up if
    `lookup` says so. `place` is the path of what was asked for, `details` are names and values of ours.
    `request` is the id of the request, or of the first of `requests`. Events that `joins` allows become one
    if they differ in nothing but counts and times.
    """

    what: Code
    action: str
    participants: tuple[Participant, ...]
    outcome: int = SUCCESS
    outcome_text: str = ""
    types: tuple[Code, ...] = ()
    studies: Mapping[str, Counts] = field(default_factory=dict)
    patients: tuple[str, ...] = ()
    search: Search | None = None
    place: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    request: str = ""
    requests: int = 1
    joins: bool = False
    lookup: bool = True
    at: float = field(default_factory=time.time)

    @property
    def likeness(self) -> tuple[object, ...]:
        """What events have in common that may become one."""
        same = (self.what, self.action, self.participants, self.outcome, self.outcome_text, self.types)
        told = tuple(sorted(self.details.items()))
        return (*same, tuple(sorted(self.studies)), self.patients, told, _association(self.request))

    def joined(self, other: "Event") -> "Event":
        """This event and a later one that is like it, as one."""
        studies = {
            study: added(counts, other.studies.get(study, {})) for study, counts in self.studies.items()
        }
        request = self.request if self.request == other.request else _association(self.request)
        request = request or self.request
        return replace(self, studies=studies, requests=self.requests + other.requests, request=request)

    def parts(self) -> Iterator["Event"]:
        """The event as several, none of which is too long for a message."""
        if len(self.studies) <= MOST_STUDIES:
            yield self
            return
        for some in batched(self.studies, MOST_STUDIES):
            yield replace(self, studies={study: self.studies[study] for study in some})


def added(counts: Counts, more: Counts) -> Counts:
    """Both counts together."""
    return {uid: counts.get(uid, 0) + more.get(uid, 0) for uid in (*counts, *more)}


def _association(request: str) -> str:
    """The id of the association that a request was made for, if it was for one: `ID.NUMBER`."""
    association, dot, _ = request.partition(".")
    return association if dot else ""
