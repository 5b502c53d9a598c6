"""What was read of a PACS: an archive of its own on this machine, bounded by size and age.

The PACS has everything that is here, so that losing it costs time and nothing else.
"""

import dataclasses
import logging
import os
import shutil
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Buffer, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bridge.pacs.arrived import Arrived, held_as
from service.archive.objects import ObjectArchive
from service.archive.open import open_archive
from service.archive.port import Outcome, Stored
from service.dicom.errors import IndexUnavailable, NotFound, StoreUnavailable
from service.dicom.query import Query
from service.dicom.record import Held
from service.dicom.resource import InstanceKey, Level, Resource
from service.settings import Settings

log = logging.getLogger("isthmus.pacs")

WRITERS = 2  # threads; a thread writes or digests most of its time, which others need not wait for
_IN_USE_S = 60.0  # since the last read: an answer may be on its way
_HARD = 2  # times the limit, where everything is in use
_PAGE = 500
_OPENED = "opened"  # names the boot since which what is here may not all be on the disk
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_STUDY_UID = b'"0020000D":{"vr":"UI","Value":["'


class SeriesKey(NamedTuple):
    """A series by its UIDs."""

    study: str
    series: str

    @property
    def resource(self) -> Resource:
        return Resource(self.study, self.series)


@dataclass(slots=True)
class _Kept:
    """What is known of a series here: its bytes, and when it was used."""

    size_bytes: int = 0
    used: float = 0.0


class Cache:
    """Instances of one PACS. Every method may be called from any thread, and blocks.

    `on_forgotten` is told of each series that is let go of.
    """

    def __init__(
        self,
        folder: Path,
        *,
        most_bytes: int,
        most_age_s: float,
        web: Settings,
        on_forgotten: Callable[[SeriesKey], None] = lambda key: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the cache in `folder`, which is made if it is not there. May raise `StoreUnavailable`."""
        self.on_forgotten = on_forgotten
        self._most_bytes = most_bytes
        self._most_age_s = most_age_s
        self._clock = clock
        self._guard = threading.Lock()
        self._kept: OrderedDict[SeriesKey, _Kept] = OrderedDict()
        self._size_bytes = 0
        self._read_at = 0.0
        self._left: deque[tuple[float, str]] = deque()
        self.archive: ObjectArchive = _opened(folder, web)
        self.writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="pacs-write")
        self._count()

    @property
    def read_at(self) -> float:
        """When something was last read, by the clock."""
        return self._read_at

    @property
    def size_bytes(self) -> int:
        """The bytes of all objects."""
        return self._size_bytes

    def use(self, key: InstanceKey) -> None:
        """Note that an instance is being read."""
        self._read_at = self._clock()
        kept = self._kept.get(SeriesKey(key.study, key.series))
        if kept is not None:
            kept.used = self._read_at

    def held(self, resource: Resource) -> Sequence[Held]:
        """The instances of `resource` that are here, none if there are none."""
        try:
            return self.archive.instances(resource)
        except NotFound:
            return ()

    def put(self, objects: Iterable[Sequence[Buffer]], study: str) -> list[Outcome]:
        """Keep objects of one study, each given as its bytes in blocks; one outcome each, in order.

        On return they can be read. May raise `StoreUnavailable`, `IndexUnavailable`.
        """
        self.make_room(study)
        intake = self.archive.intake(study)
        sizes: list[int] = []
        for blocks in objects:
            whole = memoryview(b"".join(blocks))  # a copy costs less than to scan and digest it in pieces
            intake.begin()
            intake.write(whole)
            intake.end()
            sizes.append(whole.nbytes)
        outcomes = list(intake.finish())
        for outcome, size in zip(outcomes, sizes, strict=True):
            self.count(outcome, size)
        return outcomes

    def place(self, objects: Iterable[Arrived], study: str) -> tuple[list[Held], list[Arrived]]:
        """Put instances of one study into the store, and leave for later to find out what they are.

        What can be said of each, and those that were left alone since it cannot. May raise
        `StoreUnavailable`.
        """
        self.make_room(study)
        placed: list[Held] = []
        left: list[Arrived] = []
        try:
            for arrived in objects:
                key = arrived.key
                if key is None or key.study != study:
                    left.append(arrived)
                else:
                    placed.append(held_as(arrived, key, self.archive.place(key, arrived.blocks)))
        except BaseException:
            self.archive.discard([one.object_key for one in placed])
            raise
        return placed, left

    def enter(self, placed: Sequence[Held], study: str) -> Sequence[Outcome]:
        """Keep what was placed; one outcome each, in order, as of `put`."""
        outcomes, left = self.archive.enter([one.object_key for one in placed], study)
        self.leave(left)
        for outcome, one in zip(outcomes, placed, strict=True):
            self.count(outcome, one.size)
        return outcomes

    def leave(self, object_keys: Iterable[str]) -> None:
        """Have placed objects deleted that are not to stay, when nobody can be reading them any more."""
        at = self._clock()
        self._left.extend((at, object_key) for object_key in object_keys)

    def count(self, outcome: Outcome, size_bytes: int) -> None:
        """Note what became of an object that was put into the archive."""
        if isinstance(outcome, Stored) and not outcome.already:
            key = SeriesKey(outcome.key.study, outcome.key.series)
            with self._guard:
                kept = self._kept.setdefault(key, _Kept())
                kept.size_bytes += size_bytes
                kept.used = self._clock()
                self._size_bytes += size_bytes

    def forget(self, resource: Resource) -> None:
        """Let go of what the PACS has no longer, or nobody reads; what is not here is let go of already."""
        keys = {SeriesKey(one.key.study, one.key.series) for one in self.held(resource)}
        if resource.series is not None:
            keys.add(SeriesKey(resource.study, resource.series))
        try:
            self.archive.forget(resource)
        except NotFound:
            pass
        for key in keys:
            self._recount(key)

    def make_room(self, study: str = "") -> None:
        """Let go of what is old, and of what was used longest ago while there is too much.

        What was read in the last minute stays: an answer may be on its way. So does what there is of `study`,
        of which more is coming. `StoreUnavailable` where that is twice as much as there may be.
        """
        at = self._clock()
        with self._guard:
            by_use = sorted(self._kept.items(), key=lambda item: item[1].used)
            excess = self._size_bytes - self._most_bytes
        self._delete_left(at)
        for key, kept in by_use:
            if key.study == study:
                continue
            age = at - kept.used
            if age < _IN_USE_S or (excess <= 0 and age < self._most_age_s):
                break
            excess -= kept.size_bytes
            self.forget(key.resource)
            self.on_forgotten(key)
            log.info("pacs cache forgets series=%s bytes=%d", key.series, kept.size_bytes)
        if self._size_bytes > _HARD * self._most_bytes:
            raise StoreUnavailable(
                "More of this PACS is being read at once than is kept of it (ISTHMUS_PEER_CACHE)."
            )

    def close(self) -> None:
        """Finish what is being written, and let go of the folder."""
        self.writers.shutdown(wait=True, cancel_futures=True)
        self.archive.close()

    def _delete_left(self, at: float) -> None:
        while self._left and at - max(self._left[0][0], self._read_at) > _IN_USE_S:
            try:
                self.archive.discard([self._left.popleft()[1]])
            except IndexError:  # another thread was faster
                return

    def _recount(self, key: SeriesKey) -> None:
        """Count a series by what is there: what was replaced meanwhile has been counted twice."""
        with self._guard:
            there = sum(one.size for one in self.held(key.resource))
            kept = self._kept.get(key)
            if kept is None:
                return
            self._size_bytes += there - kept.size_bytes
            kept.size_bytes = there
            if not there:
                del self._kept[key]

    def _count(self) -> None:
        """What an earlier run has left here; its age counts from this start."""
        at, offset = self._clock(), 0
        while True:
            answer = self.archive.find(Query(Level.STUDY, limit=_PAGE, offset=offset))
            for match in answer.matches:
                for one in self.held(Resource(_study_of(match))):
                    key = SeriesKey(one.key.study, one.key.series)
                    self._kept.setdefault(key, _Kept(used=at)).size_bytes += one.size
                    self._size_bytes += one.size
            offset += len(answer.matches)
            if not answer.remaining or not answer.matches:
                return


def _opened(folder: Path, web: Settings) -> ObjectArchive:
    """The archive in `folder`, begun anew where it cannot be used: the PACS has all of it.

    That is also where the machine went down while it was open, since nothing waits here for the disk.
    """
    settings = dataclasses.replace(
        web,
        store=f"file://{folder.absolute()}/objects",
        index=f"sqlite://{folder.absolute()}/index.db",
        on_duplicate="replace",  # the PACS is right
        durable=False,
        write_threads=0,  # a write is a copy: handing it over costs as much
    )
    try:
        opened = folder / _OPENED
        if folder.exists() and (not opened.exists() or opened.read_text() != _this_boot()):
            log.warning("pacs cache begun anew folder=%s, the machine may have gone down", folder.name)
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened.write_text(_this_boot())
        _flush(opened)
        try:
            archive = open_archive(settings)
            archive.sweep(older_than_s=0.0, even_most=True)
        except (IndexUnavailable, StoreUnavailable) as damage:
            log.warning("pacs cache begun anew folder=%s error=%s", folder.name, type(damage).__name__)
            shutil.rmtree(folder)
            folder.mkdir(parents=True, mode=0o700)
            opened.write_text(_this_boot())
            archive = open_archive(settings)
    except OSError as cause:
        raise StoreUnavailable("The folder of the cache cannot be used (ISTHMUS_BRIDGE_STATE).") from cause
    return archive


def _this_boot() -> str:
    """What tells this run of the machine from others; empty where the system does not say."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def _flush(path: Path) -> None:
    """Make a file and its name durable."""
    for each, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(each, flags | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _study_of(match: bytes) -> str:
    start = match.index(_STUDY_UID) + len(_STUDY_UID)
    return match[start : match.index(b'"', start)].decode("ascii")
