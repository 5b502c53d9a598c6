"""C-ECHO (PS3.7 9.1.5, PS3.4 annex A)."""

from bridge import statuses
from bridge.scp import classes
from bridge.upper.association import Association
from bridge.upper.command import Operation
from bridge.upper.messages import Message
from bridge.upper.negotiation import Offer, choose_for_storage


class Echo:
    """Says that somebody is there."""

    operations = frozenset({int(Operation.C_ECHO)})

    def offer(self, abstract: str, service_class: str) -> Offer | None:
        return Offer(choose_for_storage) if abstract == classes.VERIFICATION else None

    async def serve(self, message: Message, association: Association) -> int:
        if message.data is not None:
            await message.data.drop()
        known = message.context.abstract == classes.VERIFICATION
        status = statuses.SUCCESS if known else statuses.CLASS_UNSUPPORTED
        await association.send(message.context.context_id, message.command.answered(status))
        return status
