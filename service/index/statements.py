"""A `Query` as SQL: conditions and their bound parameters, from the attribute tables. Values are never
written into statements; names of tables and columns come from the tables alone.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

from service.dicom.attributes import (
    BY_PATH,
    CLASSES,
    DATE_TIMES,
    MODALITIES,
    REQUEST_PATHS,
    ZONE_COLUMN,
    Attribute,
    Origin,
    attribute_name,
)
from service.dicom.criteria import Filter, Match, is_pattern
from service.dicom.errors import BadRequest
from service.dicom.matching import Interval, combine
from service.dicom.names import name_patterns, words
from service.dicom.query import Query
from service.dicom.resource import Level
from service.dicom.sorting import Sorting, total_order
from service.dicom.values import WILDCARDS, Comparable
from service.dicom.zones import days_around
from service.index.clauses import ALIAS, Clause, joined
from service.index.confining import Listing, all_permitted, permitted
from service.index.ordering import Place, behind, order_by

_SCOPES = (0x0020000D, 0x0020000E)

_JOINED = {
    Level.STUDY: "study s",
    Level.SERIES: "study s{first} {join} series e ON e.study = s.id",
    Level.INSTANCE: "study s{first} {join} series e ON e.study = s.id {join} instance i ON i.series = e.id",
}
# Keys that lead to few rows of a lower level, from which the database had better begin.
_LEADING = frozenset(((0x0020000E,), (0x00080018,), *REQUEST_PATHS))
# Keys of a study for which there are indexes that hold the whole text.
_IN_INDEXES = frozenset(((0x00080050,), (0x00100010,), (0x00100020,)))
_MOST_CANDIDATES = 2_000
_ZONED = {tag: pair for pair in DATE_TIMES for tag in pair}
_ZONES_APART = 2  # days, at most, between the dates of one moment in two zones


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where databases differ.

    `like(expression)` compares with a pattern; `pattern(text)` says `*` and `?` in its terms, and
    `containing(text)` that `text` occurs literally. `each(more, column)` is a table `v` whose `value` runs
    over an array of `more`. `zoned_date` and `zoned_time` tell the date and the time of day that columns
    of a date, its time and their zone have in the zone of a question mark. `join` makes the database begin
    with the studies, and `newest_first` read them in their order, so that a page of a search through
    everything does not sort everything. `counts` says how columns that count are worked out, where not
    by reading them, and `joined_texts` how the different values of an expression become one text with
    commas. `is_there` asks whether a column has a value, in a way that brings a partial index into play.
    `finds_parts` says that an index may lead to texts by a part of them, and `looks_first` that it is worth
    while to look for such texts through a whole index first. `listing` tells many values at once. `online`
    is the text ONLINE.
    """

    like: Callable[[str], str]
    pattern: Callable[[str], str]
    containing: Callable[[str], str]
    each: Callable[[str, str], str]
    zoned_date: Callable[[str, str, str], str]
    zoned_time: Callable[[str, str, str], str]
    joined_texts: Callable[[str], str]
    listing: Listing
    join: str = "JOIN"
    newest_first: str = ""
    is_there: str = "IS NOT NULL"
    finds_parts: bool = False
    looks_first: bool = False
    online: str = "'ONLINE'"
    counts: Mapping[str, str] = field(default_factory=dict)

    def column(self, level: Level, name: str) -> str:
        """The expression for a column of a level."""
        plain = f"{ALIAS[level]}.{name}"
        return self.counts.get(plain, plain)


@dataclass(frozen=True, slots=True)
class Search:
    """The tables, conditions and order of a query; `residual` is left to be matched on the documents.

    `walks` says that the matches are read in their order, so that what follows a place had better be read
    piece by piece, and nothing be sorted.
    """

    tables: str
    conditions: tuple[Clause, ...]
    order: tuple[Sorting, ...]
    residual: tuple[Filter, ...]
    walks: bool
    dialect: Dialect
    candidates: Clause | None = None
    """Selects the rows of the studies that may match, where an index tells them without the studies."""

    def narrowed(self, studies: Sequence[int]) -> "Search":
        """This search among what `candidates` selected; itself if that is too much to gain by it."""
        if len(studies) > _MOST_CANDIDATES:
            return self
        among = self.dialect.listing.one_of("s.id", studies)
        return replace(self, conditions=(among, *self.conditions))

    def selections(self, place: Place | None = None) -> list[Clause]:
        """What follows FROM for the matches behind `place`, or all of them: one statement or several.

        The matches of each come behind those of the one before.
        """
        if place is None:
            return [self._where()]
        pieces = behind(self.order, place, self.dialect.counts)
        if not pieces:
            return []
        return [self._where(piece) for piece in (pieces if self.walks else [joined(pieces, " OR ")])]

    @property
    def order_by(self) -> str:
        return order_by(self.order, self.dialect.counts)

    def _where(self, *more: Clause) -> Clause:
        clauses = (*self.conditions, *more)
        where = " WHERE " + " AND ".join(clause.sql for clause in clauses) if clauses else ""
        return Clause(self.tables + where, tuple(value for clause in clauses for value in clause.bound))


def divide(query: Query) -> tuple[list[Filter], list[Filter]]:
    """The filters that columns answer, and those that need the documents.

    `BadRequest` if there are any of the second kind and the query names neither study nor series.
    """
    columns: list[Filter] = []
    residual: list[Filter] = []
    for _, group in groupby(sorted(query.filters, key=lambda key: key.path), lambda key: key.path[0]):
        keys = list(group)
        # Keys of one sequence are matched on the same item, so one place must answer all of them.
        (columns if all(map(_has_column, keys)) else residual).extend(keys)
    if residual and not _bounded(query):
        raise BadRequest(
            f"{attribute_name(residual[0].path)} is not indexed. It can be matched within a study or series:"
            " add StudyInstanceUID or SeriesInstanceUID."
        )
    return columns, residual


def search(query: Query, dialect: Dialect) -> Search:
    """The statement's parts for `query`."""
    if query.level is Level.PATIENT:
        raise BadRequest("A search is for studies, series or instances.")
    keys, residual = divide(query)
    intervals: list[Interval] = []
    if query.combined_datetime:
        keys, intervals = combine(keys)
    confined = _confined(query, dialect)
    clauses = [*_scope(query), *confined]
    clauses += [clause for interval in intervals for clause in _interval(interval, query.zone, dialect)]
    clauses += _requests([key for key in keys if key.path in REQUEST_PATHS], dialect)
    for key in keys:
        if key.path not in REQUEST_PATHS:
            clauses += _conditions(key, query.zone, dialect)
    begins_below = query.series is not None or any(key.path in _LEADING for key in keys)
    # Who is confined to something has so few studies that they are sought and sorted, not walked through.
    above = not begins_below and query.study is None and not query.order and not confined
    study_keys = any(key.path in BY_PATH and BY_PATH[key.path].level is Level.STUDY for key in keys)
    return Search(
        tables=_JOINED[query.level].format(
            join="JOIN" if begins_below else dialect.join,
            first=dialect.newest_first if above and not study_keys else "",
        ),
        conditions=tuple(clauses),
        order=total_order(query.level, query.order),
        residual=tuple(residual),
        walks=above,
        dialect=dialect,
        candidates=_candidates(keys, dialect) if not (begins_below or confined) else None,
    )


def _has_column(key: Filter) -> bool:
    if key.path in REQUEST_PATHS:
        return key.match is not Match.EMPTY  # a sequence without items is empty too
    row = BY_PATH.get(key.path)
    return row is not None and row.column != "" and (len(key.path) == 1 or key.match is not Match.EMPTY)


def _bounded(query: Query) -> bool:
    named = any(len(key.path) == 1 and key.tag in _SCOPES and key.match is Match.ANY for key in query.filters)
    return named or query.study is not None or query.series is not None


def _scope(query: Query) -> list[Clause]:
    clauses = []
    if query.study is not None:
        clauses.append(Clause("s.study_uid = ?", (query.study,)))
    if query.series is not None:
        # A series search joins no series table; a study search is never below a series.
        clauses.append(Clause("e.series_uid = ?", (query.series,)))
    return clauses


def _confined(query: Query, dialect: Dialect) -> list[Clause]:
    """What keeps a search to what its reader may know of."""
    within = query.confinement
    if within is None or not within.confines:
        return []
    if query.study is None:
        return [all_permitted(within, dialect.listing)]
    clause = permitted(within, query.study, dialect.listing)
    return [clause] if clause.sql else []


def _conditions(key: Filter, zone: int | None, dialect: Dialect) -> list[Clause]:
    if zone is None or key.tag not in _ZONED or key.match is Match.EMPTY:
        return [_condition(key, dialect)]
    row = BY_PATH[key.path]
    moment = _zoned(row, zone, dialect)
    if key.match is Match.RANGE:
        tests = [_zoned_range(moment, *key.values)]
    else:
        tests = [Clause(f"{moment.sql} = ?", (*moment.bound, value)) for value in key.needles]
    return [*_around(key, row), joined(tests, " OR ")]


def _zoned(row: Attribute, zone: int, dialect: Dialect) -> Clause:
    """The date or time of day of `row` as the zone of the request has it."""
    alias = ALIAS[row.level]
    day, hour = (f"{alias}.{BY_PATH[(tag,)].column}" for tag in _ZONED[row.tag])
    tell = dialect.zoned_date if row.vr == "DA" else dialect.zoned_time
    return Clause(tell(day, hour, f"{alias}.{ZONE_COLUMN}"), (zone,))


def _zoned_range(moment: Clause, low: str, high: str) -> Clause:
    bounds = [Clause(f"{moment.sql} >= ?", (*moment.bound, low))] if low else []
    bounds += [Clause(f"{moment.sql} <= ?", (*moment.bound, high))] if high else []
    return joined(bounds, " AND ")


def _around(key: Filter, row: Attribute) -> list[Clause]:
    """Dates as they are written that may be meant in another zone, for which there are indexes."""
    if row.vr != "DA":
        return []
    low, high = key.values if key.match is Match.RANGE else (min(key.values), max(key.values))
    early, late = low and days_around(low, -_ZONES_APART), high and days_around(high, _ZONES_APART)
    return [_range(f"{ALIAS[row.level]}.{row.column}", early, late)]


def _condition(key: Filter, dialect: Dialect) -> Clause:
    row = BY_PATH[key.path]
    if key.tag == MODALITIES:
        return _exists("series m WHERE m.study = s.id AND", "m.modality", key, dialect)
    if key.tag == CLASSES:
        return _exists("series_class c WHERE c.study = s.id AND", "c.sop_class", key, dialect)
    if row.column == "availability":
        return _tests(key, dialect.online, dialect)
    if row.vr == "PN":
        return _name(key, row, dialect)
    return _column(key, row, row.column, lambda expression: _tests(key, expression, dialect), dialect)


def _exists(source: str, expression: str, key: Filter, dialect: Dialect) -> Clause:
    """Matching of what a study's parts have: of several values asked for, each may be in another part."""
    if key.match is Match.EMPTY:
        return Clause(f"NOT EXISTS (SELECT 1 FROM {source} {expression} IS NOT NULL)")
    clauses = [
        Clause(f"EXISTS (SELECT 1 FROM {source} {test.sql})", test.bound)
        for test in _alternatives(key, expression, dialect)
    ]
    return joined(clauses, " AND " if key.match is Match.ALL else " OR ")


def _column(
    key: Filter, row: Attribute, column: str, test: Callable[[str], Clause], dialect: Dialect
) -> Clause:
    """`test` on a column, or on any of the values that `more` has of it."""
    alias = ALIAS[row.level]
    first = test(dialect.column(row.level, column))
    if not row.many or row.origin is Origin.COMPUTED or key.match is Match.EMPTY:
        return first
    each = test("v.value")
    values = dialect.each(f"{alias}.more", column)
    more = f"{alias}.more {dialect.is_there} AND EXISTS (SELECT 1 FROM {values} WHERE {each.sql})"
    return Clause(f"({first.sql} OR ({more}))", first.bound + each.bound)


def _tests(key: Filter, expression: str, dialect: Dialect) -> Clause:
    """The condition that `key` puts on one value."""
    if key.match is Match.EMPTY:
        return Clause(f"{expression} IS NULL")
    if key.match is Match.RANGE:
        return _range(expression, *key.values)
    return joined(_alternatives(key, expression, dialect), " OR ")


def _range(expression: str, low: str, high: str) -> Clause:
    bounds = [Clause(f"{expression} >= ?", (low,))] if low else []
    bounds += [Clause(f"{expression} <= ?", (high,))] if high else []
    return joined(bounds, " AND ")


def _alternatives(key: Filter, expression: str, dialect: Dialect) -> list[Clause]:
    wild = key.vr in WILDCARDS
    patterns = [value for value in key.needles if wild and is_pattern(str(value))]
    plain = [value for value in key.needles if value not in patterns]
    if key.match is Match.ALL:
        return [Clause(f"{expression} = ?", (value,)) for value in key.needles]
    clauses = [_like(expression, str(pattern), dialect) for pattern in patterns]
    return ([_among(expression, plain)] if plain else []) + clauses


def _among(expression: str, values: Sequence[Comparable]) -> Clause:
    if len(values) == 1:
        return Clause(f"{expression} = ?", (values[0],))
    return Clause(f"{expression} IN ({', '.join('?' * len(values))})", tuple(values))


def _like(expression: str, pattern: str, dialect: Dialect) -> Clause:
    prefix = re.split(r"[*?]", pattern, maxsplit=1)[0]
    like = Clause(dialect.like(expression), (dialect.pattern(pattern),))
    if not prefix:
        return like
    # Bounds that an index can use, whether or not the database derives them from the pattern.
    return joined([_range(expression, prefix, prefix + "\U0010ffff"), like], " AND ")


def _name(key: Filter, row: Attribute, dialect: Dialect) -> Clause:
    if key.match is Match.EMPTY:
        alias = ALIAS[row.level]
        return Clause(" AND ".join(f"{alias}.{column} IS NULL" for column in row.columns))
    whole = [_one_name(text, key, row, dialect) for text in key.values]
    return joined(whole, " AND " if key.match is Match.ALL else " OR ")


def _one_name(text: str, key: Filter, row: Attribute, dialect: Dialect) -> Clause:
    if key.match is Match.WORDS:
        starts = words(text)
        groups = [
            _column(key, row, column, lambda expression: _begins(expression, starts, dialect), dialect)
            for column in row.columns
        ]
        return joined(groups, " OR ")
    asked = name_patterns(text)
    if len(asked) == 1:
        return joined([_group(asked[0], key, row, column, dialect) for column in row.columns], " OR ")
    pairs = [(wanted, column) for wanted, column in zip(asked, row.columns, strict=False) if wanted]
    return joined([_group(wanted, key, row, column, dialect) for wanted, column in pairs], " AND ")


def _group(wanted: Sequence[str], key: Filter, row: Attribute, column: str, dialect: Dialect) -> Clause:
    return _column(key, row, column, lambda expression: _spelled(expression, wanted, dialect), dialect)


def _spelled(expression: str, wanted: Sequence[str], dialect: Dialect) -> Clause:
    clauses = [
        _like(expression, pattern, dialect)
        if is_pattern(pattern)
        else Clause(f"{expression} = ?", (pattern,))
        for pattern in wanted
    ]
    return joined(clauses, " OR ")


def _begins(expression: str, wanted: Sequence[str], dialect: Dialect) -> Clause:
    spaced = f"(' ' || replace({expression}, '^', ' '))"
    tests = [(spaced, f" {start}") for start in wanted]
    if dialect.finds_parts:
        tests += [(expression, start) for start in wanted]
    clauses = [Clause(dialect.like(tested), (dialect.containing(part),)) for tested, part in tests]
    return joined(clauses, " AND ")


def _candidates(keys: Sequence[Filter], dialect: Dialect) -> Clause | None:
    """Rows of studies outside of which nothing matches the first key that asks for parts of texts.

    Each column is looked through in its index, which is a small part of what the studies are.
    """
    key = next((key for key in keys if key.path in _IN_INDEXES and _asks_for_parts(key)), None)
    if key is None or not dialect.looks_first:
        return None
    pieces: list[Clause] = []
    for column, test in _tests_by_column(key, BY_PATH[key.path], dialect):
        first, each = test(f"s.{column}"), test("v.value")
        pieces.append(Clause(f"s.{column} {dialect.is_there} AND {first.sql}", first.bound))
        among = f"EXISTS (SELECT 1 FROM {dialect.each('s.more', column)} WHERE {each.sql})"
        pieces.append(Clause(f"s.more {dialect.is_there} AND {among}", each.bound))
    union = " UNION ALL ".join(f"SELECT s.id FROM study s WHERE {piece.sql}" for piece in pieces)
    bound = tuple(value for piece in pieces for value in piece.bound)
    return Clause(f"SELECT id FROM ({union}) LIMIT {_MOST_CANDIDATES + 1}", bound)


def _asks_for_parts(key: Filter) -> bool:
    if key.match is Match.WORDS:
        return True
    return key.match is Match.ANY and any(str(value)[:1] in ("*", "?") for value in key.values)


def _tests_by_column(
    key: Filter, row: Attribute, dialect: Dialect
) -> Iterator[tuple[str, Callable[[str], Clause]]]:
    """Tests of the values of one column each, of which a study that matches passes one."""
    if row.vr != "PN":
        yield row.column, lambda expression: _tests(key, expression, dialect)
        return
    for text in key.values:
        if key.match is Match.WORDS:
            starts = words(text)
            pairs = [(starts, column) for column in row.columns]
            tell = _begins
        else:
            asked, tell = name_patterns(text), _spelled
            if len(asked) == 1:
                pairs = [(asked[0], column) for column in row.columns]
            else:  # all of the groups that are asked for, so that one of them will do
                pairs = [pair for pair in zip(asked, row.columns, strict=False) if pair[0]][:1]
        for wanted, column in pairs:
            yield column, partial(tell, wanted=wanted, dialect=dialect)


def _requests(keys: Sequence[Filter], dialect: Dialect) -> list[Clause]:
    """The keys inside Request Attributes Sequence, all on the same item."""
    if not keys:
        return []
    tests = [_tests(key, f"r.{REQUEST_PATHS[key.path]}", dialect) for key in keys]
    one = joined(tests, " AND ")
    return [Clause(f"e.id IN (SELECT r.series FROM request r WHERE {one.sql})", one.bound)]


def _interval(interval: Interval, zone: int | None, dialect: Dialect) -> list[Clause]:
    days, hours = interval
    row, clock = BY_PATH[days.path], BY_PATH[hours.path]
    written = f"{ALIAS[row.level]}.{row.column}", f"{ALIAS[clock.level]}.{clock.column}"
    day, hour = Clause(written[0]), Clause(written[1])
    clauses = [_range(written[0], *days.values)]
    if zone is not None:
        day, hour = _zoned(row, zone, dialect), _zoned(clock, zone, dialect)
        clauses = [*_around(days, row), _zoned_range(day, *days.values)]
    (first, last), (begin, end) = days.values, hours.values
    # An object without a time of day lies anywhere in its day.
    for date, time, beyond, within in ((first, begin, ">", ">="), (last, end, "<", "<=")):
        if date and time:
            clauses.append(
                Clause(
                    f"({day.sql} {beyond} ? OR {written[1]} IS NULL OR {hour.sql} {within} ?)",
                    (*day.bound, date, *hour.bound, time),
                )
            )
    return clauses
