"""One retrieval from a PACS: by C-GET where it has that, else by C-MOVE to the inbox (PS3.4 C.4.2, C.4.3)."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from bridge import scu
from bridge.pacs import contexts
from bridge.pacs.inbox import Inbox
from bridge.pacs.landing import Landing
from bridge.pacs.line import Line
from bridge.scu import Progress
from bridge.settings import PacsSettings
from bridge.upper.association import Association
from bridge.upper.messages import AssociationLost
from service.dicom.encoding import Form
from service.dicom.errors import (
    ArchiveError,
    DestinationUnknown,
    NotAuthorized,
    UpstreamFailed,
    UpstreamTimeout,
)
from service.dicom.querying import NAMES, QUERY_LEVEL, UNIQUE
from service.dicom.resource import Level, Resource
from service.dicom.syntaxes import BY_UID

log = logging.getLogger("isthmus.pacs")

_SUCCESS = 0x0000
_CANCELLED = 0xFE00
_DESTINATION_UNKNOWN = 0xA801
_LOOKED = 0.1  # of the time without a sign of life, after which it is looked for one again
_NOT_AUTHORIZED = 0x0124
# What a PACS answers that takes the context of C-GET and does not serve it (PS3.7 annex C).
_NOT_SERVED = frozenset((0x0112, 0x0118, 0x0122, 0x0211, 0xA900, 0xA801))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: a study, a series, or some instances of one series."""

    resource: Resource
    instances: tuple[str, ...] = ()

    @property
    def level(self) -> Level:
        return Level.INSTANCE if self.instances else self.resource.level

    def encode(self, syntax: str) -> bytes:
        """The identifier: the level and its unique keys, nothing else (PS3.4 C.4.2.1.4)."""
        form = Form(BY_UID[syntax])
        instances = "\\".join(self.instances) or self.resource.instance
        elements = {
            QUERY_LEVEL: form.element(QUERY_LEVEL, "CS", NAMES[self.level].encode("ascii")),
            **{
                tag: form.element(tag, "UI", uid.encode("ascii"))
                for tag, uid in (
                    (UNIQUE[Level.STUDY], self.resource.study),
                    (UNIQUE[Level.SERIES], self.resource.series),
                    (UNIQUE[Level.INSTANCE], instances),
                )
                if uid
            },
        }
        return b"".join(elements[tag] for tag in sorted(elements))


@dataclass(slots=True)
class Outcome:
    """How a retrieval ended: the final status, and the counts of sub-operations that the PACS tells.

    `landed` counts the instances that can be read.
    """

    status: int = _SUCCESS
    completed: int = 0
    failed: int = 0
    warning: int = 0
    landed: int = 0

    @property
    def short(self) -> int:
        """How many instances did not come, by the PACS's word on what it has to send."""
        return max(self.failed, self.completed + self.warning + self.failed - self.landed)

    @property
    def is_success(self) -> bool:
        return self.status == _SUCCESS and not self.failed

    def error(self) -> ArchiveError:
        """Why nothing came."""
        if self.status == _DESTINATION_UNKNOWN:
            return DestinationUnknown(
                "The PACS does not know where to send: tell it the AE title ISTHMUS_INBOX_AE_TITLE with "
                "this bridge's host and port (A801H)."
            )
        if self.status == _NOT_AUTHORIZED:
            return NotAuthorized("The PACS does not allow our AE title to retrieve (0124H).")
        told = f"The PACS could not send what was asked for (status {self.status:04X}H"
        return UpstreamFailed(f"{told}, {self.failed} failed).")


class NoGet(Exception):
    """The PACS has no C-GET."""


class Watch:
    """Ends the association of a PACS that gives no sign of life for `still_s`.

    What arrives on that association is one, and `touch` tells of others.
    """

    def __init__(self, still_s: float) -> None:
        self.expired = False
        self._still_s = still_s
        self._association: Association | None = None
        self._alive_at = 0.0
        self._received_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, association: Association) -> None:
        """Watch an association from here on."""
        self._association = association
        self.touch()
        self._look()

    def touch(self) -> None:
        """The PACS lives."""
        self._alive_at = asyncio.get_running_loop().time()

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        loop, association = asyncio.get_running_loop(), self._association
        if association is None:
            return
        if association.received_bytes != self._received_bytes:
            self._received_bytes = association.received_bytes
            self.touch()
        left_s = self._alive_at + self._still_s - loop.time()
        if left_s > 0:
            self._timer = loop.call_later(min(left_s, self._still_s * _LOOKED), self._look)
        else:
            self.expired = True
            association.abort("stalled")


@dataclass(slots=True)
class Transfer:
    """Retrievals from the PACS of `line`; which way it takes is found out once."""

    line: Line
    inbox: Inbox | None
    settings: PacsSettings
    way: str | None = field(default=None)

    def __post_init__(self) -> None:
        self.way = self.line.peer.retrieve

    async def run(
        self, wanted: Wanted, classes: Iterable[str], landing: Landing, watch: Watch, *, expected: int | None
    ) -> Outcome:
        """Have `wanted` come to `landing`; all of it that came is written on return.

        `expected` is how many instances there should be, where that is known. Raises what went wrong where
        it is not told by the outcome: `Busy`, `UpstreamFailed`, `UpstreamTimeout`.
        """
        if self.way != "move":
            try:
                outcome = await self._get(wanted, classes, landing, watch)
                self.way = self.way or "get"
                return outcome
            except NoGet:
                if self.way == "get" or self.inbox is None:
                    raise UpstreamFailed("The PACS offers no C-GET, and C-MOVE is not set up.") from None
                self.way = "move"
                log.info("pacs peer=%s has no C-GET, C-MOVE is used", self.line.peer.name)
        return await self._move(wanted, landing, watch, expected)

    async def _get(self, wanted: Wanted, classes: Iterable[str], landing: Landing, watch: Watch) -> Outcome:
        async with self.line.association(contexts.getting(classes), long=True) as association:
            context = scu.context_for(association, contexts.GET)
            if context is None:
                raise NoGet
            watch.start(association)
            identifier = wanted.encode(context.syntax)
            responses = scu.get(
                association, context.context_id, identifier, self.line.limits, on_store=landing.serve
            )
            outcome = await _followed(responses, watch)
        await landing.drained()
        nothing = not landing.landed and not outcome.completed and not outcome.failed
        if self.way is None and nothing and outcome.status in _NOT_SERVED:
            raise NoGet
        return outcome

    async def _move(self, wanted: Wanted, landing: Landing, watch: Watch, expected: int | None) -> Outcome:
        if self.inbox is None:
            raise UpstreamFailed("This PACS is retrieved from by C-MOVE, and the bridge has no inbox for it.")
        # Some send no pending responses: what arrives is a sign of life too, and the watch looks for both.
        limits = replace(self.line.limits, response_s=self.settings.wait_s)
        with self.inbox.expecting(self.line.peer, wanted.resource, landing) as message_id:
            async with self.line.association(contexts.moving(), long=True) as association:
                context = scu.context_for(association, contexts.MOVE)
                if context is None:
                    raise UpstreamFailed("The PACS offers neither C-GET nor C-MOVE.")
                association.number_from(message_id)
                watch.start(association)
                identifier = wanted.encode(context.syntax)
                responses = scu.move(
                    association, context.context_id, identifier, limits, destination=self.inbox.ae_title
                )
                outcome = await _followed(responses, watch)
            await self._settled(outcome, landing, watch, expected)
        return outcome

    async def _settled(self, outcome: Outcome, landing: Landing, watch: Watch, expected: int | None) -> None:
        """Wait for what is still on its way: some answer the C-MOVE before they have sent all."""
        awaited = expected if expected is not None else outcome.completed + outcome.warning
        await landing.drained()
        if outcome.status not in (_SUCCESS, 0xB000):
            return
        while landing.landed + len(landing.refused) + outcome.failed < awaited:
            if not await landing.progress(self.settings.settle_s):
                return


async def _followed(responses: AsyncGenerator[Progress], watch: Watch) -> Outcome:
    """The end of a retrieval. `UpstreamTimeout` where nothing moves any more."""
    outcome = Outcome()
    before: tuple[int | None, int, int, int] | None = None
    try:
        async with aclosing(responses):
            async for told in responses:
                counts = (told.remaining, told.completed, told.failed, told.warning)
                if counts != before:
                    before = counts
                    watch.touch()
                outcome = Outcome(told.status, told.completed, told.failed, told.warning)
    except AssociationLost as lost:
        if watch.expired:
            raise UpstreamTimeout("The PACS stopped sending.") from lost
        raise
    finally:
        watch.stop()
    return outcome
