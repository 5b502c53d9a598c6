"""The inbox: C-STORE requests that answer a C-MOVE of ours, paired with what asked for them (PS3.4 C.4.2).

A C-MOVE names the AE title `ISTHMUS_INBOX_AE_TITLE` as its destination. What is called to it is paired by the
Move Originator Message ID, which no two retrievals share at a time; else, since many a PACS does not tell it,
by who calls and by the study.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bridge import hosts
from bridge.pacs.landing import Landing
from bridge.peers import Peer
from bridge.upper.association import Association
from bridge.upper.command import Tag
from bridge.upper.messages import DataSet, Message
from service.dicom.locate import Found, find_value
from service.dicom.resource import Resource
from service.dicom.syntaxes import BY_UID

log = logging.getLogger("isthmus.pacs")

_STUDY, _SERIES = 0x0020000D, 0x0020000E
_LONGEST_HEAD = 1 << 20  # bytes of a data set in which its study is looked for
_MOST_IDS = 0xFFFF


@dataclass(frozen=True, slots=True)
class Expected:
    """A retrieval that waits for instances: what was asked of whom, under which Message ID."""

    message_id: int
    peer: Peer
    resource: Resource
    landing: Landing


class Inbox:
    """All C-MOVE retrievals of a bridge that are under way; used on its loop."""

    def __init__(self, ae_title: str, *, calling: str) -> None:
        """`ae_title` is that of the inbox, `calling` the one under which we ask."""
        self.ae_title = ae_title
        self._calling = calling
        self._expected: dict[int, Expected] = {}
        self._last = 0
        self._strays = 0

    @contextmanager
    def expecting(self, peer: Peer, resource: Resource, landing: Landing) -> Iterator[int]:
        """Have what comes of `resource` from `peer` go to `landing`; the Message ID to ask with."""
        message_id = self._new_id()
        self._expected[message_id] = Expected(message_id, peer, resource, landing)
        try:
            yield message_id
        finally:
            del self._expected[message_id]

    def is_called(self, association: Association) -> bool:
        """Whether an association is with the inbox rather than with the archive."""
        return association.called.strip().lower() == self.ae_title.strip().lower()

    async def take(
        self, message: Message, first: list[bytes], data: DataSet, association: Association
    ) -> int | None:
        """Take an instance that is waited for; `None` if it is not, and is to be stored as any other."""
        if not self.is_called(association):
            return None
        expected = self._by_id(message, association)
        if expected is None:
            expected = await self._by_study(message, first, data, association)
        if expected is None:
            self._strays += 1
            log.warning(
                "inbox instance=%s from=%s is of no retrieval, stored strays=%d",
                message.command.text(Tag.AFFECTED_SOP_INSTANCE),
                association.peer[0],
                self._strays,
            )
            return None
        return await expected.landing.take(message, first, data, association.calling)

    def _by_id(self, message: Message, association: Association) -> Expected | None:
        command = message.command
        if Tag.MOVE_ORIGINATOR_MESSAGE_ID not in command.values:
            return None
        expected = self._expected.get(command.number(Tag.MOVE_ORIGINATOR_MESSAGE_ID))
        originator = command.text(Tag.MOVE_ORIGINATOR)
        if expected is None or (originator and originator.lower() != self._calling.lower()):
            return None
        return expected if _calls_from(association, expected.peer) else None

    async def _by_study(
        self, message: Message, first: list[bytes], data: DataSet, association: Association
    ) -> Expected | None:
        candidates = [one for one in self._expected.values() if _calls_from(association, one.peer)]
        if not candidates:
            return None
        study, series = await _study_and_series(message, first, data)
        of_study = [one for one in candidates if one.resource.study == study]
        of_series = [one for one in of_study if one.resource.series in (None, series)]
        return next(iter(of_series or of_study), None)

    def _new_id(self) -> int:
        for _ in range(_MOST_IDS):
            self._last = self._last % _MOST_IDS + 1
            if self._last not in self._expected:
                return self._last
        raise AssertionError("there are never so many retrievals")


def _calls_from(association: Association, peer: Peer) -> bool:
    """Whether who calls is `peer`: by its AE title, or from one of its addresses under another one."""
    same_title = association.calling.strip().lower() == peer.ae_title.lower()
    return same_title or hosts.within(association.peer[0], peer.callers)


async def _study_and_series(message: Message, first: list[bytes], data: DataSet) -> tuple[str, str]:
    """The UIDs of study and series, as far as they stand in the first MiB; what is read goes to `first`."""
    syntax = BY_UID[message.context.syntax]
    while True:
        head = b"".join(first)
        whole = data.at_end or len(head) > _LONGEST_HEAD
        found = find_value(head, syntax, (_SERIES,), final=whole)
        if isinstance(found, Found) or found is None or whole or syntax.deflated:
            return _uid(head, message, _STUDY), _uid(head, message, _SERIES)
        first += await data.read(min(len(head), 1 << 16) or 1)


def _uid(head: bytes, message: Message, tag: int) -> str:
    syntax = BY_UID[message.context.syntax]
    if syntax.deflated:
        return ""
    found = find_value(head, syntax, (tag,), final=True)
    if not isinstance(found, Found) or found.length is None:
        return ""
    value = head[found.position : found.position + found.length]
    return value.strip(b"\0 ").decode("latin-1")
