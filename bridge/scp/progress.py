"""The responses to a C-GET or C-MOVE: pending ones while it goes on, and the final one (PS3.7 9.3.3)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bridge import statuses
from bridge.sending.tally import Tally
from bridge.settings import RetrieveSettings
from bridge.upper.association import Association
from bridge.upper.messages import AssociationLost, Message
from service.dicom.encoding import Form
from service.dicom.syntaxes import BY_UID

_FAILED_INSTANCES = 0x00080058
_MOST_BYTES = 65534  # of a UI value in explicit VR (PS3.5 7.1.2)


class Progress:
    """Tells the asker how far its retrieval is.

    `turn` is held while something is said; whoever else speaks on the association has to hold it too.
    """

    def __init__(
        self, message: Message, association: Association, tally: Tally, settings: RetrieveSettings
    ) -> None:
        self.turn = asyncio.Lock()
        self._message = message
        self._association = association
        self._tally = tally
        self._settings = settings

    @asynccontextmanager
    async def told(self) -> AsyncIterator[None]:
        """A pending response at once, and from time to time until the end."""
        telling = asyncio.create_task(self._tell())
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def end(self, status: int, *, comment: str = "") -> None:
        """The final response; one that is no success lists what failed."""
        tally = self._tally
        counts = tally.counts(remaining=status == statuses.CANCELLED)
        listed = b"" if status == statuses.SUCCESS else self._failures()
        command = self._message.command.answered(
            status, comment=comment, has_data=bool(listed), counts=counts
        )
        await self._association.send(self._message.context.context_id, command, listed or None)

    async def _tell(self) -> None:
        loop = asyncio.get_running_loop()
        told, told_at = -1, 0.0
        with contextlib.suppress(AssociationLost):
            while True:
                changed = self._tally.remaining != told
                if changed or loop.time() - told_at >= self._settings.still_s:
                    async with self.turn:
                        told, told_at = self._tally.remaining, loop.time()
                        counts = self._tally.counts(remaining=True)
                        command = self._message.command.answered(statuses.PENDING, counts=counts)
                        await self._association.send(self._message.context.context_id, command)
                await asyncio.sleep(self._settings.pending_s)

    def _failures(self) -> bytes:
        """Failed SOP Instance UID List, as many as fit; empty without any."""
        if not self._tally.failures:
            return b""
        value = "\\".join(self._tally.failures)
        if len(value) > _MOST_BYTES:
            value = value[: value.rindex("\\", 0, _MOST_BYTES + 1)]
        form = Form(BY_UID[self._message.context.syntax])
        return form.element(_FAILED_INSTANCES, "UI", value.encode("ascii"))
