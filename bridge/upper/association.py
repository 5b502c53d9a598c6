"""One association on one connection: its states, deadlines and flow control (PS3.8 section 9.2)."""

import asyncio
import enum
import socket
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol, cast

from bridge.settings import Limits
from bridge.upper import pdu
from bridge.upper.associate import AssociateAccept, AssociateReject, AssociateRequest, ae_title
from bridge.upper.command import Command, Operation
from bridge.upper.messages import Assembler, AssociationLost, Message
from bridge.upper.negotiation import Context
from bridge.upper.pdu import Fault, Kind, PduReader, ProtocolFault

RECEIVE_BYTES = 1 << 16
_LINGER_BYTES = 1 << 20  # what a peer may still send after our last PDU
_QUEUED_MESSAGES = 4
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class State(enum.Enum):
    """Where an association is; the names in brackets are those of PS3.8 Table 9-1 to 9-5."""

    CONNECTED = "no request yet (Sta2)"
    OPEN = "established (Sta6)"
    ENDED = "over, the peer has to close the connection (Sta13)"
    CLOSED = "no connection (Sta1)"


_EXPECTED: Mapping[State, frozenset[Kind]] = {
    State.CONNECTED: frozenset({Kind.ASSOCIATE_RQ, Kind.ABORT}),
    State.OPEN: frozenset({Kind.P_DATA, Kind.RELEASE_RQ, Kind.ABORT}),
}


class Acceptor(Protocol):
    """Who answers the associations of a listening socket; all of it happens on the loop, at once."""

    def connected(self, association: "Association") -> None:
        """A peer has connected and not asked for anything yet."""
        ...

    def answer(
        self, association: "Association", request: AssociateRequest
    ) -> tuple[AssociateAccept, Mapping[int, Context]] | AssociateReject:
        """The answer to a request; may raise `ProtocolFault`."""
        ...

    def established(self, association: "Association") -> None:
        """The association may be used."""
        ...

    def closed(self, association: "Association") -> None:
        """The connection is closed, whatever came before."""
        ...


class Association(asyncio.BufferedProtocol):
    """An association, used by one task.

    `result` tells how it ended, in the words of the log, and is empty before. Received bytes go from
    the kernel into `buffer` and are taken apart there; what a data set's reader has not taken is bounded
    by `limits.window_bytes`, beyond which the connection is not read.

    All associations of a loop may share one `buffer`: a loop that waits for readiness fills it and calls
    `buffer_updated` in one step, and nothing of it is referred to after that.
    """

    def __init__(self, acceptor: Acceptor, limits: Limits, buffer: bytearray) -> None:
        self.calling = ""
        self.called = ""
        self.peer = ("", 0)
        self.contexts: Mapping[int, Context] = {}
        self.objects = 0
        self.result = ""
        self._acceptor = acceptor
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._socket: Any = None
        self._state = State.CONNECTED
        self._buffer = buffer
        self._view = memoryview(buffer)
        self._reader = PduReader(self, limits)
        self._assembler = Assembler(limits, self._deliver, self._settle)
        self._inbox: deque[Message] = deque()
        self._receiver: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._serving = False
        self._reading_paused = False
        self._writing_paused = False
        self._peer_longest = 0
        self._lingered = 0
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pdu_timed = 0

    # What a service does with an association.

    @property
    def is_open(self) -> bool:
        return self._state is State.OPEN

    @property
    def is_idle(self) -> bool:
        """Whether no message is being received, waiting or served."""
        return not (self._serving or self._inbox or self._assembler.inside or self._reader.inside)

    @property
    def received_bytes(self) -> int:
        """The bytes of all data sets received."""
        return self._assembler.received_bytes

    async def receive(self) -> Message | None:
        """The next message; `None` when the association is over. The one before counts as served."""
        self._serving = False
        while not self._inbox:
            if self._state is not State.OPEN:
                return None
            self._settle()
            self._receiver = self._loop.create_future()
            try:
                await self._receiver
            finally:
                self._receiver = None
        self._serving = True
        message = self._inbox.popleft()
        self._settle()
        return message

    async def send(self, context_id: int, command: Command, data: bytes | None = None) -> None:
        """Send a message, command and data in one write.

        Raises `AssociationLost` if the association is over, or the peer takes nothing for a PDU's time.
        """
        if self._state is not State.OPEN or self._transport is None:
            raise AssociationLost
        pieces = [*self._packets(context_id, command.encode(), command=True)]
        if data is not None:
            pieces += self._packets(context_id, data, command=False)
        self._transport.write(b"".join(pieces))
        while self._writing_paused and self._state is State.OPEN:
            self._writable = self._loop.create_future()
            try:
                async with asyncio.timeout(self._limits.pdu_s):
                    await self._writable
            except TimeoutError:
                self.abort("peer does not read")
            finally:
                self._writable = None
        if self._state is not State.OPEN:
            raise AssociationLost

    def abort(self, result: str, fault: Fault | None = None) -> None:
        """End the association at once; `fault` if the peer broke the rules of the upper layer."""
        if self._state in (State.CONNECTED, State.OPEN):
            reason = Fault.NOT_SPECIFIED if fault is None else fault
            self._finish(result, pdu.abort(by_provider=fault is not None, reason=reason))

    def close(self) -> None:
        """Close the connection without waiting for the peer."""
        self._end("closed")
        if self._transport is not None:
            self._transport.abort()

    def _packets(self, context_id: int, payload: bytes, *, command: bool) -> list[bytes | memoryview]:
        return list(pdu.packets(context_id, payload, command=command, last=True, longest=self._peer_longest))

    # What the connection says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.peer = (transport.get_extra_info("peername") or ("", 0))[:2]
        self._socket = transport.get_extra_info("socket")
        if self._socket is not None and self._socket.family != socket.AF_UNIX:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader.expected = _EXPECTED[State.CONNECTED]
        self._set_deadline(self._limits.artim_s)
        self._acceptor.connected(self)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        # Senders that leave Nagle's algorithm on wait for an acknowledgement between command and data;
        # the kernel forgets this setting with each one it sends. Who fills the buffer does not wait.
        if nbytes < RECEIVE_BYTES and _QUICKACK is not None and self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        if self._state is State.ENDED:
            self._lingered += nbytes
            if self._lingered > _LINGER_BYTES:
                self.close()
            return
        try:
            self._reader.feed(self._view[:nbytes])
        except _Over:
            return
        except ProtocolFault as fault:
            self.abort(f"aborted: {fault}", fault.reason)
            return
        self._settle()

    def eof_received(self) -> bool:
        return False  # a peer that sends nothing more is gone

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("lost")
        self._state = State.CLOSED
        self._transport = self._socket = None
        self._set_deadline(None)
        self._acceptor.closed(self)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        _wake(self._writable)

    # What the reader finds.

    def on_pdu(self, kind: Kind, body: bytes) -> None:
        if kind is Kind.ASSOCIATE_RQ:
            self._on_request(AssociateRequest.decode(body))
        elif kind is Kind.RELEASE_RQ:
            self._finish("released", pdu.release_rp())
            raise _Over
        elif kind is Kind.ABORT:
            self._end("aborted by peer")
            self.close()
            raise _Over

    def on_fragment(self, context_id: int, control: int, piece: memoryview, complete: bool) -> None:
        self._assembler.add(context_id, control, piece, complete)

    def _on_request(self, request: AssociateRequest) -> None:
        # A request that is turned away is logged by these, so they hold what may be shown.
        self.calling = ae_title(request.calling) or "?"
        self.called = ae_title(request.called) or "?"
        answer = self._acceptor.answer(self, request)
        if isinstance(answer, AssociateReject):
            self._finish(f"rejected {answer.result}/{answer.source}/{answer.reason}", answer.encode())
            raise _Over
        accepted, self.contexts = answer
        self._assembler.contexts = self.contexts
        self._peer_longest = request.user.max_length
        self._state = State.OPEN
        self._reader.expected = _EXPECTED[State.OPEN]
        self._write(accepted.encode())
        self._acceptor.established(self)

    def _deliver(self, message: Message) -> None:
        # Nothing that the bridge serves at this level waits for a cancel; the request is answered in full.
        if message.command.field != Operation.C_CANCEL:
            self._inbox.append(message)
            _wake(self._receiver)

    # States, deadlines, flow.

    def _write(self, encoded: bytes) -> None:
        if self._transport is not None:
            self._transport.write(encoded)

    def _finish(self, result: str, last_words: bytes) -> None:
        """Send the last PDU and give the peer a moment to close the connection itself.

        Closing with unread bytes in the kernel would reset the connection and lose that PDU.
        """
        self._write(last_words)
        self._end(result)
        self._resume_reading()
        self._set_deadline(self._limits.linger_s)

    def _end(self, result: str) -> None:
        if self._state not in (State.CONNECTED, State.OPEN):
            return
        self._state = State.ENDED
        self.result = result
        self._assembler.lose()
        _wake(self._receiver)
        _wake(self._writable)

    def _settle(self) -> None:
        """Read or not, and until when, according to what has arrived and what was taken."""
        if self._state is not State.OPEN:
            return
        data = self._assembler.data
        full = data is not None and data.waiting > self._limits.window_bytes
        if full or len(self._inbox) > _QUEUED_MESSAGES:
            self._pause_reading()
            self._set_deadline(None)
            return
        self._resume_reading()
        if self._reader.inside:
            if self._pdu_timed != self._reader.begun or self._due is None:
                self._pdu_timed = self._reader.begun
                self._set_deadline(self._limits.pdu_s)
        elif self._assembler.inside:
            self._set_deadline(self._limits.pdu_s)
        elif self._serving or self._inbox:
            self._set_deadline(None)
        else:
            self._set_deadline(self._limits.idle_s)

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._transport is not None and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and self._transport is not None and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()

    def _set_deadline(self, seconds: float | None) -> None:
        # One timer follows the deadline lazily: deadlines move with every PDU, timers cost more.
        self._due = None if seconds is None else self._loop.time() + seconds
        if self._due is None:
            if self._state is State.CLOSED and self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None or self._timer.when() > self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._due is None:
            return
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._tick)
        elif self._state is State.OPEN:
            self.abort("idle" if self.is_idle else "too slow", Fault.NOT_SPECIFIED)
        elif self._state is State.CONNECTED:
            self._end("no request in time")
            self.close()
        else:
            self.close()


class _Over(Exception):
    """Nothing after this PDU counts."""


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
