"""The archive itself, where it lies on this machine: objects are entered with the code of the service."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from bridge.archive.remote import Body
from service.archive import reasons
from service.archive.open import open_archive_in_time
from service.archive.port import Intake, Outcome
from service.dicom.errors import UpstreamTimeout
from service.settings import Settings
from service.web.rim import Crossing

_WHOLE = 1 << 20  # bytes up to which an instance is entered in one piece, and of a piece of a larger one
_EARLY = 1 << 17  # bytes of the first piece where no thread has anything else to do
_AT_LEAST = 128 << 10  # bytes that make it worth being woken
_OPENED_WITHIN_S = 30.0


class OwnArchive:
    """The store and the index of the service beside the bridge, which both write to; used on one loop."""

    def __init__(self, settings: Settings) -> None:
        """May raise `SettingError`, `IndexUnavailable`, `StoreUnavailable`; blocks."""
        self._archive = open_archive_in_time(settings, patience_s=_OPENED_WITHIN_S)
        self._crossing = Crossing("stores", threads=settings.store_threads, queue=settings.uploads)
        self._forsaken: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Finish what is being entered, and let go of store and index."""
        if self._forsaken:
            await asyncio.wait(self._forsaken)
        await asyncio.to_thread(self._crossing.close)
        await asyncio.to_thread(self._archive.close)

    async def store(self, head: bytes, first: Sequence[bytes], body: Body, *, within_s: float) -> Outcome:
        """Enter one Part-10 object: `head`, the blocks of `first`, then what `body` still yields.

        What is called stored is durable. A small object is entered when it is whole, in one crossing to a
        thread; a larger one, and one that comes alone, is read and written while it arrives. Raises what
        `body.read` raises, and of such an object nothing stays; `Busy` if too many wait; `UpstreamTimeout` if
        the disk takes longer than `within_s` seconds over a piece, which says nothing of what becomes of it;
        `StoreUnavailable`, `IndexUnavailable`.
        """
        blocks, size = [head, *first], len(head) + sum(map(len, first))
        together = _WHOLE if self._crossing.inside else _EARLY
        if size <= together:
            blocks += await _piece(body, together - size)
        entering = _Entering(self._archive.intake(), self._crossing, within_s)
        if body.at_end:
            return await entering.do(entering.whole, blocks)
        try:
            entering.start(entering.begin, blocks)
            last = await _piece(body, _WHOLE)
            while not body.at_end:
                await entering.done()
                entering.start(entering.write, last)
                last = await _piece(body, _WHOLE)
            await entering.done()
            return await entering.do(entering.end, last)
        except BaseException:
            dropping = asyncio.get_running_loop().create_task(entering.drop())
            self._forsaken.add(dropping)
            dropping.add_done_callback(self._forsaken.discard)
            raise

    async def patient_of(self, study: str) -> str | None:
        """The Patient ID of a study, `None` if it has none. `Busy`, `IndexUnavailable`."""
        return await self._crossing.run(self._archive.patient_of, study)


class _Entering:
    """One object on its way in, one piece after the other, each by a thread."""

    def __init__(self, intake: Intake, crossing: Crossing, within_s: float) -> None:
        self._intake = intake
        self._crossing = crossing
        self._within_s = within_s
        self._working: asyncio.Future[Any] | None = None

    async def do(self, work: Callable[[Sequence[bytes]], Outcome], blocks: Sequence[bytes]) -> Outcome:
        """What `work` gives, which is done to its end even if nobody waits for it any more."""
        self.start(work, blocks)
        outcome: Outcome = await self.done()
        return outcome

    def start(self, work: Callable[[Sequence[bytes]], Any], blocks: Sequence[bytes]) -> None:
        """Have `work` begun by a thread, once the piece before is `done`. `Busy`."""
        self._working = self._crossing.begin(work, blocks)
        self._working.add_done_callback(_heard)

    async def done(self) -> Any:
        """What the piece that was started gives; raises what it raises, and `UpstreamTimeout`."""
        assert self._working is not None
        done, _ = await asyncio.wait((self._working,), timeout=self._within_s)
        if not done:
            raise UpstreamTimeout(f"The store of the archive took longer than {self._within_s:g} seconds.")
        return self._working.result()

    def whole(self, blocks: Sequence[bytes]) -> Outcome:
        self._intake.begin()
        return self.end(blocks)

    def begin(self, blocks: Sequence[bytes]) -> None:
        self._intake.begin()
        self.write(blocks)

    def write(self, blocks: Sequence[bytes]) -> None:
        if blocks:  # a copy costs less than to scan and digest it in pieces
            self._intake.write(memoryview(b"".join(blocks)))

    def end(self, blocks: Sequence[bytes]) -> Outcome:
        self.write(blocks)
        self._intake.end()
        return self._intake.finish()[0]

    async def drop(self) -> None:
        """Let nothing stay of it, once the piece that is under way is done."""
        if self._working is not None and not self._working.done():
            await asyncio.wait((self._working,))
        await self._crossing.go_on(self._drop)

    def _drop(self) -> None:
        self._intake.refuse(reasons.CANNOT_UNDERSTAND, "The instance did not arrive whole.")
        self._intake.finish()


async def _piece(body: Body, most: int) -> list[bytes]:
    """What arrives next: more than `most` bytes, or all that is left."""
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
