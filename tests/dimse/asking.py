"""Peers that are asked: pynetdicom as SCP, and one on a bare socket that may do anything."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from typing import Any

from pynetdicom import AE

from bridge import scu
from bridge.peers import Peer
from bridge.scu import Proposal
from bridge.settings import Limits
from bridge.upper import pdu
from bridge.upper.associate import AnsweredContext, AssociateAccept, AssociateRequest, UserInformation
from bridge.upper.command import Command, Tag, decode
from bridge.upper.requestor import RequestedAssociation
from tests.dimse.committing import listening
from tests.dimse.dimse_peers import EXPLICIT_LE, IMPLICIT_LE, PATIENCE_S, RawPeer, p_data

BOTH = (EXPLICIT_LE, IMPLICIT_LE)
QUICK = Limits(artim_s=0.8, pdu_s=0.3, response_s=0.8, linger_s=0.4, connect_s=5.0)
UNHURRIED = replace(QUICK, artim_s=PATIENCE_S, pdu_s=PATIENCE_S, response_s=PATIENCE_S, connect_s=PATIENCE_S)
"""For peers that say something: however slow they are, only one that has to be given up is."""
PATIENT = Limits(response_s=PATIENCE_S)


def play[T](coroutine: Coroutine[Any, Any, T]) -> T:
    """The outcome of our side, which leaves neither a task nor a connection behind."""

    async def bounded() -> T:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await coroutine
        finally:
            await asyncio.sleep(0)  # what was closed is told so in the next turn
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, left

    return asyncio.run(bounded())


@contextlib.asynccontextmanager
async def connected(
    port: int, *proposals: Proposal, limits: Limits = UNHURRIED, calling: str = "BRIDGE"
) -> AsyncIterator[RequestedAssociation]:
    """An association with who listens on `port`, released at the end."""
    peer = Peer("archive", "ARCHIVE", "127.0.0.1", port)
    association = await scu.connect(peer, proposals, limits, calling=calling)
    try:
        yield association
    finally:
        await association.release()
        association.close()


def ours(association: RequestedAssociation, abstract: str) -> int:
    """The id of the context of a class."""
    context = scu.context_for(association, abstract)
    assert context is not None
    return context.context_id


@contextlib.contextmanager
def archive(
    handlers: Sequence[Any], *classes: str, syntaxes: Sequence[str] = BOTH, **roles: Any
) -> Iterator[int]:
    """A pynetdicom SCP of `classes`; its port."""
    entity = AE(ae_title="ARCHIVE")
    for each in classes:
        entity.add_supported_context(each, list(syntaxes), **roles)
    with listening(entity, handlers) as port:
        yield port


class RawScp(RawPeer):
    """The accepting end of one connection."""

    def __init__(self, accepted: socket.socket) -> None:
        accepted.settimeout(PATIENCE_S)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = accepted

    def request(self) -> AssociateRequest:
        kind, body = self.next_pdu()
        assert kind == pdu.Kind.ASSOCIATE_RQ
        return AssociateRequest.decode(body)

    def accept(self) -> AssociateRequest:
        """Take the request and accept all of it."""
        request = self.request()
        self.send(acceptance(request).encode())
        return request

    def command(self) -> Command:
        """The next message's command set, in one PDU; what comes before it of data sets is passed over."""
        while True:
            kind, body = self.next_pdu()
            assert kind == pdu.Kind.P_DATA, (kind, body)
            if body[5] & pdu.COMMAND:
                return decode(body[6:])

    def answer(self, command: Command, status: int = 0, data: bytes | None = None, **changed: int) -> None:
        """Respond to `command`."""
        answered = command.answered(status, has_data=data is not None)
        values = {**answered.values, **{Tag[name.upper()]: value for name, value in changed.items()}}
        self.send(p_data(1, Command(values).encode(), command=True))
        if data is not None:
            self.send(p_data(1, data, command=False))

    def reset(self) -> None:
        """Close as a crash does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def acceptance(request: AssociateRequest, *, max_length: int = 16384) -> AssociateAccept:
    contexts = tuple(AnsweredContext(each.context_id, 0, each.syntaxes[0]) for each in request.contexts)
    return AssociateAccept(request.called, request.calling, contexts, UserInformation(max_length=max_length))


@contextlib.contextmanager
def scripted(script: Callable[[RawScp], object]) -> Iterator[int]:
    """A listening socket that plays `script` on one connection and then waits for its end; its port."""
    failures: list[BaseException] = []

    def serve() -> None:
        accepted, _ = server.accept()
        peer = RawScp(accepted)
        try:
            script(peer)
            if peer.socket.fileno() >= 0:
                peer.wait_closed()
        except BaseException as failure:
            failures.append(failure)
        finally:
            peer.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        player = threading.Thread(target=serve)
        player.start()
        try:
            yield server.getsockname()[1]
        finally:
            player.join(PATIENCE_S)
            assert not player.is_alive(), "the connection was never closed"
    if failures:
        raise failures[0]
