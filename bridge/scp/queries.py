"""What every C-FIND has in common (PS3.7 9.1.2): its identifier, its pending answers, its final one."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge import noting, statuses
from bridge.settings import BridgeSettings
from bridge.upper.association import Association
from bridge.upper.messages import AssociationLost, Message
from service.dicom import syntaxes
from service.dicom.answering import IdentifierWriter
from service.dicom.errors import ArchiveError, BadKey, BadRequest
from service.dicom.identifier import Identifier, read_identifier
from service.dicom.repertoire import ASCII, Repertoire, named, repertoire

log = logging.getLogger("isthmus.find")

_SYNTAXES = (syntaxes.EXPLICIT_LE, syntaxes.IMPLICIT_LE, syntaxes.EXPLICIT_BE, syntaxes.DEFLATED)
_AHEAD_BYTES = 16 << 10  # of encoded answers that are not sent
_AHEAD = 50  # answers between two looks for a cancel
_LOOK_S = 0.1  # between two looks for a cancel, or a lost association, while answers are waited for


class Cancelled(Exception):
    """The peer does not want the rest."""


@dataclass(frozen=True, slots=True)
class Request:
    """The identifier of a query, and how its peer is to be treated.

    `charset` is the character set of answers; `fixed` says that the peer reads no other.
    """

    identifier: Identifier
    charset: Repertoire
    fixed: bool
    strict: bool


class Pending:
    """The pending answers of one query."""

    def __init__(self, message: Message, association: Association) -> None:
        self._message = message
        self._association = association

    def look(self) -> None:
        """Raise what there is that ends the query: `Cancelled`, or `AssociationLost`."""
        if self._association.is_cancelled(self._message.command.message_id):
            raise Cancelled
        if not self._association.is_open:
            raise AssociationLost

    async def send(
        self, matches: Iterable[Mapping[str, Any]], writer: IdentifierWriter, *, status: int
    ) -> None:
        """Write and send `matches`, little of them ahead. Raises what `look` does."""
        answers: list[bytes] = []
        ahead = 0
        for match in matches:
            answers.append(writer.write(match))
            ahead += len(answers[-1])
            if len(answers) == _AHEAD or ahead >= _AHEAD_BYTES:
                await self._send(answers, status)
                answers, ahead = [], 0
        if answers:
            await self._send(answers, status)

    async def _send(self, answers: Sequence[bytes], status: int) -> None:
        self.look()
        pending = self._message.command.answered(status, has_data=True)
        await self._association.send_many(self._message.context.context_id, pending, answers)
        await asyncio.sleep(0)  # for what the peer has sent meanwhile


async def answered(message: Message, association: Association, answer: Callable[[], Awaitable[None]]) -> int:
    """Let `answer` send the pending answers, and send the final one: the status that it has."""
    status, comment, offending = statuses.SUCCESS, "", 0
    try:
        await answer()
    except AssociationLost:
        raise
    except Cancelled:
        status = statuses.CANCELLED
    except ArchiveError as error:
        status, comment = statuses.find_status(error), str(error)
        offending = error.tag if isinstance(error, BadKey) else 0
        log.warning('find peer=%s status=%04X error="%s"', association.peer[0], status, comment)
    except Exception as error:
        status, comment = statuses.find_status(error), "unexpected error"
        log.exception("find peer=%s unexpected error", association.peer[0])
    final = message.command.answered(status, comment=comment, offending=offending)
    await association.send(message.context.context_id, final)
    return status


async def read(message: Message, association: Association, settings: BridgeSettings) -> Request:
    """The request that a message makes, its data set read to the end; `BadRequest` if it cannot be read."""
    content = b""
    if message.data is not None:
        whole = await message.data.whole(settings.limits.identifier_bytes)
        if whole is None:
            raise BadRequest("The identifier is too long.")
        content = whole
    peer = settings.peers.caller(association.calling, association.peer[0], association.certificate)
    charset = (peer.charset if peer is not None else None) or ""
    identifier = read_identifier(content, syntaxes.BY_UID[message.context.syntax], fallback=charset)
    noting.note_identifier(identifier)
    strict = peer is not None and peer.strict
    return Request(identifier, _repertoire(identifier, charset), bool(charset), strict)


async def fetched_ahead[T](
    found: AsyncGenerator[list[T]], look: Callable[[], None]
) -> AsyncGenerator[list[T]]:
    """The pages of `found`, the next one asked for while one is used; `look` raises to end it all.

    At the end, whatever the reason, what is being fetched is cut off.
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


async def _next[T](found: AsyncGenerator[list[T]]) -> list[T] | None:
    return await anext(found, None)


def choose_for_queries(proposed: Sequence[str], peer_serves: bool) -> str | None:
    """The transfer syntax of a context for queries: what says most about its data first."""
    return next((uid for uid in _SYNTAXES if uid in proposed), None)


def _repertoire(identifier: Identifier, fallback: str) -> Repertoire:
    """The character set of the answers: the request's, or what its peer is known to read."""
    declared = repertoire(identifier.charset)
    return named(fallback) or ASCII if declared is ASCII and fallback else declared
