"""Entering instances into a PostgreSQL database, inside one transaction.

Locks are taken in one order everywhere: studies by row, series by row, then instances by UID. Who enters
instances shares the lock of their series with others who do, and excludes who removes it. Only who makes a
series locks its study. What is done to counts is appended.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from psycopg.errors import SerializationFailure
from zstandard import ZstdCompressionDict

from service.dicom.confinement import Confinement
from service.dicom.record import InstanceRecord
from service.dicom.resource import Level
from service.index.documents import new_dictionary, pack
from service.index.port import Added, OnDuplicate, Outcome
from service.index.postgres_removing import count_modalities, description, enter_requests, settle
from service.index.postgres_sessions import Session, as_bound, as_written
from service.index.rows import COLUMNS, DESCRIBED, STORED, stored

type Series = tuple[str, str]

type Place = tuple[int, int]  # the rows of a study and of one of its series


def _insert(table: str, columns: Sequence[str], then: str) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) {then}"


_STUDY_INSERT = _insert(
    "study", ("study_uid", "source", *COLUMNS[Level.STUDY], *DESCRIBED), "ON CONFLICT (study_uid) DO NOTHING"
)
_SERIES_INSERT = _insert(
    "series",
    ("study", "series_uid", "dictionary", "source", *COLUMNS[Level.SERIES], *DESCRIBED),
    "RETURNING id",
)
_INSTANCE_INSERT = _insert(
    "instance",
    ("id", "series", "json", "frame_table", *STORED, *COLUMNS[Level.INSTANCE], *DESCRIBED),
    "ON CONFLICT (series, instance_uid) DO NOTHING RETURNING id",
).replace("(?", "(coalesce(?, nextval('instance_row'))", 1)
_ROWS = "SELECT nextval('instance_row') FROM generate_series(1, ?::integer)"
_FIND_SERIES = (
    "SELECT s.study_uid, e.series_uid, s.id, e.id FROM unnest(?::text[], ?::text[]) a (study, series)"
    " JOIN study s ON s.study_uid = a.study JOIN series e ON e.study = s.id AND e.series_uid = a.series"
    " ORDER BY e.id"
)
_SHARED, _ALONE = " FOR KEY SHARE OF e", " FOR UPDATE OF e"
_LOCK_STUDIES = "SELECT study_uid, id FROM study WHERE study_uid = ANY(?) ORDER BY id FOR NO KEY UPDATE"
_PATIENTS = "SELECT study_uid, patient_id FROM study WHERE study_uid = ANY(?)"
_COUNT_SERIES = "UPDATE study SET series_count = series_count + ? WHERE id = ?"
_TAKEN = "SELECT id, digest, object_key FROM instance WHERE series = ? AND instance_uid = ?"
# What goes with the instances, in one statement: what came, the classes, the objects that rows refer to (one
# that was doomed is found again by reindex) and those that none refers to any more. It tells the transaction.
_GO_WITH = """
WITH came AS (
    INSERT INTO arrival (study, series, change)
    SELECT * FROM unnest(?::bigint[], ?::bigint[], ?::integer[])
), classes AS (
    INSERT INTO series_class (study, series, sop_class)
    SELECT * FROM unnest(?::bigint[], ?::bigint[], ?::text[]) ON CONFLICT DO NOTHING
), found AS (
    DELETE FROM doomed WHERE object_key = ANY(?::text[])
), lost AS (
    INSERT INTO doomed (object_key, since) SELECT k, ? FROM unnest(?::text[]) k
    ON CONFLICT (object_key) DO NOTHING
)
SELECT txid_current()
"""


class LocksNeeded(Exception):
    """A study or series has to be made or an instance replaced, for which more has to be locked first."""


class Adding:
    """One transaction's additions; `firmly` if it may make studies and series, and replace instances."""

    def __init__(
        self,
        session: Session,
        on_duplicate: OnDuplicate,
        *,
        firmly: bool,
        within: Confinement | None = None,
    ) -> None:
        self._session = session
        self._within = within
        self._on_duplicate = on_duplicate
        self._firmly = firmly
        self._places: dict[Series, Place] = {}
        self._entered: Counter[Place] = Counter()
        self._classes: set[tuple[int, int, str]] = set()
        self.kept: list[str] = []  # the objects that rows refer to
        self.transaction = 0  # its number, once all is entered
        self._doomed: list[str] = []

    def add(self, records: Sequence[InstanceRecord]) -> list[Outcome]:
        """Enter the records, as `Index.add` says. `LocksNeeded` if that takes to be done `firmly`."""
        hidden = self._hidden(records)
        if not hidden:
            outcomes = self._entered_all(records)
        else:
            entered = iter(self._entered_all([one for one in records if one.key.study not in hidden]))
            outcomes = [
                Outcome(Added.FORBIDDEN, self._doom(one.object_key))
                if one.key.study in hidden
                else next(entered)
                for one in records
            ]
        self._finish()
        return outcomes

    def _hidden(self, records: Sequence[InstanceRecord]) -> set[str]:
        """The studies of the records that are there and may not be known of."""
        if self._within is None:
            return set()
        within, wanted = self._within, {record.key.study for record in records}
        rows = self._session.rows(_PATIENTS, (list(wanted),)) if wanted else []
        return {study for study, patient in rows if not within.permits(study, patient)}

    def _entered_all(self, records: Sequence[InstanceRecord]) -> list[Outcome]:
        if not records:
            return []
        outcomes: dict[int, Outcome] = {}
        numbers = self._numbers(len(records))
        self._find_places(records, numbers)
        if self._hidden(records):  # others made a study since it was looked for: begin again
            raise SerializationFailure
        for wave in _waves(records):
            self._enter(records, numbers, wave, outcomes)
        return [outcomes[place] for place in range(len(records))]

    def _numbers(self, size: int) -> list[int | None]:
        """Row numbers in the order of the records; the database may number a single one itself."""
        if size == 1 and not self._firmly:
            return [None]
        return sorted(row for (row,) in self._session.rows(_ROWS, (size,)))

    # -- studies and series -----------------------------------------------------------------------

    def _find_places(self, records: Sequence[InstanceRecord], numbers: Sequence[int | None]) -> None:
        """Lock the series of all records; `firmly`, make what is missing."""
        first: dict[Series, int] = {}
        for place, record in enumerate(records):
            first.setdefault((record.key.study, record.key.series), place)
        if not self._firmly:
            self._places = self._series(first, _SHARED)
            if len(self._places) < len(first):
                raise LocksNeeded
            return
        replaces = self._on_duplicate is OnDuplicate.REPLACE
        known = self._series(first, "")
        studies: dict[str, int] = {}
        for key, place in first.items():
            if replaces or key not in known:
                studies.setdefault(key[0], place)
        rows = self._make_studies(studies, records, numbers)
        self._places = self._series(first, _ALONE if replaces else _SHARED)
        made: Counter[int] = Counter()
        for key in sorted(first.keys() - self._places.keys()):
            if key[0] not in rows:  # removed since it was seen
                raise SerializationFailure
            series = self._make_series(rows[key[0]], records[first[key]], numbers[first[key]])
            self._places[key] = (rows[key[0]], series)
            made[rows[key[0]]] += 1
        for study in sorted(made):
            self._session.run(_COUNT_SERIES, (made[study], study))
            count_modalities(self._session, study)

    def _series(self, wanted: Mapping[Series, int], lock: str) -> dict[Series, Place]:
        studies, series = zip(*wanted, strict=True)
        rows = self._session.rows(_FIND_SERIES + lock, (list(studies), list(series)))
        return {(study_uid, series_uid): (study, row) for study_uid, series_uid, study, row in rows}

    def _make_studies(
        self, first: Mapping[str, int], records: Sequence[InstanceRecord], numbers: Sequence[int | None]
    ) -> dict[str, int]:
        """Make the studies that are missing and lock all of them; their rows by UID."""
        for uid in sorted(first):
            told = records[first[uid]].description
            values = description(Level.STUDY, told.study, told.study_summary)
            self._session.run(_STUDY_INSERT, (uid, numbers[first[uid]], *values))
        locked = dict(self._session.rows(_LOCK_STUDIES, (list(first),))) if first else {}
        if len(locked) < len(first):  # removed in between
            raise SerializationFailure
        return locked

    def _make_series(self, study: int, record: InstanceRecord, number: int | None) -> int:
        told = record.description
        values = description(Level.SERIES, told.series, told.series_summary)
        head = (study, record.key.series, new_dictionary(record.json), number)
        series = int(self._session.one(_SERIES_INSERT, (*head, *values)))
        enter_requests(self._session, series, told)
        return series

    # -- instances --------------------------------------------------------------------------------

    def _enter(
        self,
        records: Sequence[InstanceRecord],
        numbers: Sequence[int | None],
        wave: Sequence[int],
        outcomes: dict[int, Outcome],
    ) -> None:
        """Enter those of the records that `wave` names, no two of the same instance."""
        in_order = sorted(wave, key=lambda place: (self._place(records[place]), records[place].key.instance))
        entered = self._insert([self._values(records[place], numbers[place]) for place in in_order])
        for place, new in zip(in_order, entered, strict=True):
            record = records[place]
            if new:
                self._entered[self._place(record)] += 1
                self._note(record)
                outcomes[place] = Outcome(Added.NEW)
            else:
                outcomes[place] = self._decide(record, numbers[place])

    def _insert(self, rows: Sequence[Sequence[Any]]) -> list[bool]:
        """Insert instances; whether each one was not there."""
        if len(rows) == 1:
            return [bool(self._session.rows(_INSTANCE_INSERT, rows[0]))]
        with self._session.connection.cursor(binary=True) as cursor:
            cursor.executemany(as_written(_INSTANCE_INSERT), [as_bound(row) for row in rows], returning=True)
            entered = []
            for _ in rows:
                entered.append(cursor.fetchone() is not None)
                cursor.nextset()
        return entered

    def _decide(self, record: InstanceRecord, number: int | None) -> Outcome:
        """What becomes of a record whose instance is there."""
        study, series = self._place(record)
        taken = self._session.rows(_TAKEN, (series, record.key.instance))
        if not taken:  # cannot be while the series is locked, unless a transaction of ours was replayed
            raise SerializationFailure
        ((row, digest, object_key),) = taken
        if digest == record.digest or self._on_duplicate is not OnDuplicate.REPLACE:
            added = Added.SAME if digest == record.digest else Added.KEPT
            return Outcome(added, self._doom(record.object_key, unless=object_key))
        if not self._firmly:
            raise LocksNeeded
        self._session.run("DELETE FROM instance WHERE id = ?", (row,))
        self._insert([self._values(record, number)])
        self._note(record)
        if object_key in self.kept:
            self.kept.remove(object_key)
        settle(self._session, study, [series])
        return Outcome(Added.REPLACED, self._doom(object_key, unless=record.object_key))

    def _values(self, record: InstanceRecord, number: int | None) -> list[Any]:
        _, series = self._place(record)
        told, frames = record.description, record.frames
        return [
            *(number, series, pack(record.json, self._dictionary(series))),
            None if frames is None else frames.to_bytes(),
            *stored(record),
            *description(Level.INSTANCE, told.instance, told.instance_summary),
        ]

    def _place(self, record: InstanceRecord) -> Place:
        return self._places[record.key.study, record.key.series]

    def _dictionary(self, series: int) -> ZstdCompressionDict:
        def read() -> bytes:
            return bytes(self._session.one("SELECT dictionary FROM series WHERE id = ?", (series,)))

        return self._session.dictionaries.get(series, read)

    def _note(self, record: InstanceRecord) -> None:
        self._classes.add((*self._place(record), record.sop_class))
        self.kept.append(record.object_key)

    def _doom(self, object_key: str, *, unless: str | None = None) -> str | None:
        if object_key == unless:  # the same object, entered again
            return None
        self._doomed.append(object_key)
        return object_key

    def _finish(self) -> None:
        """Enter what goes with the instances."""
        came = [(*place, size) for place, size in self._entered.items()]
        values = [_turned(came), _turned(sorted(self._classes))]
        bound = (*values[0], *values[1], self.kept, int(time.time()), sorted(self._doomed))
        self.transaction = int(self._session.one(_GO_WITH, bound))


def _turned(rows: Sequence[tuple[Any, Any, Any]]) -> list[list[Any]]:
    """Rows as columns."""
    return [[row[place] for row in rows] for place in range(3)]


def _waves(records: Sequence[InstanceRecord]) -> Iterator[list[int]]:
    """The places of the records, each instance once in a wave, in order."""
    left = list(range(len(records)))
    while left:
        seen: set[Any] = set()
        wave: list[int] = []
        later: list[int] = []
        for place in left:
            (later if records[place].key in seen else wave).append(place)
            seen.add(records[place].key)
        yield wave
        left = later
