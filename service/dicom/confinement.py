"""What part of an archive somebody may know of: carried by queries, and by whoever looks something up."""

from collections.abc import Iterable
from dataclasses import dataclass

from service.dicom.resource import is_uid
from service.dicom.values import comparable


@dataclass(frozen=True, slots=True)
class Confinement:
    """The studies and the patients that somebody is confined to.

    `studies` holds Study Instance UIDs, `patients` values of PatientID (0010,0020), which are compared as
    searches compare them: without the spaces around them, and without their issuer. A list that is None says
    nothing; where both are given, either permits. An empty one permits nothing, and so does a value that no
    study can have: it is left out. Without any list everything is permitted.
    """

    studies: frozenset[str] | None = None
    patients: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if self.studies is not None:
            object.__setattr__(self, "studies", frozenset(filter(is_uid, self.studies)))
        if self.patients is not None:
            object.__setattr__(self, "patients", _identifiers(self.patients))

    @property
    def confines(self) -> bool:
        """Whether any list is given."""
        return self.studies is not None or self.patients is not None

    def patients_for(self, study: str) -> frozenset[str] | None:
        """The patients of one of whom `study` must be; `None` where it is permitted whosever it is."""
        if not self.confines or study in (self.studies or ()):
            return None
        return self.patients or frozenset()

    def permits(self, study: str, patient: str | None) -> bool:
        """Whether `study`, which is of `patient`, may be known of.

        `patient` is a comparable PatientID, of several that the study has the first, `None` if it has none:
        such a study is no patient's.
        """
        patients = self.patients_for(study)
        return patients is None or patient in patients


def patient_of(told: str | int | float | None) -> str | None:
    """The PatientID that counts out of `told`: all those of a study, with a reverse solidus between them."""
    return told.partition("\\")[0] if isinstance(told, str) else None


def _identifiers(told: Iterable[str]) -> frozenset[str]:
    """The comparable forms of PatientIDs."""
    found = (comparable("LO", one) for one in told)
    return frozenset(one for one in found if isinstance(one, str) and _is_text(one))


def _is_text(value: str) -> bool:
    """Whether a database can be asked for `value`: half of a surrogate pair is in no data set."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
