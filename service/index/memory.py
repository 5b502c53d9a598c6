"""An index in memory: for tests and trials, and a second reading of the same contract."""

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from service.dicom.attributes import (
    AVAILABILITY,
    AVAILABLE_SYNTAXES,
    BY_PATH,
    CLASSES,
    MODALITIES,
    SERIES_INSTANCES,
    STUDY_INSTANCES,
    STUDY_SERIES,
    Attribute,
    Origin,
)
from service.dicom.confinement import Confinement, patient_of
from service.dicom.errors import BadRequest, NotFound, Superseded
from service.dicom.frames import Extent
from service.dicom.matching import in_zone, matches
from service.dicom.privates import as_asked
from service.dicom.query import Query
from service.dicom.record import Held, InstanceRecord, syntax_and_pixels
from service.dicom.resource import InstanceKey, Level, Resource
from service.dicom.sorting import total_order
from service.index.answers import COUNTED, Hit, Writer, needs_document, page
from service.index.bookmarks import Bookmarks
from service.index.bundles import MOST_BYTES, BundledDocuments, JoinedDocuments, fold, in_blocks
from service.index.documents import generation, new_era, parse
from service.index.ordering import Place, sort_key
from service.index.port import FEWEST, Added, Answer, Bundle, Documents, OnDuplicate, Outcome
from service.index.statements import divide


@dataclass(frozen=True, slots=True)
class _Row:
    """A record and its number; `dataset` is its parsed JSON."""

    number: int
    record: InstanceRecord
    dataset: dict[str, object]

    def column(self, level: Level, name: str) -> Any:
        described = self.record.description
        return {Level.STUDY: described.study, Level.SERIES: described.series}.get(
            level, described.instance
        ).get(name)


@dataclass(frozen=True, slots=True)
class _Documents:
    generation: str
    rows: Sequence[_Row]

    @property
    def count(self) -> int:
        return len(self.rows)

    @property
    def scattered(self) -> int:
        return max(Counter(map(_series_of, self.rows)).values(), default=0)

    def blocks(self) -> Iterator[tuple[bytes, str]]:
        return in_blocks(self)

    def __iter__(self) -> Iterator[tuple[bytes, str]]:
        return ((row.record.json, _syntax_and_pixels(row)) for row in self.rows)


class MemoryIndex:
    """A `FullIndex` that forgets everything when it goes."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._rows: dict[InstanceKey, _Row] = {}
        self._doomed: dict[str, None] = {}
        self._bundles: dict[tuple[str, str], Bundle] = {}
        self._last = 0
        self._era = new_era()
        self._bookmarks = Bookmarks()

    def close(self) -> None:
        """Nothing is open."""

    # -- Index ------------------------------------------------------------------------------------

    def add(
        self,
        records: Sequence[InstanceRecord],
        *,
        on_duplicate: OnDuplicate,
        within: Confinement | None = None,
    ) -> list[Outcome]:
        parsed = [parse(record.json) for record in records]
        with self._guard:
            return [
                self._add(record, dataset, on_duplicate, within)
                for record, dataset in zip(records, parsed, strict=True)
            ]

    def _add(
        self,
        record: InstanceRecord,
        dataset: dict[str, object],
        on_duplicate: OnDuplicate,
        within: Confinement | None,
    ) -> Outcome:
        if not self._permitted(record.key.study, within):
            return Outcome(Added.FORBIDDEN, self._doom(record.object_key))
        taken = self._rows.get(record.key)
        if taken is not None:
            same = taken.record.digest == record.digest
            if same or on_duplicate is not OnDuplicate.REPLACE:
                added = Added.SAME if same else Added.KEPT
                return Outcome(added, self._doom(record.object_key, unless=taken.record.object_key))
        self._last += 1
        self._rows[record.key] = _Row(self._last, record, dataset)
        self._doomed.pop(record.object_key, None)
        if taken is None:
            return Outcome(Added.NEW)
        self._bundles.pop((record.key.study, record.key.series), None)
        return Outcome(Added.REPLACED, self._doom(taken.record.object_key, unless=record.object_key))

    def _doom(self, object_key: str, *, unless: str | None = None) -> str | None:
        if object_key == unless:
            return None
        self._doomed.setdefault(object_key)
        return object_key

    def remove(self, resource: Resource, *, within: Confinement | None = None) -> list[str]:
        with self._guard:
            rows = self._within(resource, within)
            for row in rows:
                del self._rows[row.record.key]
                self._doom(row.record.object_key)
                self._bundles.pop(_series_of(row), None)
        return [row.record.object_key for row in rows]

    def find(self, query: Query) -> Answer:
        if query.level is Level.PATIENT:
            raise BadRequest("A search is for studies, series or instances.")
        columns, residual = divide(query)
        with self._guard:
            candidates = _Candidates(self._rows.values(), query)
        found = [
            one
            for one in candidates.ordered()
            if query.study in (None, one.hit.study)
            and query.series in (None, one.hit.series)
            and matches(columns, one.dataset, combined_datetime=query.combined_datetime)
            and matches(residual, as_asked(in_zone(one.row.dataset, query.zone), query.private))
        ]
        begin = query.offset
        bookmark = None if residual else self._bookmarks.before(query)
        if bookmark is not None:
            key = sort_key(candidates.order, bookmark.place)
            before = sum(not key < sort_key(candidates.order, one.place) for one in found)
            begin = before + bookmark.skip
        chosen = found[begin : begin + query.limit]
        answers = _written(query, chosen)
        told = chosen[: len(answers)] if query.level is Level.INSTANCE else []
        syntaxes = [_syntax_and_pixels(one.row) for one in told]
        if answers and not residual:
            self._bookmarks.keep(query, len(answers), chosen[len(answers) - 1].place)
        total = None if answers and query.offset + len(answers) > COUNTED else len(found)
        return page(answers, syntaxes, max(len(found) - begin - len(answers), 0), total)

    def locate(self, resource: Resource, *, within: Confinement | None = None) -> list[Held]:
        with self._guard:
            return [_held(row) for row in self._within(resource, within)]

    def documents(
        self, resource: Resource, *, unless: str | None = None, within: Confinement | None = None
    ) -> Documents | None:
        with self._guard:
            rows = self._within(resource, within)
            bundles = dict(self._bundles) if resource.instance is None else {}
        current = self._generation(rows)
        if current == unless:
            return None
        pieces: list[Documents] = []
        for key, some in groupby(rows, _series_of):
            members = _Documents("", list(some))
            bundle, tag = bundles.get(key), self._generation(members.rows)
            ready = bundle is not None and bundle.generation == tag and bundle.content
            pieces.append(BundledDocuments(tag, members.count, ready) if ready else members)
        return JoinedDocuments(current, pieces)

    def frames(self, held: Held, numbers: Sequence[int]) -> list[Extent] | None:
        with self._guard:
            row = self._rows.get(held.key)
        if row is None or row.number != held.row:
            raise Superseded("The instance has been removed or replaced.")
        table = row.record.frames
        if table is None:
            return None
        if any(not 1 <= number <= len(table) for number in numbers):
            raise NotFound(f"The instance has frames 1 to {len(table)}.")
        return [table.extent(number) for number in numbers]

    # -- Bundles ----------------------------------------------------------------------------------

    def read(self, series: Resource) -> Bundle | None:
        with self._guard:
            return self._bundles.get((series.study, series.series or ""))

    def keep(self, series: Resource, bundle: Bundle) -> bool:
        with self._guard:
            current = self._generation(self._within(series))
            if current == bundle.generation:
                self._bundles[series.study, series.series or ""] = bundle
        return current == bundle.generation

    def fold(self, resource: Resource) -> int:
        return fold(self, resource)

    def unready(self, resource: Resource) -> list[Resource]:
        with self._guard:
            rows = self._within(resource)
            bundles = dict(self._bundles)
        found = []
        for key, some in groupby(rows, _series_of):
            members, bundle = list(some), bundles.get(key)
            current = self._generation(members)
            worth = len(members) >= FEWEST and sum(len(row.record.json) for row in members) <= MOST_BYTES
            if worth and (bundle is None or bundle.generation != current):
                found.append(Resource(*key))
        return found

    def _generation(self, rows: Sequence[_Row]) -> str:
        numbers = [row.number for row in rows]
        return generation(self._era, len(rows), max(numbers, default=0), sum(numbers))

    # -- Census -----------------------------------------------------------------------------------

    def ready(self) -> None:
        """Memory always answers."""

    def doomed(self, limit: int) -> list[str]:
        with self._guard:
            return list(self._doomed)[:limit]

    def clear(self, object_keys: Sequence[str]) -> None:
        with self._guard:
            for object_key in object_keys:
                self._doomed.pop(object_key, None)

    def holds(self, object_keys: Sequence[str]) -> set[str]:
        with self._guard:
            return {row.record.object_key for row in self._rows.values()} & set(object_keys)

    def walk(self, after: int, limit: int) -> list[Held]:
        with self._guard:
            rows = sorted(self._rows.values(), key=lambda row: row.number)
        return [_held(row) for row in rows if row.number > after][:limit]

    def struck(self, object_keys: Sequence[str]) -> set[str]:
        with self._guard:
            return set(self._doomed) & set(object_keys)

    def findings(self, key: InstanceKey) -> tuple[str, ...]:
        with self._guard:
            row = self._rows.get(key)
        if row is None:
            raise NotFound("There is no such instance.")
        return row.record.findings

    def _permitted(self, study: str, within: Confinement | None) -> bool:
        """Whether `study` is not there, or may be known of."""
        if within is None:
            return True
        members = [row for row in self._rows.values() if row.record.key.study == study]
        return not members or within.permits(study, _patient(_sources(members, _study_of)[study]))

    def _within(self, resource: Resource, within: Confinement | None = None) -> list[_Row]:
        if not self._permitted(resource.study, within):
            return []
        rows = [
            row
            for row in self._rows.values()
            if row.record.key.study == resource.study
            and resource.series in (None, row.record.key.series)
            and resource.instance in (None, row.record.key.instance)
        ]
        series = _sources(self._rows.values(), _series_of)
        return sorted(rows, key=lambda row: _place(row, series[_series_of(row)]))


def _held(row: _Row) -> Held:
    record = row.record
    return Held(
        row.number, record.key, record.sop_class, record.syntax, record.object_key,
        record.place, record.size, record.digest, record.shape, record.pixels,
        record.data_offset, record.head_fits,
    )  # fmt: skip


def _sources(rows: Iterable[_Row], of: Callable[[_Row], Hashable]) -> dict[Hashable, _Row]:
    """The lowest row of each group: its attributes stand for the study or series."""
    sources: dict[Hashable, _Row] = {}
    for row in rows:
        found = sources.setdefault(of(row), row)
        if row.number < found.number:
            sources[of(row)] = row
    return sources


def _study_of(row: _Row) -> str:
    return row.record.key.study


def _series_of(row: _Row) -> tuple[str, str]:
    return row.record.key.study, row.record.key.series


def _patient(source: _Row) -> str | None:
    return patient_of(source.column(Level.STUDY, "patient_id"))


def _number(row: _Row, level: Level, column: str) -> tuple[bool, Any]:
    value = row.column(level, column)
    return value is None, value or 0


def _place(row: _Row, series: _Row) -> tuple[Any, ...]:
    """Sorts instances of a study as `locate` does."""
    key = row.record.key
    return (
        *_number(series, Level.SERIES, "series_number"),
        key.series,
        *_number(row, Level.INSTANCE, "instance_number"),
        key.instance,
    )


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What may match: `row` is the instance that stands for it, `dataset` what it is matched by."""

    hit: Hit
    row: _Row
    dataset: Mapping[str, object]
    place: Place


def _written(query: Query, chosen: Sequence[_Candidate]) -> list[bytes]:
    """The matches, as many as a page may hold."""
    documents = needs_document(query)
    writer = Writer(query)
    answers: list[bytes] = []
    size = 0
    for one in chosen:
        match = writer.write(one.hit, one.row.dataset if documents else None)
        size += len(match)
        if size > query.most_bytes and answers:
            break
        answers.append(match)
    return answers


class _Candidates:
    """All there is to be matched at a query's level, in order."""

    def __init__(self, rows: Iterable[_Row], query: Query) -> None:
        self.order = total_order(query.level, query.order)
        self._query = query
        self._rows = list(rows)
        self._studies = _sources(self._rows, _study_of)
        self._series = _sources(self._rows, _series_of)
        self._by_study: dict[str, list[_Row]] = {}
        for row in self._rows:
            self._by_study.setdefault(_study_of(row), []).append(row)

    def ordered(self) -> list[_Candidate]:
        return sorted(self._all(), key=lambda one: sort_key(self.order, one.place))

    def _all(self) -> Iterator[_Candidate]:
        level = self._query.level
        for study, members in self._by_study.items():
            if self._query.study not in (None, study):
                continue
            within = self._query.confinement
            if within is not None and not within.permits(study, _patient(self._studies[study])):
                continue
            sizes = Counter(_series_of(row) for row in members)
            modalities = {self._series[key].column(Level.SERIES, "modality") for key in sizes} - {None}
            chosen: Iterable[_Row] = members
            if level is Level.STUDY:
                chosen = [self._studies[study]]
            elif level is Level.SERIES:
                chosen = [self._series[key] for key in sizes]
            for row in chosen:
                hit = self._hit(level, row, members, sizes, sorted(modalities))
                place = tuple(self._value(sorting.attribute, row, hit) for sorting in self.order)
                yield _Candidate(hit, row, self._dataset(level, row, hit), place)

    def _value(self, attribute: Attribute, row: _Row, hit: Hit) -> Any:
        """The value by which a candidate is ordered, of the level that owns the attribute."""
        if attribute.origin is not Origin.OBJECT:
            (value,) = _told(row, hit)[attribute.tag][1]
            return value
        owner = {Level.STUDY: self._studies[hit.study], Level.SERIES: self._series[_series_of(row)]}
        value = owner.get(attribute.level, row).column(attribute.level, attribute.columns[0])
        return value.split("\\")[0] if isinstance(value, str) else value

    def _hit(
        self,
        level: Level,
        row: _Row,
        members: Sequence[_Row],
        sizes: Mapping[Any, int],
        modalities: list[str],
    ) -> Hit:
        source = self._studies[_study_of(row)]
        hit = Hit(
            study=_study_of(row),
            study_summary=source.record.description.study_summary,
            modalities=modalities,
            series_count=len(sizes),
            study_count=len(members),
            classes=sorted({member.record.sop_class for member in members}),
        )
        if level is Level.STUDY:
            return hit
        series = self._series[_series_of(row)].record
        hit = replace(
            hit,
            series=series.key.series,
            series_summary=series.description.series_summary,
            series_size=sizes[_series_of(row)],
        )
        if level is Level.SERIES:
            return hit
        record = row.record
        summary = record.description.instance_summary
        return replace(hit, instance=record.key.instance, instance_summary=summary, syntax=record.syntax)

    def _dataset(self, level: Level, row: _Row, hit: Hit) -> dict[str, object]:
        """The data set by which a candidate is matched: each attribute from the level that owns it."""
        zone = self._query.zone
        owners = {
            Level.STUDY: in_zone(self._studies[_study_of(row)].dataset, zone),
            Level.SERIES: in_zone(self._series[_series_of(row)].dataset, zone),
            Level.INSTANCE: in_zone(row.dataset, zone),
        }
        dataset = {tag: element for tag, element in row.dataset.items() if (int(tag, 16),) not in BY_PATH}
        for path, attribute in BY_PATH.items():
            element = owners[attribute.level].get(f"{path[0]:08X}")
            if element is not None and attribute.level <= level:
                dataset[f"{path[0]:08X}"] = element
        told = _told(row, hit).items()
        return dataset | {f"{tag:08X}": {"vr": vr, "Value": values} for tag, (vr, values) in told}


def _syntax_and_pixels(row: _Row) -> str:
    record = row.record
    return syntax_and_pixels(record.syntax, record.shape, record.pixels)


def _told(row: _Row, hit: Hit) -> dict[int, tuple[str, list[Any]]]:
    """The attributes that come from elsewhere than the data set."""
    record = row.record
    return {
        AVAILABILITY: ("CS", ["ONLINE"]),
        MODALITIES: ("CS", list(hit.modalities)),
        CLASSES: ("UI", list(hit.classes)),
        STUDY_SERIES: ("IS", [hit.series_count]),
        STUDY_INSTANCES: ("IS", [hit.study_count]),
        SERIES_INSTANCES: ("IS", [hit.series_size]),
        AVAILABLE_SYNTAXES: ("UI", [hit.syntax]),
        0x00080016: ("UI", [record.sop_class]),
        0x00080018: ("UI", [record.key.instance]),
        0x0020000D: ("UI", [record.key.study]),
        0x0020000E: ("UI", [record.key.series]),
    }
