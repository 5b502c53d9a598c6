"""C-FIND of the modality worklist (PS3.4 annex K): one answer for each scheduled procedure step."""

import logging
from contextlib import aclosing

from bridge import statuses
from bridge.scp import queries
from bridge.scp.permission import MODALITY_WORKLIST
from bridge.scp.queries import Pending, choose_for_queries
from bridge.settings import BridgeSettings
from bridge.upper.association import Association
from bridge.upper.command import Operation
from bridge.upper.messages import Message
from bridge.upper.negotiation import Offer
from bridge.worklist.worklist import Worklist
from service.dicom import syntaxes
from service.dicom.answering import IdentifierWriter
from service.dicom.errors import ClassUnsupported
from service.dicom.privates import is_creator
from service.dicom.querying import Agreement
from service.dicom.worklist import agreed, read_worklist_query

log = logging.getLogger("isthmus.worklist")

_MOST_LOGGED = 20  # keys of one query


class ModalityWorklist:
    """Tells modalities what is scheduled; the class is offered where the worklist has a source."""

    operations = frozenset({int(Operation.C_FIND)})

    def __init__(self, worklist: Worklist, settings: BridgeSettings) -> None:
        self._worklist = worklist
        self._settings = settings

    def offer(self, abstract: str, service_class: str) -> Offer | None:
        if abstract != MODALITY_WORKLIST or not self._settings.worklist.sources:
            return None
        return Offer(choose_for_queries, agreed)

    async def serve(self, message: Message, association: Association) -> int:
        async def answer() -> None:
            await self._answer(message, association)

        return await queries.answered(message, association, answer)

    async def _answer(self, message: Message, association: Association) -> None:
        """Send the pending answers, and raise what keeps them from being all."""
        context = message.context
        request = await queries.read(message, association, self._settings)
        if context.abstract != MODALITY_WORKLIST:
            raise ClassUnsupported("Queries of this class are not answered.")
        fuzzy = Agreement.of(context.extended).fuzzy
        query = read_worklist_query(request.identifier, fuzzy=fuzzy, strict=request.strict)
        if query.unsupported:
            not_matched = ",".join(f"{tag:08X}" for tag in query.unsupported[:_MOST_LOGGED])
            log.info("worklist peer=%s not_matched=%s", association.peer[0], not_matched)
        writer = IdentifierWriter(
            {key.tag: key for key in query.keys},
            syntaxes.BY_UID[context.syntax],
            request.charset,
            fixed=request.fixed,
            told={key.tag: key.text for key in query.keys if is_creator(key.tag) and key.text},
            blocks=query.private,
        )
        status = statuses.PENDING_WARNING if query.unsupported else statuses.PENDING
        pending = Pending(message, association)
        async with aclosing(queries.fetched_ahead(self._worklist.matches(query), pending.look)) as found:
            async for matches in found:
                await pending.send(matches, writer, status=status)
