"""What a message, and all that is done for it, is found by in the logs of both programs, and in traces.

An association has an id, each of its messages that one with its number. It goes to the archive as
`X-Request-ID`, with every request that is made for the message.
"""

import contextvars
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from bridge.upper.association import Association
from bridge.upper.command import Operation
from bridge.upper.messages import Message
from service.tracing import Span, span

_current: contextvars.ContextVar[str] = contextvars.ContextVar("isthmus_trace", default="")


def enter(name: str) -> None:
    """Let the running task, and those that it starts from here on, work under `name`."""
    _current.set(name)


def new() -> str:
    """A name that no other association has."""
    return secrets.token_hex(6)


def current() -> str:
    """What the running task works under, empty if it was told nothing."""
    return _current.get()


@contextmanager
def association_step(association: Association) -> Iterator[None]:
    """The step that all of an association is, where anything is traced."""
    with span("association", "server") as step:
        step.set("network.peer.address", association.peer[0])
        step.set("isthmus.calling_ae_title", association.calling)
        step.set("isthmus.called_ae_title", association.called)
        step.set("isthmus.request_id", current())
        yield


@contextmanager
def message_step(message: Message) -> Iterator[Span]:
    """The step that a message is: a procedure call, by OpenTelemetry's conventions."""
    field = message.command.field
    name = Operation(field).name.replace("_", "-") if field in Operation else "OTHER"
    with span(name, "server") as step:
        step.set("rpc.system", "dimse")
        step.set("rpc.method", name)
        step.set("isthmus.request_id", current())
        yield step


class Traced(logging.Filter):
    """Puts the id of the running task in front of each log line."""

    def filter(self, record: logging.LogRecord) -> bool:
        if name := _current.get():
            record.msg = f"id={name} {record.msg}"
        return True
