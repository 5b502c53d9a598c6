"""A folder of worklist files (`.wl`, `.dcm`, `.json`), as other worklist servers read them."""

import asyncio
import logging
import os
import stat
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.worklist.item import Step, steps_of_file
from bridge.worklist.settings import WorklistSettings
from bridge.worklist.sources import BATCH, Days
from service.dicom.errors import BadRequest, StoreUnavailable, TooLarge, TooMany

log = logging.getLogger("isthmus.worklist")

_SUFFIXES = (".wl", ".dcm", ".json")
_MOST_TOLD = 100  # broken files that are logged one by one in one look

type _Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it was read; one that is broken has no steps."""

    stamp: _Stamp
    steps: tuple[Step, ...]


class Files:
    """The steps in the files of one folder, not of those below it.

    It is looked at again for each query, at most once in `refresh_s`; only what has changed is read. What
    cannot be read is passed over, and logged once by its name.
    """

    at_hand = True

    def __init__(self, folder: Path, settings: WorklistSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._files: Mapping[str, _File] = {}
        self._looked_s = -float("inf")
        self._looking: asyncio.Task[None] | None = None
        self._told = 0

    async def start(self) -> None:
        """Begin to read what is there."""
        self._begin()

    async def steps(self, days: Days) -> AsyncGenerator[Sequence[Step]]:
        """Those of all files, in the order of their names."""
        await self._refresh()
        batch: list[Step] = []
        for file in self._files.values():
            batch += [step for step in file.steps if step.may_be_within(days)]
            while len(batch) >= BATCH:
                yield batch[:BATCH]
                batch = batch[BATCH:]
        if batch:
            yield batch

    async def close(self) -> None:
        """Wait for the look that is being taken."""
        if self._looking is not None:
            await asyncio.wait((self._looking,), timeout=self._settings.wait_s)

    async def _refresh(self) -> None:
        """Look at the folder, together with whoever else asks at the moment."""
        if self._looking is None:
            if time.monotonic() - self._looked_s < self._settings.refresh_s:
                return
            self._begin()
        if self._looking is None:
            return
        try:
            async with asyncio.timeout(self._settings.look_s):
                await asyncio.shield(self._looking)
        except TimeoutError:
            raise StoreUnavailable("The folder of the worklist does not answer in time.") from None

    def _begin(self) -> None:
        self._looking = asyncio.get_running_loop().create_task(self._look())
        self._looking.add_done_callback(self._looked)

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        if not task.cancelled():
            task.exception()  # whoever waited has it

    async def _look(self) -> None:
        try:
            self._files = await asyncio.to_thread(self._read_folder, self._files)
        except OSError as cause:
            log.error("worklist folder cannot be read: %s", cause.strerror)
            raise StoreUnavailable("The folder of the worklist cannot be read.") from cause
        self._looked_s = time.monotonic()

    # In a thread.

    def _read_folder(self, known: Mapping[str, _File]) -> dict[str, _File]:
        with os.scandir(self._folder) as entries:
            names = sorted(each.name for each in entries if each.name.lower().endswith(_SUFFIXES))
        if len(names) > self._settings.files:
            raise TooMany(f"The folder of the worklist has more than {self._settings.files} files.")
        found: dict[str, _File] = {}
        steps = held_bytes = self._told = 0
        for name in names:
            file = self._read(name, known.get(name))
            if file is None:
                continue
            steps += len(file.steps)
            if steps > self._settings.steps:
                raise TooMany(f"The folder of the worklist has more than {self._settings.steps} steps.")
            held_bytes += sum(len(step.document) for step in file.steps)
            if held_bytes > self._settings.held_bytes:
                raise TooMany(f"The folder of the worklist has more than {self._settings.held_bytes} bytes.")
            found[name] = file
        return found

    def _read(self, name: str, known: _File | None) -> _File | None:
        """A file as it is; `None` if it is gone, or no file."""
        try:
            # Opened without waiting for whoever may write into a pipe.
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._passed_over(name, (0, 0, 0, error.errno or 0), known, error.strerror or "")
        try:
            return self._opened(name, descriptor, known)
        except OSError as error:
            return self._passed_over(name, (0, 0, 0, error.errno or 0), known, error.strerror or "")
        finally:
            os.close(descriptor)

    def _opened(self, name: str, descriptor: int, known: _File | None) -> _File | None:
        told = os.fstat(descriptor)
        if not stat.S_ISREG(told.st_mode):
            return None
        stamp = (told.st_mtime_ns, told.st_ctime_ns, told.st_size, told.st_ino)
        if known is not None and known.stamp == stamp:
            return known
        if told.st_size > self._settings.file_bytes:
            return self._passed_over(name, stamp, known, "it is too long")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(told.st_size)
        try:
            return _File(stamp, tuple(steps_of_file(name, content)))
        except (BadRequest, TooLarge) as error:
            return self._passed_over(name, stamp, known, str(error))

    def _passed_over(self, name: str, stamp: _Stamp, known: _File | None, why: str) -> _File:
        if known is not None and known.stamp == stamp:
            return known
        self._told += 1
        if self._told <= _MOST_TOLD:
            log.warning("worklist file=%r passed over: %s", name, why)
        return _File(stamp, ())
