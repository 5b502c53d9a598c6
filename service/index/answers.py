"""What a search says of each match: stored summaries, counts and URLs, joined in the order of tags."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.dicom.attributes import (
    ATTRIBUTES,
    AVAILABLE_SYNTAXES,
    CHARACTER_SET,
    CLASSES,
    MODALITIES,
    REQUESTS,
    RETRIEVE_URL,
    SERIES_INSTANCES,
    STUDY_INSTANCES,
    STUDY_SERIES,
    TIMEZONE,
    Origin,
    Returned,
    level_of,
)
from service.dicom.privates import creator_of, is_private, stored_tag
from service.dicom.query import Query
from service.dicom.record import BASE_SLOT, SYNTAXES_SLOT
from service.dicom.resource import Level
from service.index.documents import member
from service.index.port import Answer

COUNTED = 10_000  # matches are counted so far, and no further

_MEMBER = re.compile(rb',(?="[0-9A-F]{8}":\{"vr":)')
_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]|,', re.DOTALL)
_STUDY_UID, _SERIES_UID = b"0020000D", b"0020000E"
_TIMEZONE = b"%08X" % TIMEZONE
_AVAILABILITY_MEMBER = b'"00080056":{"vr":"CS","Value":["ONLINE"]}'
_SYNTAXES_MEMBER = b'"00083002":{"vr":"UI","Value":[%s]}' % SYNTAXES_SLOT
_RETRIEVE_MEMBER = b'"%08X":{"vr":"UR","Value":["%s%%s"]}' % (RETRIEVE_URL, BASE_SLOT)
_UTF8_MEMBER = b'"00080005":{"vr":"CS","Value":["ISO_IR 192"]}'

# What the summaries hold, or would if the object had it. Request Attributes is in them only in part.
_SUMMED = {
    level: frozenset(
        row.tag
        for row in ATTRIBUTES
        if row.level is level
        and len(row.path) == 1
        and row.origin is not Origin.COMPUTED
        and row.returned is not Returned.ON_REQUEST
        and row.tag not in (REQUESTS, AVAILABLE_SYNTAXES)
    )
    for level in (Level.STUDY, Level.SERIES, Level.INSTANCE)
}
_COMPUTED = frozenset(row.tag for row in ATTRIBUTES if row.origin is Origin.COMPUTED) | {AVAILABLE_SYNTAXES}


@dataclass(frozen=True, slots=True)
class Hit:
    """One match: its place, the counts of its study and series, and the summaries of its levels."""

    study: str
    study_summary: bytes
    modalities: Sequence[str]
    series_count: int
    study_count: int
    classes: Sequence[str] = ()
    series: str | None = None
    series_summary: bytes = b""
    series_size: int = 0
    instance: str | None = None
    instance_summary: bytes = b""
    syntax: str = ""


def needs_document(query: Query) -> bool:
    """Whether an answer holds attributes that only the stored documents have."""
    return query.all_fields or bool(_document_fields(query))


class Writer:
    """Writes the answers to one query; neighbours mostly share the summaries of their study and series."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._levels = _levels(query)
        self._asked = frozenset(query.fields)
        self._fields = frozenset(b"%08X" % tag for tag in query.fields)
        wanted = _document_fields(query)
        self._private = sorted(tag for tag in wanted if is_private(tag))
        self._wanted = wanted - frozenset(self._private)
        self._above: tuple[bytes, bytes] = (b"", b"")
        self._members: dict[bytes, bytes] = {}

    def write(self, hit: Hit, document: Mapping[str, object] | None) -> bytes:
        """The DICOM JSON object of one match, with slots (PS3.18 10.6.3.3).

        `document` is the parsed JSON of the match, of its first instance where it is a study or series.
        """
        above = (hit.study_summary, hit.series_summary)
        if above != self._above:
            self._above = above
            self._members = self._from(Level.STUDY, hit.study_summary)
            self._members |= self._from(Level.SERIES, hit.series_summary)
        members = dict(self._members)
        if hit.instance is not None:
            members |= self._from(Level.INSTANCE, hit.instance_summary)
        if document is not None:
            self._add_document(members, document)
        for piece in self._computed(hit):
            members[piece[1:9]] = piece
        joined = b",".join([members[key] for key in sorted(members)])
        if not joined.isascii():
            members[b"%08X" % CHARACTER_SET] = _UTF8_MEMBER
            joined = b",".join([members[key] for key in sorted(members)])
        return b"{%s}" % joined

    def _from(self, level: Level, summary: bytes) -> dict[bytes, bytes]:
        members = {piece[1:9]: piece for piece in _split(summary)}
        if level is not self._query.level:
            members.pop(_TIMEZONE, None)  # a match tells the zone of its own dates and times
        if level in self._levels:
            return members
        kept = (_STUDY_UID, _SERIES_UID)
        return {tag: piece for tag, piece in members.items() if tag in self._fields or tag in kept}

    def _add_document(self, members: dict[bytes, bytes], document: Mapping[str, object]) -> None:
        everything = self._query.all_fields
        for key, element in document.items():
            tag = int(key, 16)
            if tag in self._wanted or (everything and tag == REQUESTS and self._query.level >= Level.SERIES):
                members[key.encode()] = member(key, element)
            elif everything and tag != CHARACTER_SET and level_of(tag) <= self._query.level:
                members.setdefault(key.encode(), member(key, element))
        self._add_private(members, document)

    def _add_private(self, members: dict[bytes, bytes], document: Mapping[str, object]) -> None:
        """The private attributes asked for, with the elements that tell whose they are."""
        for tag in self._private:
            stored = stored_tag(tag, document, self._query.private)
            if stored is not None and f"{stored:08X}" in document:
                for key in (f"{stored:08X}", f"{creator_of(stored):08X}"):
                    if key in document:
                        members[key.encode()] = member(key, document[key])

    def _computed(self, hit: Hit) -> list[bytes]:
        asked, levels = self._asked, self._levels
        place = f"/studies/{hit.study}"
        if hit.series is not None:
            place += f"/series/{hit.series}"
        if hit.instance is not None:
            place += f"/instances/{hit.instance}"
        pieces = [_AVAILABILITY_MEMBER, _RETRIEVE_MEMBER % place.encode()]
        study = Level.STUDY in levels
        if study or MODALITIES in asked:
            pieces.append(_texts(MODALITIES, "CS", hit.modalities))
        if CLASSES in asked or self._query.all_fields:
            pieces.append(_texts(CLASSES, "UI", hit.classes))
        if study or STUDY_SERIES in asked:
            pieces.append(_count(STUDY_SERIES, hit.series_count))
        if study or STUDY_INSTANCES in asked:
            pieces.append(_count(STUDY_INSTANCES, hit.study_count))
        if hit.series is not None and (Level.SERIES in levels or SERIES_INSTANCES in asked):
            pieces.append(_count(SERIES_INSTANCES, hit.series_size))
        if hit.instance is not None:
            pieces.append(_SYNTAXES_MEMBER)
        return pieces


def page(found: Sequence[bytes], syntaxes: Sequence[str], behind: int | None, total: int | None) -> Answer:
    """An answer of the matches `found`, `behind` which there are so many more, out of `total`.

    Each is exact; `None` for more than `COUNTED`.
    """
    if total is not None and total > COUNTED:
        total = None
    if behind is None or behind > COUNTED:
        return Answer(found, COUNTED + 1, True, total, syntaxes)
    return Answer(found, behind, False, total, syntaxes)


def _levels(query: Query) -> frozenset[Level]:
    """The levels whose attributes every answer has."""
    if query.level is not Level.INSTANCE or (query.study is None and query.series is None):
        return frozenset(level for level in Level if level <= query.level)
    if query.series is None:
        return frozenset((Level.SERIES, Level.INSTANCE))
    return frozenset((Level.INSTANCE,))


def _document_fields(query: Query) -> frozenset[int]:
    summed = frozenset().union(*(_SUMMED[level] for level in _SUMMED if level <= query.level))
    return frozenset(
        tag
        for tag in query.fields
        if level_of(tag) <= query.level
        and tag not in summed
        and tag not in _COMPUTED
        and tag != CHARACTER_SET
    )


def _split(summary: bytes) -> list[bytes]:
    """The members of a summary; only sequences need their brackets counted."""
    if b'"vr":"SQ","Value"' not in summary:
        return _MEMBER.split(summary) if summary else []
    pieces, depth, start = [], 0, 0
    for token in _BRACKET.finditer(summary):
        sign = token.group()
        if sign in (b"{", b"["):
            depth += 1
        elif sign in (b"}", b"]"):
            depth -= 1
        elif sign == b"," and depth == 0:
            pieces.append(summary[start : token.start()])
            start = token.end()
    return [*pieces, summary[start:]]


def _count(tag: int, number: int) -> bytes:
    return b'"%08X":{"vr":"IS","Value":[%d]}' % (tag, number)


def _texts(tag: int, vr: str, values: Sequence[str]) -> bytes:
    return member(f"{tag:08X}", {"vr": vr, "Value": list(values)} if values else {"vr": vr})
