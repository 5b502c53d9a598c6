"""Patients out of studies: what a search at the PATIENT level tells, since DICOMweb has no such level."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

import orjson

from service.dicom.attributes import STUDY_INSTANCES, STUDY_SERIES
from service.dicom.errors import TooMany
from service.dicom.querying import (
    ISSUER,
    PATIENT_ID,
    PATIENT_INSTANCES,
    PATIENT_SERIES,
    PATIENT_STUDIES,
    is_of,
)
from service.dicom.resource import Level
from service.dicom.values import element_values

_COUNTS = (PATIENT_STUDIES, PATIENT_SERIES, PATIENT_INSTANCES)
_NAME = 0x00100010

type Match = Mapping[str, Any]


class Patients:
    """Studies folded by Patient ID and its issuer; of those without an ID, by name too.

    The first study of a patient says what is said of the patient. With `counting`, studies, series and
    instances are added up, so that nothing is told before all studies are there.
    """

    def __init__(self, *, counting: bool, most: int) -> None:
        self._counting = counting
        self._most = most
        self._seen: dict[Hashable, list[int]] = {}
        self._held: dict[Hashable, bytes] = {}  # as JSON, a tenth of what it takes parsed

    @staticmethod
    def counts(tags: Iterable[int]) -> bool:
        """Whether any of the attributes asked for is a count of the patient."""
        return any(tag in _COUNTS for tag in tags)

    def take(self, studies: Iterable[Match]) -> Iterator[Match]:
        """The patients of `studies` that were not told before; `TooMany` if they are more than `most`."""
        for study in studies:
            key = _patient(study)
            counts = self._seen.get(key)
            if counts is None:
                if len(self._seen) >= self._most:
                    raise TooMany(f"There are more than {self._most} patients; narrow the search.")
                counts = self._seen[key] = [0, 0, 0] if self._counting else []
                if self._counting:
                    self._held[key] = orjson.dumps(_of_patient(study))
                else:
                    yield study
            if self._counting:
                counts[0] += 1
                counts[1] += _number(study, STUDY_SERIES)
                counts[2] += _number(study, STUDY_INSTANCES)

    def rest(self) -> Iterator[Match]:
        """The patients that waited for their counts, which they have."""
        for key, patient in self._held.items():
            numbers = zip(_COUNTS, self._seen[key], strict=True)
            told = {f"{tag:08X}": {"vr": "IS", "Value": [n]} for tag, n in numbers}
            yield orjson.loads(patient) | told
        self._held.clear()


def _patient(study: Match) -> Hashable:
    told = _first(study, PATIENT_ID)
    return (told, _first(study, ISSUER)) if told else ("", _first(study, ISSUER), _first(study, _NAME))


def _of_patient(study: Match) -> Match:
    return {key: element for key, element in study.items() if _is_of_patient(key)}


def _is_of_patient(key: str) -> bool:
    try:
        return is_of(Level.PATIENT, int(key, 16))
    except ValueError:  # no tag; careless servers have keywords
        return False


def _first(study: Match, tag: int) -> str:
    values = element_values(study.get(f"{tag:08X}"))
    value = values[0] if values else ""
    return str(value).strip() if not isinstance(value, dict) else "=".join(map(str, value.values()))


def _number(study: Match, tag: int) -> int:
    text = _first(study, tag)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0
