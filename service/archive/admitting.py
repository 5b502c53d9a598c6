"""Which objects somebody may store who is confined to certain studies or patients."""

from service.dicom.confinement import Confinement, patient_of
from service.dicom.describing import describe
from service.dicom.errors import NotAuthorized
from service.dicom.scan import Scanned


def require_permitted(scanned: Scanned, within: Confinement | None) -> None:
    """`NotAuthorized` for an object that is not `within`, by its own study and patient."""
    if within is None or within.patients_for(scanned.key.study) is None:
        return
    patient = patient_of(describe(scanned.elements).study.get("patient_id"))
    if not within.permits(scanned.key.study, patient):
        raise not_permitted()


def not_permitted() -> NotAuthorized:
    """What is said of an object that its sender may not store, whatever the reason."""
    return NotAuthorized("Who you are signed in as may not store instances of this study or patient.")
