"""N-ACTION of Storage Commitment Push (PS3.7 10.1.4, PS3.4 J.3): requests are checked, kept and answered."""

import asyncio
import logging
from collections.abc import Sequence

from bridge import noting, statuses
from bridge.commitment.commitments import Commitments
from bridge.commitment.references import read_request
from bridge.commitment.reporting import PUSH_MODEL, PUSH_MODEL_INSTANCE, SYNTAXES
from bridge.settings import Limits
from bridge.upper.association import Association
from bridge.upper.command import Command, Operation, Tag
from bridge.upper.messages import Message
from bridge.upper.negotiation import Context, Offer
from service.dicom.errors import BadRequest
from service.dicom.syntaxes import BY_UID

log = logging.getLogger("isthmus.commitment")

_AT_ONCE = 1 << 15  # bytes
_REQUEST_COMMITMENT = 1  # action type (PS3.4 Table J.3-1)


class Commitment:
    """Takes requests for commitment, and reports on them where they were made."""

    operations = frozenset({int(Operation.N_ACTION)})

    def __init__(self, commitments: Commitments, limits: Limits) -> None:
        self._commitments = commitments
        self._limits = limits

    def offer(self, abstract: str, service_class: str) -> Offer | None:
        return Offer(_choose) if abstract == PUSH_MODEL else None

    async def serve(self, message: Message, association: Association) -> int:
        status = refusal(message.context, message.command)
        comment = ""
        if status is None and message.data is None:
            status, comment = statuses.INVALID_ARGUMENT, "Action Information is missing."
        elif status is None and message.data is not None:
            content = await message.data.whole(self._limits.identifier_bytes)
            if content is None:
                status, comment = statuses.RESOURCE_LIMITATION, "Too many references in one request."
            else:
                status, comment = await self._take(content, message.context, association)
        if message.data is not None and not message.data.at_end:
            await message.data.drop()
        assert status is not None
        answer = message.command.answered(status, comment=comment)
        await association.send(message.context.context_id, answer)
        return status

    async def follow(self, association: Association) -> None:
        """Report on earlier requests, if the peer says nothing."""
        await self._commitments.follow(association)

    def leave(self, association: Association) -> None:
        """The association is over."""
        self._commitments.leave(association)

    async def _take(self, content: bytes, context: Context, association: Association) -> tuple[int, str]:
        try:
            if len(content) > _AT_ONCE:  # thousands of references take longer than others should wait
                request = await asyncio.to_thread(read_request, content, BY_UID[context.syntax])
            else:
                request = read_request(content, BY_UID[context.syntax])
        except BadRequest as error:
            return statuses.INVALID_ARGUMENT, str(error)
        noting.note(Transaction_UID=request.transaction, References=len(request.references))
        return await self._commitments.take(request, association), ""


def refusal(context: Context, command: Command) -> int | None:
    """Why an N-ACTION is refused on the word of its command set alone, `None` if it is not (PS3.7 C.4, C.5).

    An instance that is not named is taken for the only one that there is.
    """
    if context.abstract != PUSH_MODEL or not context.we_serve:
        return statuses.CLASS_UNSUPPORTED
    if command.text(Tag.REQUESTED_SOP_CLASS) not in ("", PUSH_MODEL):
        return statuses.NO_SUCH_CLASS
    if command.text(Tag.REQUESTED_SOP_INSTANCE) not in ("", PUSH_MODEL_INSTANCE):
        return statuses.NO_SUCH_INSTANCE
    if command.number(Tag.ACTION_TYPE) != _REQUEST_COMMITMENT:
        return statuses.NO_SUCH_ACTION
    return None


def _choose(proposed: Sequence[str], peer_serves: bool) -> str | None:
    """The first syntax of the requestor's that a data set of ours can have."""
    return next((uid for uid in proposed if uid in SYNTAXES), None)
