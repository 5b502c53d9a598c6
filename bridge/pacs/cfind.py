"""C-FIND at a PACS (PS3.4 C.4.1): identifiers out, matches in, whatever is odd about them."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from bridge import scu
from bridge.pacs import contexts
from bridge.pacs.line import Line
from bridge.upper.requestor import RequestedAssociation
from service.dicom.errors import BadRequest, NotAuthorized, TooMany, UpstreamFailed
from service.dicom.identifier import read_answer
from service.dicom.identifying import Asking
from service.dicom.querying import UNIQUE
from service.dicom.repertoire import named
from service.dicom.resource import Level, is_uid
from service.dicom.syntaxes import BY_UID
from service.dicom.values import element_values

log = logging.getLogger("isthmus.pacs")

type Match = dict[str, Any]

_MOST_BYTES = 64 << 20  # of the answers to one search
_UNSUPPORTED = 0xFF01
_CANCELLED = 0xFE00
_NOT_AUTHORIZED = 0x0124


class Unanswered(UpstreamFailed):
    """The PACS takes queries, and does not answer this one."""


@dataclass(slots=True)
class Matches:
    """What a PACS answered: `unusable` counts answers without the unique keys of their level.

    `ignored` says that it did not match an optional key (PS3.4 Table C.4-1, FF01), `cut` that it has more
    matches than are taken.
    """

    found: list[Match] = field(default_factory=list)
    unusable: int = 0
    ignored: bool = False
    cut: bool = False

    def add(self, other: "Matches") -> None:
        """Take in the matches of another query."""
        self.found += other.found
        self.unusable += other.unusable
        self.ignored |= other.ignored
        self.cut |= other.cut


class Finder:
    """Asks on one association; `relational` says whether keys of all levels may be asked at once."""

    def __init__(self, line: Line, association: RequestedAssociation, *, most: int) -> None:
        context = scu.context_for(association, contexts.FIND)
        if context is None:
            raise Unanswered("The PACS takes no queries of the study root model (C-FIND).")
        self._line = line
        self._association = association
        self._context = context
        self._most = most
        self._left_bytes = _MOST_BYTES
        self.relational = context.extended[:1] == b"\1"

    async def ask(self, askings: Sequence[Asking], scope: Mapping[str, str] | None = None) -> Matches:
        """The matches of all identifiers together, at most so many as are taken.

        `scope` holds the unique keys of the levels above, by tag: an answer that lacks them is given them,
        and one that has others is none. Raises `BadRequest`, `TooMany`, `NotAuthorized`, `UpstreamFailed`,
        `UpstreamTimeout`, and what the association raises.
        """
        matches = Matches()
        for asking in askings:
            await self._one(asking, scope or {}, matches)
            if matches.cut:
                break
        if matches.unusable and not matches.found:
            level = asking.level.name.lower()
            raise Unanswered(f"The PACS answers a search for the {level} level without its unique keys.")
        return matches

    async def _one(self, asking: Asking, scope: Mapping[str, str], matches: Matches) -> None:
        peer = self._line.peer
        syntax = BY_UID[self._context.syntax]
        charset = named(peer.charset) if peer.charset else None
        identifier = asking.encode(syntax, charset)
        needed = _unique(asking.level)
        before = {_identity(match, needed) for match in matches.found}
        answers = scu.find(self._association, self._context.context_id, identifier, self._line.limits)
        async with aclosing(answers):
            async for answer in answers:
                if not answer.pending:
                    _check(answer.status)
                    return
                matches.ignored |= answer.status == _UNSUPPORTED
                match = _read(answer.identifier, self._context.syntax, peer.charset or "", scope)
                if match is None or not all(_uid(match, tag) for tag in needed):
                    matches.unusable += 1
                elif (identity := _identity(match, needed)) not in before:
                    before.add(identity)
                    matches.found.append(match)
                self._left_bytes -= len(answer.identifier)
                if len(matches.found) + matches.unusable >= self._most or self._left_bytes < 0:
                    matches.cut = True
                    return


def _read(identifier: bytes, syntax: str, charset: str, scope: Mapping[str, str]) -> Match | None:
    try:
        match = read_answer(identifier, BY_UID[syntax], fallback=charset)
    except BadRequest:
        return None
    for tag, uid in scope.items():
        told = _uid(match, tag)
        if told and told != uid:
            return None
        match[tag] = {"vr": "UI", "Value": [uid]}
    return match


def _unique(level: Level) -> list[str]:
    """The tags of the unique keys of `level` and those above, from the study down."""
    return [f"{UNIQUE[above]:08X}" for above in Level if Level.STUDY <= above <= level]


def _uid(match: Mapping[str, Any], tag: str) -> str:
    values = element_values(match.get(tag))
    text = str(values[0]).strip() if values else ""
    return text if is_uid(text) else ""


def _identity(match: Mapping[str, Any], needed: Sequence[str]) -> tuple[str, ...]:
    return tuple(_uid(match, tag) for tag in needed)


def _check(status: int) -> None:
    """Return if a final status says that all is told; a comment may hold anything and is not shown."""
    if status in (0, _CANCELLED):
        return
    log.warning("pacs find status=%04X", status)
    told = f"The PACS ended the search with status {status:04X}H."
    if status == _NOT_AUTHORIZED:
        raise NotAuthorized(f"{told} It has to allow our AE title to query it.")
    if status >> 8 == 0xA7:
        raise TooMany(f"{told} Narrow the search.")
    if status >> 8 == 0xA9:
        raise BadRequest(f"{told} It does not take these keys.")
    raise Unanswered(told)
