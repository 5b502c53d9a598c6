"""The index in one SQLite file, shared by the threads and processes of one machine."""

import contextlib
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import orjson

from service.dicom.confinement import Confinement
from service.dicom.errors import IndexUnavailable, NotFound, Superseded
from service.dicom.frames import Extent
from service.dicom.query import Query
from service.dicom.record import Held, InstanceRecord
from service.dicom.resource import InstanceKey, Resource
from service.index.bookmarks import Bookmarks
from service.index.bundles import FORM, fold
from service.index.clauses import Bound
from service.index.confining import Listing, scope_within
from service.index.connections import Link, Links
from service.index.documents import parse, unpack
from service.index.port import Answer, Bundle, Connections, Documents, OnDuplicate, Outcome
from service.index.refusals import contradiction
from service.index.rows import HELD, IN_ORDER, JOINED, WALK, held, scope
from service.index.searching import find
from service.index.snapshots import Snapshot
from service.index.statements import Dialect, search
from service.index.writing import PAGE_BITS, PAGE_FRAMES, Writing

_GLOB = str.maketrans({"[": "[[]"})
_LITERAL = str.maketrans({"[": "[[]", "*": "[*]", "?": "[?]"})


def _listed(values: Iterable[Any]) -> str:
    return orjson.dumps([*values]).decode()


_LISTING = Listing("IN (SELECT value FROM json_each(?))", _listed)
SQLITE = Dialect(
    like=lambda expression: f"{expression} GLOB ?",
    pattern=lambda text: text.translate(_GLOB),
    containing=lambda text: "*" + text.translate(_LITERAL) + "*",
    each=lambda more, column: f"json_each({more}, '$.{column}') v",
    zoned_date=lambda day, hour, zone: f"zoned_date({day}, {hour}, {zone}, ?)",
    zoned_time=lambda day, hour, zone: f"zoned_time({day}, {hour}, {zone}, ?)",
    joined_texts=lambda expression: f"group_concat(DISTINCT {expression})",
    listing=_LISTING,
    is_there="> ''",
    looks_first=True,
    join="CROSS JOIN",
    newest_first=" INDEXED BY study_by_date",
)

_ONE_DOCUMENT = (
    "SELECT i.json, e.id, e.dictionary FROM instance i JOIN series e ON e.id = i.series WHERE i.id = ?"
)
_BUNDLE = (
    "SELECT b.generation, b.content FROM study s JOIN series e ON e.study = s.id"
    " JOIN bundle b ON b.series = e.id AND b.form = ? WHERE s.study_uid = ? AND e.series_uid = ?"
)
_KEEP = (
    "INSERT OR REPLACE INTO bundle (series, generation, form, content) SELECT e.id, ?, ?, ?"
    " FROM study s JOIN series e ON e.study = s.id WHERE s.study_uid = ? AND e.series_uid = ?"
)


class SqliteIndex:
    """A `FullIndex` in the SQLite file `path`, which is made if it is not there.

    `statement_limit_s` bounds a search, `turn_wait_s` a writer's wait for its turn, and `busy_timeout_s` a
    wait for a lock that a program which knows no turns holds.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        statement_limit_s: float = 20.0,
        busy_timeout_s: float = 10.0,
        turn_wait_s: float = 30.0,
    ) -> None:
        file = Path(path)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise IndexUnavailable("The index's folder cannot be made; check ISTHMUS_INDEX.") from cause
        _make_private(file)
        self._limit_s = statement_limit_s
        self._bookmarks = Bookmarks()
        self._links = Links(
            file,
            statement_limit_s=statement_limit_s,
            busy_timeout_s=busy_timeout_s,
            turn_wait_s=turn_wait_s,
        )
        with self._links.lent() as link:
            self._era = link.migrate()

    def close(self) -> None:
        """Close all connections; the index answers no more."""
        self._links.close()

    def connections(self) -> Connections:
        """How many connections there are at the moment."""
        return self._links.load()

    # -- Index ------------------------------------------------------------------------------------

    def add(
        self,
        records: Sequence[InstanceRecord],
        *,
        on_duplicate: OnDuplicate,
        within: Confinement | None = None,
    ) -> list[Outcome]:
        with self._links.lent() as link, link.writing() as connection:
            writing = Writing(connection, link.dictionaries, within)
            outcomes = [writing.add(record, on_duplicate) for record in records]
            writing.finish()
        return outcomes

    def remove(self, resource: Resource, *, within: Confinement | None = None) -> list[str]:
        with self._links.lent() as link, link.writing() as connection:
            writing = Writing(connection, link.dictionaries, within)
            object_keys = writing.remove(resource)
            writing.finish()
        return object_keys

    def find(self, query: Query) -> Answer:
        parts = search(query, SQLITE)
        with self._links.lent(limited=True) as link, link.reading():
            return find(_Reading(link), query, parts, self._bookmarks, self._limit_s)

    def locate(self, resource: Resource, *, within: Confinement | None = None) -> list[Held]:
        where, bound = scope_within(resource, within, _LISTING)
        order = "" if resource.instance is not None else IN_ORDER
        with self._links.lent() as link:
            rows = link.connection.execute(f"{HELD}{JOINED}{where}{order}", bound).fetchall()
        return [held(row) for row in rows]

    def documents(
        self, resource: Resource, *, unless: str | None = None, within: Confinement | None = None
    ) -> Documents | None:
        with self._links.lent() as link, link.reading() as connection:
            snapshot = self._snapshot(connection, within)
            if unless is not None and unless == snapshot.generation(resource):
                return None
            return snapshot.documents(resource)

    def frames(self, held: Held, numbers: Sequence[int]) -> list[Extent] | None:
        with self._links.lent() as link, link.reading() as connection:
            row = connection.execute("SELECT table_length FROM instance WHERE id = ?", (held.row,)).fetchone()
            if row is None:
                raise Superseded("The instance has been removed or replaced.")
            length = row[0]
            if length is None:
                return None
            if any(not 1 <= number <= int(str(length)) for number in numbers):
                raise NotFound(f"The instance has frames 1 to {length}.")
            return [_extent(connection, held.row, number) for number in numbers]

    # -- Bundles ----------------------------------------------------------------------------------

    def read(self, series: Resource) -> Bundle | None:
        with self._links.lent() as link:
            row = link.connection.execute(_BUNDLE, (FORM, series.study, series.series)).fetchone()
        return None if row is None else Bundle(str(row[0]), bytes(row[1]))

    def keep(self, series: Resource, bundle: Bundle) -> bool:
        with self._links.lent() as link, link.writing() as connection:
            if self._snapshot(connection).generation(series) != bundle.generation:
                return False
            bound = (bundle.generation, FORM, bundle.content, series.study, series.series)
            connection.execute(_KEEP, bound)
        return True

    def fold(self, resource: Resource) -> int:
        return fold(self, resource)

    def unready(self, resource: Resource) -> list[Resource]:
        with self._links.lent() as link, link.reading() as connection:
            return self._snapshot(connection).unready(resource)

    def _snapshot(self, connection: apsw.Connection, within: Confinement | None = None) -> Snapshot:
        def rows(sql: str, bound: Sequence[Any]) -> list[Any]:
            return connection.execute(sql, bound).fetchall()

        return Snapshot(rows, _LISTING, self._era, within)

    # -- Census -----------------------------------------------------------------------------------

    def ready(self) -> None:
        with self._links.lent() as link:
            link.connection.execute("SELECT count(*) FROM schema_step").fetchall()

    def doomed(self, limit: int) -> list[str]:
        with self._links.lent() as link:
            rows = link.connection.execute("SELECT object_key FROM doomed ORDER BY id LIMIT ?", (limit,))
            return [str(row[0]) for row in rows]

    def clear(self, object_keys: Sequence[str]) -> None:
        with self._links.lent() as link, link.writing() as connection:
            connection.executemany("DELETE FROM doomed WHERE object_key = ?", ((key,) for key in object_keys))

    def holds(self, object_keys: Sequence[str]) -> set[str]:
        wanted = orjson.dumps(list(object_keys)).decode()
        sql = "SELECT object_key FROM instance WHERE object_key IN (SELECT value FROM json_each(?))"
        with self._links.lent() as link:
            return {str(row[0]) for row in link.connection.execute(sql, (wanted,))}

    def walk(self, after: int, limit: int) -> list[Held]:
        with self._links.lent() as link:
            return [held(row) for row in link.connection.execute(WALK, (after, limit))]

    def struck(self, object_keys: Sequence[str]) -> set[str]:
        wanted = orjson.dumps(list(object_keys)).decode()
        sql = "SELECT object_key FROM doomed WHERE object_key IN (SELECT value FROM json_each(?))"
        with self._links.lent() as link:
            return {str(row[0]) for row in link.connection.execute(sql, (wanted,))}

    def findings(self, key: InstanceKey) -> tuple[str, ...]:
        where, bound = scope(Resource(key.study, key.series, key.instance))
        with self._links.lent() as link:
            row = link.connection.execute(f"SELECT i.findings {JOINED}{where}", bound).fetchone()
        if row is None:
            raise NotFound("There is no such instance.")
        return () if row[0] is None else tuple(orjson.loads(str(row[0])))


def _make_private(file: Path) -> None:
    """Make the file, empty, for its owner alone: SQLite gives those beside it the same mode.

    One that is there stays as it is. One that cannot be made is left for SQLite to complain of.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _extent(connection: apsw.Connection, row: int, number: int) -> Extent:
    page, slot = divmod(number - 1, PAGE_FRAMES)
    (pair,) = _one(
        connection,
        "SELECT substr(offsets, ?, 16) FROM frame_page WHERE id = ?",
        (slot * 8 + 1, (row << PAGE_BITS) + page),
    )
    first, end = struct.unpack("<QQ", pair)
    return Extent(first, end - first)


def _one(connection: apsw.Connection, sql: str, bound: tuple[Any, ...]) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(sql, bound).fetchone()
    if row is None:
        raise contradiction()
    return row


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a search reads, inside a snapshot."""

    link: Link

    def rows(self, sql: str, bound: Sequence[Bound]) -> list[tuple[Any, ...]]:
        return self.link.connection.execute(sql, bound).fetchall()

    def stream(self, sql: str, bound: Sequence[Bound]) -> Iterator[tuple[Any, ...]]:
        return self.link.connection.execute(sql, bound)

    def documents(self, rows: Sequence[int]) -> list[dict[str, object]]:
        return [self._document(row) for row in rows]

    def _document(self, row: int) -> dict[str, object]:
        packed, series, stored = _one(self.link.connection, _ONE_DOCUMENT, (row,))
        return parse(unpack(packed, self.link.dictionaries.get(series, lambda: bytes(stored))))
