"""Objects that are entered in the index where they lie."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from service.archive import reasons
from service.archive.adopted import Adopted
from service.archive.intake import as_archive_error
from service.archive.port import Outcome, Refused, Stored
from service.archive.records import record_of, warning_of
from service.archive.reindexing import Pace
from service.archive.scanning import examine, in_order
from service.archive.sweeping import drain
from service.archive.versions import Candidate
from service.dicom.errors import ArchiveError, Duplicate
from service.dicom.record import InstanceRecord
from service.dicom.resource import Resource
from service.index.port import Added, FullIndex, OnDuplicate
from service.store.port import ObjectStore

_ASKED = 500


@dataclass(frozen=True, slots=True)
class _Found:
    """A candidate: its row where it was read, else its outcome, `None` if it has a row already."""

    name: str
    outcome: Outcome | None = None
    record: InstanceRecord | None = None
    warning: int | None = None


class Adopting:
    """One run over objects below one place, which stay where they are."""

    def __init__(
        self,
        place: str,
        adopted: Adopted,
        store: ObjectStore,
        index: FullIndex,
        readers: Executor,
        *,
        pace: Pace,
        on_duplicate: OnDuplicate,
    ) -> None:
        """`place` is the URL of the place, `store` what objects are deleted from that lose their rows."""
        self._place = place
        self._adopted = adopted
        self._store = store
        self._index = index
        self._readers = readers
        self._pace = pace
        self._on_duplicate = on_duplicate

    def run(self, candidates: Iterable[Candidate]) -> Iterator[tuple[str, Outcome | None]]:
        """Enter the candidates; the name and the outcome of each, once it is final.

        It is `None` for one that has its row already, which is not read again. May raise
        `IndexUnavailable`.
        """
        found = in_order(self._readers, self._read, self._asked(candidates), ahead=2 * self._pace.threads)
        for batch in itertools.batched(found, self._pace.rows):
            new = [one for one in batch if one.record is not None]
            outcomes = iter(self._enter(new))
            for one in batch:
                yield one.name, one.outcome if one.record is None else next(outcomes)

    def _asked(self, candidates: Iterable[Candidate]) -> Iterator[tuple[Candidate, bool]]:
        """The candidates, and whether a row names each."""
        for batch in itertools.batched(candidates, _ASKED):
            known = self._index.holds([one.object_key for one in batch if one.object_key])
            yield from ((one, one.object_key in known) for one in batch)

    def _read(self, asked: tuple[Candidate, bool]) -> _Found:
        one, known = asked
        if known:
            return _Found(one.name)
        if one.refusal:
            return _Found(one.name, Refused(reasons.PROCESSING_FAILURE, one.refusal))
        try:
            found = examine(self._adopted, one.object_key, header_limit=self._pace.header_limit)
        except Exception as error:
            wrong = as_archive_error(error)
            return _Found(one.name, Refused(reasons.failure_reason(wrong), str(wrong)))
        record = record_of(found.scanned, found.size, one.object_key, place=self._place, digest=found.digest)
        return _Found(one.name, None, record, warning_of(found.scanned))

    def _enter(self, batch: Sequence[_Found]) -> list[Outcome]:
        records = [one.record for one in batch if one.record is not None]
        for record in records:
            self._make_room(record)
        rows = self._index.add(records, on_duplicate=self._on_duplicate)
        drain(self._store, self._index, [row.doomed for row in rows if row.doomed is not None])
        return [
            self._outcome(record, row.added, one.warning)
            for one, record, row in zip(batch, records, rows, strict=True)
        ]

    def _make_room(self, record: InstanceRecord) -> None:
        """Take out the row of another adopted object, or of what this one was, if that is gone."""
        key = record.key
        held = self._index.locate(Resource(key.study, key.series, key.instance))
        self._adopted.forget_if_fallen(self._index, held)

    def _outcome(self, record: InstanceRecord, added: Added, warning: int | None) -> Outcome:
        key, sop_class = record.key, record.sop_class
        if added is not Added.KEPT:
            return Stored(key, sop_class, warning, already=added is Added.SAME)
        if self._on_duplicate is OnDuplicate.KEEP:
            return Stored(key, sop_class, reasons.DISCARDED, already=True)
        error: ArchiveError = Duplicate("Other content is stored under the same UIDs (ISTHMUS_ON_DUPLICATE).")
        return Refused(reasons.failure_reason(error), str(error), sop_class, key.instance)
