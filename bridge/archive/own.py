"""The archive itself, where it lies on this machine: objects are entered with the code of the service."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from bridge.archive.remote import Body
from service.archive import reasons
from service.archive.intake import as_archive_error
from service.archive.objects import ObjectArchive
from service.archive.open import open_archive_in_time
from service.archive.port import Intake, Outcome
from service.dicom.errors import UpstreamTimeout
from service.settings import Settings
from service.web.rim import Crossing

_WHOLE = 1 << 20  # bytes up to which an instance is entered in one piece
_EARLY = 1 << 17  # bytes of the first piece where no thread has anything else to do
_PIECE = 1 << 19  # bytes of each further piece
_AHEAD = 1 << 18  # bytes that are read while a piece is being written
_AT_LEAST = 128 << 10  # bytes that make it worth being woken
_OPENED_WITHIN_S = 30.0


class OwnArchive:
    """The store and the index of the service beside the bridge, which both write to; used on one loop."""

    def __init__(self, settings: Settings) -> None:
        """It is there once it is `open`."""
        self._settings = settings
        self._archive: ObjectArchive | None = None
        self._crossing = Crossing("stores", threads=settings.store_threads, queue=settings.uploads)
        self._late: set[asyncio.Future[Any]] = set()
        self._forsaken: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Open store and index. `SettingError`, `IndexUnavailable`, `StoreUnavailable`."""
        self._archive = await asyncio.to_thread(
            open_archive_in_time, self._settings, patience_s=_OPENED_WITHIN_S
        )

    async def close(self) -> None:
        """Finish what is being entered, and let go of store and index."""
        if self._forsaken:
            await asyncio.wait(self._forsaken)
        await asyncio.to_thread(self._crossing.close)
        if self._archive is not None:
            await asyncio.to_thread(self._archive.close)

    async def store(self, head: bytes, first: Sequence[bytes], body: Body, *, within_s: float) -> Outcome:
        """Enter one Part-10 object: `head`, the blocks of `first`, then what `body` still yields.

        What is called stored is durable. A small object is entered when it is whole, in one crossing to a
        thread; a larger one, and one that comes alone, is read and written while it arrives. Raises what
        `body.read` raises, and of such an object nothing stays; `Busy` if too many wait; `UpstreamTimeout` if
        the disk takes longer than `within_s` seconds over a piece, which says nothing of what becomes of it,
        but nothing is entered any more before that is known; `StoreUnavailable`, `IndexUnavailable`; and a
        plain `ArchiveError` for a fault of our own.
        """
        assert self._archive is not None
        alone = not self._crossing.inside
        blocks, size = [head, *first], len(head) + sum(map(len, first))
        blocks += await _piece(body, (_EARLY if alone else _WHOLE) - size)
        await self._nothing_late(within_s)
        entering = _Entering(self._archive.intake(), self._crossing, self._late, within_s)
        try:
            entering.begin(entering.whole if body.at_end else entering.first, blocks)
            if body.at_end:
                return await entering.outcome()
            return await _streamed(entering, body, ahead=_WHOLE if alone else _AHEAD)
        except BaseException:
            dropping = asyncio.get_running_loop().create_task(entering.drop())
            self._forsaken.add(dropping)
            dropping.add_done_callback(self._forsaken.discard)
            raise

    async def patient_of(self, study: str) -> str | None:
        """The Patient ID of a study, `None` if it has none. `Busy`, `IndexUnavailable`."""
        assert self._archive is not None
        return await self._crossing.run(self._archive.patient_of, study)

    async def _nothing_late(self, within_s: float) -> None:
        """Return once all is done that was given up: it must not replace what comes after it."""
        if not self._late:
            return
        _, late = await asyncio.wait(self._late, timeout=within_s)
        if late:
            raise UpstreamTimeout("The store of the archive hangs: what it was given before is not done.")


async def _streamed(entering: "_Entering", body: Body, *, ahead: int) -> Outcome:
    """Enter what is larger than its first piece, which has begun; `ahead` bytes are read meanwhile."""
    following = await _piece(body, ahead)
    while not body.at_end:
        await entering.done()
        entering.go_on(entering.write, following)
        following = await _piece(body, _AHEAD)
        await entering.done()
        following += await _piece(body, _PIECE - _AHEAD)
    await entering.done()
    entering.go_on(entering.last, following)
    return await entering.outcome()


class _Entering:
    """One object on its way in, one piece after the other, each by a thread."""

    def __init__(
        self, intake: Intake, crossing: Crossing, late: set[asyncio.Future[Any]], within_s: float
    ) -> None:
        """Pieces that take longer than `within_s` are among the `late` until they are done."""
        self._intake = intake
        self._crossing = crossing
        self._late = late
        self._within_s = within_s
        self._working: asyncio.Future[Any] | None = None

    def begin(self, work: Callable[[Sequence[bytes]], Any], blocks: Sequence[bytes]) -> None:
        """Have the first piece worked on by a thread. `Busy`."""
        self._started(self._crossing.begin(work, blocks))

    def go_on(self, work: Callable[[Sequence[bytes]], Any], blocks: Sequence[bytes]) -> None:
        """Have the next piece worked on, once the one before it is `done`."""
        self._started(self._crossing.follow(work, blocks))

    async def done(self) -> Any:
        """What the piece under way gives, which is done to its end even if nobody waits for it any more."""
        assert self._working is not None
        done, _ = await asyncio.wait((self._working,), timeout=self._within_s)
        if not done:
            self._late.add(self._working)
            self._working.add_done_callback(self._late.discard)
            raise UpstreamTimeout(f"The store of the archive took longer than {self._within_s:g} seconds.")
        try:
            return self._working.result()
        except Exception as error:
            raise as_archive_error(error) from error

    async def outcome(self) -> Outcome:
        """What became of the object, whose last piece is under way."""
        outcome: Outcome = await self.done()
        return outcome

    async def drop(self) -> None:
        """Let nothing stay of it that has not come to its end, once the piece that is under way is done."""
        if self._working is not None and not self._working.done():
            await asyncio.wait((self._working,))
        await self._crossing.go_on(self._drop)

    # What threads do.

    def whole(self, blocks: Sequence[bytes]) -> Outcome:
        self.first([])
        return self.last(blocks)

    def first(self, blocks: Sequence[bytes]) -> None:
        self._intake.begin()
        self.write(blocks)

    def write(self, blocks: Sequence[bytes]) -> None:
        if blocks:  # a copy costs less than to scan and digest it in pieces
            self._intake.write(memoryview(b"".join(blocks)))

    def last(self, blocks: Sequence[bytes]) -> Outcome:
        self.write(blocks)
        self._intake.end()
        return self._intake.finish()[0]

    def _drop(self) -> None:
        self._intake.refuse(reasons.CANNOT_UNDERSTAND, "The instance did not arrive whole.")
        self._intake.finish()

    def _started(self, working: asyncio.Future[Any]) -> None:
        self._working = working
        working.add_done_callback(_heard)


async def _piece(body: Body, most: int) -> list[bytes]:
    """What arrives next: more than `most` bytes, or all that is left; nothing where `most` is negative."""
    blocks: list[bytes] = []
    size = 0
    while not body.at_end and size <= most:
        more = await body.read(_AT_LEAST)
        blocks += more
        size += sum(map(len, more))
    return blocks


def _heard(working: "asyncio.Future[Any]") -> None:
    """Take note of what may be nobody's any more."""
    with contextlib.suppress(asyncio.CancelledError):
        working.exception()
