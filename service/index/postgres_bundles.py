"""Bundles in PostgreSQL: read by one statement, and kept without holding up those who add instances."""

from service.dicom.resource import Resource
from service.index.bundles import FORM, BundledDocuments, is_whole
from service.index.clauses import Clause, together
from service.index.documents import generation
from service.index.port import Bundle
from service.index.postgres_sessions import Session
from service.index.snapshots import Snapshot

_ONE_SERIES = (
    "FROM study s JOIN series e ON e.study = s.id{joined} WHERE s.study_uid = ? AND e.series_uid = ?"
)
_BUNDLE = " JOIN bundle b ON b.series = e.id AND b.form = ?"
_READ = "SELECT b.generation, b.content " + _ONE_SERIES.format(joined=_BUNDLE)
# The bundle and what the generation of its series is made of, which is not read where there is no bundle.
_READY = "SELECT b.generation, b.content, g.size, g.last, g.total " + _ONE_SERIES.format(
    joined=f"{_BUNDLE} CROSS JOIN LATERAL (SELECT count(*) AS size, max(i.id) AS last, sum(i.id) AS total"
    " FROM instance i WHERE i.series = e.id) g"
)
# Who takes out or replaces instances holds this lock alone, who adds some shares it.
_LOCK = "SELECT e.id " + _ONE_SERIES.format(joined="") + " FOR KEY SHARE OF e"
_KEEP = (
    "INSERT INTO bundle (series, generation, form, content) VALUES (?, ?, ?, ?) ON CONFLICT (series)"
    " DO UPDATE SET generation = excluded.generation, form = excluded.form, content = excluded.content"
)
_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '1s'"


def read(session: Session, series: Resource) -> Bundle | None:
    """As `Bundles.read`."""
    rows = session.rows(_READ, (FORM, series.study, series.series))
    return Bundle(*rows[0]) if rows else None


def ready_made(session: Session, era: int, series: Resource, more: Clause) -> BundledDocuments | None:
    """The documents of `series` from its bundle, by one statement; `None` if none is up to date and whole.

    `more`, unless it is empty, must hold of its study.
    """
    bound = (FORM, series.study, series.series, *more.bound)
    for tag, content, size, last, total in session.rows(together(_READY, more), bound):
        if tag == generation(era, size, last, int(total or 0)) and is_whole(content):
            return BundledDocuments(tag, size, content)
    return None


def keep(session: Session, snapshot: Snapshot, series: Resource, bundle: Bundle) -> bool:
    """As `Bundles.keep`: the instances are looked at once none of them can go any more."""
    with session.transaction(_WRITE):
        locked = session.rows(_LOCK, (series.study, series.series))
        if not locked or snapshot.generation(series) != bundle.generation:
            return False
        session.run(_KEEP, (locked[0][0], bundle.generation, FORM, bundle.content))
    return True
