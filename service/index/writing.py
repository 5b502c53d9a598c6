"""Changes of the index inside one SQLite transaction."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apsw
from zstandard import ZstdCompressionDict

from service.dicom.confinement import Confinement
from service.dicom.describing import Value
from service.dicom.frames import FrameTable
from service.dicom.record import Description, InstanceRecord
from service.dicom.resource import InstanceKey, Level, Resource
from service.index.documents import Dictionaries, describe_document, new_dictionary, pack, unpack
from service.index.port import Added, OnDuplicate, Outcome
from service.index.refusals import contradiction
from service.index.rows import COLUMNS, DESCRIBED, STORED, described, stored

PAGE_FRAMES = 480  # with the offset of the next, 3848 bytes: a row that fits into one page of SQLite's
PAGE_BITS = 20


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _update(table: str, columns: Sequence[str]) -> str:
    return f"UPDATE {table} SET {', '.join(f'{column} = ?' for column in columns)} WHERE id = ?"


_STUDY_INSERT = _insert("study", ("study_uid", *COLUMNS[Level.STUDY], *DESCRIBED))
_SERIES_INSERT = _insert("series", ("study", "series_uid", "dictionary", *COLUMNS[Level.SERIES], *DESCRIBED))
_STUDY_UPDATE = _update("study", ("source", *COLUMNS[Level.STUDY], *DESCRIBED))
_SERIES_UPDATE = _update("series", ("source", *COLUMNS[Level.SERIES], *DESCRIBED))
_INSTANCE_INSERT = _insert("instance", ("series", "json", *STORED, *COLUMNS[Level.INSTANCE], *DESCRIBED))
_TAKEN = "SELECT digest, object_key FROM instance WHERE series = ? AND instance_uid = ?"
_DOOM = "INSERT INTO doomed (object_key, since) VALUES (?, ?) ON CONFLICT (object_key) DO NOTHING"
_COUNT_CLASS = (
    "INSERT INTO series_class (study, series, sop_class, size) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (study, series, sop_class) DO UPDATE SET size = size + excluded.size"
)
_MEMBERS = (
    "SELECT i.id, i.object_key, i.sop_class, i.table_length, e.id, s.id FROM study s"
    " JOIN series e ON e.study = s.id JOIN instance i ON i.series = e.id WHERE s.study_uid = ?"
)


@dataclass(frozen=True, slots=True)
class _Place:
    """The rows of a study and of one of its series."""

    study: int
    series: int


class Writing:
    """One transaction's changes; counts are kept aside and entered by `finish`."""

    def __init__(
        self, connection: apsw.Connection, dictionaries: Dictionaries, within: Confinement | None = None
    ) -> None:
        """Studies that are not `within` what somebody may know of are left as they are."""
        self._within = within
        self._connection = connection
        self._run = connection.execute
        self._dictionaries = dictionaries
        self._studies: dict[str, int] = {}
        self._places: dict[tuple[str, str], _Place] = {}
        self._sizes: Counter[_Place] = Counter()
        self._classes: Counter[tuple[_Place, str]] = Counter()
        self._new_series: Counter[int] = Counter()
        self._unsourced: set[_Place] = set()

    def add(self, record: InstanceRecord, on_duplicate: OnDuplicate) -> Outcome:
        """Enter one record, as `Index.add` says."""
        if self._is_hidden(record.key.study):
            return Outcome(Added.FORBIDDEN, self._doom(record.object_key))
        place = self._places.get((record.key.study, record.key.series)) or self._find_place(record.key)
        taken = place and self._run(_TAKEN, (place.series, record.key.instance)).fetchone()
        if not taken:
            self._enter(record)
            return Outcome(Added.NEW)
        digest, object_key = taken
        if digest == record.digest or on_duplicate is not OnDuplicate.REPLACE:
            added = Added.SAME if digest == record.digest else Added.KEPT
            return Outcome(added, self._doom(record.object_key, unless=object_key))
        self.remove(Resource(record.key.study, record.key.series, record.key.instance), doom=False)
        self._enter(record)
        return Outcome(Added.REPLACED, self._doom(object_key, unless=record.object_key))

    def remove(self, resource: Resource, *, doom: bool = True) -> list[str]:
        """Take out the instances of `resource` and the parents that they leave empty."""
        if self._is_hidden(resource.study):
            return []
        self._enter_counts()
        found = self._members(resource)
        for row, object_key, _, table_length, *_ in found:
            self._run("DELETE FROM instance WHERE id = ?", (row,))
            if table_length is not None:
                first = row << PAGE_BITS
                self._run(
                    "DELETE FROM frame_page WHERE id >= ? AND id < ?", (first, first + (1 << PAGE_BITS))
                )
            if doom:
                self._doom(object_key)
        for _, _, sop_class, _, series, study in found:
            self._sizes[_Place(study, series)] -= 1
            self._classes[_Place(study, series), sop_class] -= 1
        self._enter_counts()
        self._drop_empty({_Place(study, series) for *_, series, study in found})
        return [object_key for _, object_key, *_ in found]

    def finish(self) -> None:
        """Enter the counts, and describe studies and series anew that lost the instance they had it from."""
        self._enter_counts()
        for place in self._unsourced:
            self._find_source(place)

    def _is_hidden(self, study: str) -> bool:
        """Whether there is such a study, and it may not be known of."""
        patients = None if self._within is None else self._within.patients_for(study)
        if patients is None:
            return False
        row = self._run("SELECT patient_id FROM study WHERE study_uid = ?", (study,)).fetchone()
        return row is not None and row[0] not in patients

    # -- entering ---------------------------------------------------------------------------------

    def _find_place(self, key: InstanceKey) -> _Place | None:
        study = self._studies.get(key.study)
        if study is None:
            row = self._run("SELECT id FROM study WHERE study_uid = ?", (key.study,)).fetchone()
            if row is None:
                return None
            study = self._studies[key.study] = row[0]
        row = self._run(
            "SELECT id FROM series WHERE study = ? AND series_uid = ?", (study, key.series)
        ).fetchone()
        if row is None:
            return None
        place = self._places[key.study, key.series] = _Place(study, row[0])
        return place

    def _enter(self, record: InstanceRecord) -> None:
        key, told = record.key, record.description
        place = self._places.get((key.study, key.series)) or self._find_place(key)
        study, series = (place.study, place.series) if place else (self._studies.get(key.study), None)
        new_study = study is None
        if study is None:
            values = described(Level.STUDY, told.study, told.study_summary)
            study = self._studies[key.study] = self._made(_STUDY_INSERT, (key.study, *values))
        new_series = series is None
        if series is None:
            values = described(Level.SERIES, told.series, told.series_summary)
            head = (study, key.series, new_dictionary(record.json))
            series = self._made(_SERIES_INSERT, (*head, *values))
            self._enter_requests(series, told)
            self._new_series[study] += 1
        place = self._places[key.study, key.series] = _Place(study, series)
        row = self._enter_instance(record, place)
        self._run("DELETE FROM doomed WHERE object_key = ?", (record.object_key,))  # found again by reindex
        if new_study:
            self._run("UPDATE study SET source = ? WHERE id = ?", (row, study))
        if new_series:
            self._run("UPDATE series SET source = ? WHERE id = ?", (row, series))
        self._sizes[place] += 1
        self._classes[place, record.sop_class] += 1

    def _enter_instance(self, record: InstanceRecord, place: _Place) -> int:
        frames = record.frames
        row = self._made(
            _INSTANCE_INSERT,
            (
                *(place.series, pack(record.json, self._dictionary(place.series))),
                *stored(record),
                *described(Level.INSTANCE, record.description.instance, record.description.instance_summary),
            ),
        )
        if frames is not None:
            self._enter_frames(row, frames)
        return row

    def _enter_frames(self, row: int, frames: FrameTable) -> None:
        table = frames.to_bytes()
        for page, first in enumerate(range(0, len(frames), PAGE_FRAMES)):
            offsets = table[first * 8 : (first + PAGE_FRAMES + 1) * 8]
            self._run("INSERT INTO frame_page VALUES (?, ?)", ((row << PAGE_BITS) + page, offsets))

    def _enter_requests(self, series: int, told: Description) -> None:
        for step, procedure in told.requests:
            self._run(
                "INSERT INTO request (series, step_id, procedure_id) VALUES (?, ?, ?)",
                (series, step or None, procedure or None),
            )

    def _made(self, statement: str, values: tuple[Value | bytes, ...]) -> int:
        self._run(statement, values)
        return self._connection.last_insert_rowid()

    def _one(self, sql: str, row: int) -> tuple[Any, ...]:
        """The columns of a row that must be there."""
        found: tuple[Any, ...] | None = self._run(sql, (row,)).fetchone()
        if found is None:
            raise contradiction()
        return found

    def _dictionary(self, series: int) -> ZstdCompressionDict:
        def read() -> bytes:
            return bytes(self._one("SELECT dictionary FROM series WHERE id = ?", series)[0])

        return self._dictionaries.get(series, read)

    def _doom(self, object_key: str, *, unless: str | None = None) -> str | None:
        if object_key == unless:  # the same object, entered again
            return None
        self._run(_DOOM, (object_key, int(time.time())))
        return object_key

    # -- counting and taking out ------------------------------------------------------------------

    def _enter_counts(self) -> None:
        studies: Counter[int] = Counter()
        for place, size in self._sizes.items():
            self._run("UPDATE series SET series_size = series_size + ? WHERE id = ?", (size, place.series))
            studies[place.study] += size
        for study, size in studies.items():
            self._run("UPDATE study SET study_count = study_count + ? WHERE id = ?", (size, study))
        for (place, sop_class), size in self._classes.items():
            self._run(_COUNT_CLASS, (place.study, place.series, sop_class, size))
            if size < 0:
                self._run(
                    "DELETE FROM series_class WHERE study = ? AND series = ? AND size = 0",
                    (place.study, place.series),
                )
        for study, number in self._new_series.items():
            self._run("UPDATE study SET series_count = series_count + ? WHERE id = ?", (number, study))
            self._count_modalities(study)
        for counter in (self._sizes, self._classes, self._new_series):
            counter.clear()

    def _count_modalities(self, study: int) -> None:
        rows = self._run(
            "SELECT DISTINCT modality FROM series WHERE study = ? AND modality IS NOT NULL ORDER BY modality",
            (study,),
        )
        self._run("UPDATE study SET modalities = ? WHERE id = ?", ("\\".join(row[0] for row in rows), study))

    def _members(self, resource: Resource) -> list[tuple[int, str, str, int | None, int, int]]:
        sql, bound = _MEMBERS, [resource.study]
        for column, uid in (("e.series_uid", resource.series), ("i.instance_uid", resource.instance)):
            if uid is not None:
                sql += f" AND {column} = ?"
                bound.append(uid)
        return self._run(sql, bound).fetchall()  # type: ignore[return-value]  # the columns of `_MEMBERS`

    def _drop_empty(self, places: set[_Place]) -> None:
        for place in places:
            (size,) = self._one("SELECT series_size FROM series WHERE id = ?", place.series)
            if size == 0:
                self._run("DELETE FROM series WHERE id = ?", (place.series,))
                self._run("DELETE FROM request WHERE series = ?", (place.series,))
                self._new_series[place.study] -= 1
        self._enter_counts()
        for study in {place.study for place in places}:
            self._run("DELETE FROM study WHERE id = ? AND study_count = 0", (study,))
        self._studies.clear()
        self._places.clear()
        self._unsourced |= places

    def _find_source(self, place: _Place) -> None:
        """Let the lowest instance that is left stand for its series and study."""
        for table, statement, level, of in (
            ("series", _SERIES_UPDATE, Level.SERIES, place.series),
            ("study", _STUDY_UPDATE, Level.STUDY, place.study),
        ):
            row = self._run(f"SELECT source FROM {table} WHERE id = ?", (of,)).fetchone()
            if row is None or self._run("SELECT 1 FROM instance WHERE id = ?", (row[0],)).fetchone():
                continue
            lowest, series, packed = self._one(
                "SELECT i.id, i.series, i.json FROM instance i JOIN series e ON e.id = i.series WHERE "
                + ("e.id = ?" if level is Level.SERIES else "e.study = ?")
                + " ORDER BY i.id LIMIT 1",
                of,
            )
            told = describe_document(unpack(packed, self._dictionary(series)))
            columns = told.series if level is Level.SERIES else told.study
            summary = told.series_summary if level is Level.SERIES else told.study_summary
            self._run(statement, (lowest, *described(level, columns, summary), of))
            if level is Level.SERIES:
                self._run("DELETE FROM request WHERE series = ?", (of,))
                self._enter_requests(of, told)
                self._count_modalities(place.study)
