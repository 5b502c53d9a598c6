"""Files that are entered in the index where they lie."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

from service.archive import reasons
from service.archive.adopted import AdoptedFiles, forget_if_fallen, place_of, version_of
from service.archive.intake import as_archive_error
from service.archive.port import Outcome, Refused, Stored
from service.archive.records import record_of, warning_of
from service.archive.reindexing import Pace
from service.archive.scanning import examine, in_order
from service.archive.sweeping import drain
from service.dicom.errors import ArchiveError, Duplicate
from service.dicom.record import InstanceRecord
from service.dicom.resource import Resource
from service.index.port import Added, FullIndex, OnDuplicate
from service.store.port import ObjectStore

_ASKED = 500


@dataclass(frozen=True, slots=True)
class _Version:
    """A file as it is: its path, its object key and whether a row names that, or why it has none."""

    path: Path
    object_key: str = ""
    refusal: str = ""
    known: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """A file: its row where it was read, else its outcome, `None` if it has a row already."""

    path: Path
    outcome: Outcome | None = None
    record: InstanceRecord | None = None
    warning: int | None = None


class Adopting:
    """One run over the files below `folder`, which stay where they are."""

    def __init__(
        self,
        folder: Path,
        store: ObjectStore,
        index: FullIndex,
        readers: Executor,
        *,
        pace: Pace,
        on_duplicate: OnDuplicate,
    ) -> None:
        """`store` is what objects are deleted from that lose their rows."""
        self._place = place_of(os.path.realpath(folder))
        self._files = AdoptedFiles()
        self._store = store
        self._index = index
        self._readers = readers
        self._pace = pace
        self._on_duplicate = on_duplicate

    def run(self, files: Iterable[Path]) -> Iterator[tuple[Path, Outcome | None]]:
        """Enter `files`, all below the folder; the outcome of each, once it is final.

        It is `None` for one that has its row already, which is not read again. May raise `IndexUnavailable`.
        """
        found = in_order(self._readers, self._read, self._versions(files), ahead=2 * self._pace.threads)
        for batch in itertools.batched(found, self._pace.rows):
            new = [one for one in batch if one.record is not None]
            outcomes = iter(self._enter(new))
            for one in batch:
                yield one.path, one.outcome if one.record is None else next(outcomes)

    def _versions(self, files: Iterable[Path]) -> Iterator[_Version]:
        """The files as they are."""
        for batch in itertools.batched(map(self._version, files), _ASKED):
            known = self._index.holds([one.object_key for one in batch if one.object_key])
            yield from (replace(one, known=one.object_key in known) for one in batch)

    def _version(self, path: Path) -> _Version:
        real = os.path.realpath(path)
        if path.is_symlink() or not place_of(real).startswith(f"{self._place}/"):
            return _Version(path, refusal="A symbolic link is not followed.")
        try:
            return _Version(path, version_of(real, Path(real).stat()))
        except OSError as error:
            return _Version(path, refusal=f"The file cannot be read: {os.strerror(error.errno or 0)}.")

    def _read(self, version: _Version) -> _Found:
        if version.known:
            return _Found(version.path)
        if version.refusal:
            return _Found(version.path, outcome=Refused(reasons.PROCESSING_FAILURE, version.refusal))
        try:
            found = examine(self._files, version.object_key, header_limit=self._pace.header_limit)
        except Exception as error:
            wrong = as_archive_error(error)
            return _Found(version.path, outcome=Refused(reasons.failure_reason(wrong), str(wrong)))
        record = record_of(
            found.scanned, found.size, version.object_key, place=self._place, digest=found.digest
        )
        return _Found(version.path, None, record, warning_of(found.scanned))

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
        """Take out the row of another adopted file, or of what this one was, if that is gone."""
        key = record.key
        held = self._index.locate(Resource(key.study, key.series, key.instance))
        forget_if_fallen(self._index, self._files, held)

    def _outcome(self, record: InstanceRecord, added: Added, warning: int | None) -> Outcome:
        key, sop_class = record.key, record.sop_class
        if added is not Added.KEPT:
            return Stored(key, sop_class, warning, already=added is Added.SAME)
        if self._on_duplicate is OnDuplicate.KEEP:
            return Stored(key, sop_class, reasons.DISCARDED, already=True)
        error: ArchiveError = Duplicate("Other content is stored under the same UIDs (ISTHMUS_ON_DUPLICATE).")
        return Refused(reasons.failure_reason(error), str(error), sop_class, key.instance)
