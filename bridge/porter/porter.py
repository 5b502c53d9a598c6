"""The bridge's side of its porter: begun, asked, begun again where it dies."""

import asyncio
import contextlib
import logging
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bridge
from bridge import tracing
from bridge.porter.memory import SharedMemory
from bridge.porter.messages import LONGEST_PACKET, OPENED, Answer, Beginning, Request, Work, packed, unpacked
from service.dicom.errors import Busy, StoreUnavailable, UpstreamFailed
from service.tracing import traceparent

log = logging.getLogger("isthmus.porter")

# Whatever lies in the working directory, it is our own code that runs.
_CODE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from bridge.porter.__main__ import run; run()"
PROGRAM = (sys.executable, "-P", "-c", _CODE, str(Path(bridge.__file__).resolve().parents[1]))
_PLACES = 12  # pieces that are on their way at once
_ENDS_WITHIN_S = 0.75  # before the bridge itself is ended: nothing is promised that could be lost by it
_DIES_WITHIN_S = 0.25
_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 15.0
_SETTLED_S = 60.0  # one that has lived so long is begun again at once


class Porter:
    """A process that works for this one; used on one loop.

    One that dies leaves what it was asked for undone, of which nothing was promised yet. Who waits for that
    hears `UpstreamFailed`: it may have been what killed it. Who asks before there is another one hears
    `StoreUnavailable`.
    """

    def __init__(self, beginning: Beginning, *, program: Sequence[str] = PROGRAM) -> None:
        """`program` is called with the descriptors of its socket and of the shared memory, and its size."""
        self.generation = 0
        """Which one it is, counted from 1: what one knows, the next one does not."""
        self._beginning = beginning
        self._program = program
        self._memory: SharedMemory | None = None
        self._process: Process | None = None
        self._connection: socket.socket | None = None
        self._is_open = False
        self._asked: dict[int, tuple[asyncio.Future[Any], int | None]] = {}
        self._freed: list[int] = []  # places of one that may not be dead yet
        self._last = OPENED
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin it. Raises what keeps it from opening the archive: `SettingError`, an `ArchiveError`."""
        try:
            self._memory = SharedMemory(_PLACES)
        except OSError as error:
            raise StoreUnavailable("No memory can be shared with the process that enters objects.") from error
        await self._begin()
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        """Let it end what it is at, for a moment, and go; who waits hears that no answer comes."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait([keeping])
        await self._end()
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()

    @property
    def process(self) -> int | None:
        """Its process ID, while it is there."""
        return None if self._process is None else self._process.pid

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return self._is_open

    @property
    def memory(self) -> SharedMemory:
        """Where it finds the bytes of what it is asked for, once it is begun."""
        assert self._memory is not None
        return self._memory

    def number(self) -> int:
        """A number that nothing else has that it is asked for."""
        self._last += 1
        return self._last

    def require(self, generation: int | None = None) -> None:
        """`StoreUnavailable` if it cannot be asked, `UpstreamFailed` if it is another one than that."""
        if generation is not None and generation != self.generation:
            raise UpstreamFailed("The process that had begun to enter this object has ended.")
        if not self._is_open:
            raise StoreUnavailable("The process that enters objects has ended; it is being begun again.")

    def ask(self, work: Work, *, place: int | None = None) -> "asyncio.Future[Any]":
        """What `work` gives, once it is done; `place` is free again then.

        At once `StoreUnavailable` if it cannot be asked, `Busy` if too much waits for it.
        """
        number = self.number()
        waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            self.require()
            assert self._connection is not None
            self._connection.send(packed(Request(number, work, tracing.current(), traceparent())))
        except BaseException as error:
            if place is not None:
                self.memory.give_back(place)
            if isinstance(error, BlockingIOError):
                raise Busy("Too much waits for the process that enters objects.") from error
            if isinstance(error, OSError):
                raise StoreUnavailable("The process that enters objects does not listen.") from error
            raise
        self._asked[number] = (waiting, place)
        return waiting

    async def _begin(self) -> None:
        """Start the process, and wait until it has opened the archive."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        opened: asyncio.Future[Any] = loop.create_future()
        opened.add_done_callback(heard)
        self._asked[OPENED] = (opened, None)
        self._connection = ours
        loop.add_reader(ours.fileno(), self._hear, ours)
        try:
            with theirs:
                shared = self.memory.descriptor
                self._process = await asyncio.create_subprocess_exec(
                    *self._program,
                    *map(str, (theirs.fileno(), shared, self.memory.size)),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), shared),
                    start_new_session=True,  # who interrupts the bridge means it to end its work
                )
            ours.send(packed(self._beginning))
            await opened
        except OSError as error:
            await self._end()
            raise StoreUnavailable("The process that enters objects cannot be begun.") from error
        except BaseException:
            await self._end()
            raise
        self.generation += 1
        self._is_open = True

    async def _keep(self) -> None:
        """Begin another one whenever it dies."""
        loop = asyncio.get_running_loop()
        pause_s, begun = _PAUSE_S, loop.time()
        while True:
            try:
                if self._process is not None:
                    code = await self._process.wait()
                    log.error("the process that enters objects ended code=%d, another one is begun", code)
                    await self._end()
                    pause_s = _PAUSE_S if loop.time() - begun > _SETTLED_S else pause_s
                await asyncio.sleep(pause_s)
                pause_s, begun = min(2 * pause_s, _LONGEST_PAUSE_S), loop.time()
                await self._begin()
            except Exception as error:
                log.error("the process that enters objects cannot be begun: %s", error)

    async def _end(self) -> None:
        """Let go of the process, which ends what it is at; one that does not is killed."""
        if self._connection is not None:
            self._hear(self._connection)  # what was done before it died
        self._hang_up()
        process, self._process = self._process, None
        if process is not None and not await _ended(process, _ENDS_WITHIN_S):
            log.error("the process that enters objects hangs, and is killed")
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            if not await _ended(process, _DIES_WITHIN_S):
                log.error("the disk holds the process that enters objects, which ends when that answers")
                return  # and may read what it was given until then
        freed, self._freed = self._freed, []
        for place in freed:
            self.memory.give_back(place)

    def _hang_up(self) -> None:
        """Say and hear no more; who waits for an answer is told that there is none."""
        connection, self._connection, self._is_open = self._connection, None, False
        if connection is not None:
            asyncio.get_running_loop().remove_reader(connection.fileno())
            connection.close()
        asked, self._asked = self._asked, {}
        for waiting, place in asked.values():
            if place is not None:
                self._freed.append(place)
            if not waiting.done():
                waiting.set_exception(UpstreamFailed("The process that enters objects ended at its work."))

    def _hear(self, connection: socket.socket) -> None:
        """Take the answers that have come."""
        while connection is self._connection:
            try:
                packet = connection.recv(LONGEST_PACKET)
            except BlockingIOError:
                return
            except ConnectionResetError:  # it left questions unread; what it answered before is there still
                continue
            except OSError:
                packet = b""
            try:
                if not packet:
                    self._hang_up()
                    return
                self._settle(unpacked(packet))
            except Exception:  # whoever waits for this answer must hear something
                log.critical("unexpected error", exc_info=True)
                self._hang_up()

    def _settle(self, answer: Answer) -> None:
        waiting, place = self._asked.pop(answer.number)
        if place is not None:
            self.memory.give_back(place)
        if waiting.done():  # nobody waits any more
            return
        if answer.error is None:
            waiting.set_result(answer.value)
        else:
            waiting.set_exception(answer.error)


async def _ended(process: Process, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await process.wait()
    except TimeoutError:
        return False
    return True


def heard(waiting: "asyncio.Future[Any]") -> None:
    """Take note of an answer that may be nobody's any more."""
    with contextlib.suppress(asyncio.CancelledError):
        waiting.exception()
