"""The index in a PostgreSQL database, shared by any number of pods."""

import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import ProgrammingError, QueryCanceled

from service.dicom.confinement import Confinement
from service.dicom.errors import NotFound, Superseded
from service.dicom.frames import Extent
from service.dicom.query import Query
from service.dicom.record import Held, InstanceRecord
from service.dicom.resource import InstanceKey, Resource
from service.environment import SettingError
from service.index import postgres_bundles
from service.index.bookmarks import Bookmarks
from service.index.bundles import fold
from service.index.clauses import Bound
from service.index.confining import Listing, permitted, scope_within
from service.index.documents import parse, unpack
from service.index.port import Answer, Bundle, Connections, Documents, OnDuplicate, Outcome
from service.index.postgres_adding import Adding, LocksNeeded
from service.index.postgres_doubt import Doubt
from service.index.postgres_folding import Folding
from service.index.postgres_removing import remove
from service.index.postgres_schema import check, migrate
from service.index.postgres_sessions import Session, Sessions
from service.index.refusals import contradiction, too_long
from service.index.rows import HELD, IN_ORDER, JOINED, WALK, held, scope
from service.index.searching import find
from service.index.snapshots import Snapshot
from service.index.statements import Dialect, search

_LITERAL = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})
_PATTERN = {"*": "%", "?": "_"}
_PENDING = "coalesce((SELECT sum(a.change) FROM arrival a WHERE a.{of} = {alias}.id), 0)"
_LISTING = Listing("= ANY(?)", list)
POSTGRES = Dialect(
    like=lambda expression: f"{expression} LIKE ?",
    pattern=lambda text: "".join(_PATTERN.get(sign, sign) for sign in text.translate(_LITERAL)),
    containing=lambda text: "%" + text.translate(_LITERAL) + "%",
    each=lambda more, column: (
        '(SELECT t.value COLLATE "C" AS value'
        f" FROM json_array_elements_text({more}::json -> '{column}') t) v"
    ),
    zoned_date=lambda day, hour, zone: f'(zoned_date({day}, {hour}, {zone}, ?::integer) COLLATE "C")',
    zoned_time=lambda day, hour, zone: f'(zoned_time({day}, {hour}, {zone}, ?::integer) COLLATE "C")',
    joined_texts=lambda expression: f"string_agg(DISTINCT {expression}, ',')",
    listing=_LISTING,
    finds_parts=True,
    online="('ONLINE' COLLATE \"C\")",
    counts={
        "s.study_count": f"(s.study_count + {_PENDING.format(of='study', alias='s')})",
        "e.series_size": f"(e.series_size + {_PENDING.format(of='series', alias='e')})",
    },
)

_SOME_DOCUMENTS = "SELECT i.id, i.series, i.json FROM instance i WHERE i.id = ANY(?)"
_FRAMES = (
    "SELECT i.table_length, t.first, substr(i.frame_table, t.first::integer * 8 + 1, t.bytes::integer)"
    " FROM instance i LEFT JOIN unnest(?::integer[], ?::integer[]) t (first, bytes)"
    " ON t.first < i.table_length WHERE i.id = ?"
)
_MOST_FRAMES = 1 << 27  # whose offsets fit into a column
_RUN = 250  # frames whose offsets PostgreSQL keeps together: what lies between two nearer ones is read too


class PostgresIndex:
    """A `FullIndex` in the database at `url`, whose tables are made if they are not there.

    `connections` bounds those of this process, `wait_s` the wait for one of them, `lock_wait_s` a writer's
    wait for what another one has locked, `statement_limit_s` each statement of a search and the time until
    its last one begins, and `patience_s` whatever is done on one connection. Counts are folded `fold_s` after
    they changed.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 16,
        statement_limit_s: float = 20.0,
        wait_s: float = 10.0,
        lock_wait_s: float = 10.0,
        patience_s: float = 60.0,
        fold_s: float = 0.5,
    ) -> None:
        try:
            conninfo_to_dict(url)
        except ProgrammingError:
            raise SettingError(
                "ISTHMUS_INDEX cannot be read as the URL of a PostgreSQL database, such as"
                " postgresql://isthmus@db.example.org/isthmus."
            ) from None
        self._limit_s = statement_limit_s
        self._lock_wait_s = lock_wait_s
        self._read = (
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
            f" SET LOCAL statement_timeout = {max(int(statement_limit_s * 1000), 1)}"
        )
        self._write = (
            "BEGIN ISOLATION LEVEL READ COMMITTED;"
            f" SET LOCAL lock_timeout = {max(int(lock_wait_s * 1000), 1)}"
        )
        self._bookmarks = Bookmarks()
        self._sessions = Sessions(
            url,
            most=connections,
            wait_s=wait_s,
            patience_s=patience_s,
        )
        try:
            self._era = migrate(self._sessions)
        except BaseException:
            self._sessions.close()
            raise
        self._folding = Folding(self._sessions, every_s=fold_s)

    def close(self) -> None:
        """Close all connections; the index answers no more."""
        self._folding.end()
        self._sessions.close()

    def connections(self) -> Connections:
        """How many connections there are at the moment."""
        return self._sessions.load()

    # -- Index ------------------------------------------------------------------------------------

    def add(
        self,
        records: Sequence[InstanceRecord],
        *,
        on_duplicate: OnDuplicate,
        within: Confinement | None = None,
    ) -> list[Outcome]:
        batch = list(records)
        doubt = Doubt(self._lock_wait_s)

        def enter(session: Session, *, firmly: bool) -> list[Outcome]:
            with session.transaction(self._write):
                adding = Adding(session, on_duplicate, firmly=firmly, within=within)
                outcomes = adding.add(batch)
                doubt.note(adding.transaction, outcomes, adding.kept)
            return outcomes

        def work(session: Session) -> list[Outcome]:
            outcomes = doubt.resolve(session)
            if outcomes is not None:
                return outcomes
            try:
                return enter(session, firmly=False)
            except LocksNeeded:
                return enter(session, firmly=True)

        if not batch:
            return []
        outcomes = self._sessions.carry_out(work)
        self._folding.wanted()
        return outcomes

    def remove(self, resource: Resource, *, within: Confinement | None = None) -> list[str]:
        before: list[str] = []  # what was removed by a transaction of which it is not known how it ended

        def work(session: Session) -> list[str]:
            with session.transaction(self._write):
                object_keys = remove(session, resource, permitted(within, resource.study, _LISTING))
                if not object_keys and before:
                    object_keys = [key for (key,) in session.rows(_STILL_DOOMED, (before,))]
                before[:] = object_keys
            return object_keys

        object_keys = self._sessions.carry_out(work)
        self._folding.wanted()
        return object_keys

    def find(self, query: Query) -> Answer:
        parts = search(query, POSTGRES)

        def work(session: Session) -> Answer:
            reading = _Reading(session, self._limit_s, time.monotonic() + self._limit_s)
            try:
                with session.transaction(self._read):
                    return find(reading, query, parts, self._bookmarks, self._limit_s)
            except QueryCanceled as cause:
                raise too_long(self._limit_s) from cause

        return self._sessions.carry_out(work)

    def locate(self, resource: Resource, *, within: Confinement | None = None) -> list[Held]:
        where, bound = scope_within(resource, within, _LISTING)
        order = "" if resource.instance is not None else IN_ORDER
        return [held(row) for row in self._rows(f"{HELD}{JOINED}{where}{order}", bound)]

    def documents(
        self, resource: Resource, *, unless: str | None = None, within: Confinement | None = None
    ) -> Documents | None:
        def work(session: Session) -> Documents | None:
            snapshot = self._snapshot(session, within)
            if unless is not None and unless == snapshot.generation(resource):
                return None
            if resource.series is None:
                with session.transaction(self._read):
                    return snapshot.documents(resource)
            # Of a single series one statement, a snapshot by itself, reads all that has to be of one moment.
            ready = None
            if resource.instance is None:
                more = permitted(within, resource.study, _LISTING)
                ready = postgres_bundles.ready_made(session, self._era, resource, more)
            return ready or snapshot.scattered(resource)

        documents = self._sessions.carry_out(work)
        return None if documents is None or documents.generation == unless else documents

    def frames(self, held: Held, numbers: Sequence[int]) -> list[Extent] | None:
        runs = _runs([number for number in numbers if 1 <= number <= _MOST_FRAMES])
        first, size = [run[0] - 1 for run in runs], [(run[1] - run[0] + 2) * 8 for run in runs]
        rows = self._rows(_FRAMES, (first, size, held.row))
        if not rows:
            raise Superseded("The instance has been removed or replaced.")
        length = rows[0][0]
        if length is None:
            return None
        if any(not 1 <= number <= length for number in numbers):
            raise NotFound(f"The instance has frames 1 to {length}.")
        tables = {begin: offsets for _, begin, offsets in rows}
        begins = {number: begin for begin, run in zip(first, runs, strict=True) for number in run[2]}
        return [_extent(tables[begins[number]], number - 1 - begins[number]) for number in numbers]

    # -- Bundles ----------------------------------------------------------------------------------

    def read(self, series: Resource) -> Bundle | None:
        return self._sessions.carry_out(lambda session: postgres_bundles.read(session, series))

    def keep(self, series: Resource, bundle: Bundle) -> bool:
        return self._sessions.carry_out(
            lambda session: postgres_bundles.keep(session, self._snapshot(session), series, bundle)
        )

    def fold(self, resource: Resource) -> int:
        return fold(self, resource)

    def unready(self, resource: Resource) -> list[Resource]:
        return self._sessions.carry_out(lambda session: self._snapshot(session).unready(resource))

    def _snapshot(self, session: Session, within: Confinement | None = None) -> Snapshot:
        return Snapshot(session.rows, _LISTING, self._era, within)

    # -- Census -----------------------------------------------------------------------------------

    def ready(self) -> None:
        self._sessions.carry_out(check)

    def doomed(self, limit: int) -> list[str]:
        return [key for (key,) in self._rows("SELECT object_key FROM doomed ORDER BY id LIMIT ?", (limit,))]

    def clear(self, object_keys: Sequence[str]) -> None:
        def work(session: Session) -> None:
            with session.transaction(self._write):
                session.run("DELETE FROM doomed WHERE object_key = ANY(?)", (list(object_keys),))

        self._sessions.carry_out(work)

    def holds(self, object_keys: Sequence[str]) -> set[str]:
        sql = "SELECT object_key FROM instance WHERE object_key = ANY(?)"
        return {key for (key,) in self._rows(sql, (list(object_keys),))}

    def walk(self, after: int, limit: int) -> list[Held]:
        return [held(row) for row in self._rows(WALK, (after, limit))]

    def struck(self, object_keys: Sequence[str]) -> set[str]:
        sql = "SELECT object_key FROM doomed WHERE object_key = ANY(?)"
        return {key for (key,) in self._rows(sql, (list(object_keys),))}

    def findings(self, key: InstanceKey) -> tuple[str, ...]:
        where, bound = scope(Resource(key.study, key.series, key.instance))
        rows = self._rows(f"SELECT i.findings {JOINED}{where}", bound)
        if not rows:
            raise NotFound("There is no such instance.")
        ((findings,),) = rows
        return () if findings is None else tuple(orjson.loads(findings))

    def _rows(self, sql: str, bound: Sequence[Any]) -> list[Any]:
        return self._sessions.carry_out(lambda session: session.rows(sql, bound))


_STILL_DOOMED = "SELECT object_key FROM doomed WHERE object_key = ANY(?) ORDER BY id"


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a search reads, inside a snapshot; no statement begins after the deadline."""

    session: Session
    limit_s: float
    deadline: float

    def rows(self, sql: str, bound: Sequence[Bound]) -> list[tuple[Any, ...]]:
        if time.monotonic() > self.deadline:
            raise too_long(self.limit_s)
        return self.session.rows(sql, bound, planned_anew=True)

    def stream(self, sql: str, bound: Sequence[Bound]) -> Iterator[tuple[Any, ...]]:
        self.session.run(f"DECLARE matches NO SCROLL CURSOR FOR {sql}", bound)  # until the snapshot ends
        while some := self.session.rows("FETCH 200 FROM matches"):
            yield from some

    def documents(self, rows: Sequence[int]) -> list[dict[str, object]]:
        found = {
            row: (series, packed) for row, series, packed in self.session.rows(_SOME_DOCUMENTS, (list(rows),))
        }
        if len(found) < len(set(rows)):
            raise contradiction()
        return [parse(self._unpacked(*found[row])) for row in rows]

    def _unpacked(self, series: int, packed: bytes) -> bytes:
        def read() -> bytes:
            return bytes(self.session.one("SELECT dictionary FROM series WHERE id = ?", (series,)))

        return unpack(packed, self.session.dictionaries.get(series, read))


def _runs(numbers: Sequence[int]) -> list[tuple[int, int, list[int]]]:
    """Frames that are near one another: the first, the last and those asked for of each run."""
    runs: list[tuple[int, int, list[int]]] = []
    for number in sorted(set(numbers)):
        if runs and number - runs[-1][1] <= _RUN:
            first, _, asked = runs[-1]
            runs[-1] = (first, number, [*asked, number])
        else:
            runs.append((number, number, [number]))
    return runs


def _extent(offsets: bytes, slot: int) -> Extent:
    first, end = struct.unpack_from("<QQ", offsets, slot * 8)
    return Extent(first, end - first)
