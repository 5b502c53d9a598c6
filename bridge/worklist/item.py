"""Worklist items, made valid where they come in: one scheduled procedure step each, as DICOM JSON.

An item with several steps becomes one for each, since an answer has one (PS3.4 K.4.1.1.3.2).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from service.dicom.errors import BadRequest, NotDicom, TooLarge
from service.dicom.identifier import read_answer
from service.dicom.part10 import read_file_head
from service.dicom.syntaxes import BY_UID, EXPLICIT_LE
from service.dicom.values import element_values
from service.dicom.worklist import STEP_STATUS, STEPS, first_text, start_day, step_of
from service.dicom.writing import DataSet, Detached

MOST_BYTES = 64 << 10
"""The longest item, as DICOM JSON."""

_MOST_STEPS = 64  # of one item
_STEPS = f"{STEPS:08X}"
_STEP_ID, _STUDY, _ACCESSION = 0x00400009, 0x0020000D, 0x00080050


@dataclass(frozen=True, slots=True)
class Step:
    """A scheduled procedure step: `document` is its worklist item in DICOM JSON.

    `day` is its start date as YYYYMMDD; `step_id`, `study` and `accession` are what a performed procedure
    step refers to it by. All may be empty.
    """

    document: bytes
    day: str = ""
    step_id: str = ""
    study: str = ""
    accession: str = ""

    def dataset(self) -> dict[str, Any]:
        """The item, parsed."""
        parsed: dict[str, Any] = orjson.loads(self.document)
        return parsed

    def may_be_within(self, days: tuple[str, str] | None) -> bool:
        """Whether the start date is from the first to the last of `days`, an empty one being open."""
        if days is None:
            return True
        first, last = days
        return bool(self.day) and first <= self.day and (not last or self.day <= last)


def steps_of_file(name: str, content: bytes) -> list[Step]:
    """The steps in a worklist file: DICOM JSON by its name, else DICOM. `BadRequest` says what is wrong."""
    if name.lower().endswith(".json"):
        try:
            parsed = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
        except orjson.JSONDecodeError:
            raise BadRequest("The file is no JSON.") from None
        return [step for each in _listed(parsed) for step in steps_of_json(each)]
    try:
        head = read_file_head(content)
    except NotDicom as error:
        raise BadRequest(str(error)) from None
    syntax = None if head is None else BY_UID.get(head.syntax)
    if head is None or syntax is None:
        raise BadRequest("The file is no DICOM file, or in a transfer syntax that is not known.")
    return _steps(read_answer(content[head.data_offset :], syntax))


def steps_of_json(document: Any) -> list[Step]:
    """The steps of an item in DICOM JSON; `BadRequest` names the attribute that is wrong.

    It is written as a data set and read again, so that whatever comes of it is what such bytes mean.
    """
    try:
        written = DataSet(document)
    except NotDicom as error:
        raise BadRequest(str(error)) from None
    content = bytearray()
    for segment in written.segments:
        if isinstance(segment, Detached):
            raise BadRequest("A worklist item may have no BulkDataURI.")
        content += segment
        if len(content) > 2 * MOST_BYTES:
            raise TooLarge(f"A worklist item may have {MOST_BYTES} bytes.")
    return _steps(read_answer(bytes(content), BY_UID[EXPLICIT_LE]))


def _listed(parsed: Any) -> list[Any]:
    return parsed if isinstance(parsed, list) else [parsed]


def _steps(dataset: Mapping[str, Any]) -> list[Step]:
    items = [item for item in element_values(dataset.get(_STEPS)) if isinstance(item, Mapping)]
    if not items:
        raise BadRequest("Scheduled Procedure Step Sequence (0040,0100) is missing or empty.")
    if len(items) > _MOST_STEPS:
        raise BadRequest(f"Scheduled Procedure Step Sequence has more than {_MOST_STEPS} items.")
    return [step_from({**dataset, _STEPS: {"vr": "SQ", "Value": [item]}}) for item in items]


def step_from(dataset: Mapping[str, Any]) -> Step:
    """The step of an item that has one; `TooLarge` if the item is too long."""
    document = orjson.dumps(dataset)
    if len(document) > MOST_BYTES:
        raise TooLarge(f"A worklist item may have {MOST_BYTES} bytes.")
    return Step(
        document,
        start_day(dataset),
        first_text(step_of(dataset), _STEP_ID, "SH"),
        first_text(dataset, _STUDY, "UI"),
        first_text(dataset, _ACCESSION, "SH"),
    )


def with_status(dataset: Mapping[str, Any], status: str) -> dict[str, Any]:
    """An item with `status` as the status of its step."""
    item = {**step_of(dataset), f"{STEP_STATUS:08X}": {"vr": "CS", "Value": [status]}}
    return {**dataset, _STEPS: {"vr": "SQ", "Value": [item]}}
