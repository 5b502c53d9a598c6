"""Modality worklist (PS3.4 annex K): what a query asks, and which scheduled procedure steps fit it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.dicom.criteria import Filter, Match
from service.dicom.identifier import Identifier, Key
from service.dicom.matching import Dataset, matches
from service.dicom.privates import PrivateBlock, as_asked
from service.dicom.querying import Agreement, Reading, private_blocks
from service.dicom.resource import Level
from service.dicom.values import comparable, element_values

STEPS = 0x00400100  # Scheduled Procedure Step Sequence
START_DATE, START_TIME = 0x00400002, 0x00400003
STEP_STATUS = 0x00400020

# Ranges of a date and of its time are one interval, without negotiation (PS3.4 Table K.6-1).
_STEP_TIMES = ((START_DATE, START_TIME), (0x00400004, 0x00400005))
_FUZZY = 2  # sub-field of extended negotiation (PS3.4 K.5); the two before it are reserved

# What a scheduled procedure step has a value of (PS3.4 Table K.6-1, return key type 1).
_NEEDED_OF_STEP = {
    0x00080060: "Modality",
    0x00400001: "ScheduledStationAETitle",
    START_DATE: "ScheduledProcedureStepStartDate",
    START_TIME: "ScheduledProcedureStepStartTime",
    0x00400009: "ScheduledProcedureStepID",
}
_NEEDED = {
    0x00100010: "PatientName",
    0x00100020: "PatientID",
    0x0020000D: "StudyInstanceUID",
    0x00401001: "RequestedProcedureID",
}


@dataclass(frozen=True, slots=True)
class WorklistQuery:
    """A query of the worklist as it is carried out.

    `keys` are what is told of each match. `days` are the first and the last start date that can match, as
    YYYYMMDD, an empty one being open; `None` where steps without a date can too. `unsupported` are the keys
    with a value that is not matched: answers say so by their status.
    """

    keys: tuple[Key, ...]
    of_request: tuple[Filter, ...] = ()
    of_step: tuple[Filter, ...] = ()
    days: tuple[str, str] | None = None
    private: tuple[PrivateBlock, ...] = ()
    unsupported: tuple[int, ...] = ()

    def keeps(self, dataset: Dataset) -> bool:
        """Whether a worklist item, parsed DICOM JSON with one scheduled procedure step, matches."""
        step = step_of(dataset)
        if not matches(self.of_step, step, combined_datetime=True, pairs=_STEP_TIMES):
            return False
        return matches(self.of_request, as_asked(dataset, self.private))


def agreed(offered: bytes) -> bytes:
    """The answer to extended negotiation (PS3.4 K.5): fuzzy matching of names, and nothing unoffered."""
    return bytes(int(byte == 1 and place <= _FUZZY) for place, byte in enumerate(offered[:4]))


def read_worklist_query(
    identifier: Identifier, *, fuzzy: bool = False, strict: bool = False
) -> WorklistQuery:
    """What `identifier` asks for; `BadKey` names what is wrong.

    `fuzzy` is what was negotiated of names. Unless `strict`, keys with wildcards where there are none are
    passed over.
    """
    reading = Reading(Level.INSTANCE, Agreement(fuzzy=fuzzy), strict)
    for key in identifier.keys:
        reading.read(key, identifier)
    of_step = [
        Filter(key.path[1:], key.vr, key.match, key.values)
        for key in reading.filters
        if key.path[0] == STEPS and len(key.path) > 1
    ]
    return WorklistQuery(
        keys=identifier.keys,
        of_request=tuple(key for key in reading.filters if key.path[0] != STEPS or len(key.path) == 1),
        of_step=tuple(of_step),
        days=_days(of_step),
        private=tuple(private_blocks(identifier.keys)),
        unsupported=tuple(reading.unsupported),
    )


def step_of(dataset: Dataset) -> Dataset:
    """The scheduled procedure step of a worklist item, empty if there is none."""
    items = element_values(dataset.get(f"{STEPS:08X}"))
    first = items[0] if items else None
    return first if isinstance(first, Mapping) else {}


def start_day(dataset: Dataset) -> str:
    """The day on which the step of a worklist item starts, as YYYYMMDD; empty where that is not told."""
    return first_text(step_of(dataset), START_DATE, "DA")


def first_text(dataset: Dataset, tag: int, vr: str) -> str:
    """The first value of an element in comparable form, empty if it has none."""
    values = element_values(dataset.get(f"{tag:08X}"))
    found = comparable(vr, values[0]) if values else None
    return "" if found is None else str(found)


def lacking(dataset: Dataset) -> list[str]:
    """The keywords of what a worklist item has to have a value of, and has not."""
    of_step = step_of(dataset)
    pairs = ((_NEEDED_OF_STEP, of_step), (_NEEDED, dataset))
    return [word for needed, where in pairs for tag, word in needed.items() if not _has_value(where, tag)]


def _has_value(dataset: Dataset, tag: int) -> bool:
    return any(value not in (None, "", {}) for value in element_values(dataset.get(f"{tag:08X}")))


def _days(filters: Sequence[Filter]) -> tuple[str, str] | None:
    """The days that the key of the start date leaves."""
    for key in filters:
        if key.path == (START_DATE,) and key.match is Match.RANGE:
            return key.values[0], key.values[1]
        if key.path == (START_DATE,) and key.match is Match.ANY and key.values:
            return min(key.values), max(key.values)
    return None
