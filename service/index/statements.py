"""A `Query` as SQL: conditions and their bound parameters, from the attribute tables. Values are never
written into statements; names of tables and columns come from the tables alone.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from service.dicom.attributes import (
    BY_PATH,
    CLASSES,
    MODALITIES,
    REQUEST_PATHS,
    Attribute,
    attribute_name,
)
from service.dicom.criteria import Filter, Match, is_pattern
from service.dicom.errors import BadRequest
from service.dicom.matching import Interval, combine
from service.dicom.names import name_patterns, words
from service.dicom.query import Query
from service.dicom.resource import Level
from service.dicom.values import WILDCARDS, Comparable

type Bound = str | int | float

_ALIAS = {Level.STUDY: "s", Level.SERIES: "e", Level.INSTANCE: "i"}
_SCOPES = (0x0020000D, 0x0020000E)

_JOINED = {
    Level.STUDY: "study s",
    Level.SERIES: "study s{first} {join} series e ON e.study = s.id",
    Level.INSTANCE: "study s{first} {join} series e ON e.study = s.id {join} instance i ON i.series = e.id",
}
# Keys that lead to few rows of a lower level, from which the database had better begin.
_LEADING = frozenset(((0x0020000E,), (0x00080018,), *REQUEST_PATHS))
# The last term of each line makes the order of its level total; a study's own series and instances come
# by number, across studies the newest study comes first.
_ORDER = {
    Level.STUDY: "s.study_date DESC NULLS LAST, s.study_time DESC NULLS LAST, s.study_uid",
    Level.SERIES: "e.series_number ASC NULLS LAST, e.series_uid, e.id",
    Level.INSTANCE: "i.instance_number ASC NULLS LAST, i.instance_uid, i.id",
}


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition and the parameters of its question marks, in order."""

    sql: str
    bound: tuple[Bound, ...] = ()


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where databases differ.

    `like(expression)` compares with a pattern; `pattern(text)` says `*` and `?` in its terms, and
    `containing(text)` that `text` occurs literally. `each(more, column)` is a table `v` whose `value` runs
    over an array of `more`. `join` makes the database begin with the studies, and `newest_first` read them
    in their order, so that a page of a search through everything does not sort everything.
    """

    like: Callable[[str], str]
    pattern: Callable[[str], str]
    containing: Callable[[str], str]
    each: Callable[[str, str], str]
    join: str
    newest_first: str


@dataclass(frozen=True, slots=True)
class Search:
    """The tables, conditions and order of a query; `residual` is left to be matched on the documents."""

    source: str
    bound: tuple[Bound, ...]
    order: str
    residual: tuple[Filter, ...]


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
    clauses = [*_scope(query)]
    clauses += [_interval(interval) for interval in intervals]
    clauses += _requests([key for key in keys if key.path in REQUEST_PATHS], dialect)
    clauses += [_condition(key, dialect) for key in keys if key.path not in REQUEST_PATHS]
    where = " AND ".join(clause.sql for clause in clauses)
    levels = [level for level in (Level.STUDY, Level.SERIES, Level.INSTANCE) if level <= query.level]
    return Search(
        source=_source(query, keys, dialect) + (f" WHERE {where}" if where else ""),
        bound=tuple(value for clause in clauses for value in clause.bound),
        order=", ".join(_ORDER[level] for level in levels),
        residual=tuple(residual),
    )


def _source(query: Query, keys: Sequence[Filter], dialect: Dialect) -> str:
    begins_below = query.series is not None or any(key.path in _LEADING for key in keys)
    study_keys = [key for key in keys if key.path in BY_PATH and BY_PATH[key.path].level is Level.STUDY]
    walks = not begins_below and query.study is None and not study_keys
    return _JOINED[query.level].format(
        join="JOIN" if begins_below else dialect.join, first=dialect.newest_first if walks else ""
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


def _condition(key: Filter, dialect: Dialect) -> Clause:
    row = BY_PATH[key.path]
    if key.tag == MODALITIES:
        return _exists("series m WHERE m.study = s.id AND", "m.modality", key, dialect)
    if key.tag == CLASSES:
        return _exists("series_class c WHERE c.study = s.id AND", "c.sop_class", key, dialect)
    if row.column == "availability":
        return _tests(key, "'ONLINE'", dialect)
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
    return _join(clauses, " AND " if key.match is Match.ALL else " OR ")


def _column(
    key: Filter, row: Attribute, column: str, test: Callable[[str], Clause], dialect: Dialect
) -> Clause:
    """`test` on a column, or on any of the values that `more` has of it."""
    alias = _ALIAS[row.level]
    first = test(f"{alias}.{column}")
    if not row.many or key.match is Match.EMPTY:
        return first
    each = test("v.value")
    # The comparison with '' brings the partial index on `more` into play.
    values = dialect.each(f"{alias}.more", column)
    more = f"{alias}.more > '' AND EXISTS (SELECT 1 FROM {values} WHERE {each.sql})"
    return Clause(f"({first.sql} OR ({more}))", first.bound + each.bound)


def _tests(key: Filter, expression: str, dialect: Dialect) -> Clause:
    """The condition that `key` puts on one value."""
    if key.match is Match.EMPTY:
        return Clause(f"{expression} IS NULL")
    if key.match is Match.RANGE:
        return _range(expression, *key.values)
    return _join(_alternatives(key, expression, dialect), " OR ")


def _range(expression: str, low: str, high: str) -> Clause:
    bounds = [Clause(f"{expression} >= ?", (low,))] if low else []
    bounds += [Clause(f"{expression} <= ?", (high,))] if high else []
    return _join(bounds, " AND ")


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
    return _join([_range(expression, prefix, prefix + "\U0010ffff"), like], " AND ")


def _name(key: Filter, row: Attribute, dialect: Dialect) -> Clause:
    if key.match is Match.EMPTY:
        alias = _ALIAS[row.level]
        return Clause(" AND ".join(f"{alias}.{column} IS NULL" for column in row.columns))
    whole = [_one_name(text, key, row, dialect) for text in key.values]
    return _join(whole, " AND " if key.match is Match.ALL else " OR ")


def _one_name(text: str, key: Filter, row: Attribute, dialect: Dialect) -> Clause:
    if key.match is Match.WORDS:
        starts = words(text)
        groups = [
            _column(key, row, column, lambda expression: _begins(expression, starts, dialect), dialect)
            for column in row.columns
        ]
        return _join(groups, " OR ")
    asked = name_patterns(text)
    if len(asked) == 1:
        return _join([_group(asked[0], key, row, column, dialect) for column in row.columns], " OR ")
    pairs = [(wanted, column) for wanted, column in zip(asked, row.columns, strict=False) if wanted]
    return _join([_group(wanted, key, row, column, dialect) for wanted, column in pairs], " AND ")


def _group(wanted: Sequence[str], key: Filter, row: Attribute, column: str, dialect: Dialect) -> Clause:
    def test(expression: str) -> Clause:
        return _join(
            [
                _like(expression, pattern, dialect)
                if is_pattern(pattern)
                else Clause(f"{expression} = ?", (pattern,))
                for pattern in wanted
            ],
            " OR ",
        )

    return _column(key, row, column, test, dialect)


def _begins(expression: str, starts: Sequence[str], dialect: Dialect) -> Clause:
    spaced = f"(' ' || replace({expression}, '^', ' '))"
    clauses = [Clause(dialect.like(spaced), (dialect.containing(f" {start}"),)) for start in starts]
    return _join(clauses, " AND ")


def _requests(keys: Sequence[Filter], dialect: Dialect) -> list[Clause]:
    """The keys inside Request Attributes Sequence, all on the same item."""
    if not keys:
        return []
    tests = [_tests(key, f"r.{REQUEST_PATHS[key.path]}", dialect) for key in keys]
    one = _join(tests, " AND ")
    return [Clause(f"e.id IN (SELECT r.series FROM request r WHERE {one.sql})", one.bound)]


def _interval(interval: Interval) -> Clause:
    days, hours = interval
    row, clock = BY_PATH[days.path], BY_PATH[hours.path]
    day, hour = f"{_ALIAS[row.level]}.{row.column}", f"{_ALIAS[clock.level]}.{clock.column}"
    (first, last), (begin, end) = days.values, hours.values
    clauses = [_range(day, first, last)]
    # An object without a time of day lies anywhere in its day.
    if first and begin:
        clauses.append(Clause(f"({day} > ? OR {hour} IS NULL OR {hour} >= ?)", (first, begin)))
    if last and end:
        clauses.append(Clause(f"({day} < ? OR {hour} IS NULL OR {hour} <= ?)", (last, end)))
    return _join(clauses, " AND ")


def _join(clauses: Sequence[Clause], by: str) -> Clause:
    if len(clauses) == 1:
        return clauses[0]
    bound = tuple(value for clause in clauses for value in clause.bound)
    return Clause("(" + by.join(clause.sql for clause in clauses) + ")", bound)
