"""The way in: objects are scanned as they arrive, made durable, then entered in the index."""

import contextlib
import logging
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from service.archive import reasons
from service.archive.admitting import not_permitted, require_permitted
from service.archive.adopted import Adopted
from service.archive.keys import is_of, new_object_key
from service.archive.placed import PlacedUpload
from service.archive.port import Outcome, Refused, Stored
from service.archive.records import record_of, warning_of
from service.dicom.confinement import Confinement
from service.dicom.errors import (
    ArchiveError,
    Busy,
    ClassMismatch,
    Duplicate,
    IndexUnavailable,
    StoreUnavailable,
    TooLarge,
    UpstreamFailed,
    WrongStudy,
)
from service.dicom.record import Held, InstanceRecord
from service.dicom.resource import InstanceKey, Resource
from service.dicom.scan import Budget, Scan, Scanned
from service.index.port import Added, FullIndex, OnDuplicate
from service.index.port import Outcome as RowOutcome
from service.store.port import ObjectStore, Upload

_SETTLED_AFTER_S = 30.0
_LARGE = 4 << 20
OPEN_TOGETHER = 3
"""Objects of one intake that were written by who brought them, and are not yet known to be durable."""
_log = logging.getLogger("isthmus.intake")


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """How much an intake may hold: sizes in bytes, numbers of instances between commits of rows.

    An object has to arrive within `longest_s` seconds. A store may take its beginning for its age, and
    `sweep` deletes what is old and has no row, which an object gets at its end only. Without `look_first`
    an object that is there already is found out when its row is entered, not before it is written.
    """

    header_limit: int
    batch_instances: int
    batch_bytes: int
    unwritten_bytes: int = 8 << 20
    headers_together: int = 256 << 20
    longest_s: float = 12 * 3600.0
    largest_bytes: int = 32 << 30
    look_first: bool = True


@dataclass(slots=True)
class _Arriving:
    """The object whose bytes are coming in."""

    upload: Upload
    scan: Scan
    size: int = 0
    begun: float = field(default_factory=time.monotonic)
    error: ArchiveError | None = None
    object_key: str = ""

    def tell_name(self) -> None:
        """Tell the store the object's name once it is known: a large body need not wait here then."""
        key = self.scan.key
        if key is not None:
            self.object_key = new_object_key(key)
            self.upload.name(self.object_key)

    def drop(self) -> None:
        """Let go of its bytes."""
        self.upload.abort()
        self.scan.close()


@dataclass(slots=True)
class _Writing:
    """A complete body on its way to being durable, in a thread of its own where one is free.

    Where nobody else writes, `done` is what nobody begins before it is settled.
    """

    upload: Upload
    object_key: str
    digest: Future[bytes]
    done: Future[None]

    def settle(self) -> None:
        """Return once it is durable; raises what kept it from that, each time."""
        if self.done.cancel():  # nobody has begun: no need to wait for a thread
            self.done = _done(partial(self.upload.commit, self.object_key, self.digest.result))
        self.done.result()


@dataclass(slots=True)
class _Pending:
    """An object that is complete and waits for its row."""

    place: int
    record: InstanceRecord
    writing: _Writing
    warning: int | None


@dataclass(slots=True)
class _Batch:
    """Objects whose rows are committed together, and the bytes of those not yet durable."""

    pending: list[_Pending] = field(default_factory=list)
    size: int = 0
    begun: float = field(default_factory=time.monotonic)


class ObjectIntake:
    """Takes objects into a store and an index: each object durable first, its row second.

    Writing an object overlaps with finding its digest and what its row says, and with receiving the next
    one; rows are committed in batches.
    """

    def __init__(
        self,
        store: ObjectStore,
        index: FullIndex,
        writers: Executor | None,
        *,
        limits: IntakeLimits,
        on_duplicate: OnDuplicate,
        study: str | None,
        budget: Budget | None = None,
        adopted: Adopted | None = None,
        came: Callable[[Resource, int], None] = lambda series, count: None,
        within: Confinement | None = None,
    ) -> None:
        """`came` is told how many instances have been entered in which series.

        `within` is what the sender is confined to: other instances are refused, and so are those of a study
        that is there and is not within it, which is decided where rows are entered. Without `writers` an
        object is written by the thread that brings it.
        """
        self._store = store
        self._index = index
        self._writers = writers
        self._limits = limits
        self._on_duplicate = on_duplicate
        self._study = study
        self._budget = budget
        self._adopted = adopted or Adopted()
        self._came = came
        self._within = within
        self._arriving: _Arriving | None = None
        self._batch = _Batch()
        self._outcomes: list[Outcome | None] = []

    def begin(self, placed: str = "", on_left: Callable[[str], None] = lambda key: None) -> None:
        """An object follows: one that lies in the store already where `placed` names it there.

        `on_left` is told if that is not to stay, and does not delete it.
        """
        scan = Scan(header_limit=self._limits.header_limit, budget=self._budget)
        upload = PlacedUpload(placed, on_left) if placed else self._store.begin()
        self._arriving = _Arriving(upload, scan, object_key=placed)

    def write(self, block: memoryview) -> None:
        arriving = self._arriving
        assert arriving is not None
        if self._batch.pending and time.monotonic() - self._batch.begun > _SETTLED_AFTER_S:
            self._settle()  # the sender is slow: what is durable gets its row now
        if arriving.error is not None:
            return
        try:
            arriving.size += len(block)
            arriving.scan.push(block)
            if arriving.size > self._limits.largest_bytes:
                raise reasons.too_large(self._limits.largest_bytes)
            if not arriving.object_key and arriving.size >= _LARGE:
                arriving.tell_name()
            arriving.upload.write(block)
        except Exception as error:
            arriving.error = as_archive_error(error)
            arriving.drop()

    def end(self) -> None:
        arriving, self._arriving = self._arriving, None
        assert arriving is not None
        if arriving.error is not None:
            self._outcomes.append(_refusal(arriving.error, arriving.scan))
            return
        try:
            if time.monotonic() - arriving.begun > self._limits.longest_s:
                raise TooLarge("The object took too long to arrive; send it over a faster connection.")
            scanned = arriving.scan.finish()
            self._admit(scanned)
            object_key = arriving.object_key or new_object_key(scanned.key)
            if arriving.object_key and not is_of(object_key, scanned.key):
                raise ClassMismatch("The object is another instance than it was said to be.")
            held = self._held(scanned.key) if self._limits.look_first else ()
            if not held:
                arriving.upload.ready(object_key)
            known = self._known(scanned, held)
            # The digest comes last: it is found while the object is being written.
            record = record_of(scanned, arriving.size, object_key, digest=b"")
        except Exception as error:
            arriving.drop()
            self._outcomes.append(_refusal(as_archive_error(error), arriving.scan))
            return
        arriving.scan.close()
        if known is not None:
            arriving.drop()
            self._outcomes.append(known)
            return
        self._keep(record, scanned, arriving.upload)

    def refuse(self, reason: int, message: str) -> None:
        arriving, self._arriving = self._arriving, None
        if arriving is not None:
            arriving.drop()
        named = arriving.scan.named if arriving is not None else ("", "")
        self._outcomes.append(Refused(reason, message, *named))

    def finish(self) -> Sequence[Outcome]:
        if self._arriving is not None:
            self.refuse(reasons.CANNOT_UNDERSTAND, "The body ends inside this object.")
        self._settle()
        return [outcome for outcome in self._outcomes if outcome is not None]

    def _admit(self, scanned: Scanned) -> None:
        if self._study is not None and scanned.key.study != self._study:
            raise WrongStudy("The object belongs to another study than the one in the URL.")
        require_permitted(scanned, self._within)

    def _held(self, key: InstanceKey) -> Sequence[Held]:
        """The row that is there already, if any."""
        held = self._index.locate(Resource(key.study, key.series, key.instance), within=self._within)
        return () if held and self._adopted.forget_if_fallen(self._index, held) else held

    def _known(self, scanned: Scanned, held: Sequence[Held]) -> Outcome | None:
        """The outcome of an object whose row is there already, where no write can change it."""
        if not held:
            return None
        if held[0].digest == scanned.digest:
            return Stored(scanned.key, scanned.sop_class, warning_of(scanned), already=True)
        if self._on_duplicate is OnDuplicate.REPLACE:
            return None
        return _kept(scanned.key, scanned.sop_class, self._on_duplicate)

    def _keep(self, record: InstanceRecord, scanned: Scanned, upload: Upload) -> None:
        writing = self._write(upload, record.object_key, scanned)
        record = replace(record, digest=scanned.digest)
        place = len(self._outcomes)
        self._outcomes.append(None)
        if not self._batch.pending:
            self._batch.begun = time.monotonic()
        self._batch.pending.append(_Pending(place, record, writing, warning_of(scanned)))
        self._batch.size += record.size
        full = len(self._batch.pending) >= self._limits.batch_instances
        if full or self._batch.size >= self._limits.batch_bytes:
            self._settle()
        else:
            self._wait_for_room()

    def _write(self, upload: Upload, object_key: str, scanned: Scanned) -> _Writing:
        """Hand a complete object to the writers, if there are any; its digest is found meanwhile."""
        digest: Future[bytes] = Future()
        if self._writers is None:
            try:
                digest.set_result(scanned.digest)
            except BaseException:  # it is not among those that are settled: nobody else lets go of its file
                upload.abort()
                raise
            return _Writing(upload, object_key, digest, Future())
        done = self._writers.submit(upload.commit, object_key, digest.result)
        try:
            digest.set_result(scanned.digest)
        except BaseException as error:
            digest.set_exception(error)  # nobody is to wait for it for ever
            raise
        return _Writing(upload, object_key, digest, done)

    def _wait_for_room(self) -> None:
        """Wait while too much is being written already."""
        unwritten = 0
        for later, one in enumerate(reversed(self._batch.pending)):
            if not one.writing.done.done():
                unwritten += one.record.size
                full = unwritten > self._limits.unwritten_bytes
                with contextlib.suppress(Exception):  # what went wrong is told when the batch is settled
                    if self._writers is None and (full or later >= OPEN_TOGETHER):
                        one.writing.settle()
                    elif full:
                        one.writing.done.exception()

    def _settle(self) -> None:
        """Wait until the batch's objects are durable, then commit their rows."""
        batch, self._batch = self._batch, _Batch()
        durable: list[_Pending] = []
        for one in batch.pending:
            try:
                one.writing.settle()
                durable.append(one)
            except Exception as error:
                self._outcomes[one.place] = _failed(one, as_archive_error(error))
        if not durable:
            return
        try:
            records = [one.record for one in durable]
            rows = self._index.add(records, on_duplicate=self._on_duplicate, within=self._within)
        except Exception as error:
            # Whether the rows were committed is not known: the objects stay, `sweep` finds orphans.
            for one in durable:
                self._outcomes[one.place] = _failed(one, as_archive_error(error))
            return
        for one, row in zip(durable, rows, strict=True):
            self._outcomes[one.place] = self._outcome(one, row)
        self._delete([row.doomed for row in rows if row.doomed is not None])
        entered = Counter(
            Resource(one.record.key.study, one.record.key.series)
            for one, row in zip(durable, rows, strict=True)
            if row.added in (Added.NEW, Added.REPLACED)
        )
        for series, count in entered.items():
            self._came(series, count)

    def _outcome(self, one: _Pending, row: RowOutcome) -> Outcome:
        if row.added is Added.FORBIDDEN:
            return _failed(one, not_permitted())
        if row.added is Added.KEPT:
            return _kept(one.record.key, one.record.sop_class, self._on_duplicate)
        already = row.added is Added.SAME
        return Stored(one.record.key, one.record.sop_class, one.warning, already)

    def _delete(self, doomed: list[str]) -> None:
        """Delete objects that no row names; what fails here is left to `sweep`."""
        try:
            for object_key in doomed:
                self._store.delete(object_key)
            if doomed:
                self._index.clear(doomed)
        except (StoreUnavailable, IndexUnavailable):
            return


def _done(work: Callable[[], None]) -> Future[None]:
    """What became of `work`, which is over."""
    done: Future[None] = Future()
    try:
        work()
        done.set_result(None)
    except Exception as error:  # as a thread's: it is this object's fault, not the others'
        done.set_exception(error)
    return done


def as_archive_error(error: Exception) -> ArchiveError:
    """`error` itself, or what is said of a fault of our own: one object's fault is not the others'."""
    if isinstance(error, ArchiveError):
        return error
    # The text of an unexpected error may hold values of the object: its kind and place say enough.
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
    _log.error("intake fault=%s at=%s", type(error).__name__, where)
    return ArchiveError("The object could not be processed.")


def _kept(key: InstanceKey, sop_class: str, on_duplicate: OnDuplicate) -> Outcome:
    """The outcome where other content with the same UIDs is stored and stays."""
    if on_duplicate is OnDuplicate.KEEP:
        return Stored(key, sop_class, reasons.DISCARDED, already=True)
    message = "Other content is stored under the same UIDs; it was left unchanged (ISTHMUS_ON_DUPLICATE)."
    return _refused(Duplicate(message), sop_class, key.instance)


def _failed(one: _Pending, error: ArchiveError) -> Refused:
    return _refused(error, one.record.sop_class, one.record.key.instance)


def _refusal(error: ArchiveError, scan: Scan) -> Refused:
    """The outcome of an object that was not admitted, with its UIDs as far as they are known."""
    return _refused(error, *scan.named)


def _refused(error: ArchiveError, sop_class: str, sop_instance: str) -> Refused:
    transient = isinstance(error, (Busy, StoreUnavailable, IndexUnavailable, UpstreamFailed))
    return Refused(reasons.failure_reason(error), str(error), sop_class, sop_instance, transient)
