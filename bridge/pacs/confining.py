"""Searches of those who may not know of everything that a PACS has."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from service.dicom.confinement import Confinement
from service.dicom.criteria import Filter, Match
from service.dicom.query import Query
from service.dicom.querying import PATIENT_ID, UNIQUE
from service.dicom.resource import Level
from service.dicom.values import comparable, element_values

_STUDY = UNIQUE[Level.STUDY]


def narrowed(query: Query) -> Iterator[Query]:
    """`query` as it is put to the PACS, once for each list that its reader is confined to.

    Together they find what is permitted, and more; a match may come twice. A PACS is not asked for what
    everybody else may see as far as it can be told what is wanted.
    """
    within = query.confinement
    if within is None or not within.confines or query.study is not None:
        yield query
        return
    for tag, vr, values in ((_STUDY, "UI", within.studies), (PATIENT_ID, "LO", within.patients)):
        if not values:
            continue
        asked = any(key.path == (tag,) for key in query.filters)
        key = Filter((tag,), vr, Match.ANY, tuple(sorted(values)))
        yield query if asked else replace(query, filters=(*query.filters, key))


def permitted(query: Query, found: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The matches that the reader of `query` may know of, each once.

    What does not say whose it is is nobody's.
    """
    within = query.confinement
    if within is None:
        return list(found)
    kept: dict[tuple[str | None, ...], Mapping[str, Any]] = {}
    for match in found:
        names = tuple(_text(match, UNIQUE[level]) for level in Level if level is not Level.PATIENT)
        if is_permitted(within, match):
            kept.setdefault(names, match)
    return list(kept.values())


def is_permitted(within: Confinement, match: Mapping[str, Any]) -> bool:
    """Whether `match`, a parsed DICOM JSON object, is of a study that may be known of."""
    return within.permits(_text(match, _STUDY) or "", _text(match, PATIENT_ID))


def _text(match: Mapping[str, Any], tag: int) -> str | None:
    """The first value of an attribute in comparable form."""
    values = (comparable("LO", value) for value in element_values(match.get(f"{tag:08X}")))
    found = next((value for value in values if value is not None), None)
    return None if found is None else str(found)
