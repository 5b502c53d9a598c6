"""Taking instances out of a PostgreSQL database, and what study and series are described by.

Locks are taken in one order everywhere: studies by row, series by row, then instances.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from service.dicom.describing import Value
from service.dicom.record import Description
from service.dicom.resource import Level, Resource
from service.index.clauses import Clause, together
from service.index.documents import describe_document, unpack
from service.index.postgres_sessions import Session
from service.index.rows import COLUMNS, DESCRIBED, described

# What stands in an index has to fit into a page of it: of longer texts the beginning is matched.
_MATCHED_BYTES = 2400


def _update(table: str, columns: Sequence[str]) -> str:
    return f"UPDATE {table} SET {', '.join(f'{column} = ?' for column in columns)} WHERE id = ?"


_STUDY_UPDATE = _update("study", ("source", *COLUMNS[Level.STUDY], *DESCRIBED))
_SERIES_UPDATE = _update("series", ("source", *COLUMNS[Level.SERIES], *DESCRIBED))
_STUDY = "SELECT s.id FROM study s WHERE s.study_uid = ?"
_LOCKED = " FOR NO KEY UPDATE"
_LOCK_SERIES = "SELECT id FROM series WHERE study = ?{named} ORDER BY id FOR UPDATE"
_DELETE = (
    "WITH gone AS (DELETE FROM instance WHERE series = ANY(?){named} RETURNING id, series, object_key)"
    " SELECT series, object_key FROM gone ORDER BY id"
)
_DOOM = (
    "INSERT INTO doomed (object_key, since) SELECT k, ? FROM unnest(?::text[]) k"
    " ON CONFLICT (object_key) DO NOTHING"
)
_ARRIVE = (
    "INSERT INTO arrival (study, series, change) SELECT * FROM unnest(?::bigint[], ?::bigint[], ?::integer[])"
)
_EMPTY = (
    "SELECT e.id FROM unnest(?::bigint[]) e (id)"
    " WHERE NOT EXISTS (SELECT 1 FROM instance i WHERE i.series = e.id)"
)
_DROP_CLASSES = (
    "DELETE FROM series_class c WHERE c.study = ? AND c.series = ANY(?) AND NOT EXISTS"
    " (SELECT 1 FROM instance i WHERE i.series = c.series AND i.sop_class = c.sop_class)"
)
_DROP_STUDY = (
    "DELETE FROM study s WHERE s.id = ? AND NOT EXISTS (SELECT 1 FROM series e WHERE e.study = s.id)"
)
_COUNT_SERIES = "UPDATE study SET series_count = series_count + ? WHERE id = ?"
_MODALITIES = (
    "UPDATE study SET modalities = coalesce((SELECT string_agg(m.modality, '\\' ORDER BY m.modality) FROM"
    " (SELECT DISTINCT modality FROM series WHERE study = study.id AND modality IS NOT NULL) m), '')"
    " WHERE id = ?"
)
_UNSOURCED = (
    "SELECT t.id FROM {table} t WHERE t.id = ANY(?)"
    " AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.id = t.source) ORDER BY t.id"
)
_LOWEST = (
    "SELECT i.id, e.id, i.json, e.dictionary FROM instance i JOIN series e ON e.id = i.series"
    " WHERE {within} = ? ORDER BY i.id LIMIT 1"
)


def remove(session: Session, resource: Resource, more: Clause) -> list[str]:
    """Take out the instances of `resource` and the parents that they leave empty; the keys of the objects.

    `more`, unless it is empty, must hold of its study.
    """
    studies = session.rows(together(_STUDY, more) + _LOCKED, (resource.study, *more.bound))
    if not studies:
        return []
    study = studies[0][0]
    named, uids = ("", ()) if resource.series is None else (" AND series_uid = ?", (resource.series,))
    series = [row for (row,) in session.rows(_LOCK_SERIES.format(named=named), (study, *uids))]
    if not series:
        return []
    named, uids = ("", ()) if resource.instance is None else (" AND instance_uid = ?", (resource.instance,))
    gone = session.rows(_DELETE.format(named=named), (series, *uids))
    if not gone:
        return []
    object_keys = [object_key for _, object_key in gone]
    doom(session, object_keys)
    changes = Counter(row for row, _ in gone)
    arrive(session, [(study, row, -size) for row, size in changes.items()])
    _drop_empty(session, study, list(changes))
    return object_keys


def doom(session: Session, object_keys: Sequence[str]) -> None:
    """Note that no row refers to these objects any more."""
    session.run(_DOOM, (int(time.time()), sorted(object_keys)))


def arrive(session: Session, changes: Iterable[tuple[int, int, int]]) -> None:
    """Note how many instances came to a series: the rows of its study and of itself, and the number."""
    studies, series, sizes = zip(*changes, strict=True)
    session.run(_ARRIVE, (list(studies), list(series), list(sizes)))


def settle(session: Session, study: int, series: Sequence[int]) -> None:
    """Bring up to date what is said of a study and of those of its series that lost or changed instances."""
    session.run(_DROP_CLASSES, (study, list(series)))
    for (row,) in session.rows(_UNSOURCED.format(table="series"), (list(series),)):
        told, values = _lowest(session, Level.SERIES, row)
        session.run(_SERIES_UPDATE, (*values, row))
        session.run("DELETE FROM request WHERE series = ?", (row,))
        enter_requests(session, row, told)
    for (row,) in session.rows(_UNSOURCED.format(table="study"), ([study],)):
        _, values = _lowest(session, Level.STUDY, row)
        session.run(_STUDY_UPDATE, (*values, row))
    count_modalities(session, study)


def enter_requests(session: Session, series: int, told: Description) -> None:
    """Enter the items of Request Attributes Sequence."""
    for step, procedure in told.requests:
        session.run(
            "INSERT INTO request (series, step_id, procedure_id) VALUES (?, ?, ?)",
            (series, *fitting((step or None, procedure or None))),
        )


def count_modalities(session: Session, study: int) -> None:
    """Gather the modalities of a study, whose row is locked, from its series."""
    session.run(_MODALITIES, (study,))


def fitting(values: Iterable[Value | bytes]) -> Iterable[Any]:
    """The values of columns, of texts as much as is matched."""
    for value in values:
        if isinstance(value, str) and len(value) * 4 > _MATCHED_BYTES:
            value = value.encode("utf-8")[:_MATCHED_BYTES].decode("utf-8", "ignore")
        yield value


def description(level: Level, columns: Any, summary: bytes) -> tuple[Any, ...]:
    """The values of a level's `COLUMNS` and of `DESCRIBED`."""
    *values, more, told = described(level, columns, summary)
    return (*fitting(values), more, told)


def _drop_empty(session: Session, study: int, series: Sequence[int]) -> None:
    empty = [row for (row,) in session.rows(_EMPTY, (list(series),))]
    if empty:
        for table, column in (("series", "id"), ("request", "series")):
            session.run(f"DELETE FROM {table} WHERE {column} = ANY(?)", (empty,))
        session.run("DELETE FROM series_class WHERE study = ? AND series = ANY(?)", (study, empty))
        session.run(_COUNT_SERIES, (-len(empty), study))
        session.run(_DROP_STUDY, (study,))
    settle(session, study, [row for row in series if row not in empty])


def _lowest(session: Session, level: Level, row: int) -> tuple[Description, tuple[Any, ...]]:
    """What the lowest instance of a study or series says of it, and the values of its update."""
    ((source, series, packed, stored),) = session.rows(
        _LOWEST.format(within="e.id" if level is Level.SERIES else "e.study"), (row,)
    )
    dictionary = session.dictionaries.get(series, lambda: bytes(stored))
    told = describe_document(unpack(packed, dictionary))
    columns = told.series if level is Level.SERIES else told.study
    summary = told.series_summary if level is Level.SERIES else told.study_summary
    return told, (source, *description(level, columns, summary))
