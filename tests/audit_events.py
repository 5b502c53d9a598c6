"""Audit events, a sink that keeps them, and a site that is watched."""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from service.audit import codes
from service.audit.event import Event, Participant
from service.audit.trail import Trail
from service.audit.writing import as_json, as_xml
from tests.sites import Site

PATIENCE_S = 30.0


@dataclass
class Heard:
    """A sink that keeps what it is given; it fails while `refusing` is set."""

    events: list[Event] = field(default_factory=list)
    refusing: bool = False
    tried: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    closed: bool = False

    def write(self, events: Sequence[Event]) -> None:
        self.tried.release()
        if self.refusing:
            raise OSError("no space left on the device")
        self.events += events

    def close(self) -> None:
        self.closed = True

    @property
    def text(self) -> str:
        """Everything that was told, in both forms."""
        return "".join((as_json(one, "here") + as_xml(one, "here")).decode() for one in self.events)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The events as they stand in a file."""
        return [json.loads(as_json(one, "here")) for one in self.events]


@dataclass
class Watched(Site):
    """A site and what its trail was told; `told` ends the trail."""

    trail: Trail
    sink: Heard

    def told(self) -> list[Event]:
        self.trail.close(PATIENCE_S)
        return self.sink.events


def an_event(**fields: Any) -> Event:
    """A study that somebody was sent."""
    reader = Participant("reader", (codes.DESTINATION,), requestor=True, address="192.0.2.7")
    given = {"what": codes.INSTANCES_TRANSFERRED, "action": codes.READ, "participants": (reader,), **fields}
    return Event(**given)
