"""DIMSE messages (PS3.7 6.3, PS3.8 annex E): a command set, and a data set as a stream of blocks."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bridge.settings import Limits
from bridge.upper.command import Command, Operation, decode
from bridge.upper.negotiation import Context
from bridge.upper.pdu import COMMAND, LAST, ProtocolFault

_JOINED = 16 << 10  # bytes up to which small pieces are kept as one


class AssociationLost(Exception):
    """The association ended before the exchange did."""


class NoResponse(AssociationLost):
    """The peer is there and does not answer; whoever gets this ends the association."""


class DataSet:
    """The encoded bytes of one message's data set, read while they arrive.

    One task reads. What it has not asked for yet counts toward the association's window: when that is full
    the connection is not read, and the peer waits.
    """

    def __init__(self, taken: Callable[[], None]) -> None:
        self._taken = taken
        self._blocks: list[bytes] = []
        self._waiting = 0
        self._complete = False
        self._lost = False
        self._dropping = False
        self._wanted = 1
        self._reader: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> int:
        """Bytes that have arrived and were not read, beyond those that a reader waits for."""
        return self._waiting if self._reader is None else max(0, self._waiting - self._wanted)

    @property
    def at_end(self) -> bool:
        """Whether everything has arrived and was read."""
        return self._complete and not self._blocks

    async def read(self, at_least: int = 1) -> list[bytes]:
        """All bytes that have arrived since the last call: `at_least` so many, unless `at_end`.

        It is less work to be woken seldom; so many bytes are held in memory beside the window. Raises
        `AssociationLost` if the association ended before the data set did.
        """
        self._wanted = at_least
        while self._waiting < at_least and not self._complete:
            if self._lost:
                raise AssociationLost
            self._reader = asyncio.get_running_loop().create_future()
            if self._waiting:
                self._taken()  # the window counts from what is wanted
            try:
                await self._reader
            finally:
                self._reader = None
        blocks, self._blocks = self._blocks, []
        if self._waiting:
            self._waiting = 0
            self._taken()
        return blocks

    def discard(self) -> None:
        """Let the rest arrive without keeping it."""
        self._dropping = True
        self._blocks.clear()
        self._waiting = 0
        self._taken()

    async def drop(self) -> None:
        """Let the rest arrive without keeping it, to its end."""
        self.discard()
        await self.read()

    async def whole(self, most_bytes: int) -> bytes | None:
        """All of it, to its end; `None` if it is longer than `most_bytes`."""
        content = bytearray()
        while not self.at_end:
            for block in await self.read():
                content += block
            if len(content) > most_bytes:
                content.clear()
                await self.drop()
                return None
        return bytes(content)

    def push(self, piece: memoryview, complete: bool) -> None:
        """Add what has arrived; the association calls this."""
        if len(piece) and not self._dropping:
            if self._blocks and len(self._blocks[-1]) + len(piece) <= _JOINED:
                self._blocks[-1] += piece  # small pieces cost more than what they hold
            else:
                self._blocks.append(bytes(piece))
            self._waiting += len(piece)
        self._complete = complete
        if self._reader is not None:
            self._wake()

    def lose(self) -> None:
        """Say that nothing more will come; the association calls this. No effect once complete."""
        self._lost = True
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            enough = self._waiting >= self._wanted and not self._dropping
            if not (enough or self._complete or self._lost):
                return
            self._reader.set_result(None)


@dataclass(frozen=True, slots=True)
class Message:
    """One request or response: `data` is `None` if the command says that there is none."""

    context: Context
    command: Command
    data: DataSet | None


class Assembler:
    """Puts the pieces of presentation data values together into messages.

    `deliver` gets each message as soon as its command set is complete.
    """

    def __init__(self, limits: Limits, deliver: Callable[[Message], None], taken: Callable[[], None]) -> None:
        self.contexts: Mapping[int, Context] = {}
        self.received_bytes = 0
        self._limits = limits
        self._deliver = deliver
        self._taken = taken
        self._command = bytearray()
        self._context: Context | None = None
        self._data: DataSet | None = None

    @property
    def data(self) -> DataSet | None:
        """The data set that is arriving."""
        return self._data

    @property
    def inside(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._context is not None

    def add(self, context_id: int, control: int, piece: memoryview, complete: bool) -> None:
        """Take a piece of a value; `complete` with the value's last. May raise `ProtocolFault`."""
        context = self.contexts.get(context_id)
        data = self._data
        if data is not None and context is self._context and not control & COMMAND:
            self._add_data(data, piece, complete and control & LAST != 0)
            return
        if context is None:
            raise ProtocolFault("data on a presentation context that was not accepted")
        if self._context is None:
            self._context = context
        elif context is not self._context:
            raise ProtocolFault("one message on two presentation contexts")
        if not control & COMMAND:
            raise ProtocolFault("a data set without a command set")
        self._add_command(context, piece, complete and control & LAST != 0)

    def lose(self) -> None:
        """Say that nothing more will come."""
        if self._data is not None:
            self._data.lose()

    def _add_command(self, context: Context, piece: memoryview, last: bool) -> None:
        if self._data is not None:
            raise ProtocolFault("a command set inside a data set")
        if len(self._command) + len(piece) > self._limits.command_bytes:
            raise ProtocolFault("command set too long")
        self._command += piece
        if not last:
            return
        command = decode(bytes(self._command))
        self._command.clear()
        if command.has_data and command.field != Operation.C_CANCEL:
            self._data = DataSet(self._taken)
        else:
            self._context = None
        self._deliver(Message(context, command, self._data))

    def _add_data(self, data: DataSet, piece: memoryview, last: bool) -> None:
        self.received_bytes += len(piece)
        if last:
            self._data = self._context = None
        data.push(piece, last)
