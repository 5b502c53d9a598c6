"""Messages on their way to a peer: cut into PDUs, written in blocks, no faster than the peer takes them."""

import asyncio
from collections.abc import AsyncIterator, Buffer, Callable, Iterable, Iterator, Sequence
from itertools import chain

from bridge.upper import pdu
from bridge.upper.command import Command
from bridge.upper.messages import AssociationLost
from service.kernel import acknowledged

_JOINED = 1 << 16  # bytes up to which a message is copied together
_LEAST_TAKEN = 16 << 10  # bytes in a PDU's time of a peer that reads at all


class Outbox:
    """What one association sends; used by one task at a time.

    `longest` is the peer's maximum length, 0 for none (PS3.8 D.1), `sent_bytes` what messages took.
    `is_open` says whether messages may be sent, `abort` ends the association with a reason, and `rested` is
    told when nothing is sent any more.
    """

    def __init__(
        self,
        patience_s: float,
        *,
        is_open: Callable[[], bool],
        abort: Callable[[str], None],
        rested: Callable[[], None],
    ) -> None:
        """A peer is given up that takes next to nothing for `patience_s`."""
        self.longest = 0
        self.sent_bytes = 0
        self.transport: asyncio.Transport | None = None
        self._patience_s = patience_s
        self._is_open = is_open
        self._abort = abort
        self._rested = rested
        self._sending = 0
        self._paused = False
        self._writable: asyncio.Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether something is being sent."""
        return self._sending > 0

    def write(self, encoded: bytes) -> None:
        """Send a PDU that is no part of a message, without waiting."""
        if self.transport is not None:
            self.transport.write(encoded)

    async def send(self, context_id: int, command: Command, data_sets: Sequence[Buffer | None]) -> None:
        """Send one message for each of `data_sets`, which may be `None`, all with the same command set.

        They leave in one write if they are no larger than a block. Raises `AssociationLost`.
        """
        encoded = command.encode()
        if data_sets == (None,):
            await self._say(b"".join(self._packets(context_id, encoded, command=True)))
            return
        await self._push(piece for data in data_sets for piece in self._message(context_id, encoded, data))

    async def stream(self, context_id: int, command: Command, blocks: AsyncIterator[Buffer]) -> None:
        """Send a message whose data set is still arriving; see `Association.send_stream`."""
        self._sending += 1
        try:
            held = memoryview(await anext(blocks, b""))
            await self._push_stream(context_id, command.encode(), held, blocks)
        finally:
            self._done()

    def pause(self) -> None:
        """The peer takes less than is sent."""
        self._paused = True

    def resume(self) -> None:
        """The peer has taken most of what was sent."""
        self._paused = False
        self.wake()

    def wake(self) -> None:
        """Let who waits for the peer look again."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    async def _push_stream(
        self, context_id: int, command: bytes, held: memoryview, blocks: AsyncIterator[Buffer]
    ) -> None:
        pieces: Iterable[bytes | memoryview] = self._packets(context_id, command, command=True)
        try:
            async for block in blocks:
                even = len(held) & ~1  # a fragment has an even number of bytes (PS3.7 annex F)
                if even:
                    await self._push(chain(pieces, self._packets(context_id, held[:even], last=False)))
                    pieces = ()
                held = memoryview(block if even == len(held) else b"".join((held[even:], block)))
        except AssociationLost:
            raise
        except BaseException:
            self._abort("data set not to be had")
            raise
        await self._push(chain(pieces, self._packets(context_id, held)))

    async def _say(self, message: bytes) -> None:
        """Write a message without a data set."""
        if not self._is_open():
            raise AssociationLost
        self._sending += 1
        try:
            if self.transport is not None:
                self.sent_bytes += len(message)
                self.transport.write(message)
            await self._taken()
        finally:
            self._done()

    def _message(self, context_id: int, command: bytes, data: Buffer | None) -> Iterator[bytes | memoryview]:
        yield from self._packets(context_id, command, command=True)
        if data is not None:
            yield from self._packets(context_id, data)

    def _packets(
        self, context_id: int, payload: Buffer, *, command: bool = False, last: bool = True
    ) -> Iterator[bytes | memoryview]:
        return pdu.packets(context_id, payload, command=command, last=last, longest=self.longest)

    async def _push(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Write `pieces`, in one go if they are no more than a block; what follows it waits for the peer."""
        if not self._is_open():
            raise AssociationLost
        self._sending += 1
        try:
            blocks = pdu.blocks(pieces)
            block = next(blocks, None)
            while block:
                following = next(blocks, None)
                self._write(block)
                try:
                    await self._taken()
                except asyncio.CancelledError:
                    if following:
                        self._abort("called off inside a message")
                    raise
                block = following
        finally:
            self._done()

    def _write(self, pieces: Sequence[bytes | memoryview]) -> None:
        if self.transport is None:
            return
        size = sum(map(len, pieces))
        self.sent_bytes += size
        if size <= _JOINED:  # one copy is cheaper than many addresses
            self.transport.write(b"".join(pieces))
            return
        self.transport.writelines(pieces)
        if not self._paused:
            # asyncio's writelines forgets to pause the writer (until 3.13.1); this makes it look again
            self.transport.set_write_buffer_limits()

    async def _taken(self) -> None:
        """Return when there is little left that the peer has not taken; `AssociationLost` if it does not."""
        while self._paused and self._is_open() and self.transport is not None:
            before = self._gone(self.transport)
            self._writable = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._writable
            except TimeoutError:
                if self._gone(self.transport) - before < _LEAST_TAKEN:
                    self._abort("peer does not read")
            finally:
                self._writable = None
        if not self._is_open():
            raise AssociationLost

    def _gone(self, transport: asyncio.Transport) -> int:
        """A number that grows by each byte that the peer takes."""
        told = acknowledged(transport.get_extra_info("socket"))
        return -transport.get_write_buffer_size() if told is None else told

    def _done(self) -> None:
        self._sending -= 1
        if not self._sending:
            self._rested()
