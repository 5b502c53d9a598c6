"""C-FIND (PS3.7 9.1.2, PS3.4 C.4.1): identifiers become searches in the archive, matches become answers."""

import logging
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass

from bridge import statuses
from bridge.archive.remote import RemoteArchive
from bridge.archive.searching import pages
from bridge.scp import classes, queries
from bridge.scp.queries import Pending, choose_for_queries
from bridge.settings import BridgeSettings
from bridge.upper.association import Association
from bridge.upper.command import Operation
from bridge.upper.messages import Message
from bridge.upper.negotiation import Offer
from service.dicom import syntaxes
from service.dicom.answering import AnswerWriter
from service.dicom.errors import ClassUnsupported
from service.dicom.patients import Patients
from service.dicom.querying import QUERY_LEVEL, Agreement, Asked, Root, agreed, read_query
from service.dicom.resource import Level
from service.dicom.targets import targets

log = logging.getLogger("isthmus.find")

ROOTS: Mapping[str, Root] = {
    classes.PATIENT_ROOT_FIND: Root.PATIENT,
    classes.STUDY_ROOT_FIND: Root.STUDY,
    classes.PATIENT_STUDY_ONLY_FIND: Root.PATIENT_STUDY_ONLY,
}

_MOST_PATIENTS = 100_000
_MOST_LOGGED = 20  # keys of one query


@dataclass(frozen=True, slots=True)
class _Request:
    """A query that was understood."""

    asked: Asked
    writer: AnswerWriter
    status: int


class Find:
    """Answers queries of the patient root, study root and patient/study only models."""

    operations = frozenset({int(Operation.C_FIND)})

    def __init__(self, archive: RemoteArchive, settings: BridgeSettings) -> None:
        self._archive = archive
        self._settings = settings

    def offer(self, abstract: str, service_class: str) -> Offer | None:
        return Offer(choose_for_queries, agreed) if abstract in ROOTS else None

    async def serve(self, message: Message, association: Association) -> int:
        async def answer() -> None:
            request = await self._read(message, association)
            await self._answer(request, Pending(message, association))

        return await queries.answered(message, association, answer)

    async def _read(self, message: Message, association: Association) -> _Request:
        """What the message asks; raises what is wrong with it, its data set read to the end."""
        context = message.context
        request = await queries.read(message, association, self._settings)
        if context.abstract not in ROOTS:
            raise ClassUnsupported("Queries of this class are not answered.")
        identifier = request.identifier
        agreement = Agreement.of(context.extended)
        asked = read_query(identifier, ROOTS[context.abstract], agreement, strict=request.strict)
        if asked.unsupported or not identifier.text(QUERY_LEVEL):
            log.info(
                "find peer=%s level=%s told=%s not_matched=%s",
                association.peer[0],
                asked.level.name,
                bool(identifier.text(QUERY_LEVEL)),
                ",".join(f"{tag:08X}" for tag in asked.unsupported[:_MOST_LOGGED]),
            )
        writer = AnswerWriter(
            asked,
            syntaxes.BY_UID[context.syntax],
            self._settings.ae_title,
            request.charset,
            fixed=request.fixed,
            timezone=agreement.timezone,
        )
        return _Request(asked, writer, statuses.PENDING_WARNING if asked.unsupported else statuses.PENDING)

    async def _answer(self, request: _Request, pending: Pending) -> None:
        """Send the pending answers, and raise what keeps them from being all."""
        found = pages(self._archive, targets(request.asked.query))
        async with aclosing(queries.fetched_ahead(found, pending.look)) as fetched:
            if request.asked.level is not Level.PATIENT:
                async for page in fetched:
                    await pending.send(page, request.writer, status=request.status)
                return
            fields = [key.tag for key in request.asked.keys]
            patients = Patients(counting=Patients.counts(fields), most=_MOST_PATIENTS)
            async for page in fetched:
                await pending.send(patients.take(page), request.writer, status=request.status)
        await pending.send(patients.rest(), request.writer, status=request.status)
