"""What an archive says of an instance that could be kept, or the lack of a word, and what it means."""

import enum
from dataclasses import dataclass

from bridge import statuses
from bridge.archive.http1 import ConnectionLost, HttpAnswer
from service.archive.port import Outcome, Stored
from service.dicom.errors import ArchiveError, UpstreamFailed, UpstreamTimeout

_LOGIN = frozenset((401, 403, 407))
# Nothing of ours is there, or not at this time: 503 and 507 are said of the server, not of an instance.
_NOWHERE = frozenset((404, 410))
_AWAY = frozenset((408, 425, 429, 503, 507))
_WORDS = frozenset((200, 202))  # successes that tell what became of each instance (PS3.18 10.5.3)
_TOO_LARGE = 413


class Fate(enum.Enum):
    """What becomes of an instance."""

    STORED = "the archive has it"
    REFUSED = "the archive has said that it does not want it"
    LATER = "the archive cannot be asked: no word on the instance"
    DOUBTFUL = "the archive failed with it, by its own fault or by that of the instance"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A fate, the C-STORE status that says so, the HTTP status (0 for no answer), and why in words."""

    fate: Fate
    status: int
    http: int = 0
    because: str = ""


def of_answer(answer: HttpAnswer, *, acknowledged: bool) -> Verdict:
    """The verdict of an answer to the storing of one instance.

    That the archive is out of resources with an instance (A7xx) is a refusal while the peer still waits, and
    can keep its copy; once it was `acknowledged` it is worth some trials. A success that names no instance is
    somebody else's page, such as that of a proxy that wants a login.
    """
    http = answer.status
    status = statuses.store_status_of_answer(http, answer.body)
    if status == statuses.SUCCESS or status >> 12 == 0xB:
        return Verdict(Fate.STORED, status, http)
    if http in _LOGIN:
        because = f"it answers {http}: it does not know the bridge, see ISTHMUS_ARCHIVE_TOKEN_FILE"
        return Verdict(Fate.LATER, status, http, because)
    if http in _NOWHERE:
        because = f"it answers {http}: nobody stores there, see ISTHMUS_ARCHIVE_URL"
        return Verdict(Fate.LATER, status, http, because)
    if http in _AWAY or (http < 400 and not (http in _WORDS and statuses.says_what_became(answer.body))):
        return Verdict(Fate.LATER, status, http, f"it answers {http}")
    exhausted = acknowledged and status >> 8 == 0xA7 and http != _TOO_LARGE
    if http >= 500 or exhausted:
        return Verdict(Fate.DOUBTFUL, status, http, f"it answers {http}")
    return Verdict(Fate.REFUSED, status, http)


def of_error(error: ArchiveError) -> Verdict:
    """The verdict where no answer came."""
    status = statuses.store_status(error)
    if isinstance(error, UpstreamTimeout):
        return Verdict(Fate.DOUBTFUL, status, because="it does not answer in time")
    if isinstance(error, ConnectionLost):
        return Verdict(Fate.DOUBTFUL, status, because="it ends the connection")
    return Verdict(Fate.LATER, status, because="it cannot be reached")


def of_outcome(outcome: Outcome) -> Verdict:
    """The verdict where the instance was entered here: as it would be of the service's answer about it."""
    status = statuses.store_status_of_outcome(outcome)
    if isinstance(outcome, Stored):
        return Verdict(Fate.STORED, status)
    if outcome.transient:
        return Verdict(Fate.LATER, status, because=outcome.message)
    return Verdict(Fate.REFUSED, status)


def of_trouble(error: ArchiveError) -> Verdict:
    """The verdict where it could not be entered here, and nothing is known of it.

    A fault of our own, which has no kind, may be of the instance, and so may the end of who was at it.
    """
    doubtful = isinstance(error, UpstreamFailed) or type(error) is ArchiveError
    fate = Fate.DOUBTFUL if doubtful else Fate.LATER
    return Verdict(fate, statuses.store_status(error), because=str(error))
