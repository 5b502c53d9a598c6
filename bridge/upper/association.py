"""One association on one connection: its states, deadlines and flow control (PS3.8 section 9.2)."""

import asyncio
import enum
import socket
import ssl
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Buffer, Callable, Mapping, Sequence
from typing import Any, cast

from bridge.settings import Limits
from bridge.upper import pdu
from bridge.upper.command import Command, Operation, Tag
from bridge.upper.deadline import Deadline
from bridge.upper.messages import Assembler, AssociationLost, Message, NoResponse
from bridge.upper.negotiation import Context
from bridge.upper.outbox import Outbox
from bridge.upper.pdu import Fault, Kind, PduReader, ProtocolFault
from service.certificates import fingerprint, reason

RECEIVE_BYTES = 1 << 18  # two of the longest PDUs that are announced; smaller ones cost a call each
_LINGER_BYTES = 1 << 20  # what a peer may still send after our last PDU
_QUEUED_MESSAGES = 4
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class State(enum.Enum):
    """Where an association is; the names in brackets are those of PS3.8 Table 9-1 to 9-5."""

    UNCONNECTED = "no connection yet (Sta1, Sta4)"
    CONNECTED = "no request yet (Sta2)"
    REQUESTED = "no answer yet (Sta5)"
    OPEN = "established (Sta6)"
    RELEASING = "we have asked for the release (Sta7, Sta11)"
    ENDED = "over, the peer has to close the connection (Sta13)"
    CLOSED = "no connection (Sta1)"


_EXPECTED: Mapping[State, frozenset[Kind]] = {
    State.CONNECTED: frozenset({Kind.ASSOCIATE_RQ, Kind.ABORT}),
    State.REQUESTED: frozenset({Kind.ASSOCIATE_AC, Kind.ASSOCIATE_RJ, Kind.ABORT}),
    State.OPEN: frozenset({Kind.P_DATA, Kind.RELEASE_RQ, Kind.ABORT}),
    State.RELEASING: frozenset({Kind.P_DATA, Kind.RELEASE_RQ, Kind.RELEASE_RP, Kind.ABORT}),
}
_ALIVE = frozenset({State.CONNECTED, State.REQUESTED, State.OPEN, State.RELEASING})


class Association(asyncio.BufferedProtocol):
    """An association, used by one task.

    `result` tells how it ended, in the words of the log, and is empty before. `protocol` is the version of
    TLS, empty in clear, and `certificate` the fingerprint of what the peer has shown there.

    Received bytes go from the kernel into `buffer` and are taken apart there; what a data set's reader has
    not taken is bounded by `limits.window_bytes`, beyond which the connection is not read.

    All associations of a loop may share one `buffer`: a loop that waits for readiness fills it and calls
    `buffer_updated` in one step, and nothing of it is referred to after that.
    """

    def __init__(self, limits: Limits, buffer: bytearray) -> None:
        self.calling = ""
        self.called = ""
        self.peer = ("", 0)
        self.protocol = ""
        self.certificate = ""
        self.contexts: Mapping[int, Context] = {}
        self.objects = 0
        self.result = ""
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._socket: Any = None
        self._state = State.UNCONNECTED
        self._buffer = buffer
        self._view = memoryview(buffer)
        self._reader = PduReader(self, limits)
        self._assembler = Assembler(limits, self._deliver, self._settle)
        self._deadline = Deadline(self._on_deadline)
        self._outbox = Outbox(
            limits.pdu_s, is_open=lambda: self.is_open, abort=self.abort, rested=self._settle
        )
        self._inbox: deque[Message] = deque()
        self._arrived: asyncio.Future[None] | None = None
        self._serving: Message | None = None
        self._cancelled: set[int] = set()
        self._asking = False
        self._reading_paused = False
        self._lingered = 0
        self._pdu_timed = 0
        self._last_message_id = 0

    # What a service does with an association.

    @property
    def is_open(self) -> bool:
        return self._state is State.OPEN

    @property
    def is_idle(self) -> bool:
        """Whether no message is being received, waiting or served."""
        busy = self._serving or self._asking or self._inbox or self._assembler.inside or self._reader.inside
        return not busy

    @property
    def received_bytes(self) -> int:
        """The bytes of all data sets received."""
        return self._assembler.received_bytes

    @property
    def sent_bytes(self) -> int:
        """The bytes of all messages sent."""
        return self._outbox.sent_bytes

    def new_message_id(self) -> int:
        """A Message ID that no other message of ours has (PS3.7 9.1.1.1.1), 1 to 65535."""
        self._last_message_id = self._last_message_id % 0xFFFF + 1
        return self._last_message_id

    def number_from(self, message_id: int) -> None:
        """Give our next message this Message ID, 1 to 65535, and those after it the ones that follow."""
        self._last_message_id = message_id - 1

    async def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message; `None` when the association is over. The one before counts as served.

        Who waits for a message that must come gives `timeout_s`: `NoResponse` if none begins by then.
        """
        if self._serving is not None:
            self._cancelled.discard(self._serving.command.message_id)
            self._serving = None
        await self._until(lambda: bool(self._inbox), timeout_s)
        if not self._inbox:
            return None
        message = self._inbox.popleft()
        if not message.command.is_response:
            self._serving = message
        self._settle()
        return message

    async def response(self, message_id: int, timeout_s: float) -> Message:
        """The next response to our message `message_id`; requests stay for `receive`.

        Responses to other messages are dropped: we ask for one thing at a time, so they come too late.
        Raises `NoResponse` if none begins within `timeout_s`, and `AssociationLost` if none can come.
        """

        def found() -> Message | None:
            for each in list(self._inbox):
                if not each.command.is_response:
                    continue
                if _answers(each.command, message_id):
                    return each
                self._inbox.remove(each)
                if each.data is not None:
                    each.data.discard()
            return None

        await self._until(lambda: found() is not None, timeout_s)
        message = found()
        if message is None:
            raise AssociationLost
        self._inbox.remove(message)
        self._settle()
        return message

    async def quiet(self, for_s: float) -> bool:
        """Whether the peer says nothing for so long; false once it does, and if it cannot any more."""
        try:
            await self._until(lambda: bool(self._inbox), for_s)
        except NoResponse:
            return not self._assembler.inside
        return False

    def is_cancelled(self, message_id: int) -> bool:
        """Whether the peer has asked us to stop serving its message `message_id` (PS3.7 9.3.2.3)."""
        return message_id in self._cancelled

    async def send(self, context_id: int, command: Command, data: Buffer | None = None) -> None:
        """Send a message, command and data in one write.

        Raises `AssociationLost` if the association is over, or the peer takes next to nothing for a PDU's
        time.
        """
        await self._outbox.send(context_id, command, (data,))

    async def send_many(self, context_id: int, command: Command, data_sets: Sequence[Buffer]) -> None:
        """Send one message for each of `data_sets`, all with the same command set, in one write."""
        await self._outbox.send(context_id, command, data_sets)

    async def send_stream(self, context_id: int, command: Command, blocks: AsyncIterator[Buffer]) -> None:
        """Send a message whose data set is still arriving as `blocks`.

        Nothing goes out before the first block is there; command and first block make one write. If
        `blocks` raises after that, the association is aborted, since a message cannot be taken back.
        """
        await self._outbox.stream(context_id, command, blocks)

    def abort(self, result: str, fault: Fault | None = None) -> None:
        """End the association at once; `fault` if the peer broke the rules of the upper layer."""
        if self._state in _ALIVE:
            reason = Fault.NOT_SPECIFIED if fault is None else fault
            self._finish(result, pdu.abort(by_provider=fault is not None, reason=reason))

    def close(self) -> None:
        """Close the connection without waiting for the peer."""
        self._end("closed")
        if self._transport is not None:
            self._transport.abort()

    async def _until(self, reached: Callable[[], bool], timeout_s: float | None) -> None:
        """Return when `reached` or nothing more will come; `NoResponse` after `timeout_s`."""
        if reached():
            return
        self._asking = timeout_s is not None
        try:
            async with asyncio.timeout(timeout_s):
                while not reached() and self._state is State.OPEN:
                    self._settle()
                    self._arrived = asyncio.get_running_loop().create_future()
                    await self._arrived
        except TimeoutError as cause:
            raise NoResponse from cause
        finally:
            self._arrived = None
            self._asking = False

    # What the two roles differ in.

    @abstractmethod
    def _connected(self) -> None:
        """The connection is there."""

    @abstractmethod
    def _disconnected(self) -> None:
        """The connection is closed, whatever came before."""

    @abstractmethod
    def _on_association_pdu(self, kind: Kind, body: bytes) -> None:
        """The peer asks for an association, or answers our request; may raise `ProtocolFault`."""

    def _enter(self, state: State) -> None:
        self._state = state
        self._reader.expected = _EXPECTED[state]

    def _open(self, contexts: Mapping[int, Context], *, peer_longest: int, our_longest: int) -> None:
        self.contexts = self._assembler.contexts = contexts
        self._outbox.longest = peer_longest
        self._reader.longest_value = our_longest or self._limits.pdata_bytes
        self._enter(State.OPEN)

    # What the connection says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = self._outbox.transport = cast(
            asyncio.Transport, transport
        )  # uvloop's is no subclass
        self.peer = (transport.get_extra_info("peername") or ("", 0))[:2]
        secured = transport.get_extra_info("ssl_object")
        if secured is not None:
            self.protocol = secured.version() or ""
            self.certificate = fingerprint(secured)
        self._socket = transport.get_extra_info("socket")
        if self._socket is not None and self._socket.family != socket.AF_UNIX:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connected()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        # Senders that leave Nagle's algorithm on wait for an acknowledgement between command and data;
        # the kernel forgets this setting with each one it sends. Who fills the buffer does not wait.
        if nbytes < len(self._buffer) and _QUICKACK is not None and self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        if self._state not in _ALIVE:
            self._lingered += nbytes
            if self._lingered > _LINGER_BYTES:
                self.close()
            return
        try:
            self._reader.feed(self._view[:nbytes])
        except Over:
            return
        except ProtocolFault as fault:
            self.abort(f"aborted: {fault}", fault.reason)
            return
        self._settle()

    def eof_received(self) -> bool:
        return False  # a peer that sends nothing more is gone

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"lost: {reason(exc)}" if isinstance(exc, ssl.SSLError) else "lost")
        self._state = State.CLOSED
        self._transport = self._outbox.transport = self._socket = None
        self._deadline.end()
        self._disconnected()

    def pause_writing(self) -> None:
        self._outbox.pause()

    def resume_writing(self) -> None:
        self._outbox.resume()

    # What the reader finds.

    def on_pdu(self, kind: Kind, body: bytes) -> None:
        if kind is Kind.ABORT:
            self._end("aborted by peer")
            self.close()
            raise Over
        if kind is Kind.RELEASE_RP:
            self._end("released")
            self.close()
            raise Over
        if kind is not Kind.RELEASE_RQ:
            self._on_association_pdu(kind, body)
        elif self._state is State.RELEASING:  # both ask at once: answered, and theirs awaited (Sta9, Sta11)
            self._outbox.write(pdu.release_rp())
        else:
            self._finish("released", pdu.release_rp())
            raise Over

    def on_fragment(self, context_id: int, control: int, piece: memoryview, complete: bool) -> None:
        if self._state is not State.RELEASING:
            self._assembler.add(context_id, control, piece, complete)

    def _deliver(self, message: Message) -> None:
        command = message.command
        if command.field == Operation.C_CANCEL:
            asked = command.number(Tag.RESPONDED_MESSAGE_ID)
            waiting = [self._serving, *self._inbox]
            if any(each is not None and each.command.message_id == asked for each in waiting):
                self._cancelled.add(asked)  # what is answered already cannot be cancelled any more
            return
        self._inbox.append(message)
        wake(self._arrived)

    # States, deadlines, flow.

    def _finish(self, result: str, last_words: bytes) -> None:
        """Send the last PDU and give the peer a moment to close the connection itself.

        Closing with unread bytes in the kernel would reset the connection and lose that PDU.
        """
        self._outbox.write(last_words)
        self._end(result)
        self._resume_reading()
        self._deadline.set(self._limits.linger_s)

    def _end(self, result: str) -> None:
        if self._state not in _ALIVE and self._state is not State.UNCONNECTED:
            return
        self._state = State.ENDED
        self.result = result
        self._assembler.lose()
        wake(self._arrived)
        self._outbox.wake()

    def _settle(self) -> None:
        """Read or not, and until when, according to what has arrived and what was taken."""
        if self._state is not State.OPEN:
            return
        data = self._assembler.data
        full = data is not None and data.waiting > self._limits.window_bytes
        if full or len(self._inbox) > _QUEUED_MESSAGES:
            self._pause_reading()
            self._deadline.set(None)
            return
        self._resume_reading()
        if self._reader.inside:
            if self._pdu_timed != self._reader.begun or not self._deadline.is_set:
                self._pdu_timed = self._reader.begun
                self._deadline.set(self._limits.pdu_s)
        elif self._assembler.inside:
            self._deadline.set(self._limits.pdu_s)
        elif self._serving is not None or self._asking or self._inbox:
            self._deadline.set(None)
        else:
            self._deadline.set(self._limits.idle_s)

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._transport is not None and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and self._transport is not None and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()

    def _on_deadline(self) -> None:
        if self._state is State.OPEN:
            if not self.is_idle:
                self.abort("too slow", Fault.NOT_SPECIFIED)
            elif not self._outbox.busy:
                self.abort("idle", Fault.NOT_SPECIFIED)
        elif self._state is State.CONNECTED:
            self._end("no request in time")
            self.close()
        elif self._state in _ALIVE:
            self.abort("no answer in time")
        else:
            self.close()


class Over(Exception):
    """Nothing after this PDU counts."""


def wake(waiter: asyncio.Future[None] | None) -> None:
    """Let go on who waits, if anybody does."""
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _answers(command: Command, message_id: int) -> bool:
    return command.is_response and command.number(Tag.RESPONDED_MESSAGE_ID) == message_id
