"""Rows of a view as worklist items: which column is which attribute.

A column is named as the attribute's keyword in the standard, with or without underscores and in any case:
`patient_id`, `ScheduledStationAETitle`. `item` holds a whole item in DICOM JSON, to which the other columns
add, and `scheduled_at` the moment at which the step starts.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson

from bridge.worklist.item import Step, step_from, steps_of_json
from service.dicom.attributes import find_tag
from service.dicom.errors import BadRequest, TooLarge
from service.dicom.values import comparable
from service.dicom.worklist import START_DATE, START_TIME, STEPS, step_of

ITEM, SCHEDULED_AT, START_COLUMN = "item", "scheduledat", "scheduledprocedurestepstartdate"

OF_STEP = (
    *("Modality", "ScheduledStationAETitle", "ScheduledProcedureStepStartDate"),
    *("ScheduledProcedureStepStartTime", "ScheduledProcedureStepEndDate", "ScheduledProcedureStepEndTime"),
    *("ScheduledPerformingPhysicianName", "ScheduledProcedureStepDescription", "ScheduledProcedureStepID"),
    *("ScheduledStationName", "ScheduledProcedureStepLocation", "PreMedication"),
    *("ScheduledProcedureStepStatus", "CommentsOnTheScheduledProcedureStep", "RequestedContrastAgent"),
)
OF_REQUEST = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("PatientSize", "PatientWeight", "PatientComments", "PatientState", "PregnancyStatus"),
    *("MedicalAlerts", "Allergies", "SpecialNeeds", "EthnicGroup", "PatientAddress"),
    *("PatientTelephoneNumbers", "ConfidentialityConstraintOnPatientDataDescription"),
    *("AccessionNumber", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription"),
    *("ReferringPhysicianName", "RequestingPhysician", "RequestingService", "InstitutionName"),
    *("RequestedProcedureID", "RequestedProcedureDescription", "RequestedProcedurePriority"),
    *("RequestedProcedureComments", "ReasonForTheRequestedProcedure", "PatientTransportArrangements"),
    *("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest"),
    *("AdmissionID", "CurrentPatientLocation", "NamesOfIntendedRecipientsOfResults"),
)
_MOST_TEXT = 10_240  # characters of a value, as many as the longest of LT
_DATE = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ].*)?", re.DOTALL)
_TIME = re.compile(
    r"(?:\d{4}-?\d\d-?\d\d[T ]+)?(\d\d):?(\d\d)(?::?(\d\d(?:\.\d{1,6})?)\d*)?"
    r" *(?:Z|[+-]\d\d(?::?\d\d){0,2})?"
)
_DAY_ALONE = re.compile(r"\d{4}-?\d\d-?\d\d")
_STARTS = frozenset((START_DATE, START_TIME))


def _named(keywords: Sequence[str]) -> Mapping[str, tuple[int, str]]:
    found = {word.lower(): find_tag(word) for word in keywords}
    return {word: entry for word, entry in found.items() if entry is not None}


_STEP, _REQUEST = _named(OF_STEP), _named(OF_REQUEST)


def plain(column: str) -> str:
    """The name of a column as names are compared."""
    return column.replace("_", "").lower()


def unknown(columns: Sequence[str]) -> list[str]:
    """The columns that say nothing here."""
    known = {ITEM, SCHEDULED_AT, *_STEP, *_REQUEST}
    return [column for column in columns if plain(column) not in known]


def has_steps(columns: Sequence[str]) -> bool:
    """Whether rows with these columns can make items at all."""
    return any(plain(column) in (ITEM, SCHEDULED_AT) or plain(column) in _STEP for column in columns)


def steps_of_row(columns: Sequence[str], row: Sequence[Any]) -> list[Step]:
    """The steps of a row; `BadRequest` or `TooLarge` says what is wrong, naming no value."""
    values = {plain(name): value for name, value in zip(columns, row, strict=True) if value is not None}
    request = _elements(_REQUEST, values)
    step = _elements(_STEP, values)
    moment = values.get(SCHEDULED_AT)
    if moment is not None:
        step |= _element(START_DATE, "DA", moment) | _element(START_TIME, "TM", moment)
    if ITEM not in values:
        return [step_from({**request, f"{STEPS:08X}": {"vr": "SQ", "Value": [step]}})]
    found = steps_of_json(_parsed(values[ITEM]))
    return [_added(each, request, step) for each in found] if request or step else found


def _added(step: Step, request: Mapping[str, Any], of_step: Mapping[str, Any]) -> Step:
    dataset = {**step.dataset(), **request}
    item = {**step_of(dataset), **of_step}
    return step_from({**dataset, f"{STEPS:08X}": {"vr": "SQ", "Value": [item]}})


def _parsed(item: Any) -> Any:
    if not isinstance(item, str | bytes | bytearray | memoryview):
        return item  # the driver has read it
    try:
        return orjson.loads(item)
    except orjson.JSONDecodeError:
        raise BadRequest("The column item holds no JSON.") from None


def _elements(table: Mapping[str, tuple[int, str]], values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (tag, vr) in table.items():
        if name in values:
            found |= _element(tag, vr, values[name])
    return found


def _element(tag: int, vr: str, value: Any) -> dict[str, Any]:
    """The member of DICOM JSON, none where there is no value.

    `BadRequest` if nobody can say when a step starts; other dates and times that are none have no value.
    """
    text = _text(vr, value)
    if text is None and tag in _STARTS:
        kind = "date" if vr == "DA" else "time"
        raise BadRequest(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is no {kind} that can be read.")
    text = text or ""
    if len(text) > _MOST_TEXT:
        raise TooLarge(f"A value of ({tag >> 16:04X},{tag & 0xFFFF:04X}) is too long.")
    if not text:
        return {}
    values: list[Any] = text.split("\\") if vr not in ("LT", "ST", "UT") else [text]
    if vr == "PN":
        values = [_name(each) for each in values]
    elif vr == "US":
        values = [int(each) for each in values if each.isascii() and each.isdigit() and len(each) < 6]
    return {f"{tag:08X}": {"vr": vr, "Value": values}} if values else {}


def _name(text: str) -> dict[str, str] | None:
    groups = ("Alphabetic", "Ideographic", "Phonetic")
    return {key: each for key, each in zip(groups, text.split("="), strict=False) if each} or None


def _text(vr: str, value: Any) -> str | None:
    """A value as text of its VR, `None` if it is none.

    Dates and times are taken from what ISO 8601 writes, and from DICOM's own form.
    """
    if isinstance(value, bytes):  # a BLOB, or text of a database that knows no character set
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise BadRequest("A value is no text in UTF-8.") from None
    text = f"{value:.10g}" if isinstance(value, Decimal | float) else str(value).replace("\0", "").strip()
    if not text or vr not in ("DA", "TM"):
        return text
    if vr == "TM" and _DAY_ALONE.fullmatch(text):
        return ""
    found = (_DATE if vr == "DA" else _TIME).fullmatch(text)
    told = "".join(part or "" for part in found.groups()) if found else ""
    return told if comparable(vr, told) is not None else None
