"""What a message is about, put down while it is served, for the audit trail to be told at its end."""

import contextvars
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from service.audit.event import added
from service.dicom.attributes import attribute_name
from service.dicom.identifier import Identifier
from service.dicom.locate import Found, find_value
from service.dicom.querying import NAMES, QUERY_LEVEL
from service.dicom.resource import is_uid
from service.dicom.syntaxes import Syntax

_STUDY = 0x0020000D
_PATIENT_ID = 0x00100020
_LONGEST_VALUE = 64  # PS3.5 6.2, LO and UI
_MOST_KEYS = 100
_HIDDEN = "..."
_LEVEL = "QueryRetrieveLevel"


@dataclass(slots=True)
class Notes:
    """Instances by study and SOP class, Patient IDs, the keys of a query, and where a retrieval goes.

    `destination` is an AE title and an address, both empty where instances go to the asker.
    """

    studies: dict[str, Mapping[str, int]] = field(default_factory=dict)
    patients: tuple[str, ...] = ()
    keys: str = ""
    destination: tuple[str, str] = ("", "")
    details: dict[str, str] = field(default_factory=dict)


_current: contextvars.ContextVar[Notes | None] = contextvars.ContextVar("isthmus_noted", default=None)


def begin() -> Notes:
    """Notes for the message that the running task serves from here on."""
    notes = Notes()
    _current.set(notes)
    return notes


def note_instance(head: bytes, syntax: Syntax, sop_class: str) -> None:
    """An instance arrives, whose data set begins with `head`: of which study it is, and of whom.

    What the first bytes do not tell stays unknown.
    """
    notes = _current.get()
    if notes is None or syntax.deflated:
        return
    study = _value(head, syntax, _STUDY)
    patient = _value(head, syntax, _PATIENT_ID)
    notes.studies = {study: {sop_class: 1}} if is_uid(study) else {}
    notes.patients = (patient,) if patient else ()


def note_stored(study: str, sop_class: str) -> bool:
    """An instance of this study was stored; whether that was not known from its first bytes."""
    notes = _current.get()
    if notes is None or notes.studies:
        return False
    notes.studies = {study: {sop_class: 1}}
    return True


def note_patient(patient: str | None) -> None:
    """It is of the patient with this ID, if it is of any."""
    notes = _current.get()
    if notes is not None and patient:
        notes.patients = (patient,)


def note_identifier(identifier: Identifier) -> None:
    """A query or retrieval asks by these keys, of which only UIDs keep their values."""
    notes = _current.get()
    if notes is None:
        return
    told = []
    for key in identifier.keys[:_MOST_KEYS]:
        uids = key.vr == "UI" and all(map(is_uid, key.text.split("\\")))
        plain = uids or (key.tag == QUERY_LEVEL and key.text in NAMES.values())
        name = _LEVEL if key.tag == QUERY_LEVEL else attribute_name((key.tag,))
        told.append(f"{name}={key.text if plain or not key.text else _HIDDEN}")
    notes.keys = "&".join(told)
    patient = identifier.text(_PATIENT_ID)
    if patient and len(patient) <= _LONGEST_VALUE and not set(patient) & set("*?\\"):
        notes.patients = (patient,)


def note_instances(instances: Iterable[tuple[str, str]], *, destination: tuple[str, str]) -> None:
    """These instances, by study and SOP class, are to be sent."""
    notes = _current.get()
    if notes is None:
        return
    counts: dict[str, Mapping[str, int]] = {}
    for study, sop_class in instances:
        counts[study] = added(counts.get(study, {}), {sop_class: 1})
    notes.studies = counts
    notes.destination = destination


def note_about(studies: Iterable[str], patient: str) -> None:
    """It is about these studies, of this patient; what is no UID or no Patient ID is left out."""
    notes = _current.get()
    if notes is None:
        return
    notes.studies = {study: {} for study in studies if is_uid(study)}
    notes.patients = (patient,) if 0 < len(patient) <= _LONGEST_VALUE else ()


def note(**details: object) -> None:
    """Something else that is worth a word; never what is a patient's."""
    notes = _current.get()
    if notes is not None:
        notes.details |= {name.replace("_", " "): str(value) for name, value in details.items()}


def _value(head: bytes, syntax: Syntax, tag: int) -> str:
    found = find_value(head, syntax, (tag,), final=False)
    if not isinstance(found, Found) or found.length is None or found.length > _LONGEST_VALUE:
        return ""
    raw = head[found.position : found.position + found.length]
    if len(raw) < found.length:
        return ""
    try:
        return raw.decode("utf-8").strip(" \0")
    except UnicodeDecodeError:
        return raw.decode("latin-1").strip(" \0")
