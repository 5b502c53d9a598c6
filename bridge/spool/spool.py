"""The spool: instances go to the archive, and are kept where that does not take them."""

import asyncio
import enum
import logging
from dataclasses import dataclass, replace

from bridge import statuses
from bridge.archive.own import OwnArchive
from bridge.archive.remote import Body, RemoteArchive
from bridge.settings import BridgeSettings
from bridge.spool.deposit import Deposit, OwnDeposit, WebDeposit
from bridge.spool.draft import Draft, Tee
from bridge.spool.entry import Entry
from bridge.spool.folder import Folder, NoRoom
from bridge.spool.forwarding import Forwarder
from bridge.spool.lanes import Lanes
from bridge.spool.reach import Reach
from bridge.spool.space import Memory, Space
from bridge.spool.study import study_of
from bridge.spool.verdict import Fate, Verdict

log = logging.getLogger("isthmus.spool")

_LONGEST_HEAD = 1 << 20  # bytes of a data set in which its study is looked for
_A_PIECE = 64 << 10


class State(enum.StrEnum):
    """How a spool is."""

    EMPTY = "empty"
    FORWARDING = "forwarding"
    WAITING = "waiting"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Arriving:
    """What is known of an instance before its data set: `head` is what a Part-10 file begins with."""

    instance: str
    syntax: str
    head: bytes


class Spool:
    """Store and forward; used on one loop. What it acknowledges is in the archive, or durable here.

    One that is off takes nothing, and still sends on what was kept before.
    """

    def __init__(
        self, settings: BridgeSettings, archive: RemoteArchive, own: OwnArchive | None = None
    ) -> None:
        """Instances go to `own` where there is one, else to `archive` by HTTP."""
        chosen = settings.spool
        self.spooled = 0
        """Instances that were kept since the program started."""
        self.lanes = Lanes()
        self.space = Space(chosen.size_bytes, chosen.instances)
        self.reach = Reach(pause_s=chosen.pause_s, longest_s=chosen.longest_pause_s)
        self._chosen = chosen
        self._memory = Memory(chosen.held_bytes)
        self._folder = Folder(settings.state, threads=chosen.threads, reserve_bytes=chosen.reserve_bytes)
        wait_s = min(settings.archive.answer_s, chosen.answer_s if chosen.size_bytes else float("inf"))
        self._impatient = RemoteArchive(replace(settings.archive, answer_s=wait_s))
        self._deposit: Deposit = WebDeposit(self._impatient)
        patient: Deposit = WebDeposit(archive)
        if own is not None:
            self._deposit = OwnDeposit(own, within_s=wait_s)
            patient = OwnDeposit(own, within_s=settings.archive.answer_s)
        self._forwarder = Forwarder(patient, self._folder, self.space, self.lanes, self.reach, chosen)
        self.quarantine = self._forwarder.quarantine
        self._promising: set[asyncio.Task[None]] = set()

    @property
    def is_on(self) -> bool:
        """Whether anything is taken."""
        return self._chosen.size_bytes > 0

    @property
    def forwarded(self) -> int:
        """Instances that were sent on since the program started."""
        return self._forwarder.forwarded

    @property
    def detained(self) -> int:
        """Instances that went to the quarantine since the program started."""
        return self._forwarder.detained

    @property
    def state(self) -> State:
        """How it is; full where there is no room for another instance of a usual size."""
        if self.is_on and not self._has_room:
            return State.FULL
        if not len(self.lanes):
            return State.EMPTY
        return State.FORWARDING if self.reach.is_up else State.WAITING

    @property
    def _has_room(self) -> bool:
        own_bytes = self._chosen.own_bytes
        return (
            self.space.has_room(own_bytes) and not self.space.has_failed and self._folder.has_room(own_bytes)
        )

    async def start(self) -> None:
        """Go on with what was kept when the program ended; `StateUnavailable`."""
        entries, held = await self._folder.done(self._folder.load)
        for size_bytes in (*(one.size_bytes for one in entries), *(one.size_bytes for one in held)):
            self.space.load(size_bytes)
        self.lanes.load(entries)
        self.quarantine.load(held)
        if entries or held:
            log.info("spool instances=%d bytes=%d quarantine=%d", len(entries), self.lanes.bytes, len(held))
        self._forwarder.stir()

    async def stop(self) -> None:
        """Send no more; what is kept stays."""
        await self._forwarder.stop()
        if self._promising:
            await asyncio.wait(self._promising)
        await self._impatient.close()
        await asyncio.to_thread(self._folder.close)

    async def gone(self, instance: str) -> None:
        """Return when no instance with this SOP Instance UID waits for the archive."""
        await self.lanes.gone(instance)

    def awaits(self, instance: str) -> bool:
        """Whether an instance with this SOP Instance UID waits for the archive."""
        return bool(self.lanes.of(instance))

    def detains(self, instance: str) -> bool:
        """Whether an instance with this SOP Instance UID was acknowledged, and refused by the archive."""
        return self.quarantine.holds(instance)

    async def store(self, arriving: Arriving, first: list[bytes], data: Body) -> int:
        """Store the instance whose data set is `first` and what `data` yields; the C-STORE status.

        Raises what `data` raises; of such an instance nothing stays.
        """
        if not self.is_on:
            return self._told(arriving, await self._sent(arriving, first, data))
        keep = await self._comes_behind(arriving, first, data)
        draft = Draft(self._folder, self.space, self._memory, own_bytes=self._chosen.own_bytes)
        tee = Tee(data, draft)
        try:
            await draft.add([arriving.head, *first])
            if not keep:
                found = await self._sent(arriving, first, tee)
                if found.fate in (Fate.STORED, Fate.REFUSED):
                    return self._told(arriving, found)
                log.warning("store instance=%s not taken: %s", arriving.instance, found.because)
            await tee.rest()
            return await self._kept(arriving, draft)
        finally:
            await draft.drop()

    async def _comes_behind(self, arriving: Arriving, first: list[bytes], data: Body) -> bool:
        """Whether an instance is not to be tried with the archive: others wait, of its study or of all.

        What is read for it goes to `first`.
        """
        if not len(self.lanes):
            return False
        if not self.reach.is_up and self._has_room:
            return True
        size = sum(map(len, first))
        while not (study := study_of(b"".join(first), arriving.syntax)):
            if data.at_end or size > _LONGEST_HEAD:
                break
            blocks = await data.read(min(size, _A_PIECE) or 1)
            first += blocks
            size += sum(map(len, blocks))
        return self.lanes.has_study(study)

    async def _sent(self, arriving: Arriving, first: list[bytes], body: Body) -> Verdict:
        """What the archive says of an instance that is sent to it."""
        begun = asyncio.get_running_loop().time()
        found = await self._deposit.put(arriving.head, first, body)
        if found.fate in (Fate.STORED, Fate.REFUSED):
            self._forwarder.taken += found.fate is Fate.STORED
            self.reach.answered()
            self._forwarder.stir()
        else:
            self.reach.failed(found.because, begun=begun)
        return found

    async def _kept(self, arriving: Arriving, draft: Draft) -> int:
        """Make an instance that is all here durable; the status."""
        study = study_of(b"".join(draft.beginning)[len(arriving.head) :], arriving.syntax)
        entry = Entry(self.lanes.sequence(), study, arriving.instance, 0)
        promise = asyncio.get_running_loop().create_task(draft.promise(entry, self.lanes))
        self._promising.add(promise)
        promise.add_done_callback(self._promising.discard)
        try:
            await asyncio.shield(promise)
        except asyncio.CancelledError:
            await asyncio.wait([promise])
            raise
        except NoRoom:
            log.warning("store instance=%s refused, the spool is full", arriving.instance)
            return statuses.OUT_OF_RESOURCES
        finally:
            self._forwarder.stir()
        self.spooled += 1
        log.info("store instance=%s kept, for the archive later", arriving.instance)
        return statuses.SUCCESS

    def _told(self, arriving: Arriving, found: Verdict) -> int:
        if found.status != statuses.SUCCESS:
            log.warning("store instance=%s http=%d status=%04X", arriving.instance, found.http, found.status)
        return found.status
