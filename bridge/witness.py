"""The witness of associations: what peers stored, asked for and were sent, as audit events (PS3.15 A.5.3)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from bridge import noting, statuses
from bridge.noting import Notes
from bridge.scp import classes
from bridge.upper.association import Association
from bridge.upper.command import Operation
from bridge.upper.messages import Message
from service.audit import codes
from service.audit.codes import Code
from service.audit.event import Event, Participant, Search
from service.audit.trail import Trail

PROGRAM = "isthmus-bridge"
# Studies of one association whose instances are still being counted; each keeps a place in the trail, which
# all associations together must not fill.
_MOST_OPEN = 16
_OPEN_S = 60.0
_TRANSFERRED = codes.INSTANCES_TRANSFERRED


@dataclass(frozen=True, slots=True)
class Kind:
    """The event of an operation, and the status that it is refused with where nothing could be told."""

    what: Code
    action: str
    busy: int


# A C-ECHO tells nobody anything, and leaves no event.
KINDS: Mapping[int, Kind] = {
    Operation.C_STORE: Kind(_TRANSFERRED, codes.CREATE, statuses.OUT_OF_RESOURCES),
    Operation.C_FIND: Kind(codes.QUERY, codes.EXECUTE, statuses.OUT_OF_RESOURCES),
    Operation.C_GET: Kind(_TRANSFERRED, codes.READ, statuses.NOT_PERFORMED),
    Operation.C_MOVE: Kind(_TRANSFERRED, codes.READ, statuses.NOT_PERFORMED),
    Operation.N_ACTION: Kind(codes.INSTANCES_ACCESSED, codes.READ, statuses.RESOURCE_LIMITATION),
    Operation.N_CREATE: Kind(codes.PROCEDURE_RECORD, codes.CREATE, statuses.RESOURCE_LIMITATION),
    Operation.N_GET: Kind(codes.PROCEDURE_RECORD, codes.READ, statuses.RESOURCE_LIMITATION),
    Operation.N_SET: Kind(codes.PROCEDURE_RECORD, codes.UPDATE, statuses.RESOURCE_LIMITATION),
}


class Witness:
    """Tells a trail of one association: the first instance of each study at once, the others at its end.

    Those of an association that goes on are told once a minute.
    """

    def __init__(self, trail: Trail, association: Association, trace: str, ae_title: str) -> None:
        """`trace` is the id of the association, `ae_title` our own."""
        self._trail = trail
        self._association = association
        self._trace = trace
        self._ae_title = ae_title
        self._open: dict[tuple[object, ...], Event | None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, message: Message) -> Notes | int | None:
        """Where it is put down what a message is about; `None` if it is not told of.

        A status says that it must be refused with it, since nothing could be told.
        """
        kind = KINDS.get(message.command.field)
        if kind is None:
            return None
        return noting.begin() if self._trail.reserve() else kind.busy

    def end(self, message: Message, notes: Notes, status: int | None) -> None:
        """A message is served, with this final status; `None` if none could be sent any more."""
        event = self._event(message, notes, status)
        stored = message.command.field == Operation.C_STORE and event.what is _TRANSFERRED
        if not stored or len(event.studies) != 1:
            self._trail.put(event)
            return
        key = event.likeness
        if key not in self._open:
            self._open[key] = None
            self._trail.put(event)
        elif (before := self._open[key]) is None:
            self._open[key] = event
        else:
            self._open[key] = before.joined(event)
            self._trail.release()
        if len(self._open) > _MOST_OPEN:
            self.close()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_OPEN_S, self.close)

    def close(self) -> None:
        """The association is over, or goes on for long: tell what was counted."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        events, self._open = list(self._open.values()), {}
        for event in events:
            if event is not None:
                self._trail.put(event)

    def _event(self, message: Message, notes: Notes, status: int | None) -> Event:
        operation = message.command.field
        kind = KINDS[operation]
        outcome, text = _outcome(status)
        told = "none" if status is None else f"{status:04X}"
        details = {"Operation": Operation(operation).name.replace("_", "-"), "Status": told, **notes.details}
        event = Event(
            kind.what,
            kind.action,
            self._participants(operation, notes),
            outcome=outcome,
            outcome_text=text,
            studies=notes.studies,
            patients=notes.patients,
            details=details,
            request=self._trace,
            place=f"dimse:{message.context.abstract}",
            lookup=False,
        )
        if operation == Operation.C_FIND:
            event = replace(event, search=Search(notes.keys, message.context.abstract))
        if status == statuses.NOT_AUTHORIZED:
            alert = (codes.RESTRICTED_FUNCTION,)
            event = replace(event, what=codes.SECURITY_ALERT, types=alert, action=codes.EXECUTE, search=None)
        return event

    def _participants(self, operation: int, notes: Notes) -> tuple[Participant, ...]:
        peer = peer_of(self._association)
        ours = Participant(PROGRAM, alternative=titles(self._ae_title))
        source, destination = (codes.SOURCE,), (codes.DESTINATION,)
        if operation in (Operation.C_STORE, Operation.C_FIND):
            return replace(peer, roles=source), replace(ours, roles=destination)
        if operation in (Operation.C_GET, Operation.C_MOVE):
            title, address = notes.destination
            if not title:
                return replace(peer, roles=destination), replace(ours, roles=source)
            other = Participant(title, destination, address=address, alternative=titles(title))
            return peer, replace(ours, roles=source), other
        return peer, replace(ours, roles=(codes.APPLICATION,))


def rejected(association: Association) -> Event:
    """An association was asked for and refused (PS3.15 A.5.3.11)."""
    return Event(
        codes.SECURITY_ALERT,
        codes.EXECUTE,
        (peer_of(association), Participant(PROGRAM, (codes.APPLICATION,))),
        types=(codes.NODE_AUTHENTICATION,),
        outcome=codes.SERIOUS_FAILURE,
        outcome_text=association.result,
        place=f"dimse:{classes.VERIFICATION}",
        details={"Called": association.called},
        joins=True,
    )


def peer_of(association: Association) -> Participant:
    """Who called."""
    title = association.calling
    return Participant(title, requestor=True, address=association.peer[0], alternative=titles(title))


def titles(ae_title: str) -> str:
    """AE titles as PS3.15 A.5.3 has them for an application."""
    return f"AETITLES={ae_title}"


def _outcome(status: int | None) -> tuple[int, str]:
    """How it ended, by the final status (PS3.7 annex C): warnings and cancellations are done in part."""
    if status is None:
        return codes.MINOR_FAILURE, "The association was lost."
    if status == statuses.SUCCESS:
        return codes.SUCCESS, ""
    partly = status >> 12 == 0xB or status == statuses.CANCELLED
    return (codes.MINOR_FAILURE if partly else codes.SERIOUS_FAILURE), f"Status {status:04X}"
