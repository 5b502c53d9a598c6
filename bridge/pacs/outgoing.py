"""STOW-RS into a PACS: objects are spooled as they arrive, and each is sent by C-STORE (PS3.4 annex B)."""

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import AsyncIterator, Buffer, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge import scu
from bridge.pacs.line import Line
from bridge.sending.routes import Bundle, Listed, accepted_by, bundles, landing
from bridge.settings import PacsSettings
from bridge.upper.association import Association
from service.archive import reasons
from service.archive.intake import as_archive_error
from service.archive.open import open_archive
from service.archive.port import Outcome, Refused, Stored
from service.archive.remaking import remade_blocks
from service.archive.spool import Spool
from service.archive.transcoding import FrameJob
from service.dicom.elements import encoding_of
from service.dicom.errors import (
    ArchiveError,
    Busy,
    ClassUnsupported,
    NotDicom,
    StoreUnavailable,
    SyntaxUnsupported,
    TooLarge,
    UpstreamFailed,
    WrongStudy,
)
from service.dicom.frames import Extent
from service.dicom.implicit import ImplicitWriter
from service.dicom.part10 import MAX_HEAD, read_file_head
from service.dicom.reencode import explicit_little
from service.dicom.resource import InstanceKey, Resource
from service.dicom.scan import Budget, Scan, Scanned
from service.dicom.syntaxes import BY_UID, EXPLICIT_LE, Form
from service.settings import Settings

if TYPE_CHECKING:
    from service.pixels.frame import Frame

log = logging.getLogger("isthmus.pacs")

_SUCCESS = 0x0000
_BLOCK = 1 << 20
_LOST_IN_A_ROW = 3
_MOST_UNCOMPRESSED = 256 << 20  # bytes of an object that is decoded for a PACS


@dataclass(frozen=True, slots=True)
class Parcel:
    """An object to be sent: `place` is its number in its request, `head` counts the bytes before its data."""

    place: int
    key: InstanceKey
    sop_class: str
    syntax: str
    spool: Spool
    head: int

    @property
    def data_set(self) -> Extent:
        return Extent(self.head, self.spool.size - self.head)

    def blocks(self, syntax: str) -> Iterator[Buffer]:
        """The data set in `syntax`, which differs from its own in how elements are written only."""
        if syntax == self.syntax:
            yield from self.spool.blocks(self.data_set)
            return
        explicit: Iterator[Buffer] = iter(self.spool.blocks(self.data_set))
        if self.syntax != EXPLICIT_LE:
            encoding = encoding_of(BY_UID[self.syntax])
            explicit = explicit_little(self.spool.read, self.data_set, encoding, block_size=_BLOCK)
        if syntax == EXPLICIT_LE:
            yield from explicit
            return
        writer = ImplicitWriter()
        for block in explicit:
            yield from writer.push(block)
        writer.end()


class Sender:
    """Sends parcels to one PACS; used on its loop."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def send(self, parcels: Sequence[Parcel]) -> dict[int, Outcome]:
        """What became of each of `parcels`, by its place; those that were sent are the PACS's.

        An association that is lost is followed by another one, as long as it is not lost again and again.
        """
        outcomes: dict[int, Outcome] = {}
        by_key = {parcel.key: parcel for parcel in parcels}
        listed = [
            Listed(parcel.key, parcel.sop_class, tuple(dict.fromkeys((parcel.syntax, EXPLICIT_LE))))
            for parcel in by_key.values()
        ]
        for bundle in bundles(listed, prefer=self._line.peer.prefer_syntax):
            keys = {one.key for one in bundle.listed}
            left = deque(parcel for parcel in parcels if parcel.key in keys)
            await self._bundle(left, bundle, outcomes)
        return outcomes

    async def _bundle(self, left: deque[Parcel], bundle: Bundle, outcomes: dict[int, Outcome]) -> None:
        losses = 0
        while left:
            try:
                async with self._line.association(bundle.proposals) as association:
                    while left:
                        outcomes[left[0].place] = await self._one(left[0], association)
                        left.popleft()
                        losses = 0
            except ArchiveError as error:
                losses += 1
                lost = type(error) is UpstreamFailed
                if lost and losses == 1:
                    continue
                for parcel in list(left)[: 1 if lost and losses < _LOST_IN_A_ROW else len(left)]:
                    outcomes[parcel.place] = refused(error, parcel)
                    left.popleft()

    async def _one(self, parcel: Parcel, association: Association) -> Outcome:
        accepted = accepted_by(association.contexts.values())
        if parcel.sop_class not in accepted:
            return refused(ClassUnsupported("The PACS does not take this SOP class."), parcel)
        place = landing(accepted, parcel.sop_class, parcel.syntax)
        plain = landing(accepted, parcel.sop_class, EXPLICIT_LE)
        if place is None and plain is not None and BY_UID[parcel.syntax].form is not Form.NATIVE:
            if not self._line.peer.transcode:
                return refused(SyntaxUnsupported("The PACS does not take this transfer syntax."), parcel)
            return await self._unpacked(parcel, plain.context_id, association)
        place = place or plain
        if place is None:
            return refused(SyntaxUnsupported("The PACS does not take this transfer syntax."), parcel)
        return await self._sent(parcel, parcel, place.context_id, association)

    async def _unpacked(self, parcel: Parcel, context_id: int, association: Association) -> Outcome:
        """Send an object uncompressed that the PACS does not take as it is."""
        try:
            made = await asyncio.to_thread(uncompressed, parcel)
        except ArchiveError as error:
            return refused(error, parcel)
        try:
            return await self._sent(parcel, made, context_id, association)
        finally:
            made.spool.close()

    async def _sent(self, parcel: Parcel, made: Parcel, context_id: int, association: Association) -> Outcome:
        into = association.contexts[context_id].syntax
        try:
            status = await scu.store(
                association,
                context_id,
                parcel.sop_class,
                parcel.key.instance,
                _blocks(made.blocks(into)),
                timeout_s=self._line.limits.response_s,
            )
        except NotDicom as damage:
            return refused(damage, parcel)
        return _outcome(parcel, status)


def uncompressed(parcel: Parcel) -> Parcel:
    """A parcel with the same object in Explicit VR Little Endian, its lossy past told where it has one.

    `NotAcceptable` if its frames cannot be decoded, `TooLarge` if it is too much to do so in memory.
    """
    if parcel.spool.size > _MOST_UNCOMPRESSED:
        raise TooLarge("The PACS takes the object only uncompressed, and it is too large for that.")
    archive = open_archive(Settings(store="memory://", index="memory://"))
    spool = Spool()
    try:
        intake = archive.intake()
        intake.begin()
        for stored in parcel.spool.blocks(Extent(0, parcel.spool.size)):
            intake.write(memoryview(stored))
        intake.end()
        (outcome,) = intake.finish()
        if isinstance(outcome, Refused):
            raise NotDicom(outcome.message)
        held = archive.instances(Resource(*dataclasses.astuple(outcome.key)))[0]
        for block in remade_blocks(archive, held, EXPLICIT_LE, _each, {}, _BLOCK):
            spool.append(memoryview(block).cast("B"))
        head = read_file_head(spool.read(Extent(0, MAX_HEAD)))
        if head is None:
            raise NotDicom("The object cannot be written anew.")
    except BaseException:
        spool.close()
        raise
    finally:
        archive.close()
    return dataclasses.replace(parcel, syntax=EXPLICIT_LE, spool=spool, head=head.data_offset)


def _each(jobs: Iterable[FrameJob]) -> Iterator["Frame"]:
    return (job.make() for job in jobs)


async def _blocks(blocks: Iterator[Buffer]) -> AsyncIterator[Buffer]:
    """Blocks made in a thread, since their file may be on a slow disk."""
    while (block := await asyncio.to_thread(next, blocks, None)) is not None:
        yield block


def _outcome(parcel: Parcel, status: int) -> Outcome:
    if status == _SUCCESS:
        return Stored(parcel.key, parcel.sop_class)
    if status >> 12 == 0xB:
        return Stored(parcel.key, parcel.sop_class, warning=status)
    log.warning("pacs refuses instance=%s status=%04X", parcel.key.instance, status)
    return Refused(
        status,
        f"The PACS answered the C-STORE with status {status:04X}H.",
        parcel.sop_class,
        parcel.key.instance,
        transient=status >> 8 == 0xA7,
    )


def refused(error: ArchiveError, parcel: Parcel) -> Refused:
    """The outcome of a parcel that was not sent because of `error`."""
    transient = isinstance(error, (Busy, StoreUnavailable, UpstreamFailed))
    reason = reasons.failure_reason(error)
    return Refused(reason, str(error), parcel.sop_class, parcel.key.instance, transient)


class PeerIntake:
    """Objects on their way to a PACS: scanned as they arrive, so that what is no DICOM is not sent.

    `send` blocks until the outcomes are known. What has gathered is sent on before it is too much.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Parcel]], dict[int, Outcome]],
        settings: PacsSettings,
        *,
        header_limit: int,
        study: str | None,
        budget: Budget,
        admit: Callable[[Scanned], None] = lambda scanned: None,
    ) -> None:
        """`admit` raises what an object is refused for."""
        self._admit = admit
        self._send = send
        self._settings = settings
        self._header_limit = header_limit
        self._study = study
        self._budget = budget
        self._arriving: tuple[Scan, Spool] | None = None
        self._error: ArchiveError | None = None
        self._gathered: list[Parcel] = []
        self._size = 0
        self._outcomes: dict[int, Outcome] = {}
        self._count = 0

    def begin(self) -> None:
        self._arriving = (Scan(header_limit=self._header_limit, budget=self._budget), Spool())
        self._error = None

    def write(self, block: memoryview) -> None:
        assert self._arriving is not None
        if self._error is not None:
            return
        scan, spool = self._arriving
        try:
            scan.push(block)
            spool.append(block)
        except Exception as error:
            self._error = as_archive_error(error)

    def end(self) -> None:
        assert self._arriving is not None
        (scan, spool), self._arriving = self._arriving, None
        try:
            if self._error is not None:
                raise self._error
            scanned = scan.finish()
            if self._study is not None and scanned.key.study != self._study:
                raise WrongStudy("The object belongs to another study than the one in the URL.")
            self._admit(scanned)
        except Exception as error:
            spool.close()
            self._refuse(as_archive_error(error), scan)
            return
        finally:
            scan.close()
        head = scanned.head.data_offset
        self._gathered.append(
            Parcel(self._count, scanned.key, scanned.sop_class, scanned.syntax.uid, spool, head)
        )
        self._count += 1
        self._size += spool.size
        if self._size >= self._settings.sent_bytes:
            self._flush()

    def refuse(self, reason: int, message: str) -> None:
        arriving, self._arriving = self._arriving, None
        named = ("", "")
        if arriving is not None:
            named = arriving[0].named
            arriving[0].close()
            arriving[1].close()
        self._outcomes[self._count] = Refused(reason, message, *named)
        self._count += 1

    def finish(self) -> Sequence[Outcome]:
        if self._arriving is not None:
            self.refuse(reasons.CANNOT_UNDERSTAND, "The body ends inside this object.")
        self._flush()
        return [self._outcomes[place] for place in range(self._count)]

    def _flush(self) -> None:
        parcels, self._gathered, self._size = self._gathered, [], 0
        try:
            if parcels:
                self._outcomes |= self._send(parcels)
        except ArchiveError as error:
            for parcel in parcels:
                self._outcomes[parcel.place] = refused(error, parcel)
        finally:
            for parcel in parcels:
                parcel.spool.close()

    def _refuse(self, error: ArchiveError, scan: Scan) -> None:
        transient = isinstance(error, (Busy, StoreUnavailable))
        reason = reasons.failure_reason(error)
        self._outcomes[self._count] = Refused(reason, str(error), *scan.named, transient)
        self._count += 1
