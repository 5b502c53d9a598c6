"""C-GET and C-MOVE (PS3.7 9.1.3, 9.1.4, PS3.4 C.4.2, C.4.3): instances of the archive, sent one by one."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from bridge import noting, scu, statuses
from bridge.archive.listing import listed
from bridge.archive.remote import RemoteArchive
from bridge.archive.retrieving import Objects
from bridge.peers import Peer
from bridge.scp import classes
from bridge.scp.progress import Progress
from bridge.sending.delivery import Delivery, Manner
from bridge.sending.links import DestinationLink, OwnLink
from bridge.sending.routes import Listed, bundles
from bridge.sending.tally import Tally
from bridge.settings import BridgeSettings
from bridge.upper.association import Association
from bridge.upper.command import Operation, Tag
from bridge.upper.messages import AssociationLost, Message
from bridge.upper.negotiation import Offer
from service.dicom import syntaxes
from service.dicom.errors import ArchiveError, BadKey, BadRequest, ClassUnsupported, DestinationUnknown
from service.dicom.identifier import read_identifier
from service.dicom.querying import Root
from service.dicom.resource import Level
from service.dicom.retrieval import Wanted, read_wanted, relational

log = logging.getLogger("isthmus.retrieve")

_ROOTS: Mapping[str, tuple[int, Root]] = {
    classes.PATIENT_ROOT_GET: (Operation.C_GET, Root.PATIENT),
    classes.STUDY_ROOT_GET: (Operation.C_GET, Root.STUDY),
    classes.PATIENT_STUDY_ONLY_GET: (Operation.C_GET, Root.PATIENT_STUDY_ONLY),
    classes.PATIENT_ROOT_MOVE: (Operation.C_MOVE, Root.PATIENT),
    classes.STUDY_ROOT_MOVE: (Operation.C_MOVE, Root.STUDY),
    classes.PATIENT_STUDY_ONLY_MOVE: (Operation.C_MOVE, Root.PATIENT_STUDY_ONLY),
}
_SYNTAXES = (syntaxes.EXPLICIT_LE, syntaxes.IMPLICIT_LE, syntaxes.EXPLICIT_BE)


class Retrieve:
    """Sends what is asked for to the asker itself (C-GET), or to another peer (C-MOVE)."""

    operations = frozenset({int(Operation.C_GET), int(Operation.C_MOVE)})

    def __init__(self, archive: RemoteArchive, settings: BridgeSettings) -> None:
        self._archive = archive
        self._settings = settings
        self._objects = Objects(archive, settings.retrieve)

    def offer(self, abstract: str, service_class: str) -> Offer | None:
        return Offer(_choose, relational) if abstract in _ROOTS else None

    async def serve(self, message: Message, association: Association) -> int:
        try:
            wanted = await self._wanted(message, association)
            destination = self._destination(message)
            instances = await listed(self._archive, wanted)
            return await self._carry_out(message, association, instances, destination, wanted.level)
        except AssociationLost:
            raise
        except Exception as error:
            return await _refuse(message, association, error)

    async def _wanted(self, message: Message, association: Association) -> Wanted:
        """What the message asks for; raises what is wrong with it, its data set read to the end."""
        content: bytes | None = b""
        if message.data is not None:
            content = await message.data.whole(self._settings.limits.identifier_bytes)
        context = message.context
        operation, root = _ROOTS.get(context.abstract, (0, Root.STUDY))
        if operation != message.command.field:
            raise ClassUnsupported("Retrievals of this class are not answered.")
        if content is None:
            raise BadRequest("The identifier is too long.")
        identifier = read_identifier(content, syntaxes.BY_UID[context.syntax])
        noting.note_identifier(identifier)
        peer = self._settings.peers.caller(association.calling, association.peer[0], association.certificate)
        return read_wanted(
            identifier,
            root,
            is_relational=context.extended[:1] == b"\1",
            strict=peer is not None and peer.strict,
        )

    def _destination(self, message: Message) -> Peer | None:
        """Where a C-MOVE goes; nobody else for a C-GET."""
        if message.command.field == Operation.C_GET:
            return None
        peer = self._settings.peers.by_ae_title(message.command.text(Tag.MOVE_DESTINATION))
        if peer is None:
            raise DestinationUnknown("The move destination is no peer, see ISTHMUS_PEERS.")
        return peer

    async def _carry_out(
        self,
        message: Message,
        association: Association,
        instances: Sequence[Listed],
        destination: Peer | None,
        level: Level,
    ) -> int:
        message_id = message.command.message_id
        tally = Tally(len(instances))
        progress = Progress(message, association, tally, self._settings.retrieve)
        noting.note_instances(
            ((one.key.study, one.sop_class) for one in instances),
            destination=("", "") if destination is None else (destination.ae_title, destination.host),
        )

        def stopped() -> bool:
            return association.is_cancelled(message_id) or not association.is_open

        trouble = ""
        if instances:
            peer = destination or self._settings.peers.caller(
                association.calling, association.peer[0], association.certificate
            )
            limits = self._settings.limits if peer is None else scu.of_peer(self._settings.limits, peer)
            delivery = Delivery(
                self._objects,
                self._settings.retrieve,
                tally,
                Manner(
                    transcode=peer is None or peer.transcode,
                    prefer=None if peer is None else peer.prefer_syntax,
                    originator=None if destination is None else (association.calling, message_id),
                    response_s=limits.response_s,
                    whole_series=level is not Level.INSTANCE,
                ),
                stopped=stopped,
                # To a destination there is an association of its own.
                turn=progress.turn if destination is None else asyncio.Lock(),
            )
            async with progress.told():
                if destination is None:
                    trouble = await delivery.run(instances, OwnLink(association))
                else:
                    trouble = await self._move(delivery, instances, destination)
        association.objects += tally.completed + tally.warning
        noting.note(Sent=tally.completed + tally.warning, Failed=tally.failed)
        if not association.is_open:
            raise AssociationLost
        status = statuses.retrieved_status(
            completed=tally.completed,
            warning=tally.warning,
            failed=tally.failed,
            cancelled=association.is_cancelled(message_id) and tally.remaining > 0,
        )
        await progress.end(status, comment=trouble)
        return status

    async def _move(self, delivery: Delivery, instances: Sequence[Listed], destination: Peer) -> str:
        """Send to a destination, over as many associations as its presentation contexts take."""
        trouble = ""
        for bundle in bundles(instances, prefer=destination.prefer_syntax):
            link = DestinationLink(
                destination, bundle.proposals, self._settings.limits, calling=self._settings.ae_title
            )
            try:
                trouble = await delivery.run(bundle.listed, link) or trouble
                await link.release()
            finally:
                link.abort()
        return trouble


def _choose(proposed: Sequence[str], peer_serves: bool) -> str | None:
    """The transfer syntax of a context for retrievals: what says most about its data first."""
    return next((uid for uid in _SYNTAXES if uid in proposed), None)


async def _refuse(message: Message, association: Association, error: Exception) -> int:
    """The final response where it is not known what to send, or something went wrong that nobody expected."""
    status, comment = statuses.retrieve_status(error), str(error)
    offending = error.tag if isinstance(error, BadKey) else 0
    if isinstance(error, ArchiveError):
        log.warning("retrieve peer=%s status=%04X error=%s", association.peer[0], status, comment)
    else:
        comment = "unexpected error"
        log.exception("retrieve peer=%s unexpected error", association.peer[0])
    command = message.command.answered(status, comment=comment, offending=offending)
    await association.send(message.context.context_id, command)
    return status
