"""The files of spool and quarantine, on the disk's threads.

What has its name in `spool/` is a promise: its bytes and its name are durable. It is written under another
one, `.part`, and what still has that when the program starts never was a promise.
"""

import asyncio
import contextlib
import filecmp
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from bridge.spool.entry import PART_SUFFIX, Detained, Entry, read_detained, read_entry
from bridge.state import StateUnavailable, flush_folder, for_us_alone, make_folder

log = logging.getLogger("isthmus.spool")

_BLOCK = 1 << 20


class NoRoom(Exception):
    """There is no room for an instance: the limit is reached, or the disk is full or fails."""


class Unreadable(Exception):
    """A file that is kept cannot be read."""


class Folder:
    """Spool and quarantine below one folder; all work is done on `threads` threads.

    `reserve_bytes` are left free on the disk.
    """

    def __init__(self, path: Path, *, threads: int, reserve_bytes: int) -> None:
        self._spool = path / "spool"
        self._quarantine = path / "quarantine"
        self._reserve_bytes = reserve_bytes
        self._parts = itertools.count()
        self._disk = ThreadPoolExecutor(threads, thread_name_prefix="spool")

    async def done[**P, R](self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `work` returns, done on one of the threads, to its end even if whoever waits is called off."""
        loop = asyncio.get_running_loop()
        doing = loop.run_in_executor(self._disk, lambda: work(*args, **kwargs))
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            await asyncio.wait([doing])  # its file must not be closed under it
            raise

    def close(self) -> None:
        """Return when everything that was begun is done."""
        self._disk.shutdown()

    def has_room(self, size_bytes: int) -> bool:
        """Whether so many bytes fit on the disk beside what is to be left free."""
        try:
            facts = os.statvfs(self._spool)
        except OSError:
            return False
        return facts.f_bavail * facts.f_frsize >= self._reserve_bytes + size_bytes

    def path(self, kept: Entry | Detained) -> Path:
        """The file of an instance."""
        return (self._spool if isinstance(kept, Entry) else self._quarantine) / kept.name

    # On the threads.

    def load(self) -> tuple[list[Entry], list[Detained]]:
        """What is kept, in the order of arrival; what was half-written is removed. `StateUnavailable`."""
        try:
            make_folder(self._spool)
            make_folder(self._quarantine)
            entries = list(_known(self._spool, read_entry))
            held = list(_known(self._quarantine, read_detained))
        except OSError as cause:
            raise StateUnavailable(cause.strerror or "") from cause
        return sorted(entries, key=_sequence), sorted(held, key=_sequence)

    def begin(self) -> "Part":
        """A file to write to that promises nothing; `NoRoom`."""
        path = self._spool / f"{next(self._parts)}{PART_SUFFIX}"
        try:
            return Part(path, open(path, "xb", buffering=0, opener=for_us_alone))
        except OSError as cause:
            raise NoRoom(cause.strerror or "") from cause

    def write(self, part: "Part", blocks: Sequence[bytes]) -> None:
        """Add to a file that promises nothing; `NoRoom`."""
        try:
            if not self.has_room(sum(map(len, blocks))):
                raise NoRoom("The disk is full.")
            for block in blocks:
                rest = memoryview(block)
                while rest:
                    rest = rest[part.file.write(rest) :]
        except OSError as cause:
            raise NoRoom(cause.strerror or "") from cause

    def promise(self, part: "Part", entry: Entry) -> None:
        """Make what was written durable as `entry`; `NoRoom` if that fails."""
        try:
            os.fsync(part.file.fileno())
            part.file.close()
            part.path.rename(self.path(entry))
            flush_folder(self._spool)
        except OSError as cause:
            with contextlib.suppress(OSError):
                self.path(entry).unlink(missing_ok=True)
            raise NoRoom(cause.strerror or "") from cause

    def drop(self, part: "Part") -> None:
        """Forget what was written."""
        part.file.close()
        part.path.unlink(missing_ok=True)

    def same(self, part: "Part", entry: Entry) -> bool:
        """Whether what was written is what is kept as `entry`."""
        try:
            return filecmp.cmp(part.path, self.path(entry), shallow=False)
        except OSError:
            return False

    def open(self, entry: Entry) -> BinaryIO:
        """The file of an instance that waits, to be read; `Unreadable`, or `FileNotFoundError`."""
        try:
            return self.path(entry).open("rb", buffering=0)
        except FileNotFoundError:
            raise
        except OSError as cause:
            raise Unreadable(cause.strerror or "") from cause

    def remove(self, kept: Entry | Detained, *, durably: bool) -> None:
        """Forget an instance; one that comes back after a power cut, if not `durably`, is sent once more."""
        path = self.path(kept)
        path.unlink(missing_ok=True)
        if durably:
            flush_folder(path.parent)

    def move(self, kept: Entry | Detained, to: Entry | Detained) -> None:
        """Have an instance of the spool in quarantine, or the other way round, durably."""
        self.path(kept).rename(self.path(to))
        flush_folder(self.path(to).parent)
        flush_folder(self.path(kept).parent)


class Part:
    """A file that promises nothing."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file


def read_block(file: BinaryIO) -> bytes:
    """The next bytes of a file, none at its end; `Unreadable`."""
    try:
        return file.read(_BLOCK)
    except OSError as cause:
        raise Unreadable(cause.strerror or "") from cause


def _known[T: (Entry, Detained)](folder: Path, read: Callable[[str, int], T | None]) -> Iterator[T]:
    strange = 0
    with os.scandir(folder) as files:
        for file in files:
            if file.name.endswith(PART_SUFFIX):
                Path(file.path).unlink()
            elif file.is_file(follow_symlinks=False) and (kept := read(file.name, file.stat().st_size)):
                yield kept
            else:
                strange += 1
    if strange:
        log.warning("folder=%s files=%d of other names are left alone", folder.name, strange)


def _sequence(kept: Entry | Detained) -> int:
    return kept.sequence
