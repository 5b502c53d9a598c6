"""What a C-MOVE or C-GET asks for, out of its identifier (PS3.4 C.4.2.1.4, C.4.3.1.3)."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.dicom.attributes import CHARACTER_SET, attribute_name
from service.dicom.errors import BadKey
from service.dicom.identifier import Identifier
from service.dicom.querying import NAMES, QUERY_LEVEL, UNIQUE, Root
from service.dicom.resource import Level, is_uid

_ACCESSION_NUMBER = 0x00080050
_LEVELS: Mapping[str, Level] = {name: level for level, name in NAMES.items()} | {"INSTANCE": Level.INSTANCE}


@dataclass(frozen=True, slots=True)
class Wanted:
    """All instances of what is named at `level`: UIDs at it, at most one of each level above.

    A study may be named by its accession number instead; a patient is named by the ID alone.
    """

    level: Level
    patient: str = ""
    accession: str = ""
    studies: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()


def relational(offered: bytes) -> bytes:
    """The answer to extended negotiation: relational retrieval, and nothing else (PS3.4 C.5.2.1)."""
    return bytes(int(byte == 1 and place == 0) for place, byte in enumerate(offered[:2]))


def read_wanted(
    identifier: Identifier, root: Root, *, is_relational: bool = False, strict: bool = False
) -> Wanted:
    """What `identifier` names; `BadKey` if that is nothing, or not clear.

    `strict` demands the keys of all levels above unless `is_relational`, and allows no others. Without it a
    level that is not told is that of the lowest key, and other keys are passed over.
    """
    level = _level(identifier, root, strict=strict)
    for below in root.levels:
        if below > level and identifier.text(UNIQUE[below]):
            raise BadKey(f"{_name(UNIQUE[below])} is of a lower level than the retrieval.", UNIQUE[below])
    if strict:
        _require_keys(identifier, root, level, is_relational=is_relational)
    named = [one for one in root.levels if Level.PATIENT < one <= level]
    uids = {one: _uids(identifier, one) for one in named}
    for above, values in uids.items():
        if above < level and len(values) > 1:
            raise BadKey(f"{_name(UNIQUE[above])} must have one value at this level.", UNIQUE[above])
    accession = identifier.text(_ACCESSION_NUMBER) if level is Level.STUDY else ""
    by_accession = bool(accession) and not uids.get(Level.STUDY)
    if not identifier.text(UNIQUE[level]) and not by_accession:
        raise BadKey(f"{_name(UNIQUE[level])} must have a value at this level.", UNIQUE[level])
    return Wanted(
        level,
        patient=_plain(identifier, UNIQUE[Level.PATIENT]) if level is Level.PATIENT else "",
        accession=_plain(identifier, _ACCESSION_NUMBER) if by_accession else "",
        studies=uids.get(Level.STUDY, ()),
        series=uids.get(Level.SERIES, ()),
        instances=uids.get(Level.INSTANCE, ()),
    )


def _level(identifier: Identifier, root: Root, *, strict: bool) -> Level:
    told = identifier.text(QUERY_LEVEL)
    level = _LEVELS.get(told if strict else told.upper())
    if not told and not strict:
        level = max((one for one in root.levels if identifier.text(UNIQUE[one])), default=None)
    if level is None or level not in root.levels:
        expected = ", ".join(NAMES[one] for one in root.levels)
        raise BadKey(f"Query/Retrieve Level must be one of {expected}.", QUERY_LEVEL)
    return level


def _require_keys(identifier: Identifier, root: Root, level: Level, *, is_relational: bool) -> None:
    above = {UNIQUE[one] for one in root.levels if one < level}
    for tag in sorted(above):
        if not is_relational and not identifier.text(tag):
            raise BadKey(f"{_name(tag)} must have a value at this level.", tag)
    for key in identifier.keys:
        if key.text and key.tag not in above | {UNIQUE[level], QUERY_LEVEL, CHARACTER_SET}:
            raise BadKey(f"{_name(key.tag)} is no key of a retrieval.", key.tag)


def _uids(identifier: Identifier, level: Level) -> tuple[str, ...]:
    values = [one.strip() for one in identifier.text(UNIQUE[level]).split("\\")]
    uids = dict.fromkeys(one for one in values if one)
    if not all(map(is_uid, uids)):
        raise BadKey(f"{_name(UNIQUE[level])} must be UIDs.", UNIQUE[level])
    return tuple(uids)


def _plain(identifier: Identifier, tag: int) -> str:
    """One value, meant as it is written."""
    text = identifier.text(tag)
    if set(text) & set("*?\\"):
        raise BadKey(f"{_name(tag)} must have one value without wildcards.", tag)
    return text


def _name(tag: int) -> str:
    return attribute_name((tag,))
