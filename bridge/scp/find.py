"""C-FIND (PS3.7 9.1.2, PS3.4 C.4.1): identifiers become searches in the archive, matches become answers."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from bridge import statuses
from bridge.archive.remote import RemoteArchive
from bridge.archive.searching import Match, pages
from bridge.scp import classes
from bridge.settings import BridgeSettings
from bridge.upper.association import Association
from bridge.upper.command import Operation
from bridge.upper.messages import AssociationLost, Message
from bridge.upper.negotiation import Offer
from service.dicom import syntaxes
from service.dicom.answering import AnswerWriter
from service.dicom.errors import ArchiveError, BadKey, BadRequest, ClassUnsupported
from service.dicom.identifier import Identifier, read_identifier
from service.dicom.patients import Patients
from service.dicom.querying import QUERY_LEVEL, Agreement, Asked, Root, agreed, read_query
from service.dicom.repertoire import ASCII, Repertoire, named, repertoire
from service.dicom.resource import Level
from service.dicom.targets import targets

log = logging.getLogger("isthmus.find")

ROOTS: Mapping[str, Root] = {
    classes.PATIENT_ROOT_FIND: Root.PATIENT,
    classes.STUDY_ROOT_FIND: Root.STUDY,
    classes.PATIENT_STUDY_ONLY_FIND: Root.PATIENT_STUDY_ONLY,
}

_SYNTAXES = (syntaxes.EXPLICIT_LE, syntaxes.IMPLICIT_LE, syntaxes.EXPLICIT_BE, syntaxes.DEFLATED)
_AHEAD_BYTES = 16 << 10  # of encoded answers that are not sent
_AHEAD = 50  # answers between two looks for a cancel
_LOOK_S = 0.1  # between two looks for a cancel, or a lost association, while the archive is waited for
_MOST_PATIENTS = 100_000
_MOST_LOGGED = 20  # keys of one query


class _Cancelled(Exception):
    """The peer does not want the rest."""


@dataclass(frozen=True, slots=True)
class _Request:
    """A query that was understood."""

    asked: Asked
    writer: AnswerWriter
    pending: int


class Find:
    """Answers queries of the patient root, study root and patient/study only models."""

    operations = frozenset({int(Operation.C_FIND)})

    def __init__(self, archive: RemoteArchive, settings: BridgeSettings) -> None:
        self._archive = archive
        self._settings = settings

    def offer(self, abstract: str, service_class: str) -> Offer | None:
        return Offer(choose_for_queries, agreed) if abstract in ROOTS else None

    async def serve(self, message: Message, association: Association) -> int:
        status, comment, offending = statuses.SUCCESS, "", 0
        try:
            request = await self._read(message, association)
            await self._answer(request, message, association)
        except AssociationLost:
            raise
        except _Cancelled:
            status = statuses.CANCELLED
        except ArchiveError as error:
            status, comment = statuses.find_status(error), str(error)
            offending = error.tag if isinstance(error, BadKey) else 0
            log.warning('find peer=%s status=%04X error="%s"', association.peer[0], status, comment)
        except Exception as error:
            status, comment = statuses.find_status(error), "unexpected error"
            log.exception("find peer=%s unexpected error", association.peer[0])
        answer = message.command.answered(status, comment=comment, offending=offending)
        await association.send(message.context.context_id, answer)
        return status

    async def _read(self, message: Message, association: Association) -> _Request:
        """What the message asks; raises what is wrong with it, its data set read to the end."""
        context = message.context
        content = b""
        if message.data is not None:
            whole = await message.data.whole(self._settings.limits.identifier_bytes)
            if whole is None:
                raise BadRequest("The identifier is too long.")
            content = whole
        if context.abstract not in ROOTS:
            raise ClassUnsupported("Queries of this class are not answered.")
        peer = self._settings.peers.caller(association.calling, association.peer[0])
        charset = (peer.charset if peer is not None else None) or ""
        syntax = syntaxes.BY_UID[context.syntax]
        identifier = read_identifier(content, syntax, fallback=charset)
        agreement = Agreement.of(context.extended)
        strict = peer is not None and peer.strict
        asked = read_query(identifier, ROOTS[context.abstract], agreement, strict=strict)
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
            syntax,
            self._settings.ae_title,
            _repertoire(identifier, charset),
            fixed=bool(charset),
            timezone=agreement.timezone,
        )
        return _Request(asked, writer, statuses.PENDING_WARNING if asked.unsupported else statuses.PENDING)

    async def _answer(self, request: _Request, message: Message, association: Association) -> None:
        """Send the pending answers, and raise what keeps them from being all."""
        message_id = message.command.message_id

        def look() -> None:
            if association.is_cancelled(message_id):
                raise _Cancelled
            if not association.is_open:
                raise AssociationLost

        pending = message.command.answered(request.pending, has_data=True)

        async def send(answers: Sequence[bytes]) -> None:
            look()
            await association.send_many(message.context.context_id, pending, answers)
            await asyncio.sleep(0)  # for what the peer has sent meanwhile

        found = pages(self._archive, targets(request.asked.query))
        async with aclosing(_fetched_ahead(found, look)) as fetched:
            if request.asked.level is not Level.PATIENT:
                async for page in fetched:
                    await _send_written(page, request.writer, send)
                return
            fields = [key.tag for key in request.asked.keys]
            patients = Patients(counting=Patients.counts(fields), most=_MOST_PATIENTS)
            async for page in fetched:
                await _send_written(patients.take(page), request.writer, send)
        await _send_written(patients.rest(), request.writer, send)


def choose_for_queries(proposed: Sequence[str], peer_serves: bool) -> str | None:
    """The transfer syntax of a context for queries: what says most about its data first."""
    return next((uid for uid in _SYNTAXES if uid in proposed), None)


def _repertoire(identifier: Identifier, fallback: str) -> Repertoire:
    """The character set of the answers: the request's, or what its peer is known to read."""
    declared = repertoire(identifier.charset)
    return named(fallback) or ASCII if declared is ASCII and fallback else declared


async def _send_written(
    matches: Iterable[Match], writer: AnswerWriter, send: Callable[[Sequence[bytes]], Awaitable[None]]
) -> None:
    """Write and send `matches`, little of them ahead."""
    answers: list[bytes] = []
    ahead = 0
    for match in matches:
        answers.append(writer.write(match))
        ahead += len(answers[-1])
        if len(answers) == _AHEAD or ahead >= _AHEAD_BYTES:
            await send(answers)
            answers, ahead = [], 0
    if answers:
        await send(answers)


async def _fetched_ahead(
    found: AsyncGenerator[list[Match]], look: Callable[[], None]
) -> AsyncGenerator[list[Match]]:
    """The pages of `found`, the next one asked for while one is used; `look` raises to end it all.

    At the end, whatever the reason, the request to the archive is cut off.
    """
    fetching = asyncio.create_task(_next(found))
    try:
        while True:
            while not fetching.done():
                await asyncio.wait((fetching,), timeout=_LOOK_S)
                look()
            page = fetching.result()
            if page is None:
                return
            fetching = asyncio.create_task(_next(found))
            yield page
    finally:
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)
        await found.aclose()


async def _next(found: AsyncGenerator[list[Match]]) -> list[Match] | None:
    return await anext(found, None)
