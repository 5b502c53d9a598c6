"""A query out of an identifier: what a C-FIND asks (PS3.4 C.4.1, C.6)."""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from service.dicom.attributes import (
    AVAILABILITY,
    CHARACTER_SET,
    DATE_TIMES,
    TIMEZONE,
    attribute_name,
    find_tag,
    level_of,
)
from service.dicom.criteria import MOST_VALUES, Filter, Manner, Match, is_pattern, read_key
from service.dicom.errors import BadKey, BadRequest
from service.dicom.identifier import Identifier, Key
from service.dicom.privates import PrivateBlock, creator_of, is_creator, is_private
from service.dicom.query import Query
from service.dicom.resource import Level
from service.dicom.values import NUMBERS
from service.dicom.zones import read_zone

QUERY_LEVEL = 0x00080052
RETRIEVE_AE_TITLE = 0x00080054
PATIENT_ID, ISSUER = 0x00100020, 0x00100021
PATIENT_STUDIES, PATIENT_SERIES, PATIENT_INSTANCES = 0x00201200, 0x00201202, 0x00201204
UNIQUE = {
    Level.PATIENT: PATIENT_ID,
    Level.STUDY: 0x0020000D,
    Level.SERIES: 0x0020000E,
    Level.INSTANCE: 0x00080018,
}
NAMES = {
    Level.PATIENT: "PATIENT",
    Level.STUDY: "STUDY",
    Level.SERIES: "SERIES",
    Level.INSTANCE: "IMAGE",
}
_LEVELS = {name: level for level, name in NAMES.items()} | {"INSTANCE": Level.INSTANCE}

_MOST_FILTERS = 100
_GIVEN_BY_US = frozenset((RETRIEVE_AE_TITLE, PATIENT_STUDIES, PATIENT_SERIES, PATIENT_INSTANCES))
# Of group 0010, but of the patient's state at the time of the study (PS3.3 C.7.2.2).
_OF_THE_STUDY = frozenset(
    (0x00101010, 0x00101020, 0x00101021, 0x00101022, 0x00101023, 0x00101024, 0x00101030, 0x00102000)
    + (0x00102110, 0x00102180, 0x001021A0, 0x001021B0, 0x001021C0, 0x00102203)
)
_NO_WILDCARDS = NUMBERS | {"DA", "TM", "DT", "UI"}


class Root(enum.Enum):
    """The information models of query and retrieve (PS3.4 C.6), by their levels."""

    PATIENT = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.INSTANCE)
    STUDY = (Level.STUDY, Level.SERIES, Level.INSTANCE)
    PATIENT_STUDY_ONLY = (Level.PATIENT, Level.STUDY)

    def __init__(self, *levels: Level) -> None:
        self.levels = levels


@dataclass(frozen=True, slots=True)
class Agreement:
    """What extended negotiation has agreed upon for a search (PS3.4 C.5.1.1)."""

    relational: bool = False
    combined_datetime: bool = False
    fuzzy: bool = False
    timezone: bool = False
    empty_values: bool = False
    multiple_values: bool = False

    @classmethod
    def of(cls, information: bytes) -> "Agreement":
        """The meaning of service-class-application-information; bytes that are missing agree to nothing."""
        told = [byte == 1 for byte in information.ljust(7, b"\0")]
        return cls(told[0], told[1], told[2], told[3], told[5], told[6])


def agreed(offered: bytes) -> bytes:
    """The answer to what was offered: all but enhanced multi-frame conversion, and nothing unoffered."""
    return bytes(int(byte == 1 and place != 4) for place, byte in enumerate(offered[:7]))


@dataclass(frozen=True, slots=True)
class Asked:
    """A C-FIND request as it is carried out.

    `query` is to be searched for, page by page; `keys` are what is told of each match. `unsupported` are
    the keys with a value that is not matched: answers say so by their status.
    """

    query: Query
    root: Root
    keys: tuple[Key, ...]
    unsupported: tuple[int, ...] = ()

    @property
    def level(self) -> Level:
        return self.query.level


def read_query(
    identifier: Identifier, root: Root, agreement: Agreement = Agreement(), *, strict: bool = False
) -> Asked:
    """What `identifier` asks for.

    `strict` demands of it what PS3.4 C.4.1.2 does; otherwise keys of any level above are taken without
    negotiation too, a level that is not told is that of the lowest unique key, and keys with wildcards
    where there are none, or that are of a lower level, are passed over. `BadKey` names what is wrong.
    """
    level = _level(identifier, root, strict=strict)
    reading = Reading(level, agreement, strict)
    for key in identifier.keys:
        reading.read(key, identifier)
    if strict and not agreement.relational:
        _require_hierarchy(reading.filters, level, root)
    filters, study, series = _scope(reading.filters, level)
    query = Query(
        level=level,
        study=study,
        series=series,
        filters=tuple(filters),
        fields=_fields(reading, level),
        fuzzy=agreement.fuzzy,
        combined_datetime=agreement.combined_datetime,
        zone=reading.zone,
        private=tuple(private_blocks(identifier.keys)),
    )
    return Asked(query, root, identifier.keys, tuple(reading.unsupported))


def _level(identifier: Identifier, root: Root, *, strict: bool) -> Level:
    told = identifier.text(QUERY_LEVEL)
    level = _LEVELS.get(told if strict else told.upper())
    if not told and not strict:
        present = [level for level in root.levels if identifier.find(UNIQUE[level]) is not None]
        level = max(present, default=None)
    if level is None or level not in root.levels:
        expected = ", ".join(NAMES[level] for level in root.levels)
        raise BadKey(f"Query/Retrieve Level must be one of {expected}.", QUERY_LEVEL)
    return level


def owner(tag: int) -> Level:
    """The level that a top-level attribute belongs to; of patients, PATIENT."""
    level = level_of(tag)
    if level is Level.STUDY and tag >> 16 == 0x0010 and tag not in _OF_THE_STUDY:
        return Level.PATIENT
    return level


def is_of(level: Level, tag: int) -> bool:
    """Whether a match of `level` has one value of an attribute; of what is below, it has many things."""
    return owner(tag) <= level or tag in _GIVEN_BY_US or tag in (AVAILABILITY, TIMEZONE)


@dataclass(slots=True)
class Reading:
    """Filters, and what else keys say, read one key after another; of INSTANCE, keys of every level are."""

    level: Level
    agreement: Agreement
    strict: bool
    filters: list[Filter] = field(default_factory=list)
    fields: list[int] = field(default_factory=list)
    unsupported: list[int] = field(default_factory=list)
    zone: int | None = None

    def read(self, key: Key, identifier: Identifier) -> None:
        tag = key.tag
        if tag in (CHARACTER_SET, QUERY_LEVEL):
            return
        if tag == TIMEZONE:
            self._read_zone(key)
            return
        if is_creator(tag):
            return
        if tag in _GIVEN_BY_US:
            self._pass_over(key)
            return
        if not is_of(self.level, tag):
            if self.strict and _has_value(key):
                raise BadKey(f"{attribute_name((tag,))} is of a lower level than the query.", tag)
            self._pass_over(key)
            return
        self.fields.append(tag)
        self._add((tag,), key)

    def _pass_over(self, key: Key) -> None:
        if _has_value(key):
            self.unsupported.append(key.tag)

    def _read_zone(self, key: Key) -> None:
        self.fields.append(TIMEZONE)
        if not key.text.strip("*"):
            return
        if not self.agreement.timezone:
            self._pass_over(key)
            return
        self.zone = read_zone(key.text)
        if self.zone is None:
            raise BadKey("TimezoneOffsetFromUTC must be an offset such as +0100.", TIMEZONE)

    def _add(self, path: tuple[int, ...], key: Key) -> None:
        if key.vr == "SQ":
            if any(_has_value(inner) for item in key.items[1:] for inner in item):
                raise BadKey(f"{attribute_name(path)} has more than one item (PS3.4 C.2.2.2.6).", path[0])
            for inner in key.items[0] if key.items else ():
                if inner.tag != CHARACTER_SET and not is_creator(inner.tag):
                    self._add((*path, inner.tag), inner)
            return
        text = key.text
        if not text.strip("\\* "):
            return
        found = find_tag(f"{key.tag:08X}")
        vr = found[1] if found is not None and found[1] else key.vr
        name = attribute_name(path)
        if vr == "UN" or is_private(key.tag):
            vr = ""  # that of the object counts
        agreement = self.agreement
        manner = Manner(agreement.fuzzy, agreement.empty_values, agreement.multiple_values)
        try:
            read = read_key(path, vr, name, text, manner)
        except BadRequest as error:
            if self.strict or not (vr in _NO_WILDCARDS and is_pattern(text)):
                raise BadKey(str(error), path[0]) from None
            self.unsupported.append(path[0])
            return
        if read is not None:
            self.filters.append(read)
        if len(self.filters) > _MOST_FILTERS:
            raise BadKey(f"There are more than {_MOST_FILTERS} keys with a value.", path[0])
        if sum(len(each.values) for each in self.filters) > MOST_VALUES:
            raise BadKey(f"There are more than {MOST_VALUES} values.", path[0])


def _has_value(key: Key) -> bool:
    if key.vr == "SQ":
        return any(_has_value(inner) for item in key.items for inner in item)
    return bool(key.text.strip("\\* "))


def _require_hierarchy(filters: Sequence[Filter], level: Level, root: Root) -> None:
    """PS3.4 C.4.1.2.1: one value for the unique key of each level above, and no other key up there."""
    by_tag = {key.path[0]: key for key in filters}
    unique = set()
    for above in root.levels[: root.levels.index(level)]:
        tag = UNIQUE[above]
        key = by_tag.get(tag)
        if key is None or key.match is not Match.ANY or len(key.values) != 1 or is_pattern(key.values[0]):
            raise BadKey(f"{attribute_name((tag,))} must have one value at this level.", tag)
        unique.add(tag)
    for tag in by_tag:
        above_all = owner(tag) < level and not (root is Root.STUDY and level is Level.STUDY)
        if above_all and tag not in unique:
            raise BadKey(f"{attribute_name((tag,))} is of a higher level than the query.", tag)


def _scope(filters: Sequence[Filter], level: Level) -> tuple[list[Filter], str | None, str | None]:
    """Filters, study and series, where the latter two are each fixed by one value and above the level."""
    left = list(filters)
    fixed: list[str] = []
    for above in (Level.STUDY, Level.SERIES):
        found = next((key for key in left if key.path == (UNIQUE[above],)), None)
        if above >= level or found is None or found.match is not Match.ANY or len(found.values) != 1:
            break
        left.remove(found)
        fixed.append(found.values[0])
    study, series = [*fixed, None, None][:2]
    return left, study, series


def _fields(reading: Reading, level: Level) -> tuple[int, ...]:
    """What has to be known of each match: what is asked, the keys, and what tells them apart."""
    wanted = [UNIQUE[above] for above in Level if above <= level]
    wanted += reading.fields
    used = {key.path[0] for key in reading.filters}
    for pair in DATE_TIMES:
        if reading.zone is not None and used & set(pair):
            wanted += pair
    if level is Level.PATIENT:
        wanted.append(ISSUER)
    if reading.zone is not None or reading.agreement.timezone:
        wanted.append(TIMEZONE)
    return tuple(dict.fromkeys(wanted))


def private_blocks(keys: Sequence[Key]) -> Iterator[PrivateBlock]:
    """The blocks of the private elements among `keys`, whose creators are among them too."""
    used = {creator_of(key.tag) for key in keys if is_private(key.tag)}
    for key in keys:
        if is_creator(key.tag) and key.tag in used and key.text:
            yield PrivateBlock(key.tag >> 16, key.tag & 0xFF, key.text)
