"""The documents of a resource out of SQL tables: bundles where they are up to date, rows for the rest."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from service.dicom.confinement import Confinement
from service.dicom.resource import Resource
from service.index.bundles import FORM, MOST_BYTES, BundledDocuments, JoinedDocuments, is_whole
from service.index.confining import Listing, scope_within
from service.index.documents import PackedDocuments, generation
from service.index.port import FEWEST, Documents
from service.index.rows import GENERATION, IN_ORDER, JOINED, SYNTAX_AND_PIXELS

_DOCUMENTS = f"SELECT e.id, i.json, {SYNTAX_AND_PIXELS}, i.id "
_DICTIONARIES = "SELECT id, dictionary FROM series WHERE id"
# Of each series what its generation is made of, and the generation that its bundle is of: once for each.
_SERIES = (
    "SELECT e.id, e.series_uid, count(*), max(i.id), sum(i.id), b.generation FROM study s"
    " JOIN series e ON e.study = s.id LEFT JOIN bundle b ON b.series = e.id AND b.form = ?"
    " JOIN instance i ON i.series = e.id WHERE s.study_uid = ?"
)
_EACH = " GROUP BY e.id, b.series{having} ORDER BY e.series_number ASC NULLS LAST, e.series_uid"
_ALL = _EACH.format(having="")
# Those worth a bundle. What is too long for one although it is compressed is not even read to find that out.
_WORTH_IT = _EACH.format(having=f" HAVING count(*) >= {FEWEST} AND sum(length(i.json)) <= {MOST_BYTES}")
_CONTENTS = "SELECT series, content FROM bundle WHERE series"

type _Rows = list[tuple[int, bytes, str, int]]


@dataclass(frozen=True, slots=True)
class _Series:
    """A series of a resource: its row, how many instances it has, their highest row and the sum of rows."""

    row: int
    uid: str
    count: int
    last: int
    total: int
    bundle: str | None
    """The generation that its bundle is of."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one transaction sees of the tables, or one statement after the other where there is none.

    `rows` runs a statement with question marks. Of studies that are not `within` what somebody may know of
    there is nothing.
    """

    rows: Callable[[str, Sequence[Any]], list[Any]]
    listing: Listing
    era: int
    within: Confinement | None = None

    def generation(self, resource: Resource) -> str:
        """The tag of what there is of `resource`."""
        where, bound = self._scope(resource)
        ((count, last, total),) = self.rows(f"{GENERATION}{JOINED}{where}", bound)
        return generation(self.era, count, last, int(total or 0))

    def documents(self, resource: Resource) -> Documents:
        """The documents of `resource`, in a transaction: of each series its bundle or its rows."""
        if resource.instance is not None:
            return self.scattered(resource)
        every = self._series(resource)
        found = self._contents(self._current(every))
        ready = {row: content for row, content in found.items() if is_whole(content)}
        if not ready:
            return self.scattered(resource)
        current = self._tag(every)
        if len(every) == 1:
            return BundledDocuments(current, every[0].count, ready[every[0].row])
        rest = self._packed(self._rows(resource, without=ready), current)
        pieces = [
            BundledDocuments(current, one.count, ready[one.row]) if one.row in ready else rest[one.row]
            for one in every
        ]
        return JoinedDocuments(current, pieces)

    def scattered(self, resource: Resource) -> PackedDocuments:
        """The documents of `resource` from the rows alone, which are read by one statement."""
        while True:
            rows = self._rows(resource)
            dictionaries = self._dictionaries(rows)
            # A series keeps its dictionary for as long as it lives.
            if all(row[0] in dictionaries for row in rows):
                break
        numbers = [row[3] for row in rows]
        current = generation(self.era, len(rows), max(numbers, default=0), sum(numbers))
        return PackedDocuments(current, [row[:3] for row in rows], dictionaries)

    def unready(self, resource: Resource) -> list[Resource]:
        """As `Bundles.unready`."""
        every = self._series(resource, _WORTH_IT)
        found = self._contents(self._current(every))
        # One without content says that there can be none.
        ready = {row for row, content in found.items() if not content or is_whole(content)}
        return [Resource(resource.study, one.uid) for one in every if one.row not in ready]

    def _series(self, resource: Resource, each: str = _ALL) -> list[_Series]:
        where, bound = self._scope(Resource(resource.study, resource.series))
        rows = self.rows(f"{_SERIES}{where}{each}", (FORM, *bound))
        return [_Series(row, uid, count, last, int(total), tag) for row, uid, count, last, total, tag in rows]

    def _tag(self, series: Sequence[_Series]) -> str:
        count, total = sum(one.count for one in series), sum(one.total for one in series)
        return generation(self.era, count, max(one.last for one in series), total)

    def _current(self, series: Iterable[_Series]) -> list[int]:
        """Those whose bundle is up to date."""
        return [one.row for one in series if one.bundle == self._tag([one])]

    def _contents(self, series: Sequence[int]) -> dict[int, bytes]:
        """What the bundles of `series` hold."""
        return dict(self._listed(_CONTENTS, series) if series else [])

    def _rows(self, resource: Resource, without: Collection[int] = ()) -> _Rows:
        where, bound = self._scope(resource)
        if without:
            left_out = self.listing.one_of("e.id", without)
            where, bound = f"{where} AND NOT {left_out.sql}", (*bound, *left_out.bound)
        return self.rows(f"{_DOCUMENTS}{JOINED}{where}{IN_ORDER}", bound)

    def _dictionaries(self, rows: _Rows) -> Mapping[int, bytes]:
        wanted = {row[0] for row in rows}
        if not wanted:
            return {}
        return dict(self._listed(_DICTIONARIES, wanted))

    def _scope(self, resource: Resource) -> tuple[str, tuple[Any, ...]]:
        return scope_within(resource, self.within, self.listing)

    def _listed(self, statement: str, numbers: Iterable[int]) -> list[Any]:
        """The rows of a statement that ends with the column whose value is one of `numbers`."""
        clause = self.listing.one_of(statement, numbers)
        return self.rows(clause.sql, clause.bound)

    def _packed(self, rows: _Rows, current: str) -> dict[int, PackedDocuments]:
        """The documents of each series."""
        dictionaries = self._dictionaries(rows)
        return {
            series: PackedDocuments(current, [row[:3] for row in some], dictionaries)
            for series, some in groupby(rows, itemgetter(0))
        }
