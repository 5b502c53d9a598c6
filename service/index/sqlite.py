"""The index in one SQLite file, shared by the threads and processes of one machine."""

import struct
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
import orjson

from service.dicom.attributes import CLASSES
from service.dicom.errors import IndexUnavailable, NotFound, TooMany
from service.dicom.frames import Extent, PixelPlace, PixelShape
from service.dicom.matching import in_zone, matches
from service.dicom.privates import as_asked
from service.dicom.query import Query
from service.dicom.record import Held, InstanceRecord
from service.dicom.resource import InstanceKey, Level, Resource
from service.index.answers import COUNTED, Hit, Writer, needs_document, page
from service.index.bookmarks import Bookmark, Bookmarks
from service.index.clauses import Clause
from service.index.connections import Link, Links
from service.index.documents import PackedDocuments, generation, parse, unpack
from service.index.ordering import Place, expressions
from service.index.port import Answer, Documents, OnDuplicate, Outcome
from service.index.statements import Dialect, Search, search
from service.index.writing import PAGE_BITS, PAGE_FRAMES, Writing

_GLOB = str.maketrans({"[": "[[]"})
_LITERAL = str.maketrans({"[": "[[]", "*": "[*]", "?": "[?]"})
SQLITE = Dialect(
    like=lambda expression: f"{expression} GLOB ?",
    pattern=lambda text: text.translate(_GLOB),
    containing=lambda text: "*" + text.translate(_LITERAL) + "*",
    each=lambda more, column: f"json_each({more}, '$.{column}') v",
    zoned_date=lambda day, hour, zone: f"zoned_date({day}, {hour}, {zone}, ?)",
    zoned_time=lambda day, hour, zone: f"zoned_time({day}, {hour}, {zone}, ?)",
    join="CROSS JOIN",
    newest_first=" INDEXED BY study_by_date",
)

_JOINED = (
    "FROM study s JOIN series e ON e.study = s.id JOIN instance i ON i.series = e.id WHERE s.study_uid = ?"
)
_IN_ORDER = (
    " ORDER BY e.series_number ASC NULLS LAST, e.series_uid, i.instance_number ASC NULLS LAST, i.instance_uid"
)
_HELD = (
    "SELECT i.id, s.study_uid, e.series_uid, i.instance_uid, i.sop_class, i.syntax, i.object_key, i.place,"
    " i.size, i.digest, i.shape_rows, i.shape_columns, i.shape_samples, i.shape_bits, i.shape_frames,"
    " i.shape_photometric, i.shape_stored, i.shape_high_bit, i.shape_signed, i.shape_planar, i.pixel_tag,"
    " i.pixel_vr, i.pixel_offset, i.pixel_length, i.pixel_encapsulated,"
    " i.data_offset, i.head_fits "
)
_GENERATION = "SELECT count(*), max(i.id), sum(i.id) "
# As `record.syntax_and_pixels`: a missing shape or place makes the sum of texts NULL.
_SYNTAX_AND_PIXELS = (
    "coalesce(i.syntax || '|' || i.pixel_tag || '|' || i.shape_samples || '|' || i.shape_bits || '|' ||"
    " i.shape_stored || '|' || i.shape_signed || '|' || i.shape_photometric, i.syntax)"
)
_DOCUMENTS = f"SELECT e.id, i.json, {_SYNTAX_AND_PIXELS} "
_DICTIONARIES = "SELECT e.id, e.dictionary FROM study s JOIN series e ON e.study = s.id WHERE s.study_uid = ?"
_ONE_DOCUMENT = (
    "SELECT i.json, e.id, e.dictionary FROM instance i JOIN series e ON e.id = i.series WHERE i.id = ?"
)

# What an answer is made of; the first column is the row whose document stands for the match.
_STUDY_COLUMNS = "s.study_uid, s.summary, s.modalities, s.series_count, s.study_count"
_SERIES_COLUMNS = "e.series_uid, e.summary, e.series_size"
_INSTANCE_COLUMNS = f"i.instance_uid, i.summary, i.syntax, {_SYNTAX_AND_PIXELS}"
_CLASSES = "(SELECT group_concat(DISTINCT c.sop_class) FROM series_class c WHERE c.study = s.id)"
_SELECTED = {
    Level.STUDY: f"s.source, {{classes}}, {_STUDY_COLUMNS}",
    Level.SERIES: f"e.source, {{classes}}, {_STUDY_COLUMNS}, {_SERIES_COLUMNS}",
    Level.INSTANCE: f"i.id, {{classes}}, {_STUDY_COLUMNS}, {_SERIES_COLUMNS}, {_INSTANCE_COLUMNS}",
}


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

    # -- Index ------------------------------------------------------------------------------------

    def add(self, records: Sequence[InstanceRecord], *, on_duplicate: OnDuplicate) -> list[Outcome]:
        with self._links.lent() as link, link.writing() as connection:
            writing = Writing(connection, link.dictionaries)
            outcomes = [writing.add(record, on_duplicate) for record in records]
            writing.finish()
        return outcomes

    def remove(self, resource: Resource) -> list[str]:
        with self._links.lent() as link, link.writing() as connection:
            writing = Writing(connection, link.dictionaries)
            object_keys = writing.remove(resource)
            writing.finish()
        return object_keys

    def find(self, query: Query) -> Answer:
        parts = search(query, SQLITE)
        with self._links.lent(limited=True) as link, link.reading():
            if parts.residual:
                return _sift(link, query, parts, time.monotonic() + self._limit_s)
            bookmark = self._bookmarks.before(query)
            rows = _page(link.connection, query, parts, bookmark)
            found, syntaxes = _written(link, query, rows[: query.limit])
            last = _place(rows[len(found) - 1], parts) if found else None
            behind = _behind(link.connection, parts, last) if len(rows) > len(found) else 0
            if query.offset + len(found) > COUNTED and found:
                total = None
            elif bookmark is None and found:
                total = None if behind is None else query.offset + len(found) + behind
            else:
                total = _count(link.connection, parts.selections())
        if last is None and rows:  # a page of no matches, asked for to learn how many there are
            behind = None if total is None else max(total - query.offset, 0)
        if last is not None:
            self._bookmarks.keep(query, len(found), last)
        return page(found, syntaxes, behind, total)

    def locate(self, resource: Resource) -> list[Held]:
        where, bound = _scope(resource)
        order = "" if resource.instance is not None else _IN_ORDER
        with self._links.lent() as link:
            rows = link.connection.execute(f"{_HELD}{_JOINED}{where}{order}", bound).fetchall()
        return [_held(row) for row in rows]

    def documents(self, resource: Resource, *, unless: str | None = None) -> Documents | None:
        where, bound = _scope(resource)
        with self._links.lent() as link, link.reading() as connection:
            count, last, total = _one(connection, f"{_GENERATION}{_JOINED}{where}", bound)
            current = generation(self._era, count, last, total)
            if current == unless:
                return None
            rows: Any = connection.execute(f"{_DOCUMENTS}{_JOINED}{where}{_IN_ORDER}", bound).fetchall()
            series = " AND e.series_uid = ?" if resource.series is not None else ""
            dictionaries: Any = connection.execute(
                f"{_DICTIONARIES}{series}", bound[: 1 if resource.series is None else 2]
            ).fetchall()
        return PackedDocuments(current, rows, dict(dictionaries))

    def frames(self, held: Held, numbers: Sequence[int]) -> list[Extent] | None:
        with self._links.lent() as link, link.reading() as connection:
            row = connection.execute("SELECT table_length FROM instance WHERE id = ?", (held.row,)).fetchone()
            if row is None:
                raise NotFound("The instance has been removed or replaced.")
            length = row[0]
            if length is None:
                return None
            if any(not 1 <= number <= int(str(length)) for number in numbers):
                raise NotFound(f"The instance has frames 1 to {length}.")
            return [_extent(connection, held.row, number) for number in numbers]

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

    def findings(self, key: InstanceKey) -> tuple[str, ...]:
        where, bound = _scope(Resource(key.study, key.series, key.instance))
        with self._links.lent() as link:
            row = link.connection.execute(f"SELECT i.findings {_JOINED}{where}", bound).fetchone()
        if row is None:
            raise NotFound("There is no such instance.")
        return () if row[0] is None else tuple(orjson.loads(str(row[0])))


def _scope(resource: Resource) -> tuple[str, tuple[str, ...]]:
    where = ""
    bound = [resource.study]
    if resource.series is not None:
        where += " AND e.series_uid = ?"
        bound.append(resource.series)
    if resource.instance is not None:
        where += " AND i.instance_uid = ?"
        bound.append(resource.instance)
    return where, tuple(bound)


def _held(row: tuple[Any, ...]) -> Held:
    row_id, study, series, instance, sop_class, syntax, object_key, place, size, digest = row[:10]
    shape, place_of_pixels, (data_offset, head_fits) = row[10:20], row[20:25], row[25:]
    return Held(
        row=row_id,
        key=InstanceKey(study, series, instance),
        sop_class=sop_class,
        syntax=syntax,
        object_key=object_key,
        place=place,
        size=size,
        digest=digest,
        shape=None if shape[0] is None else _shape(*shape),
        pixels=None if place_of_pixels[0] is None else _pixel_place(*place_of_pixels),
        data_offset=data_offset,
        head_fits=bool(head_fits),
    )


def _shape(
    rows: int,
    columns: int,
    samples: int,
    bits: int,
    frames: int,
    photometric: str,
    stored: int,
    high_bit: int,
    signed: int,
    planar: int,
) -> PixelShape:
    return PixelShape(
        rows, columns, samples, bits, frames, photometric, stored, high_bit, bool(signed), planar
    )


def _pixel_place(tag: int, vr: str, offset: int, length: int, encapsulated: int) -> PixelPlace:
    return PixelPlace(tag, vr, Extent(offset, length), bool(encapsulated))


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
        raise IndexUnavailable("The index contradicts itself; rebuild it with reindex.")
    return row


# -- searching --------------------------------------------------------------------------------------


def _select(query: Query, parts: Search) -> str:
    """The columns of an answer, and behind them those of the order."""
    wanted = query.all_fields or CLASSES in query.fields
    columns = _SELECTED[query.level].format(classes=_CLASSES if wanted else "NULL")
    return f"SELECT {columns}, {', '.join(expressions(parts.order))} FROM "


def _page(
    connection: apsw.Connection, query: Query, parts: Search, bookmark: Bookmark | None
) -> list[tuple[Any, ...]]:
    """The rows of the page, and one more if there are any behind it."""
    select, order = _select(query, parts), f" ORDER BY {parts.order_by} LIMIT ?"
    wanted = query.limit + 1
    if bookmark is None:
        (all_of_them,) = parts.selections()
        sql = f"{select}{all_of_them.sql}{order} OFFSET ?"
        return connection.execute(sql, (*all_of_them.bound, wanted, query.offset)).fetchall()
    wanted += bookmark.skip

    def rows() -> Iterator[tuple[Any, ...]]:
        left = wanted
        for piece in parts.selections(bookmark.place):
            for row in connection.execute(f"{select}{piece.sql}{order}", (*piece.bound, left)):
                left -= 1
                yield row
            if not left:
                return

    return list(islice(rows(), bookmark.skip, None))


def _place(row: tuple[Any, ...], parts: Search) -> Place:
    return tuple(row[-len(parts.order) :])


def _behind(connection: apsw.Connection, parts: Search, last: Place | None) -> int | None:
    return None if last is None else _count(connection, parts.selections(last))


def _count(connection: apsw.Connection, selections: Sequence[Clause]) -> int | None:
    """How many matches there are, `None` for more than `COUNTED`."""
    counted = 0
    for piece in selections:
        sql = f"SELECT count(*) FROM (SELECT 1 FROM {piece.sql} LIMIT ?)"
        counted += _one(connection, sql, (*piece.bound, COUNTED + 1 - counted))[0]
        if counted > COUNTED:
            return None
    return counted


def _sift(link: Link, query: Query, parts: Search, deadline: float) -> Answer:
    """The matches whose documents satisfy the filters that no column answers."""
    rows: list[Any] = []
    total = 0
    (all_of_them,) = parts.selections()
    sql = f"{_select(query, parts)}{all_of_them.sql} ORDER BY {parts.order_by}"
    for row in link.connection.execute(sql, all_of_them.bound):
        if time.monotonic() > deadline:
            raise TooMany("The search reads too many documents. Narrow it to a series, or use other keys.")
        if not matches(parts.residual, as_asked(in_zone(_document(link, row[0]), query.zone), query.private)):
            continue
        if query.offset <= total < query.offset + query.limit:
            rows.append(row)
        total += 1
    found, syntaxes = _written(link, query, rows)
    return page(found, syntaxes, max(total - query.offset - len(found), 0), total)


def _written(link: Link, query: Query, rows: Sequence[Any]) -> tuple[list[bytes], list[str]]:
    """The matches of the rows, as many as a page may hold, and the syntaxes and pixels of instances."""
    documents = needs_document(query)
    writer = Writer(query)
    found: list[bytes] = []
    size = 0
    for row in rows:
        match = writer.write(_hit(query.level, row), _document(link, row[0]) if documents else None)
        size += len(match)
        if size > query.most_bytes and found:
            break
        found.append(match)
    syntaxes = [row[13] for row in rows[: len(found)]] if query.level is Level.INSTANCE else []
    return found, syntaxes


def _hit(level: Level, row: tuple[Any, ...]) -> Hit:
    classes, study, summary, modalities, series_count, study_count = row[1:7]
    series = row[7:10] if level >= Level.SERIES else (None, b"", 0)
    instance = row[10:13] if level is Level.INSTANCE else (None, b"", "")
    return Hit(
        study=study,
        study_summary=summary,
        modalities=modalities.split("\\") if modalities else (),
        series_count=series_count,
        study_count=study_count,
        classes=sorted(classes.split(",")) if classes else (),
        series=series[0],
        series_summary=series[1],
        series_size=series[2],
        instance=instance[0],
        instance_summary=instance[1],
        syntax=instance[2],
    )


def _document(link: Link, row: int) -> dict[str, object]:
    packed, series, stored = _one(link.connection, _ONE_DOCUMENT, (row,))
    return parse(unpack(packed, link.dictionaries.get(series, lambda: bytes(stored))))
