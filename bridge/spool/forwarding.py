"""From the spool to the archive: in order within a study, several studies at a time."""

import asyncio
import logging
from types import TracebackType
from typing import BinaryIO

from bridge import statuses, tracing
from bridge.spool.deposit import Deposit
from bridge.spool.entry import Entry
from bridge.spool.folder import Folder, Unreadable, read_block
from bridge.spool.lanes import Lanes
from bridge.spool.quarantine import Quarantine
from bridge.spool.reach import Reach
from bridge.spool.settings import SpoolSettings
from bridge.spool.space import Space
from bridge.spool.verdict import Fate, Verdict

log = logging.getLogger("isthmus.spool")

_DISK = "the disk of the bridge fails"


class Forwarder:
    """Sends on what waits in `lanes`.

    While the archive is out of reach one instance at a time tries whether it is back, each time of another
    study. An instance with which the archive fails in its own way goes behind the others of its study; when
    it has failed with it again and again, and taken others meanwhile, the instance goes to the quarantine.
    """

    def __init__(
        self,
        deposit: Deposit,
        folder: Folder,
        space: Space,
        lanes: Lanes,
        reach: Reach,
        settings: SpoolSettings,
    ) -> None:
        self.forwarded = 0
        self.detained = 0
        self.quarantine = Quarantine(folder, space, lanes, self.stir)
        self.taken = 0
        """Instances that the archive took, those that were never spooled among them."""
        self._deposit = deposit
        self._folder = folder
        self._space = space
        self._lanes = lanes
        self._reach = reach
        self._settings = settings
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    def stir(self) -> None:
        """Begin to send what can be sent: something has come, or something has become known."""
        if self._ended or not len(self._lanes):
            return
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wait_s := self._reach.wait_s:
            self._timer = loop.call_later(wait_s, self.stir)
            return
        most = self._settings.studies if self._reach.is_up else 1
        while len(self._running) < most and (entry := self._lanes.next()) is not None:
            task = loop.create_task(self._forward(entry))
            self._running.add(task)
            task.add_done_callback(self._done)

    async def stop(self) -> None:
        """Send no more; what is under way is cut off, and stays."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("unexpected error", exc_info=error)
            self._reach.failed("unexpected error of the bridge", begun=asyncio.get_running_loop().time())
        self.stir()

    async def _forward(self, entry: Entry) -> None:
        tracing.enter(tracing.new())
        try:
            await self._settle(entry)
        finally:
            self._lanes.free(entry.study)

    async def _settle(self, entry: Entry) -> None:
        """Send one instance, and do what follows of what became of it."""
        begun = asyncio.get_running_loop().time()
        try:
            found = await self._sent(entry)
        except FileNotFoundError:
            log.error("instance=%s: its file was removed by somebody else", entry.instance)
            self._forget(entry)
            return
        except Unreadable as error:
            log.error("instance=%s: its file cannot be read: %s", entry.instance, error)
            self._reach.failed(_DISK, begun=begun)
            found = Verdict(Fate.DOUBTFUL, statuses.PROCESSING_FAILURE)
        else:
            if found.fate in (Fate.STORED, Fate.REFUSED):
                self._reach.answered()
            else:
                self._reach.failed(found.because, begun=begun)
        if found.fate is Fate.STORED:
            await self._remove(entry)
            self.taken += 1
            self.forwarded += 1
            self._forget(entry)
            log.info("instance=%s forwarded status=%04X", entry.instance, found.status)
        elif found.fate is Fate.REFUSED or (found.fate is Fate.DOUBTFUL and self._is_poison(entry)):
            await self._detain(entry, found)

    async def _sent(self, entry: Entry) -> Verdict:
        async with _Reading(self._folder, entry) as body:
            return await self._deposit.put(b"", await body.read(), body, acknowledged=True)

    def _is_poison(self, entry: Entry) -> bool:
        """Whether it is the instance, not the archive: noted for this failure."""
        if entry.seen != self.taken:
            entry.strikes += 1
            entry.seen = self.taken
        self._lanes.put_off(entry)
        return entry.strikes > self._settings.strikes

    async def _detain(self, entry: Entry, found: Verdict) -> None:
        try:
            held = await self.quarantine.take(entry, http=found.http, reason=found.status)
        except OSError as error:
            log.error("instance=%s cannot be put into quarantine: %s", entry.instance, error.strerror)
            self._reach.failed(_DISK, begun=asyncio.get_running_loop().time())
            return
        self.detained += 1
        log.error(
            "instance=%s refused by the archive http=%d status=%04X, in quarantine as %s",
            entry.instance,
            found.http,
            found.status,
            held.id,
        )

    async def _remove(self, entry: Entry) -> None:
        """Delete the file of an instance that the archive has; what stays is sent again after a restart."""
        try:
            await self._folder.done(self._folder.remove, entry, durably=False)
        except OSError as error:
            log.error("instance=%s forwarded, its file cannot be deleted: %s", entry.instance, error.strerror)

    def _forget(self, entry: Entry) -> None:
        self._lanes.remove(entry)
        self._space.give(entry.size_bytes)
        self._space.count(-1)


class _Reading:
    """The file of an instance as a body; open inside of a block."""

    def __init__(self, folder: Folder, entry: Entry) -> None:
        self.at_end = False
        self._folder = folder
        self._entry = entry
        self._file: BinaryIO | None = None

    async def __aenter__(self) -> "_Reading":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    async def read(self, at_least: int = 1) -> list[bytes]:
        """The next block, whatever it was asked for; nothing at the end."""
        block = await self._folder.done(self._next)
        self.at_end = not block
        return [block] if block else []

    def _next(self) -> bytes:
        if self._file is None:
            self._file = self._folder.open(self._entry)
        return read_block(self._file)
