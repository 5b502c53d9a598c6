"""What the bridge and its porter say to each other: a packet for each request, and one for its answer.

Both are of one program and one user, and nobody else has the socket: what is said is pickled.
"""

import pickle
from dataclasses import dataclass
from typing import Any, NamedTuple

from service.archive.port import Stored
from service.dicom.resource import InstanceKey
from service.settings import Settings

LONGEST_PACKET = 1 << 18  # bytes
OPENED = 0  # the number of the first answer, for which nobody asks


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a porter is told first.

    Where the archive is; the file that it locks, so that there is one of them at a time; and where traces go,
    empty for nowhere.
    """

    settings: Settings
    lock: str
    traces_to: str = ""


class Piece(NamedTuple):
    """The next bytes of an object: `size` of them, from `start` on in the shared memory.

    The answer to the last one is what became of the object.
    """

    number: int
    start: int
    size: int
    is_first: bool
    is_last: bool


class Drop(NamedTuple):
    """An object whose end does not come."""

    number: int


class PatientOf(NamedTuple):
    """Whose a study is: the answer is the Patient ID, if there is one."""

    study: str


type Work = Piece | Drop | PatientOf


class Request(NamedTuple):
    """Something to be done; `trace` and `parent` are what it is found by in logs and traces."""

    number: int
    work: Work
    trace: str = ""
    parent: str = ""


class Answer(NamedTuple):
    """What a request gave, or why it gave nothing."""

    number: int
    value: Any = None
    error: Exception | None = None


class Told(NamedTuple):
    """What there is to say of an object that is stored, in a form that is packed at once."""

    study: str
    series: str
    instance: str
    sop_class: str
    warning: int | None
    already: bool

    @classmethod
    def of(cls, stored: Stored) -> "Told":
        key = stored.key
        return cls(key.study, key.series, key.instance, stored.sop_class, stored.warning, stored.already)

    @property
    def stored(self) -> Stored:
        key = InstanceKey(self.study, self.series, self.instance)
        return Stored(key, self.sop_class, self.warning, self.already)


def packed(message: Beginning | Request | Answer) -> bytes:
    """A message as a packet."""
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def unpacked(packet: bytes) -> Any:
    """The message of a packet."""
    return pickle.loads(packet)
