"""What the bridge and its porter say to each other: a packet for each request, and one for its answer.

Both are of one program and one user, and nobody else has the socket: what is said is pickled.
"""

import pickle
from dataclasses import dataclass
from typing import Any

from service.settings import Settings

LONGEST_PACKET = 1 << 18  # bytes
OPENED = 0  # the number of the first answer, for which nobody asks


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a porter is told first: where the archive is, and where traces go, empty for nowhere."""

    settings: Settings
    traces_to: str


@dataclass(frozen=True, slots=True)
class Piece:
    """The next bytes of an object: `size` of them, from `start` on in the shared memory.

    The answer to the last one is what became of the object.
    """

    number: int
    start: int
    size: int
    is_first: bool
    is_last: bool


@dataclass(frozen=True, slots=True)
class Drop:
    """An object whose end does not come."""

    number: int


@dataclass(frozen=True, slots=True)
class PatientOf:
    """Whose a study is: the answer is the Patient ID, if there is one."""

    study: str


type Work = Piece | Drop | PatientOf


@dataclass(frozen=True, slots=True)
class Request:
    """Something to be done; `trace` and `parent` are what it is found by in logs and traces."""

    number: int
    work: Work
    trace: str = ""
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gave, or why it gave nothing."""

    number: int
    value: Any = None
    error: Exception | None = None


def packed(message: Beginning | Request | Answer) -> bytes:
    """A message as a packet."""
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def unpacked(packet: bytes) -> Any:
    """The message of a packet."""
    return pickle.loads(packet)
