"""Modality Performed Procedure Steps (PS3.4 F.7.2, PS3.3 C.4.13 to C.4.15): what a message about one may say.

Unless they are strict, checks demand what a step is known and told by; what else Table F.7.2-1 demands is
taken for empty where it is absent, since a refusal would leave the step open for ever.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from service.dicom.errors import BadRequest
from service.dicom.resource import is_uid
from service.dicom.values import comparable, element_values

type Dataset = Mapping[str, Any]

IN_PROGRESS, COMPLETED, DISCONTINUED = "IN PROGRESS", "COMPLETED", "DISCONTINUED"
FINAL = frozenset((COMPLETED, DISCONTINUED))

CHARACTER_SET = "00080005"
MODALITY, STUDY, SERIES = "00080060", "0020000D", "0020000E"
STATUS, SCHEDULED, PERFORMED_SERIES = "00400252", "00400270", "00400340"
STEP_ID, ACCESSION = "00400009", "00080050"
START_DATE, START_TIME, END_DATE, END_TIME = "00400244", "00400245", "00400250", "00400251"
PROTOCOL_NAME, PATIENT_ID = "00181030", "00100020"

# PS3.4 Table F.7.2-1, N-CREATE, in the order printed: what has a value, and what is there.
_CREATED = (SCHEDULED, "00400253", "00400241", START_DATE, START_TIME, STATUS, MODALITY)
_CREATED_TYPE_2 = (
    *("00100010", "00100020", "00100030", "00100040", "00081120", "00400242", "00400243", "00400254"),
    *("00400255", "00081032", END_DATE, END_TIME, "00200010", "00400260", PERFORMED_SERIES),
)
_SCHEDULED_TYPE_2 = ("00081110", ACCESSION, "00401001", "00321060", STEP_ID, "00400007", "00400008")
_SERIES_TYPE_2 = ("00081050", "00081070", "0008103E", "00080054", "00081140")
# N-SET does not change these.
_SETTLED = frozenset(
    (SCHEDULED, "00100010", "00100020", "00100021", "00100024", "00101002", "00100030", "00100040")
    + ("00081120", "00400253", "00400241", "00400242", "00400243", START_DATE, START_TIME, MODALITY)
    + ("00200010", "00080016", "00080018")
)


class _BadStep(BadRequest):
    """A message about a step is not what it has to be; `tags` are the attributes, in hexadecimal."""

    def __init__(self, message: str, tags: Sequence[str]) -> None:
        super().__init__(message)
        self.tags = tuple(tags)


class MissingAttribute(_BadStep):
    """An attribute is not there."""


class MissingValue(_BadStep):
    """An attribute has no value."""


class InvalidValue(_BadStep):
    """An attribute has a value that it cannot have."""


def check_creation(step: Dataset, *, strict: bool) -> None:
    """Raise what is wrong with the attributes of an N-CREATE."""
    _require(step, _CREATED)
    if strict:
        _require_there(step, _CREATED_TYPE_2)
    for item in items(step, SCHEDULED):
        _require(item, (STUDY,))
        if strict:
            _require_there(item, _SCHEDULED_TYPE_2)
    _check_values(step)
    if status_of(step) != IN_PROGRESS:  # PS3.4 F.7.2.1.3
        raise InvalidValue("A step is created IN PROGRESS.", [STATUS])


def check_change(change: Dataset, merged: Dataset, *, strict: bool) -> None:
    """Raise what is wrong with the attributes of an N-SET, and with the step that it makes."""
    _check_values(change)
    if STATUS in change and not first(change, STATUS):
        raise MissingValue("Performed Procedure Step Status has no value.", [STATUS])
    if not strict or status_of(merged) not in FINAL:
        return
    _require(merged, (END_DATE, END_TIME, PERFORMED_SERIES))  # Table F.7.2-1, final state
    for item in items(merged, PERFORMED_SERIES):
        _require(item, (PROTOCOL_NAME, SERIES))
        _require_there(item, _SERIES_TYPE_2)


def changed(step: Dataset, change: Dataset) -> tuple[dict[str, Any], list[str]]:
    """The step as an N-SET makes it, and the tags of what it may not change and would have."""
    settled = [tag for tag in change if tag in _SETTLED and change[tag] != step.get(tag)]
    left = {tag: each for tag, each in change.items() if tag not in _SETTLED and tag != CHARACTER_SET}
    return {**step, **left}, settled


def status_of(step: Dataset) -> str:
    """The Performed Procedure Step Status."""
    return first(step, STATUS)


def first(dataset: Dataset, tag: str) -> str:
    """The first value of an element as text, empty if it has none."""
    values = element_values(dataset.get(tag))
    return str(values[0]).strip() if values and values[0] is not None else ""


def items(dataset: Dataset, tag: str) -> list[Dataset]:
    """The items of a sequence."""
    return [item for item in element_values(dataset.get(tag)) if isinstance(item, Mapping)]


def _require(dataset: Dataset, tags: Iterable[str]) -> None:
    _require_there(dataset, tags)
    empty = [tag for tag in tags if not element_values(dataset[tag]) or not first(dataset, tag)]
    if empty:
        raise MissingValue(f"{_shown(empty[0])} has no value.", empty)


def _require_there(dataset: Dataset, tags: Iterable[str]) -> None:
    absent = [tag for tag in tags if tag not in dataset]
    if absent:
        raise MissingAttribute(f"{_shown(absent[0])} is missing.", absent)


def _check_values(step: Dataset) -> None:
    """What can be told to be no value of its attribute."""
    if (status := first(step, STATUS)) and status not in {IN_PROGRESS, *FINAL}:
        raise InvalidValue("Performed Procedure Step Status has a value that there is not.", [STATUS])
    for vr, tags in (("DA", (START_DATE, END_DATE)), ("TM", (START_TIME, END_TIME))):
        for tag in tags:
            if (text := first(step, tag)) and comparable(vr, text) is None:
                raise InvalidValue(f"{_shown(tag)} is no {'date' if vr == 'DA' else 'time'}.", [tag])
    for sequence, tag in ((SCHEDULED, STUDY), (PERFORMED_SERIES, SERIES)):
        for item in items(step, sequence):
            if (uid := first(item, tag)) and not is_uid(uid):
                raise InvalidValue(f"{_shown(tag)} is no UID.", [sequence])


def _shown(tag: str) -> str:
    return f"({tag[:4]},{tag[4:]})"
