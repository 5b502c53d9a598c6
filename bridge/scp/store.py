"""C-STORE (PS3.7 9.1.1, PS3.4 annex B): each instance becomes one STOW-RS request while it arrives."""

import logging
from typing import Any, Protocol

from bridge import noting, statuses
from bridge.archive.remote import RemoteArchive
from bridge.scp import classes
from bridge.scp.identity import Verdict, compare
from bridge.spool.spool import Arriving
from bridge.upper.association import Association
from bridge.upper.command import Command, Operation, Tag
from bridge.upper.messages import DataSet, Message
from bridge.upper.negotiation import Context, Offer, choose_for_storage
from service.dicom.errors import ArchiveError
from service.dicom.part10 import file_head
from service.dicom.resource import is_uid
from service.dicom.syntaxes import BY_UID, Syntax

log = logging.getLogger("isthmus.store")

# The two UIDs come within the first few hundred bytes; only odd data sets keep them farther back.
_USUAL_HEAD, _LONGEST_HEAD = 1 << 14, 1 << 16


class Inbox(Protocol):
    """Where instances go that a retrieval of ours waits for."""

    async def take(
        self, message: Message, first: list[bytes], data: DataSet, association: Association
    ) -> int | None:
        """Take the instance of a C-STORE request, of which `first` has been read; the status.

        `None` if nobody waits for it: nothing of `data` is lost then, what was read being added to `first`.
        """
        ...


class Keeper(Protocol):
    """What stores instances in the archive, and keeps what cannot be stored there."""

    async def store(self, arriving: Arriving, first: list[bytes], data: DataSet) -> int:
        """Store the instance whose data set is `first` and what `data` yields; the status for the peer.

        Raises what `data` raises. What is not read of `data` is not needed.
        """
        ...


class Forwards[N](Protocol):
    """What sends instances on to others, by rules; `N` is what it has noticed of one."""

    async def notice(
        self, association: Association, instance: str, syntax: Syntax, first: list[bytes], data: DataSet
    ) -> N | None:
        """Where an instance goes, `None` if nowhere; what is read of `data` is added to `first`.

        Raises `Busy` where too much waits already.
        """
        ...

    async def keep(self, noticed: N) -> None:
        """Promise it, now that the instance is stored. Raises `StoreUnavailable`."""
        ...


class Store:
    """Passes instances on to the archive, undecoded, and its word back to the peer."""

    operations = frozenset({int(Operation.C_STORE)})

    def __init__(
        self,
        archive: RemoteArchive,
        inbox: Inbox | None = None,
        keeper: Keeper | None = None,
        forwards: Forwards[Any] | None = None,
    ) -> None:
        """What `inbox` takes was asked for by a retrieval of ours, and does not go to the archive.

        All else goes there by way of `keeper`, if there is one, and from there where `forwards` says.
        """
        self._archive = archive
        self._forwards = forwards
        self._inbox = inbox
        self._keeper = keeper

    def offer(self, abstract: str, service_class: str) -> Offer | None:
        stored = is_uid(abstract) and classes.is_storage(abstract, service_class)
        return Offer(choose_for_storage) if stored else None

    async def serve(self, message: Message, association: Association) -> int:
        status = refusal(message.context, message.command)
        if status is None and message.data is not None:
            status = await self._pass_on(message, message.data, association)
        elif status is None:
            status = statuses.MISTYPED_ARGUMENT
        if message.data is not None and not message.data.at_end:
            await message.data.drop()
        if status == statuses.SUCCESS or status >> 12 == 0xB:
            association.objects += 1
        await association.send(message.context.context_id, message.command.answered(status))
        return status

    async def _pass_on(self, message: Message, data: DataSet, association: Association) -> int:
        """Store the message's data set; the status. `AssociationLost` if it does not arrive whole."""
        sop_class = message.command.text(Tag.AFFECTED_SOP_CLASS)
        sop_instance = message.command.text(Tag.AFFECTED_SOP_INSTANCE)
        syntax = BY_UID[message.context.syntax]
        first, refused = await checked_head(message, data)
        if refused is not None:
            return refused
        if self._inbox is not None:
            taken = await self._inbox.take(message, first, data, association)
            if taken is not None:
                return taken
        file_meta = file_head(sop_class, sop_instance, syntax.uid, source_ae_title=association.calling)
        arriving = Arriving(sop_instance, syntax.uid, file_meta)
        if self._forwards is None:
            return await self._stored(arriving, first, data)
        try:
            noticed = await self._forwards.notice(association, sop_instance, syntax, first, data)
            status = await self._stored(arriving, first, data)
            if noticed is not None and (status == statuses.SUCCESS or status >> 12 == 0xB):
                await self._forwards.keep(noticed)
        except ArchiveError as error:
            log.warning("store instance=%s cannot be promised to be forwarded: %s", sop_instance, error)
            return statuses.store_status(error)
        return status

    async def _stored(self, arriving: Arriving, first: list[bytes], data: DataSet) -> int:
        """Store an instance in the archive, or where it is kept for that; the status."""
        file_meta, sop_instance = arriving.head, arriving.instance
        if self._keeper is not None:
            return await self._keeper.store(arriving, first, data)
        try:
            answer = await self._archive.store(file_meta, first, data)
        except ArchiveError as error:
            log.warning("store instance=%s error=%s", sop_instance, type(error).__name__)
            return statuses.store_status(error)
        status = statuses.store_status_of_answer(answer.status, answer.body)
        if status != statuses.SUCCESS:
            log.warning("store instance=%s http=%d status=%04X", sop_instance, answer.status, status)
        return status


async def checked_head(message: Message, data: DataSet) -> tuple[list[bytes], int | None]:
    """The first blocks of a data set, and why it is refused: its UIDs are not the command's (PS3.4 B.2.3)."""
    command = message.command
    sop_class, sop_instance = command.text(Tag.AFFECTED_SOP_CLASS), command.text(Tag.AFFECTED_SOP_INSTANCE)
    syntax = BY_UID[message.context.syntax]
    first = await data.read()
    wanted = _USUAL_HEAD
    while True:
        head = _beginning(first, wanted)
        is_all = len(head) == sum(map(len, first))
        verdict = compare(head, syntax, sop_class, sop_instance, whole=is_all and data.at_end)
        if verdict is not Verdict.MORE or len(head) > _LONGEST_HEAD:
            break
        wanted = 2 * len(head)  # so that crumbs are not read over and over
        if is_all:
            first += await data.read(len(head))
    noting.note_instance(head, syntax, sop_class)
    return first, statuses.MISMATCH if verdict is Verdict.DIFFERENT else None


def _beginning(blocks: list[bytes], at_least: int) -> bytes:
    """As many of the first blocks as have so many bytes, or all, in one."""
    if blocks and len(blocks[0]) >= at_least:
        return blocks[0]
    size = 0
    for count, block in enumerate(blocks, 1):
        size += len(block)
        if size >= at_least:
            return b"".join(blocks[:count])
    return b"".join(blocks)


def refusal(context: Context, command: Command) -> int | None:
    """Why a C-STORE is refused on the word of its command set alone, `None` if it is not.

    The class need not be the context's: related general classes differ (PS3.4 B.3.1.4), and so do the
    classes of careless senders; what counts is the data set.
    """
    if not classes.is_storage(context.abstract, context.service_class):
        return statuses.CLASS_UNSUPPORTED
    sop_class = command.text(Tag.AFFECTED_SOP_CLASS)
    sop_instance = command.text(Tag.AFFECTED_SOP_INSTANCE)
    if not is_uid(sop_class) or not sop_instance:
        return statuses.MISMATCH
    return None if is_uid(sop_instance) else statuses.INVALID_INSTANCE
