"""The id under which a message, and all that is done for it, is found in the logs of both programs.

An association has one, each of its messages that one with its number. It goes to the archive as
`X-Request-ID`, with every request that is made for the message.
"""

import contextvars
import logging
import secrets

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


class Traced(logging.Filter):
    """Puts the id of the running task in front of each log line."""

    def filter(self, record: logging.LogRecord) -> bool:
        if name := _current.get():
            record.msg = f"id={name} {record.msg}"
        return True
