"""The bridge's side of its porter: begun, asked, begun again where it dies."""

import asyncio
import contextlib
import logging
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from typing import Any

from bridge import tracing
from bridge.porter.memory import SharedMemory
from bridge.porter.messages import LONGEST_PACKET, OPENED, Answer, Beginning, Request, Work, packed, unpacked
from service.dicom.errors import StoreUnavailable
from service.settings import Settings
from service.tracing import traceparent

log = logging.getLogger("isthmus.porter")

PROGRAM = (sys.executable, "-m", "bridge.porter")
_PLACES = 12  # pieces that are on their way at once
_OPENS_WITHIN_S = 60.0
_ENDS_WITHIN_S = 10.0
_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 15.0


class Porter:
    """A process that works for this one; used on one loop.

    One that dies leaves what it was asked for undone, of which nothing was promised yet: whoever waits hears
    `StoreUnavailable`, as does who asks before there is another one.
    """

    def __init__(self, settings: Settings, *, traces_to: str = "", program: Sequence[str] = PROGRAM) -> None:
        """`program` is called with the descriptors of its socket and of the shared memory, and its size."""
        self._beginning = Beginning(settings, traces_to)
        self._program = program
        self._memory = SharedMemory(_PLACES)
        self._process: Process | None = None
        self._connection: socket.socket | None = None
        self._is_open = False
        self._asked: dict[int, tuple[asyncio.Future[Any], int | None]] = {}
        self._last = OPENED
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin it. Raises what keeps it from opening the archive: `SettingError`, an `ArchiveError`."""
        await self._begin()
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        """Let it end what it is at, for a while, and go."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        await self._end()
        self._memory.close()

    @property
    def process(self) -> int | None:
        """Its process ID, while it is there."""
        return None if self._process is None else self._process.pid

    def number(self) -> int:
        """A number that nothing else has that it is asked for."""
        self._last += 1
        return self._last

    @property
    def memory(self) -> SharedMemory:
        """Where it finds the bytes of what it is asked for."""
        return self._memory

    def ask(self, work: Work, *, place: int | None = None) -> "asyncio.Future[Any]":
        """What `work` gives, once it is done; `place` is free again then. `StoreUnavailable` at once."""
        if self._connection is None or not self._is_open:
            self._give_back(place)
            raise StoreUnavailable("The process that enters objects has ended; it is being begun again.")
        number = self.number()
        waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = (waiting, place)
        try:
            self._connection.send(packed(Request(number, work, tracing.current(), traceparent())))
        except OSError as error:  # it is gone, or so much waits for it that it must be stuck
            del self._asked[number]
            self._give_back(place)
            raise StoreUnavailable("The process that enters objects does not listen.") from error
        return waiting

    async def _begin(self) -> None:
        """Start the process, and wait until it has opened the archive."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        opened: asyncio.Future[Any] = loop.create_future()
        self._asked[OPENED] = (opened, None)
        self._connection = ours
        loop.add_reader(ours.fileno(), self._hear, ours)
        try:
            with theirs:
                shared = self._memory.descriptor
                self._process = await asyncio.create_subprocess_exec(
                    *self._program,
                    *map(str, (theirs.fileno(), shared, self._memory.size)),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), shared),
                    start_new_session=True,  # who interrupts the bridge means it to end its work
                )
            ours.send(packed(self._beginning))
            async with asyncio.timeout(_OPENS_WITHIN_S):
                await opened
            self._is_open = True
        except (TimeoutError, OSError) as error:
            await self._end()
            raise StoreUnavailable("The process that enters objects cannot be begun.") from error
        except BaseException:
            await self._end()
            raise

    async def _keep(self) -> None:
        """Begin another one whenever it dies."""
        pause_s = _PAUSE_S
        while True:
            if self._process is not None:
                code = await self._process.wait()
                log.error("the process that enters objects ended code=%d, another one is begun", code)
                await self._end()
            await asyncio.sleep(pause_s)
            try:
                await self._begin()
                pause_s = _PAUSE_S
            except Exception as error:
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                log.error("the process that enters objects cannot be begun: %s", type(error).__name__)

    async def _end(self) -> None:
        """Let go of the process, which ends what it is at; one that does not is killed."""
        self._hang_up()
        process, self._process = self._process, None
        if process is None:
            return
        try:
            async with asyncio.timeout(_ENDS_WITHIN_S):
                await process.wait()
        except TimeoutError:
            log.error("the process that enters objects hangs, and is killed")
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _hang_up(self) -> None:
        """Say and hear no more; who waits for an answer is told that there is none."""
        connection, self._connection, self._is_open = self._connection, None, False
        if connection is not None:
            asyncio.get_running_loop().remove_reader(connection.fileno())
            connection.close()
        asked, self._asked = self._asked, {}
        for waiting, place in asked.values():
            self._give_back(place)
            if not waiting.done():
                waiting.set_exception(StoreUnavailable("The process that enters objects ended at its work."))

    def _hear(self, connection: socket.socket) -> None:
        """Take the answers that have come."""
        while connection is self._connection:
            try:
                packet = connection.recv(LONGEST_PACKET)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._hang_up()
                return
            self._settle(unpacked(packet))

    def _settle(self, answer: Answer) -> None:
        waiting, place = self._asked.pop(answer.number)
        self._give_back(place)
        if waiting.done():  # nobody waits any more
            return
        if answer.error is None:
            waiting.set_result(answer.value)
        else:
            waiting.set_exception(answer.error)

    def _give_back(self, place: int | None) -> None:
        if place is not None:
            self._memory.give_back(place)


def heard(waiting: "asyncio.Future[Any]") -> None:
    """Take note of an answer that may be nobody's any more."""
    with contextlib.suppress(asyncio.CancelledError):
        waiting.exception()
