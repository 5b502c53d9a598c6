"""What we ask of a peer on an open association (PS3.7 9 and 10): echo, store, find, get, move, and the
N-services that report, act, create and update.

Every operation raises `AssociationLost` if the association ends before the last response has come, and
`NoResponse` if the peer falls silent; the association is aborted then, since an answer that comes later
could not be told from the next one's.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Buffer, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from bridge.peers import Peer
from bridge.settings import Limits
from bridge.upper.associate import AssociateRequest, ProposedContext, Role, UserInformation
from bridge.upper.association import Association
from bridge.upper.command import NO_DATA_SET, Command, Operation, Tag, Value
from bridge.upper.messages import AssociationLost, Message, NoResponse
from bridge.upper.negotiation import MOST_CONTEXTS, Context
from bridge.upper.requestor import RequestedAssociation, associate
from service.dicom import part10

_PENDING = frozenset({0xFF00, 0xFF01})
_MEDIUM = 0  # priority (PS3.7 9.1.1.1.4)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A presentation context that we want; `scp` says that we would serve the class, as for C-GET."""

    abstract: str
    syntaxes: tuple[str, ...]
    scu: bool = True
    scp: bool = False
    extended: bytes = b""

    @property
    def role(self) -> Role | None:
        """The role selection that it takes; none for what goes without saying (PS3.7 D.3.3.4)."""
        plain = self.scu and not self.scp
        return None if plain else Role(self.abstract, self.scu, self.scp)


@dataclass(frozen=True, slots=True)
class Found:
    """One response to a C-FIND: a pending one with its identifier, and at the end one without."""

    status: int
    identifier: bytes = b""
    comment: str = ""

    @property
    def pending(self) -> bool:
        return self.status in _PENDING


@dataclass(frozen=True, slots=True)
class Progress:
    """One response to a C-GET or C-MOVE; `remaining` is `None` where the peer does not say.

    `identifier` is what a final response may carry: the Failed SOP Instance UID List.
    """

    status: int
    remaining: int | None = None
    completed: int = 0
    failed: int = 0
    warning: int = 0
    identifier: bytes = b""
    comment: str = ""

    @property
    def pending(self) -> bool:
        return self.status in _PENDING


@dataclass(frozen=True, slots=True)
class Outcome:
    """The response to an N-CREATE or N-SET; `error_id` is 0 where the peer tells none."""

    status: int
    error_id: int = 0
    comment: str = ""


async def connect(
    peer: Peer, proposals: Sequence[Proposal], limits: Limits, *, calling: str
) -> RequestedAssociation:
    """An association with `peer` for at most 128 `proposals`, the limits being the peer's where it has any.

    Raises `Rejected`, `UpstreamFailed` or `UpstreamTimeout`. Which contexts were accepted is to be looked up
    in the association; there may be none.
    """
    limits = of_peer(limits, peer)
    request = _request(proposals, called=peer.ae_title, calling=calling, longest=limits.pdata_bytes)
    return await associate(peer.host, peer.port, request, limits, connect_s=limits.connect_s, tls=peer.tls)


def of_peer(limits: Limits, peer: Peer) -> Limits:
    """`limits` with what is said of one peer."""
    if peer.max_pdu is not None:
        limits = replace(limits, pdata_bytes=peer.max_pdu)
    if peer.timeout_s is not None:
        limits = replace(limits, connect_s=peer.timeout_s, artim_s=peer.timeout_s, response_s=peer.timeout_s)
    return limits


def context_for(association: Association, abstract: str) -> Context | None:
    """An accepted context of the class in which the peer serves."""
    served = (each for each in association.contexts.values() if each.abstract == abstract)
    return next((each for each in served if each.peer_serves), None)


async def echo(association: Association, context_id: int, *, timeout_s: float) -> int:
    """C-ECHO (PS3.7 9.1.5); the status."""
    sop_class = association.contexts[context_id].abstract
    message_id = association.new_message_id()
    command = Command.request(Operation.C_ECHO, message_id, sop_class, has_data=False)
    await association.send(context_id, command)
    return await _status(association, message_id, timeout_s)


async def store(
    association: Association,
    context_id: int,
    sop_class: str,
    sop_instance: str,
    data: Buffer | AsyncIterator[Buffer],
    *,
    timeout_s: float,
    originator: tuple[str, int] | None = None,
) -> int:
    """C-STORE (PS3.7 9.1.1) of a data set encoded in the context's transfer syntax; the status.

    `originator` is the AE title and Message ID of the C-MOVE that asked for it. What `data` raises before
    its first block leaves the association as it is; afterwards it ends it.
    """
    message_id = association.new_message_id()
    command = Command.request(
        Operation.C_STORE,
        message_id,
        sop_class,
        has_data=True,
        priority=_MEDIUM,
        affected_sop_instance=sop_instance,
    )
    if originator is not None:
        told: dict[Tag, Value] = {
            Tag.MOVE_ORIGINATOR: originator[0],
            Tag.MOVE_ORIGINATOR_MESSAGE_ID: originator[1],
        }
        command = Command({**command.values, **told})
    if isinstance(data, AsyncIterator):
        await association.send_stream(context_id, command, data)
    else:
        await association.send(context_id, command, data)
    return await _status(association, message_id, timeout_s)


async def find(
    association: Association, context_id: int, identifier: bytes, limits: Limits
) -> AsyncGenerator[Found]:
    """C-FIND (PS3.7 9.1.2): every response in turn, the final one last.

    Closing the iterator before its end cancels the query; the answers on their way are read and dropped.
    """
    message_id = await _ask(association, Operation.C_FIND, context_id, identifier)
    final = False
    try:
        while not final:
            message = await _answer(association, message_id, limits.response_s)
            found = Found(message.command.status, await _identifier(message, limits), _comment(message))
            final = not found.pending
            yield found
    finally:
        if not final:
            await _call_off(association, context_id, message_id, limits)


type OnStore = Callable[[Message, Association], Awaitable[object]]


async def get(
    association: Association, context_id: int, identifier: bytes, limits: Limits, *, on_store: OnStore
) -> AsyncGenerator[Progress]:
    """C-GET (PS3.7 9.1.3): every response in turn, the final one last.

    `on_store` serves each C-STORE request that comes in between, its response included, as
    `bridge.scp.store.Store` does. Closing the iterator before its end cancels the retrieval; what is on
    its way is still served.
    """
    message_id = await _ask(association, Operation.C_GET, context_id, identifier)
    final = False
    try:
        while not final:
            message = await _next(association, limits.response_s)
            if not message.command.is_response:
                await on_store(message, association)
            elif message.command.number(Tag.RESPONDED_MESSAGE_ID) == message_id:
                progress = await _progress(message, limits)
                final = not progress.pending
                yield progress
            else:
                await _drop(message)
    finally:
        if not final:
            await _serve_the_rest(association, context_id, message_id, limits, on_store)


async def move(
    association: Association, context_id: int, identifier: bytes, limits: Limits, *, destination: str
) -> AsyncGenerator[Progress]:
    """C-MOVE (PS3.7 9.1.4) to the AE title `destination`: every response in turn, the final one last.

    Closing the iterator before its end cancels the retrieval.
    """
    message_id = await _ask(
        association, Operation.C_MOVE, context_id, identifier, move_destination=destination
    )
    final = False
    try:
        while not final:
            message = await _answer(association, message_id, limits.response_s)
            progress = await _progress(message, limits)
            final = not progress.pending
            yield progress
    finally:
        if not final:
            await _call_off(association, context_id, message_id, limits)


async def event_report(
    association: Association,
    context_id: int,
    sop_instance: str,
    event_type: int,
    information: bytes,
    *,
    timeout_s: float,
    keep: bool = False,
) -> int:
    """N-EVENT-REPORT (PS3.7 10.1.1) about a well-known or other instance; the status.

    `keep` leaves the association as it is if the peer falls silent, since it may be the peer's own.
    """
    return await _notify(
        association,
        context_id,
        Operation.N_EVENT_REPORT,
        information,
        timeout_s,
        keep=keep,
        affected_sop_instance=sop_instance,
        event_type=event_type,
    )


async def action(
    association: Association,
    context_id: int,
    sop_instance: str,
    action_type: int,
    information: bytes,
    *,
    timeout_s: float,
) -> int:
    """N-ACTION (PS3.7 10.1.4) on an instance; the status."""
    return await _notify(
        association,
        context_id,
        Operation.N_ACTION,
        information,
        timeout_s,
        requested_sop_instance=sop_instance,
        action_type=action_type,
    )


async def create(
    association: Association, context_id: int, sop_instance: str, attributes: bytes, *, timeout_s: float
) -> Outcome:
    """N-CREATE (PS3.7 10.1.5) of an instance whose UID we choose."""
    return await _about(
        association,
        context_id,
        Operation.N_CREATE,
        attributes,
        timeout_s,
        affected_sop_instance=sop_instance,
    )


async def update(
    association: Association, context_id: int, sop_instance: str, changes: bytes, *, timeout_s: float
) -> Outcome:
    """N-SET (PS3.7 10.1.3) of some attributes of an instance."""
    return await _about(
        association, context_id, Operation.N_SET, changes, timeout_s, requested_sop_instance=sop_instance
    )


def _request(proposals: Sequence[Proposal], *, called: str, calling: str, longest: int) -> AssociateRequest:
    if len(proposals) > MOST_CONTEXTS:
        raise ValueError(f"an association has {MOST_CONTEXTS} presentation contexts at most")
    return AssociateRequest(
        called=called.encode("ascii"),
        calling=calling.encode("ascii"),
        contexts=tuple(
            ProposedContext(2 * number + 1, each.abstract, each.syntaxes)
            for number, each in enumerate(proposals)
        ),
        user=UserInformation(
            max_length=longest,
            implementation_class=part10.IMPLEMENTATION_CLASS_UID,
            implementation_version=part10.IMPLEMENTATION_VERSION_NAME,
            roles=tuple(_by_class(proposals).values()),
            extended=tuple({each.abstract: each.extended for each in proposals if each.extended}.items()),
        ),
    )


def _by_class(proposals: Iterable[Proposal]) -> dict[str, Role]:
    return {each.abstract: each.role for each in proposals if each.role is not None}


async def _ask(
    association: Association, operation: Operation, context_id: int, identifier: bytes, **values: str
) -> int:
    message_id = association.new_message_id()
    sop_class = association.contexts[context_id].abstract
    command = Command.request(operation, message_id, sop_class, has_data=True, priority=_MEDIUM, **values)
    await association.send(context_id, command, identifier)
    return message_id


async def _notify(
    association: Association,
    context_id: int,
    operation: Operation,
    information: bytes,
    timeout_s: float,
    keep: bool = False,
    **values: int | str,
) -> int:
    message_id = association.new_message_id()
    sop_class = association.contexts[context_id].abstract
    command = Command.request(operation, message_id, sop_class, has_data=True, **values)
    await association.send(context_id, command, information)
    return await _status(association, message_id, timeout_s, keep=keep)


async def _about(
    association: Association,
    context_id: int,
    operation: Operation,
    content: bytes,
    timeout_s: float,
    **values: str,
) -> Outcome:
    message_id = association.new_message_id()
    sop_class = association.contexts[context_id].abstract
    command = Command.request(operation, message_id, sop_class, has_data=True, **values)
    await association.send(context_id, command, content)
    message = await _answer(association, message_id, timeout_s)
    if message.data is not None:
        message.data.discard()
    return Outcome(message.command.status, message.command.number(Tag.ERROR_ID), _comment(message))


async def _answer(
    association: Association, message_id: int, timeout_s: float, *, keep: bool = False
) -> Message:
    try:
        return await association.response(message_id, timeout_s)
    except NoResponse:
        if not keep:
            association.abort("no response")
        raise


async def _status(association: Association, message_id: int, timeout_s: float, *, keep: bool = False) -> int:
    """The status of the only response; a data set with it is of no interest."""
    message = await _answer(association, message_id, timeout_s, keep=keep)
    if message.data is not None:
        message.data.discard()
    return message.command.status


async def _next(association: Association, timeout_s: float) -> Message:
    try:
        message = await association.receive(timeout_s)
    except NoResponse:
        association.abort("no response")
        raise
    if message is None:
        raise AssociationLost
    return message


async def _identifier(message: Message, limits: Limits) -> bytes:
    """The message's data set; one that is too long is as if it were absent."""
    if message.data is None:
        return b""
    return await message.data.whole(limits.identifier_bytes) or b""


async def _drop(message: Message) -> None:
    if message.data is not None:
        await message.data.drop()


def _comment(message: Message) -> str:
    return message.command.text(Tag.ERROR_COMMENT)


async def _progress(message: Message, limits: Limits) -> Progress:
    command = message.command
    return Progress(
        command.status,
        command.number(Tag.REMAINING) if Tag.REMAINING in command.values else None,
        command.number(Tag.COMPLETED),
        command.number(Tag.FAILED),
        command.number(Tag.WARNING),
        await _identifier(message, limits),
        _comment(message),
    )


async def _cancel(association: Association, context_id: int, message_id: int) -> None:
    """C-CANCEL (PS3.7 9.3.2.3); it has no response of its own."""
    values = {
        Tag.COMMAND_FIELD: Operation.C_CANCEL,
        Tag.RESPONDED_MESSAGE_ID: message_id,
        Tag.DATA_SET_TYPE: NO_DATA_SET,
    }
    await association.send(context_id, Command(values))


async def _call_off(association: Association, context_id: int, message_id: int, limits: Limits) -> None:
    """Cancel, and read what still comes, so that the association can be used again."""
    async with _heeded(association, limits):
        await _cancel(association, context_id, message_id)
        while True:
            message = await _answer(association, message_id, limits.response_s)
            await _drop(message)
            if message.command.status not in _PENDING:
                return


async def _serve_the_rest(
    association: Association, context_id: int, message_id: int, limits: Limits, on_store: OnStore
) -> None:
    """Cancel, and serve what is on its way."""
    async with _heeded(association, limits):
        await _cancel(association, context_id, message_id)
        while True:
            message = await _next(association, limits.response_s)
            command = message.command
            if not command.is_response:
                await on_store(message, association)
                continue
            await _drop(message)
            if command.number(Tag.RESPONDED_MESSAGE_ID) == message_id and command.status not in _PENDING:
                return


@contextlib.asynccontextmanager
async def _heeded(association: Association, limits: Limits) -> AsyncIterator[None]:
    """Ends the association of a peer that goes on behind a cancel for longer than it may take to answer."""
    try:
        async with asyncio.timeout(limits.response_s):
            yield
    except TimeoutError:
        association.abort("cancel not heeded")
    except AssociationLost:
        pass
