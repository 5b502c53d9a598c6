"""Searches on any database: the rows of a page, how many lie behind it, and what is said of them.

Everything here happens inside one snapshot of one connection, which a `Reader` stands for.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import batched, islice
from typing import Any, Protocol

from service.dicom.attributes import CLASSES
from service.dicom.matching import in_zone, matches
from service.dicom.privates import as_asked
from service.dicom.query import Query
from service.dicom.resource import Level
from service.index.answers import COUNTED, Hit, Writer, needs_document, page
from service.index.bookmarks import Bookmark, Bookmarks
from service.index.clauses import Bound, Clause
from service.index.ordering import Place, expressions
from service.index.port import Answer
from service.index.refusals import too_many_documents
from service.index.rows import SYNTAX_AND_PIXELS
from service.index.statements import Dialect, Search

type Row = tuple[Any, ...]
type Document = Mapping[str, object]

_TOGETHER = 50  # documents asked for at a time

# What an answer is made of; the first column is the row whose document stands for the match.
_STANDING = {Level.STUDY: "s.source", Level.SERIES: "e.source", Level.INSTANCE: "i.id"}
_COLUMNS = {
    Level.STUDY: ("s.study_uid", "s.summary", "s.modalities", "s.series_count", "s.study_count"),
    Level.SERIES: ("e.series_uid", "e.summary", "e.series_size"),
    Level.INSTANCE: ("i.instance_uid", "i.summary", "i.syntax", SYNTAX_AND_PIXELS),
}


class Reader(Protocol):
    """A connection inside a snapshot."""

    def rows(self, sql: str, bound: Sequence[Bound]) -> list[Row]:
        """All rows of a statement."""
        ...

    def stream(self, sql: str, bound: Sequence[Bound]) -> Iterator[Row]:
        """The rows of a statement, read as they are wanted; other statements may run in between."""
        ...

    def documents(self, rows: Sequence[int]) -> Sequence[Document]:
        """The parsed documents of instances by their row numbers, in that order."""
        ...


def find(reader: Reader, query: Query, parts: Search, bookmarks: Bookmarks, limit_s: float) -> Answer:
    """What `Index.find` returns; `parts` are those of `query`. `limit_s` bounds the reading of documents."""
    if parts.candidates is not None:
        found_first = reader.rows(parts.candidates.sql, parts.candidates.bound)
        parts = parts.narrowed([row for (row,) in found_first])
    if parts.residual:
        return _sift(reader, query, parts, limit_s)
    bookmark = bookmarks.before(query)
    rows = _page(reader, query, parts, bookmark)
    found, syntaxes = _written(reader, query, rows[: query.limit])
    last = _place(rows[len(found) - 1], parts) if found else None
    behind = _count(reader, parts.selections(last)) if last is not None and len(rows) > len(found) else 0
    if query.offset + len(found) > COUNTED and found:
        total = None
    elif bookmark is None and found:
        total = None if behind is None else query.offset + len(found) + behind
    else:
        total = _count(reader, parts.selections())
    if last is None and rows:  # a page of no matches, asked for to learn how many there are
        behind = None if total is None else max(total - query.offset, 0)
    if last is not None:
        bookmarks.keep(query, len(found), last)
    return page(found, syntaxes, behind, total)


def select(query: Query, parts: Search) -> str:
    """The columns of an answer, and behind them those of the order."""
    wanted = query.all_fields or CLASSES in query.fields
    counts = parts.dialect.counts
    columns = [_STANDING[query.level], _classes(parts.dialect) if wanted else "NULL"]
    columns += [
        counts.get(name, name) for level in _COLUMNS if level <= query.level for name in _COLUMNS[level]
    ]
    return f"SELECT {', '.join(columns)}, {', '.join(expressions(parts.order, counts))} FROM "


def _classes(dialect: Dialect) -> str:
    return f"(SELECT {dialect.joined_texts('c.sop_class')} FROM series_class c WHERE c.study = s.id)"


def _page(reader: Reader, query: Query, parts: Search, bookmark: Bookmark | None) -> list[Row]:
    """The rows of the page, and one more if there are any behind it."""
    selected, order = select(query, parts), f" ORDER BY {parts.order_by} LIMIT ?"
    wanted = query.limit + 1
    if bookmark is None:
        (all_of_them,) = parts.selections()
        return reader.rows(
            f"{selected}{all_of_them.sql}{order} OFFSET ?", (*all_of_them.bound, wanted, query.offset)
        )
    wanted += bookmark.skip

    def rows() -> Iterator[Row]:
        left = wanted
        for piece in parts.selections(bookmark.place):
            for row in reader.rows(f"{selected}{piece.sql}{order}", (*piece.bound, left)):
                left -= 1
                yield row
            if not left:
                return

    return list(islice(rows(), bookmark.skip, None))


def _place(row: Row, parts: Search) -> Place:
    return tuple(row[-len(parts.order) :])


def _count(reader: Reader, selections: Sequence[Clause]) -> int | None:
    """How many matches there are, `None` for more than `COUNTED`."""
    counted = 0
    for piece in selections:
        sql = f"SELECT count(*) FROM (SELECT 1 FROM {piece.sql} LIMIT ?) counted"
        counted += reader.rows(sql, (*piece.bound, COUNTED + 1 - counted))[0][0]
        if counted > COUNTED:
            return None
    return counted


def _sift(reader: Reader, query: Query, parts: Search, limit_s: float) -> Answer:
    """The matches whose documents satisfy the filters that no column answers."""
    deadline = time.monotonic() + limit_s
    chosen: list[Row] = []
    total = 0
    (all_of_them,) = parts.selections()
    sql = f"{select(query, parts)}{all_of_them.sql} ORDER BY {parts.order_by}"
    for some in batched(reader.stream(sql, all_of_them.bound), _TOGETHER):
        for row, document in zip(some, reader.documents([row[0] for row in some]), strict=True):
            if time.monotonic() > deadline:
                raise too_many_documents()
            if not matches(parts.residual, as_asked(in_zone(document, query.zone), query.private)):
                continue
            if query.offset <= total < query.offset + query.limit:
                chosen.append(row)
            total += 1
    found, syntaxes = _written(reader, query, chosen)
    return page(found, syntaxes, max(total - query.offset - len(found), 0), total)


def _written(reader: Reader, query: Query, rows: Sequence[Row]) -> tuple[list[bytes], list[str]]:
    """The matches of the rows, as many as a page may hold, and the syntaxes and pixels of instances."""
    writer = Writer(query)
    found: list[bytes] = []
    size = 0
    for row, document in _with_documents(reader, rows, wanted=needs_document(query)):
        match = writer.write(_hit(query.level, row), document)
        size += len(match)
        if size > query.most_bytes and found:
            break
        found.append(match)
    syntaxes = [row[13] for row in rows[: len(found)]] if query.level is Level.INSTANCE else []
    return found, syntaxes


def _with_documents(
    reader: Reader, rows: Sequence[Row], *, wanted: bool
) -> Iterator[tuple[Row, Document | None]]:
    if not wanted:
        yield from ((row, None) for row in rows)
        return
    for some in batched(rows, _TOGETHER):
        yield from zip(some, reader.documents([row[0] for row in some]), strict=True)


def _hit(level: Level, row: Row) -> Hit:
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
