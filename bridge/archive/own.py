"""The archive itself, where it lies on this machine: a porter enters objects with the service's code."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Buffer, Sequence
from pathlib import Path
from typing import Any

from bridge.archive.remote import Body
from bridge.porter.messages import Beginning, Drop, PatientOf, Piece, Told
from bridge.porter.porter import PROGRAM, Porter, heard
from service.archive.port import Outcome, Refused
from service.dicom.errors import ArchiveError, Busy, UpstreamTimeout
from service.settings import Settings

_WHOLE = 1 << 20  # bytes up to which an instance is entered in one piece
_PIECE = 1 << 19  # bytes of each further piece
_AHEAD = 1 << 18  # bytes that are read while a piece is being written
_AT_LEAST = 128 << 10  # bytes that make it worth being woken
_AGAIN_S = 0.5


class OwnArchive:
    """The store and the index of the service beside the bridge, which both write to; used on one loop."""

    def __init__(
        self, settings: Settings, lock: Path, *, traces_to: str = "", program: Sequence[str] = PROGRAM
    ) -> None:
        """It is there once it is `open`. `program` is the porter, and `lock` the file that it locks."""
        self._porter = Porter(Beginning(settings, str(lock), traces_to), program=program)
        self._most = settings.uploads
        self._late: set[asyncio.Future[Any]] = set()
        self._forsaken: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Open store and index. `SettingError`, `IndexUnavailable`, `StoreUnavailable`."""
        await self._porter.start()

    async def close(self) -> None:
        """Let go of store and index; what is being entered has a moment to come to its end."""
        await self._porter.stop()
        if self._forsaken:  # nobody is there any more whom they could wait for
            await asyncio.wait(self._forsaken)

    async def store(self, head: bytes, first: Sequence[bytes], body: Body, *, within_s: float) -> Outcome:
        """Enter one Part-10 object: `head`, the blocks of `first`, then what `body` still yields.

        What is called stored is durable. A small object is entered when it is whole, in one piece, a larger
        one while it arrives. Raises what `body.read` raises, and of such an object nothing stays; `Busy` if
        too many wait; `UpstreamTimeout` if the disk takes longer than `within_s` seconds over a piece, which
        says nothing of what becomes of it, but nothing is entered any more before that is known;
        `UpstreamFailed` if the process died that was at it; `StoreUnavailable`, `IndexUnavailable`; and a
        plain `ArchiveError` for a fault of our own.
        """
        entering = _Entering(self._porter, self._late, within_s, self._most)
        try:
            return await self._entered(entering, [head, *first], body, within_s)
        except BaseException:
            if entering.has_begun:
                self._forsake(entering)
            raise

    @property
    def process(self) -> int | None:
        """The process that enters objects, while it is there."""
        return self._porter.process

    @property
    def is_open(self) -> bool:
        """Whether anything can be entered."""
        return self._porter.is_open

    async def patient_of(self, study: str, *, within_s: float) -> str | None:
        """The Patient ID of a study, `None` if it has none. Raises as `store` does."""
        try:
            async with asyncio.timeout(within_s):
                patient: str | None = await self._porter.ask(PatientOf(study))
        except TimeoutError:
            raise UpstreamTimeout("The index of the archive does not answer in time.") from None
        return patient

    async def _entered(
        self, entering: "_Entering", blocks: list[bytes], body: Body, within_s: float
    ) -> Outcome:
        blocks += await _piece(body, _WHOLE - sum(map(len, blocks)))
        await self._nothing_late(within_s)
        await entering.bring(blocks, last=body.at_end)
        if not body.at_end:
            await _streamed(entering, body)
        outcome: Told | Refused = await entering.done()
        return outcome.stored if isinstance(outcome, Told) else outcome

    async def _nothing_late(self, within_s: float) -> None:
        """Return once all is done that was given up: it must not replace what comes after it."""
        if not self._late:
            return
        _, late = await asyncio.wait(self._late, timeout=within_s)
        if late:
            raise UpstreamTimeout("The store of the archive hangs: what it was given before is not done.")

    def _forsake(self, entering: "_Entering") -> None:
        dropping = asyncio.get_running_loop().create_task(entering.drop())
        self._forsaken.add(dropping)
        dropping.add_done_callback(self._forsaken.discard)


async def _streamed(entering: "_Entering", body: Body) -> None:
    """Enter what comes behind the first piece, in large pieces."""
    following = await _piece(body, _AHEAD)
    while not body.at_end:
        await entering.done()
        await entering.bring(following)
        following = await _piece(body, _AHEAD)
        await entering.done()
        following += await _piece(body, _PIECE - _AHEAD)
    await entering.done()
    await entering.bring(following, last=True)


class _Entering:
    """One object on its way in, one piece after the other."""

    def __init__(self, porter: Porter, late: set[asyncio.Future[Any]], within_s: float, most: int) -> None:
        """Pieces that take longer than `within_s` are among the `late` until they are done.

        At most about `most` of all objects wait for a place.
        """
        self._porter = porter
        self._late = late
        self._within_s = within_s
        self._most = most
        self._generation: int | None = None
        self._number = porter.number()
        self._working: asyncio.Future[Any] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the porter knows of it."""
        return self._working is not None

    async def bring(self, blocks: Sequence[bytes], *, last: bool = False) -> None:
        """Have the next piece worked at, once the one before it is `done`."""
        left: deque[Buffer] = deque(blocks)
        while True:
            await self._brought(left, last)
            if not left:
                return
            await self.done()

    async def done(self) -> Any:
        """What the piece gives that is worked at, to its end even if nobody waits for it any more."""
        assert self._working is not None
        done, _ = await asyncio.wait((self._working,), timeout=self._within_s)
        if not done:
            self._late.add(self._working)
            self._working.add_done_callback(self._late.discard)
            raise UpstreamTimeout(f"The store of the archive took longer than {self._within_s:g} seconds.")
        return self._working.result()

    async def drop(self) -> None:
        """Let nothing stay of it that has not come to its end, once the piece that is under way is done."""
        if self._working is not None and not self._working.done():
            await asyncio.wait((self._working,))
        with contextlib.suppress(ArchiveError):  # a porter that has died has left nothing
            while True:
                self._porter.require(self._generation)
                try:
                    await self._porter.ask(Drop(self._number))
                    return
                except Busy:
                    await asyncio.sleep(_AGAIN_S)

    async def _brought(self, left: deque[Buffer], last: bool) -> None:
        """Take of `left` what is one piece."""
        place = await self._place()
        size = self._porter.memory.fill(place, left)
        piece = Piece(self._number, place, size, not self.has_begun, last and not left)
        self._working = self._porter.ask(piece, place=place)
        self._working.add_done_callback(heard)
        self._generation = self._porter.generation

    async def _place(self) -> int:
        """A place in the memory of the porter that has what came before."""
        self._porter.require(self._generation)
        memory = self._porter.memory
        if memory.waiting >= self._most and not self.has_begun:
            raise Busy("Too many instances wait here for being stored; try again shortly.")
        try:
            place = await memory.place(self._within_s)
        except TimeoutError:
            raise UpstreamTimeout("The store of the archive hangs: others wait for it.") from None
        try:
            self._porter.require(self._generation)
            if self._late:
                raise UpstreamTimeout("The store of the archive hangs: what it was given before is not done.")
        except ArchiveError:
            memory.give_back(place)
            raise
        return place


async def _piece(body: Body, most: int) -> list[bytes]:
    """What arrives next: more than `most` bytes, or all that is left; nothing where `most` is negative."""
    blocks: list[bytes] = []
    size = 0
    while not body.at_end and size <= most:
        more = await body.read(_AT_LEAST)
        blocks += more
        size += sum(map(len, more))
    return blocks
