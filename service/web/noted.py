"""What a transaction finds out on its way and the audit trail is told at its end."""

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.archive.port import Outcome, Stored
from service.audit.event import added
from service.dicom.record import Held
from service.dicom.resource import is_uid

_KEY = "isthmus.noted"
LONGEST_ID = 64  # characters of a Patient ID (PS3.5 6.2, LO)


@dataclass(slots=True)
class Notes:
    """Instances by study and SOP class, Patient IDs, and what else is worth a word."""

    studies: dict[str, Mapping[str, int]] = field(default_factory=dict)
    patients: tuple[str, ...] = ()
    details: dict[str, str] = field(default_factory=dict)

    def instances(self, held: Iterable[Held]) -> None:
        """These instances go out; what was noted of others before does not."""
        self.studies = _counted((one.key.study, one.sop_class) for one in held)

    def about(self, studies: Iterable[str], patient: str = "") -> None:
        """It is about these studies, of this patient; what is no UID or no Patient ID is left out."""
        self.studies = {study: {} for study in studies if is_uid(study)}
        self.patients = (patient,) if 0 < len(patient) <= LONGEST_ID else ()

    def outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """What became of a store request."""
        kept = [one for one in outcomes if isinstance(one, Stored)]
        self.studies = _counted((one.key.study, one.sop_class) for one in kept)
        already = sum(one.already for one in kept)
        refused = len(outcomes) - len(kept)
        self.details |= {"Already there": str(already)} if already else {}
        self.details |= {"Refused": str(refused)} if refused else {}


def begin_notes(scope: MutableMapping[str, Any]) -> Notes:
    """Have a request take notes from here on."""
    notes = scope[_KEY] = Notes()
    return notes


def notes_of(scope: Mapping[str, Any]) -> Notes | None:
    """Where a transaction puts down what it finds out; `None` where nobody wants to know."""
    notes = scope.get(_KEY)
    assert notes is None or isinstance(notes, Notes)
    return notes


def _counted(instances: Iterable[tuple[str, str]]) -> dict[str, Mapping[str, int]]:
    counts: dict[str, Mapping[str, int]] = {}
    for study, sop_class in instances:
        counts[study] = added(counts.get(study, {}), {sop_class: 1})
    return counts
